//! `brenier couple`: pairs for flow-matching training, drawn from entropic plans and streamed into files.

mod batch;
mod record;
mod shards;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::Device;
use brenier::io::{Checkpoint, Part};
use brenier::measure::Cloud;
use brenier::metric::{Flag, cfm_loss_floor};
use brenier::random::{Philox, Stream};
use brenier::transport::problem::mean_cost;
use brenier::transport::{Outcome, Pairing, Plan, Problem, Sinkhorn};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;

use crate::output::number;
use crate::session::Session;
use crate::{Failure, flags, input, machine, progress, signal, values};
use batch::End;
use record::{Record, Straightness};
use shards::Shards;

/// Where results go unless --out says.
const FOLDER: &str = "brenier-out/couple";
/// ε over the mean cost when neither --eps nor --blur is given.
const DEFAULT_EPS: f64 = 0.05;
/// Pairs that the floor of the loss is estimated on.
const FLOOR_PAIRS: usize = 8192;

/// Pairs (x0, x1) for flow-matching training, drawn from the entropic plan
///
/// The folder (brenier-out/couple unless --out is given) gets pairs-00000.npz, pairs-00001.npz, …, each with source_index,
/// target_index, x0 and x1, and run.json. Every source point is used its exact share of times; the order is random, and a function of
/// the seed alone. An end that is a law gives --n fresh points for every plan; a file gives all its points, or the next --batch.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier couple normal digits --pairs 100000 --eps 2",
    "brenier couple x.npy y.npy --pairs 1000000 --without-replacement --format safetensors --out pairs",
    "brenier couple normal y.npy --pairs 1000000 --batch 256       as training on minibatches of 256 would pair them",
]))]
pub struct Couple {
    /// Where x0 comes from: a file of points, a .json mixture, or a named source such as normal
    source: String,
    /// Where x1 comes from
    target: String,
    /// Pairs to draw [default: one for each source point of one plan]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=4_294_967_295))]
    pairs: Option<u64>,
    /// Regularisation, in units of |x-y|²/2 [default: 0.05 x the mean cost]
    #[arg(long, value_name = "E", allow_negative_numbers = true, conflicts_with = "blur")]
    eps: Option<f64>,
    /// Regularisation as a length: eps = S²
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    blur: Option<f64>,
    /// Use each target point at most its share of times, rounded up
    #[arg(long)]
    without_replacement: bool,
    /// Points of each end in one plan [default: all of a file, --n of a law]
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Pairs a file [default: 65536, fewer where a file would exceed 256 MiB]
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..))]
    shard: Option<u32>,
    /// Format of the files
    #[arg(long, value_enum, default_value = "npz")]
    format: Format,
    /// L1 error of the marginal at which a plan is good enough
    #[arg(long, value_name = "T", default_value = "1e-3", allow_negative_numbers = true, value_parser = values::tolerance)]
    tol: f64,
    /// Most iterations a plan
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    max_iter: usize,
    /// File of n weights for the source
    #[arg(long, value_name = "FILE")]
    source_weights: Option<PathBuf>,
    /// File of m weights for the target
    #[arg(long, value_name = "FILE")]
    target_weights: Option<PathBuf>,
    /// Points that an end which is a law gives for one plan
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
}

/// A format of several arrays a file.
#[derive(Clone, Copy, ValueEnum)]
pub enum Format {
    /// numpy's archive
    Npz,
    /// As PyTorch users like it
    Safetensors,
}

