//! EDM's stochastic sampler (Karras et al. 2022, algorithm 2): churn, then an Euler or Heun step, on levels with α = 1.
//!
//! ```text
//! q̂ = (1 + γ) q        x̂ = x + S_noise √(q̂² − q²) z        γ = min(S_churn/n, √2 − 1)  where S_min ≤ q ≤ S_max, else 0
//! d = ε̂(x̂, q̂)        y = x̂ + (q′ − q̂) d        x′ = x̂ + ½ (q′ − q̂)(d + ε̂(y, q′))
//! ```
//!
//! Without churn this is Euler's or Heun's method in σ, order 1 or 2. A step to σ′ = 0 is Euler's, so Heun's method makes 2n − 1
//! evaluations in n steps down to the data, and one step is x̂₀ ([`Grid::spaced_to_data`]). In few steps from far above the width of
//! the data to far below it the second stage is worse than none: [`Edm::magnification`]. On other grids it works in x/α and
//! σ/α; at pure noise, where that is infinite, there is nothing to churn and the step is Euler's.

use crate::path::{Grid, Level};
use crate::program::{Op, Program, STATE, Step};
use crate::sampler::Method;

/// EDM's sampler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edm {
    /// Heun's second stage; otherwise Euler steps.
    pub second_order: bool,
    /// Noise put back at each step.
    pub churn: Churn,
    /// Evaluate the field before the churn, at the level without it, as diffusers' Euler does (`compat churn_after_model`):
    /// the noise then misses its correction.
    pub churn_after_model: bool,
    /// Draw noise in every step, also where there is no churn to use it (`compat unused_draws`).
    pub unused_draws: bool,
}

/// EDM's churn: how much noise is put back where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Churn {
    /// S_churn ≥ 0, spread over all steps.
    pub amount: f64,
    /// S_min: no churn at levels below.
    pub min: f64,
    /// S_max: no churn at levels above.
    pub max: f64,
    /// S_noise, factor of the noise.
    pub noise: f64,
}

impl Churn {
    /// No churn: the deterministic sampler.
    pub const NONE: Self = Self { amount: 0.0, min: 0.0, max: f64::INFINITY, noise: 1.0 };

    /// γ at noise level `q` in a run of `n` steps; 0 at pure noise.
    fn gamma(&self, q: f64, n: usize) -> f64 {
        if q.is_finite() && (self.min..=self.max).contains(&q) { (self.amount / n as f64).min(2.0_f64.sqrt() - 1.0) } else { 0.0 }
    }
}

impl Edm {
    /// The most by which a Heun step along `grid` magnifies what its first stage leaves, q/2q′: ε̂ = (y − x̂₀)/q′ is evaluated at the
    /// Euler step's y, and has the weight ½q. Only where q′ is below the width of the data is something left.
    pub fn magnification(grid: &Grid) -> f64 {
        let of_step = |(from, to): (Level, Level)| if to.sigma > 0.0 { 0.5 * from.ratio() / to.ratio() } else { 0.0 };
        grid.steps().map(of_step).filter(|magnified| magnified.is_finite()).fold(0.0, f64::max)
    }
}

impl Method for Edm {
    fn program(&self, grid: &Grid) -> Program {
        let n = grid.levels().len() - 1;
        let step = |(from, to): (Level, Level)| {
            let gamma = self.churn.gamma(from.ratio(), n);
            let noisy = Level { sigma: from.sigma * (1.0 + gamma), ..from };
            let added = self.churn.noise * (noisy.sigma.powi(2) - from.sigma.powi(2)).sqrt();
            let scale = to.alpha / from.alpha;
            let slope = to.sigma - scale * noisy.sigma; // α′ (q′ − q̂)
            let noise = if added == 0.0 && self.unused_draws {
                Step::default().then(Op::Draw { dst: 1, draw: 0 })
            } else {
                Step::default().add_noise(added)
            };
            let evaluate = |level, src| Op::Evaluate { level, src, p: 0.0, q: 1.0, dst: 2 };
            // α′x̂₀ + σ′ε̂ is the Euler step, and regular at pure noise.
            let euler = Op::Evaluate { level: noisy, src: STATE, p: to.alpha, q: to.sigma, dst: STATE };
            if from.alpha == 0.0 {
                return noise.then(euler);
            }
            if self.churn_after_model {
                let first = Step::default().then(evaluate(from, STATE));
                let churned = Step { ops: [first.ops, noise.ops].concat() };
                return churned.then(Op::Combine { dst: STATE, terms: vec![(STATE, scale), (2, slope)] });
            }
            if !self.second_order || to.sigma == 0.0 {
                return noise.then(euler);
            }
            noise
                .then(evaluate(noisy, STATE))
                .then(Op::Combine { dst: 3, terms: vec![(STATE, scale), (2, slope)] })
                .then(Op::Combine { dst: STATE, terms: vec![(STATE, scale), (2, 0.5 * slope)] })
                .then(evaluate(to, 3))
                .then(Op::Combine { dst: STATE, terms: vec![(STATE, 1.0), (2, 0.5 * slope)] })
        };
        grid.steps().map(step).collect()
    }

    fn order(&self) -> Option<u32> {
        (self.churn.amount == 0.0).then_some(if self.second_order { 2 } else { 1 })
    }
}
