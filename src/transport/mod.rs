//! Optimal transport between two measures. Problem, solver and outcome are three types; exact where it is cheap or closed.

pub mod assignment;
pub mod divergence;
pub mod error;
pub mod gaussian;
pub mod line;
pub mod map;
mod multiscale;
pub mod pairs;
pub mod problem;
pub mod semi_unbalanced;
pub mod sinkhorn;

pub use assignment::{Assignment, assign};
pub use divergence::Divergence;
pub use error::TransportError;
pub use gaussian::{AffineMap, EntropicPlan, Gaussian};
pub use line::{LinePair, LinePlan};
pub use map::EntropicMap;
pub use problem::Problem;
pub use semi_unbalanced::{SemiUnbalanced, SoftPlan};
pub use sinkhorn::{Outcome, Potentials, Sinkhorn};
