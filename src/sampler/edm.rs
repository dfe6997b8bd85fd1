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

/// The magnification from which on a user hears of it.
const MAGNIFIED: f64 = 10.0;

/// EDM's sampler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edm {
    /// Heun's second stage; otherwise Euler steps.
    pub second_order: bool,
    /// Noise put back at each step.
    pub churn: Churn,
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

    /// The level q̂ that churn makes of `from` in a run of `n` steps, and the factor of the noise that takes the particles there.
    pub(super) fn churned(&self, from: Level, n: usize) -> (Level, f64) {
        let gamma = self.churn.gamma(from.ratio(), n);
        let noisy = Level { sigma: from.sigma * (1.0 + gamma), ..from };
        (noisy, self.churn.noise * (noisy.sigma.powi(2) - from.sigma.powi(2)).sqrt())
    }

    /// The Euler step α′x̂₀ + σ′ε̂, which is regular at pure noise.
    pub(super) fn euler(noisy: Level, to: Level) -> Op {
        Op::Evaluate { level: noisy, src: STATE, p: to.alpha, q: to.sigma, dst: STATE }
    }

    /// α′/α and α′ (q′ − q̂), the factors of x and of its slope d.
    pub(super) fn factors(from: Level, noisy: Level, to: Level) -> (f64, f64) {
        let scale = to.alpha / from.alpha;
        (scale, to.sigma - scale * noisy.sigma)
    }
}

impl Method for Edm {
    fn program(&self, grid: &Grid) -> Program {
        let n = grid.levels().len() - 1;
        let step = |(from, to): (Level, Level)| {
            let (noisy, added) = self.churned(from, n);
            let step = Step::default().add_noise(added);
            if !self.second_order || from.alpha == 0.0 || to.sigma == 0.0 {
                return step.then(Self::euler(noisy, to));
            }
            let (scale, slope) = Self::factors(from, noisy, to);
            let evaluate = |level, src| Op::Evaluate { level, src, p: 0.0, q: 1.0, dst: 2 };
            step.then(evaluate(noisy, STATE))
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

    fn advice(&self, grid: &Grid) -> Option<String> {
        let factor = if self.second_order { Self::magnification(grid) } else { 0.0 };
        let steps = grid.levels().len() - 1;
        let plural = if steps == 1 { "" } else { "s" };
        (factor > MAGNIFIED).then(|| {
            format!(
                "edm-heun in {steps} step{plural} falls so far at once that its second stage magnifies what the first leaves by {factor:.0}: take more steps, or edm-euler"
            )
        })
    }
}
