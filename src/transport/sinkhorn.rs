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

use crate::backend::{Backend, BackendError, Columns, Device, Reals, Rows, Scale, Task};
use crate::transport::TransportError;
use crate::transport::anderson::Anderson;
use crate::transport::multiscale;
use crate::transport::outcome::{Outcome, Residual};
use crate::transport::problem::{Problem, Side, dot};
use crate::transport::start;

/// The solver and when it stops.
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

/// Called after each iteration with its number, ε and the marginal error; `false` stops the solver.
pub type Progress<'a> = &'a (dyn Fn(usize, f64, f64) -> bool + Sync);

impl Sinkhorn {
    /// Solves `problem` on `device`, from `warm` if given. Not converging is a fact of the outcome, not an error.
    ///
    /// # Errors
    /// [`TransportError`] when ε is too small for the precision, the warm start has other lengths, memory runs out, or `progress`
    /// says stop.
    pub fn solve(
        &self,
        problem: &Problem<'_>,
        device: &Device,
        warm: Option<&Potentials>,
        progress: Option<Progress<'_>>,
    ) -> Result<Outcome, TransportError> {
        device.run(Solve { solver: *self, problem, warm, progress })
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
    progress: Option<Progress<'a>>,
}

impl Task for Solve<'_, '_> {
    type Output = Result<Outcome, TransportError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let Self { solver, problem, warm, progress } = self;
        if multiscale::serves::<B>(problem, &solver) {
            return multiscale::solve(backend, problem, &solver, warm, progress);
        }
        problem.check_precision::<B>()?;
        let (x, y) = problem.sides(backend)?;
        let mut run = Run::new(backend, problem, &x, &y, progress)?;
        run.symmetric = solver.accelerated() && problem.is_symmetric();
        match warm {
            Some(warm) => run.start_from(warm)?,
            None if solver.accelerated() => run.anneal(&solver)?,
            None => {}
        }
        let left = solver.max_iter.saturating_sub(run.iterations);
        let marginal_error = run.solve(run.eps, &solver, left)?;
        run.outcome(problem, marginal_error, &solver)
    }
}

/// Annealing starts at this share of the spread of the clouds, ½E|x|² + ½E|y|²…
const FIRST_LEVEL: f64 = 0.05;
/// …falls by this factor a level…
const LEVEL_FACTOR: f64 = 4.0;
/// …and leaves a level at this marginal error. Looser levels start the next ones so badly that clusters hardly find each other:
/// 0.05 instead takes 1.6 times the iterations over 27 hard problems, and more than 600 on two of them.
const LOOSE: f64 = 5e-3;
/// Most iterations of a level, which only has to start the next one well.
const PER_LEVEL: usize = 100;
/// Iterations without a new least error after which an error near the rounding of the exponents is taken as final.
const PATIENCE: usize = 50;

/// φ = ½|x|² − f in centred coordinates: c = ½|x|² + ½|y|² − x·y + Δ·x − Δ·y + ½|Δ|² with Δ = mean x − mean y.
pub(super) fn convex<B: Backend>(side: &Side<B>, potential: &[f64], gap: &[f64], sign: f64) -> Vec<f64> {
    let rows = side.centred.chunks_exact(side.d);
    rows.zip(side.half_squares())
        .zip(potential)
        .map(|((x, half), f)| half + sign * dot(gap, x) + 0.25 * dot(gap, gap) - f)
        .collect()
}

/// How strongly a marginal is held: the potential's update is ω times the balanced one.
pub(super) struct Hold {
    /// ρ; none holds the marginal exactly.
    pub rho: Option<f64>,
    /// φ at f = 0.
    pub ground: Vec<f64>,
}

impl Hold {
    /// The change of φ that an update makes, given the log of the marginal's density.
    pub fn change(&self, eps: f64, phi: &[f64], log_ratio: &[f64]) -> Vec<f64> {
        let Some(rho) = self.rho else { return log_ratio.iter().map(|r| eps * r).collect() };
        let omega = rho / (rho + eps);
        let pairs = log_ratio.iter().zip(self.ground.iter().zip(phi));
        pairs.map(|(r, (ground, phi))| omega * eps * r + (1.0 - omega) * (ground - phi)).collect()
    }
}

