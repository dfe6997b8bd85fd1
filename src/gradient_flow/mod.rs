//! The gradient flow of a free energy in W₂: the initial-value problem, one scheme a file.

mod anneal;
pub mod blob;
pub mod error;
pub mod gaussian;
pub mod jko;
mod kernel;
pub mod langevin;
pub mod semi_unbalanced;
pub mod sinkhorn_flow;

pub use blob::Blob;
pub use error::FlowError;
pub use gaussian::JkoStep;
pub use jko::{Account, Charge, Descent, Scheme, descend};
pub use langevin::Langevin;
pub use semi_unbalanced::SemiUnbalancedJko;
pub use sinkhorn_flow::SinkhornFlow;
