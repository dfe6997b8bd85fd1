//! `brenier bench`: how far is this device from its limit?

use std::process::ExitCode;

use brenier::experiment::speed::{Timing, speed};
use clap::Args;
use serde::Serialize;

use crate::output::{columns, count, number, seconds};
use crate::session::Session;
use crate::{Failure, flags, progress, signal};

/// Time each kernel over a ladder of sizes, and the limit of this chip
///
/// The limit is counted from the GPU's multiprocessors, clock and memory; for a processor none is given.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier bench --device cuda",
    "brenier bench --device cpu --threads 2 --json",
]))]
pub struct Bench {}

#[derive(Serialize)]
struct Record<'a> {
    command: &'static str,
    version: &'static str,
    timings: &'a [Timing],
    device: &'a str,
    /// Name of the chip.
    name: String,
    precision: &'static str,
    wall_seconds: f64,
}

impl Bench {
    /// Times.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let device = session.device()?;
        let folder = session.folder(None)?;
        let spinner = progress::spinner(session, "kernels over a ladder of sizes");
        let timings = speed(&device, &mut |what| {
            spinner.set_message(what.to_owned());
            !signal::interrupted()
        })?;
        spinner.finish_and_clear();
        signal::check()?;
        let record = Record {
            command: "bench",
            version: env!("CARGO_PKG_VERSION"),
            timings: &timings,
            device: device.name(),
            name: crate::devices::chip_name(&device),
            precision: device.precision().name(),
            wall_seconds: session.wall_seconds(),
        };
        let text = format!("bench of {} in {}: {}\n{}", record.device, record.precision, record.name, table(&timings));
        session.finish(&record, folder.as_ref(), &text)
    }
}

fn table(timings: &[Timing]) -> String {
    let head = ["kernel", "dimension", "n", "time", "ps", "an item", "limit", "by", "reached"].map(String::from);
    let lines = timings.iter().map(|timing| {
        let reached = timing.fraction.map_or(String::new(), |fraction| format!("{:.0} %", 100.0 * fraction));
        [
            timing.kernel.into(),
            count(timing.d),
            count(timing.n),
            seconds(timing.seconds),
            number(timing.ps_per_item),
            timing.item.into(),
            timing.limit_ps.map_or(String::new(), number),
            timing.limited_by.unwrap_or_default().into(),
            reached,
        ]
    });
    let lines: Vec<_> = std::iter::once(head).chain(lines).collect();
    columns(&lines, |column| matches!(column, 1 | 2 | 3 | 4 | 6 | 8))
}
