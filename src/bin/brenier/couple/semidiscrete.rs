//! `couple --semidiscrete` and `--from`: one potential, fitted or read, pairs fresh draws of the source.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::{Device, Precision};
use brenier::checkpoint::Checkpoint;
use brenier::io::{Float, checksum, read_measure};
use brenier::measure::{Cloud, Measure};
use brenier::random::Stream;
use brenier::transport::{Ascent, Fit, Projection, Semidiscrete};
use brenier::watch::{Progress, Watch};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::batch::End;
use super::condition::Known;
use super::project::Projected;
use super::straightness::{Floor, Gathered};
use super::{Couple, FOLDER};
use crate::output::{Summary, count, number};
use crate::session::Session;
use crate::shards::{self, Shards};
use crate::{Failure, flags, memory, progress, signal};

/// The file of the potential.
const POTENTIAL: &str = "g.npy";
/// The part of a checkpoint with the ascent.
const ASCENT: &str = "ascent";
/// √χ² of the cells' masses at which the ascent stops, and draws a step, unless told otherwise.
const TOL: f64 = 0.1;
const BATCH: u32 = 1024;
/// Draws that are paired at a time, and numbers of them at most.
const DRAWS: usize = 4096;
const NUMBERS: usize = 1 << 23;
/// Draws that tell one law from another.
const TOLD: usize = 16;

/// Flags of a plan, which a potential does without.
const OF_PLANS: [&str; 19] = [
    "eps",
    "blur",
    "entropy",
    "without_replacement",
    "labels",
    "conditions",
    "cost",
    "convention",
    "plain",
    "storage",
    "start_subsample",
    "start_from",
    "class_costs",
    "reach",
    "reach_source",
    "reach_target",
    "tau",
    "tau_source",
    "tau_target",
];

/// A potential that pairs any draw.
#[derive(Args)]
#[command(next_help_heading = "Semidiscrete")]
pub struct SemidiscreteFlags {
    /// Fit one potential g to the source, a law, and the points of the target by stochastic ascent on fresh draws, --batch a step
    /// [default: 1024], in --max-iter steps at most; then every pair is a fresh draw of the source and the point that g gives it. --tol
    /// is the L1 error of the target's masses, as it is bounded by chi-squared [default: 0.1]. The folder also gets g.npy
    #[arg(long, conflicts_with_all = OF_PLANS)]
    pub semidiscrete: bool,
    /// Draw pairs by the potential that --semidiscrete left in a folder, for the same source and target
    #[arg(long, value_name = "DIR", conflicts_with_all = OF_PLANS.iter().copied().chain(["semidiscrete", "batch", "project", "tol", "max_iter"]))]
    pub from: Option<PathBuf>,
}

impl SemidiscreteFlags {
    /// Whether pairs are drawn by a potential.
    pub fn is_asked(&self) -> bool {
        self.semidiscrete || self.from.is_some()
    }
}

/// The JSON. Costs are in units of |x−y|².
#[derive(Serialize)]
struct Record<'a> {
    source: &'a str,
    target: &'a str,
    /// Points of the target.
    m: usize,
    d: usize,
    pairs: u64,
    shards: usize,
    shard_rows: usize,
    semidiscrete: Saved,
    /// Whether the potential was read, not fitted.
    from: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    projection: Option<Projected>,
    /// Mean |x1 − x0|² of the pairs.
    pair_cost: f64,
    /// E|x1 − x0|² of independent pairs.
    independent_cost: f64,
    /// `pair_cost` over `independent_cost`.
    cost_ratio: f64,
    #[serde(flatten)]
    floor: Floor,
    targets_used: usize,
    most_uses: u32,
}

/// What a folder says of its potential.
#[derive(Clone, Serialize, Deserialize)]
struct Saved {
    #[serde(flatten)]
    fit: Fit,
    batch: u32,
    seed: u32,
    /// Checksums of some draws of the source, and of the target's points and weights.
    source_digest: String,
    target_digest: String,
}

/// What is read of the record of another run.
#[derive(Deserialize)]
struct Earlier {
    semidiscrete: Saved,
    projection: Option<Projected>,
}

