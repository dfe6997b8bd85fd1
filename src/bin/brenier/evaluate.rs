//! `brenier evaluate`: how good one cloud is as a sample of another.

mod likelihood;

use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::Device;
use brenier::checkpoint::Checkpoint;
use brenier::experiment::{self, EvaluateRecord, Features, Judged};
use brenier::io::read_measure;
use brenier::measure::{Cloud, Measure};
use brenier::metric::Estimate;
use brenier::watch::{Progress, Watch};
use clap::Args;
use serde::Serialize;

use crate::output::{Summary, count, in_words, number};
use crate::session::{Arithmetic, Session, Stamped};
use crate::{Failure, flags, input, memory, progress, signal};
use likelihood::{LOG_LIKELIHOOD, LikelihoodFlags};

/// Measure how good A is as a sample of B, or how likely data are under the model A
///
/// Distances come with their noise floor: what two independent clouds of B's law would score at the same sizes. Each flag is
/// raised on an independent sample of B's law with a chance of about 1 %: below_floor (closer than independent samples are),
/// collapsed and inflated (variance), memorised (copies of training points), mode_missing.
///
/// Precision and density tell how much of A lies where B does, recall and coverage how much of B lies where A does; energy
/// distance and MMD² compare the whole laws. Each comes with an interval for what fresh clouds of these sizes have on average, and
/// with the chance p of a value as bad if A were a sample of B's law. docs/judging.md tells what each can and cannot see.
///
/// With --log-likelihood A is a model or a law, and B is left out: the mean of log p(x) in nats with its standard error, and in bits per
/// dimension, by the change of variables along the probability flow, in f64 on the processor. --out gets log_p.npy, one number a point.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier evaluate samples.npy digits",
    "brenier evaluate brenier-out/sample/samples.npy 8gaussians --json",
    "brenier evaluate samples.npy heldout.npy --train training.npy    were training points copied?",
    "brenier evaluate x.npy y.npy --features dino-x.npy dino-y.npy    in a space of features too",
    "brenier evaluate x.npy y.npy --k 3 --permutations 999 --out result",
    "brenier evaluate model.onnx --log-likelihood heldout.npy",
]))]
pub struct Evaluate {
    /// The samples: a file of points, a .json mixture, or a named source; with --log-likelihood a model
    a: Option<String>,
    /// What they should be like
    #[arg(conflicts_with = LOG_LIKELIHOOD)]
    b: Option<String>,
    /// Points that A may have copied; B then holds points that were kept from training [default: one half of B, if B is points]
    #[arg(long, value_name = "FILE", conflicts_with = LOG_LIKELIHOOD)]
    train: Option<String>,
    /// Points to draw from an end that is a law or a shape
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
    /// Features of A's and of B's points, row by row, and of the training set's as a third file: everything is measured there as well
    #[arg(long, value_name = "FILE", num_args = 2..=3, conflicts_with = LOG_LIKELIHOOD)]
    features: Vec<String>,
    /// Neighbour that the balls behind precision, recall, density and coverage reach to [default: 5, or the last of a smaller cloud]
    #[arg(long, value_name = "K", conflicts_with = LOG_LIKELIHOOD, value_parser = clap::value_parser!(u32).range(1..))]
    k: Option<u32>,
    /// Relabellings of the pooled points behind each p-value, which is at least 1/(N + 1); 0 leaves p-values out
    #[arg(long, value_name = "N", default_value_t = 499, conflicts_with = LOG_LIKELIHOOD)]
    permutations: u32,
    #[command(flatten)]
    likelihood: LikelihoodFlags,
}

#[derive(Serialize)]
struct Record<'a> {
    a: &'a str,
    b: &'a str,
    #[serde(flatten)]
    record: &'a EvaluateRecord,
}

