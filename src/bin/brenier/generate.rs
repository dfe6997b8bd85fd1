//! `brenier generate`: draws of a named source, into a file.

use std::path::PathBuf;
use std::process::ExitCode;

use brenier::io::{check_path, holds_weights, write_cloud};
use brenier::measure::Measure;
use brenier::random::Stream;
use clap::Args;
use serde::Serialize;

use crate::output::{Summary, count};
use crate::session::Session;
use crate::{Failure, flags, input, memory, signal};

/// Draw points of a law and write them to a file
///
/// Weights of data are written beside its points, as the array "weights" of a .npz or .safetensors file, or the column of a .parquet file; with --n points are drawn by
/// their weights.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier generate moons --n 1000 --out moons.npy",
    "brenier generate normal:3 --n 100000 --seed 1 --out normal.csv",
    "brenier generate mixture.json --n 4096 --precision f64 --out mixture.npz",
    "brenier generate digits --out digits.npy           all 1,797 of them, in their order",
    "brenier generate table.csv --columns x,y --out points.parquet"
]))]
pub struct Generate {
    /// normal, normal:D, 8gaussians, tilted-a, tilted-b, moons, checkerboard, swissroll, circles, pinwheel, scurve, digits, or a file
    name: String,
    /// Points to draw [default: 4096; for data the points themselves, with --n drawn with replacement]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    n: Option<u32>,
    /// File to write: .npy, .npz, .csv, .safetensors or .parquet
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Record<'a> {
    command: &'static str,
    version: &'static str,
    name: &'a str,
    n: usize,
    d: usize,
    seed: u32,
    file: String,
    wall_seconds: f64,
}

impl Generate {
    /// Draws and writes.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        check_path(&self.out)?;
        let measure = input::measure(session, &self.name, None, None)?;
        let seed = session.shared.seed;
        let cloud = match (measure, self.n) {
            (Measure::Finite(cloud), None) => cloud,
            (measure, n) => {
                let n = n.unwrap_or(4096);
                memory::require("drawing that many points", 2 * u64::from(n) * measure.dim() as u64)?;
                measure.sample(n as usize, seed, Stream::Source, 0)
            }
        };
        let (n, d) = (cloud.len(), cloud.dim());
        let weighted = cloud.weights().is_some() && holds_weights(&self.out);
        signal::check()?;
        let file = self.out.display().to_string();
        session.not_finite.inspect(&file, cloud.points(), &[n, d], session.float());
        write_cloud(&self.out, &cloud, session.float())?;
        let mut summary = Summary::new(format!("{} points of {} in dimension {d}", count(n), self.name));
        summary.line("written to", &file, if weighted { "with their weights" } else { "" });
        let wall_seconds = session.wall_seconds();
        let version = env!("CARGO_PKG_VERSION");
        let record = Record { command: "generate", version, name: &self.name, n, d, seed, file, wall_seconds };
        session.finish(&record, None, &summary.text())
    }
}
