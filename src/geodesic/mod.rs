//! The geodesic of W₂: the boundary-value problem.

pub mod displacement;

pub use displacement::Displacement;
