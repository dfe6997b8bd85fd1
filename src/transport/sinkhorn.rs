//! Log-domain Sinkhorn: alternating updates of the two potentials by soft-mins over pairs, accelerated and annealed in ε.
//!
//! With φ = ½|x|² − f and ψ = ½|y|² − g (coordinates relative to each cloud's mean) the plan is
//!
//! ```text
//! P_ij = a_i b_j exp((x_i·y_j − φ_i − ψ_j)/ε)
//! ```
//!
//! so φ, ψ tend to Brenier's convex potentials as ε → 0, and an update is φ ← φ + ε log r, where r_i = Σ_j P_ij / a_i is the
//! marginal of the plan *before* the update: the soft-min with shift φ/ε gives both, and the stopping test is free.
//!
//! A marginal that is only drawn to its measure by ρ KL has its update damped: f ← ω (f − ε log r) with ω = ρ/(ρ+ε) (Chizat,
//! Peyré, Schmitzer, Vialard 2018, §4). Either way an iteration is a map φ ↦ φ + R(φ), which Anderson acceleration shortens, from the
//! Gaussians of the clouds' moments and, for small ε, down levels of ε that start each other by linear extrapolation.
//!
//! Between a cloud and itself the two potentials are one: φ ← φ + ½ε log r (Feydy et al. 2019, §3.1) contracts by half where the
//! alternation goes to and fro, at one soft-min an iteration.

mod alternation;
mod anneal;
mod coupling;
mod finish;
mod half_step;
mod run;
mod underway;
mod values;

use crate::backend::Backend;
use crate::transport::TransportError;
use crate::transport::outcome::Outcome;
use crate::transport::problem::Problem;
use crate::transport::solver::{Potentials, Sinkhorn};
use crate::watch::Watch;
pub(super) use coupling::ProductRows;
pub(super) use finish::Blur;
pub(super) use run::Run;

/// Solves `problem` by all its pairs, from `warm` if given.
pub(super) fn solve<B: Backend>(
    backend: &B,
    problem: &Problem,
    solver: &Sinkhorn,
    warm: Option<&Potentials>,
    watch: Watch<'_>,
) -> Result<Outcome, TransportError> {
    problem.check_precision::<B>()?;
    let told = watch.not_keeping();
    let mut run = Run::new(backend, problem, problem.sides(backend)?, watch)?;
    run.symmetric = solver.accelerated() && problem.is_symmetric();
    if let Some(warm) = warm {
        run.start_from(warm)?;
    }
    let marginal_error = run.descend(problem, solver, warm.is_none() && solver.accelerated())?;
    finish::finish(run, problem, marginal_error, solver, told)
}
