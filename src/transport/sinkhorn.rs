//! Log-domain Sinkhorn: alternating updates of the two potentials by soft-mins over pairs, accelerated and annealed in ε.
//!
//! With φ = ½|x|² − f and ψ = ½|y|² − g (coordinates relative to each cloud's mean) the plan is
//!
//! ```text
//! P_ij = a_i b_j exp((x_i·y_j − φ_i − ψ_j)/ε)
//! ```
//!
//! so φ, ψ tend to Brenier's convex potentials as ε → 0, and an update is φ ← φ + ε log r, where r_i = Σ_j P_ij / a_i is the
//! marginal of the plan *before* the update: the soft-min with shift φ/ε gives both, and the stopping test is free.
//!
//! A marginal that is only drawn to its measure by ρ KL has its update damped: f ← ω (f − ε log r) with ω = ρ/(ρ+ε) (Chizat,
//! Peyré, Schmitzer, Vialard 2018, §4). Either way an iteration is a map φ ↦ φ + R(φ), which Anderson acceleration shortens, from the
//! Gaussians of the clouds' moments and, for small ε, down levels of ε that start each other by linear extrapolation.
//!
//! Between a cloud and itself the two potentials are one: φ ← φ + ½ε log r (Feydy et al. 2019, §3.1) contracts by half where the
//! alternation goes to and fro, at one soft-min an iteration.

mod alternation;
mod anneal;
mod finish;
mod half_step;
mod hold;
mod run;
mod underway;

use crate::backend::cpu::Cpu;
use crate::backend::{Backend, BackendError, Device, Real, Task};
use crate::transport::TransportError;
use crate::transport::multiscale;
use crate::transport::outcome::Outcome;
use crate::transport::problem::Problem;
use crate::watch::Watch;
pub(super) use finish::Blur;
pub(super) use half_step::{ProductRows, RowMeans};
pub(super) use hold::{Hold, convex};
pub(super) use run::Run;

/// The solver and when it stops.
///
/// ```
/// use brenier::backend::{Device, Precision};
/// use brenier::measure::Cloud;
/// use brenier::transport::{Problem, Sinkhorn};
///
/// let (x, y) = (Cloud::new(vec![0.0, 1.0], 1)?, Cloud::new(vec![2.0, 3.0], 1)?);
/// let outcome = Sinkhorn::default().solve(&Problem::new(&x, &y, 0.05)?, &Device::cpu(Precision::F64))?;
/// assert!(outcome.converged);
/// assert!((2.0 * outcome.transport_cost - 4.0).abs() < 0.01); // W₂² of a shift by 2
/// # Ok::<(), brenier::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sinkhorn {
    /// L1 error of the marginal that was not just updated or, with a free marginal, ‖Δf‖∞/ε of an iteration; 0 makes exactly
    /// `max_iter` plain iterations.
    pub tol: f64,
    /// Most iterations, those of all annealing levels counted; one is an update of f and one of g.
    pub max_iter: usize,
    /// Neither annealing, nor acceleration, nor a start from moments.
    pub plain: bool,
}

impl Default for Sinkhorn {
    fn default() -> Self {
        Self { tol: 1e-3, max_iter: 10_000, plain: false }
    }
}

/// Potentials of the plan P_ij = a_i b_j exp((f_i + g_j − c_ij)/ε) in the input coordinates, with Σ_j b_j g_j = 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Potentials {
    /// f, of length n, in units of c.
    pub f: Vec<f64>,
    /// g, of length m, in units of c.
    pub g: Vec<f64>,
}

impl Sinkhorn {
    /// Solves `problem` on `device`. Not converging is a fact of the outcome, not an error.
    ///
    /// # Errors
    /// [`TransportError`] when ε is too small or too large for the precision or ρ too small for f64, or memory runs out.
    pub fn solve(&self, problem: &Problem<'_>, device: &Device) -> Result<Outcome, TransportError> {
        self.solve_watched(problem, None, device, Watch::default())
    }

    /// [`Sinkhorn::solve`] from the potentials of a problem nearby.
    ///
    /// # Errors
    /// As [`Sinkhorn::solve`], and when the potentials have other lengths.
    pub fn solve_from(&self, problem: &Problem<'_>, warm: &Potentials, device: &Device) -> Result<Outcome, TransportError> {
        self.solve_watched(problem, Some(warm), device, Watch::default())
    }

    /// [`Sinkhorn::solve`], from potentials if given. `watch` is told of each iteration; what it kept of this solve is not done again.
    ///
    /// # Errors
    /// As [`Sinkhorn::solve_from`], and [`TransportError::Stopped`] when the watch says stop.
    pub fn solve_watched(
        &self,
        problem: &Problem<'_>,
        warm: Option<&Potentials>,
        device: &Device,
        watch: Watch<'_>,
    ) -> Result<Outcome, TransportError> {
        device.run(Solve { solver: *self, problem, warm, watch })
    }

    /// Whether the updates are accelerated: not when a number of iterations is asked for.
    pub(super) fn accelerated(&self) -> bool {
        !self.plain && self.tol > 0.0
    }
}

struct Solve<'a, 'p> {
    solver: Sinkhorn,
    problem: &'a Problem<'p>,
    warm: Option<&'a Potentials>,
    watch: Watch<'a>,
}

impl Task for Solve<'_, '_> {
    type Output = Result<Outcome, TransportError>;

    fn run<B: Backend>(mut self, backend: &B) -> Self::Output {
        if self.is_for_double::<B>() {
            tracing::warn!("some points lie too far from the rest for f32: solved in f64 on the processor");
            return self.on(&Cpu::<f64>::new());
        }
        match self.on(backend) {
            Err(TransportError::Backend(why @ BackendError::OutOfMemory { .. })) => match backend.streamed()? {
                Some(streamed) => {
                    tracing::warn!("{why}; now the clouds stay with the host and go through the device tile by tile");
                    self.on(&streamed)
                }
                None => Err(why.into()),
            },
            done => done,
        }
    }
}

impl Solve<'_, '_> {
    /// Whether f64 takes what the precision of `B` does not: a few points so far from the others that beside the rounding of their
    /// exponents the tolerance could not be seen.
    fn is_for_double<B: Backend>(&self) -> bool {
        let tol = if self.solver.tol > 0.0 { self.solver.tol } else { Sinkhorn::default().tol };
        B::Real::ROUNDING > f64::ROUNDING && self.problem.is_outlying::<B>(tol)
    }

    fn on<B: Backend>(&mut self, backend: &B) -> Result<Outcome, TransportError> {
        let Self { solver, problem, warm, ref mut watch } = *self;
        let watch = watch.again();
        problem.check_extremes::<B>()?;
        if multiscale::serves(problem, &solver) {
            return multiscale::solve(backend, problem, &solver, warm, watch);
        }
        problem.check_precision::<B>()?;
        let (x, y) = problem.sides(backend)?;
        let mut run = Run::new(backend, problem, &x, &y, watch)?;
        run.symmetric = solver.accelerated() && problem.is_symmetric();
        if let Some(warm) = warm {
            run.start_from(warm)?;
        }
        let marginal_error = run.descend(problem, &solver, warm.is_none() && solver.accelerated())?;
        finish::finish(run, problem, marginal_error, &solver)
    }
}
