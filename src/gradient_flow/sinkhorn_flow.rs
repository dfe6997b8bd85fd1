//! The flow of the Sinkhorn divergence S_ε(·, m) to a sample m (Feydy et al. 2019, §3.3), debiased:
//!
//! ```text
//! x ← x + τ (T_{ρ→m}(x) − T_{ρ→ρ}(x))         −∇S_ε = T_{ρ→m} − T_{ρ→ρ}, both barycentric maps of balanced plans
//! ```
//!
//! F = S_ε in units of c = ½|x−y|², so τ has no unit. An explicit step: for τ ≤ 1 the part of OT_ε(·, m) obeys
//! F_{k+1} + E|step|²/2τ ≤ F_k, since its potential is ½|x|² minus a convex function. Two solves a step, each from the potentials
//! of the step before. The bias against W₂ is O(ε²); the flow is drawn onto the points of m.

use crate::backend::Device;
use crate::gradient_flow::FlowError;
use crate::gradient_flow::jko::{Account, Cost, Scheme, check_reach, mean_square, moved_to};
use crate::measure::Cloud;
use crate::transport::{Potentials, Problem, Sinkhorn};

/// The Sinkhorn-divergence flow under way.
#[derive(Debug)]
pub struct SinkhornFlow<'a> {
    state: Cloud,
    target: &'a Cloud,
    eps: f64,
    tau: f64,
    device: &'a Device,
    /// OT_ε(m, m).
    target_term: f64,
    /// T_{ρ→m} − T_{ρ→ρ} at the present state.
    velocity: Vec<f64>,
    warm: Option<(Potentials, Potentials)>,
}

/// Tight enough that F, whose error is of second order in it, falls visibly at every step.
const SOLVER: Sinkhorn = Sinkhorn { tol: 1e-4, max_iter: 2000, plain: false };

impl<'a> SinkhornFlow<'a> {
    /// The flow from `start` to `target` in steps `tau`, at `eps` in units of c.
    ///
    /// # Errors
    /// [`FlowError`] when τ or ε is not positive, the dimensions differ, or ε is too small for the precision.
    pub fn new(start: Cloud, target: &'a Cloud, tau: f64, eps: f64, device: &'a Device) -> Result<Self, FlowError> {
        FlowError::check_tau(tau)?;
        Problem::new(&start, target, eps)?;
        let target_term = SOLVER.solve(&Problem::new(target, target, eps)?, device, None, None)?.dual;
        Ok(Self { state: start, target, eps, tau, device, target_term, velocity: Vec::new(), warm: None })
    }
}

impl Scheme for SinkhornFlow<'_> {
    fn account(&mut self) -> Result<Account, FlowError> {
        let problem = Problem::new(&self.state, self.target, self.eps)?;
        let (warm, own_warm) = (self.warm.as_ref().map(|w| &w.0), self.warm.as_ref().map(|w| &w.1));
        let cross = SOLVER.solve(&problem, self.device, warm, None)?;
        let own = SOLVER.solve(&Problem::new(&self.state, &self.state, self.eps)?, self.device, own_warm, None)?;
        self.velocity = cross.map.iter().zip(&own.map).map(|(to, own)| to - own).collect();
        let free_energy = cross.dual - 0.5 * (own.dual + self.target_term);
        self.warm = Some((cross.potentials, own.potentials));
        Ok(Account { free_energy: Some(free_energy), ..Account::default() })
    }

    fn advance(&mut self, k: usize) -> Result<Cost, FlowError> {
        let moved: Vec<f64> = self.state.points().iter().zip(&self.velocity).map(|(x, v)| x + self.tau * v).collect();
        // Both maps stay in the hull of their points, so only τ itself can throw a particle out.
        let reach = 10.0 * (self.target.radius() + self.state.radius()) + distance(&self.state.mean(), &self.target.mean());
        check_reach(&moved, &self.target.mean(), reach, k)?;
        let w2_squared = self.tau * self.tau * mean_square(&self.state, &self.velocity);
        self.state = moved_to(&self.state, moved)?;
        Ok(Cost { w2_squared, charged: w2_squared / (2.0 * self.tau) })
    }

    fn state(&self) -> &Cloud {
        &self.state
    }
}

fn distance(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt()
}
