//! The explicit score step: the Euler step of the reversed Fokker–Planck flow, which undoes a JKO step exactly.
//!
//! From level (α, σ) to (α′, σ′), with τ the time of the noise's own flow between them (its free energy F = ∫V + ∫ρ log ρ),
//!
//! ```text
//! x′ = x + τ (∇V + ∇log p)(x)       α² + σ² = 1: ∇V = x, τ = log(α′/α)        α = 1: ∇V = 0, τ = (σ² − σ′²)/2
//! ```
//!
//! x = x′ + τ(∇V + ∇log ρ′)(x′) is what defines the JKO step x → x′ of F (Jordan, Kinderlehrer, Otto 1998), so this is its inverse,
//! with no error in τ; the samplers' own steps are this one up to O(τ²). From pure noise, where ∇V + ∇log p = 0, it stays. Order 1,
//! one evaluation. Not to be confused with [`Euler`](crate::sampler::Euler), whose clock is that of the schedule.

use crate::path::{Grid, Level};
use crate::program::{Program, Step};
use crate::sampler::Method;

/// The explicit score step; on a variance-preserving grid, or one with α = 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExplicitScore;

impl ExplicitScore {
    /// The step from one level to another.
    pub fn step(self, from: Level, to: Level) -> Step {
        let (tau, slope) = if from.alpha == 1.0 && to.alpha == 1.0 {
            (0.5 * (from.sigma - to.sigma) * (from.sigma + to.sigma), 0.0)
        } else if from.alpha == 0.0 {
            (0.0, 0.0)
        } else {
            ((to.alpha / from.alpha).ln(), 1.0)
        };
        let kept = 1.0 + slope * tau; // x = α x̂₀ + σ ε̂ and ∇log p = −ε̂/σ
        Step::evaluate(from, kept * from.alpha, kept * from.sigma - tau / from.sigma)
    }
}

impl Method for ExplicitScore {
    fn program(&self, grid: &Grid) -> Program {
        grid.steps().map(|(from, to)| self.step(from, to)).collect()
    }

    fn order(&self) -> Option<u32> {
        Some(1)
    }
}