impl Couple {
    /// Fits or reads the potential and draws the pairs.
    pub fn draw_semidiscrete(
        &self,
        session: &Session,
        (source, target): (Measure, Measure),
        device: &Device,
        checkpoint: &mut Checkpoint,
    ) -> Result<ExitCode, Failure> {
        let seed = session.shared.seed;
        let Measure::Finite(cloud) = &target else {
            return Err(flags::bad_usage("--semidiscrete pairs draws with the points of a target file, and this one is a law"));
        };
        if let Measure::Finite(points) = &source {
            let n = points.len();
            return Err(flags::bad_usage(format!(
                "--semidiscrete draws fresh points of a source law, and this one is {n} points; leave it out, and they are coupled by a plan"
            )));
        }
        let (m, d) = (cloud.len(), cloud.dim());
        let pairs = self.pairs.unwrap_or(m as u64);
        let shard = shards::rows(self.shard, d);
        let here = DRAWS.min((NUMBERS / d).max(1)).min(pairs as usize);
        let wide = self.project.map_or(d, |project| project.dim().min(d));
        let batch = self.batch.unwrap_or(BATCH);
        // In the precision of the run the points, the columns of the scores and the scores of the start; draws; a file.
        let width = if session.precision() == Precision::F32 { 1 } else { 2 };
        let file = shard.min(pairs as usize) * (2 * d + 1);
        let held = width * m * (wide + 5 + 512) + (here + batch as usize) * (d + wide) + file;
        memory::require("a semidiscrete coupling of that many points", held as u64)?;
        let folder = session.folder(Some(FOLDER))?;
        let begun = Instant::now();
        let digests = (digest(&source.sample(TOLD, 0, Stream::Split, 0))?, digest(cloud)?);
        let (coupling, saved, projected) = match &self.semidiscrete.from {
            Some(folder) => self.read(folder, cloud, digests)?,
            None => self.fit(session, (&source, cloud), digests, device, checkpoint)?,
        };
        let mut shards = Shards::new(folder.as_ref(), self.format, shard, d, session.float())?;
        if let Some(folder) = &folder {
            folder.array(POTENTIAL, &coupling.potential(), &[m], Float::F64)?;
        }

        let bar = progress::bar(session, "pairs", pairs as usize);
        let mut gathered = Gathered::default();
        let mut uses = vec![0u32; m];
        let mut ends = [End::new(source, Some(here as u32), 0, 0), End::new(target.clone(), None, 0, 1)];
        let mut room = vec![0.0; d];
        for number in 0.. {
            if shards.written() == pairs {
                break;
            }
            let x = ends[0].batch(number, seed)?;
            let left = (pairs - shards.written()).min(x.cloud.len() as u64) as usize;
            for (i, &j) in coupling.pair(&x.cloud, device)?.iter().enumerate().take(left) {
                signal::check()?;
                let y = cloud.row_in(j as usize, &mut room);
                uses[j as usize] += 1;
                gathered.pair(x.cloud.row(i), y, j);
                shards.push([x.cloud.row(i), y], Some([x.index(i), j]), None, &[])?;
            }
            bar.set_position(shards.written());
        }
        let (files, pair_cost) = shards.finish()?;
        bar.set_message("straightness");
        let floor = gathered.floors(&ends[1], &Known::Nothing, device, seed)?;
        bar.finish_and_clear();
        let independent_cost = ends[0].moments().independent_cost(ends[1].moments());
        let record = Record {
            source: &self.ends.source,
            target: &self.ends.target,
            m,
            d,
            pairs,
            shards: files,
            shard_rows: shard,
            semidiscrete: saved,
            from: self.semidiscrete.from.as_deref(),
            projection: projected,
            pair_cost,
            independent_cost,
            cost_ratio: pair_cost / independent_cost,
            floor,
            targets_used: uses.iter().filter(|uses| **uses > 0).count(),
            most_uses: uses.iter().copied().max().unwrap_or(0),
        };
        let fit = record.semidiscrete.fit;
        let unconverged = (!fit.converged).then(|| {
            let error = number(fit.marginal_error);
            format!("the masses of the target's cells are off by as much as {error} (L1), which is above --tol; raise --max-iter or --batch")
        });
        let record = session.stamped("couple", record, device, begun.elapsed().as_secs_f64()).flagged(Vec::new());
        let mut summary = record.own.summary();
        record.time(&mut summary);
        session.finish_solve(&record, folder.as_ref(), &summary.text(), unconverged.as_deref())
    }

