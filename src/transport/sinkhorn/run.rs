//! The iteration at one ε: potentials, workspace, acceleration and when to stop.

use std::collections::VecDeque;

use crate::backend::{Backend, BackendError, Precision, Reals, Scores, Ticket};
use crate::transport::TransportError;
use crate::transport::cost::Streamed;
use crate::transport::hold::{Hold, convex};
use crate::transport::problem::{Problem, Side, precision};
use crate::transport::sinkhorn::alternation::Alternation;
use crate::transport::sinkhorn::underway::Iteration;
use crate::transport::solver::{Potentials, Sinkhorn};
use crate::vector::dot;
use crate::watch::{Residual, Watch};

/// Iterations without a new least error after which an error near the rounding of the exponents is taken as final.
const PATIENCE: usize = 50;

/// The state of a solve: potentials in f64, workspace on the device. Lengths are in units of the problem's scale.
pub struct Run<'a, B: Backend> {
    pub(super) backend: &'a B,
    pub x: Side<B>,
    pub y: Side<B>,
    pub eps: f64,
    pub hold_x: Hold,
    pub hold_y: Hold,
    /// Whether ψ is φ.
    pub symmetric: bool,
    pub phi: Vec<f64>,
    pub psi: Vec<f64>,
    /// The cost between the clouds, and how it is streamed.
    pub cost: Streamed<'a>,
    /// The columns of a soft-min, whichever side they are of.
    pub(super) packed: Reals<B>,
    pub(super) ratio_x: Reals<B>,
    pub(super) ratio_y: Reals<B>,
    /// The products of all pairs, target × source, where the device keeps them.
    pub(super) scores: Option<Scores<B::Real>>,
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
    pub fn new(backend: &'a B, problem: &'a Problem, (x, y): (Side<B>, Side<B>), watch: Watch<'a>) -> Result<Self, BackendError> {
        let gap: Vec<f64> = x.mean.iter().zip(&y.mean).map(|(x, y)| x - y).collect();
        let packed = |side: &Side<B>| if side.points.half.is_some() { 0 } else { side.n * (side.points.width + 1) };
        let [rho_x, rho_y] = problem.rho().map(|rho| rho.map(|rho| rho * x.unit));
        Ok(Self {
            eps: problem.eps() * x.unit,
            hold_x: Hold { rho: rho_x, ground: convex(&x, &vec![0.0; x.n], &gap, 1.0) },
            hold_y: Hold { rho: rho_y, ground: convex(&y, &vec![0.0; y.n], &gap, -1.0) },
            symmetric: false,
            phi: x.own.clone(),
            psi: y.own.clone(),
            packed: backend.zeros(packed(&x).max(packed(&y)))?,
            ratio_x: backend.zeros(x.n)?,
            ratio_y: backend.zeros(y.n)?,
            scores: None,
            iterations: 0,
            history: Vec::new(),
            rounding: problem.rounding(&x, &y),
            cost: problem.streamed(),
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
        let unit = self.x.unit;
        self.phi = self.hold_x.ground.iter().zip(&warm.f).map(|(ground, f)| ground - unit * f).collect();
        self.psi = self.hold_y.ground.iter().zip(&warm.g).map(|(ground, g)| ground - unit * g).collect();
        if self.balanced() {
            // Only φ + ψ counts: with one mean, neither loses digits to the distance between the clouds.
            let half = 0.5 * (dot(&self.x.mass, &self.phi) - dot(&self.y.mass, &self.psi));
            self.phi.iter_mut().for_each(|phi| *phi -= half);
            self.psi.iter_mut().for_each(|psi| *psi += half);
        }
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
    pub fn solve(&mut self, eps: f64, solver: &Sinkhorn, max_iter: usize) -> Result<f64, TransportError> {
        self.go_on(eps, solver, max_iter, None)
    }

    /// As [`Run::solve`], from the middle of the iteration where it is `under_way`.
    ///
    /// The device is kept [`Memory::AHEAD`](crate::backend::Memory::AHEAD) iterations ahead of the error that is looked at. Where an error says stop, the plan
    /// that there is by then must say so too.
    pub(super) fn go_on(
        &mut self,
        eps: f64,
        solver: &Sinkhorn,
        max_iter: usize,
        under_way: Option<Iteration>,
    ) -> Result<f64, TransportError> {
        let (backend, unit, tests) = (self.backend, if self.balanced() { 1.0 } else { eps }, solver.tol > 0.0);
        let (input_eps, floor) = (eps / self.x.unit, 10.0 * self.rounding / eps);
        let (mut least, mut last, mut ahead) = ((f64::INFINITY, self.iterations), self.iterations + max_iter, VecDeque::new());
        if tests && !self.symmetric && self.scores.is_none() && self.x.points.half.is_none() {
            self.scores = backend.scores(self.y.points.rows(), self.x.points.rows(), self.cost.pair_cost(true))?;
        }
        let mut resumed = under_way.is_some();
        let mut at = match under_way {
            Some(kept) => {
                (least, last) = (kept.least, kept.last);
                ahead = kept.ahead.into_iter().map(|(iteration, error)| (iteration, Ticket::known(error))).collect();
                Alternation::restored(self, eps, &kept.saved)?
            }
            None => Alternation::new(self, eps, solver.accelerated())?,
        };
        // Whatever ψ was, with an update of it it belongs to φ and the error of the first marginal is the whole error.
        match (resumed, tests) {
            (true, _) => {}
            (false, true) => at.half_steps()?,
            (false, false) => at.residual()?,
        }
        let (mut recording, mut stopped) = (B::Recording::default(), false);
        let error = loop {
            // A state that was kept has been looked at.
            if !std::mem::take(&mut resumed) {
                ahead.push_back((at.run.iterations, at.error()?));
                let (mut looks, mut error, mut stalled) = (at.run.iterations >= last, f64::NAN, false);
                while ahead.len() > if looks { 0 } else { B::AHEAD } {
                    let Some((iteration, ticket)) = ahead.pop_front() else { break };
                    error = ticket.read()? / unit;
                    let now = Residual { iteration, eps: input_eps, error };
                    at.run.history.push(now);
                    stopped |= !at.run.watch.tell(now.into());
                    if error < least.0 {
                        least = (error, iteration);
                    }
                    stalled = iteration >= least.1 + PATIENCE && error <= floor;
                    looks |= tests && (error <= solver.tol || stalled);
                }
                if looks && tests && error <= solver.tol {
                    break error;
                }
                if looks && (at.run.iterations >= last || stalled) {
                    break if at.go_back()? { at.error()?.read()? / unit } else { error };
                }
                if at.run.watch.keeps(!stopped) {
                    let unread = ahead.drain(..).map(|(iteration, ticket)| Ok((iteration, ticket.read()?)));
                    let unread = unread.collect::<Result<Vec<_>, BackendError>>()?;
                    ahead.extend(unread.iter().map(|(iteration, error)| (*iteration, Ticket::known(*error))));
                    let state = Iteration { saved: at.save()?, least, last, ahead: unread };
                    let mut watch = std::mem::take(&mut at.run.watch);
                    watch.pass(!stopped, |part| at.run.keep(state, part));
                    at.run.watch = watch;
                }
                if stopped {
                    return Err(TransportError::Stopped { iterations: at.run.iterations });
                }
            }
            backend.repeat(&mut recording, &mut || at.iterate())?;
            at.run.iterations += 1;
        };
        at.finish()?;
        Ok(error)
    }

    /// The precision of its exponents.
    pub fn precision(&self) -> Precision {
        precision::<B>()
    }

    /// Whether both marginals are held exactly.
    pub fn balanced(&self) -> bool {
        self.hold_x.rho.is_none() && self.hold_y.rho.is_none()
    }
}
