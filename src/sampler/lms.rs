//! Linear multistep method (Adams–Bashforth with variable steps) on dy/dq = ε̂, y = x/α, q = σ/α.
//!
//! ```text
//! y′ = y + Σ_j w_j ε̂_j        w_j = ∫_q^{q′} Π_{m≠j} (τ − q_m)/(q_j − q_m) dτ
//! ```
//!
//! over the last four levels, fewer at the start. Order 4, one evaluation; at the data q is not smooth in most grids' steps, so
//! the last step loses the order.

use crate::path::{Grid, Level};
use crate::program::{Op, Program, STATE, Step};
use crate::sampler::Method;
use crate::sampler::ancestral::first_order;

/// Adams–Bashforth of order 1 to 4 in q.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lms {
    /// Slopes used, 1 to 4.
    pub order: usize,
}

impl Method for Lms {
    fn program(&self, grid: &Grid) -> Program {
        let levels = grid.levels();
        let unknown = levels.iter().take_while(|level| level.alpha == 0.0).count(); // pure noise has no q
        let step = |(i, (from, to)): (usize, (Level, Level))| {
            if i < unknown {
                return first_order(from, to, 0.0);
            }
            let count = (i - unknown + 1).min(self.order.clamp(1, 4));
            let slopes: Vec<f64> = (0..count).map(|back| levels[i - back].ratio()).collect();
            let slot = |back: usize| 1 + (i - back) % 4;
            let weight = |j: usize| (slot(j), to.alpha * integral(&slopes, j, to.ratio()));
            let terms = std::iter::once((STATE, to.alpha / from.alpha)).chain((0..count).map(weight)).collect();
            Step::default()
                .then(Op::Evaluate { level: from, src: STATE, p: 0.0, q: 1.0, dst: slot(0) })
                .then(Op::Combine { dst: STATE, terms })
        };
        grid.steps().enumerate().map(step).collect()
    }

    fn order(&self) -> Option<u32> {
        Some(self.order as u32)
    }
}

/// ∫ of the `j`-th Lagrange polynomial of `nodes` from the first of them to `end`: two Gauss–Legendre nodes are exact to cubics.
fn integral(nodes: &[f64], j: usize, end: f64) -> f64 {
    let (centre, half) = (0.5 * (nodes[0] + end), 0.5 * (end - nodes[0]));
    let basis = |tau: f64| {
        let others = nodes.iter().enumerate().filter(|&(m, _)| m != j);
        others.map(|(_, node)| (tau - node) / (nodes[j] - node)).product::<f64>()
    };
    let offset = half / 3.0_f64.sqrt();
    half * (basis(centre - offset) + basis(centre + offset))
}
