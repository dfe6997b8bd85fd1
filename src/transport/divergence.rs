//! The Sinkhorn divergence S_ε(a, b) = OT_ε(a, b) − ½ OT_ε(a, a) − ½ OT_ε(b, b) (Genevay, Peyré, Cuturi 2018), with free marginals
//! that of Séjourné, Feydy, Vialard, Trouvé, Peyré 2019 for measures of mass one.

use crate::backend::Device;
use crate::measure::Cloud;
use crate::transport::gradient::Gradient;
use crate::transport::problem::Problem;
use crate::transport::solver::Sinkhorn;
use crate::transport::{Potentials, TransportError};
use crate::watch::Watch;

/// Sinkhorn divergences to one fixed cloud, whose self-term is solved once.
///
/// S_ε in units of c; with c = ½|x−y|² it is ≥ 0, 0 only between equal measures, and → ½ W₂² as ε → 0.
#[derive(Clone, Debug)]
pub struct Divergence {
    /// The reference with itself.
    problem: Problem,
    solver: Sinkhorn,
    self_term: f64,
}

impl Divergence {
    /// Divergences to `reference` at `eps`, each problem solved by `solver`.
    ///
    /// # Errors
    /// [`TransportError`] when ε is not positive or too small for the precision.
    pub fn to(reference: &Cloud, eps: f64, solver: Sinkhorn, device: &Device) -> Result<Self, TransportError> {
        Self::unbalanced(reference, eps, None, solver, device)
    }

    /// Divergences whose marginals, all four, cost ρ KL each; None holds them exactly.
    ///
    /// # Errors
    /// [`TransportError`] when ε or ρ is not positive or ε is too small for the precision.
    pub fn unbalanced(
        reference: &Cloud,
        eps: f64,
        rho: Option<f64>,
        solver: Sinkhorn,
        device: &Device,
    ) -> Result<Self, TransportError> {
        Self::like(&Problem::new(reference, reference, eps)?.with_rho(rho, rho)?, solver, device)
    }

    /// Divergences to the target of `problem` under its cost, ε and ρ.
    ///
    /// # Errors
    /// [`TransportError`] when ρ is not that of both marginals or ε is too small for the precision.
    pub fn like(problem: &Problem, solver: Sinkhorn, device: &Device) -> Result<Self, TransportError> {
        Self::like_watched(problem, solver, device, Watch::default())
    }

    /// [`Divergence::like`], with `watch` told of each iteration.
    ///
    /// # Errors
    /// As [`Divergence::like`], and [`TransportError::Stopped`] when the watch says stop.
    pub fn like_watched(problem: &Problem, solver: Sinkhorn, device: &Device, watch: Watch<'_>) -> Result<Self, TransportError> {
        let [first, second] = problem.rho();
        if first != second {
            return Err(TransportError::OneSided);
        }
        let problem = problem.between(problem.target(), problem.target())?;
        let self_term = solver.solve_watched(&problem, None, device, watch)?.dual;
        Ok(Self { problem, solver, self_term })
    }

    /// S_ε(`cloud`, reference), given OT_ε(`cloud`, reference).
    ///
    /// # Errors
    /// [`TransportError`] when ε is too small for the precision.
    pub fn debias(&self, cloud: &Cloud, cross_term: f64, device: &Device) -> Result<f64, TransportError> {
        self.debias_watched(cloud, cross_term, device, Watch::default())
    }

    fn debias_watched(&self, cloud: &Cloud, cross_term: f64, device: &Device, watch: Watch<'_>) -> Result<f64, TransportError> {
        let own_term = self.solver.solve_watched(&self.problem.between(cloud, cloud)?, None, device, watch)?.dual;
        Ok(cross_term - 0.5 * own_term - 0.5 * self.self_term)
    }

    /// S_ε(`cloud`, reference) in units of c.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ or ε is too small for the precision.
    pub fn from(&self, cloud: &Cloud, device: &Device) -> Result<f64, TransportError> {
        self.from_watched(cloud, device, Watch::default())
    }

