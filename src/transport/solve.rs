//! Solving a problem: by all pairs, or over all scales where that serves; in f64 on the processor where points lie too far apart for
//! f32, and tile by tile where the device's memory does not hold the clouds.

use crate::backend::cpu::Cpu;
use crate::backend::{Backend, BackendError, Device, Real, Task};
use crate::transport::outcome::Outcome;
use crate::transport::problem::Problem;
use crate::transport::solver::{Potentials, Sinkhorn};
use crate::transport::{TransportError, multiscale, sinkhorn};
use crate::watch::Watch;

impl Sinkhorn {
    /// Solves `problem` on `device`. Not converging is a fact of the outcome, not an error.
    ///
    /// # Errors
    /// [`TransportError`] when ε is too small or too large for the precision or ρ too small for f64, or memory runs out.
    pub fn solve(&self, problem: &Problem, device: &Device) -> Result<Outcome, TransportError> {
        self.solve_watched(problem, None, device, Watch::default())
    }

    /// [`Sinkhorn::solve`] from the potentials of a problem nearby.
    ///
    /// # Errors
    /// As [`Sinkhorn::solve`], and when the potentials have other lengths.
    pub fn solve_from(&self, problem: &Problem, warm: &Potentials, device: &Device) -> Result<Outcome, TransportError> {
        self.solve_watched(problem, Some(warm), device, Watch::default())
    }

    /// [`Sinkhorn::solve`], from potentials if given. `watch` is told of each iteration; what it kept of this solve is not done again.
    ///
    /// # Errors
    /// As [`Sinkhorn::solve_from`], and [`TransportError::Stopped`] when the watch says stop.
    pub fn solve_watched(
        &self,
        problem: &Problem,
        warm: Option<&Potentials>,
        device: &Device,
        watch: Watch<'_>,
    ) -> Result<Outcome, TransportError> {
        device.run(Solve { solver: *self, problem, warm, watch })
    }
}

struct Solve<'a> {
    solver: Sinkhorn,
    problem: &'a Problem,
    warm: Option<&'a Potentials>,
    watch: Watch<'a>,
}

impl Task for Solve<'_> {
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

impl Solve<'_> {
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
        match multiscale::serves(problem, &solver) {
            true => multiscale::solve(backend, problem, &solver, warm, watch),
            false => sinkhorn::solve(backend, problem, &solver, warm, watch),
        }
    }
}
