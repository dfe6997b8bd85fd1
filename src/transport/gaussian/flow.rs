//! The gradient flow of KL between Gaussians, in closed form: the Ornstein–Uhlenbeck law.
//!
//! ```text
//! ∂ρ = ∇·(ρ∇V) + Δρ,  N(μ, Σ*) ∝ e^{−V}:   m(t) = μ + e^{−Pt}(m₀−μ)   Σ(t) = Σ* + e^{−Pt}(Σ₀−Σ*)e^{−Pt}   P = Σ*^{−1}
//! dKL/dt = −I(ρ‖π) = −∫|∇log ρ/π|² dρ
//! ```
//!
//! Its particles move without noise along ẋ = ∇log π(x) − ∇log ρ_t(x).

use nalgebra::DVector;

use super::{Gaussian, function_of, symmetric};
use crate::transport::TransportError;

impl Gaussian {
    /// The score ∇log ρ(x) = −Σ^{−1}(x − m), of length d.
    ///
    /// # Errors
    /// [`TransportError::Dimensions`] when `x` has another length than d.
    pub fn score(&self, x: &[f64]) -> Result<Vec<f64>, TransportError> {
        if x.len() != self.dim() {
            return Err(TransportError::Dimensions { source_dim: x.len(), target_dim: self.dim() });
        }
        let precision = function_of(&self.covariance, |v| -1.0 / v);
        Ok((precision * (DVector::from_column_slice(x) - &self.mean)).as_slice().to_vec())
    }

    /// KL(self ‖ `target`) = ½[tr(PΣ) + (m−μ)ᵀP(m−μ) − d + log det Σ*/det Σ] ≥ 0 with P = Σ*^{−1}, in nats.
    ///
    /// # Errors
    /// [`TransportError::Dimensions`] when the dimensions differ.
    pub fn kl(&self, target: &Self) -> Result<f64, TransportError> {
        self.same_dim(target)?;
        // The eigenvalues v of P^½ Σ P^½ give tr(PΣ) − d − log det(PΣ) as a sum of terms ≥ 0.
        let root = function_of(&target.covariance, |v| 1.0 / v.sqrt());
        let shift = &root * (&self.mean - &target.mean);
        let relative = symmetric(&root * &self.covariance * &root).symmetric_eigenvalues();
        Ok(0.5 * (shift.norm_squared() + relative.iter().map(|v| v - 1.0 - v.ln()).sum::<f64>()))
    }

    /// The relative Fisher information I(ρ‖π) = ∫|∇log ρ/π|² dρ = tr(E Σ Eᵀ) + |P(m−μ)|² with E = Σ^{−1} − P: the rate
    /// −dKL/dt at which the Fokker–Planck flow to `target` dissipates.
    ///
    /// # Errors
    /// [`TransportError::Dimensions`] when the dimensions differ.
    pub fn fisher_information(&self, target: &Self) -> Result<f64, TransportError> {
        self.same_dim(target)?;
        let precision = function_of(&target.covariance, |v| 1.0 / v);
        let excess = function_of(&self.covariance, |v| 1.0 / v) - &precision;
        let shift = precision * (&self.mean - &target.mean);
        Ok((&excess * &self.covariance * &excess).trace() + shift.norm_squared())
    }

    /// The Fokker–Planck flow ∂ρ = ∇·(ρ∇V) + Δρ to `target` ∝ e^{−V} after time `t` ≥ 0, the Ornstein–Uhlenbeck law:
    /// N(μ + e^{−Pt}(m−μ), Σ* + e^{−Pt}(Σ−Σ*)e^{−Pt}), P = Σ*^{−1}.
    ///
    /// # Errors
    /// [`TransportError::Dimensions`] when the dimensions differ.
    pub fn fokker_planck(&self, target: &Self, t: f64) -> Result<Self, TransportError> {
        self.same_dim(target)?;
        let decay = function_of(&target.covariance, |v| (-t / v).exp());
        let mean = &target.mean + &decay * (&self.mean - &target.mean);
        let excess = &decay * (&self.covariance - &target.covariance) * &decay;
        Ok(Self { mean, covariance: symmetric(&target.covariance + excess) })
    }
}
