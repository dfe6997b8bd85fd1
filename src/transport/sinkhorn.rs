//! Log-domain Sinkhorn with ε-annealing: alternating updates of the two potentials by soft-mins over pairs.
//!
//! With φ = ½|x|² − f and ψ = ½|y|² − g (coordinates relative to each cloud's mean) the plan is
//!
//! ```text
//! P_ij = a_i b_j exp((x_i·y_j − φ_i − ψ_j)/ε)
//! ```
//!
//! so φ, ψ tend to Brenier's convex potentials as ε → 0, and an update is φ ← φ + ε log r, where r_i = Σ_j P_ij / a_i is the
//! marginal of the plan *before* the update: the soft-min with shift φ/ε gives both, and the stopping test is free.

use crate::backend::{Backend, BackendError, Columns, Device, Reals, Rows, Scale, Task};
use crate::transport::TransportError;
use crate::transport::multiscale;
use crate::transport::problem::{Problem, Side, dot};

/// The solver and when it stops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sinkhorn {
    /// L1 error of the marginal that was not just updated; 0 makes exactly `max_iter` iterations without annealing.
    pub tol: f64,
    /// Most iterations, those of all annealing levels counted; one is an update of f and one of g.
    pub max_iter: usize,
    /// Neither annealing nor acceleration.
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

/// What the solver found.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The potentials.
    pub potentials: Potentials,
    /// ε in units of c.
    pub eps: f64,
    /// Iterations made, those of all annealing levels counted.
    pub iterations: usize,
    /// Whether the marginal error reached the tolerance.
    pub converged: bool,
    /// Σ_i |Σ_j P_ij − a_i| of the plan of `potentials`.
    pub marginal_error: f64,
    /// A bound of the plan's mass in pairs of points that were left out of the sums; 0 when none was.
    pub skipped_mass_bound: f64,
    /// ⟨P, c⟩.
    pub transport_cost: f64,
    /// Σ a f + Σ b g − ε(|P| − 1): a lower bound of OT_ε.
    pub dual: f64,
    /// ⟨P, c⟩ + ε KL(P ‖ a⊗b) = OT_ε at convergence.
    pub regularised_cost: f64,
    /// Barycentric map T(x_i) = Σ_j P_ij y_j / Σ_j P_ij, n × d row-major.
    pub map: Vec<f64>,
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
        if multiscale::serves(problem, &solver) {
            return multiscale::solve(backend, problem, &solver, warm, progress);
        }
        problem.check_precision::<B>()?;
        let x = Side::new(backend, problem.source())?;
        let y = Side::new(backend, problem.target())?;
        let gap: Vec<f64> = x.mean.iter().zip(&y.mean).map(|(x, y)| x - y).collect();
        let mut run = Run::new(backend, &x, &y, progress)?;
        if let Some(warm) = warm {
            if (warm.f.len(), warm.g.len()) != (x.n, y.n) {
                let (f, g) = (warm.f.len(), warm.g.len());
                return Err(TransportError::WarmStart { f, g, n: x.n, m: y.n });
            }
            run.phi = backend.upload_reals(&convex(&x, &warm.f, &gap, 1.0))?;
            run.psi = backend.upload_reals(&convex(&y, &warm.g, &gap, -1.0))?;
        }
        let annealed = !solver.plain && solver.tol > 0.0 && warm.is_none();
        if annealed {
            for eps in levels(problem.eps(), &x, &y) {
                let left = solver.max_iter.saturating_sub(run.iterations);
                run.solve(eps, LOOSE.max(solver.tol), left.min(PER_LEVEL))?;
            }
        }
        let left = solver.max_iter.saturating_sub(run.iterations);
        let marginal_error = run.solve(problem.eps(), solver.tol, left)?;
        run.outcome(problem, &gap, marginal_error, solver.tol)
    }
}

/// Marginal error and iterations at which an annealing level is left: it only has to start the next one well.
const LOOSE: f64 = 0.02;
const PER_LEVEL: usize = 30;

/// The annealing levels above `eps`: from the scale of the cost down by factors of about two.
fn levels<B: Backend>(eps: f64, x: &Side<B>, y: &Side<B>) -> Vec<f64> {
    let spread = |side: &Side<B>| side.half_squares().iter().zip(&side.mass).map(|(h, a)| h * a).sum::<f64>();
    let start = spread(x) + spread(y);
    let count = (start / eps).log2().ceil().max(0.0) as i32;
    (0..count).map(|k| eps * 2f64.powi(count - k)).collect()
}

/// φ = ½|x|² − f in centred coordinates: c = ½|x|² + ½|y|² − x·y + Δ·x − Δ·y + ½|Δ|² with Δ = mean x − mean y.
pub(super) fn convex<B: Backend>(side: &Side<B>, potential: &[f64], gap: &[f64], sign: f64) -> Vec<f64> {
    let rows = side.centred.chunks_exact(side.d);
    rows.zip(side.half_squares())
        .zip(potential)
        .map(|((x, half), f)| half + sign * dot(gap, x) + 0.25 * dot(gap, gap) - f)
        .collect()
}