/// The state of a solve: potentials in f64, workspace on the device. Lengths are in units of the problem's scale.
pub(super) struct Run<'a, B: Backend> {
    backend: &'a B,
    pub x: &'a Side<B>,
    pub y: &'a Side<B>,
    pub eps: f64,
    pub hold_x: Hold,
    pub hold_y: Hold,
    /// Whether ψ is φ.
    pub symmetric: bool,
    pub phi: Vec<f64>,
    pub psi: Vec<f64>,
    packed_x: Reals<B>,
    packed_y: Reals<B>,
    ratio_x: Reals<B>,
    ratio_y: Reals<B>,
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
        problem: &Problem<'_>,
        x: &'a Side<B>,
        y: &'a Side<B>,
        progress: Option<Progress<'a>>,
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
            iterations: 0,
            history: Vec::new(),
            rounding: x.rounding(y),
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

    /// Solves the levels of ε above the one asked for, each from the two before, and leaves φ extrapolated to it.
    fn anneal(&mut self, solver: &Sinkhorn) -> Result<(), TransportError> {
        let spread = |side: &Side<B>| dot(&side.half_squares(), &side.mass);
        let first = FIRST_LEVEL * (spread(self.x) + spread(self.y));
        let count = (first / self.eps).log(LEVEL_FACTOR).ceil().max(0.0) as i32;
        let mut levels: Vec<(f64, Vec<f64>)> = Vec::new();
        for k in (0..=count).rev() {
            let eps = self.eps * LEVEL_FACTOR.powi(k);
            match &levels[..] {
                [] if self.balanced() => self.phi = start::gaussian(self.x, self.y, eps).unwrap_or_else(|| self.x.half_squares()),
                [.., (before_eps, before), (last_eps, last)] => {
                    let share = (eps - last_eps) / (last_eps - before_eps);
                    self.phi = last.iter().zip(before).map(|(last, before)| last + share * (last - before)).collect();
                }
                _ => {}
            }
            if k > 0 {
                let left = solver.max_iter.saturating_sub(self.iterations).min(PER_LEVEL);
                let loose = Sinkhorn { tol: LOOSE.max(solver.tol), ..*solver };
                self.solve(eps, &loose, left)?;
                levels.push((eps, self.phi.clone()));
            }
        }
        Ok(())
    }

    /// Iterates at `eps` until the error is at most `tol` or `max_iter` iterations are made; returns the error of the plan it
    /// leaves.
    pub fn solve(&mut self, eps: f64, solver: &Sinkhorn, max_iter: usize) -> Result<f64, TransportError> {
        let last = self.iterations + max_iter;
        // Whatever ψ was, after this it belongs to φ and the error of the first marginal is the whole error.
        if solver.tol > 0.0 {
            self.update_psi(eps)?;
        }
        let mut anderson = Anderson::new(&self.x.mass);
        let mut least = (f64::INFINITY, self.iterations);
        loop {
            let (residual, error) = self.residual(eps)?;
            self.history.push(Residual { iteration: self.iterations, eps: eps / self.x.scale.powi(2), error });
            if !self.progress.is_none_or(|progress| progress(self.iterations, eps / self.x.scale.powi(2), error)) {
                return Err(TransportError::Stopped { iterations: self.iterations });
            }
            if error < least.0 {
                least = (error, self.iterations);
            }
            let stalled = self.iterations >= least.1 + PATIENCE && error <= 10.0 * self.rounding / eps;
            if solver.tol > 0.0 && error <= solver.tol {
                return Ok(error);
            }
            if self.iterations >= last || (solver.tol > 0.0 && stalled) {
                let Some(phi) = anderson.better_than(&residual) else { return Ok(error) };
                self.phi = phi;
                self.update_psi(eps)?;
                return Ok(self.residual(eps)?.1);
            }
            let phi = std::mem::take(&mut self.phi);
            self.phi = match solver.accelerated() {
                true => anderson.next(phi, residual),
                false => phi.iter().zip(&residual).map(|(phi, change)| phi + change).collect(),
            };
            self.update_psi(eps)?;
            self.iterations += 1;
        }
    }

    /// The change of φ an iteration would make, and the error of the plan of φ and ψ.
    fn residual(&mut self, eps: f64) -> Result<(Vec<f64>, f64), BackendError> {
        let log_ratio = self.first_marginal(eps)?;
        let mut change = self.hold_x.change(eps, &self.phi, &log_ratio);
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

    /// log of the first marginal's density with respect to a, also left in `ratio_x`.
    fn first_marginal(&mut self, eps: f64) -> Result<Vec<f64>, BackendError> {
        let Self { backend, x, y, .. } = *self;
        let phi = backend.upload_reals(&self.phi)?;
        if self.symmetric {
            let rows = Rows { points: &x.points, n: x.n, d: x.width };
            let (weights, shift) = ((&x.weights, &x.log_weights), (&phi, 1.0 / eps));
            backend.soft_min_self(rows, 1.0 / eps, weights, shift, &mut self.packed_y, &mut self.ratio_x)?;
        } else {
            let psi = backend.upload_reals(&self.psi)?;
            log_marginal(backend, eps, (x, &phi), (y, &psi), &mut self.packed_y, &mut self.ratio_x)?;
        }
        backend.download_reals(&self.ratio_x)
    }

    /// log of the second marginal's density with respect to b.
    pub fn second_marginal(&mut self, eps: f64) -> Result<Vec<f64>, BackendError> {
        let Self { backend, x, y, .. } = *self;
        let (phi, psi) = (backend.upload_reals(&self.phi)?, backend.upload_reals(&self.psi)?);
        log_marginal(backend, eps, (y, &psi), (x, &phi), &mut self.packed_x, &mut self.ratio_y)?;
        backend.download_reals(&self.ratio_y)
    }

    /// One update of φ.
    pub fn update_phi(&mut self, eps: f64) -> Result<(), BackendError> {
        let (change, _) = self.residual(eps)?;
        self.phi.iter_mut().zip(change).for_each(|(phi, change)| *phi += change);
        Ok(())
    }

    /// One update of ψ.
    pub fn update_psi(&mut self, eps: f64) -> Result<(), BackendError> {
        if self.symmetric {
            self.psi.clone_from(&self.phi);
            return Ok(());
        }
        let log_ratio = self.second_marginal(eps)?;
        let change = self.hold_y.change(eps, &self.psi, &log_ratio);
        self.psi.iter_mut().zip(change).for_each(|(psi, change)| *psi += change);
        Ok(())
    }

    /// Σ_j P_ij v_j / Σ_j P_ij of `values` v, m × p, and before it the log of the first marginal's density.
    pub fn row_means(&mut self, eps: f64, values: &[f64], p: usize) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
        let (x, y) = ((self.x, &self.phi[..]), (self.y, &self.psi[..]));
        means(self.backend, eps, x, y, values, p, &mut self.packed_y, &mut self.ratio_x)
    }

    /// Σ_i P_ij v_i / Σ_i P_ij of `values` v, n × p, and before it the log of the second marginal's density.
    pub fn column_means(&mut self, eps: f64, values: &[f64], p: usize) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
        let (x, y) = ((self.x, &self.phi[..]), (self.y, &self.psi[..]));
        means(self.backend, eps, y, x, values, p, &mut self.packed_x, &mut self.ratio_y)
    }
}