impl Evaluate {
    /// Measures.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        if let (Some(model), Some(data)) = (self.a.as_deref().or(self.likelihood.command()), self.likelihood.data()) {
            let device = session.processor_for("--log-likelihood")?;
            let measure =
                |checkpoint: &mut Checkpoint| self.likelihood.measure(model, (data, self.n), session, &device, checkpoint);
            return session.resumable("evaluate", None, &device, measure);
        }
        let (Some(a), Some(b)) = (self.a.as_deref(), self.b.as_deref()) else {
            return Err(flags::bad_usage(
                "give samples A and what they should be like, B; or a model or law, and --log-likelihood DATA",
            ));
        };
        self.likelihood.refuse(a)?;
        let (device, ends) = (session.device()?, [a, b]);
        session.resumable("evaluate", None, &device, |checkpoint| self.measure(ends, session, &device, checkpoint))
    }

    fn measure(
        &self,
        ends: [&str; 2],
        session: &Session,
        device: &Device,
        checkpoint: &mut Checkpoint,
    ) -> Result<ExitCode, Failure> {
        let seed = session.shared.seed;
        let (a, b) = input::ends(session, (ends[0], None), (ends[1], None))?;
        let train = self.train.as_deref().map(|train| training(session, train, b.dim())).transpose()?;
        let of = self.features.iter().map(|spec| features(spec)).collect::<Result<Vec<_>, _>>()?;
        if of.len() == 3 && train.is_none() {
            return Err(flags::bad_usage("a third file of --features is for the training set; give that with --train"));
        }
        let features = match &of[..] {
            [a, b, rest @ ..] => Some(Features { a, b, train: rest.first() }),
            _ => None,
        };
        memory::require("drawing that many points", 4 * u64::from(self.n) * b.dim() as u64)?;
        let folder = session.folder(None)?;
        let spinner = progress::spinner(session, "distances and their noise floor");
        let begun = Instant::now();
        let tell = |_: Progress<'_>| !signal::interrupted();
        let evaluate = experiment::Evaluate {
            n: self.n as usize,
            seed,
            train: train.as_ref(),
            k: self.k.map(|k| k as usize),
            permutations: self.permutations,
            features,
        };
        let found = evaluate.run(&a, &b, device, Watch::telling(&tell).keeping(checkpoint.whole()))?;
        let taken = begun.elapsed().as_secs_f64();
        spinner.finish_and_clear();
        signal::check()?;
        let mut record = session.stamped("evaluate", Record { a: ends[0], b: ends[1], record: &found }, device, taken);
        record.precision = Arithmetic::Arithmetic(device.precision().name());
        session.finish(&record, folder.as_ref(), &self.summary(&record).text())
    }

    fn summary(&self, record: &Stamped<'_, Record>) -> Summary {
        let found = record.own.record;
        let mut summary = Summary::new(format!("evaluate {} against {}", record.own.a, record.own.b));
        self.lines(&mut summary, found);
        if let Some(features) = &found.features {
            summary.line("of features", "", format!("in dimension {}", features.record.d));
            if let Some(distance) = features.frechet_distance {
                summary.line("Fréchet distance", number(distance), "");
            }
            self.lines(&mut summary, &features.record);
        }
        record.time(&mut summary);
        summary
    }

    /// What is found of points or of features.
    fn lines(&self, summary: &mut Summary, found: &EvaluateRecord) {
        summary.line("points", format!("{} against {}", count(found.n), count(found.m)), format!("in dimension {}", found.d));
        let floor = |floor: f64| format!("noise floor {}", number(floor));
        let floors = found.noise_floor;
        let [low, high] = found.divergence_interval.map(number);
        let about = format!("{low} to {high}, {}, in units of |x-y|²", floor(floors.divergence));
        summary.line("divergence", number(found.divergence), about);
        let subsamples = format!("{}, on subsamples of {}", floor(floors.w2_squared_exact), count(found.w2_size));
        summary.line("W2² exact", number(found.w2_squared_exact), subsamples);
        summary.line("variance ratio", number(found.variance_ratio), "1 when A spreads as B does");
        summary.line("mean distance", number(found.mean_distance), "");
        summary.line("nearest in B", number(found.nn_a_to_b), "median distance of A's points");
        if let (Some(samples), Some(heldout)) = (found.nn_train, found.nn_heldout) {
            summary.line(
                "nearest in training",
                number(samples),
                format!("median distance of A's points; of B's {}", number(heldout)),
            );
        }
        if let Some(judged) = &found.judged {
            self.judged(summary, judged, found.nn_train.is_some());
        }
        if let Some(weights) = &found.mode_weights {
            let shares: Vec<String> = weights.iter().map(|w| format!("{w:.3}")).collect();
            summary.line("mode weights", "", shares.join(" "));
        }
        if !found.flags.is_empty() {
            summary.line("flags", in_words(&found.flags), "");
        }
    }

    /// Distances and shares with their intervals.
    fn judged(&self, summary: &mut Summary, judged: &Judged, has_training: bool) {
        for (name, estimate) in &judged.estimates.0 {
            summary.line(in_full(name), number(estimate.value), chances(estimate));
        }
        if judged.estimates.get("memorised_share").is_some() {
            let of = if has_training { "training point" } else { "point of one half of B" };
            summary.line("", "", format!("memorised: as near to a {of} as the nearest 1 % of held-out points"));
        }
        if let Some(heldout) = judged.authenticity_heldout {
            summary.line("", "", format!("authentic: of held-out points {}", number(heldout)));
        }
        let sliced = format!(
            "± {} over {} directions, in units of |x-y|²",
            number(judged.sliced_standard_error),
            count(judged.sliced_directions)
        );
        summary.line("sliced W2²", number(judged.sliced_w2_squared), sliced);
    }
}

/// The features in the file `spec`: all of its columns, since --columns are those of the points.
fn features(spec: &str) -> Result<Cloud, Failure> {
    match read_measure(spec, None, None)? {
        Measure::Finite(cloud) => Ok(cloud),
        _ => {
            Err(format!("--features {spec} is a law, and features belong to points; give a file with a row for each point")
                .into())
        }
    }
}

/// A key of the record in words.
fn in_full(name: &str) -> &str {
    match name {
        "energy_distance" => "energy distance",
        "mmd_squared" => "MMD²",
        "memorised_share" => "memorised",
        name => name,
    }
}

/// The interval and the p-value of a number, in words.
fn chances(estimate: &Estimate) -> String {
    let interval = estimate.interval.map(|[low, high]| format!("{} to {}", number(low), number(high)));
    let p = estimate.p.map(|p| format!("p = {p:.3}"));
    [interval, p].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The points of `spec`, of dimension `dim`, that samples may have copied.
fn training(session: &Session, spec: &str, dim: usize) -> Result<Cloud, Failure> {
    match input::measure(session, spec, None, Some(dim))? {
        Measure::Finite(cloud) if cloud.dim() == dim => Ok(cloud),
        Measure::Finite(cloud) => {
            Err(format!("--train {spec} has dimension {} and B has {dim}; give points of B's space", cloud.dim()).into())
        }
        _ => Err(format!("--train {spec} is a law, and nothing can be copied from a law; give a file of points").into()),
    }
}
