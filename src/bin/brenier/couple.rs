//! `brenier couple`: pairs for flow-matching training, drawn from plans and streamed into files.

mod batch;
mod condition;
mod project;
mod record;
mod semidiscrete;
mod straightness;
mod unregularised;
mod worth;

use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::Device;
use brenier::checkpoint::{Checkpoint, Part};
use brenier::metric::Flag;
use brenier::transport::{ClassPairing, ClassPairs, ClassProblem, CostScale, LabelCost, Outcome, Problem, TransportError};
use brenier::watch::{Progress, Residual, Watch};
use clap::Args;
use indicatif::ProgressBar;

use crate::entropic::PlanFlags;
use crate::output::number;
use crate::session::Session;
use crate::shards::{self, Format, Shards};
use crate::solver::{Chosen, too_large};
use crate::unregularised::Unregularised;
use crate::{Failure, flags, input, memory, progress, signal, values};
use batch::{Batch, End};
use condition::KnownFlags;
use project::{Project, Projected};
use record::{Plans, Record};
use semidiscrete::SemidiscreteFlags;
use straightness::Gathered;
use worth::{ClassSums, Worth};

/// The renormalised entropy of pairs unless told otherwise, about the best for training (Zhang et al. 2025).
const ENTROPY: f64 = 0.1;
/// The part of a checkpoint with the ε that was found.
const EPS: &str = "eps";
/// The part of a checkpoint with the plan that knows nothing of the targets.
const BLIND: &str = "blind";
/// Where results go unless --out says.
const FOLDER: &str = "brenier-out/couple";
/// Flags that only pairs from entropic plans know.
const OF_ENTROPIC: [&str; 7] = ["entropy", "without_replacement", "labels", "class_costs", "conditions", "semidiscrete", "from"];

/// Pairs (x0, x1) for flow-matching training, drawn from the entropic plan
///
/// The folder (brenier-out/couple unless --out is given) gets pairs-00000.npz, pairs-00001.npz, …, each with source_index,
/// target_index, x0 and x1 (and label or condition), and run.json. Every source point is used its exact share of times; the order is random, and a function of
/// the seed alone. An end that is a law gives --n fresh points for every plan; a file gives all its points, or the next --batch.
/// The plan is sharp unless --entropy or --eps says otherwise: the larger they are, the less its pairs improve on independent ones.
/// With --exact or --rank the plans are those without eps.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier couple normal digits --pairs 100000",
    "brenier couple x.npy y.npy --pairs 1000000 --without-replacement --format safetensors --out pairs",
    "brenier couple normal images.npy --labels classes.npy --pairs 100000",
    "brenier couple x.npy y.npy --tau-source 0.9 --eps 0.05 --pairs 100000",
    "brenier couple x.npy y.npy --rank 100 --pairs 1000000",
    "brenier couple normal images.npy --semidiscrete --project pca:64 --out potential",
    "brenier couple normal images.npy --from potential --pairs 1000000 --out pairs",
    "brenier couple normal y.npy --pairs 1000000 --batch 256       as training on minibatches of 256 would pair them",
]))]
#[command(mut_arg("exact", |exact| exact.conflicts_with_all(OF_ENTROPIC)), mut_arg("rank", |rank| rank.conflicts_with_all(OF_ENTROPIC)))]
#[command(mut_arg("eps", |eps| eps.help("Regularisation, in units of |x-y|²/2 [default: where --entropy is 0.1]")))]
pub struct Couple {
    /// Pairs to draw [default: one for each source point of one plan]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=4_294_967_295))]
    pairs: Option<u64>,
    #[command(flatten)]
    plan: PlanFlags,
    /// Find the eps at which the first plan has this renormalised entropy, within a twentieth of it: 0 is a map, 1 independent pairs
    /// [default: 0.1]
    #[arg(long, value_name = "H", conflicts_with_all = ["eps", "blur"], allow_negative_numbers = true, value_parser = values::entropy)]
    entropy: Option<f64>,
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
    /// Compute the cost on K principal components of the target, as pca:K; pairs keep all dimensions
    #[arg(long, value_name = "pca:K")]
    project: Option<Project>,
    #[command(flatten)]
    unregularised: Unregularised,
    #[command(flatten)]
    semidiscrete: SemidiscreteFlags,
    #[command(flatten)]
    known: KnownFlags,
    #[command(flatten)]
    ends: input::Ends,
}

