//! Optimal transport between two measures. Problem, solver and outcome are three types; exact where it is cheap or closed.

pub mod assignment;
pub mod divergence;
pub mod error;
pub mod exact;
pub mod gaussian;
pub mod line;
pub mod map;
pub mod pairs;
pub mod problem;
pub mod semi_unbalanced;
pub mod sinkhorn;
pub mod sliced;

pub use assignment::{Assignment, assign};
pub use divergence::Divergence;
pub use error::TransportError;
pub use exact::{ExactPlan, PlanEntry};
pub use gaussian::{AffineMap, EntropicPlan, Gaussian};
pub use line::LinePlan;
pub use map::EntropicMap;
pub use problem::Problem;
pub use semi_unbalanced::{SemiUnbalanced, SoftPlan};
pub use sinkhorn::{Outcome, Potentials, Sinkhorn};
pub use sliced::{SlicedDistance, sliced_w2};
