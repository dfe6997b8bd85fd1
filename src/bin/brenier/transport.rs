//! `brenier transport`: the distance, the potentials and the map between two measures.

mod closed_form;
mod entropic;
mod estimate;
mod files;
pub mod labels;
mod low_rank;
mod record;

use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::{Cost, Device};
use brenier::checkpoint::Checkpoint;
use brenier::measure::Measure;
use brenier::metric::Flag;
use brenier::transport::{ClosedForm, ExactPlan, LinePlan, LowRank, Plan, Problem, SlicedDistance, Solved, sliced_w2};
use clap::{Args, Id};

use crate::output::{Folder, counted, number};
use crate::session::{Arithmetic, Session};
use crate::solver::collapse;
use crate::{Failure, flags, input, signal};
use entropic::{Entropic, Penalties};
use record::{Record, Sliced};

/// Distance, potentials and map between two measures
///
/// Solves the entropic problem min <P, c> + eps KL(P | a x b) with c = |x-y|²/2 or another --cost, or the exact one: with --exact, and on a line
/// unless a flag asks for the entropic one. With --out the folder gets f.npy and g.npy (potentials), map.npy (where each source
/// point goes) and run.json; an exact plan adds plan.npz (row, column, mass of each entry), and one of low rank has no potentials.
#[derive(Args)]
#[command(mut_arg("tol", |tol| tol.help("L1 error of the marginal at which to stop, or largest change of f/eps with free marginals; 0 makes exactly --max-iter iterations without annealing [default: 1e-3]")))]
#[command(after_help = flags::examples(&[
    "brenier transport moons 8gaussians",
    "brenier transport x.npy y.csv --blur 0.1 --debias --out result",
    "brenier transport x.npy y.npy --reach 0.5",
    "brenier transport x.npy y.npy --cost euclidean --debias",
    "brenier transport x.npy y.npy --source-weights a.npy --eps 0.01 --precision f64 --json",
    "brenier transport normal digits --n 1797 --exact",
    "brenier transport x.npy y.npy --target-weights b.npy --exact --out result",
    "brenier transport x.npy y.npy --rank 20 --sliced 500",
    "brenier transport normal:8 gaussian.json --eps 0.5 --reach 2 --closed-form",
]))]
pub struct Transport {
    #[command(flatten)]
    entropic: Entropic,
    /// The exact plan: on a line, or of at most 5,000 points a side, with any weights
    #[arg(long, conflicts_with_all = flags::of::<Entropic>(), conflicts_with = "closed_form")]
    exact: bool,
    /// A plan through R intermediate points instead: an upper bound of the exact cost, for many points
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = of_another_plan())]
    #[arg(conflicts_with_all = ["exact", "closed_form"])]
    rank: Option<u32>,
    /// What is known in closed form between Gaussian laws, and no draws of them; with draws it is printed next to their values
    #[arg(long, conflicts_with_all = of_points(), conflicts_with = "n")]
    closed_form: bool,
    /// The sliced distance over K random directions as well
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "closed_form")]
    sliced: Option<u32>,
    #[command(flatten)]
    ends: input::Ends,
}

/// The flags that do not go with a plan of low rank, which has iterations of its own.
fn of_another_plan() -> Vec<Id> {
    flags::of::<Entropic>().into_iter().filter(|id| id != "max_iter").collect()
}

/// The flags of what is computed from points, which a closed form has none of.
fn of_points() -> Vec<Id> {
    let known = flags::of::<Penalties>();
    flags::of::<Entropic>().into_iter().filter(|id| !known.contains(id)).collect()
}

/// What a solver found, and what the command says beside it.
struct Answer {
    solved: Solved,
    /// Numbers of points; none of laws.
    points: Option<[usize; 2]>,
    d: usize,
    /// Where ε comes from; none without one.
    eps_origin: Option<String>,
    sliced: Option<SlicedDistance>,
    closed_form: Option<ClosedForm>,
    /// Of the solver alone.
    seconds: f64,
}

