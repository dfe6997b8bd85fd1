//! `brenier transport`: the distance, the potentials and the map between two measures.

mod applied;
mod chain;
mod closed_form;
mod entropic;
mod estimate;
pub mod files;
pub mod labels;
mod record;

use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::Device;
use brenier::checkpoint::{Checkpoint, Part};
use brenier::measure::{Cloud, Measure};
use brenier::metric::Flag;
use brenier::transport::{ClosedForm, LinePlan, SlicedDistance, Solved, sliced_w2};
use clap::{Args, Id};

use crate::entropic::Penalties;
use crate::output::{Folder, counted, number};
use crate::session::{Arithmetic, Session};
use crate::solver::collapse;
use crate::unregularised::Unregularised;
use crate::{Failure, flags, input, signal};
use applied::{Applied, Carried};
use entropic::Entropic;
use labels::Labels;
use record::{Record, Sliced};

/// Distance, potentials and map between two measures
///
/// Solves the entropic problem min <P, c> + eps KL(P | a x b) with c = |x-y|²/2 or another --cost, or the exact one: with --exact, and on a line
/// unless a flag asks for the entropic one. With --out the folder gets f.npy and g.npy (potentials), map.npy (where each source
/// point goes) and run.json; an exact plan adds plan.npz (row, column, mass of each entry), and one of low rank has no potentials.
/// More than two files are snapshots: each is coupled with the next, and values and labels are carried from the first to the last.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier transport moons 8gaussians",
    "brenier transport x.npy y.csv --blur 0.1 --debias --out result",
    "brenier transport x.npy y.npy --reach 0.5",
    "brenier transport x.npy y.npy --cost euclidean --debias",
    "brenier transport x.npy y.npy --source-weights a.npy --eps 0.01 --precision f64 --json",
    "brenier transport normal digits --n 1797 --exact",
    "brenier transport x.npy y.npy --target-weights b.npy --exact --out result",
    "brenier transport x.npy y.npy --exact --cost euclidean",
    "brenier transport x.npy y.npy --rank 20 --sliced 500",
    "brenier transport x.npy y.npy --tau-source 0.95 --source-labels types.npy --out result       label transfer",
    "brenier transport x.npy y.npy --push expression.npy --out result",
    "brenier transport day0.npy day2.npy day5.npy --transition --source-labels type0.npy --target-labels type2.npy --target-labels type5.npy",
    "brenier transport normal:8 gaussian.json --eps 0.5 --reach 2 --closed-form",
]))]
pub struct Transport {
    #[command(flatten)]
    entropic: Entropic,
    #[command(flatten)]
    unregularised: Unregularised,
    /// What is known in closed form between Gaussian laws, and no draws of them; with draws it is printed next to their values
    #[arg(long, conflicts_with_all = of_points(), conflicts_with_all = ["n", "exact", "rank"])]
    closed_form: bool,
    /// The sliced distance over K random directions as well
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "closed_form")]
    sliced: Option<u32>,
    /// The K likeliest partners of each source point as well: partners.npz with index and probability, n x K
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: Option<u32>,
    #[command(flatten)]
    labels: Labels,
    #[command(flatten)]
    applied: Applied,
    #[command(flatten)]
    ends: input::Ends,
    /// Further snapshots, in order: each is coupled with the one before
    #[arg(value_name = "SNAPSHOT", conflicts_with = "closed_form")]
    further: Vec<String>,
}

