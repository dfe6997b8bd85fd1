//! Derivatives of a mixture's field: what likelihoods by the change of variables need.
//!
//! With y_k = S_k⁻¹ (x − α μ_k), ȳ = Σ r_k y_k and ∇r_k = r_k (ȳ − y_k), the field F = p x̂₀ + q ε̂ = Σ r_k w_k with
//! w_k = p (μ_k + α C_k y_k) + q σ y_k has
//!
//! ```text
//! ∇F = Σ r_k [(p α C_k + q σ) S_k⁻¹ + w_k (ȳ − y_k)ᵀ]        Δ log p = Σ r_k (|y_k|² − tr S_k⁻¹) − |ȳ|²
//! ```
//!
//! regular at α = 0 and at σ = 0. Along dx/dt = v the log density changes by d log p/dt = −div v (Chen et al. 2018, eq. 2).

use crate::field::mixture::along;
use crate::measure::Mixture;
use crate::path::Level;
use crate::vector::dot;

impl Mixture {
    /// The Laplacian Δ log p(x) at `level`.
    pub fn laplacian(&self, level: Level, x: &[f64]) -> f64 {
        let (_, posterior) = self.posterior(level, x);
        let mean = self.mean_slope(&posterior, x.len());
        let terms = self.components().iter().zip(&posterior).map(|(component, (r, y))| {
            let variance = |i| level.alpha.powi(2) * component.covariance.value(i) + level.sigma.powi(2);
            r * (dot(y, y) - (0..x.len()).map(|i| 1.0 / variance(i)).sum::<f64>())
        });
        terms.sum::<f64>() - dot(&mean, &mean)
    }

    /// The divergence of p x̂₀ + q ε̂ at `level`.
    pub fn divergence(&self, level: Level, p: f64, q: f64, x: &[f64]) -> f64 {
        self.derivative(
            level,
            (p, q),
            x,
            |component, slope| (0..x.len()).map(|i| slope(component.covariance.value(i))).sum(),
            dot,
        )
    }

    /// vᵀ J v with J the Jacobian of p x̂₀ + q ε̂ at `level`: for random signs v an unbiased estimate of the divergence
    /// (Hutchinson 1990).
    pub fn jacobian_form(&self, level: Level, p: f64, q: f64, x: &[f64], v: &[f64]) -> f64 {
        let diagonal = |component: &crate::measure::mixture::Component, slope: &dyn Fn(f64) -> f64| {
            dot(v, &along(&component.covariance, v, slope))
        };
        self.derivative(level, (p, q), x, diagonal, |w, rise| dot(v, w) * dot(v, rise))
    }

    /// Σ r_k [`diagonal`((pαC + qσ)/S) + `rank_one`(w_k, ȳ − y_k)].
    fn derivative(
        &self,
        level: Level,
        (p, q): (f64, f64),
        x: &[f64],
        diagonal: impl Fn(&crate::measure::mixture::Component, &dyn Fn(f64) -> f64) -> f64,
        rank_one: impl Fn(&[f64], &[f64]) -> f64,
    ) -> f64 {
        let Level { alpha, sigma, .. } = level;
        let (_, posterior) = self.posterior(level, x);
        let mean = self.mean_slope(&posterior, x.len());
        let terms = self.components().iter().zip(&posterior).map(|(component, (r, y))| {
            let gain = |c: f64| p * alpha * c + q * sigma;
            let spread = along(&component.covariance, y, gain);
            let w: Vec<f64> = component.mean.iter().zip(spread).map(|(m, s)| p * m + s).collect();
            let rise: Vec<f64> = mean.iter().zip(y).map(|(mean, y)| mean - y).collect();
            r * (diagonal(component, &|c| gain(c) / (alpha * alpha * c + sigma * sigma)) + rank_one(&w, &rise))
        });
        terms.sum()
    }

    /// ȳ = Σ r_k y_k, minus the score.
    fn mean_slope(&self, posterior: &[(f64, Vec<f64>)], d: usize) -> Vec<f64> {
        (0..d).map(|i| posterior.iter().map(|(r, y)| r * y[i]).sum()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Covariance;
    use crate::path::Schedule;

    #[test]
    fn derivatives_are_those_of_the_field_by_central_differences() {
        let full = Covariance::from_matrix(&[0.5, 0.2, 0.2, 0.3], 2).unwrap();
        let covariances = vec![full, Covariance::Isotropic(0.2)];
        let mixture = Mixture::new(vec![0.4, 0.6], vec![vec![-1.0, 0.5], vec![0.8, -0.2]], covariances).unwrap();
        let (x, v, h) = ([0.3, -0.4], [1.0, -1.0], 1e-5);
        for t in [0.0, 0.4, 1.0] {
            let level = Schedule::CondOt.level(t);
            let at = |x: &[f64]| mixture.evaluate(level, 0.7, -1.3, x);
            let slope = |direction: [f64; 2]| {
                let shifted = |s: f64| at(&[x[0] + s * direction[0], x[1] + s * direction[1]]);
                let (plus, minus) = (shifted(h), shifted(-h));
                [(plus[0] - minus[0]) / (2.0 * h), (plus[1] - minus[1]) / (2.0 * h)]
            };
            // Central differences: h² of truncation, 1e-16/h of rounding.
            let trace = slope([1.0, 0.0])[0] + slope([0.0, 1.0])[1];
            assert!((mixture.divergence(level, 0.7, -1.3, &x) - trace).abs() < 1e-8);
            assert!((mixture.jacobian_form(level, 0.7, -1.3, &x, &v) - dot(&v, &slope(v))).abs() < 1e-8);
            if level.sigma > 0.0 {
                let score = mixture.divergence(level, 0.0, -1.0 / level.sigma, &x);
                assert!((mixture.laplacian(level, &x) - score).abs() < 1e-12 * score.abs().max(1.0));
            }
        }
    }
}
