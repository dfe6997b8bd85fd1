//! The KL projection onto the plans.
//!
//! Of all Q, R, g with Q1 = a, R1 = b, Qᵀ1 = Rᵀ1 = g those nearest to given ones in the sense of KL have the same stations z and u,
//! and levels β, γ at the minimum of
//!
//! ```text
//! Σ_i a_i log Σ_k exp(σ (x_i·z_k + β_k)) + Σ_j b_j log Σ_k exp(σ (y_j·u_k + γ_k)) + log Σ_k exp(σ (s_k − β_k − γ_k))
//! ```
//!
//! where g = softmax(σ (s − β − γ)): convex, in 2r unknowns. Its gradient in σβ, σγ is (Qᵀ1 − g, Rᵀ1 − g), and Newton's method takes the share
//! log(1 + δ)/δ of its step, δ the largest range of the changes of exponents: no third derivative of a log-sum-exp is more than
//! that range times the second, so every step goes down (Sun, Tran-Dinh 2019), and near the minimum whole steps are made.

use nalgebra::{DMatrix, DVector};

use super::side::{Clusters, Factor, Side};
use crate::backend::BackendError;
use crate::vector::dot;

/// Of the masses, to the diagonal: constants added to all levels change nothing.
const REGULAR: f64 = 1e-9;
/// A mass in the diagonal is at least this.
const LEAST: f64 = 1e-12;

/// What the stations get under a projection.
pub struct Projected {
    pub x: Clusters,
    pub y: Clusters,
    pub g: Vec<f64>,
    /// Newton steps made.
    pub rounds: usize,
}

/// Moves the levels of `q` and `r` until the L1 errors of both column sums add up to `tol`, in at most `rounds` steps.
///
/// # Errors
/// [`BackendError`] of the device.
pub fn project(
    [x, y]: [&Side; 2],
    [q, r]: [&mut Factor; 2],
    s: &[f64],
    sigma: f64,
    tol: f64,
    rounds: usize,
) -> Result<Projected, BackendError> {
    let mut round = 0;
    loop {
        let (x, y) = rayon::join(|| q.clusters(x, sigma), || r.clusters(y, sigma));
        let (x, y) = (x?, y?);
        let g = common(s, &q.levels, &r.levels, sigma);
        let projected = Projected { x, y, g, rounds: round };
        if round == rounds || projected.error() <= tol {
            return Ok(projected);
        }
        let Some(step) = projected.newton() else { return Ok(Projected { rounds, ..projected }) };
        let (f, h) = step.as_slice().split_at(s.len());
        let range = range(f.iter().copied()).max(range(h.iter().copied())).max(range(f.iter().zip(h).map(|(f, h)| f + h)));
        let share = if range > 0.0 { range.ln_1p() / range / sigma } else { 0.0 };
        q.levels.iter_mut().zip(f).for_each(|(level, f)| *level += share * f);
        r.levels.iter_mut().zip(h).for_each(|(level, h)| *level += share * h);
        round += 1;
    }
}

/// g = softmax(σ (s − β − γ)).
fn common(s: &[f64], beta: &[f64], gamma: &[f64], sigma: f64) -> Vec<f64> {
    let exponents: Vec<f64> = s.iter().zip(beta).zip(gamma).map(|((s, beta), gamma)| sigma * (s - beta - gamma)).collect();
    let largest = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let terms: Vec<f64> = exponents.iter().map(|exponent| (exponent - largest).exp()).collect();
    let total: f64 = terms.iter().sum();
    terms.iter().map(|term| term / total).collect()
}

fn range(values: impl Iterator<Item = f64>) -> f64 {
    let (least, largest) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    largest - least
}

impl Projected {
    /// x̄_k·ȳ_k.
    pub fn gains(&self) -> impl Iterator<Item = f64> {
        let d = self.x.means.len() / self.g.len();
        self.x.means.chunks_exact(d).zip(self.y.means.chunks_exact(d)).map(|(x, y)| dot(x, y))
    }

