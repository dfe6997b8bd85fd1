//! The geodesic of W₂: the boundary-value problem.

pub mod bridge;
pub mod displacement;

pub use bridge::{Bridge, BridgePaths};
pub use displacement::Displacement;
