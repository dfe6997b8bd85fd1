//! `brenier selftest`: does this device compute right?

use std::process::ExitCode;

use brenier::experiment::selftest::{Check, selftest};
use clap::Args;
use serde::Serialize;

use crate::output::{columns, count};
use crate::session::Session;
use crate::{Failure, flags, progress, signal};

/// Check every operation of a device against the processor in f64
///
/// Sizes are ragged and dimensions go from 1 to 784. Exits with 1 when a result is off by more than rounding explains.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier selftest --device cuda",
    "brenier selftest --device cpu --json",
]))]
pub struct Selftest {}

#[derive(Serialize)]
struct Record<'a> {
    command: &'static str,
    version: &'static str,
    passed: bool,
    checks: &'a [Check],
    device: &'a str,
    precision: &'static str,
    wall_seconds: f64,
}

impl Selftest {
    /// Checks.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let device = session.device()?;
        let folder = session.folder(None)?;
        let spinner = progress::spinner(session, "every operation against f64");
        let checks = selftest(&device, &mut |what| {
            spinner.set_message(what.to_owned());
            !signal::interrupted()
        })?;
        spinner.finish_and_clear();
        signal::check()?;
        let failed = checks.iter().filter(|check| !check.passed).count();
        let record = Record {
            command: "selftest",
            version: env!("CARGO_PKG_VERSION"),
            passed: failed == 0,
            checks: &checks,
            device: device.name(),
            precision: device.precision().name(),
            wall_seconds: session.wall_seconds(),
        };
        let verdict = match failed {
            0 => format!("all {} checks passed", checks.len()),
            _ => format!("{failed} of {} checks FAILED", checks.len()),
        };
        let text = format!("selftest of {} in {}\n{}\n{verdict}", record.device, record.precision, table(&checks));
        session.finish(&record, folder.as_ref(), &text)?;
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn table(checks: &[Check]) -> String {
    let head = ["operation", "rows", "columns", "dimension", "error", "allowed", ""].map(String::from);
    let lines = checks.iter().map(|check| {
        let verdict = if check.passed { "ok" } else { "FAILED" };
        let [error, allowed] = [check.error, check.tolerance].map(|x| if x == 0.0 { "0".into() } else { format!("{x:.1e}") });
        [check.operation.into(), count(check.n), count(check.m), count(check.d), error, allowed, verdict.into()]
    });
    columns(&std::iter::once(head).chain(lines).collect::<Vec<_>>(), |column| (1..6).contains(&column))
}
