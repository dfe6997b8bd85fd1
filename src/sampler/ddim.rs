//! DDIM (Song, Meng, Ermon 2021, eq. 12 and 16): one step along the model's own noise.
//!
//! From level (α, σ) to (α′, σ′), with x̂₀ the denoised point and ε̂ = (x − α x̂₀)/σ:
//!
//! ```text
//! x′ = α′ x̂₀ + √(σ′² − s²) ε̂ + s z        s = η (σ′/σ) √(σ² − (α/α′)² σ′²)
//! ```
//!
//! η = 0 is deterministic and does not depend on how x is scaled: on CondOT levels it is the Euler step of flow matching, on
//! α = 1 the Euler step in σ. η = 1 is [`Ddpm`](crate::sampler::Ddpm) with the posterior's variance.
//! Order 1, one evaluation. Not to be confused with [`Euler`](crate::sampler::Euler) on the probability-flow ODE, which depends
//! on the scaling of x and on the clock.

use crate::path::{Grid, Level};
use crate::program::{Op, Program, STATE, Step};
use crate::sampler::Method;
use crate::sampler::ddpm::forward_variance;

/// DDIM with noise level `eta`: 0 deterministic, 1 ancestral.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ddim {
    /// η in [0, 1], dimensionless.
    pub eta: f64,
}

impl Ddim {
    /// The step from one level to another.
    pub fn step(&self, from: Level, to: Level) -> Step {
        let s = self.eta * to.sigma / from.sigma * forward_variance(from, to).sqrt();
        let along_noise = (to.sigma.powi(2) - s * s).max(0.0).sqrt();
        Step::evaluate(from, to.alpha, along_noise).add_noise(s)
    }

    /// The same step with the denoised point clamped to [−`range`, `range`]; ε̂ is that of the field, as in the published code
    /// of DDPM and DDIM.
    ///
    /// ```
    /// use brenier::path::{Grid, Schedule};
    /// use brenier::program::Program;
    /// use brenier::sampler::Ddim;
    ///
    /// let grid = Grid::uniform(&Schedule::linear_vp(0.1, 20.0)?, 10)?;
    /// let clipped: Program = grid.steps().map(|(from, to)| Ddim { eta: 0.0 }.clipped_step(from, to, 1.0)).collect();
    /// assert_eq!(clipped.nfe(), 10);
    /// # Ok::<(), brenier::Error>(())
    /// ```
    pub fn clipped_step(&self, from: Level, to: Level, range: f64) -> Step {
        let s = self.eta * to.sigma / from.sigma * forward_variance(from, to).sqrt();
        let along_noise = (to.sigma.powi(2) - s * s).max(0.0).sqrt() / from.sigma;
        let (denoised, noise) = (2, 3);
        Step::default()
            .then(Op::Evaluate { level: from, src: STATE, p: 1.0, q: 0.0, dst: denoised })
            .then(Op::Combine { dst: noise, terms: vec![(STATE, 1.0), (denoised, -from.alpha)] })
            .then(Op::Clip { register: denoised, low: -range, high: range })
            .then(Op::Combine { dst: STATE, terms: vec![(denoised, to.alpha), (noise, along_noise)] })
            .add_noise(s)
    }
}

impl Method for Ddim {
    fn program(&self, grid: &Grid) -> Program {
        grid.steps().map(|(from, to)| self.step(from, to)).collect()
    }

    fn order(&self) -> Option<u32> {
        (self.eta == 0.0).then_some(1)
    }
}