    fn error(&self) -> f64 {
        let of = |masses: &[f64]| masses.iter().zip(&self.g).map(|(mass, g)| (mass - g).abs()).sum::<f64>();
        of(&self.x.masses) + of(&self.y.masses)
    }

    /// The whole Newton step of σβ, then of σγ; none where the levels have no influence to the digits.
    fn newton(&self) -> Option<DVector<f64>> {
        let (g, rank) = (&self.g, self.g.len());
        let mut hessian = DMatrix::zeros(2 * rank, 2 * rank);
        for k in 0..rank {
            for l in 0..rank {
                let of_g = if k == l { g[k] } else { 0.0 } - g[k] * g[l];
                hessian[(k, l)] = of_g + self.x.response(k, l);
                hessian[(rank + k, l)] = of_g;
                hessian[(k, rank + l)] = of_g;
                hessian[(rank + k, rank + l)] = of_g + self.y.response(k, l);
            }
        }
        let masses = || self.x.masses.iter().chain(&self.y.masses);
        masses().enumerate().for_each(|(k, mass)| hessian[(k, k)] += REGULAR * mass.max(LEAST));
        let missing = masses().zip(g.iter().chain(g)).map(|(mass, g)| g - mass);
        let missing = DVector::from_iterator(2 * rank, missing);
        Some(hessian.cholesky()?.solve(&missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Alternating scalings of dense Q, R, g converge to the KL projection too, slowly.
    #[test]
    fn newton_finds_what_alternating_scalings_tend_to() {
        let (n, m, rank) = (30, 20, 4);
        let wave = |i: usize| (1.7 * i as f64 * i as f64 + i as f64).sin();
        let side = |n: usize, shift: usize| Side {
            d: 2,
            points: (0..2 * n).map(|i| wave(i + shift)).collect(),
            masses: (0..n).map(|i| 2.0 * (i + 1) as f64 / (n * (n + 1)) as f64).collect(),
        };
        let (x, y) = (side(n, 0), side(m, 100));
        let sigma = 3.0;
        let factor = |shift: usize| Factor::new((0..2 * rank).map(|i| wave(i + shift)).collect(), rank);
        let (mut q, mut r) = (factor(200), factor(300));
        let s: Vec<f64> = (0..rank).map(wave).collect();

        let dense = |factor: &Factor, side: &Side| {
            let mut matrix = DMatrix::from_row_slice(side.masses.len(), rank, &factor.shares(side, sigma).unwrap());
            matrix.row_iter_mut().zip(&side.masses).for_each(|(mut row, mass)| row *= *mass);
            matrix
        };
        let (mut dense_q, mut dense_r) = (dense(&q, &x), dense(&r, &y));
        let mut g = DVector::from_iterator(rank, s.iter().map(|s| (sigma * s).exp()));
        for _ in 0..3_000 {
            for (matrix, side) in [(&mut dense_q, &x), (&mut dense_r, &y)] {
                matrix.row_iter_mut().zip(&side.masses).for_each(|(mut row, mass)| row *= mass / row.sum());
            }
            let (p, t) = (dense_q.row_sum(), dense_r.row_sum());
            for k in 0..rank {
                g[k] = (g[k] * p[k] * t[k]).cbrt();
                dense_q.column_mut(k).scale_mut(g[k] / p[k]);
                dense_r.column_mut(k).scale_mut(g[k] / t[k]);
            }
        }

        let projected = project([&x, &y], [&mut q, &mut r], &s, sigma, 1e-13, 20).unwrap();
        assert!(projected.error() <= 1e-13 && projected.rounds < 10, "{} after {}", projected.error(), projected.rounds);
        // Both are at rounding errors of their fixed point.
        assert!((DVector::from_vec(projected.g) - g).amax() < 1e-12);
        assert!((dense(&q, &x) - dense_q).amax() < 1e-12 && (dense(&r, &y) - dense_r).amax() < 1e-12);
    }
}
