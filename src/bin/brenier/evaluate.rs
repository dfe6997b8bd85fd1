//! `brenier evaluate`: how good one cloud is as a sample of another.

use std::process::ExitCode;
use std::time::Instant;

use brenier::backend::Device;
use brenier::experiment::{self, EvaluateRecord};
use brenier::io::Checkpoint;
use clap::Args;
use serde::Serialize;

use crate::output::{Summary, count, in_words, number, seconds};
use crate::session::Session;
use crate::{Failure, flags, input, memory, progress, signal};

/// Measure how good A is as a sample of B
///
/// Distances come with their noise floor: what two independent clouds of B's law would score at the same sizes.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier evaluate samples.npy digits",
    "brenier evaluate brenier-out/sample/samples.npy 8gaussians --json",
    "brenier evaluate x.npy y.npy --seed 1 --out result",
]))]
pub struct Evaluate {
    /// The samples: a file of points, a .json mixture, or a named source
    a: String,
    /// What they should be like
    b: String,
    /// Points to draw from an end that is a law or a shape
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
}

#[derive(Serialize)]
struct Record<'a> {
    command: &'static str,
    version: &'static str,
    a: &'a str,
    b: &'a str,
    #[serde(flatten)]
    record: &'a EvaluateRecord,
    seconds: f64,
    wall_seconds: f64,
    device: &'a str,
    precision: &'static str,
    seed: u32,
}

impl Evaluate {
    /// Measures.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let device = session.device()?;
        session.resumable("evaluate", None, &device, |checkpoint| self.measure(session, &device, checkpoint))
    }

    fn measure(&self, session: &Session, device: &Device, checkpoint: &mut Checkpoint) -> Result<ExitCode, Failure> {
        let seed = session.shared.seed;
        let (a, b) = input::ends((&self.a, None), (&self.b, None))?;
        memory::require("drawing that many points", 4 * u64::from(self.n) * b.dim() as u64)?;
        let folder = session.folder(None)?;
        let spinner = progress::spinner(session, "distances and their noise floor");
        let begun = Instant::now();
        let go_on = |_, _, _| !signal::interrupted();
        let found = experiment::Evaluate { n: self.n as usize, seed }.run(&a, &b, device, Some(&go_on), checkpoint)?;
        let taken = begun.elapsed().as_secs_f64();
        spinner.finish_and_clear();
        signal::check()?;
        let record = Record {
            command: "evaluate",
            version: env!("CARGO_PKG_VERSION"),
            a: &self.a,
            b: &self.b,
            record: &found,
            seconds: taken,
            wall_seconds: session.wall_seconds(),
            device: device.name(),
            precision: device.precision().name(),
            seed,
        };
        session.finish(&record, folder.as_ref(), &self.summary(&record).text())
    }

    fn summary(&self, record: &Record) -> Summary {
        let found = record.record;
        let mut summary = Summary::new(format!("evaluate {} against {}", self.a, self.b));
        summary.line("points", format!("{} against {}", count(found.n), count(found.m)), format!("in dimension {}", found.d));
        let floor = |floor: f64| format!("noise floor {}", number(floor));
        let floors = found.noise_floor;
        summary.line("divergence", number(found.divergence), format!("{}, in units of |x-y|²", floor(floors.divergence)));
        let subsamples = format!("{}, on subsamples of {}", floor(floors.w2_squared_exact), count(found.w2_size));
        summary.line("W2² exact", number(found.w2_squared_exact), subsamples);
        summary.line("variance ratio", number(found.variance_ratio), "1 when A spreads as B does");
        summary.line("mean distance", number(found.mean_distance), "");
        summary.line("nearest in B", number(found.nn_a_to_b), "median distance of A's points");
        if let Some(weights) = &found.mode_weights {
            let shares: Vec<String> = weights.iter().map(|w| format!("{w:.3}")).collect();
            summary.line("mode weights", "", shares.join(" "));
        }
        if !found.flags.is_empty() {
            summary.line("flags", in_words(&found.flags), "");
        }
        summary.line("time", seconds(record.seconds), format!("{} in {}", record.device, record.precision));
        summary
    }
}
