//! `brenier selftest`: does this device compute right?

use std::process::{ExitCode, Stdio};

use brenier::backend::Device;
use brenier::experiment::selftest::{Check, Checked, operations, selftest};
use clap::Args;
use serde::{Deserialize, Serialize};

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
    "brenier selftest --only 'soft-min, shifted'",
]))]
pub struct Selftest {
    /// This operation alone, by the name that the table has
    #[arg(long, value_name = "OPERATION")]
    only: Option<String>,
}

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
        if let Some(only) = &self.only
            && !operations().any(|name| name == only)
        {
            let names = operations().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
            return Err(flags::bad_usage(format!("there is no operation {only:?}; the operations are {names}")));
        }
        let device = session.device()?;
        let folder = session.folder(None)?;
        let spinner = progress::spinner(session, "every operation against f64");
        let Checked { mut checks, lost } = selftest(&device, self.only.as_deref(), &mut |what| {
            spinner.set_message(what.to_owned());
            !signal::interrupted()
        });
        // What the device does not answer any more this process, it answers another.
        if let (true, None, Some(last)) = (lost, &self.only, checks.last().map(|check| check.operation.clone())) {
            for operation in operations().skip_while(|name| *name != last).skip(1) {
                signal::check()?;
                spinner.set_message(format!("{operation}, in a process of its own"));
                checks.extend(apart(operation, &device, session));
            }
        }
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
        let said = checks.iter().filter_map(|check| Some(format!("\n{}: {}", check.operation, check.failure.as_ref()?)));
        let (table, said) = (table(&checks), said.collect::<String>());
        let text = format!("selftest of {} in {}\n{table}{said}\n{verdict}", record.device, record.precision);
        session.finish(&record, folder.as_ref(), &text)?;
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The checks of one operation by another process; one that says why where there are none.
fn apart(operation: &'static str, device: &Device, session: &Session) -> Vec<Check> {
    /// Of its record.
    #[derive(Deserialize)]
    struct Printed {
        checks: Vec<Check>,
    }
    let precision = device.precision().name();
    let checked = || -> Result<Vec<Check>, String> {
        let said = |why: std::io::Error| why.to_string();
        let mut command = session.another().map_err(said)?;
        command.args(["selftest", "--json", "--only", operation, "--device", device.name(), "--precision", precision]);
        let ended = command.stdin(Stdio::null()).output().map_err(said)?;
        match serde_json::from_slice::<Printed>(&ended.stdout) {
            Ok(printed) => Ok(printed.checks),
            Err(_) => Err(format!("its process ended with {}: {}", ended.status, String::from_utf8_lossy(&ended.stderr).trim())),
        }
    };
    checked().unwrap_or_else(|why| {
        let operation = operation.into();
        vec![Check { operation, n: 0, m: 0, d: 0, error: None, tolerance: 0.0, passed: false, failure: Some(why) }]
    })
}

fn table(checks: &[Check]) -> String {
    let head = ["operation", "rows", "columns", "dimension", "error", "allowed", ""].map(String::from);
    let lines = checks.iter().map(|check| {
        let verdict = if check.passed { "ok" } else { "FAILED" };
        let rounded = |x: f64| if x == 0.0 { "0".into() } else { format!("{x:.1e}") };
        let (error, allowed) = (check.error.map_or("none".into(), rounded), rounded(check.tolerance));
        [check.operation.clone(), count(check.n), count(check.m), count(check.d), error, allowed, verdict.into()]
    });
    columns(&std::iter::once(head).chain(lines).collect::<Vec<_>>(), |column| (1..6).contains(&column))
}
