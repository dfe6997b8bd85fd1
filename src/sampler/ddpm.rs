//! DDPM (Ho, Jain, Abbeel 2020, algorithm 2): ancestral sampling of the reverse chain.
//!
//! From level (α, σ) to (α′, σ′), with β = σ² − (α/α′)² σ′² the variance that the forward step adds (1 − ᾱ/ᾱ′ on a
//! variance-preserving schedule), eq. 7 in terms of x̂₀ and ε̂ is
//!
//! ```text
//! x′ = α′ x̂₀ + (α/α′)(σ′²/σ) ε̂ + √V z        V = β̃ = β σ′²/σ²  (fixed small)   or   V = β  (fixed large)
//! ```
//!
//! β̃ is the reverse step's variance for data in one point, β for data N(0, I). For data N(m, s² I) it is
//! V = β̃ + (α′β/σ²)² Var(x₀|x) with Var(x₀|x) = s²σ²/(α²s² + σ²) (Bao et al. 2022, theorem 1), which reproduces them exactly in
//! any number of steps. Stochastic, one evaluation. The last step, to σ′ = 0, draws noise only in the exact case: the mean is
//! the better sample.

use crate::path::{Grid, Level};
use crate::program::{Program, Step};
use crate::sampler::Method;

/// DDPM's ancestral sampler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ddpm {
    /// Variance of the reverse step.
    pub variance: Variance,
}

/// The variance V of a reverse step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Variance {
    /// β̃, that of the posterior given x₀: "fixed small".
    Posterior,
    /// β, that of the forward step: "fixed large".
    Forward,
    /// Exact for data N(m, s² I).
    Gaussian {
        /// s².
        data: f64,
    },
}

impl Variance {
    pub(super) fn between(self, from: Level, to: Level) -> f64 {
        let added = forward_variance(from, to);
        let posterior = added * (to.sigma / from.sigma).powi(2);
        match self {
            Self::Posterior => posterior,
            Self::Forward if to.sigma == 0.0 => 0.0,
            Self::Forward => added,
            Self::Gaussian { data } => {
                let unknown = data * from.sigma.powi(2) / (from.alpha.powi(2) * data + from.sigma.powi(2));
                posterior + (to.alpha * added / from.sigma.powi(2)).powi(2) * unknown
            }
        }
    }
}

impl Ddpm {
    /// The step from one level to another.
    pub fn step(&self, from: Level, to: Level) -> Step {
        self.mean(from, to).add_noise(self.variance.between(from, to).sqrt())
    }

    pub(super) fn mean(&self, from: Level, to: Level) -> Step {
        Step::evaluate(from, to.alpha, from.alpha / to.alpha * to.sigma.powi(2) / from.sigma)
    }
}

impl Method for Ddpm {
    fn program(&self, grid: &Grid) -> Program {
        grid.steps().map(|(from, to)| self.step(from, to)).collect()
    }

    fn order(&self) -> Option<u32> {
        None
    }
}

/// β = σ² − (α/α′)² σ′²: the variance that the forward step adds on its way back from `to`, the cleaner level, to `from`.
pub(super) fn forward_variance(from: Level, to: Level) -> f64 {
    (from.sigma.powi(2) - (from.alpha / to.alpha * to.sigma).powi(2)).max(0.0)
}
