//! The Sinkhorn divergence S_ε(a, b) = OT_ε(a, b) − ½ OT_ε(a, a) − ½ OT_ε(b, b) (Genevay, Peyré, Cuturi 2018).

use crate::backend::{Backend, Device, Task};
use crate::measure::Cloud;
use crate::transport::problem::Problem;
use crate::transport::sinkhorn::{Outcome, Potentials, SelfPlan, Sinkhorn, self_transport};
use crate::transport::{TransportError, multiscale};

/// Sinkhorn divergences to one fixed cloud, whose self-term is solved once.
///
/// S_ε ≥ 0 in units of c = ½|x−y|², 0 only between equal measures, → ½ W₂² as ε → 0.
#[derive(Clone, Debug)]
pub struct Divergence<'a> {
    reference: &'a Cloud,
    eps: f64,
    solver: Sinkhorn,
    self_term: f64,
}

impl<'a> Divergence<'a> {
    /// Divergences to `reference` at `eps`, each problem solved by `solver`.
    ///
    /// # Errors
    /// [`TransportError`] when ε is not positive or too small for the precision.
    pub fn to(reference: &'a Cloud, eps: f64, solver: Sinkhorn, device: &Device) -> Result<Self, TransportError> {
        let self_term = device.run(SelfTransport { cloud: reference, eps, solver, warm: None })?.value;
        Ok(Self { reference, eps, solver, self_term })
    }

    /// S_ε(`cloud`, reference), given OT_ε(`cloud`, reference).
    ///
    /// # Errors
    /// [`TransportError`] when ε is too small for the precision.
    pub fn debias(&self, cloud: &Cloud, cross_term: f64, device: &Device) -> Result<f64, TransportError> {
        let own_term = device.run(SelfTransport { cloud, eps: self.eps, solver: self.solver, warm: None })?.value;
        Ok(cross_term - 0.5 * own_term - 0.5 * self.self_term)
    }

    /// S_ε(`cloud`, reference) in units of c.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ or ε is too small for the precision.
    pub fn from(&self, cloud: &Cloud, device: &Device) -> Result<f64, TransportError> {
        let problem = Problem::new(cloud, self.reference, self.eps)?;
        let cross_term = self.solver.solve(&problem, device, None, None)?.dual;
        self.debias(cloud, cross_term, device)
    }
}

/// OT_ε(a, a), from the potential of a nearby measure if given.
pub(crate) struct SelfTransport<'a> {
    pub cloud: &'a Cloud,
    pub eps: f64,
    pub solver: Sinkhorn,
    pub warm: Option<&'a [f64]>,
}

impl Task for SelfTransport<'_> {
    type Output = Result<SelfPlan, TransportError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let problem = Problem::new(self.cloud, self.cloud, self.eps)?;
        if multiscale::serves(&problem, &self.solver) {
            let warm = self.warm.map(|f| Potentials { f: f.to_vec(), g: f.to_vec() });
            let Outcome { dual, potentials, map, .. } = multiscale::solve(backend, &problem, &self.solver, warm.as_ref(), None)?;
            return Ok(SelfPlan { value: dual, potential: potentials.f, map });
        }
        self_transport(backend, &problem, self.warm, self.solver.tol, self.solver.max_iter)
    }
}
