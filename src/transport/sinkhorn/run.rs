//! The iteration at one ε: potentials, workspace, acceleration and when to stop.

use crate::backend::{Backend, BackendError, Reals};
use crate::transport::TransportError;
use crate::transport::anderson::Anderson;
use crate::transport::outcome::Residual;
use crate::transport::problem::{Problem, Side};
use crate::transport::sinkhorn::hold::{Hold, convex};
use crate::transport::sinkhorn::underway::Iteration;
use crate::transport::sinkhorn::{Potentials, Sinkhorn};
use crate::transport::watch::Watch;

/// Iterations without a new least error after which an error near the rounding of the exponents is taken as final.
const PATIENCE: usize = 50;

/// The state of a solve: potentials in f64, workspace on the device. Lengths are in units of the problem's scale.
pub struct Run<'a, B: Backend> {
    pub(super) backend: &'a B,
    pub x: &'a Side<B>,
    pub y: &'a Side<B>,
    pub eps: f64,
    pub hold_x: Hold,
    pub hold_y: Hold,
    /// Whether ψ is φ.
    pub symmetric: bool,
    pub phi: Vec<f64>,
    pub psi: Vec<f64>,
    pub(super) packed_x: Reals<B>,
    pub(super) packed_y: Reals<B>,
    pub(super) ratio_x: Reals<B>,
    pub(super) ratio_y: Reals<B>,
    /// The products of all pairs, target × source, where the device keeps them.
    pub(super) scores: Option<B::Scores>,
    pub iterations: usize,
    pub history: Vec<Residual>,
    /// Rounding error of the products in the exponents.
    pub rounding: f64,
    /// Levels of ε above the one asked for that are left.
    pub(super) level: u32,
    /// ε and φ of the two levels before.
    pub(super) before: Vec<(f64, Vec<f64>)>,
    pub(super) watch: Watch<'a>,
}

impl<'a, B: Backend> Run<'a, B> {
    /// From f = g = 0 in centred coordinates.
    pub fn new(
        backend: &'a B,
        problem: &Problem<'_>,
        x: &'a Side<B>,
        y: &'a Side<B>,
        watch: Watch<'a>,
    ) -> Result<Self, BackendError> {
        let square = x.scale * x.scale;
        let gap: Vec<f64> = x.mean.iter().zip(&y.mean).map(|(x, y)| x - y).collect();
        let [rho_x, rho_y] = problem.rho().map(|rho| rho.map(|rho| rho * square));
        Ok(Self {
            eps: problem.eps() * square,
            hold_x: Hold { rho: rho_x, ground: convex(x, &vec![0.0; x.n], &gap, 1.0) },
            hold_y: Hold { rho: rho_y, ground: convex(y, &vec![0.0; y.n], &gap, -1.0) },
            symmetric: false,
            phi: x.half_squares(),
            psi: y.half_squares(),
            packed_x: backend.zeros(x.n * (x.width + 1))?,
            packed_y: backend.zeros(y.n * (y.width + 1))?,
            ratio_x: backend.zeros(x.n)?,
            ratio_y: backend.zeros(y.n)?,
            scores: None,
            iterations: 0,
            history: Vec::new(),
            rounding: x.rounding(y),
            backend,
            x,
            y,
            level: 0,
            before: Vec::new(),
            watch,
        })
    }

    /// Starts from potentials in the input coordinates.
    pub fn start_from(&mut self, warm: &Potentials) -> Result<(), TransportError> {
        let (n, m, f, g) = (self.x.n, self.y.n, warm.f.len(), warm.g.len());
        if (f, g) != (n, m) {
            return Err(TransportError::WarmStart { f, g, n, m });
        }
        let square = self.x.scale * self.x.scale;
        self.phi = self.hold_x.ground.iter().zip(&warm.f).map(|(ground, f)| ground - square * f).collect();
        self.psi = self.hold_y.ground.iter().zip(&warm.g).map(|(ground, g)| ground - square * g).collect();
        if self.symmetric {
            self.phi = self.phi.iter().zip(&self.psi).map(|(phi, psi)| 0.5 * (phi + psi)).collect();
        }
        Ok(())
    }

