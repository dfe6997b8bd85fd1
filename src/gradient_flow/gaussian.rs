//! The JKO step of KL(·‖π) between Gaussians in closed form, for any covariances (Jordan, Kinderlehrer, Otto 1998, eq. 11).
//!
//! With π = N(μ, Σ*) ∝ e^{−V}, P = Σ*^{−1} and ρ = N(m, Σ), ρ′ = argmin KL(ρ′‖π) + W₂²(ρ′, ρ)/2τ is N(m′, Σ′) with
//!
//! ```text
//! B = I + τP       m′ = B^{−1}(m + τPμ)       M = B^{−½} Σ B^{−½}       Σ′ = B^{−½} ½(2τI + M + (M² + 4τM)^½) B^{−½}
//! ```
//!
//! Its optimality condition x = x′ + τ(∇V + ∇log ρ′)(x′) is one explicit step along the score: what a denoising step does. So
//! the explicit score step undoes the implicit JKO step exactly; its inverse moves the particles.

use nalgebra::DMatrix;

use crate::gradient_flow::FlowError;
use crate::transport::gaussian::{AffineMap, Gaussian, function_of, symmetric};

/// One JKO step of KL(·‖π) from a Gaussian.
#[derive(Clone, Debug, PartialEq)]
pub struct JkoStep {
    /// The law ρ′ after the step.
    pub law: Gaussian,
    /// Where each particle goes: x′ = m′ + (I + τ(P − Σ′^{−1}))^{−1}(x − m), the optimal map from ρ to ρ′.
    pub map: AffineMap,
}

impl Gaussian {
    /// The JKO step of KL(·‖`target`) from this law.
    ///
    /// # Errors
    /// [`FlowError::Tau`] unless `tau` is finite and above zero, [`FlowError::Transport`] when the dimensions differ.
    pub fn jko_step(&self, target: &Self, tau: f64) -> Result<JkoStep, FlowError> {
        FlowError::check_tau(tau)?;
        self.same_dim(target)?;
        let root = function_of(&target.covariance, |v| (1.0 + tau / v).sqrt().recip());
        let inner = symmetric(&root * &self.covariance * &root);
        // ½(2τ + M + √(M² + 4τM)) on the eigenvalues of M.
        let stretched = function_of(&inner, |v| 0.5 * (2.0 * tau + v + (v * (v + 4.0 * tau)).sqrt()));
        let pull = function_of(&target.covariance, |v| tau / v);
        let mean = &root * (&root * (&self.mean + pull * &target.mean));
        let law = Self { mean, covariance: symmetric(&root * stretched * &root) };
        let AffineMap { from, matrix, to } = law.score_step(target, tau)?;
        // I + τ(P − Σ′^{−1}) is the slope of the optimal map from ρ′ to ρ, so it is positive definite.
        Ok(JkoStep { law, map: AffineMap { from: to, matrix: function_of(&matrix, f64::recip), to: from } })
    }

    /// The explicit score step x = x′ + τ(∇V + ∇log ρ′)(x′) from this law ρ′, with `target` ∝ e^{−V}: it undoes the JKO step of
    /// length `tau` that led here, and is the Euler step of the reversed Fokker–Planck flow.
    ///
    /// # Errors
    /// As [`Gaussian::jko_step`].
    pub fn score_step(&self, target: &Self, tau: f64) -> Result<AffineMap, FlowError> {
        FlowError::check_tau(tau)?;
        self.same_dim(target)?;
        let d = self.dim();
        let precision = function_of(&target.covariance, f64::recip);
        let matrix = DMatrix::identity(d, d) + (&precision - function_of(&self.covariance, f64::recip)) * tau;
        let to = &self.mean + precision * (&self.mean - &target.mean) * tau;
        Ok(AffineMap { from: self.mean.clone(), matrix: symmetric(matrix), to })
    }
}
