//! The exact plan: quantiles on a line, network simplex elsewhere.

use std::time::Instant;

use brenier::backend::Precision;
use brenier::measure::Cloud;
use brenier::transport::{ExactPlan, LinePlan, Verdict};

use super::Solved;
use crate::Failure;

/// Solves the problem without regularisation.
pub fn solve(x: &Cloud, y: &Cloud) -> Result<Solved, Failure> {
    let begun = Instant::now();
    let (plan, potentials, map, w2_squared) = if x.dim() == 1 && y.dim() == 1 {
        let LinePlan { pairs, potentials, map, w2_squared, .. } = LinePlan::new(x, y)?;
        (pairs, potentials, map, w2_squared)
    } else {
        let ExactPlan { entries, potentials, map, w2_squared, .. } = ExactPlan::new(x, y)?;
        (entries, potentials, map, w2_squared)
    };
    // Σ a f + Σ b g, of which the second sum is zero.
    let dual = potentials.f.iter().enumerate().map(|(i, f)| x.weight(i) * f).sum();
    Ok(Solved {
        kind: "exact",
        eps: 0.0,
        precision: Precision::F64,
        variance_kept: None,
        eps_origin: None,
        iterations: 0,
        converged: true,
        verdict: Verdict::Converged.to_string(),
        marginal_error: 0.0,
        transport_cost: Some(0.5 * w2_squared),
        w2_squared,
        dual: Some(dual),
        regularised_cost: Some(0.5 * w2_squared),
        diagnostics: None,
        divergence: None,
        potentials: Some(potentials),
        map,
        plan,
        seconds: begun.elapsed().as_secs_f64(),
    })
}
