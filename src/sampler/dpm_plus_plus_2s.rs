//! DPM-Solver++(2S) (Lu et al. 2023, algorithm 1), ancestral: two evaluations of x̂₀ a step, the second at the geometric mean.
//!
//! In y = x/α, with q↓ and u of an ancestral step and m = √(q q↓):
//!
//! ```text
//! y₂ = (m/q) y + (1 − m/q) x̂₀(y, q)        y′ = (q↓/q) y + (1 − q↓/q) x̂₀(y₂, m) + u z
//! ```
//!
//! Order 2 when η = 0; a step to q↓ = 0 is of order 1.

use crate::path::{Grid, Level};
use crate::program::{Op, Program, STATE, Step};
use crate::sampler::Method;
use crate::sampler::ancestral::{between, first_order, split};

/// DPM-Solver++(2S), ancestral with η > 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DpmPlusPlus2S {
    /// η in [0, 1]: 0 deterministic, 1 ancestral.
    pub eta: f64,
    /// Factor of the noise, 1 for the ancestral step itself.
    pub noise: f64,
}

impl Method for DpmPlusPlus2S {
    fn program(&self, grid: &Grid) -> Program {
        let step = |(from, to): (Level, Level)| {
            let q = from.ratio();
            let (down, up) = split(q, to.ratio(), self.eta);
            if q.is_infinite() || down == 0.0 {
                return first_order(from, to, self.eta);
            }
            let m = (q * down).sqrt();
            let middle = between(from, to, m);
            let toward =
                |level: Level, kept: f64| vec![(STATE, level.alpha / from.alpha * kept), (1, level.alpha * (1.0 - kept))];
            Step::default()
                .then(Op::Evaluate { level: from, src: STATE, p: 1.0, q: 0.0, dst: 1 })
                .then(Op::Combine { dst: 1, terms: toward(middle, m / q) })
                .then(Op::Evaluate { level: middle, src: 1, p: 1.0, q: 0.0, dst: 1 })
                .then(Op::Combine { dst: STATE, terms: toward(to, down / q) })
                .add_noise(to.alpha * up * self.noise)
        };
        grid.steps().map(step).collect()
    }

    fn order(&self) -> Option<u32> {
        (self.eta == 0.0).then_some(2)
    }
}
