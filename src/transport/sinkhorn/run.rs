//! The iteration at one ε: potentials, workspace, acceleration and when to stop.

use std::collections::VecDeque;

use crate::backend::{Backend, BackendError, Reals};
use crate::transport::TransportError;
use crate::transport::cost::Streamed;
use crate::transport::outcome::Residual;
use crate::transport::problem::{Problem, Side};
use crate::transport::sinkhorn::alternation::Alternation;
use crate::transport::sinkhorn::hold::{Hold, convex};
use crate::transport::sinkhorn::{Potentials, Progress, Sinkhorn};

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
    /// The cost between the clouds, and how it is streamed.
    pub cost: Streamed<'a>,
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
    progress: Option<Progress<'a>>,
}

impl<'a, B: Backend> Run<'a, B> {
    /// From f = g = 0 in centred coordinates.
    pub fn new(
        backend: &'a B,
        problem: &Problem<'a>,
        x: &'a Side<B>,
        y: &'a Side<B>,
        progress: Option<Progress<'a>>,
    ) -> Result<Self, BackendError> {
        let gap: Vec<f64> = x.mean.iter().zip(&y.mean).map(|(x, y)| x - y).collect();
        let [rho_x, rho_y] = problem.rho().map(|rho| rho.map(|rho| rho * x.unit));
        Ok(Self {
            eps: problem.eps() * x.unit,
            hold_x: Hold { rho: rho_x, ground: convex(x, &vec![0.0; x.n], &gap, 1.0) },
            hold_y: Hold { rho: rho_y, ground: convex(y, &vec![0.0; y.n], &gap, -1.0) },
            symmetric: false,
            phi: x.own.clone(),
            psi: y.own.clone(),
            packed_x: backend.zeros(x.n * (x.width + 1))?,
            packed_y: backend.zeros(y.n * (y.width + 1))?,
            ratio_x: backend.zeros(x.n)?,
            ratio_y: backend.zeros(y.n)?,
            scores: None,
            iterations: 0,
            history: Vec::new(),
            rounding: problem.rounding(x, y),
            cost: problem.streamed(),
            backend,
            x,
            y,
            progress,
        })
    }

    /// Starts from potentials in the input coordinates.
    pub fn start_from(&mut self, warm: &Potentials) -> Result<(), TransportError> {
        let (n, m, f, g) = (self.x.n, self.y.n, warm.f.len(), warm.g.len());
        if (f, g) != (n, m) {
            return Err(TransportError::WarmStart { f, g, n, m });
        }
        let unit = self.x.unit;
        self.phi = self.hold_x.ground.iter().zip(&warm.f).map(|(ground, f)| ground - unit * f).collect();
        self.psi = self.hold_y.ground.iter().zip(&warm.g).map(|(ground, g)| ground - unit * g).collect();
        if self.symmetric {
            self.phi = self.phi.iter().zip(&self.psi).map(|(phi, psi)| 0.5 * (phi + psi)).collect();
        }
        Ok(())
    }

    /// The potentials in the input coordinates, as they are: balanced ones up to a constant.
    pub fn potentials(&self) -> Potentials {
        let unit = self.x.unit;
        let input = |hold: &Hold, convex: &[f64]| hold.ground.iter().zip(convex).map(|(g, c)| (g - c) / unit).collect();
        Potentials { f: input(&self.hold_x, &self.phi), g: input(&self.hold_y, &self.psi) }
    }

    /// Iterates at `eps` until the error is at most `tol` or `max_iter` iterations are made; returns the error of the plan it
    /// leaves.
    ///
    /// The device is kept [`Backend::AHEAD`] iterations ahead of the error that is looked at. Where an error says stop, the plan
    /// that there is by then must say so too.
    pub fn solve(&mut self, eps: f64, solver: &Sinkhorn, max_iter: usize) -> Result<f64, TransportError> {
        let (first, last, tests) = (self.iterations, self.iterations + max_iter, solver.tol > 0.0);
        let (backend, unit) = (self.backend, if self.balanced() { 1.0 } else { eps });
        let (input_eps, floor) = (eps / self.x.unit, 10.0 * self.rounding / eps);
        let progress = self.progress;
        let (mut history, mut iterations) = (Vec::new(), first);
        if tests && !self.symmetric && self.scores.is_none() {
            self.scores = backend.scores(self.y.rows(), self.x.rows(), self.cost.pair_cost(true))?;
        }
        let mut at = Alternation::new(self, eps, solver.accelerated())?;
        // Whatever ψ was, with an update of it it belongs to φ and the error of the first marginal is the whole error.
        if tests {
            at.half_steps()?
        } else {
            at.residual()?
        }
        let (mut recording, mut under_way) = (B::Recording::default(), VecDeque::new());
        let (mut least, mut stopped) = ((f64::INFINITY, first), false);
        let error = loop {
            under_way.push_back((iterations, at.error()?));
            let (mut looks, mut error, mut stalled) = (iterations >= last, f64::NAN, false);
            while under_way.len() > if looks { 0 } else { B::AHEAD } {
                let Some((iteration, ticket)) = under_way.pop_front() else { break };
                error = ticket.read()? / unit;
                history.push(Residual { iteration, eps: input_eps, error });
                stopped |= !progress.is_none_or(|progress| progress(iteration, input_eps, error));
                if error < least.0 {
                    least = (error, iteration);
                }
                stalled = iteration >= least.1 + PATIENCE && error <= floor;
                looks |= stopped || tests && (error <= solver.tol || stalled);
            }
            if looks && (stopped || tests && error <= solver.tol) {
                break error;
            }
            if looks && (iterations >= last || stalled) {
                break if at.go_back()? { at.error()?.read()? / unit } else { error };
            }
            backend.repeat(&mut recording, &mut || at.iterate())?;
            iterations += 1;
        };
        at.finish()?;
        self.iterations = iterations;
        self.history.extend(history);
        if stopped { Err(TransportError::Stopped { iterations }) } else { Ok(error) }
    }

    /// Whether both marginals are held exactly.
    pub fn balanced(&self) -> bool {
        self.hold_x.rho.is_none() && self.hold_y.rho.is_none()
    }
}
