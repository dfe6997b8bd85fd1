//! Heun's method on the probability-flow ODE dx/dt = v = α̇ x̂₀ + σ̇ ε̂ (Karras et al. 2022, algorithm 1, there in σ).
//!
//! ```text
//! y = x + h v(x, t)        x′ = x + ½h (v(x, t) + v(y, t′)) = ½ x + ½ (y + h v(y, t′))
//! ```
//!
//! The last form is the mean of x and of two Euler steps in a row, both taken with the field of their own level. Order 2, two
//! evaluations. A step to the data (σ′ = 0) is Euler's when v is not finite there, as on variance-preserving schedules, where
//! σ̇ = −∞. One step does not lower the order.

use crate::path::Grid;
use crate::program::{Op, Program, STATE, Step};
use crate::sampler::Method;
use crate::sampler::euler::step;

/// Heun's method in t: `pf-heun` on a diffusion's schedule, `fm-heun` on CondOT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heun {
    /// Take an Euler step to the data on every schedule: for fields that know only x̂₀ at σ = 0, such as those of a data set.
    pub euler_last: bool,
}

impl Method for Heun {
    fn program(&self, grid: &Grid) -> Program {
        grid.steps()
            .map(|(from, to)| {
                let h = to.t - from.t;
                let (p, q) = step(from, h);
                if to.sigma == 0.0 && (self.euler_last || !to.sigma_dot.is_finite()) {
                    return Step::evaluate(from, p, q);
                }
                let (p_again, q_again) = step(to, h);
                Step::default()
                    .then(Op::Evaluate { level: from, src: STATE, p, q, dst: 1 })
                    .then(Op::Evaluate { level: to, src: 1, p: 0.5 * p_again, q: 0.5 * q_again, dst: 1 })
                    .then(Op::Combine { dst: STATE, terms: vec![(STATE, 0.5), (1, 1.0)] })
            })
            .collect()
    }

    fn order(&self) -> Option<u32> {
        Some(2)
    }
}
