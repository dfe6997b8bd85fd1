//! First derivatives of OT_ε with respect to the source, by the envelope theorem: the potentials do not move to first order.
//!
//! ```text
//! ∂OT_ε/∂x_i = Σ_j P_ij (x_i − y_j) = p_i (x_i − T(x_i))        ∂OT_ε/∂a_i = f_i        or (ρ + ε)(1 − e^{−f_i/ρ}) with ρ KL(P₁ ‖ a)
//! ```
//!
//! p is the first marginal, a or a e^{−f/ρ}; weight derivatives of a balanced problem are along directions of sum zero, so up to a
//! constant.

use crate::backend::Device;
use crate::measure::Cloud;
use crate::transport::{Images, Outcome, Problem, TransportError};

/// Derivatives with respect to a cloud.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    /// ∂/∂x_i, n × d row-major, in units of c over length.
    pub points: Vec<f64>,
    /// ∂/∂a_i, of length n, in units of c.
    pub weights: Vec<f64>,
}

impl Gradient {
    /// The difference of two with respect to the same cloud.
    pub(super) fn less(mut self, other: &Self) -> Self {
        self.points.iter_mut().zip(&other.points).for_each(|(g, other)| *g -= other);
        self.weights.iter_mut().zip(&other.weights).for_each(|(g, other)| *g -= other);
        self
    }
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

    /// The gradient of OT_ε with respect to the target of its problem, by one pass over all pairs.
    ///
    /// # Errors
    /// As [`Outcome::gradient`], and when memory runs out.
    pub fn gradient_of_target(&self, device: &Device) -> Result<Gradient, TransportError> {
        let problem = self.differentiable()?;
        let target = problem.target();
        let images = self.plan().transposed().partners_of_source().map(target, device)?;
        let images = Images::new(images, target.len());
        Ok(gradient_at(target, &self.potentials.g, &images, problem.rho()[1], problem.eps()))
    }

    fn gradient_at(&self, f: &[f64]) -> Result<Gradient, TransportError> {
        let problem = self.differentiable()?;
        Ok(gradient_at(problem.source(), f, &self.images, problem.rho()[0], problem.eps()))
    }

    /// The problem, if its cost has the derivatives that are known here.
    fn differentiable(&self) -> Result<&Problem, TransportError> {
        let is_known = self.problem.cost().is_half_squared();
        is_known.then_some(&self.problem).ok_or(TransportError::QuadraticOnly { what: "derivatives" })
    }
}

/// The gradient with respect to `cloud`, whose points have the potential f and these images.
fn gradient_at(cloud: &Cloud, f: &[f64], images: &Images, rho: Option<f64>, eps: f64) -> Gradient {
    let held = |i: usize| rho.map_or(1.0, |rho| (-f[i] / rho).exp());
    let (mut points, mut room) = (Vec::with_capacity(cloud.len() * cloud.dim()), vec![0.0; cloud.dim()]);
    images.each(|i, image| {
        let p = cloud.weight(i) * held(i);
        points.extend(cloud.row_in(i, &mut room).iter().zip(image).map(|(x, t)| p * (x - t)));
    });
    let weight = |i: usize| rho.map_or(f[i], |rho| -(rho + eps) * (-f[i] / rho).exp_m1());
    Gradient { points, weights: (0..cloud.len()).map(weight).collect() }
}