/// The state of a solve: potentials and workspace on the device.
pub(super) struct Run<'a, B: Backend> {
    backend: &'a B,
    x: &'a Side<B>,
    y: &'a Side<B>,
    pub phi: Reals<B>,
    pub psi: Reals<B>,
    packed_x: Reals<B>,
    packed_y: Reals<B>,
    pub ratio_x: Reals<B>,
    pub ratio_y: Reals<B>,
    pub iterations: usize,
    progress: Option<Progress<'a>>,
    pub damping: Option<Damping<B>>,
}

/// A second marginal that is only drawn to b: g ← ω times what the balanced update gives, both updates over-relaxed by w.
pub(super) struct Damping<B: Backend> {
    pub omega: f64,
    /// ψ at g = 0.
    pub ground: Reals<B>,
}

impl<B: Backend> Damping<B> {
    /// The best over-relaxation 2/(1 + √(1−λ)) of an alternation whose rate λ is at most ω (Young 1954); near ω = 1 the bound
    /// says too little about λ to go beyond 1.6 safely.
    fn relaxation(&self) -> f64 {
        (2.0 / (1.0 + (1.0 - self.omega).sqrt())).min(1.6)
    }
}

impl<'a, B: Backend> Run<'a, B> {
    pub fn new(backend: &'a B, x: &'a Side<B>, y: &'a Side<B>, progress: Option<Progress<'a>>) -> Result<Self, BackendError> {
        Ok(Self {
            phi: backend.upload_reals(&x.half_squares())?,
            psi: backend.upload_reals(&y.half_squares())?,
            packed_x: backend.zeros(x.n * (x.d + 1))?,
            packed_y: backend.zeros(y.n * (y.d + 1))?,
            ratio_x: backend.zeros(x.n)?,
            ratio_y: backend.zeros(y.n)?,
            iterations: 0,
            backend,
            x,
            y,
            progress,
            damping: None,
        })
    }

    /// Iterates at `eps` until the error of the first marginal is at most `tol` or `max_iter` iterations are made; returns
    /// the error of the plan it leaves.
    pub fn solve(&mut self, eps: f64, tol: f64, max_iter: usize) -> Result<f64, TransportError> {
        let last = self.iterations + max_iter;
        loop {
            let error = self.first_marginal(eps)?;
            if !self.progress.is_none_or(|progress| progress(self.iterations, eps, error)) {
                return Err(TransportError::Stopped { iterations: self.iterations });
            }
            if self.iterations == last || (tol > 0.0 && error <= tol) {
                return Ok(error);
            }
            let over = self.damping.as_ref().map_or(1.0, Damping::relaxation);
            self.backend.axpby(over * eps, &self.ratio_x, 1.0, &mut self.phi)?;
            self.second_marginal(eps)?;
            let (kept, lost) = self.damping.as_ref().map_or((over, 0.0), |d| (over * d.omega, over * (1.0 - d.omega)));
            self.backend.axpby(kept * eps, &self.ratio_y, 1.0 - lost, &mut self.psi)?;
            if let Some(damping) = &self.damping {
                self.backend.axpby(lost, &damping.ground, 1.0, &mut self.psi)?;
            }
            self.iterations += 1;
        }
    }

    /// log of the first marginal's density with respect to a, into `ratio_x`; returns its L1 error.
    fn first_marginal(&mut self, eps: f64) -> Result<f64, BackendError> {
        let Self { backend, x, y, .. } = *self;
        let scale = Scale::Uniform(1.0 / eps);
        backend.pack(&y.points, y.d, scale, &y.log_weights, Some((&self.psi, -1.0 / eps)), &mut self.packed_y)?;
        let rows = Rows { points: &x.points, n: x.n, d: x.d };
        let columns = Columns { packed: &self.packed_y, m: y.n, d: y.d };
        backend.soft_min(rows, columns, Some((&self.phi, 1.0 / eps)), &mut self.ratio_x)?;
        backend.marginal_error(&x.weights, &self.ratio_x)
    }

    /// log of the second marginal's density with respect to b, into `ratio_y`.
    pub fn second_marginal(&mut self, eps: f64) -> Result<(), BackendError> {
        let Self { backend, x, y, .. } = *self;
        let scale = Scale::Uniform(1.0 / eps);
        backend.pack(&x.points, x.d, scale, &x.log_weights, Some((&self.phi, -1.0 / eps)), &mut self.packed_x)?;
        let rows = Rows { points: &y.points, n: y.n, d: y.d };
        let columns = Columns { packed: &self.packed_x, m: x.n, d: x.d };
        backend.soft_min(rows, columns, Some((&self.psi, 1.0 / eps)), &mut self.ratio_y)
    }

