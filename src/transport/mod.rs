//! Optimal transport between two measures: exact where it is cheap or closed.

pub mod assignment;
pub mod error;
pub mod gaussian;
pub mod line;

pub use assignment::{Assignment, assign};
pub use error::TransportError;
pub use gaussian::{AffineMap, EntropicPlan, Gaussian};
pub use line::{LinePair, LinePlan};
