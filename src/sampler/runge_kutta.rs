//! Explicit Runge–Kutta methods in t on the probability-flow ODE dx/dt = v = α̇ x̂₀ + σ̇ ε̂.
//!
//! ```text
//! k_i = v(x + h Σ_j a_ij k_j, t + c_i h)        x′ = x + h Σ_i b_i k_i
//! ```
//!
//! One evaluation a stage. A step with a stage where v is not finite, as at the data of variance-preserving schedules, is Euler's.

use crate::path::{Grid, Level, Schedule};
use crate::program::{Op, Program, STATE, Step};
use crate::sampler::{Method, Tableau};

/// A Runge–Kutta method on a schedule, which gives the levels between those of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct RungeKutta {
    /// Coefficients.
    pub tableau: Tableau,
    /// The schedule that the grid lies on.
    pub schedule: Schedule,
    /// Take an Euler step to the data on every schedule: for fields that know only x̂₀ at σ = 0.
    pub euler_last: bool,
}

impl RungeKutta {
    /// The steps between neighbouring `times`, in either direction.
    pub fn along(&self, times: &[f64]) -> Program {
        times.windows(2).map(|pair| self.step(pair[0], pair[1])).collect()
    }

    fn step(&self, t: f64, to: f64) -> Step {
        let Tableau { c, a, b, .. } = self.tableau;
        let (h, stage) = (to - t, c.len() + 1); // the last register holds the stage's point
        let levels: Vec<Level> = c.iter().map(|c| self.schedule.level(t + c * h)).collect();
        let usable = |level: &Level| level.sigma_dot.is_finite() && !(self.euler_last && level.sigma == 0.0);
        if !levels.iter().all(usable) {
            let (p, q) = super::euler::step(levels[0], h);
            return Step::evaluate(levels[0], p, q);
        }
        let sum = |weights: &[f64], dst| {
            let slopes = weights.iter().enumerate().filter(|(_, w)| **w != 0.0).map(|(j, w)| (1 + j, h * w));
            Op::Combine { dst, terms: std::iter::once((STATE, 1.0)).chain(slopes).collect() }
        };
        let mut step = Step::default();
        for (i, (&level, row)) in levels.iter().zip(a).enumerate() {
            let src = if i == 0 { STATE } else { stage };
            if i > 0 {
                step = step.then(sum(row, stage));
            }
            step = step.then(Op::Evaluate { level, src, p: level.alpha_dot, q: level.sigma_dot, dst: 1 + i });
        }
        step.then(sum(b, STATE))
    }
}

impl Method for RungeKutta {
    fn program(&self, grid: &Grid) -> Program {
        self.along(&grid.levels().iter().map(|level| level.t).collect::<Vec<f64>>())
    }

    fn order(&self) -> Option<u32> {
        Some(self.tableau.order)
    }
}
