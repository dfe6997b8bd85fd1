//! The plan of low rank: no ε and no potentials.

use std::time::Instant;

use brenier::checkpoint::Part;
use brenier::measure::Cloud;
use brenier::transport::{LowRank, Solved};
use brenier::watch::{Progress, Watch};

use crate::output::{count, number};
use crate::session::Session;
use crate::{Failure, memory, progress, signal};

/// The plan that `solver` finds, and the seconds it takes.
pub fn solve(x: &Cloud, y: &Cloud, solver: LowRank, mut kept: Part<'_>, session: &Session) -> Result<(Solved, f64), Failure> {
    // Points and a factor on both sides.
    memory::require("a plan of that rank", (x.len() + y.len()) as u64 * (solver.rank + x.dim()) as u64)?;
    let spinner = progress::spinner(session, "plan of low rank");
    let tell = |now: Progress<'_>| {
        spinner.set_message(format!("step {}   cost {}", count(now.done), number(now.value.unwrap_or(f64::NAN))));
        !signal::interrupted()
    };
    let begun = Instant::now();
    let plan = solver.solve_watched(x, y, Watch::telling(&tell).keeping(kept.part("plan")))?;
    let seconds = begun.elapsed().as_secs_f64();
    spinner.finish_and_clear();
    Ok((plan.into(), seconds))
}
