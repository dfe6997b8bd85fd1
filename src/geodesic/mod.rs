//! The geodesic of W₂: the boundary-value problem.

pub mod bridge;
pub mod density;
pub mod displacement;
pub mod pieces;

pub use bridge::{Bridge, BridgePaths};
pub use density::DensityBridge;
pub use displacement::Displacement;
pub use pieces::Pieces;
