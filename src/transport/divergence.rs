//! The Sinkhorn divergence S_ε(a, b) = OT_ε(a, b) − ½ OT_ε(a, a) − ½ OT_ε(b, b) (Genevay, Peyré, Cuturi 2018), with free marginals
//! that of Séjourné, Feydy, Vialard, Trouvé, Peyré 2019 for measures of mass one.

use crate::backend::Device;
use crate::measure::Cloud;
use crate::transport::TransportError;
use crate::transport::gradient::Gradient;
use crate::transport::problem::Problem;
use crate::transport::sinkhorn::Sinkhorn;

/// Sinkhorn divergences to one fixed cloud, whose self-term is solved once.
///
/// S_ε ≥ 0 in units of c = ½|x−y|², 0 only between equal measures, → ½ W₂² as ε → 0.
#[derive(Clone, Debug)]
pub struct Divergence<'a> {
    reference: &'a Cloud,
    eps: f64,
    rho: Option<f64>,
    solver: Sinkhorn,
    self_term: f64,
}

impl<'a> Divergence<'a> {
    /// Divergences to `reference` at `eps`, each problem solved by `solver`.
    ///
    /// # Errors
    /// [`TransportError`] when ε is not positive or too small for the precision.
    pub fn to(reference: &'a Cloud, eps: f64, solver: Sinkhorn, device: &Device) -> Result<Self, TransportError> {
        Self::unbalanced(reference, eps, None, solver, device)
    }

    /// Divergences whose marginals, all four, cost ρ KL each; None holds them exactly.
    ///
    /// # Errors
    /// [`TransportError`] when ε or ρ is not positive or ε is too small for the precision.
    pub fn unbalanced(
        reference: &'a Cloud,
        eps: f64,
        rho: Option<f64>,
        solver: Sinkhorn,
        device: &Device,
    ) -> Result<Self, TransportError> {
        let problem = Problem::new(reference, reference, eps)?.with_rho(rho, rho)?;
        Ok(Self { reference, eps, rho, solver, self_term: solver.solve(&problem, device, None, None)?.dual })
    }

    fn problem<'b>(&self, source: &'b Cloud, target: &'b Cloud) -> Result<Problem<'b>, TransportError> {
        Problem::new(source, target, self.eps)?.with_rho(self.rho, self.rho)
    }

    /// S_ε(`cloud`, reference), given OT_ε(`cloud`, reference).
    ///
    /// # Errors
    /// [`TransportError`] when ε is too small for the precision.
    pub fn debias(&self, cloud: &Cloud, cross_term: f64, device: &Device) -> Result<f64, TransportError> {
        let own_term = self.solver.solve(&self.problem(cloud, cloud)?, device, None, None)?.dual;
        Ok(cross_term - 0.5 * own_term - 0.5 * self.self_term)
    }

    /// S_ε(`cloud`, reference) in units of c.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ or ε is too small for the precision.
    pub fn from(&self, cloud: &Cloud, device: &Device) -> Result<f64, TransportError> {
        let cross_term = self.solver.solve(&self.problem(cloud, self.reference)?, device, None, None)?.dual;
        self.debias(cloud, cross_term, device)
    }

    /// S_ε(`cloud`, reference) and its gradient with respect to `cloud`; the points' is 0 between equal measures.
    ///
    /// # Errors
    /// As [`Divergence::from`].
    pub fn gradient(&self, cloud: &Cloud, device: &Device) -> Result<(f64, Gradient), TransportError> {
        let (cross_problem, own_problem) = (self.problem(cloud, self.reference)?, self.problem(cloud, cloud)?);
        let cross = self.solver.solve(&cross_problem, device, None, None)?;
        let own = self.solver.solve(&own_problem, device, None, None)?;
        let (mut gradient, own_gradient) = (cross.gradient(&cross_problem), own.gradient_of_half(&own_problem));
        gradient.points.iter_mut().zip(&own_gradient.points).for_each(|(g, own)| *g -= own);
        gradient.weights.iter_mut().zip(&own_gradient.weights).for_each(|(g, own)| *g -= own);
        Ok((cross.dual - 0.5 * (own.dual + self.self_term), gradient))
    }
}
