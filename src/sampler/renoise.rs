//! Denoise and renoise: multistep consistency sampling (Song et al. 2023, algorithm 1).
//!
//! ```text
//! x′ = α′ x̂₀ + σ′ z
//! ```
//!
//! All noise is drawn afresh at each step, so errors of one step are forgotten in the next. Stochastic, one evaluation.

use crate::path::Grid;
use crate::program::{Program, Step};
use crate::sampler::Method;

/// Denoise to x̂₀, then renoise to the next level.
///
/// ```
/// use brenier::path::{Grid, Schedule};
/// use brenier::sampler::{Method, Renoise};
///
/// let program = Renoise.program(&Grid::uniform(&Schedule::CondOt, 4)?);
/// assert!(program.nfe() == 4 && !program.is_deterministic());
/// # Ok::<(), brenier::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renoise;

impl Method for Renoise {
    fn program(&self, grid: &Grid) -> Program {
        grid.steps().map(|(from, to)| Step::evaluate(from, to.alpha, 0.0).add_noise(to.sigma)).collect()
    }

    fn order(&self) -> Option<u32> {
        None
    }
}