/// The flags of what is computed from points, which a closed form has none of.
fn of_points() -> Vec<Id> {
    let known = flags::of::<Penalties>();
    let carried = flags::of::<Labels>().into_iter().chain(flags::of::<Applied>());
    flags::of::<Entropic>().into_iter().filter(|id| !known.contains(id)).chain(carried).chain([Id::from("top_k")]).collect()
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
        if self.asks_for_files() && session.shared.out.is_none() {
            let why = "--top-k, --push, --pull and labels of one end write files; say into which folder with --out DIR";
            return Err(flags::bad_usage(why));
        }
        let measures = self.ends.measures(session)?;
        let device = match self.for_the_processor(&measures) {
            Some(what) => session.processor_for(what)?,
            None => session.device()?,
        };
        session.resumable("transport", None, &device, |checkpoint| match self.further.is_empty() {
            true => self.solve(session, measures, &device, checkpoint),
            false => chain::solve(self, session, measures, &device, checkpoint),
        })
    }

    /// Whether there is what goes into a folder alone.
    fn asks_for_files(&self) -> bool {
        self.top_k.is_some() || self.applied.asks_for_files(&self.labels)
    }

    /// What is asked for, where that runs on the processor in f64 whatever the device.
    fn for_the_processor(&self, (source, target): &(Measure, Measure)) -> Option<&'static str> {
        match self.unregularised.what() {
            Some(what) => Some(what),
            None if self.closed_form => Some("the closed form"),
            None if self.is_on_a_line(source.dim(), target.dim()) => {
                Some("the exact plan on a line, which --eps would replace by the entropic one,")
            }
            None => None,
        }
    }

    /// Whether quantiles give the plan.
    fn is_on_a_line(&self, source: usize, target: usize) -> bool {
        source == 1 && target == 1 && !self.entropic.is_asked_for() && !self.labels.have_costs()
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
        let quadratic = self.entropic.plan.is_half_squared();
        let laws = if quadratic { closed_form::laws(&measures, self.closed_form)? } else { None };
        if let (Some(laws), true) = (&laws, self.closed_form) {
            let answer = closed_form::solve(laws, &measures, &self.entropic, seed)?;
            if let Some(folder) = &folder {
                folder.clear(&files::all())?;
            }
            return self.finish(session, device, (answer, Carried::default()), folder.as_ref());
        }
        let (x, y) = self.ends.points(measures, seed)?;
        let clouds = [x, y];
        let cargo = self.applied.read(&self.labels, &clouds)?;
        let mut answer = self.between([&clouds[0], &clouds[1]], session, device, checkpoint.whole())?;
        if let Some(folder) = &folder {
            folder.clear(&files::all())?;
            self.write([&clouds[0], &clouds[1]], &answer.solved, folder, device)?;
        }
        let eps = answer.solved.eps;
        answer.closed_form = laws.map(|laws| closed_form::values(&laws, eps, &self.entropic)).transpose()?;
        let carried = match answer.solved.plan.take() {
            Some(plan) => cargo.carry(&[plan], &clouds, folder.as_ref(), device)?,
            None => Carried::default(),
        };
        self.finish(session, device, (answer, carried), folder.as_ref())
    }

    /// The plan between two clouds.
    fn between(&self, [x, y]: [&Cloud; 2], session: &Session, device: &Device, kept: Part<'_>) -> Result<Answer, Failure> {
        let seed = session.shared.seed;
        // Reading and choosing ε are not part of a solver's time, so each solver has its own clock.
        let classes = self.labels.costs()?;
        let ((solved, seconds), eps_origin) = match self.unregularised.what() {
            Some(_) => {
                let solved = self.unregularised.solve((x, y), &self.entropic.plan, classes.as_ref(), kept, session)?;
                (solved, None)
            }
            None if self.is_on_a_line(x.dim(), y.dim()) => {
                let begun = Instant::now();
                ((LinePlan::new(x, y)?.into(), begun.elapsed().as_secs_f64()), None)
            }
            None => self.entropic.solve((x, y), classes, device, kept, session)?,
        };
        signal::check()?;
        let sliced = self.sliced.map(|directions| sliced_w2(x, y, directions as usize, seed)).transpose()?;
        let (points, d) = (Some([x.len(), y.len()]), x.dim());
        Ok(Answer { solved, points, d, eps_origin, sliced, closed_form: None, seconds })
    }

    /// What is written of the plan between two clouds.
    fn write(&self, [x, y]: [&Cloud; 2], solved: &Solved, folder: &Folder, device: &Device) -> Result<(), Failure> {
        files::write(folder, x, y, solved)?;
        match (self.top_k, &solved.plan) {
            (Some(k), Some(plan)) => files::write_partners(folder, &plan.top(k as usize, device)?),
            _ => Ok(()),
        }
    }

    fn finish(
        &self,
        session: &Session,
        device: &Device,
        (answer, carried): (Answer, Carried),
        folder: Option<&Folder>,
    ) -> Result<ExitCode, Failure> {
        let (seconds, precision) = (answer.seconds, answer.solved.precision);
        let (record, flags, unconverged) = self.judged(session, answer, [&self.ends.source, &self.ends.target], carried);
        let mut record = session.stamped("transport", record, device, seconds).flagged(flags);
        record.precision = Arithmetic::Precision(precision.name());
        let mut summary = record.own.summary();
        record.time(&mut summary);
        session.finish_solve(&record, folder, &summary.text(), unconverged.as_deref())
    }

    /// What is printed of an answer, its flags, and why it is not final.
    fn judged<'a>(
        &self,
        session: &Session,
        answer: Answer,
        [source, target]: [&'a str; 2],
        carried: Carried,
    ) -> (Record<'a>, Vec<Flag>, Option<String>) {
        let Answer { solved, points, d, eps_origin, sliced, closed_form, .. } = answer;
        let ending = solved.ending;
        let is_w2 = self.entropic.plan.is_half_squared() && !self.labels.have_costs();
        let record = Record {
            source,
            target,
            n: points.map(|[n, _]| n),
            m: points.map(|[_, m]| m),
            d,
            eps: solved.eps,
            eps_origin,
            iterations: solved.iterations,
            converged: solved.converged,
            marginal_error: solved.marginal_error,
            transport_cost: solved.transport_cost,
            cost: self.entropic.plan.cost.to_string(),
            w2_squared: is_w2.then_some(solved.w2_squared),
            w2_squared_kind: solved.kind,
            dual: solved.dual,
            regularised_cost: solved.regularised_cost,
            entropic: solved.entropic,
            divergence: solved.divergence,
            rank: self.unregularised.rank,
            sliced: sliced.map(Sliced::from),
            closed_form,
            carried,
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
            match self.unregularised.rank {
                Some(_) => format!("not converged after {iterations}: {}", ending),
                None if self.unregularised.exact => format!("the plan is not proved optimal: {}", ending),
                None => format!("not converged: marginal error {error} after {iterations} ({})", ending),
            }
        });
        (record, flags, unconverged)
    }
}
