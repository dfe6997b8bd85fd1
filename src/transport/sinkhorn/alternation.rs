//! The iteration at one ε, all of it on the device: potentials in f64, what the soft-min reads of them rounded, their changes.

use crate::backend::{Anderson, Backend, BackendError, Damping, Half, Logit, Out, Reals, Sweep, Symmetric, Ticket, Update};
use crate::transport::cost::Streamed;
use crate::transport::hold::Hold;
use crate::transport::sinkhorn::Run;
use crate::transport::sinkhorn::half_step::HalfStep;

/// A potential, and what an update does to it.
struct Potential<B: Backend> {
    /// φ.
    value: B::Buf<f64>,
    /// φ as the soft-min reads it.
    rounded: Reals<B>,
    /// What an update changes.
    change: B::Buf<f64>,
    /// ω and φ at f = 0, where the marginal is free.
    damping: Option<(f64, B::Buf<f64>)>,
}

impl<B: Backend> Potential<B> {
    fn new(backend: &B, eps: f64, hold: &Hold, value: &[f64]) -> Result<Self, BackendError> {
        let damping = hold.rho.map(|rho| Ok((rho / (rho + eps), backend.upload(&hold.ground)?)));
        Ok(Self {
            value: backend.upload(value)?,
            rounded: backend.zeros(value.len())?,
            change: backend.zeros(value.len())?,
            damping: damping.transpose()?,
        })
    }

    fn damping(&self) -> Option<Damping<'_, B>> {
        self.damping.as_ref().map(|(omega, ground)| Damping { omega: *omega, ground })
    }

    fn relax(&mut self, backend: &B, log_ratio: &Reals<B>, eps: f64, share: f64) -> Result<(), BackendError> {
        // Not by `damping`, which would borrow all of this.
        let damping = self.damping.as_ref().map(|(omega, ground)| Damping { omega: *omega, ground });
        backend.relax(log_ratio, Update { eps, share, damping }, &self.value, &mut self.change)
    }
}

/// What is on the device besides the potentials, between two iterations.
pub struct Saved {
    pub log_ratio: Vec<f64>,
    pub change: Vec<f64>,
    pub memory: Option<[Vec<f64>; 4]>,
}

/// The iteration of a [`Run`] at `eps`. It submits work and waits for nothing but what [`Alternation::error`] is asked for.
pub struct Alternation<'a, 'b, B: Backend> {
    pub run: &'a mut Run<'b, B>,
    eps: f64,
    mass: B::Buf<f64>,
    phi: Potential<B>,
    psi: Potential<B>,
    memory: Option<Anderson<B>>,
}

impl<'a, 'b, B: Backend> Alternation<'a, 'b, B> {
    pub fn new(run: &'a mut Run<'b, B>, eps: f64, accelerated: bool) -> Result<Self, BackendError> {
        let backend = run.backend;
        let memory = if accelerated { Some(Anderson::new(backend, run.x.n)?) } else { None };
        Ok(Self {
            mass: backend.upload(&run.x.mass)?,
            phi: Potential::new(backend, eps, &run.hold_x, &run.phi)?,
            psi: Potential::new(backend, eps, &run.hold_y, &run.psi)?,
            memory,
            eps,
            run,
        })
    }

    /// The iteration as [`Alternation::save`] left it, with the potentials of `run`.
    pub fn restored(run: &'a mut Run<'b, B>, eps: f64, saved: &Saved) -> Result<Self, BackendError> {
        let backend = run.backend;
        run.ratio_x = backend.upload_reals(&saved.log_ratio)?;
        let mut at = Self::new(run, eps, false)?;
        at.phi.change = backend.upload(&saved.change)?;
        at.memory = saved.memory.as_ref().map(|memory| Anderson::upload(backend, memory)).transpose()?;
        Ok(at)
    }

    /// Leaves the potentials with the run, and gives what else it takes to go on.
    pub fn save(&mut self) -> Result<Saved, BackendError> {
        let backend = self.run.backend;
        self.run.phi = backend.download(&self.phi.value)?;
        self.run.psi = backend.download(if self.run.symmetric { &self.phi.value } else { &self.psi.value })?;
        Ok(Saved {
            log_ratio: backend.download_reals(&self.run.ratio_x)?,
            change: backend.download(&self.phi.change)?,
            memory: self.memory.as_ref().map(|memory| memory.download(backend)).transpose()?,
        })
    }

