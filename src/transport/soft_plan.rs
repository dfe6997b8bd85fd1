//! Semi-unbalanced Sinkhorn: the first marginal is exact, the second only drawn to b by κ KL (Peyré 2015; Chizat et al. 2018).
//!
//! ```text
//! min ⟨P, c⟩ + ε KL(P ‖ a⊗b) + κ KL(P₂ ‖ b)      f ← −ε log Σ_j b_j e^{(g_j − c_ij)/ε}
//!                                                g ← −ωε log Σ_i a_i e^{(f_i − c_ij)/ε}      ω = κ/(κ+ε)
//! ```
//!
//! ω = 1 is balanced transport, ω = 0 the empirical denoiser. [`Problem::with_rho`] with a free target and κ = ρ; what is special
//! here is the answer: the second marginal, exact for a first one that is a.

use crate::backend::{Backend, Device, Task};
use crate::transport::TransportError;
use crate::transport::problem::Problem;
use crate::transport::sinkhorn::Run;
use crate::transport::solver::{Potentials, Sinkhorn};
use crate::vector::dot;
use crate::watch::Watch;

/// The plan P_ij = a_i b_j exp((f_i + g_j − c_ij)/ε) of a problem with a free target, by [`Sinkhorn::soft_plan`]; its first marginal
/// is a.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftPlan {
    /// The second marginal ρ′, of length m and mass one.
    pub weights: Vec<f64>,
    /// KL(ρ′ ‖ b), in nats.
    pub kl: f64,
    /// J_ε(ρ′, ρ) = ⟨P, c⟩ + ε KL(P ‖ a⊗b), in units of c.
    pub cost: f64,
    /// The potential g, of length m: where the next problem nearby should start.
    pub g: Vec<f64>,
    /// Iterations made.
    pub iterations: usize,
    /// ‖Δf‖∞/ε of the last update, after which the first marginal is a.
    pub residual: f64,
}

impl Sinkhorn {
    /// Solves `problem` on `device` with the second marginal held by κ > 0 in units of c, from the potential g of a nearby problem if
    /// given; κ → ∞ is the balanced problem.
    ///
    /// # Errors
    /// [`TransportError`] when κ is not positive or too small for f64, ε is too small or too large for the precision, `warm` has
    /// another length than m, memory runs out, or the watch says stop.
    pub fn soft_plan(
        &self,
        problem: &Problem,
        kappa: f64,
        warm: Option<&[f64]>,
        device: &Device,
        watch: Watch<'_>,
    ) -> Result<SoftPlan, TransportError> {
        let problem = problem.clone().with_rho(None, Some(kappa))?;
        device.run(Solve { problem, solver: *self, warm, watch })
    }
}

struct Solve<'a> {
    problem: Problem,
    solver: Sinkhorn,
    warm: Option<&'a [f64]>,
    watch: Watch<'a>,
}

impl Task for Solve<'_> {
    type Output = Result<SoftPlan, TransportError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let Self { problem, solver, warm, watch } = self;
        problem.check_extremes::<B>()?;
        problem.check_precision::<B>()?;
        let mut run = Run::new(backend, &problem, problem.sides(backend)?, watch.not_keeping())?;
        if let Some(g) = warm {
            run.start_from(&Potentials { f: vec![0.0; run.x.n], g: g.to_vec() })?;
            run.update_phi(run.eps)?;
        }
        let residual = run.solve(run.eps, &solver, solver.max_iter)?;
        run.update_phi(run.eps)?;
        let log_ratio = run.second_marginal(run.eps)?;
        let mass: Vec<f64> = log_ratio.iter().zip(&run.y.mass).map(|(r, b)| b * r.exp()).collect();
        let total: f64 = mass.iter().sum();
        let weights: Vec<f64> = mass.iter().map(|mass| mass / total).collect();
        let Potentials { f, g } = run.potentials();
        // A point without mass adds nothing, although its ratio may be infinite.
        let held = |(weight, ratio): (&f64, &f64)| if *weight > 0.0 { weight * (ratio - total.ln()) } else { 0.0 };
        Ok(SoftPlan {
            kl: weights.iter().zip(&log_ratio).map(held).sum(),
            cost: dot(&run.x.mass, &f) + dot(&weights, &g),
            weights,
            g,
            iterations: run.iterations,
            residual,
        })
    }
}
