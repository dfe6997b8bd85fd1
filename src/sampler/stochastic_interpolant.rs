//! The SDE with the marginals of the path and a free noise level w(t) (Albergo, Boffi, Vanden-Eijnden 2023, eq. 2.21; Ma et al.
//! 2024, "SiT", eq. 7), by Euler–Maruyama or stochastic Heun.
//!
//! ```text
//! dX = (v + w ∇log p) dt + √(2w) dW        v = α̇ x̂₀ + σ̇ ε̂,  ∇log p = −ε̂/σ
//! Euler: x′ = x + h f(x, t) + √(2wh) z
//! Heun:  x̂ = x + √(2wh) z,  K₁ = f(x̂, t),  K₂ = f(x̂ + h K₁, t′),  x′ = x̂ + ½h (K₁ + K₂)
//! ```
//!
//! w = 0 is the probability-flow ODE. Stochastic otherwise; one or two evaluations. The score at σ = 0 is that of the law itself.

use std::f64::consts::PI;

use crate::path::{Grid, Level};
use crate::program::{Op, Program, STATE, Step};
use crate::sampler::Method;

/// The noise level w(t) of the SDE, each with a factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Diffusion {
    /// w constant.
    Constant(f64),
    /// w = σ² α̇/α − σ σ̇: that of the diffusion whose marginals these are (Song et al. 2021). Infinite at α = 0.
    ScoreBased(f64),
    /// w = σ.
    Sigma(f64),
    /// w = 1 − t.
    Linear(f64),
    /// w = ¼ (c cos πt + 1)².
    Decreasing(f64),
    /// w = sin² πt.
    IncreasingDecreasing(f64),
}

impl Diffusion {
    /// w at a level.
    pub fn at(self, level: Level) -> f64 {
        let Level { t, alpha, sigma, alpha_dot, sigma_dot } = level;
        match self {
            Self::Constant(c) => c,
            Self::ScoreBased(c) => c * (alpha_dot / alpha * sigma * sigma - sigma * sigma_dot),
            Self::Sigma(c) => c * sigma,
            Self::Linear(c) => c * (1.0 - t),
            Self::Decreasing(c) => 0.25 * (c * (PI * t).cos() + 1.0).powi(2),
            Self::IncreasingDecreasing(c) => c * (PI * t).sin().powi(2),
        }
    }
}

/// How the last step of the grid is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastStep {
    /// Like the others.
    Same,
    /// The drift of the SDE, without noise.
    Mean,
    /// The velocity alone.
    Euler,
    /// x̂₀.
    Tweedie,
}

/// Euler–Maruyama or Heun on the SDE with noise level w.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StochasticInterpolant {
    /// w(t).
    pub diffusion: Diffusion,
    /// Heun's second stage.
    pub heun: bool,
    /// The last step.
    pub last: LastStep,
}

impl StochasticInterpolant {
    /// f(src) at `level` into `dst`; none where it is not finite.
    fn drift(&self, level: Level, src: usize, dst: usize) -> Option<Op> {
        let w = self.diffusion.at(level);
        let scored = if w == 0.0 { level } else { level.with_score() };
        let score = if w == 0.0 { 0.0 } else { w / scored.sigma };
        let q = level.sigma_dot - score;
        q.is_finite().then_some(Op::Evaluate { level: scored, src, p: level.alpha_dot, q, dst })
    }

    fn step(&self, from: Level, to: Level, first_stage: Level) -> Step {
        let h = to.t - from.t;
        let move_by = |dst, slope, h| Op::Combine { dst, terms: vec![(STATE, 1.0), (slope, h)] };
        let noise = (2.0 * self.diffusion.at(from) * h).sqrt();
        let first = self.drift(first_stage, STATE, 2);
        let stages = (first, self.drift(to, 4, 3));
        if let (true, (Some(first), Some(second))) = (self.heun, stages) {
            return Step::default()
                .add_noise(noise)
                .then(first)
                .then(move_by(4, 2, h))
                .then(second)
                .then(Op::Combine { dst: STATE, terms: vec![(STATE, 1.0), (2, 0.5 * h), (3, 0.5 * h)] });
        }
        self.mean(from, h).add_noise(noise)
    }

    /// x + h f.
    fn mean(&self, from: Level, h: f64) -> Step {
        let drift = self.drift(from, STATE, 2).into_iter();
        Step { ops: drift.chain([Op::Combine { dst: STATE, terms: vec![(STATE, 1.0), (2, h)] }]).collect() }
    }
}

impl StochasticInterpolant {
    /// The program with Heun's first stage at a level of each step's two.
    pub(super) fn with_first_stage(&self, stage: fn(Level, Level) -> Level, grid: &Grid) -> Program {
        let last = grid.levels().len() - 2;
        let step = |(i, (from, to)): (usize, (Level, Level))| match self.last {
            LastStep::Mean if i == last => self.mean(from, to.t - from.t),
            LastStep::Euler if i == last => {
                let (p, q) = super::euler::step(from, to.t - from.t);
                Step::evaluate(from, p, q)
            }
            LastStep::Tweedie if i == last => Step::evaluate(from, 1.0, 0.0),
            _ => self.step(from, to, stage(from, to)),
        };
        grid.steps().enumerate().map(step).collect()
    }
}

impl Method for StochasticInterpolant {
    fn program(&self, grid: &Grid) -> Program {
        self.with_first_stage(|from, _| from, grid)
    }

    fn order(&self) -> Option<u32> {
        None
    }
}
