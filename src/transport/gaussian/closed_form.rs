//! What is known in closed form of the transport between two Gaussians, at once.

use serde::Serialize;

use super::Gaussian;
use crate::measure::Mixture;
use crate::transport::TransportError;

/// The values of one problem between two Gaussians; none where there is no closed form.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClosedForm {
    /// W₂², in units of |x−y|².
    pub w2_squared: f64,
    /// ⟨P, c⟩ of the entropic plan, in units of c = ½|x−y|² like what follows; not with free marginals.
    pub transport_cost: Option<f64>,
    /// OT_ε, with the KL of free marginals.
    pub regularised_cost: Option<f64>,
    /// S_ε, the Sinkhorn divergence.
    pub divergence: Option<f64>,
    /// |P| with free marginals.
    pub mass: Option<f64>,
}

impl ClosedForm {
    /// The values between `source` and `target`: of the exact problem, and of the entropic one at `eps` where that is given, whose
    /// marginals cost `rho` KL each or, without it, are held exactly. There is no closed form where `rho` differs between the ends.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ, or ε or ρ is not finite and above zero.
    pub fn new(source: &Gaussian, target: &Gaussian, eps: Option<f64>, rho: [Option<f64>; 2]) -> Result<Self, TransportError> {
        let w2_squared = source.w2_squared(target)?;
        let exact = Self { w2_squared, transport_cost: None, regularised_cost: None, divergence: None, mass: None };
        Ok(match (eps, rho) {
            (Some(eps), [None, None]) => {
                let plan = source.entropic_plan(target, eps)?;
                Self {
                    transport_cost: Some(plan.transport_cost),
                    regularised_cost: Some(plan.regularised_cost),
                    divergence: Some(source.sinkhorn_divergence(target, eps)?),
                    ..exact
                }
            }
            (Some(eps), [Some(rho), Some(same)]) if rho == same => {
                let plan = source.unbalanced_plan(target, eps, rho)?;
                // Of measures of equal mass (Séjourné, Feydy, Vialard, Trouvé, Peyré 2019, definition 8).
                let own = |end: &Gaussian| Ok::<_, TransportError>(end.unbalanced_plan(end, eps, rho)?.cost);
                Self {
                    regularised_cost: Some(plan.cost),
                    // Not negative (theorem 5 there); what is less is the rounding of the sum.
                    divergence: Some((plan.cost - 0.5 * own(source)? - 0.5 * own(target)?).max(0.0)),
                    mass: Some(plan.mass),
                    ..exact
                }
            }
            _ => exact,
        })
    }
}

impl Gaussian {
    /// The law of a mixture with one component that has mass; none of another.
    pub fn of_mixture(mixture: &Mixture) -> Option<Self> {
        let mut present = mixture.components().iter().filter(|component| component.weight > 0.0);
        let (Some(only), None) = (present.next(), present.next()) else { return None };
        let (d, basis) = (mixture.dim(), &only.covariance);
        let entry =
            |i: usize, j: usize| -> f64 { (0..d).map(|k| basis.vector(i, k, d) * basis.value(k) * basis.vector(j, k, d)).sum() };
        let covariance: Vec<f64> = (0..d * d).map(|at| entry(at / d, at % d)).collect();
        Self::new(only.mean.clone(), &covariance).ok()
    }

    /// The mean of c = ½|x−y|² over independent pairs: ½(|m₀−m₁|² + tr Σ₀ + tr Σ₁).
    ///
    /// # Errors
    /// [`TransportError::Dimensions`] when the dimensions differ.
    pub fn mean_cost(&self, other: &Self) -> Result<f64, TransportError> {
        self.same_dim(other)?;
        Ok(0.5 * ((&self.mean - &other.mean).norm_squared() + self.covariance.trace() + other.covariance.trace()))
    }
}
