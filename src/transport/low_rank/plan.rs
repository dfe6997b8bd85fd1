//! The plan written out.

use rayon::prelude::*;

use super::descent::{Descent, Pair};
use super::projection::Projected;
use super::side::LEAST;
use crate::backend::BackendError;
use crate::vector::dot;

/// Rows of one partial sum: sums do not depend on the number of threads.
const CHUNK: usize = 1024;

/// A plan P = Q diag(1/g) Rᵀ.
#[derive(Clone, Debug, PartialEq)]
pub struct LowRankPlan {
    /// Q, n × r row-major; Q1 = a.
    pub q: Vec<f64>,
    /// R, m × r row-major; R1 = b.
    pub r: Vec<f64>,
    /// g, of length r, adding up to one.
    pub g: Vec<f64>,
    /// ⟨P, c⟩ ≥ ½W₂².
    pub transport_cost: f64,
    /// Σ_k |(Qᵀ1)_k − g_k| + |(Rᵀ1)_k − g_k|, which bounds the L1 errors of both marginals of P: rounding only, for R is made exact.
    pub marginal_error: f64,
    /// Steps made, on samples and on all points.
    pub iterations: usize,
    /// Whether the cost stopped falling.
    pub converged: bool,
    /// The barycentric map Σ_k Q_ik ȳ_k / a_i, n × d row-major.
    pub map: Vec<f64>,
}

impl LowRankPlan {
    /// The plan of all `points`, of which g are the column sums of Q. R is cut down to them, and what its rows then lack is spread over
    /// what the columns lack (Altschuler, Weed, Rigollet 2017, algorithm 2).
    ///
    /// # Errors
    /// [`BackendError`] of the device.
    pub(super) fn new(
        descent: &Descent,
        points: &Pair,
        now: &Projected,
        origin: &[f64],
        converged: bool,
    ) -> Result<Self, BackendError> {
        let (x, y) = (&points.x, &points.y);
        let (g, rank, d) = (now.x.masses.clone(), now.g.len(), x.d);
        let cut: Vec<f64> = g.iter().zip(&now.y.masses).map(|(g, mass)| (g / mass.max(LEAST)).min(1.0)).collect();
        let kept: Vec<f64> = cut.iter().zip(&now.y.masses).map(|(cut, mass)| cut * mass).collect();
        let lacking: Vec<f64> = g.iter().zip(&kept).map(|(g, kept)| (g - kept).max(0.0)).collect();
        let total = lacking.iter().sum::<f64>().max(LEAST);

        let mut r = descent.r.shares(y, descent.sigma())?;
        r.par_chunks_exact_mut(rank).zip(&y.masses).for_each(|(row, mass)| {
            row.iter_mut().zip(&cut).for_each(|(r, cut)| *r *= cut);
            let missing = (1.0 - row.iter().sum::<f64>()).max(0.0) / total;
            row.iter_mut().zip(&lacking).for_each(|(r, lacking)| *r = mass * (*r + missing * lacking));
        });
        // The same done to the means, of which all together are the origin.
        let mut means = now.y.means.clone();
        let mut rest = vec![0.0; d];
        for (mean, kept) in means.chunks_exact(d).zip(&kept) {
            rest.iter_mut().zip(mean).for_each(|(rest, y)| *rest -= kept * y);
        }
        for (k, mean) in means.chunks_exact_mut(d).enumerate() {
            let mass = g[k].max(LEAST);
            mean.iter_mut().zip(&rest).for_each(|(y, rest)| *y = (kept[k] * *y + lacking[k] / total * rest) / mass);
        }
        let gain = |k: usize| g[k] * dot(&now.x.means[k * d..][..d], &means[k * d..][..d]);
        let transport_cost = (points.constant - (0..rank).map(gain).sum::<f64>()).max(0.0);

        let mut q = descent.q.shares(x, descent.sigma())?;
        let mut map = origin.repeat(x.masses.len());
        let rows = q.par_chunks_exact_mut(rank).zip(map.par_chunks_exact_mut(d)).zip(&x.masses);
        rows.for_each(|((row, image), mass)| {
            for (q, mean) in row.iter_mut().zip(means.chunks_exact(d)) {
                image.iter_mut().zip(mean).for_each(|(t, y)| *t += *q * y);
                *q *= mass;
            }
        });
        let marginal_error = error(&q, &g) + error(&r, &g);
        Ok(Self { q, r, g, transport_cost, marginal_error, iterations: descent.iterations, converged, map })
    }
}

/// The L1 error of the column sums.
pub(super) fn error(factor: &[f64], g: &[f64]) -> f64 {
    let part = |rows: &[f64]| {
        let mut sums = vec![0.0; g.len()];
        rows.chunks_exact(g.len()).for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, q)| *sum += q));
        sums
    };
    let parts: Vec<Vec<f64>> = factor.par_chunks(CHUNK * g.len()).map(part).collect();
    (0..g.len()).map(|k| (parts.iter().map(|part| part[k]).sum::<f64>() - g[k]).abs()).sum()
}