    /// log of the first marginal's density, and the change of φ that an iteration would make.
    pub fn residual(&mut self) -> Result<(), BackendError> {
        let Self { run, eps, phi, psi, .. } = self;
        let (backend, x, y, eps) = (run.backend, &run.x, &run.y, *eps);
        backend.round(&phi.value, &mut phi.rounded)?;
        if run.symmetric && matches!(run.cost, Streamed::Product) && x.points.half.is_none() {
            let (weights, shift) = ((&x.weights, &x.log_weights), (&phi.rounded, 1.0 / eps));
            let cloud = Symmetric { rows: x.points.rows(), k: 1.0 / eps, weights, shift, packed: &mut run.packed };
            backend.soft_min(Logit::Symmetric(cloud), Out::of(&mut run.ratio_x))?;
        } else {
            backend.round(if run.symmetric { &phi.value } else { &psi.value }, &mut psi.rounded)?;
            let cost = run.cost.pair_cost(false);
            let half = HalfStep { backend, eps, cost, rows: &x.points, phi: &phi.rounded, columns: y, psi: &psi.rounded };
            half.log_marginal(&mut run.packed, &mut run.ratio_x)?;
        }
        phi.relax(backend, &run.ratio_x, eps, if run.symmetric { 0.5 } else { 1.0 })
    }

    /// The error of the plan that [`Alternation::residual`] looked at, unless balanced in units of ε.
    pub fn error(&self) -> Result<Ticket, BackendError> {
        match self.run.balanced() {
            true => self.run.backend.marginal_error(&self.run.x.weights, &self.run.ratio_x),
            false => self.run.backend.largest_change(&self.mass, &self.phi.change),
        }
    }

    /// One update of ψ and then [`Alternation::residual`]: in one pass where scores are kept and the potentials are near.
    pub fn half_steps(&mut self) -> Result<(), BackendError> {
        if !self.sweep()? {
            self.update_psi()?;
            self.residual()?;
        }
        Ok(())
    }

    fn sweep(&mut self) -> Result<bool, BackendError> {
        let Self { run, eps, phi, psi, .. } = self;
        let (backend, x, y, eps) = (run.backend, &run.x, &run.y, *eps);
        let Some(scores) = &mut run.scores else { return Ok(false) };
        backend.round(&phi.value, &mut phi.rounded)?;
        backend.round(&psi.value, &mut psi.rounded)?;
        let sweep = Sweep {
            k: 1.0 / eps,
            rows: Half { potential: &psi.rounded, weights: &y.weights },
            columns: Half { potential: &phi.rounded, weights: &x.weights },
            damping: psi.damping(),
        };
        if !backend.sweep(scores, &sweep, &mut run.ratio_y, &mut run.ratio_x)? {
            return Ok(false);
        }
        psi.relax(backend, &run.ratio_y, eps, 1.0)?;
        backend.advance(&psi.change, &mut psi.value)?;
        phi.relax(backend, &run.ratio_x, eps, 1.0)?;
        Ok(true)
    }

    /// One update of ψ.
    fn update_psi(&mut self) -> Result<(), BackendError> {
        let Self { run, eps, phi, psi, .. } = self;
        if run.symmetric {
            return Ok(());
        }
        let (backend, x, y, eps) = (run.backend, &run.x, &run.y, *eps);
        backend.round(&phi.value, &mut phi.rounded)?;
        backend.round(&psi.value, &mut psi.rounded)?;
        let cost = run.cost.pair_cost(true);
        let half = HalfStep { backend, eps, cost, rows: &y.points, phi: &psi.rounded, columns: x, psi: &phi.rounded };
        half.log_marginal(&mut run.packed, &mut run.ratio_y)?;
        psi.relax(backend, &run.ratio_y, eps, 1.0)?;
        backend.advance(&psi.change, &mut psi.value)
    }

    /// From the residual to the next: φ, then ψ, then what is left of the error.
    pub fn iterate(&mut self) -> Result<(), BackendError> {
        let backend = self.run.backend;
        match &mut self.memory {
            Some(memory) => backend.accelerate(memory, &self.mass, &self.phi.change, &mut self.phi.value)?,
            None => backend.advance(&self.phi.change, &mut self.phi.value)?,
        }
        self.half_steps()
    }

    /// Goes back to the best point, with the ψ that belongs to it, if there is one better than the present.
    pub fn go_back(&mut self) -> Result<bool, BackendError> {
        let backend = self.run.backend;
        let Some(memory) = &self.memory else { return Ok(false) };
        let Some(best) = memory.better_than(backend, &self.mass, &self.phi.change)? else { return Ok(false) };
        self.phi.value = backend.upload(&best)?;
        self.half_steps()?;
        Ok(true)
    }

    /// Leaves the potentials with the run.
    pub fn finish(self) -> Result<(), BackendError> {
        let backend = self.run.backend;
        self.run.phi = backend.download(&self.phi.value)?;
        self.run.psi = backend.download(if self.run.symmetric { &self.phi.value } else { &self.psi.value })?;
        Ok(())
    }
}
