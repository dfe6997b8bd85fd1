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

/// Called throughout each step with its number and the objective of the last; `false` stops the solver.
pub type Progress<'a> = &'a (dyn Fn(usize, f64) -> bool + Sync);

impl Barycenter {
    /// The barycenter of `clouds` under `weights` λ, which are scaled to one, from draws of the first cloud moved to the
    /// common mean.
    ///
    /// # Errors
    /// [`TransportError`] when there is no cloud, the dimensions differ, the weights do not fit, a problem cannot be solved, or
    /// `progress` says stop.
    pub fn solve(
        &self,
        clouds: &[Cloud],
        weights: &[f64],
        device: &Device,
        progress: Option<Progress<'_>>,
    ) -> Result<Between, TransportError> {
        self.run(clouds, weights, device, progress, None)
    }

    /// As [`Barycenter::solve`], but that the steps in `kept` are not made again, bit for bit as if there had been no stop. The state
    /// is saved there when that is due, and kept when `progress` says stop.
    ///
    /// # Errors
    /// As [`Barycenter::solve`].
    pub fn resume(
        &self,
        clouds: &[Cloud],
        weights: &[f64],
        device: &Device,
        progress: Option<Progress<'_>>,
        kept: Part<'_>,
    ) -> Result<Between, TransportError> {
        self.run(clouds, weights, device, progress, Some(kept))
    }

    fn run(
        &self,
        clouds: &[Cloud],
        weights: &[f64],
        device: &Device,
        progress: Option<Progress<'_>>,
        mut kept: Option<Part<'_>>,
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
        let underway = kept.as_ref().and_then(arrays);
        let (mut points, mut objective) = underway.unwrap_or_else(|| (self.start(first, &centre), Vec::new()));
        let (mut moved, mut converged) = (f64::INFINITY, false);
        while objective.len() < self.max_iter && !converged {
            let x = Cloud::new(points.clone(), d)?;
            let last = objective.last().copied().unwrap_or(f64::NAN);
            let go_on = || progress.is_none_or(|progress| progress(objective.len(), last));
            let step = self.step(&x, clouds, &shares, device, &go_on);
            let stopped = matches!(step, Err(TransportError::Stopped { .. }));
            if let Some(part) = &mut kept {
                part.pass(!stopped, |part| {
                    part.keep_array("points", points.clone());
                    part.keep_array("objective", objective.clone());
                });
            }
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
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Vec<f64>, f64), TransportError> {
        let (mut next, mut total) = (self.offset(x, device, go_on)?, 0.0);
        for (k, cloud) in clouds.iter().enumerate() {
            let (w2_squared, map) = self.map(x, cloud, device, go_on)?;
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
    fn offset(&self, x: &Cloud, device: &Device, go_on: &(dyn Fn() -> bool + Sync)) -> Result<Vec<f64>, TransportError> {
        match self.coupling {
            Coupling::Entropic { debias: true, .. } => {
                let (_, own) = self.map(x, x, device, go_on)?;
                Ok(x.points().iter().zip(own).map(|(x, t)| x - t).collect())
            }
            _ => Ok(vec![0.0; x.points().len()]),
        }
    }

    /// 2⟨P, c⟩ and the barycentric map of the plan from `x` to `y`.
    fn map(
        &self,
        x: &Cloud,
        y: &Cloud,
        device: &Device,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<(f64, Vec<f64>), TransportError> {
        match self.coupling {
            Coupling::Exact if !go_on() => Err(TransportError::Stopped { iterations: 0 }),
            Coupling::Exact => ExactPlan::new(x, y).map(|plan| (plan.w2_squared, plan.map)),
            Coupling::Entropic { eps, solver, .. } => {
                let outcome = solver.solve(&Problem::new(x, y, eps)?, device, None, Some(&|_, _, _| go_on()))?;
                Ok((2.0 * outcome.transport_cost, outcome.map))
            }
        }
    }
}
