//! Semi-unbalanced Sinkhorn: the first marginal is exact, the second only drawn to b by κ KL (Peyré 2015; Chizat et al. 2018).
//!
//! ```text
//! min ⟨P, c⟩ + ε KL(P ‖ a⊗b) + κ KL(P₂ ‖ b)      f ← −ε log Σ_j b_j e^{(g_j − c_ij)/ε}
//!                                                g ← −ωε log Σ_i a_i e^{(f_i − c_ij)/ε}      ω = κ/(κ+ε)
//! ```
//!
//! ω = 1 is balanced transport, ω = 0 the empirical denoiser. The iteration contracts by ω at least, whatever the points, so the
//! best over-relaxation is known beforehand.

use crate::backend::{Backend, Device, Task};
use crate::transport::TransportError;
use crate::transport::problem::{Problem, Side, dot};
use crate::transport::sinkhorn::{Damping, Run, Sinkhorn, convex};

/// A problem whose second marginal is free but for κ KL(P₂ ‖ b).
#[derive(Clone, Copy, Debug)]
pub struct SemiUnbalanced<'a> {
    /// Clouds and ε.
    pub problem: Problem<'a>,
    /// κ > 0 in units of c; → ∞ is the balanced problem.
    pub kappa: f64,
}

/// The plan P_ij = a_i b_j exp((f_i + g_j − c_ij)/ε) of a [`SemiUnbalanced`] problem; its first marginal is a.
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
    /// Σ_i |Σ_j P_ij − a_i| before the last update, which made it zero.
    pub marginal_error: f64,
}

impl SemiUnbalanced<'_> {
    /// Solves the problem on `device`, from the potential g of a nearby one if given.
    ///
    /// # Errors
    /// [`TransportError`] when κ is not positive, ε is too small for the precision, or `warm` has another length than m.
    pub fn solve(&self, solver: Sinkhorn, warm: Option<&[f64]>, device: &Device) -> Result<SoftPlan, TransportError> {
        if !(self.kappa > 0.0 && self.kappa.is_finite()) {
            return Err(TransportError::Kappa { kappa: self.kappa });
        }
        device.run(Solve { soft: self, solver, warm })
    }
}

struct Solve<'a, 'p> {
    soft: &'a SemiUnbalanced<'p>,
    solver: Sinkhorn,
    warm: Option<&'a [f64]>,
}

impl Task for Solve<'_, '_> {
    type Output = Result<SoftPlan, TransportError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let Self { soft: SemiUnbalanced { problem, kappa }, solver, warm } = self;
        problem.check_precision::<B>()?;
        let eps = problem.eps();
        let x = Side::new(backend, problem.source())?;
        let y = Side::new(backend, problem.target())?;
        let gap: Vec<f64> = x.mean.iter().zip(&y.mean).map(|(x, y)| x - y).collect();
        let ground = convex(&y, &vec![0.0; y.n], &gap, -1.0);
        let mut run = Run::new(backend, &x, &y, None)?;
        if let Some(g) = warm {
            if g.len() != y.n {
                return Err(TransportError::WarmStart { f: x.n, g: g.len(), n: x.n, m: y.n });
            }
            let psi: Vec<f64> = ground.iter().zip(g).map(|(ground, g)| ground - g).collect();
            run.psi = backend.upload_reals(&psi)?;
        }
        run.damping = Some(Damping { omega: kappa / (kappa + eps), ground: backend.upload_reals(&ground)? });
        let marginal_error = run.solve(eps, solver.tol, solver.max_iter)?;
        backend.axpby(eps, &run.ratio_x, 1.0, &mut run.phi)?;
        run.second_marginal(eps)?;

        let log_ratio = backend.download_reals(&run.ratio_y)?;
        let mass: Vec<f64> = log_ratio.iter().zip(&y.mass).map(|(r, b)| b * r.exp()).collect();
        let total: f64 = mass.iter().sum();
        let weights: Vec<f64> = mass.iter().map(|mass| mass / total).collect();
        let f = convex(&x, &backend.download_reals(&run.phi)?, &gap, 1.0);
        let g = convex(&y, &backend.download_reals(&run.psi)?, &gap, -1.0);
        // A point without mass adds nothing, although its ratio may be infinite.
        let held = |(weight, ratio): (&f64, &f64)| if *weight > 0.0 { weight * (ratio - total.ln()) } else { 0.0 };
        Ok(SoftPlan {
            kl: weights.iter().zip(&log_ratio).map(held).sum(),
            cost: dot(&x.mass, &f) + dot(&weights, &g),
            weights,
            g,
            iterations: run.iterations,
            marginal_error,
        })
    }
}