impl Transport {
    /// Solves the problem.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        if self.entropic.top_k.is_some() && session.shared.out.is_none() {
            return Err(flags::bad_usage("--top-k writes partners.npz; say into which folder with --out DIR"));
        }
        let measures = self.ends.measures(session)?;
        let device = match self.for_the_processor(&measures) {
            Some(what) => session.processor_for(what)?,
            None => session.device()?,
        };
        session.resumable("transport", None, &device, |checkpoint| self.solve(session, measures, &device, checkpoint))
    }

    /// What is asked for, where that runs on the processor in f64 whatever the device.
    fn for_the_processor(&self, (source, target): &(Measure, Measure)) -> Option<&'static str> {
        match self.rank {
            Some(_) => Some("the plan of low rank"),
            None if self.exact => Some("the exact plan"),
            None if self.closed_form => Some("the closed form"),
            None if self.is_on_a_line(source.dim(), target.dim()) => {
                Some("the exact plan on a line, which --eps would replace by the entropic one,")
            }
            None => None,
        }
    }

    /// Whether quantiles give the plan.
    fn is_on_a_line(&self, source: usize, target: usize) -> bool {
        source == 1 && target == 1 && !self.entropic.is_asked_for()
    }

    fn solve(
        &self,
        session: &Session,
        measures: (Measure, Measure),
        device: &Device,
        checkpoint: &mut Checkpoint,
    ) -> Result<ExitCode, Failure> {
        let seed = session.shared.seed;
        let folder = session.folder(None)?;
        let quadratic = self.entropic.cost == Cost::HalfSquaredEuclidean;
        let laws = if quadratic { closed_form::laws(&measures, self.closed_form)? } else { None };
        if let (Some(laws), true) = (&laws, self.closed_form) {
            let answer = closed_form::solve(laws, &measures, &self.entropic, seed)?;
            if let Some(folder) = &folder {
                folder.clear(&files::FILES)?;
            }
            return self.finish(session, device, answer, folder.as_ref());
        }
        let (x, y) = self.ends.points(measures, seed)?;
        let on_a_line = self.is_on_a_line(x.dim(), y.dim());
        // Reading and choosing ε are not part of a solver's time, so each solver stops its own clock.
        let begun = Instant::now();
        let ((solved, seconds), eps_origin) = match self.rank {
            Some(rank) => (
                low_rank::solve(
                    &x,
                    &y,
                    LowRank { max_iter: self.entropic.stopping.max_iter(), seed, ..LowRank::new(rank as usize) },
                    checkpoint,
                    session,
                )?,
                None,
            ),
            None if on_a_line => (timed(begun, LinePlan::new(&x, &y)?), None),
            None if self.exact => (timed(begun, ExactPlan::new(&x, &y)?), None),
            None => self.entropic.solve(&x, &y, device, checkpoint, session)?,
        };
        signal::check()?;
        let sliced = self.sliced.map(|directions| sliced_w2(&x, &y, directions as usize, seed)).transpose()?;
        if let Some(folder) = &folder {
            files::write(folder, &x, &y, &solved)?;
            if let (Some(k), Some(potentials)) = (self.entropic.top_k, &solved.potentials) {
                let problem = Problem::new(&x, &y, solved.eps)?.with_cost(self.entropic.cost)?;
                let plan = Plan::new(&problem, potentials)?;
                files::write_partners(folder, &plan.partners().top(&x, k as usize, device)?)?;
            }
        }
        let closed_form = laws.map(|laws| closed_form::values(&laws, solved.eps, &self.entropic)).transpose()?;
        let (points, d) = (Some([x.len(), y.len()]), x.dim());
        let answer = Answer { solved, points, d, eps_origin, sliced, closed_form, seconds };
        self.finish(session, device, answer, folder.as_ref())
    }

    fn finish(&self, session: &Session, device: &Device, answer: Answer, folder: Option<&Folder>) -> Result<ExitCode, Failure> {
        let Answer { solved, points, d, eps_origin, sliced, closed_form, seconds } = answer;
        let ending = solved.ending;
        let record = Record {
            source: &self.ends.source,
            target: &self.ends.target,
            n: points.map(|[n, _]| n),
            m: points.map(|[_, m]| m),
            d,
            eps: solved.eps,
            eps_origin,
            iterations: solved.iterations,
            converged: solved.converged,
            marginal_error: solved.marginal_error,
            transport_cost: solved.transport_cost,
            cost: self.entropic.cost.to_string(),
            w2_squared: (self.entropic.cost == Cost::HalfSquaredEuclidean && !self.entropic.has_class_costs())
                .then_some(solved.w2_squared),
            w2_squared_kind: solved.kind,
            dual: solved.dual,
            regularised_cost: solved.regularised_cost,
            entropic: solved.entropic,
            divergence: solved.divergence,
            rank: self.rank,
            sliced: sliced.map(Sliced::from),
            closed_form,
        };
        let mut flags = Vec::new();
        if let Some(words) = solved.variance_kept.and_then(collapse) {
            flags.push(Flag::Collapsed);
            session.note(&words);
        }
        if !record.is_finite() {
            flags.push(Flag::NotFinite);
            session
                .note("some values are not finite, so JSON has null for them: the plan is far from converged; use a larger eps");
        }
        let unconverged = (!record.converged).then(|| {
            let (error, iterations) = (number(record.marginal_error), counted(record.iterations, "iteration"));
            match self.rank {
                Some(_) => format!("not converged after {iterations}: {}", ending),
                None if self.exact => format!("the plan is not proved optimal: {}", ending),
                None => format!("not converged: marginal error {error} after {iterations} ({})", ending),
            }
        });
        let mut record = session.stamped("transport", record, device, seconds).flagged(flags);
        record.precision = Arithmetic::Precision(solved.precision.name());
        let mut summary = record.own.summary();
        record.time(&mut summary);
        session.finish_solve(&record, folder, &summary.text(), unconverged.as_deref())
    }
}

/// A plan, and the seconds since its solver began.
fn timed(begun: Instant, plan: impl Into<Solved>) -> (Solved, f64) {
    (plan.into(), begun.elapsed().as_secs_f64())
}
