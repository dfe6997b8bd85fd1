//! First derivatives of OT_ε with respect to the source, by the envelope theorem: the potentials do not move to first order.
//!
//! ```text
//! ∂OT_ε/∂x_i = Σ_j P_ij (x_i − y_j) = p_i (x_i − T(x_i))        ∂OT_ε/∂a_i = f_i        or (ρ + ε)(1 − e^{−f_i/ρ}) with ρ KL(P₁ ‖ a)
//! ```
//!
//! p is the first marginal, a or a e^{−f/ρ}; weight derivatives of a balanced problem are along directions of sum zero, so up to a
//! constant.

use crate::transport::{Outcome, TransportError};

/// Derivatives with respect to a cloud.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    /// ∂/∂x_i, n × d row-major, in units of c over length.
    pub points: Vec<f64>,
    /// ∂/∂a_i, of length n, in units of c.
    pub weights: Vec<f64>,
}

impl Outcome {
    /// The gradient of OT_ε with respect to the source of its problem.
    ///
    /// Of the second argument: the outcome of the problem with the clouds exchanged.
    ///
    /// # Errors
    /// [`TransportError::QuadraticOnly`] when the cost is another than ½|x−y|²; |x−y| has a kink where points meet.
    pub fn gradient(&self) -> Result<Gradient, TransportError> {
        self.gradient_at(&self.potentials.f)
    }

    /// The gradient in one argument of OT_ε(a, a), of which ½OT_ε(a, a) has this one in all.
    pub(crate) fn gradient_of_half(&self) -> Result<Gradient, TransportError> {
        // Both potentials are one up to the constant that the gauge has put between them.
        let f: Vec<f64> = self.potentials.f.iter().zip(&self.potentials.g).map(|(f, g)| 0.5 * (f + g)).collect();
        self.gradient_at(&f)
    }

    fn gradient_at(&self, f: &[f64]) -> Result<Gradient, TransportError> {
        let problem = &self.problem;
        if !problem.cost().is_half_squared() {
            return Err(TransportError::QuadraticOnly { what: "derivatives" });
        }
        let (source, eps) = (problem.source(), problem.eps());
        let rho = problem.rho()[0];
        let held = |i: usize| rho.map_or(1.0, |rho| (-f[i] / rho).exp());
        let (mut points, mut room) = (Vec::with_capacity(source.len() * source.dim()), vec![0.0; source.dim()]);
        self.images.each(|i, image| {
            let p = source.weight(i) * held(i);
            points.extend(source.row_in(i, &mut room).iter().zip(image).map(|(x, t)| p * (x - t)));
        });
        let weight = |i: usize| rho.map_or(f[i], |rho| -(rho + eps) * (-f[i] / rho).exp_m1());
        Ok(Gradient { points, weights: (0..source.len()).map(weight).collect() })
    }
}
