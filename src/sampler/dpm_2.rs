//! DPM-Solver-2 in the noise level (Karras et al. 2022's notation; Lu et al. 2022): midpoint steps at the geometric mean.
//!
//! In y = x/α, with q↓ and u of an ancestral step (q↓ = q′, u = 0 when η = 0) and m = √(q q↓):
//!
//! ```text
//! y₂ = y + (m − q) ε̂(y, q)        y′ = y + (q↓ − q) ε̂(y₂, m) + u z
//! ```
//!
//! Order 2 when η = 0, two evaluations; a step to q↓ = 0 is Euler's in q.

use crate::path::Grid;
use crate::program::{Op, Program, STATE, Step};
use crate::sampler::Method;
use crate::sampler::ancestral::{between, first_order, split};

/// DPM-Solver-2, ancestral with η > 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dpm2 {
    /// η in [0, 1]: 0 deterministic, 1 ancestral.
    pub eta: f64,
    /// Factor of the noise, 1 for the ancestral step itself.
    pub noise: f64,
}

impl Method for Dpm2 {
    fn program(&self, grid: &Grid) -> Program {
        let step = |(from, to): (crate::path::Level, crate::path::Level)| {
            let q = from.ratio();
            let (down, up) = split(q, to.ratio(), self.eta);
            if q.is_infinite() || down == 0.0 {
                return first_order(from, to, self.eta);
            }
            let middle = between(from, to, (q * down).sqrt());
            let scale = middle.alpha / from.alpha;
            Step::default()
                .then(Op::Evaluate { level: from, src: STATE, p: 0.0, q: 1.0, dst: 1 })
                .then(Op::Combine { dst: 1, terms: vec![(STATE, scale), (1, middle.sigma - scale * from.sigma)] })
                .then(Op::Evaluate { level: middle, src: 1, p: 0.0, q: 1.0, dst: 1 })
                .then(Op::Combine { dst: STATE, terms: vec![(STATE, to.alpha / from.alpha), (1, to.alpha * (down - q))] })
                .add_noise(to.alpha * up * self.noise)
        };
        grid.steps().map(step).collect()
    }

    fn order(&self) -> Option<u32> {
        (self.eta == 0.0).then_some(2)
    }
}
