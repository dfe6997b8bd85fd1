//! DPM-Solver++ (Lu et al. 2023, algorithms 1–2 and appendix B): multistep exponential integrators in λ = log(α/σ), in x̂₀.
//!
//! With h = λ′ − λ, H = (1 + η) h, D the denoised points of this step and of the ones before it (h₁, h₂ their steps) and
//! A = (D − D₁) h/h₁, B = (D₁ − D₂) h/h₂,
//!
//! ```text
//! x′ = (σ′/σ) e^{−ηh} x + α′ (1 − e^{−H}) D + α′ C + σ′ √(1 − e^{−2ηh}) s z
//! order 1: C = 0        order 2: C = ½ (1 − e^{−H}) A  (midpoint)   or   φ₂ A  (Heun)
//! order 3: C = φ₂ (A + (A − B) h₁/(h₁ + h₂)) − 2φ₃ (A − B) h/(h₁ + h₂)
//! φ₂ = 1 − (1 − e^{−H})/H        φ₃ = φ₂/H − ½
//! ```
//!
//! η = 0 is the ODE: order 1 is [`Ddim`](crate::sampler::Ddim), and orders 2 and 3 are "2M" and "3M". η = 1 is SDE-DPM-Solver++.
//! One evaluation a step. The first steps have no history and are of lower order, and so is a step to σ′ = 0, where λ′ = ∞. The
//! published code has φ₃ in place of 2φ₃ in order 3: half the curvature of x̂₀, so of order 2; see
//! [`HalfCurvature`](crate::sampler::compat::HalfCurvature). It also lowers the order of the last steps of short runs; see
//! [`DpmPlusPlus::lower_below`].

use crate::path::{Grid, Level};
use crate::program::{Op, Program, STATE, Step};
use crate::sampler::Method;

/// DPM-Solver++ of order 1 to 3.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DpmPlusPlus {
    /// Highest order used, 1 to 3.
    pub order: usize,
    /// The rule of the steps of order 2.
    pub second: SecondOrder,
    /// η ≥ 0: 0 deterministic, 1 the reverse SDE.
    pub eta: f64,
    /// Factor s of the noise, 1 for the SDE itself.
    pub noise: f64,
    /// Runs of fewer steps than this end with steps of order 2 and 1: 15 in the literature, 0 for never.
    pub lower_below: usize,
}

/// How a step of order 2 uses the slope of x̂₀.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondOrder {
    /// ½ (1 − e^{−H}) A.
    Midpoint,
    /// φ₂ A, exact for x̂₀ linear in λ.
    Heun,
}

impl DpmPlusPlus {
    /// The deterministic solver of `order` 1 to 3.
    pub fn ode(order: usize) -> Self {
        Self { order, second: SecondOrder::Midpoint, eta: 0.0, noise: 1.0, lower_below: 15 }
    }
}

impl Method for DpmPlusPlus {
    fn program(&self, grid: &Grid) -> Program {
        self.with_curvature(2.0, grid)
    }

    fn order(&self) -> Option<u32> {
        (self.eta == 0.0).then_some(self.order as u32)
    }
}

impl DpmPlusPlus {
    /// The program with `curvature` φ₃ in order 3, where 2 is right.
    pub(super) fn with_curvature(&self, curvature: f64, grid: &Grid) -> Program {
        let n = grid.levels().len() - 1;
        let steps: Vec<f64> = grid.steps().map(|(from, to)| log_step(from, to)).collect();
        let step = |(i, (from, to)): (usize, (Level, Level))| {
            let h = steps[i];
            let decay = if self.eta == 0.0 { 1.0 } else { (-self.eta * h).exp() };
            let remaining = if n < self.lower_below { n - i } else { 3 };
            let order = self.order.min(i + 1).min(remaining).min(if to.sigma == 0.0 { 1 } else { 3 });
            let [now, before, two_before] = self.weights(order, h, |back| steps[i - back], curvature);
            let slot = |back: usize| 1 + (i - back) % 3;
            let mut terms = vec![(STATE, to.sigma / from.sigma * decay), (slot(0), to.alpha * now)];
            terms.extend((1..order).map(|back| (slot(back), to.alpha * [before, two_before][back - 1])));
            let step = Step::default()
                .then(Op::Evaluate { level: from, src: STATE, p: 1.0, q: 0.0, dst: slot(0) })
                .then(Op::Combine { dst: STATE, terms });
            step.add_noise_from(4, to.sigma * (1.0 - decay * decay).sqrt() * self.noise)
        };
        grid.steps().enumerate().map(step).collect()
    }

    /// Weights of D, D₁, D₂ without the factor α′, for a step h whose predecessors are `past(1)`, `past(2)`.
    fn weights(&self, order: usize, h: f64, past: impl Fn(usize) -> f64, curvature: f64) -> [f64; 3] {
        let total = (1.0 + self.eta) * h;
        let grown = -(-total).exp_m1();
        let phi_2 = 1.0 - grown / total;
        match order {
            1 => [grown, 0.0, 0.0],
            2 => {
                let slope = if self.second == SecondOrder::Midpoint { 0.5 * grown } else { phi_2 } * h / past(1);
                [grown + slope, -slope, 0.0]
            }
            _ => {
                let (a, b, span) = (h / past(1), h / past(2), past(1) + past(2));
                let curvature = curvature * (phi_2 / total - 0.5);
                let (of_a, of_b) = (phi_2, phi_2 * past(1) / span - curvature * h / span); // of A, and of A − B
                [grown + (of_a + of_b) * a, -(of_a + of_b) * a - of_b * b, of_b * b]
            }
        }
    }
}

/// h = λ′ − λ = log of the ratio of noise levels; ∞ from pure noise and to the data.
pub(super) fn log_step(from: Level, to: Level) -> f64 {
    (from.ratio() / to.ratio()).ln()
}