    /// The potential by stochastic ascent.
    fn fit(
        &self,
        session: &Session,
        (source, cloud): (&Measure, &Cloud),
        (source_digest, target_digest): (String, String),
        device: &Device,
        checkpoint: &mut Checkpoint,
    ) -> Result<(Semidiscrete, Saved, Option<Projected>), Failure> {
        let (seed, batch) = (session.shared.seed, self.batch.unwrap_or(BATCH));
        let bar = progress::bar(session, "ascent", self.plan.stopping.max_iter());
        let projection = self.project.map(|project| project.of(cloud, seed)).transpose()?;
        let told = projection.as_ref().map(Projected::of);
        let ascent = Ascent {
            batch: batch as usize,
            tol: self.plan.stopping.tol().unwrap_or(TOL),
            max_steps: self.plan.stopping.max_iter(),
            seed,
            projection,
        };
        let tell = |now: Progress<'_>| {
            bar.set_length(now.of.map_or(ascent.max_steps, |of| of.max(now.done)) as u64);
            bar.set_position(now.done as u64);
            bar.set_message(now.value.map_or("ascent".into(), |error| format!("ascent, marginal error {}", number(error))));
            !signal::interrupted()
        };
        let (coupling, fit) = ascent.fit(source, cloud, device, Watch::telling(&tell).keeping(checkpoint.part(ASCENT)))?;
        bar.finish_and_clear();
        Ok((coupling, Saved { fit, batch, seed, source_digest, target_digest }, told))
    }

    /// The potential of an earlier run.
    fn read(
        &self,
        folder: &Path,
        cloud: &Cloud,
        (source, target): (String, String),
    ) -> Result<(Semidiscrete, Saved, Option<Projected>), Failure> {
        let record = folder.join("run.json");
        let shown = folder.display();
        let text = std::fs::read_to_string(&record).map_err(|cause| {
            format!("{}: {cause}; --from takes a folder that couple --semidiscrete has written", record.display())
        })?;
        let earlier: Earlier = serde_json::from_str(&text).map_err(|_| {
            format!("{shown} has no potential of couple --semidiscrete; fit one with --semidiscrete --out {shown}")
        })?;
        let Earlier { semidiscrete: saved, projection: told } = earlier;
        let refit = "fit a potential to these with --semidiscrete";
        if saved.target_digest != target {
            return Err(format!("the potential in {shown} is of other points than {}; {refit}", self.ends.target).into());
        }
        if saved.source_digest != source {
            return Err(format!("the potential in {shown} is of another source than {}; {refit}", self.ends.source).into());
        }
        let path = folder.join(POTENTIAL);
        let Measure::Finite(g) = read_measure(&path.to_string_lossy(), None, None)? else {
            return Err(format!("{} is not an array", path.display()).into());
        };
        let projection = told.map(|told| Projection::principal(cloud, told.k, saved.seed)).transpose()?;
        Ok((Semidiscrete::new(cloud, g.points(), projection)?, saved, told))
    }
}

/// A checksum of a cloud's points and weights in single precision, which is the same whatever precision they come in.
fn digest(cloud: &Cloud) -> Result<String, Failure> {
    let (mut sums, mut room) = (String::new(), vec![0.0; cloud.dim()]);
    let mut add = |numbers: Vec<f32>| -> Result<(), Failure> {
        sums += &checksum(bytemuck::cast_slice::<f32, u8>(&numbers))?;
        Ok(())
    };
    for first in (0..cloud.len()).step_by(DRAWS) {
        let mut block = Vec::new();
        for i in first..cloud.len().min(first + DRAWS) {
            block.extend(cloud.row_in(i, &mut room).iter().map(|x| *x as f32));
        }
        add(block)?;
    }
    add(cloud.weights().unwrap_or_default().iter().map(|w| *w as f32).collect())?;
    Ok(checksum(sums.as_bytes())?)
}

impl Record<'_> {
    /// What a person reads.
    fn summary(&self) -> Summary {
        let mut summary = Summary::new(format!("couple {} with {}", self.source, self.target));
        let files = if self.shards == 1 { "one file".into() } else { format!("{} files", count(self.shards)) };
        summary.line("pairs", count(self.pairs as usize), format!("in {files} of at most {}", count(self.shard_rows)));
        let by = if self.from.is_some() { "a potential that was fitted before" } else { "a potential" };
        summary.line("points", count(self.m), format!("in dimension {}, paired with fresh draws by {by}", self.d));
        let Saved { fit, batch, .. } = &self.semidiscrete;
        let made = format!("after {} steps of {} draws", count(fit.steps), count(*batch as usize));
        let verdict = if fit.converged { "converged" } else { "not converged" };
        summary.line("marginal error", number(fit.marginal_error), format!("at most, {verdict} {made}"));
        let error = format!("± {} of the masses of the cells", number(fit.chi_squared_se));
        summary.line("chi-squared", number(fit.chi_squared), error);
        if let Some(projection) = &self.projection {
            projection.line(&mut summary);
        }
        let than = format!("against {} for independent pairs", number(self.independent_cost));
        summary.line("mean |x1-x0|²", number(self.pair_cost), than);
        self.floor.line(&mut summary);
        summary.line(
            "targets used",
            count(self.targets_used),
            format!("of {}, the most used one {} times", count(self.m), self.most_uses),
        );
        summary
    }
}