    /// The barycentric map relative to the mean of y, n × d, and the first marginal; the columns are those of the last
    /// `first_marginal`.
    fn barycentric_map(&mut self, eps: f64) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
        let Self { backend, x, y, .. } = *self;
        let mut mean = backend.zeros(x.n * y.d)?;
        let rows = Rows { points: &x.points, n: x.n, d: x.d };
        let columns = Columns { packed: &self.packed_y, m: y.n, d: y.d };
        let shift = Some((&self.phi, 1.0 / eps));
        backend.soft_mean(rows, columns, shift, &y.points, y.d, &mut self.ratio_x, &mut mean)?;
        let log_ratio = backend.download_reals(&self.ratio_x)?;
        let row_mass = log_ratio.iter().zip(&x.mass).map(|(r, a)| a * r.exp()).collect();
        Ok((backend.download_reals(&mean)?, row_mass))
    }

    /// Values, map and potentials of the plan, in f64 and in the input coordinates.
    fn outcome(mut self, problem: &Problem<'_>, gap: &[f64], marginal_error: f64, tol: f64) -> Result<Outcome, TransportError> {
        let (backend, x, y, eps) = (self.backend, self.x, self.y, problem.eps());
        let (mut map, row_mass) = self.barycentric_map(eps)?;

        // The last update was of g, so the second marginal is b.
        let total: f64 = row_mass.iter().sum();
        let product: f64 = (0..x.n).map(|i| row_mass[i] * dot(&x.centred[i * x.d..][..x.d], &map[i * x.d..][..x.d])).sum();
        let weighted = |mass: &[f64], values: &[f64]| dot(mass, values);
        let mean_x: Vec<f64> = (0..x.d).map(|k| (0..x.n).map(|i| row_mass[i] * x.centred[i * x.d + k]).sum()).collect();
        let transport_cost = weighted(&row_mass, &x.half_squares()) + weighted(&y.mass, &y.half_squares()) - product
            + dot(gap, &mean_x)
            + 0.5 * total * dot(gap, gap);

        let mut f = convex(x, &backend.download_reals(&self.phi)?, gap, 1.0);
        let mut g = convex(y, &backend.download_reals(&self.psi)?, gap, -1.0);
        let gauge = weighted(&y.mass, &g);
        g.iter_mut().for_each(|g| *g -= gauge);
        f.iter_mut().for_each(|f| *f += gauge);
        let dual = weighted(&x.mass, &f) - eps * (total - 1.0);
        let regularised_cost = weighted(&row_mass, &f) + eps * (1.0 - total);
        for row in map.chunks_exact_mut(y.d) {
            row.iter_mut().zip(&y.mean).for_each(|(t, m)| *t += m);
        }
        Ok(Outcome {
            potentials: Potentials { f, g },
            eps,
            iterations: self.iterations,
            converged: tol > 0.0 && marginal_error <= tol,
            marginal_error,
            skipped_mass_bound: 0.0,
            transport_cost,
            dual,
            regularised_cost,
            map,
        })
    }
}

/// The plan of a measure with itself.
pub(crate) struct SelfPlan {
    /// The dual value of OT_ε(a, a).
    pub value: f64,
    /// The potential f, of length n, up to a constant of the order of the marginal error.
    pub potential: Vec<f64>,
    /// Barycentric map, n × d row-major.
    pub map: Vec<f64>,
}

/// Solves OT_ε(a, a), from a potential if given: symmetric averaging φ ← φ + ½ ε log r converges in a few iterations.
pub(crate) fn self_transport<B: Backend>(
    backend: &B,
    problem: &Problem<'_>,
    warm: Option<&[f64]>,
    tol: f64,
    max_iter: usize,
) -> Result<SelfPlan, TransportError> {
    problem.check_precision::<B>()?;
    let x = Side::new(backend, problem.source())?;
    let mut run = Run::new(backend, &x, &x, None)?;
    let no_gap = vec![0.0; x.d];
    let levels = match warm {
        Some(f) => {
            run.phi = backend.upload_reals(&convex(&x, f, &no_gap, 1.0))?;
            run.psi = backend.upload_reals(&convex(&x, f, &no_gap, 1.0))?;
            Vec::new()
        }
        None => levels(problem.eps(), &x, &x),
    };
    for eps in levels.into_iter().chain([problem.eps()]) {
        let last = eps == problem.eps();
        for _ in 0..if last { max_iter } else { 5 } {
            let error = run.first_marginal(eps)?;
            backend.axpby(0.5 * eps, &run.ratio_x, 1.0, &mut run.phi)?;
            backend.axpby(0.5 * eps, &run.ratio_x, 1.0, &mut run.psi)?;
            if last && error <= tol {
                break;
            }
        }
    }
    run.first_marginal(problem.eps())?;
    let (mut map, row_mass) = run.barycentric_map(problem.eps())?;
    for row in map.chunks_exact_mut(x.d) {
        row.iter_mut().zip(&x.mean).for_each(|(t, m)| *t += m);
    }
    let potential = convex(&x, &backend.download_reals(&run.phi)?, &no_gap, 1.0);
    let total: f64 = row_mass.iter().sum();
    Ok(SelfPlan { value: 2.0 * dot(&x.mass, &potential) - problem.eps() * (total - 1.0), potential, map })
}
