//! The command line: parse, call, print. No mathematics.

mod barycenter;
mod compare;
mod completions;
mod couple;
mod devices;
mod evaluate;
mod flags;
mod generate;
mod geodesic;
mod input;
mod jko;
mod machine;
mod output;
mod progress;
mod run;
mod sample;
mod session;
mod signal;
mod transport;
mod values;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

use clap::builder::styling::{AnsiColor, Styles};
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use flags::Shared;
use session::Session;

/// What went wrong: an error of the library, of clap, or a sentence.
type Failure = Box<dyn std::error::Error>;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Moves particles along the two natural curves of Wasserstein space, the gradient flow (diffusion) and the geodesic (optimal
/// transport), and measures both with the same ruler.
#[derive(Parser)]
#[command(version, styles = STYLES, max_term_width = 110, propagate_version = true, after_help = flags::examples(&[
    "brenier compare 8gaussians                     both principles from the same ends",
    "brenier transport moons 8gaussians             distance between two laws, by 4,096 draws of each",
    "brenier sample 8gaussians --method fm-heun     particles along the flow of flow matching",
    "brenier generate moons --n 1000 --out m.npy    toy data",
]))]
struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Compare(compare::Compare),
    Transport(transport::Transport),
    Barycenter(barycenter::Barycenter),
    Couple(couple::Couple),
    Evaluate(evaluate::Evaluate),
    Geodesic(geodesic::Geodesic),
    Jko(jko::Jko),
    Sample(sample::Sample),
    Generate(generate::Generate),
    Run(run::Run),
    Devices(devices::Devices),
    Completions(completions::Completions),
}

fn main() -> ExitCode {
    let started = Instant::now();
    let argv: Vec<OsString> = std::env::args_os().collect();
    match start(&argv, started) {
        Ok(code) => code,
        Err(_) if signal::interrupted() => {
            output::error("interrupted; files that were complete are kept, and nothing is left half written");
            ExitCode::from(130)
        }
        Err(failure) => match failure.downcast::<clap::Error>() {
            Ok(usage) => usage.exit(),
            Err(failure) => {
                output::error(&failure.to_string());
                ExitCode::FAILURE
            }
        },
    }
}

/// Parses `argv` and does what it says; `run FILE.toml` is replaced by the command line that the file stands for.
fn start(argv: &[OsString], started: Instant) -> Result<ExitCode, Failure> {
    let matches = Cli::command().try_get_matches_from(argv)?;
    let cli = Cli::from_arg_matches(&matches)?;
    if let Command::Run(run) = &cli.command {
        return start(&run.argv(&Cli::command(), &matches)?, started);
    }
    if cli.shared.resume {
        let why = "nothing that this command does can be resumed: it keeps no checkpoint; leave --resume out";
        return Err(Cli::command().error(ErrorKind::ArgumentConflict, why).into());
    }
    if let Command::Completions(completions) = &cli.command {
        return completions.print(&mut Cli::command());
    }
    signal::install()?;
    flags::log(cli.shared.verbose);
    if let Some(threads) = cli.shared.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads.get().into()).build_global()?;
    }
    let inputs = flags::inputs(&Cli::command(), &matches);
    let session = Session { shared: cli.shared, inputs, started };
    match cli.command {
        Command::Compare(compare) => compare.run(&session),
        Command::Transport(transport) => transport.run(&session),
        Command::Barycenter(barycenter) => barycenter.run(&session),
        Command::Couple(couple) => couple.run(&session),
        Command::Evaluate(evaluate) => evaluate.run(&session),
        Command::Geodesic(geodesic) => geodesic.run(&session),
        Command::Jko(jko) => jko.run(&session),
        Command::Sample(sample) => sample.run(&session),
        Command::Generate(generate) => generate.run(&session),
        Command::Devices(devices) => devices.run(&session),
        Command::Run(_) | Command::Completions(_) => unreachable!("answered above"),
    }
}
