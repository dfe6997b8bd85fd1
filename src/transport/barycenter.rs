//! The free-support barycenter of several clouds (Cuturi, Doucet 2014, algorithm 2 with uniform weights).
//!
//! ```text
//! argmin over x of Σ_k λ_k W₂²((1/n) Σ_i δ_{x_i}, b_k)            x_i ← Σ_k λ_k T_k(x_i)
//! ```
//!
//! T_k is the barycentric map of the plan to cloud k: that of the exact plan, or at ε the entropic one, less the pull of the
//! points on themselves where it is debiased, x_i ← x_i + Σ_k λ_k T_k(x_i) − T_x(x_i), which undoes the shrinking that ε causes
//! (Janati, Cuturi, Gramfort 2020). Each exact step lowers the objective; it ends at a stationary point.

use crate::backend::Device;
use crate::checkpoint::Part;
use crate::measure::Cloud;
use crate::random::{Philox, Stream};
use crate::transport::{ExactPlan, Problem, Sinkhorn, TransportError};
use crate::watch::{Progress, Watch};

/// How the points and each cloud are coupled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Coupling {
    /// By the exact plan, at most 5,000 points a side.
    Exact,
    /// By the entropic plan.
    Entropic {
        /// ε in units of c.
        eps: f64,
        /// Whether the pull of the points on themselves is taken off.
        debias: bool,
        /// The solver of each problem.
        solver: Sinkhorn,
    },
}

/// The solver and when it stops.
///
/// ```
/// use brenier::backend::{Device, Precision};
/// use brenier::measure::Cloud;
/// use brenier::transport::Barycenter;
///
/// let clouds = [Cloud::new(vec![0.0, 1.0, 2.0], 1)?, Cloud::new(vec![4.0, 5.0, 6.0], 1)?];
/// let found = Barycenter::new(3).solve(&clouds, &[1.0, 1.0], &Device::cpu(Precision::F64))?;
/// assert!((found.cloud.mean()[0] - 3.0).abs() < 1e-9); // half way
/// # Ok::<(), brenier::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Barycenter {
    /// Points of the barycenter, of equal weights.
    pub n: usize,
    /// How they are coupled to the clouds.
    pub coupling: Coupling,
    /// Root mean square movement of a step, relative to the radius of the points, at which to stop.
    pub tol: f64,
    /// Most steps.
    pub max_iter: usize,
    /// Seed of the first points.
    pub seed: u32,
}

/// What the solver found.
#[derive(Clone, Debug, PartialEq)]
pub struct Between {
    /// The points, with equal weights.
    pub cloud: Cloud,
    /// Σ_k λ_k 2⟨P_k, c⟩ before each step, in units of |x−y|²: Σ λ W₂² where the plans are exact.
    pub objective: Vec<f64>,
    /// Root mean square movement of the last step.
    pub moved: f64,
    /// Whether that is within the tolerance.
    pub converged: bool,
}

impl Barycenter {
    /// `n` points under exact plans, in at most 50 steps, until they move by 10⁻⁶ of their radius.
    pub fn new(n: usize) -> Self {
        Self { n, coupling: Coupling::Exact, tol: 1e-6, max_iter: 50, seed: 0 }
    }

    /// The barycenter of `clouds` under `weights` λ, which are scaled to one, from draws of the first cloud moved to the
    /// common mean.
    ///
    /// # Errors
    /// [`TransportError`] when there is no cloud, the dimensions differ, the weights do not fit or a problem cannot be solved.
    pub fn solve(&self, clouds: &[Cloud], weights: &[f64], device: &Device) -> Result<Between, TransportError> {
        self.solve_watched(clouds, weights, device, Watch::default())
    }

