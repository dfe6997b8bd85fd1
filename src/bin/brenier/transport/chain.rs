//! Snapshots: each is coupled with the next, and what is known of the first and the last is carried through all plans.

use std::process::ExitCode;

use brenier::backend::Device;
use brenier::checkpoint::Checkpoint;
use brenier::measure::Measure;
use serde::Serialize;

use super::applied::Carried;
use super::record::Record;
use super::{Transport, files};
use crate::output::{Summary, count, maybe, number};
use crate::session::Session;
use crate::{Failure, flags, input};

/// The JSON of a chain.
#[derive(Serialize)]
struct ChainRecord<'a> {
    snapshots: &'a [&'a str],
    d: usize,
    converged: bool,
    /// The record of each plan, as that of two ends.
    steps: Vec<Record<'a>>,
    #[serde(flatten)]
    carried: Carried,
}

/// Solves all plans and carries what is known through them.
pub fn solve(
    command: &Transport,
    session: &Session,
    (source, target): (Measure, Measure),
    device: &Device,
    checkpoint: &mut Checkpoint,
) -> Result<ExitCode, Failure> {
    if session.inputs.contains_key("target_weights") || command.labels.have_costs() {
        let why = "--target-weights and --class-costs are of two ends; keep the weights of snapshots in their files (.npz)";
        return Err(flags::bad_usage(why));
    }
    let (seed, d) = (session.shared.seed, source.dim());
    let mut measures = vec![source, target];
    for name in &command.further {
        let measure = input::measure(session, name, None, Some(d))?;
        if measure.dim() != d {
            let found = measure.dim();
            return Err(
                format!("{name} has dimension {found} and the other snapshots {d}; all must live in the same space").into()
            );
        }
        measures.push(measure);
    }
    let draw = |(step, measure): (usize, Measure)| input::cloud(measure, command.ends.n, seed, step as u32);
    let clouds = measures.into_iter().enumerate().map(draw).collect::<Result<Vec<_>, Failure>>()?;
    let cargo = command.applied.read(&command.labels, &clouds)?;
    let folder = session.folder(None)?;
    if let Some(folder) = &folder {
        folder.clear(&files::all())?;
    }
    let ends = [&command.ends.source[..], &command.ends.target].into_iter();
    let names: Vec<&str> = ends.chain(command.further.iter().map(String::as_str)).collect();

    let (mut plans, mut steps, mut all_flags) = (Vec::new(), Vec::new(), Vec::new());
    let (mut seconds, mut unfinished) = (0.0, None);
    for (step, pair) in clouds.windows(2).enumerate() {
        let part = format!("step {step}");
        let mut answer = command.between([&pair[0], &pair[1]], session, device, checkpoint.part(&part))?;
        if let Some(folder) = &folder {
            let folder = folder.inner(&format!("step-{step}"))?;
            folder.clear(&files::FILES)?;
            command.write([&pair[0], &pair[1]], &answer.solved, &folder, device)?;
        }
        plans.extend(answer.solved.plan.take());
        seconds += answer.seconds;
        let (record, flags, unconverged) = command.judged(session, answer, [names[step], names[step + 1]], Carried::default());
        for flag in flags {
            if !all_flags.contains(&flag) {
                all_flags.push(flag);
            }
        }
        unfinished = unfinished.or(unconverged.map(|why| format!("from {} to {}: {why}", names[step], names[step + 1])));
        steps.push(record);
    }
    let carried = cargo.carry(&plans, &clouds, folder.as_ref(), device)?;
    let converged = steps.iter().all(|step| step.converged);
    let record = ChainRecord { snapshots: &names, d, converged, steps, carried };
    let record = session.stamped("transport", record, device, seconds).flagged(all_flags);
    let mut summary = record.own.summary();
    record.time(&mut summary);
    session.finish_solve(&record, folder.as_ref(), &summary.text(), unfinished.as_deref())
}

impl ChainRecord<'_> {
    /// What a person reads.
    fn summary(&self) -> Summary {
        let mut summary = Summary::new(format!("transport {}", self.snapshots.join(" to ")));
        for step in &self.steps {
            let converged = if step.converged { "converged" } else { "not converged" };
            let points = [step.n, step.m].map(|points| points.map_or(String::new(), count)).join(" to ");
            let remark = format!(
                "the cost from {} to {}: {points} points, eps {}, {converged}",
                step.source,
                step.target,
                number(step.eps)
            );
            summary.line("<P, c>", maybe(step.transport_cost), remark);
        }
        self.carried.tell(&mut summary);
        summary
    }
}
