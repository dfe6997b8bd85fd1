//! Unadjusted Langevin on a law π ∝ e^{−V}: x ← x + τ ∇log π(x) + √(2τ) z (Roberts, Tweedie 1996).
//!
//! With σ → 0, x + τ∇log π = x̂₀ + (σ − τ/σ) ε̂ at the level (1, σ). Settles at σ²/(1 − τ/2σ²) where π is N(0, σ²); τ < 2σ². Mode
//! weights are those of the basins of V until the particles cross its barriers. Stochastic, one evaluation a step.

use crate::path::{Grid, Level};
use crate::sampler::Method;
use crate::sampler::program::{Program, Step};

/// Unadjusted Langevin; of the grid only the number of steps counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Langevin {
    /// The step τ > 0.
    pub tau: f64,
}

/// The noise level that stands for none: its square, 1e-12, is added to the law's variances.
pub(crate) const DATA: Level = Level { t: 1.0, alpha: 1.0, sigma: 1e-6, alpha_dot: 0.0, sigma_dot: 0.0 };

impl Langevin {
    /// `steps` steps.
    pub fn steps(&self, steps: usize) -> Program {
        std::iter::repeat_n(drift(DATA, self.tau).add_noise((2.0 * self.tau).sqrt()), steps).collect()
    }
}

/// x ← x + τ∇log p(x) at a level with noise.
pub(crate) fn drift(level: Level, tau: f64) -> Step {
    Step::evaluate(level, level.alpha, level.sigma - tau / level.sigma)
}

impl Method for Langevin {
    fn program(&self, grid: &Grid) -> Program {
        self.steps(grid.levels().len() - 1)
    }

    fn order(&self) -> Option<u32> {
        None
    }
}
