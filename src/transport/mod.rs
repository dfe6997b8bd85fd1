//! Optimal transport between two measures. Problem, solver and outcome are three types; exact where it is cheap or closed.

mod anderson;
pub mod assignment;
pub mod convention;
pub mod divergence;
pub mod error;
pub mod gaussian;
pub mod gradient;
pub mod hessian;
pub mod line;
pub mod map;
mod multiscale;
pub mod outcome;
pub mod pairs;
pub mod problem;
pub mod semi_unbalanced;
pub mod sinkhorn;
pub mod start;

pub use assignment::{Assignment, assign};
pub use convention::Convention;
pub use divergence::Divergence;
pub use error::TransportError;
pub use gaussian::{AffineMap, EntropicPlan, Gaussian, UnbalancedPlan};
pub use gradient::Gradient;
pub use hessian::HessianProduct;
pub use line::{LinePair, LinePlan};
pub use map::EntropicMap;
pub use outcome::{Outcome, Residual, Verdict};
pub use problem::Problem;
pub use semi_unbalanced::{SemiUnbalanced, SoftPlan};
pub use sinkhorn::{Potentials, Sinkhorn};
pub use start::subsample;