    /// [`Divergence::from`], with `watch` told of each iteration of both problems.
    ///
    /// # Errors
    /// As [`Divergence::from`], and [`TransportError::Stopped`] when the watch says stop.
    pub fn from_watched(&self, cloud: &Cloud, device: &Device, watch: Watch<'_>) -> Result<f64, TransportError> {
        let cross = self.problem.between(cloud, self.problem.target())?;
        let cross_term = self.solver.solve_watched(&cross, None, device, watch.not_keeping())?.dual;
        self.debias_watched(cloud, cross_term, device, watch.not_keeping())
    }

    /// The first variations of S_ε(`cloud`, reference) in the weights of both clouds, f − p and g − q, each up to a constant, in
    /// units of c: f and g are the potentials between the clouds, p and q those of each with itself.
    ///
    /// # Errors
    /// As [`Divergence::from_watched`].
    pub fn variations_watched(&self, cloud: &Cloud, device: &Device, watch: Watch<'_>) -> Result<[Vec<f64>; 2], TransportError> {
        let reference = self.problem.target();
        let potentials = |source: &Cloud, target: &Cloud| {
            let problem = self.problem.between(source, target)?;
            Ok::<_, TransportError>(self.solver.solve_watched(&problem, None, device, watch.not_keeping())?.potentials)
        };
        let (cross, own) = (potentials(cloud, reference)?, [potentials(cloud, cloud)?, potentials(reference, reference)?]);
        let less = |cross: Vec<f64>, own: &Potentials| -> Vec<f64> {
            let own = own.f.iter().zip(&own.g).map(|(f, g)| 0.5 * (f + g));
            cross.into_iter().zip(own).map(|(cross, own)| cross - own).collect()
        };
        Ok([less(cross.f, &own[0]), less(cross.g, &own[1])])
    }

    /// S_ε(`cloud`, reference) and its gradient with respect to `cloud`; the points' is 0 between equal measures.
    ///
    /// # Errors
    /// As [`Divergence::from`].
    pub fn gradient(&self, cloud: &Cloud, device: &Device) -> Result<(f64, Gradient), TransportError> {
        let (cross_problem, own_problem) =
            (self.problem.between(cloud, self.problem.target())?, self.problem.between(cloud, cloud)?);
        let cross = self.solver.solve(&cross_problem, device)?;
        let own = self.solver.solve(&own_problem, device)?;
        let gradient = cross.gradient()?.less(&own.gradient_of_half()?);
        Ok((cross.dual - 0.5 * (own.dual + self.self_term), gradient))
    }

    /// S_ε between the ends of `problem`, under its cost, ε and ρ, and its gradients with respect to both: three problems solved, and one
    /// pass over all pairs.
    ///
    /// # Errors
    /// As [`Divergence::like_watched`].
    pub fn gradients_watched(
        problem: &Problem,
        solver: Sinkhorn,
        device: &Device,
        watch: Watch<'_>,
    ) -> Result<Gradients, TransportError> {
        let [first, second] = problem.rho();
        if first != second {
            return Err(TransportError::OneSided);
        }
        let (x, y) = (problem.source(), problem.target());
        let solve = |problem: &Problem| solver.solve_watched(problem, None, device, watch.not_keeping());
        let (cross, own_x, own_y) = (solve(problem)?, solve(&problem.between(x, x)?)?, solve(&problem.between(y, y)?)?);
        Ok(Gradients {
            value: cross.dual - 0.5 * (own_x.dual + own_y.dual),
            source: cross.gradient()?.less(&own_x.gradient_of_half()?),
            target: cross.gradient_of_target(device)?.less(&own_y.gradient_of_half()?),
        })
    }
}

/// A divergence and its derivatives.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// S_ε in units of c.
    pub value: f64,
    /// With respect to the source.
    pub source: Gradient,
    /// With respect to the target.
    pub target: Gradient,
}
