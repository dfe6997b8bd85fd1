//! The entropic problem: the flags that only `brenier transport` has, and its solution.

use std::time::Instant;

use brenier::backend::Device;
use brenier::checkpoint::Part;
use brenier::measure::Cloud;
use brenier::transport::{CostScale, LabelCost, Problem, Solved};
use brenier::watch::{Progress, Residual, Watch};
use clap::Args;

use super::estimate::Estimate;
use crate::entropic::PlanFlags;
use crate::flags::Asked;
use crate::output::{count, number, seconds};
use crate::session::Session;
use crate::solver::{Chosen, too_large};
use crate::{Failure, memory, progress, signal};

/// The flags of the entropic problem.
#[derive(Args)]
#[command(mut_arg("storage", |arg| arg.conflicts_with("class_costs")))]
pub struct Entropic {
    #[command(flatten)]
    asked: Asked<Self>,
    #[command(flatten)]
    pub plan: PlanFlags,
    /// The Sinkhorn divergence as well, which is 0 between equal measures
    #[arg(long, conflicts_with_all = ["class_costs", "exact", "rank"])]
    debias: bool,
}

impl Entropic {
    /// Whether a flag asks for what an exact plan does not have.
    pub fn is_asked_for(&self) -> bool {
        self.asked.is_one()
    }

    /// Solves the problem, and with --debias those of each end with itself; also the seconds taken, and where ε comes from.
    pub fn solve(
        &self,
        (x, y): (&Cloud, &Cloud),
        classes: Option<LabelCost>,
        device: &Device,
        mut kept: Part<'_>,
        session: &Session,
    ) -> Result<((Solved, f64), Option<String>), Failure> {
        // Coordinates as given, on the device, as columns of one side and as its values; potentials and what else a point has at two scales.
        memory::require("solving this problem", ((x.len() + y.len()) * (4 * x.dim() + 24)) as u64)?;
        let (seed, flags) = (session.shared.seed, &self.plan);
        let scale = flags.scale(x, y, classes.as_ref(), seed);
        let Chosen { eps, origin } = flags.choose(CostScale::PLAN, || scale)?;
        let rho = flags.rho(eps)?;
        if self.debias && rho[0] != rho[1] {
            return Err("--debias compares problems alike on both sides; free both marginals alike".into());
        }
        too_large(eps, &scale, rho).iter().for_each(|words| session.note(words));
        let mut problem = flags.imposed_on(Problem::new(x, y, eps)?)?;
        if let Some(classes) = classes {
            problem = problem.with_labels(classes)?;
        }
        let solver = flags.solver();
        let spinner = progress::spinner(session, "transport");
        let estimate = Estimate::new(solver.tol, eps);
        let tell = |now: Progress<'_>| {
            let Some(Residual { iteration, eps, error }) = now.residual else { return !signal::interrupted() };
            tracing::debug!(iteration, eps, error);
            let left = estimate.left(eps, error).map_or(String::new(), |left| format!("   about {} left", seconds(left)));
            spinner.set_message(format!("eps {}   iteration {}   error {error:.1e}{left}", number(eps), count(iteration)));
            !signal::interrupted()
        };
        let begun = Instant::now();
        let warm = flags.start(&problem, seed, device, Watch::telling(&tell))?;
        let outcome = solver.solve_watched(&problem, warm.as_ref(), device, Watch::telling(&tell).keeping(kept.part("plan")))?;
        // The two self-terms, with the same progress and the same way to stop.
        let mut own = |cloud, part| {
            let problem = problem.between(cloud, cloud)?;
            solver.solve_watched(&problem, None, device, Watch::telling(&tell).keeping(kept.part(part)))
        };
        let own = if self.debias { Some([own(x, "source")?, own(y, "target")?]) } else { None };
        let seconds = begun.elapsed().as_secs_f64();
        spinner.finish_and_clear();
        Ok(((Solved::entropic(outcome, own), seconds), Some(origin)))
    }
}
