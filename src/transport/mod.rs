//! Optimal transport between two measures. Problem, solver and outcome are three types; exact where it is cheap or closed.
//!
//! ```
//! use brenier::backend::{Device, Precision};
//! use brenier::measure::Cloud;
//! use brenier::transport::{Divergence, Plan, Problem, Sinkhorn};
//!
//! let device = Device::cpu(Precision::F64);
//! let (x, y) = (Cloud::new(vec![0.0, 1.0], 1)?, Cloud::new(vec![2.0, 3.0], 1)?);
//! let problem = Problem::new(&x, &y, 0.01)?;
//! let outcome = Sinkhorn::default().solve(&problem, &device)?;
//! let images = Plan::new(&problem, &outcome.potentials)?.apply(y.points(), 1, &device)?; // Σ_j P_ij y_j, and a_i = ½
//! assert!((images[0] - 1.0).abs() < 1e-2 && (images[1] - 1.5).abs() < 1e-2);
//! let divergence = Divergence::to(&y, 0.01, Sinkhorn::default(), &device)?;
//! assert!((divergence.from(&x, &device)? - 2.0).abs() < 1e-2); // ½W₂² of a shift by 2
//! assert!(divergence.from(&y, &device)?.abs() < 1e-2);
//! # Ok::<(), brenier::Error>(())
//! ```

pub mod any_plan;
pub mod assignment;
pub mod barycenter;
mod batch;
pub mod by_class;
mod collapse;
pub mod conditional;
pub mod convention;
pub mod cost;
pub mod divergence;
pub mod error;
pub mod exact;
pub mod gaussian;
pub mod gradient;
pub mod hessian;
mod hold;
pub mod images;
pub mod line;
pub mod low_rank;
pub mod map;
mod multiscale;
pub mod outcome;
pub mod pairs;
pub mod plan;
pub mod plan_chain;
pub mod problem;
pub mod projection;
pub mod scale;
pub mod semidiscrete;
mod sharpness;
pub mod sinkhorn;
pub mod sliced;
pub mod soft_plan;
mod solve;
pub mod solved;
pub mod solver;
pub mod start;
mod values;

pub use any_plan::AnyPlan;
pub use assignment::{Assignment, assign};
pub use barycenter::{Barycenter, Between, Coupling};
pub use by_class::{ClassLabels, ClassPairing, ClassPairs, ClassProblem};
pub use conditional::{Conditional, Draws, Partners};
pub use convention::Convention;
pub use cost::{CostFunction, GroundCost};
pub use divergence::{Divergence, Gradients};
pub use error::TransportError;
pub use exact::{ExactPlan, PlanEntry};
pub use gaussian::{AffineMap, ClosedForm, EntropicPlan, Gaussian, UnbalancedPlan};
pub use gradient::Gradient;
pub use hessian::HessianProduct;
pub use images::Images;
pub use line::LinePlan;
pub use low_rank::{LowRank, LowRankPlan};
pub use map::EntropicMap;
pub use outcome::{Outcome, Verdict};
pub use pairs::{Pairing, Pairs};
pub use plan::{Plan, PlanEntropy};
pub use plan_chain::{PlanChain, Transferred, Transition};
pub use problem::{ClassCosts, LabelCost, Problem};
pub use projection::Projection;
pub use scale::{CostScale, ScaleOf};
pub use semidiscrete::{Ascent, Fit, Semidiscrete};
pub use sliced::{SlicedDistance, sliced_w2};
pub use soft_plan::SoftPlan;
pub use solved::Solved;
pub use solver::{Potentials, Sinkhorn};
pub use start::subsample;
