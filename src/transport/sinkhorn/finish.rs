//! The end of a solve: values of the very plan that the potentials define.
//!
//! With R² the largest squared radius, cost where it is not a product, or potential, and u the rounding of the precision, exponents are
//! off by δ = R² u/ε, and with them each P_ij by that share; sums of |x|² as large as R² are off by R² u. So in single precision
//!
//! ```text
//! ⟨P, c⟩ to 3 δ ⟨P, c⟩ + 3 R² u       entropy to 3 δ       the marginal error to 3 δ
//! ```
//!
//! of the plan of the potentials at most; over 30 problems in 1 to 64 dimensions costs were off by 0.04 δ, entropies by 0.3 δ. Where
//! a thousandth of ⟨P, c⟩ or ε could be exceeded, or a third of the marginal error, the plan is evaluated in f64 on the processor,
//! after an update of ψ there that leaves the second marginal exact. If the plan is then found not to have reached the tolerance, the
//! iteration goes on in f64 from where it was.

use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Precision, Real};
use crate::transport::TransportError;
use crate::transport::outcome::Outcome;
use crate::transport::problem::Problem;
use crate::transport::sinkhorn::Run;
use crate::transport::solver::Sinkhorn;
use crate::watch::{Residual, Watch};

/// Rounding over ε, and over ⟨P, c⟩, up to which values are taken in the precision of the solve.
const FINE: f64 = 1e-4;
/// Rounding errors of the exponents that a marginal error must be worth to be seen beside them: it is a mean over the rows, in which
/// most of them cancel or are far smaller.
const SEEN: f64 = 2.0;

/// How far rounding may have moved the values of a plan.
#[derive(Clone, Copy)]
pub struct Blur {
    /// R² u.
    pub squares: f64,
    /// The rounding of the exponents times ε.
    pub exponents: f64,
}

impl Blur {
    /// Of exponents with the rounding `exponents`, times ε, and of points whose sums are rounded by `squares` and whose potentials are
    /// given, each with the masses of its points: those without are masked.
    pub fn new<B: Backend>(exponents: f64, squares: f64, potentials: [(&[f64], &[f64]); 2]) -> Self {
        let with_mass = potentials.into_iter().flat_map(|(mass, phi)| mass.iter().zip(phi)).filter(|(mass, _)| **mass > 0.0);
        let largest = with_mass.map(|(_, phi)| phi.abs()).filter(|phi| phi.is_finite()).fold(0.0, f64::max);
        Self { squares: squares.max(B::Real::ROUNDING * largest), exponents }
    }

    /// Whether a plan at `eps` with the marginal `error` is seen through it.
    pub fn shows_plan(self, eps: f64, error: f64) -> bool {
        self.squares <= FINE * eps && SEEN * self.exponents <= error * eps
    }

    /// Whether a mean cost is.
    pub fn shows_cost(self, transport_cost: f64) -> bool {
        self.squares <= FINE * transport_cost
    }
}

impl Sinkhorn {
    /// The tolerance to which a solve that left the marginal `error` in single precision goes on in f64, and the most iterations, of
    /// which `made` were: to its own if it was seen to be reached, and otherwise no further.
    pub fn ending(&self, error: f64, made: usize) -> (f64, usize) {
        match error <= self.tol {
            true => (self.tol, self.max_iter.saturating_sub(made)),
            false => (f64::INFINITY, 0),
        }
    }
}

/// A solve in single precision whose plan is evaluated in double.
struct Unfinished {
    phi: Vec<f64>,
    psi: Vec<f64>,
    /// The marginal error it ended with.
    error: f64,
    iterations: usize,
    history: Vec<Residual>,
    symmetric: bool,
    rounding: f64,
    precision: Precision,
}

/// The outcome of `run`, which has ended with the marginal `error`: of its precision where that shows it. `watch` is told of
/// iterations in f64.
pub fn finish<B: Backend>(
    mut run: Run<'_, B>,
    problem: &Problem,
    error: f64,
    solver: &Sinkhorn,
    watch: Watch<'_>,
) -> Result<Outcome, TransportError> {
    // What only the iteration needs.
    (run.scores, run.before) = (None, Vec::new());
    let blur = Blur::new::<B>(run.rounding, run.rounding, [(&run.x.mass, &run.phi), (&run.y.mass, &run.psi)]);
    let single = B::Real::ROUNDING > f64::ROUNDING;
    if !single || blur.shows_plan(run.eps, error) {
        let outcome = run.outcome(problem, error, solver)?;
        if !single || blur.shows_cost(outcome.transport_cost * run.x.unit) {
            return Ok(outcome);
        }
    }
    Unfinished::of(run, error).finish(problem, solver, watch)
}

impl Unfinished {
    /// What is left of `run`, whose memory on the device is freed.
    fn of<B: Backend>(run: Run<'_, B>, error: f64) -> Self {
        Self {
            error,
            iterations: run.iterations,
            symmetric: run.symmetric,
            rounding: run.rounding,
            precision: run.precision(),
            phi: run.phi,
            psi: run.psi,
            history: run.history,
        }
    }

    /// The outcome, in f64 on the processor.
    fn finish(self, problem: &Problem, solver: &Sinkhorn, watch: Watch<'_>) -> Result<Outcome, TransportError> {
        let backend = Cpu::<f64>::new();
        let mut end = Run::new(&backend, problem, problem.sides(&backend)?, watch)?;
        (end.phi, end.psi, end.iterations, end.history) = (self.phi, self.psi, self.iterations, self.history);
        (end.symmetric, end.rounding) = (self.symmetric, self.rounding);
        // It is looked at again.
        end.history.pop();
        if !end.symmetric {
            end.update_psi(end.eps)?;
        }
        // By soft-mins, whatever the sizes; a look at the plan, and iterations only where it is not good enough.
        let look = Sinkhorn { tol: 0.0, ..*solver };
        let (tol, left) = solver.ending(self.error, self.iterations);
        let mut error = end.solve(end.eps, &look, 0)?;
        if error > tol {
            end.history.pop();
            error = end.solve(end.eps, solver, left)?;
        }
        Ok(Outcome { precision: self.precision, ..end.outcome(problem, error, solver)? })
    }
}
