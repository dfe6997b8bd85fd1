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
use crate::checkpoint::Part;
use crate::gradient_flow::FlowError;
use crate::gradient_flow::jko::{Account, Charge, JkoResidual, Scheme, check_reach, mean_square};
use crate::measure::Cloud;
use crate::transport::{Potentials, Problem, Sinkhorn};
use crate::watch::Watch;

/// The Sinkhorn-divergence flow under way.
#[derive(Debug)]
pub struct SinkhornFlow {
    state: Cloud,
    target: Cloud,
    eps: f64,
    tau: f64,
    device: Device,
    /// OT_ε(m, m), once it is known.
    target_term: Option<f64>,
    /// T_{ρ→m} − T_{ρ→ρ} at the present state.
    velocity: Vec<f64>,
    /// F of the present state, where its step has found it.
    next: Option<f64>,
    warm: Option<(Potentials, Potentials)>,
}

/// Tight enough that F, whose error is of second order in it, falls visibly at every step.
const SOLVER: Sinkhorn = Sinkhorn { tol: 1e-4, max_iter: 2000, plain: false };

impl SinkhornFlow {
    /// The flow from `start` to `target` in steps `tau`, at `eps` in units of c.
    ///
    /// # Errors
    /// [`FlowError`] when τ or ε is not positive or the dimensions differ.
    pub fn new(start: Cloud, target: &Cloud, tau: f64, eps: f64, device: &Device) -> Result<Self, FlowError> {
        FlowError::check_tau(tau)?;
        Problem::new(&start, target, eps)?;
        let (target, device) = (target.clone(), device.clone());
        Ok(Self { state: start, target, eps, tau, device, target_term: None, velocity: Vec::new(), next: None, warm: None })
    }
}

impl SinkhornFlow {
    /// F and the velocity at the present state.
    fn measure(&mut self, watch: &Watch<'_>) -> Result<f64, FlowError> {
        let target_term = match self.target_term {
            Some(known) => known,
            None => {
                SOLVER
                    .solve_watched(&Problem::new(&self.target, &self.target, self.eps)?, None, &self.device, watch.not_keeping())?
                    .dual
            }
        };
        self.target_term = Some(target_term);
        let problem = Problem::new(&self.state, &self.target, self.eps)?;
        let (warm, own_warm) = (self.warm.as_ref().map(|w| &w.0), self.warm.as_ref().map(|w| &w.1));
        let cross = SOLVER.solve_watched(&problem, warm, &self.device, watch.not_keeping())?;
        let own = SOLVER.solve_watched(
            &Problem::new(&self.state, &self.state, self.eps)?,
            own_warm,
            &self.device,
            watch.not_keeping(),
        )?;
        self.velocity = cross.map().iter().zip(&own.map()).map(|(to, own)| to - own).collect();
        let free_energy = cross.dual - 0.5 * (own.dual + target_term);
        self.warm = Some((cross.potentials, own.potentials));
        Ok(free_energy)
    }
}

impl Scheme for SinkhornFlow {
    fn account(&mut self, watch: &Watch<'_>) -> Result<Account, FlowError> {
        let free_energy = match self.next.take() {
            Some(known) => known,
            None => self.measure(watch)?,
        };
        Ok(Account { free_energy: Some(free_energy), ..Account::default() })
    }

    fn advance(&mut self, k: usize, watch: &Watch<'_>) -> Result<Charge, FlowError> {
        let moved: Vec<f64> = self.state.points().iter().zip(&self.velocity).map(|(x, v)| x + self.tau * v).collect();
        // Both maps stay in the hull of their points, so only τ itself can throw a particle out.
        let reach = 10.0 * (self.target.radius() + self.state.radius()) + distance(&self.state.mean(), &self.target.mean());
        check_reach(&moved, &self.target.mean(), reach, k)?;
        let w2_squared = self.tau * self.tau * mean_square(&self.state, &self.velocity);
        self.state = self.state.with_points(moved)?;
        let before = std::mem::take(&mut self.velocity);
        self.next = Some(self.measure(watch)?);
        let residual: Vec<f64> = before.iter().zip(&self.velocity).map(|(before, after)| before - after).collect();
        Ok(Charge {
            w2_squared: Some(w2_squared),
            charged: Some(w2_squared / (2.0 * self.tau)),
            tau: Some(self.tau),
            residual: JkoResidual::Exact(mean_square(&self.state, &residual).sqrt()),
            ..Charge::default()
        })
    }

    fn state(&self) -> &Cloud {
        &self.state
    }

    fn keep(&self, part: &mut Part<'_>) {
        part.keep_array("points", self.state.points().to_vec());
        part.keep_array("velocity", self.velocity.clone());
        part.keep_array("target term", self.target_term.into_iter().collect());
        if let Some((potentials, own)) = &self.warm {
            part.keep_array("f", potentials.f.clone());
            part.keep_array("g", potentials.g.clone());
            part.keep_array("own f", own.f.clone());
            part.keep_array("own g", own.g.clone());
        }
    }

    fn resume(&mut self, part: &Part<'_>) -> Result<(), FlowError> {
        let kept = ["points", "velocity", "f", "g", "own f", "own g"].map(|name| part.array(name).map(<[f64]>::to_vec));
        if let [Some(points), Some(velocity), Some(f), Some(g), Some(own_f), Some(own_g)] = kept {
            self.state = self.state.with_points(points)?;
            (self.velocity, self.next) = (velocity, None);
            self.target_term = part.array("target term").and_then(|term| term.first().copied());
            self.warm = Some((Potentials { f, g }, Potentials { f: own_f, g: own_g }));
        }
        Ok(())
    }
}

fn distance(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt()
}