impl Couple {
    /// Draws the pairs.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        if self.plan.has_tau() && !self.plan.has_eps() {
            return Err(flags::bad_usage(
                "--tau is a share of eps, which --entropy is still to find; give --eps or --blur, or --reach",
            ));
        }
        let device = session.device()?;
        session.resumable("couple", Some(FOLDER), &device, |checkpoint| self.draw(session, &device, checkpoint))
    }

    fn draw(&self, session: &Session, device: &Device, checkpoint: &mut Checkpoint) -> Result<ExitCode, Failure> {
        let seed = session.shared.seed;
        let (source, target) = self.ends.measures(session)?;
        if self.semidiscrete.is_asked() {
            return self.draw_semidiscrete(session, (source, target), device, checkpoint);
        }
        if self.unregularised.what().is_some() {
            return self.draw_unregularised(session, (source, target), device, checkpoint);
        }
        let (mut source, mut target) =
            (End::new(source, self.batch, self.ends.n, 0), End::new(target, self.batch, self.ends.n, 1));
        let mut known = self.known.read(&source, &target)?;
        let is_plain = self.plan.is_half_squared() && !self.plan.frees_marginals();
        if known.width() > 0 && !is_plain {
            let why = "--conditions are matched by a plan of the cost |x-y|²/2 with both marginals held; leave --cost, --reach and --tau out";
            return Err(flags::bad_usage(why));
        }
        let (d, whole) = (source.dim(), source.is_whole() && target.is_whole());
        let pairs = self.pairs.unwrap_or(source.len() as u64);
        let shard = shards::rows(self.shard, d);
        // Both ends in f64 and in the precision of the run, with the columns of the soft-min; a round of draws; a file.
        let held = (source.len() + target.len()) * (4 * (d + known.width()) + 8)
            + 6 * (source.len().max(1 << 20))
            + shard.min(pairs as usize) * (2 * d + 1 + known.width());
        memory::require("coupling that many points", held as u64)?;
        let folder = session.folder(Some(FOLDER))?;
        let mut shards = Shards::new(folder.as_ref(), self.format, shard, d, session.float())?;

        let projection = self.project.map(|project| target.components(project, seed)).transpose()?;
        let on_components = |batch: &Batch| projection.as_ref().map(|projection| batch.projected(projection)).transpose();

        let bar = progress::bar(session, "pairs", pairs as usize);
        let begun = Instant::now();
        let mut plans: Option<Plans> = None;
        let mut gathered = Gathered::default();
        let mut sums = ClassSums::default();
        let mut worth = None;
        let mut uses = vec![0u32; target.points()];
        let mut rooms = (vec![0.0; d], vec![0.0; d]);
        let mut batches = 0;
        while shards.written() < pairs {
            let (whole_x, whole_y) = (source.batch(batches, seed)?, target.batch(batches, seed)?);
            let (few_x, few_y) = (on_components(&whole_x)?, on_components(&whole_y)?);
            // What plans are made of.
            let (x, y) = (few_x.as_ref().unwrap_or(&whole_x), few_y.as_ref().unwrap_or(&whole_y));
            let plans = match &mut plans {
                Some(plans) => plans,
                none => {
                    let classes = known.costs((x, y));
                    let scale = self.plan.scale(&x.cloud, &y.cloud, classes.as_ref(), seed);
                    let problem = |eps| self.posed(Problem::new(&x.cloud, &y.cloud, eps)?, classes.clone());
                    let chosen = self.eps(&problem, scale, device, checkpoint)?;
                    too_large(chosen.eps, &scale, self.plan.rho(chosen.eps)?).iter().for_each(|words| session.note(words));
                    none.insert(Plans::at(chosen))
                }
            };
            let eps = plans.eps.eps;
            known.settle((x, y), (seed, batches), |[x, y]| {
                self.solve(&self.posed(Problem::new(&x, &y, eps)?, None)?, (device, seed), &bar, Checkpoint::none().part(BLIND))
            })?;
            let mut problems = known.problems((x, y), eps, (seed, batches))?;
            for of_class in &mut problems {
                of_class.problem = self.posed(of_class.problem.clone(), known.costs((x, y)))?;
            }
            let number = batches;
            let part = |class: Option<u32>| match class {
                Some(class) => format!("plan {number} class {class}"),
                None => format!("plan {number}"),
            };
            let solve = |of_class: &ClassProblem| {
                self.solve(&of_class.problem, (device, seed), &bar, checkpoint.part(&part(of_class.class)))
            };
            let outcomes = problems.iter().map(solve).collect::<Result<Vec<Outcome>, Failure>>()?;
            outcomes.iter().for_each(|outcome| plans.add(outcome));
            gathered.plan(x.cloud.dim(), &problems, &outcomes, device)?;
            if worth.is_none() && known.asks_for_another_plan() && !self.plan.frees_marginals() {
                let blind = self.posed(Problem::new(&x.cloud, &y.cloud, eps)?, None)?;
                let blind = self.solve(&blind, (device, seed), &bar, checkpoint.part(BLIND))?;
                worth = Some(Worth::of(&problems, &outcomes, &blind));
            }
            let left = pairs - shards.written();
            let here = if whole { left } else { left.min(x.cloud.len() as u64) };
            let step = batches.wrapping_mul(known.streams());
            let mut pairing = ClassPairing::new(&problems, &outcomes, here, self.without_replacement, (seed, step))?;
            let tell = |_: Progress<'_>| !signal::interrupted();
            while let Some(ClassPairs { pairs: drawn, classes }) = pairing.next_round(device, &Watch::telling(&tell))? {
                signal::check()?;
                for ((&i, &j), class) in drawn.source.iter().zip(&drawn.target).zip(classes) {
                    let (i, j) = (i as usize, j as usize);
                    let (x0, x1) = (whole_x.cloud.row_in(i, &mut rooms.0), whole_y.cloud.row_in(j, &mut rooms.1));
                    let target = y.index(j);
                    if let Some(uses) = uses.get_mut(target as usize) {
                        *uses += 1;
                    }
                    gathered.pair(x0, x1, target);
                    sums.add(class, x0);
                    let (label, condition) = (class.or(known.label(target)), known.condition(target));
                    shards.push([x0, x1], Some([x.index(i), target]), label, condition)?;
                    bar.inc(1);
                }
            }
            batches += 1;
            if shards.written() < pairs {
                problems.iter().for_each(|of_class| checkpoint.part(&part(of_class.class)).close(|_| {}));
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        let (files, pair_cost) = shards.finish()?;
        bar.set_message("straightness");
        let straightness = gathered.finish(
            (&source, &target),
            &known,
            projection.as_ref().map_or(1.0, |on| on.variance_kept),
            (device, seed),
        )?;
        bar.finish_and_clear();
        let plans = plans.unwrap_or_else(|| Plans::at(Chosen { eps: f64::NAN, origin: String::new() }));
        let record = Record {
            source: &self.ends.source,
            target: &self.ends.target,
            n: source.len(),
            m: target.len(),
            d,
            eps: plans.eps.eps,
            eps_origin: plans.eps.origin,
            pairs,
            shards: files,
            shard_rows: shard,
            batch: self.batch,
            batches,
            without_replacement: self.without_replacement,
            iterations: plans.iterations,
            converged: plans.converged,
            marginal_error: plans.marginal_error,
            mass: self.plan.frees_marginals().then_some(plans.mass).flatten(),
            pair_cost,
            cost_ratio: pair_cost / straightness.independent_cost,
            straightness,
            projection: projection.as_ref().map(Projected::of),
            gain_kept: worth.as_ref().map(|worth| worth.gain_kept),
            classes: sums.record(&known, &source),
            condition_weight: known.weight(),
            condition_mismatch: worth.and_then(|worth| worth.mismatch(&known)),
            targets_used: (!uses.is_empty()).then(|| uses.iter().filter(|uses| **uses > 0).count()),
            most_uses: uses.iter().copied().max(),
        };
        let mut flags = Vec::new();
        if record.straightness.is_collapsed() {
            session.note("the pairs are next to independent: the plan has collapsed; use a smaller --eps");
            flags.push(Flag::Collapsed);
        }
        if !record.is_finite() {
            flags.push(Flag::NotFinite);
        }
        let lower = if self.batch.is_some() { ", or lower --batch" } else { "" };
        let unconverged = (!record.converged).then(|| format!("a plan has not converged; raise --max-iter or --eps{lower}"));
        let record = session.stamped("couple", record, device, seconds).flagged(flags);
        let mut summary = record.own.summary();
        record.time(&mut summary);
        session.finish_solve(&record, folder.as_ref(), &summary.text(), unconverged.as_deref())
    }

    /// A problem with the penalties that are asked for, and with the costs of classes where they have any.
    fn posed(&self, problem: Problem, classes: Option<LabelCost>) -> Result<Problem, Failure> {
        let problem = self.plan.imposed_on(problem)?;
        Ok(match classes {
            Some(classes) => problem.with_labels(classes)?,
            None => problem,
        })
    }

    /// ε as it is given, or that of the entropy of the `problem`; where no ε has it and none was asked for, a share of `scale`.
    fn eps(
        &self,
        problem: &dyn Fn(f64) -> Result<Problem, Failure>,
        scale: CostScale,
        device: &Device,
        checkpoint: &mut Checkpoint,
    ) -> Result<Chosen, Failure> {
        let share = self.plan.choose(CostScale::PAIRS, || scale)?;
        if self.plan.has_eps() {
            return Ok(share);
        }
        let (entropy, problem) = (self.entropy.unwrap_or(ENTROPY), problem(share.eps)?);
        let tell = |_: Progress<'_>| !signal::interrupted();
        let search = || self.plan.solver().eps_of_entropy(&problem, entropy, device, &Watch::telling(&tell));
        match checkpoint.part(EPS).once(EPS, search) {
            Ok(eps) => Ok(Chosen { eps, origin: format!("renormalised entropy {entropy}") }),
            Err(TransportError::Entropy { .. } | TransportError::EpsTooSmall { .. } | TransportError::EpsTooLarge { .. })
                if self.entropy.is_none() =>
            {
                Ok(share)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn solve(
        &self,
        problem: &Problem,
        (device, seed): (&Device, u32),
        bar: &ProgressBar,
        kept: Part<'_>,
    ) -> Result<Outcome, Failure> {
        let tell = |now: Progress<'_>| {
            let Some(Residual { iteration, eps, error }) = now.residual else { return !signal::interrupted() };
            bar.set_message(format!("eps {} it {iteration} error {error:.0e}", number(eps)));
            !signal::interrupted()
        };
        let start = self.plan.start(problem, seed, device, Watch::telling(&tell))?;
        let watch = Watch::telling(&tell).keeping(kept);
        let outcome = self.plan.solver().solve_watched(problem, start.as_ref(), device, watch)?;
        bar.set_message("pairs");
        Ok(outcome)
    }
}
