//! Unbalanced entropic transport between Gaussian laws (Janati, Muzellec, Peyré, Cuturi 2020, theorem 3, in c = ½|x−y|²).
//!
//! ```text
//! min ⟨P, c⟩ + ε KL(P ‖ a⊗b) + ρ KL(P₁ ‖ a) + ρ KL(P₂ ‖ b) = (2ρ + ε)(1 − |P|)
//! λ = ρ + ε   τ = ρ/λ   Ã = ρΣ₀(Σ₀ + λI)^{−1}   B̃ = ρΣ₁(Σ₁ + λI)^{−1}   X = Σ₀ + Σ₁ + λI   δ = m₁ − m₀
//! C = (ÃB̃/τ + ¼ε²I)^½ − ½εI
//! log |P| = ½dε log ε/(ε + 2ρ) − ½ log det(C − ÃB̃/ρ)
//!           + (log det C + ½τ log det ÃB̃ − ½ log det Σ₀Σ₁ − ½ δᵀX^{−1}δ)/(1 + τ)
//! ```
//!
//! Every determinant but that of Σ₀Σ₁ is over the eigenvalues s of ÃB̃/τ, which are those of the symmetric Ã^½B̃Ã^½/τ.

use nalgebra::DMatrix;

use super::{Gaussian, function_of, symmetric};
use crate::transport::TransportError;

/// The unbalanced entropic plan P between two Gaussians, itself a Gaussian of R^d × R^d times its mass.
#[derive(Clone, Debug, PartialEq)]
pub struct UnbalancedPlan {
    /// |P|, below one: what it does not pay to move is destroyed.
    pub mass: f64,
    /// The minimum, in units of c.
    pub cost: f64,
    /// Mean of the first marginal, m₀ + Σ₀X^{−1}δ.
    pub source_mean: Vec<f64>,
    /// Mean of the second marginal, m₁ − Σ₁X^{−1}δ.
    pub target_mean: Vec<f64>,
}

impl Gaussian {
    /// The unbalanced entropic plan to `other`: both marginals cost ρ KL each, `eps` and `rho` in units of c = ½|x−y|².
    ///
    /// # Errors
    /// [`TransportError::Dimensions`] when the dimensions differ, [`TransportError::Eps`] and [`TransportError::Rho`] unless both
    /// are finite and above zero.
    pub fn unbalanced_plan(&self, other: &Self, eps: f64, rho: f64) -> Result<UnbalancedPlan, TransportError> {
        self.same_dim(other)?;
        if !(eps > 0.0 && eps.is_finite()) {
            return Err(TransportError::Eps { eps });
        }
        if !(rho > 0.0 && rho.is_finite()) {
            return Err(TransportError::Rho { rho });
        }
        let d = self.dim();
        let (lambda, tau) = (rho + eps, rho / (rho + eps));
        let shrunk = |v: f64| rho * v / (v + lambda);
        let root = function_of(&self.covariance, |v| shrunk(v).sqrt());
        let s = symmetric(&root * function_of(&other.covariance, shrunk) * &root).symmetric_eigenvalues() / tau;
        let log_det = |matrix: &DMatrix<f64>| matrix.symmetric_eigenvalues().iter().map(|v| v.ln()).sum::<f64>();
        // √(s + ¼ε²) − ½ε, written so that it keeps its digits when s is far below ε².
        let coupled = s.map(|s| s / ((s + 0.25 * eps * eps).sqrt() + 0.5 * eps));
        let sum_over = |f: &dyn Fn(f64, f64) -> f64| s.iter().zip(&coupled).map(|(&s, &c)| f(s, c)).sum::<f64>();

        let delta = &other.mean - &self.mean;
        let spread = &self.covariance + &other.covariance + DMatrix::identity(d, d) * lambda;
        // X is positive definite, so it has an inverse.
        let pull = function_of(&spread, |v| 1.0 / v) * &delta;
        let shared = sum_over(&|s, c| c.ln() + 0.5 * tau * (s * tau).ln())
            - 0.5 * (log_det(&self.covariance) + log_det(&other.covariance))
            - 0.5 * delta.dot(&pull);
        let own = 0.5 * d as f64 * eps * eps.ln() / (eps + 2.0 * rho) - 0.5 * sum_over(&|s, c| (c - s * tau / rho).ln());
        // Every term of the minimum is at least zero, so that |P| ≤ 1.
        let log_mass = (own + shared / (1.0 + tau)).min(0.0);
        Ok(UnbalancedPlan {
            mass: log_mass.exp(),
            cost: -(2.0 * rho + eps) * log_mass.exp_m1(),
            source_mean: (&self.mean + &self.covariance * &pull).as_slice().to_vec(),
            target_mean: (&other.mean - &other.covariance * &pull).as_slice().to_vec(),
        })
    }
}
