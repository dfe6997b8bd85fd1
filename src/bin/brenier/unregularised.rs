//! Plans without ε, of every command that takes one in place of the entropic plan: exact, or of low rank.

use std::time::Instant;

use brenier::checkpoint::Part;
use brenier::measure::Cloud;
use brenier::transport::{ExactPlan, GroundCost, LabelCost, LinePlan, LowRank, Solved};
use brenier::watch::{Progress, Watch};
use clap::{Args, Id};

use crate::entropic::PlanFlags;
use crate::output::{count, number};
use crate::session::Session;
use crate::{Failure, flags, memory, progress, signal};

/// Which of them.
#[derive(Args)]
pub struct Unregularised {
    /// The exact plan, with any weights: of at most 5,000 points a side, or of any number on a line where the cost is |x-y|²/2
    #[arg(long, conflicts_with_all = but("cost"))]
    pub exact: bool,
    /// A plan through R intermediate points instead: an upper bound of the exact cost, for many points
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = but("max_iter"))]
    #[arg(conflicts_with_all = ["exact", "class_costs"])]
    pub rank: Option<u32>,
}

/// The flags of an entropic plan except `taken`.
fn but(taken: &str) -> Vec<Id> {
    flags::of::<PlanFlags>().into_iter().filter(|id| id != taken).collect()
}

impl Unregularised {
    /// What is asked for, in words: it runs on the processor in f64 whatever the device.
    pub fn what(&self) -> Option<&'static str> {
        match self.rank {
            Some(_) => Some("the plan of low rank"),
            None => self.exact.then_some("the exact plan"),
        }
    }

    /// The plan, and the seconds it takes. Reading is not part of that.
    pub fn solve(
        &self,
        (x, y): (&Cloud, &Cloud),
        flags: &PlanFlags,
        classes: Option<&LabelCost>,
        mut kept: Part<'_>,
        session: &Session,
    ) -> Result<(Solved, f64), Failure> {
        let begun = Instant::now();
        let Some(rank) = self.rank else {
            let on_a_line = x.dim() == 1 && y.dim() == 1 && flags.is_half_squared() && classes.is_none();
            let solved: Solved = match on_a_line {
                true => LinePlan::new(x, y)?.into(),
                false => ExactPlan::under(x, y, &GroundCost::Known(flags.cost), classes)?.into(),
            };
            return Ok((solved, begun.elapsed().as_secs_f64()));
        };
        let rank = rank as usize;
        // Points and a factor on both sides.
        memory::require("a plan of that rank", (x.len() + y.len()) as u64 * (rank + x.dim()) as u64)?;
        let solver = LowRank { max_iter: flags.stopping.max_iter(), seed: session.shared.seed, ..LowRank::new(rank) };
        let spinner = progress::spinner(session, "plan of low rank");
        let tell = |now: Progress<'_>| {
            spinner.set_message(format!("step {}   cost {}", count(now.done), number(now.value.unwrap_or(f64::NAN))));
            !signal::interrupted()
        };
        let plan = solver.solve_watched(x, y, Watch::telling(&tell).keeping(kept.part("plan")))?;
        spinner.finish_and_clear();
        Ok((plan.into(), begun.elapsed().as_secs_f64()))
    }
}
