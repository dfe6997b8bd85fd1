//! The gradient flow of a free energy in W₂: the initial-value problem, one scheme a file.

pub mod error;
pub mod gaussian;

pub use error::FlowError;
pub use gaussian::JkoStep;