    /// The potentials in the input coordinates, as they are: balanced ones up to a constant.
    pub fn potentials(&self) -> Potentials {
        let square = self.x.scale * self.x.scale;
        let input = |hold: &Hold, convex: &[f64]| hold.ground.iter().zip(convex).map(|(g, c)| (g - c) / square).collect();
        Potentials { f: input(&self.hold_x, &self.phi), g: input(&self.hold_y, &self.psi) }
    }

    /// Iterates at `eps` until the error is at most `tol` or `max_iter` iterations are made; returns the error of the plan it
    /// leaves.
    pub fn solve(&mut self, eps: f64, solver: &Sinkhorn, max_iter: usize) -> Result<f64, TransportError> {
        self.go_on(eps, solver, max_iter, None)
    }

    /// As [`Run::solve`], from the middle of the iteration where it is under way.
    pub(super) fn go_on(
        &mut self,
        eps: f64,
        solver: &Sinkhorn,
        max_iter: usize,
        under_way: Option<Iteration<'a>>,
    ) -> Result<f64, TransportError> {
        if self.scores.is_none() && solver.tol > 0.0 && !self.symmetric {
            self.scores = self.backend.scores(self.y.rows(), self.x.rows())?;
        }
        let mut at = match under_way {
            Some(at) => at,
            None => {
                // Whatever ψ was, with this update it belongs to φ and the error of the first marginal is the whole error.
                let log_ratio = match solver.tol > 0.0 {
                    true => self.half_steps(eps)?,
                    false => self.first_marginal(eps)?,
                };
                let (least, last) = ((f64::INFINITY, self.iterations), self.iterations + max_iter);
                Iteration { log_ratio, anderson: Anderson::new(&self.x.mass), least, last }
            }
        };
        loop {
            let (residual, error) = self.residual(eps, &at.log_ratio)?;
            let now = Residual { iteration: self.iterations, eps: eps / self.x.scale.powi(2), error };
            let mut watch = std::mem::take(&mut self.watch);
            watch.tell(now, |part| self.keep(&at, part))?;
            self.watch = watch;
            self.history.push(now);
            if error < at.least.0 {
                at.least = (error, self.iterations);
            }
            let stalled = self.iterations >= at.least.1 + PATIENCE && error <= 10.0 * self.rounding / eps;
            if solver.tol > 0.0 && error <= solver.tol {
                return Ok(error);
            }
            if self.iterations >= at.last || (solver.tol > 0.0 && stalled) {
                let Some(phi) = at.anderson.better_than(&residual) else { return Ok(error) };
                self.phi = phi;
                at.log_ratio = self.half_steps(eps)?;
                return Ok(self.residual(eps, &at.log_ratio)?.1);
            }
            let phi = std::mem::take(&mut self.phi);
            self.phi = match solver.accelerated() {
                true => at.anderson.next(phi, residual),
                false => phi.iter().zip(&residual).map(|(phi, change)| phi + change).collect(),
            };
            at.log_ratio = self.half_steps(eps)?;
            self.iterations += 1;
        }
    }

    /// The change of φ that the first marginal asks for, which is also in `ratio_x`, and the error of the plan of φ and ψ.
    pub(super) fn residual(&self, eps: f64, log_ratio: &[f64]) -> Result<(Vec<f64>, f64), BackendError> {
        let mut change = self.hold_x.change(eps, &self.phi, log_ratio);
        if self.symmetric {
            change.iter_mut().for_each(|change| *change *= 0.5);
        }
        let error = if self.balanced() {
            self.backend.marginal_error(&self.x.weights, &self.ratio_x)?
        } else {
            let held = change.iter().zip(&self.x.mass).filter(|(_, mass)| **mass > 0.0);
            held.map(|(change, _)| change.abs()).fold(0.0, f64::max) / eps
        };
        Ok((change, error))
    }

    /// Whether both marginals are held exactly.
    pub fn balanced(&self) -> bool {
        self.hold_x.rho.is_none() && self.hold_y.rho.is_none()
    }
}
