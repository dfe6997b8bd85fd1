//! `couple --exact` and `--rank`: pairs drawn from plans without ε.

use std::process::ExitCode;

use brenier::backend::Device;
use brenier::checkpoint::Checkpoint;
use brenier::measure::{Cloud, Measure};
use brenier::metric::Flag;
use brenier::transport::exact::LARGEST;
use brenier::transport::{ExactPlan, Pairs};
use serde::Serialize;

use super::batch::{Batch, End};
use super::condition::Known;
use super::project::Projected;
use super::straightness::{Floor, Gathered};
use super::{Couple, FOLDER};
use crate::output::{Summary, count, counted, number};
use crate::session::Session;
use crate::shards::{self, Shards};
use crate::{Failure, memory, progress, signal};

/// Pairs drawn at a time from a plan of whole files, at least.
const ROUND: u64 = 1 << 20;

/// The JSON. Costs are in units of |x−y|².
#[derive(Serialize)]
struct Record<'a> {
    source: &'a str,
    target: &'a str,
    /// Points of one plan.
    n: usize,
    m: usize,
    d: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<u32>,
    pairs: u64,
    shards: usize,
    shard_rows: usize,
    batch: Option<u32>,
    /// Plans solved.
    batches: u32,
    iterations: usize,
    converged: bool,
    /// The worst of all plans.
    marginal_error: f64,
    pair_cost: f64,
    independent_cost: f64,
    cost_ratio: f64,
    /// What the first plan of low rank saves of the cost of independent pairs, over what the exact one saves, where that can be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    gain_kept: Option<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    projection: Option<Projected>,
    #[serde(flatten)]
    floor: Floor,
    targets_used: Option<usize>,
    most_uses: Option<u32>,
}

impl Couple {
    /// Solves the plans and draws their pairs.
    pub fn draw_unregularised(
        &self,
        session: &Session,
        (source, target): (Measure, Measure),
        device: &Device,
        checkpoint: &mut Checkpoint,
    ) -> Result<ExitCode, Failure> {
        let seed = session.shared.seed;
        let (mut source, mut target) =
            (End::new(source, self.batch, self.ends.n, 0), End::new(target, self.batch, self.ends.n, 1));
        let (n, m, d) = (source.len(), target.len(), source.dim());
        let (whole, pairs) = (source.is_whole() && target.is_whole(), self.pairs.unwrap_or(n as u64));
        let shard = shards::rows(self.shard, d);
        // Both ends; a round of pairs; a file.
        memory::require(
            "coupling that many points",
            (2 * (n + m) * d + 4 * n.max(1 << 20) + shard.min(pairs as usize) * (2 * d + 1)) as u64,
        )?;
        let folder = session.folder(Some(FOLDER))?;
        let mut shards = Shards::new(folder.as_ref(), self.format, shard, d, session.float())?;
        let projection = self.project.map(|project| target.components(project, seed)).transpose()?;
        let on_components = |batch: &Batch| projection.as_ref().map(|projection| batch.projected(projection)).transpose();

        let bar = progress::bar(session, "pairs", pairs as usize);
        let (mut gathered, mut uses, mut room) = (Gathered::default(), vec![0u32; target.points()], (vec![0.0; d], vec![0.0; d]));
        let (mut batches, mut rounds, mut seconds) = (0, 0, 0.0);
        let (mut iterations, mut marginal_error, mut unfinished, mut gain_kept) = (0, 0.0f64, None, None);
        while shards.written() < pairs {
            let (whole_x, whole_y) = (source.batch(batches, seed)?, target.batch(batches, seed)?);
            let (few_x, few_y) = (on_components(&whole_x)?, on_components(&whole_y)?);
            let (x, y) = (few_x.as_ref().unwrap_or(&whole_x), few_y.as_ref().unwrap_or(&whole_y));
            let ends = (&x.cloud, &y.cloud);
            let name = format!("plan {batches}");
            let (solved, taken) = self.unregularised.solve(ends, &self.plan, None, checkpoint.part(&name), session)?;
            seconds += taken;
            iterations += solved.iterations;
            marginal_error = marginal_error.max(solved.marginal_error);
            unfinished = unfinished.or((!solved.converged).then(|| solved.ending.to_string()));
            if batches == 0 && self.unregularised.rank.is_some() && self.plan.is_half_squared() {
                gain_kept = Some(kept(ends, solved.w2_squared)?);
            }
            batches += 1;
            let Some(plan) = solved.plan else { break };
            let last = if whole { pairs } else { pairs.min(shards.written() + x.cloud.len() as u64) };
            while shards.written() < last {
                let here = (last - shards.written()).min(ROUND.max(n as u64)) as u32;
                let Pairs { source, target } = plan.draw_pairs(here, (seed, rounds), device)?;
                rounds += 1;
                for (i, j) in source.into_iter().zip(target).map(|(i, j)| (i as usize, j as usize)) {
                    signal::check()?;
                    let (x0, x1) = (whole_x.cloud.row_in(i, &mut room.0), whole_y.cloud.row_in(j, &mut room.1));
                    let target = y.index(j);
                    uses.get_mut(target as usize).into_iter().for_each(|uses| *uses += 1);
                    gathered.pair(x0, x1, target);
                    shards.push([x0, x1], Some([x.index(i), target]), None, &[])?;
                }
                bar.set_position(shards.written());
            }
            if shards.written() < pairs {
                checkpoint.part(&name).close(|_| {});
            }
        }
        let (files, pair_cost) = shards.finish()?;
        bar.set_message("straightness");
        let floor = gathered.floors(&target, &Known::Nothing, device, seed)?;
        bar.finish_and_clear();
        let independent_cost = source.moments().independent_cost(target.moments());
        let record = Record {
            source: &self.ends.source,
            target: &self.ends.target,
            n,
            m,
            d,
            rank: self.unregularised.rank,
            pairs,
            shards: files,
            shard_rows: shard,
            batch: self.batch,
            batches,
            iterations,
            converged: unfinished.is_none(),
            marginal_error,
            pair_cost,
            independent_cost,
            cost_ratio: pair_cost / independent_cost,
            gain_kept,
            projection: projection.as_ref().map(Projected::of),
            floor,
            targets_used: (!uses.is_empty()).then(|| uses.iter().filter(|uses| **uses > 0).count()),
            most_uses: uses.iter().copied().max(),
        };
        let is_finite = record.pair_cost.is_finite() && record.cost_ratio.is_finite();
        let flags = if is_finite { Vec::new() } else { vec![Flag::NotFinite] };
        let unconverged = unfinished.map(|why| format!("a plan is not the best there is: {why}"));
        let record = session.stamped("couple", record, device, seconds).flagged(flags);
        let mut summary = record.own.summary();
        record.time(&mut summary);
        session.finish_solve(&record, folder.as_ref(), &summary.text(), unconverged.as_deref())
    }
}

