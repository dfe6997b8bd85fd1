//! DPM-Solver-2M in ε̂ (Lu et al. 2022, eq. 3.7, as a multistep method): the exponential integrator in λ = log(α/σ) of the noise.
//!
//! ```text
//! x′ = (α′/α) x − σ′ (e^h − 1) (ε̂ + ½ (ε̂ − ε̂₁) h/h₁)        h = λ′ − λ, h₁ and ε̂₁ of the step before
//! ```
//!
//! Order 2, one evaluation. Near the data it is less stable than [`DpmPlusPlus`](crate::sampler::DpmPlusPlus), which holds x̂₀;
//! the first step, a step to σ′ = 0 and the last of a short run are of order 1.

use crate::path::Grid;
use crate::program::{Op, Program, STATE, Step};
use crate::sampler::Method;
use crate::sampler::dpm_plus_plus::log_step;

/// DPM-Solver-2M in ε̂.
///
/// ```
/// use brenier::path::{Grid, Schedule};
/// use brenier::sampler::{DpmSolver, Method};
///
/// let grid = Grid::uniform(&Schedule::linear_vp(0.1, 20.0)?, 20)?;
/// assert_eq!(DpmSolver { lower_below: 15 }.program(&grid).nfe(), 20);
/// # Ok::<(), brenier::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DpmSolver {
    /// Runs of fewer steps than this end with a step of order 1: 15 in the literature, 0 for never.
    pub lower_below: usize,
}

impl Method for DpmSolver {
    fn program(&self, grid: &Grid) -> Program {
        let n = grid.levels().len() - 1;
        let mut before = f64::INFINITY;
        let step = |(i, (from, to)): (usize, _)| {
            let h = log_step(from, to);
            let last = to.sigma == 0.0 || (i + 1 == n && n < self.lower_below);
            let slope = if last { 0.0 } else { 0.5 * h / before };
            before = h;
            // α′x̂₀ + σ′ε̂ is the step of order 1 and is finite where h is not.
            let (now, old) = (1 + i % 2, 2 - i % 2);
            let grown = if slope == 0.0 { 0.0 } else { to.sigma * h.exp_m1() * slope };
            let noise = to.sigma - to.alpha / from.alpha * from.sigma;
            let first = if from.alpha == 0.0 || to.sigma == 0.0 {
                return Step::evaluate(from, to.alpha, to.sigma);
            } else {
                Op::Evaluate { level: from, src: STATE, p: 0.0, q: 1.0, dst: now }
            };
            let terms = vec![(STATE, to.alpha / from.alpha), (now, noise - grown), (old, grown)];
            let terms = if grown == 0.0 { terms[..2].to_vec() } else { terms };
            Step::default().then(first).then(Op::Combine { dst: STATE, terms })
        };
        grid.steps().enumerate().map(step).collect()
    }

    fn order(&self) -> Option<u32> {
        Some(2)
    }
}
