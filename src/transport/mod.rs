//! Optimal transport between two clouds: problem, solver and outcome are three types.

pub mod divergence;
pub mod map;
pub mod problem;
pub mod sinkhorn;

pub use divergence::Divergence;
pub use map::EntropicMap;
pub use problem::{Problem, TransportError};
pub use sinkhorn::{Outcome, Potentials, Sinkhorn};
