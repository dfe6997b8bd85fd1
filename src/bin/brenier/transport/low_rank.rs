//! The plan of low rank: no ε and no potentials.

use std::time::Instant;

use brenier::backend::Precision;
use brenier::checkpoint::Checkpoint;
use brenier::measure::Cloud;
use brenier::transport::{LowRank, Verdict};
use brenier::watch::{Progress, Watch};

use super::Solved;
use crate::output::{count, number};
use crate::session::Session;
use crate::{Failure, memory, progress, signal};

/// Stations go as far as the cost falls by this share over ten steps.
const TOL: f64 = 1e-4;

/// The plan through `rank` way-stations.
pub fn solve(
    x: &Cloud,
    y: &Cloud,
    rank: usize,
    max_iter: usize,
    checkpoint: &mut Checkpoint,
    session: &Session,
) -> Result<Solved, Failure> {
    // Points and a factor on both sides.
    memory::require("a plan of that rank", (x.len() + y.len()) as u64 * (rank + x.dim()) as u64)?;
    let solver = LowRank { rank, tol: TOL, max_iter, seed: session.shared.seed };
    let spinner = progress::spinner(session, "plan of low rank");
    let tell = |now: Progress<'_>| {
        spinner.set_message(format!("step {}   cost {}", count(now.done), number(now.value.unwrap_or(f64::NAN))));
        !signal::interrupted()
    };
    let begun = Instant::now();
    let plan = solver.solve_watched(x, y, Watch::telling(&tell).keeping(checkpoint.part("plan")))?;
    let seconds = begun.elapsed().as_secs_f64();
    spinner.finish_and_clear();
    let verdict = match plan.converged {
        true => Verdict::Converged.to_string(),
        false => "the cost still falls: raise --max-iter".into(),
    };
    Ok(Solved {
        kind: "low_rank",
        eps: 0.0,
        precision: Precision::F64,
        variance_kept: None,
        eps_origin: None,
        iterations: plan.iterations,
        converged: plan.converged,
        verdict,
        marginal_error: plan.marginal_error,
        transport_cost: Some(plan.transport_cost),
        w2_squared: 2.0 * plan.transport_cost,
        dual: None,
        regularised_cost: None,
        diagnostics: None,
        divergence: None,
        potentials: None,
        map: plan.map,
        plan: Vec::new(),
        seconds,
    })
}
