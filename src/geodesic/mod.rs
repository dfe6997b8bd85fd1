//! The geodesic of W₂: the boundary-value problem.
//!
//! ```
//! use brenier::geodesic::{Displacement, Pieces};
//! use brenier::measure::Cloud;
//!
//! let x = Cloud::new(vec![0.0, 1.0], 1)?;
//! let line = Displacement::new(&x, vec![2.0, 3.0])?; // each point moves by 2
//! assert_eq!((line.at(0.5), line.action()), (vec![1.0, 2.0], 4.0));
//! assert!(Pieces::new(&line.path(10), &line.end()?).deviation() < 1e-12); // at constant speed
//! # Ok::<(), brenier::Error>(())
//! ```

pub mod bridge;
pub mod density;
pub mod displacement;
pub mod pieces;

pub use bridge::{Bridge, BridgePaths};
pub use density::DensityBridge;
pub use displacement::Displacement;
pub use pieces::Pieces;
