//! Explicit Runge–Kutta methods in t on the probability-flow ODE dx/dt = v = α̇ x̂₀ + σ̇ ε̂.
//!
//! ```text
//! k_i = v(x + h Σ_j a_ij k_j, t + c_i h)        x′ = x + h Σ_i b_i k_i
//! ```
//!
//! One evaluation a stage. A step with a stage where v is not finite, as at the data of variance-preserving schedules, is Euler's.

use crate::path::{Grid, Level, Schedule};
use crate::program::{Op, Program, STATE, Step};
use crate::sampler::Method;

/// The coefficients of an explicit method of at most four stages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tableau {
    /// Stage times c, the first zero.
    pub c: &'static [f64],
    /// Rows of a, each one longer than the one before; the first is empty.
    pub a: &'static [&'static [f64]],
    /// Weights b.
    pub b: &'static [f64],
    /// Order.
    pub order: u32,
}

const THIRD: f64 = 1.0 / 3.0;

impl Tableau {
    /// Euler's method.
    pub const EULER: Self = Self { c: &[0.0], a: &[&[]], b: &[1.0], order: 1 };
    /// The midpoint method.
    pub const MIDPOINT: Self = Self { c: &[0.0, 0.5], a: &[&[], &[0.5]], b: &[0.0, 1.0], order: 2 };
    /// Heun's method of order 2.
    pub const HEUN_2: Self = Self { c: &[0.0, 1.0], a: &[&[], &[1.0]], b: &[0.5, 0.5], order: 2 };
    /// Heun's method of order 3.
    pub const HEUN_3: Self =
        Self { c: &[0.0, THIRD, 2.0 * THIRD], a: &[&[], &[THIRD], &[0.0, 2.0 * THIRD]], b: &[0.25, 0.0, 0.75], order: 3 };
    /// Kutta's 3/8 rule, of order 4.
    pub const RK_4: Self = Self {
        c: &[0.0, THIRD, 2.0 * THIRD, 1.0],
        a: &[&[], &[THIRD], &[-THIRD, 1.0], &[1.0, -1.0, 1.0]],
        b: &[0.125, 0.375, 0.375, 0.125],
        order: 4,
    };
}

impl Tableau {
    /// The state at the last of `times` of the system dy/dt = `slope`, from `start` at the first.
    pub fn integrate(&self, slope: &mut dyn FnMut(f64, &[f64]) -> Vec<f64>, times: &[f64], start: &[f64]) -> Vec<f64> {
        let mut y = start.to_vec();
        for pair in times.windows(2) {
            let h = pair[1] - pair[0];
            let mut slopes: Vec<Vec<f64>> = Vec::with_capacity(self.c.len());
            let moved = |y: &[f64], slopes: &[Vec<f64>], weights: &[f64]| -> Vec<f64> {
                let by = |i: usize| slopes.iter().zip(weights).map(|(k, w)| h * w * k[i]).sum::<f64>();
                y.iter().enumerate().map(|(i, y)| y + by(i)).collect()
            };
            for (c, row) in self.c.iter().zip(self.a) {
                let point = moved(&y, &slopes, row);
                slopes.push(slope(pair[0] + c * h, &point));
            }
            y = moved(&y, &slopes, self.b);
        }
        y
    }
}

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