/// The log of a marginal's density and the means of values under the plan's rows; each side comes with its potential.
#[allow(clippy::too_many_arguments)]
fn means<B: Backend>(
    backend: &B,
    eps: f64,
    (rows, phi): (&Side<B>, &[f64]),
    (columns, psi): (&Side<B>, &[f64]),
    values: &[f64],
    p: usize,
    packed: &mut Reals<B>,
    ratio: &mut Reals<B>,
) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
    let (phi, psi, values) = (backend.upload_reals(phi)?, backend.upload_reals(psi)?, backend.upload_reals(values)?);
    let scale = Scale::Uniform(1.0 / eps);
    backend.pack(&columns.points, columns.width, scale, &columns.log_weights, Some((&psi, -1.0 / eps)), packed)?;
    let mut mean = backend.zeros(rows.n * p)?;
    let columns = Columns { packed, m: columns.n, d: columns.width };
    let rows = Rows { points: &rows.points, n: rows.n, d: rows.width };
    backend.soft_mean(rows, columns, Some((&phi, 1.0 / eps)), &values, p, ratio, &mut mean)?;
    Ok((backend.download_reals(ratio)?, backend.download_reals(&mean)?))
}

/// `out_i = log Σ_j b_j exp((x_i·y_j − φ_i − ψ_j)/ε)`, the log of a marginal's density; each side comes with its potential.
fn log_marginal<B: Backend>(
    backend: &B,
    eps: f64,
    (rows, phi): (&Side<B>, &Reals<B>),
    (columns, psi): (&Side<B>, &Reals<B>),
    packed: &mut Reals<B>,
    out: &mut Reals<B>,
) -> Result<(), BackendError> {
    let scale = Scale::Uniform(1.0 / eps);
    backend.pack(&columns.points, columns.width, scale, &columns.log_weights, Some((psi, -1.0 / eps)), packed)?;
    let rows = Rows { points: &rows.points, n: rows.n, d: rows.width };
    let columns = Columns { packed, m: columns.n, d: columns.width };
    backend.soft_min(rows, columns, Some((phi, 1.0 / eps)), out)
}