    /// [`Barycenter::solve`], with `watch` told throughout each step of its number and the objective of the last; the steps it kept are
    /// not made again.
    ///
    /// # Errors
    /// As [`Barycenter::solve`], and [`TransportError::Stopped`] when the watch says stop.
    pub fn solve_watched(
        &self,
        clouds: &[Cloud],
        weights: &[f64],
        device: &Device,
        mut watch: Watch<'_>,
    ) -> Result<Between, TransportError> {
        let shares = Cloud::new(vec![0.0; clouds.len()], 1)?.with_weights(weights.to_vec())?;
        let (first, d) = (&clouds[0], clouds[0].dim());
        if let Some(other) = clouds.iter().find(|cloud| cloud.dim() != d) {
            return Err(TransportError::Dimensions { source_dim: d, target_dim: other.dim() });
        }
        let mut centre = vec![0.0; d];
        for (k, cloud) in clouds.iter().enumerate() {
            centre.iter_mut().zip(cloud.mean()).for_each(|(c, mean)| *c += shares.weight(k) * mean);
        }
        let arrays = |part: &Part<'_>| Some((part.array("points")?.to_vec(), part.array("objective")?.to_vec()));
        let underway = watch.kept().and_then(arrays);
        let (mut points, mut objective) = underway.unwrap_or_else(|| (self.start(first, &centre), Vec::new()));
        let (mut moved, mut converged) = (f64::INFINITY, false);
        while objective.len() < self.max_iter && !converged {
            let x = Cloud::new(points.clone(), d)?;
            let last = objective.last().copied().unwrap_or(f64::NAN);
            let now = Progress { of: Some(self.max_iter), ..Progress::at(objective.len(), last) };
            let tell = |inner: Progress<'_>| watch.tell(Progress { residual: inner.residual, ..now });
            let step = self.step(&x, clouds, &shares, device, &Watch::telling(&tell));
            let stopped = matches!(step, Err(TransportError::Stopped { .. }));
            watch.pass(!stopped, |part| {
                part.keep_array("points", points.clone());
                part.keep_array("objective", objective.clone());
            });
            let (next, total) = step?;
            objective.push(total);
            let squares: f64 = next.iter().zip(&points).map(|(p, q)| (p - q).powi(2)).sum();
            moved = (squares / self.n as f64).sqrt();
            points = next;
            converged = moved <= self.tol * x.radius();
        }
        Ok(Between { cloud: Cloud::new(points, d)?, objective, moved, converged })
    }

    /// Where the points go, and Σ_k λ_k W₂² of where they are.
    fn step(
        &self,
        x: &Cloud,
        clouds: &[Cloud],
        shares: &Cloud,
        device: &Device,
        watch: &Watch<'_>,
    ) -> Result<(Vec<f64>, f64), TransportError> {
        let (mut next, mut total) = (self.offset(x, device, watch)?, 0.0);
        for (k, cloud) in clouds.iter().enumerate() {
            let (w2_squared, map) = self.map(x, cloud, device, watch)?;
            total += shares.weight(k) * w2_squared;
            next.iter_mut().zip(map).for_each(|(x, t)| *x += shares.weight(k) * t);
        }
        Ok((next, total))
    }

    /// n points of `cloud`, none twice where they suffice, moved so that the mean of the cloud lies at `centre`.
    fn start(&self, cloud: &Cloud, centre: &[f64]) -> Vec<f64> {
        let draws = match cloud.weights() {
            None if self.n <= cloud.len() => {
                cloud.uniform_at(&Philox::new(self.seed, Stream::Split).permutation(cloud.len(), self.n, 0))
            }
            _ => cloud.resample(self.n, self.seed, Stream::Split, 0),
        };
        let mean = cloud.mean();
        draws.rows().flat_map(|x| x.iter().zip(&mean).zip(centre).map(|((x, m), c)| x - m + c)).collect()
    }

    /// What a step starts from: nothing, or x − T_x(x) where the plans are debiased.
    fn offset(&self, x: &Cloud, device: &Device, watch: &Watch<'_>) -> Result<Vec<f64>, TransportError> {
        match self.coupling {
            Coupling::Entropic { debias: true, .. } => {
                let (_, own) = self.map(x, x, device, watch)?;
                Ok(x.points().iter().zip(own).map(|(x, t)| x - t).collect())
            }
            _ => Ok(vec![0.0; x.points().len()]),
        }
    }

    /// 2⟨P, c⟩ and the barycentric map of the plan from `x` to `y`.
    fn map(&self, x: &Cloud, y: &Cloud, device: &Device, watch: &Watch<'_>) -> Result<(f64, Vec<f64>), TransportError> {
        match self.coupling {
            Coupling::Exact if !watch.tell(Progress::default()) => Err(TransportError::Stopped { iterations: 0 }),
            Coupling::Exact => ExactPlan::new(x, y).map(|plan| (2.0 * plan.transport_cost, plan.map.unwrap_or_default())),
            Coupling::Entropic { eps, solver, .. } => {
                let outcome = solver.solve_watched(&Problem::new(x, y, eps)?, None, device, watch.not_keeping())?;
                Ok((2.0 * outcome.transport_cost, outcome.map()))
            }
        }
    }
}
