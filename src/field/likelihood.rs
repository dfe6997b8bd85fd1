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
use crate::measure::mixture::Component;
use crate::path::Level;
use crate::vector::dot;

/// A component in F = Σ r_k w_k.
struct Term<'a> {
    component: &'a Component,
    /// r_k.
    share: f64,
    /// w_k.
    w: Vec<f64>,
    /// ∇ log r_k = ȳ − y_k.
    rise: Vec<f64>,
}

/// (p α c + q σ)/(α² c + σ²): the slope of w_k along an axis of variance c.
fn slope(Level { alpha, sigma, .. }: Level, (p, q): (f64, f64), c: f64) -> f64 {
    (p * alpha * c + q * sigma) / (alpha * alpha * c + sigma * sigma)
}

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

    /// F = p x̂₀ + q ε̂ at `level`, and its divergence.
    pub fn with_divergence(&self, level: Level, of: (f64, f64), x: &[f64]) -> (Vec<f64>, f64) {
        let (mut value, mut divergence) = (vec![0.0; x.len()], 0.0);
        for Term { component, share, w, rise } in self.terms(level, of, x) {
            let trace: f64 = (0..x.len()).map(|i| slope(level, of, component.covariance.value(i))).sum();
            divergence += share * (trace + dot(&w, &rise));
            value.iter_mut().zip(&w).for_each(|(sum, w)| *sum += share * w);
        }
        (value, divergence)
    }

    /// F = p x̂₀ + q ε̂ at `level`, and J v for each v of `directions`, k × d, with J its Jacobian.
    pub fn with_derivatives(&self, level: Level, of: (f64, f64), x: &[f64], directions: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let d = x.len();
        let (mut value, mut products) = (vec![0.0; d], vec![0.0; directions.len()]);
        for Term { component, share, w, rise } in self.terms(level, of, x) {
            value.iter_mut().zip(&w).for_each(|(sum, w)| *sum += share * w);
            for (v, product) in directions.chunks_exact(d).zip(products.chunks_exact_mut(d)) {
                let (within, along_rise) = (along(&component.covariance, v, |c| slope(level, of, c)), dot(&rise, v));
                let both = within.iter().zip(&w);
                product.iter_mut().zip(both).for_each(|(sum, (within, w))| *sum += share * (within + w * along_rise));
            }
        }
        (value, products)
    }

    /// What each component gives F and its derivative.
    fn terms(&self, level: Level, (p, q): (f64, f64), x: &[f64]) -> impl Iterator<Item = Term<'_>> {
        let (_, posterior) = self.posterior(level, x);
        let mean = self.mean_slope(&posterior, x.len());
        self.components().iter().zip(posterior).map(move |(component, (share, y))| {
            let spread = along(&component.covariance, &y, |c| p * level.alpha * c + q * level.sigma);
            let w = component.mean.iter().zip(spread).map(|(m, s)| p * m + s).collect();
            let rise = mean.iter().zip(y).map(|(mean, y)| mean - y).collect();
            Term { component, share, w, rise }
        })
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
            let of = (0.7, -1.3);
            let at = |x: &[f64]| mixture.evaluate(level, of.0, of.1, x);
            let slope = |direction: [f64; 2]| {
                let shifted = |s: f64| at(&[x[0] + s * direction[0], x[1] + s * direction[1]]);
                let (plus, minus) = (shifted(h), shifted(-h));
                [(plus[0] - minus[0]) / (2.0 * h), (plus[1] - minus[1]) / (2.0 * h)]
            };
            // Central differences: h² of truncation, 1e-16/h of rounding.
            let near = |a: f64, b: f64| (a - b).abs() < 1e-8;
            let (value, divergence) = mixture.with_divergence(level, of, &x);
            assert!(near(divergence, slope([1.0, 0.0])[0] + slope([0.0, 1.0])[1]));
            let (same, product) = mixture.with_derivatives(level, of, &x, &v);
            assert!(value == same && value.iter().zip(at(&x)).all(|(a, b)| (a - b).abs() < 1e-14));
            assert!(product.iter().zip(slope(v)).all(|(a, b)| near(*a, b)));
            if level.sigma > 0.0 {
                let (_, score) = mixture.with_divergence(level, (0.0, -1.0 / level.sigma), &x);
                assert!((mixture.laplacian(level, &x) - score).abs() < 1e-12 * score.abs().max(1.0));
            }
        }
    }
}
