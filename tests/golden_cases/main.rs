//! Runs every case of a folder of golden sampler outputs in f64 and compares every recorded row.
//!
//! The folder is `BRENIER_GOLDEN`, by default `tests/golden`; its README defines the entries. A case is built from its entry in
//! `index.json` alone. The last line is `golden: P passed, F failed, S skipped`.

mod adaptive;
mod case;
mod compare;
mod coupling;
mod field;
mod grids;
mod langevin;
mod likelihood;
mod ode;
mod sampler;
mod sde;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use case::{Case, Trouble, skip};

fn run(case: &Case) -> Result<f64, Trouble> {
    match case.kind() {
        "sampler" => compare::trajectory(case, &case.run(&sampler::program(case)?)?),
        "sde" => compare::trajectory(case, &sde::run(case)?),
        "langevin" => compare::trajectory(case, &langevin::run(case)?),
        "ode" => compare::trajectory(case, &ode::run(case)?),
        "adaptive" => compare::trajectory(case, &adaptive::run(case)?),
        "field" => field::check(case),
        "table" => table::check(case),
        "coupling" => coupling::check(case),
        "likelihood" => likelihood::check(case),
        other => skip(format!("there is no kind {other:?}")),
    }
}

/// Every case whose name contains one of the words given on the command line, all without.
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--list") {
        println!("golden: test");
        return ExitCode::SUCCESS;
    }
    let words: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let folder = std::env::var_os("BRENIER_GOLDEN")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden"), PathBuf::from);
    let cases = match Case::all(&folder) {
        Ok(cases) => cases,
        Err(why) => {
            eprintln!("golden: {why}");
            return ExitCode::FAILURE;
        }
    };
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), Vec::new());
    for case in cases.iter().filter(|c| words.is_empty() || words.iter().any(|w| c.name().contains(w.as_str()) || *w == "golden"))
    {
        match run(case) {
            Ok(worst) => {
                passed += 1;
                if arguments.iter().any(|a| a == "--nocapture") {
                    eprintln!("passed  {:<42} {worst:.1e}", case.name());
                }
            }
            Err(Trouble::Fail(why)) => failed.push(format!("failed  {}: {why}", case.name())),
            Err(Trouble::Skip(why)) => skipped.push(format!("skipped {}: {why}", case.name())),
        }
    }
    failed.iter().chain(&skipped).for_each(|line| eprintln!("{line}"));
    eprintln!("golden: {passed} passed, {} failed, {} skipped", failed.len(), skipped.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