/// (independent − w2_squared)/(independent − W₂²) between clouds of which the exact plan can be had.
fn kept((x, y): (&Cloud, &Cloud), w2_squared: f64) -> Result<Option<f64>, Failure> {
    if x.len().max(y.len()) > LARGEST {
        return Ok(None);
    }
    let means: f64 = x.mean().iter().zip(y.mean()).map(|(x, y)| (x - y).powi(2)).sum();
    let independent = means + x.variance() + y.variance();
    let saved = independent - 2.0 * ExactPlan::new(x, y)?.transport_cost;
    Ok((saved > 0.0).then(|| (independent - w2_squared) / saved))
}

impl Record<'_> {
    /// What a person reads.
    fn summary(&self) -> Summary {
        let mut summary = Summary::new(format!("couple {} with {}", self.source, self.target));
        let files = if self.shards == 1 { "one file".into() } else { format!("{} files", count(self.shards)) };
        summary.line("pairs", count(self.pairs as usize), format!("in {files} of at most {}", count(self.shard_rows)));
        let (exact, of_rank) = self.rank.map_or(("exact ", String::new()), |rank| ("", format!(" of rank {rank}")));
        let plans = match self.batches {
            1 => format!("one {exact}plan{of_rank}"),
            batches => format!("{} {exact}plans{of_rank}", count(batches as usize)),
        };
        let space = format!("in dimension {}, {plans}", self.d);
        summary.line("points", format!("{} to {}", count(self.n), count(self.m)), space);
        if let Some(projection) = &self.projection {
            projection.line(&mut summary);
        }
        let than = format!("against {} for independent pairs", number(self.independent_cost));
        summary.line("mean |x1-x0|²", number(self.pair_cost), than);
        if let Some(Some(kept)) = self.gain_kept {
            summary.line("gain kept", number(kept), "of what the exact plan saves of |x1-x0|²");
        }
        self.floor.line(&mut summary);
        if let (Some(used), Some(most)) = (self.targets_used, self.most_uses) {
            summary.line("targets used", count(used), format!("the most used one {}", counted(most as usize, "time")));
        }
        summary
    }
}
