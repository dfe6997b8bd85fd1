//! The exact plan: quantiles on a line, network simplex elsewhere.

use std::time::Instant;

use brenier::backend::Precision;
use brenier::measure::Cloud;
use brenier::transport::{ExactPlan, LinePlan, Verdict};

use super::Solved;
use crate::Failure;
use crate::output::number;

/// Solves the problem without regularisation.
pub fn solve(x: &Cloud, y: &Cloud) -> Result<Solved, Failure> {
    let begun = Instant::now();
    let (plan, proved) = if x.dim() == 1 && y.dim() == 1 {
        let LinePlan { pairs: entries, potentials, map, w2_squared, .. } = LinePlan::new(x, y)?;
        // The quantile coupling is optimal whatever the potentials round to.
        (ExactPlan { entries, potentials, map, w2_squared, dual: 0.5 * w2_squared }, true)
    } else {
        let plan = ExactPlan::new(x, y)?;
        let proved = plan.is_proved();
        (plan, proved)
    };
    let ExactPlan { entries: plan, potentials, map, w2_squared, dual } = plan;
    Ok(Solved {
        kind: if proved { "exact" } else { "upper_bound" },
        eps: 0.0,
        precision: Precision::F64,
        variance_kept: None,
        eps_origin: None,
        iterations: 0,
        converged: proved,
        verdict: match proved {
            true => Verdict::Converged.to_string(),
            false => format!("the dual proves a W2² of {} and no more: too many scales at once for f64", number(2.0 * dual)),
        },
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
