//! What is known of a law at particles: its density and score, exactly or by the kernels that the particles are drawn from.
//!
//! After an explicit step with noise of variance s², ρ is the mean of q = Σ_j N(m_j, s²I)/n over the particles' drifted places m_j,
//! one of which each particle was drawn around. With q′ made from the half of the particles to which x does not belong, and F and I
//! the free energy and the Fisher information relative to π,
//!
//! ```text
//! E log q′/π ≤ F(ρ) ≤ E log q/π                          Gibbs' inequality; F is convex
//! E 2u·(z − ∇log π) − |u|² ≤ I(ρ|π) ≤ E |∇log q/π|²       u = ∇log q′/π, z = (m − x)/s²; I is convex
//! ```
//!
//! Both gaps fall as one over the number of particles within a kernel's width, the lower twice as wide as the upper: the estimate
//! lies a third of the way down, where the leading terms cancel, and its error covers the way to the lower bound ([`Bounded`]). In
//! many dimensions no particle has neighbours, and the error exceeds the estimate.

use std::f64::consts::TAU;

use crate::backend::{BackendError, Device};
use crate::gradient_flow::kernel::{Kernel, Sums};
use crate::vector::mean_with_error;

/// What is known of a law at particles.
pub(super) enum Density {
    /// Its log-density and score.
    Known { log: Vec<f64>, score: Vec<f64> },
    /// Estimates from the particles.
    Estimated(Estimate),
    /// Nothing.
    Unknown,
}

/// Particles x_j, each drawn from the kernel N(m_j, s²I) around a centre of its own.
pub(super) struct Kernels<'a> {
    /// x, n × d.
    pub points: &'a [f64],
    /// m, n × d.
    pub centres: &'a [f64],
    /// d.
    pub dim: usize,
    /// s².
    pub width_squared: f64,
    pub device: &'a Device,
}

impl Kernels<'_> {
    /// Sums over all kernels at all particles.
    pub fn all(&self) -> Result<Sums, BackendError> {
        self.sums(self.points, self.centres)
    }

    /// Sums of Σ_j N(`centres`_j, s²I)/m at `points`.
    fn sums(&self, points: &[f64], centres: &[f64]) -> Result<Sums, BackendError> {
        let m = centres.len() / self.dim;
        let log_weights = vec![-(m as f64).ln(); m];
        let Self { dim, width_squared, .. } = *self;
        self.device.run(Kernel { rows: points, columns: centres, dim, log_weights: &log_weights, width_squared })
    }
}

/// Estimates at particles drawn from q.
pub(super) struct Estimate {
    /// log q′ and log q.
    pub log: [Vec<f64>; 2],
    /// ∇log q′ and ∇log q.
    pub score: [Vec<f64>; 2],
    /// z, the score of the particle's own kernel.
    pub conditional: Vec<f64>,
    /// The score of q without the particle's own kernel, and its standard error: half of what the two halves of the kernels differ by.
    /// Of a particle alone, whose own kernel is all of q there, the score is that of q′.
    pub best: Vec<f64>,
    pub error: Vec<f64>,
}

impl Estimate {
    /// From the particles of `kernels` and the sums over all of them; none of one particle.
    pub fn new(kernels: &Kernels<'_>, all: Sums) -> Result<Option<Self>, BackendError> {
        let Kernels { points, centres, dim: d, width_squared, .. } = *kernels;
        let n = all.log.len();
        let half = n / 2 * d;
        if half == 0 {
            return Ok(None);
        }
        let first = kernels.sums(&points[..half], &centres[half..])?;
        let second = kernels.sums(&points[half..], &centres[..half])?;
        let others = Sums { log: [first.log, second.log].concat(), mean: [first.mean, second.mean].concat(), spread: Vec::new() };
        let constant = 0.5 * d as f64 * (TAU * width_squared).ln();
        let log = |sums: &Sums| -> Vec<f64> { sums.log.iter().map(|log| log - constant).collect() };
        let score = |mean: &[f64]| -> Vec<f64> { (0..mean.len()).map(|i| (mean[i] - points[i]) / width_squared).collect() };
        let (mut best, mut error) = (vec![0.0; points.len()], vec![0.0; points.len()]);
        for i in 0..n {
            let row = i * d..(i + 1) * d;
            let (x, own) = (&points[row.clone()], &centres[row.clone()]);
            let squared: f64 = x.iter().zip(own).map(|(x, m)| (x - m).powi(2)).sum();
            // Sums over all kernels, over the particle's own and over the other half, each divided by that over all.
            let own_share = (-0.5 * squared / width_squared - (n as f64).ln() - all.log[i]).exp();
            let other_share = 0.5 * (others.log[i] - all.log[i]).exp();
            let (rest, same) = (1.0 - own_share, 1.0 - own_share - other_share);
            for at in row {
                let other = others.mean[at];
                let without = if rest > LEAST_SHARE { (all.mean[at] - own_share * centres[at]) / rest } else { other };
                // A half with no kernel near the particle but its own tells of nothing else.
                let own_half = if same > LEAST_SHARE { (rest * without - other_share * other) / same } else { centres[at] };
                (best[at], error[at]) = ((without - points[at]) / width_squared, 0.5 * (own_half - other) / width_squared);
            }
        }
        Ok(Some(Self {
            log: [log(&others), log(&all)],
            score: [score(&others.mean), score(&all.mean)],
            conditional: score(centres),
            best,
            error,
        }))
    }
}

/// A share of a kernel sum below which it is a difference of rounding errors.
const LEAST_SHARE: f64 = 1e-3;

/// An estimate between the means of two bounds, the lower twice as far off as the upper.
pub(super) struct Bounded {
    pub value: f64,
    /// Standard error and way to the lower bound together.
    pub error: f64,
}

impl Bounded {
    pub fn new(low: &[f64], high: &[f64]) -> Self {
        let between: Vec<f64> = low.iter().zip(high).map(|(low, high)| (low + 2.0 * high) / 3.0).collect();
        let ((value, noise), (low, _)) = (mean_with_error(&between), mean_with_error(low));
        Self { value, error: noise.hypot(value - low) }
    }
}
