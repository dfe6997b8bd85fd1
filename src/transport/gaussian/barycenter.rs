//! The W₂ barycenter of Gaussians, itself a Gaussian (Agueh, Carlier 2011).

use nalgebra::{DMatrix, DVector};

use super::{Gaussian, function_of, symmetric};
use crate::measure::Cloud;
use crate::transport::TransportError;

/// Steps of the fixed point at most; it contracts by a constant factor a step.
const STEPS: usize = 1_000;
/// The relative change of Σ at which it has converged.
const CHANGE: f64 = 1e-14;

impl Gaussian {
    /// argmin Σ_k λ_k W₂²(·, N(m_k, Σ_k)) = N(Σ λ_k m_k, Σ), with λ the `weights` scaled to one and
    ///
    /// ```text
    /// Σ ← Σ^{−½} (Σ_k λ_k (Σ^½ Σ_k Σ^½)^½)² Σ^{−½}
    /// ```
    ///
    /// iterated to its fixed point (Álvarez-Esteban, del Barrio, Cuesta-Albertos, Matrán 2016, theorem 4.2).
    ///
    /// # Errors
    /// [`TransportError`] when there is no Gaussian, the dimensions differ, or the weights do not fit.
    pub fn barycenter(all: &[Self], weights: &[f64]) -> Result<Self, TransportError> {
        let shares = Cloud::new(vec![0.0; all.len()], 1)?.with_weights(weights.to_vec())?;
        all.iter().try_for_each(|one| all[0].same_dim(one))?;
        let shared = || all.iter().enumerate().map(|(k, one)| (shares.weight(k), one));
        let mean = shared().map(|(w, one)| &one.mean * w).sum::<DVector<f64>>();
        let mut covariance = shared().map(|(w, one)| &one.covariance * w).sum::<DMatrix<f64>>();
        for _ in 0..STEPS {
            let root = function_of(&covariance, f64::sqrt);
            let inverse = function_of(&covariance, |v| 1.0 / v.sqrt());
            let inner = |one: &Self| function_of(&symmetric(&root * &one.covariance * &root), |v| v.max(0.0).sqrt());
            let middle = shared().map(|(w, one)| inner(one) * w).sum::<DMatrix<f64>>();
            let next = symmetric(&inverse * &middle * &middle * &inverse);
            let change = (&next - &covariance).amax();
            covariance = next;
            if change <= CHANGE * covariance.amax() {
                break;
            }
        }
        Ok(Self { mean, covariance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commuting covariances: the standard deviations are averaged.
    #[test]
    fn deviations_along_shared_axes_are_averaged() {
        let a = Gaussian::new(vec![0.0, 1.0], &[4.0, 0.0, 0.0, 1.0]).unwrap();
        let b = Gaussian::new(vec![3.0, 1.0], &[1.0, 0.0, 0.0, 9.0]).unwrap();
        let between = Gaussian::barycenter(&[a, b], &[2.0, 1.0]).unwrap();
        assert!((between.mean()[0] - 1.0).abs() < 1e-15);
        let expected = [(5.0f64 / 3.0).powi(2), 0.0, 0.0, (5.0f64 / 3.0).powi(2)];
        assert!(between.covariance().iter().zip(expected).all(|(p, q)| (p - q).abs() < 1e-12));
    }

    /// Of two, it is the point of their geodesic.
    #[test]
    fn the_barycenter_of_two_lies_on_their_geodesic() {
        let a = Gaussian::new(vec![0.3, 0.8], &[1.0, 0.2, 0.2, 0.5]).unwrap();
        let b = Gaussian::new(vec![-1.0, 2.0], &[0.7, -0.3, -0.3, 1.4]).unwrap();
        let between = Gaussian::barycenter(&[a.clone(), b.clone()], &[0.3, 0.7]).unwrap();
        let geodesic = a.toward(&b, 0.7).unwrap();
        assert!(between.w2_squared(&geodesic).unwrap().abs() < 1e-12);
        assert!(between.covariance().iter().zip(geodesic.covariance()).all(|(p, q)| (p - q).abs() < 1e-10));
        assert!(Gaussian::barycenter(&[a, b], &[1.0, -1.0]).is_err());
    }
}
