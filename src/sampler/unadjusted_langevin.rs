//! Unadjusted Langevin on a law π ∝ e^{−V}: x ← x + τ ∇log π(x) + √(2τ) z (Roberts, Tweedie 1996).
//!
//! With σ → 0, x + τ∇log π = x̂₀ + (σ − τ/σ) ε̂ at the level (1, σ). Settles at σ²/(1 − τ/2σ²) where π is N(0, σ²); τ < 2σ². Mode
//! weights are those of the basins of V until the particles cross its barriers. Stochastic, one evaluation a step.

use crate::measure::Mixture;
use crate::path::{Grid, Level};
use crate::program::{Program, Step};
use crate::sampler::{Method, RunError};

/// Unadjusted Langevin; of the grid only the number of steps counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnadjustedLangevin {
    /// The step τ > 0.
    pub tau: f64,
}

/// The noise level that stands for none: its square, 1e-12, is added to the law's variances.
pub(crate) const DATA: Level = Level { t: 1.0, alpha: 1.0, sigma: 1e-6, alpha_dot: 0.0, sigma_dot: 0.0 };

impl UnadjustedLangevin {
    /// `steps` steps.
    pub fn steps(&self, steps: usize) -> Program {
        std::iter::repeat_n(drift(DATA, self.tau).add_noise((2.0 * self.tau).sqrt()), steps).collect()
    }
}

/// Refuses steps of length `step` down V that do not settle in the narrowest mode of `law`: there V is as steep as x/λ, with λ the
/// least variance, and a step multiplies x by 1 − τ/λ.
///
/// # Errors
/// [`RunError::Unstable`] unless τ < 2λ.
pub fn settles(method: &'static str, step: f64, law: &Mixture) -> Result<(), RunError> {
    let variance = law.least_variance();
    if step < 2.0 * variance { Ok(()) } else { Err(RunError::Unstable { method, step, variance }) }
}

/// x ← x + τ∇log p(x) at a level with noise.
pub(crate) fn drift(level: Level, tau: f64) -> Step {
    Step::evaluate(level, level.alpha, level.sigma - tau / level.sigma)
}

impl Method for UnadjustedLangevin {
    fn program(&self, grid: &Grid) -> Program {
        self.steps(grid.levels().len() - 1)
    }

    fn order(&self) -> Option<u32> {
        None
    }
}
