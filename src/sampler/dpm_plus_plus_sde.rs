//! SDE-DPM-Solver++ with one stage inside the step: the single-step relative of [`DpmPlusPlus`](crate::sampler::DpmPlusPlus).
//!
//! In y = x/α, with m = q^{1−r} q′^r and (q↓, u) the ancestral split of a step from q to m, then to q′:
//!
//! ```text
//! y₂ = (m↓/q) y + (1 − m↓/q) x̂₀(y, q) + u_m z₁
//! y′ = (q↓/q) y + (1 − q↓/q) ((1 − 1/2r) x̂₀(y, q) + (1/2r) x̂₀(y₂, m)) + u z₂
//! ```
//!
//! Two evaluations and two draws a step; stochastic unless η = 0. A step to the data is of order 1.

use crate::path::{Grid, Level};
use crate::program::{Op, Program, STATE, Step};
use crate::sampler::Method;
use crate::sampler::ancestral::{between, first_order, split};

/// The single-step SDE-DPM-Solver++.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DpmPlusPlusSde {
    /// η in [0, 1].
    pub eta: f64,
    /// Factor of the noise, 1 for the SDE itself.
    pub noise: f64,
    /// Where in log q the stage lies, in (0, 1]; ½ is usual.
    pub r: f64,
}

impl Method for DpmPlusPlusSde {
    fn program(&self, grid: &Grid) -> Program {
        let step = |(from, to): (Level, Level)| {
            let (q, next) = (from.ratio(), to.ratio());
            if q.is_infinite() || next == 0.0 {
                return first_order(from, to, self.eta);
            }
            let m = q.powf(1.0 - self.r) * next.powf(self.r);
            let middle = between(from, to, m);
            let ((down_m, up_m), (down, up)) = (split(q, m, self.eta), split(q, next, self.eta));
            let (second, kept) = (0.5 / self.r, down / q);
            let share = to.alpha * (1.0 - kept);
            let stage = vec![(STATE, middle.alpha / from.alpha * down_m / q), (1, middle.alpha * (1.0 - down_m / q))];
            let end = vec![(STATE, to.alpha / from.alpha * kept), (1, share * (1.0 - second)), (2, share * second)];
            let draws = |draw, scale, dst: usize| {
                let noisy = Op::Combine { dst, terms: vec![(dst, 1.0), (3, scale * self.noise)] };
                if scale == 0.0 { vec![] } else { vec![Op::Draw { dst: 3, draw }, noisy] }
            };
            let mut ops = vec![Op::Evaluate { level: from, src: STATE, p: 1.0, q: 0.0, dst: 1 }];
            ops.push(Op::Combine { dst: 2, terms: stage });
            ops.extend(draws(0, middle.alpha * up_m, 2));
            ops.push(Op::Evaluate { level: middle, src: 2, p: 1.0, q: 0.0, dst: 2 });
            ops.push(Op::Combine { dst: STATE, terms: end });
            ops.extend(draws(1, to.alpha * up, STATE));
            Step { ops }
        };
        grid.steps().map(step).collect()
    }

    fn order(&self) -> Option<u32> {
        (self.eta == 0.0).then_some(2)
    }
}
