//! The gradient flow of a free energy in W₂: the initial-value problem, one scheme a file.
//!
//! ```
//! use brenier::backend::{Device, Precision};
//! use brenier::gradient_flow::{Langevin, SinkhornFlow, descend};
//! use brenier::measure::Cloud;
//! use brenier::watch::Watch;
//!
//! let device = Device::cpu(Precision::F64);
//! let (x, target) = (Cloud::new(vec![0.0, 1.0], 1)?, Cloud::new(vec![2.0, 3.0], 1)?);
//! let mut flow = SinkhornFlow::new(x, &target, 0.5, 0.05, &device)?;
//! let found = descend(&mut flow, 20, Watch::default())?;
//! assert!((found.state.mean()[0] - 2.5).abs() < 0.01);
//! assert_eq!(Langevin::predicted_bias(0.1, 0.5), Some(0.1 / 0.9)); // of an explicit step 0.1 at variance ½
//! # Ok::<(), brenier::Error>(())
//! ```

mod anneal;
pub mod blob;
pub mod chain;
mod density;
pub mod entry;
pub mod error;
pub mod gaussian;
pub mod implicit;
pub mod jko;
mod kernel;
pub mod langevin;
pub mod semi_unbalanced;
pub mod sinkhorn_flow;
mod stepped;

pub use blob::Blob;
pub use chain::Chain;
pub use entry::{Certificate, Choice, Entry, Made, Needs, Options, SCHEMES, Setting, named, names, usual};
pub use error::FlowError;
pub use gaussian::JkoStep;
pub use implicit::Implicit;
pub use jko::{Account, Charge, Descent, JkoResidual, Scheme, descend};
pub use langevin::Langevin;
pub use semi_unbalanced::SemiUnbalancedJko;
pub use sinkhorn_flow::SinkhornFlow;