impl Couple {
    /// Draws the pairs.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let device = session.device()?;
        session.resumable("couple", Some(FOLDER), &device, |checkpoint| self.draw(session, &device, checkpoint))
    }

    fn draw(&self, session: &Session, device: &Device, checkpoint: &mut Checkpoint) -> Result<ExitCode, Failure> {
        let seed = session.shared.seed;
        let source = (self.source.as_str(), self.source_weights.as_deref());
        let target = (self.target.as_str(), self.target_weights.as_deref());
        let (source, target) = input::ends(source, target)?;
        let (source, target) = (End::new(source, self.batch, self.n, 0), End::new(target, self.batch, self.n, 1));
        let (d, whole) = (source.dim(), source.is_whole() && target.is_whole());
        let pairs = self.pairs.unwrap_or(source.len() as u64);
        let shard = self.shard.map_or_else(|| 65_536.min((1usize << 25).div_ceil(d)), |rows| rows as usize);
        // Both ends in f64 and in the precision of the run, with the columns of the soft-min; a round of draws; a file.
        let held = (source.len() + target.len()) * (4 * d + 8) + 6 * (source.len().max(1 << 20)) + shard * (2 * d + 1);
        machine::require("coupling that many points", held as u64)?;
        let folder = session.folder(Some(FOLDER))?;
        let mut shards = Shards::new(folder.as_ref(), self.format, shard, d, session.float())?;

        let bar = progress::bar(session, "pairs", pairs as usize);
        let begun = Instant::now();
        let mut told: Option<Record> = None;
        let mut uses = vec![0u32; target.points()];
        let mut batches = 0;
        while shards.written() < pairs {
            let (x, y) = (source.batch(batches, seed)?, target.batch(batches, seed)?);
            let eps = match &told {
                Some(record) => record.eps,
                None => self.eps(&x.cloud, &y.cloud, seed)?,
            };
            let problem = Problem::new(&x.cloud, &y.cloud, eps)?;
            let part = format!("plan {batches}");
            let outcome = self.solve(&problem, device, &bar, checkpoint.part(&part))?;
            let left = pairs - shards.written();
            let here = if whole { left } else { left.min(x.cloud.len() as u64) };
            let mut pairing = Pairing::new(&problem, &outcome.potentials, here, self.without_replacement, (seed, batches))?;
            let mut first = true;
            while let Some(drawn) = pairing.next_round(device, Some(&|_, _, _| !signal::interrupted()))? {
                signal::check()?;
                if first {
                    first = false;
                    let record = told.get_or_insert_with(Record::default);
                    record.add(&outcome);
                    if batches == 0 {
                        bar.set_message("entropy and straightness");
                        record.straightness = Some(straightness(&problem, &outcome, &drawn, device, seed)?);
                        bar.set_message("pairs");
                    }
                }
                for (&i, &j) in drawn.source.iter().zip(&drawn.target) {
                    let (i, j) = (i as usize, j as usize);
                    let target = y.index(j);
                    if let Some(uses) = uses.get_mut(target as usize) {
                        *uses += 1;
                    }
                    shards.push((x.index(i), x.cloud.row(i)), (target, y.cloud.row(j)))?;
                    bar.inc(1);
                }
            }
            batches += 1;
            if shards.written() < pairs {
                checkpoint.part(&part).close(|_| {});
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        let (files, pair_cost) = shards.finish()?;
        bar.finish_and_clear();
        let mut record = told.unwrap_or_default();
        (record.source, record.target, record.n, record.m, record.d) =
            (self.source.clone(), self.target.clone(), source.len(), target.len(), d);
        (record.pairs, record.shards, record.shard_rows, record.batches) = (pairs, files, shard, batches as usize);
        (record.batch, record.without_replacement, record.pair_cost) = (self.batch, self.without_replacement, pair_cost);
        record.cost_ratio = record.straightness.as_ref().map_or(f64::NAN, |s| pair_cost / s.independent_cost);
        if !uses.is_empty() {
            record.targets_used = Some(uses.iter().filter(|uses| **uses > 0).count());
            record.most_uses = uses.iter().copied().max();
        }
        (record.seconds, record.wall_seconds, record.seed) = (seconds, session.wall_seconds(), seed);
        (record.device, record.precision) = (device.name().into(), device.precision().name());
        if record.straightness.as_ref().is_some_and(|s| !s.cfm_loss_floor.is_finite()) {
            record.flags.push(Flag::NotFinite); // of one pair there is none
        }
        if !record.converged {
            session.note("a plan has not converged; raise --max-iter or --eps, or lower --batch");
        }
        let given = self.eps.is_some() || self.blur.is_some();
        let code = session.finish(&record, folder.as_ref(), &record.summary(given).text())?;
        Ok(if session.shared.strict && !record.converged { ExitCode::FAILURE } else { code })
    }

    fn eps(&self, x: &Cloud, y: &Cloud, seed: u32) -> Result<f64, Failure> {
        match (self.eps, self.blur) {
            (Some(eps), _) => Ok(eps),
            (None, Some(blur)) if blur > 0.0 && blur.is_finite() => Ok(blur * blur),
            (None, Some(blur)) => Err(format!("blur = {blur}; a plan needs a finite blur above zero, a length").into()),
            (None, None) => Ok(DEFAULT_EPS * mean_cost(x, y, seed)),
        }
    }

    fn solve(&self, problem: &Problem<'_>, device: &Device, bar: &ProgressBar, kept: Part<'_>) -> Result<Outcome, Failure> {
        let solver = Sinkhorn { tol: self.tol, max_iter: self.max_iter, plain: false };
        let tell = |iteration: usize, eps: f64, error: f64| {
            bar.set_message(format!("eps {} it {iteration} error {error:.0e}", number(eps)));
            !signal::interrupted()
        };
        let outcome = solver.resume(problem, device, None, Some(&tell), kept)?;
        bar.set_message("pairs");
        Ok(outcome)
    }
}

/// What the first plan is worth: its entropy, and how straight the paths of its pairs are.
fn straightness(
    problem: &Problem<'_>,
    outcome: &Outcome,
    drawn: &brenier::transport::pairs::Pairs,
    device: &Device,
    seed: u32,
) -> Result<Straightness, Failure> {
    let (x, y) = (problem.source(), problem.target());
    let entropy = Plan::new(problem, &outcome.potentials)?.entropy(device)?;
    let (mean, d) = (y.mean(), y.dim());
    let square = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
    let explained: f64 = outcome.map.chunks_exact(d).enumerate().map(|(i, t)| x.weight(i) * square(t, &mean)).sum();
    let used = drawn.source.len().min(FLOOR_PAIRS);
    let gather = |cloud: &Cloud, index: &mut dyn Iterator<Item = usize>| -> Vec<f64> {
        index.take(used).flat_map(|i| cloud.row(i)).copied().collect()
    };
    let x0 = gather(x, &mut drawn.source.iter().map(|&i| i as usize));
    let x1 = gather(y, &mut drawn.target.iter().map(|&j| j as usize));
    let (philox, quantiles) = (Philox::new(seed, Stream::Metric), y.inverse_cdf());
    let independent = gather(y, &mut (0..used as u32).map(|k| quantiles.index(philox.uniform(k, 1, 0))));
    let floor = |x1: &[f64]| if used < 2 { Ok(f64::NAN) } else { cfm_loss_floor(&x0, x1, d, device) };
    Ok(Straightness {
        entropy: entropy.joint,
        renormalised_entropy: entropy.renormalised(),
        independent_cost: square(&x.mean(), &mean) + x.variance() + y.variance(),
        conditional_variance: (y.variance() - explained).max(0.0),
        conditional_variance_independent: y.variance(),
        cfm_loss_floor: floor(&x1)?,
        cfm_loss_floor_independent: floor(&independent)?,
    })
}
