//! Euler's method on the probability-flow ODE (Song et al. 2021, eq. 13), which for CondOT levels is that of flow matching
//! (Lipman et al. 2023, eq. 15).
//!
//! ```text
//! dx/dt = α̇ x̂₀ + σ̇ ε̂        x′ = x + h (α̇ x̂₀ + σ̇ ε̂) = (α + h α̇) x̂₀ + (σ + h σ̇) ε̂
//! ```
//!
//! The last form, with x = α x̂₀ + σ ε̂ put in, is one evaluation and exact where it matters: the last CondOT step gives x̂₀.
//! Order 1, one evaluation. Not [`Ddim`](crate::sampler::Ddim), which is Euler's method in x/α against σ/α: the two agree on
//! CondOT levels only.

use crate::path::{Grid, Level};
use crate::program::{Program, Step};
use crate::sampler::Method;

/// Euler's method in t: `pf-euler` on a diffusion's schedule, `fm-euler` on CondOT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Euler;

impl Method for Euler {
    fn program(&self, grid: &Grid) -> Program {
        grid.steps()
            .map(|(from, to)| {
                let (p, q) = step(from, to.t - from.t);
                Step::evaluate(from, p, q)
            })
            .collect()
    }

    fn order(&self) -> Option<u32> {
        Some(1)
    }
}

/// (p, q) of x + h (α̇ x̂₀ + σ̇ ε̂) = p x̂₀ + q ε̂ at `level`.
pub(super) fn step(level: Level, h: f64) -> (f64, f64) {
    (level.alpha + h * level.alpha_dot, level.sigma + h * level.sigma_dot)
}
