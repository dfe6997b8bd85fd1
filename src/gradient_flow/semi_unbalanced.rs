//! The entropic JKO step of KL(·‖m) on the support of a sample m (Peyré 2015, §3; Choi et al. 2024): masses move, points do not.
//!
//! ```text
//! ρ′ = argmin  τ KL(ρ′‖m) + J_ε(ρ′, ρ)        J_ε(ρ′, ρ) = min ⟨P, c⟩ + ε KL(P ‖ ρ⊗m)   over plans from ρ to ρ′
//! ```
//!
//! one semi-unbalanced problem with κ = τ. What such a step guarantees is F(ρ′) + [J_ε(ρ′, ρ) − J_ε(ρ, ρ)]/τ ≤ F(ρ), since ρ itself
//! was allowed. Entropy relative to ρ⊗m shrinks: around a Gaussian of variance σ² the scheme settles at σ²(τ + ε/2)/(τ + ε).

use crate::backend::Device;
use crate::checkpoint::Part;
use crate::gradient_flow::FlowError;
use crate::gradient_flow::jko::{Account, Charge, Scheme};
use crate::measure::Cloud;
use crate::transport::{Potentials, Problem, Sinkhorn};
use crate::watch::Watch;

/// The entropic JKO scheme on the points of the target.
#[derive(Debug)]
pub struct SemiUnbalancedJko {
    state: Cloud,
    target: Cloud,
    eps: f64,
    tau: f64,
    device: Device,
    /// The weights on the target's points as the last step gave them, and KL(ρ_k‖m); none at a start that lies elsewhere.
    weights: Vec<f64>,
    free_energy: Option<f64>,
    warm: Option<Vec<f64>>,
    own_warm: Option<Potentials>,
}

const SOLVER: Sinkhorn = Sinkhorn { tol: 1e-3, max_iter: 10_000, plain: false };

impl SemiUnbalancedJko {
    /// The scheme from `start` to `target` in steps `tau`, at `eps`, both in units of c.
    ///
    /// # Errors
    /// [`FlowError`] when τ is not positive, ε not below τ, or the dimensions differ.
    pub fn new(start: Cloud, target: &Cloud, tau: f64, eps: f64, device: &Device) -> Result<Self, FlowError> {
        FlowError::check_tau(tau)?;
        Problem::new(&start, target, eps)?;
        if eps >= tau {
            return Err(FlowError::EpsOfStep { eps, tau });
        }
        let (target, device, weights) = (target.clone(), device.clone(), Vec::new());
        Ok(Self { state: start, target, eps, tau, device, weights, free_energy: None, warm: None, own_warm: None })
    }

    /// The variance at which the scheme settles, over that of a Gaussian target, minus one: −(ε/2)/(τ + ε), in the limit of small ε.
    pub fn predicted_bias(tau: f64, eps: f64) -> f64 {
        -0.5 * eps / (tau + eps)
    }
}

impl Scheme for SemiUnbalancedJko {
    fn account(&mut self, _: &Watch<'_>) -> Result<Account, FlowError> {
        Ok(Account { free_energy: self.free_energy, ..Account::default() })
    }

    fn advance(&mut self, _: usize, watch: &Watch<'_>) -> Result<Charge, FlowError> {
        let problem = Problem::new(&self.state, &self.target, self.eps)?;
        let step = SOLVER.soft_plan(&problem, self.tau, self.warm.as_deref(), &self.device, watch.not_keeping())?;
        let (mut charged, from_density) = (0.0, self.free_energy.is_some());
        if let Some(free_energy) = self.free_energy {
            // J_ε(ρ, ρ) = OT_ε(ρ, ρ) + ε KL(ρ‖m): the reference is ρ⊗m.
            let own_problem = Problem::new(&self.state, &self.state, self.eps)?;
            let own = SOLVER.solve_watched(&own_problem, self.own_warm.as_ref(), &self.device, watch.not_keeping())?;
            charged = (step.cost - own.dual - self.eps * free_energy) / self.tau;
            self.own_warm = Some(own.potentials);
        }
        self.state = self.target.clone().with_weights(step.weights.clone())?;
        self.weights = step.weights;
        self.free_energy = Some(step.kl);
        self.warm = Some(step.g);
        // Of J_ε(ρ′, ρ) − J_ε(ρ, ρ), which → ½W₂² as ε → 0; a difference below zero says that the step is shorter than √ε can tell.
        let w2_squared = Some(2.0 * self.tau * charged).filter(|squared| from_density && *squared >= 0.0);
        Ok(Charge { w2_squared, charged: Some(charged), tau: Some(self.tau), ..Charge::default() })
    }

    fn state(&self) -> &Cloud {
        &self.state
    }

    fn keep(&self, part: &mut Part<'_>) {
        if let (Some(free_energy), Some(g)) = (self.free_energy, &self.warm) {
            part.keep_array("weights", self.weights.clone());
            part.keep_array("free energy", vec![free_energy]);
            part.keep_array("g", g.clone());
        }
        if let Some(own) = &self.own_warm {
            part.keep_array("own f", own.f.clone());
            part.keep_array("own g", own.g.clone());
        }
    }

    fn resume(&mut self, part: &Part<'_>) -> Result<(), FlowError> {
        let kept = |name: &str| part.array(name).map(<[f64]>::to_vec);
        if let Some(weights) = kept("weights") {
            self.state = self.target.clone().with_weights(weights.clone())?;
            self.weights = weights;
            self.free_energy = part.array("free energy").and_then(|value| value.first().copied());
            self.warm = kept("g");
            self.own_warm = kept("own f").zip(kept("own g")).map(|(f, g)| Potentials { f, g });
        }
        Ok(())
    }
}
