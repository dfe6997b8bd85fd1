//! The command line: parse, call, print. No mathematics.

mod advice;
mod barycenter;
mod bench;
mod compare;
mod completions;
mod condition;
mod couple;
mod devices;
mod entropic;
mod evaluate;
mod flags;
mod formula;
mod generate;
mod geodesic;
mod input;
mod jko;
mod machine;
mod memory;
mod model;
mod output;
mod progress;
mod run;
mod sample;
mod schedule;
mod selftest;
mod session;
mod shards;
mod signal;
mod solver;
mod threads;
mod train;
mod transport;
mod unregularised;
mod values;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

use clap::builder::styling::{AnsiColor, Styles};
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use flags::Shared;
use output::NotFinite;
use run::Described;
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
#[command(name = "brenier", version, styles = STYLES, max_term_width = 110, propagate_version = true, after_help = flags::examples(&[
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
    #[command(flatten)]
    Work(Box<Work>),
    Run(run::Run),
    Completions(completions::Completions),
}

/// What a command line asks for.
enum Task {
    Work(Box<Work>),
    Experiment(Box<run::Experiment>),
}

/// The commands that do something themselves.
#[derive(Subcommand)]
enum Work {
    Compare(compare::Compare),
    Transport(transport::Transport),
    Barycenter(barycenter::Barycenter),
    Couple(couple::Couple),
    Evaluate(evaluate::Evaluate),
    Geodesic(geodesic::Geodesic),
    Jko(jko::Jko),
    Sample(Box<sample::Sample>),
    Train(train::Train),
    Schedule(schedule::ScheduleTable),
    Generate(generate::Generate),
    Devices(devices::Devices),
    Selftest(selftest::Selftest),
    Bench(bench::Bench),
}

impl Work {
    fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        match self {
            Self::Compare(compare) => compare.run(session),
            Self::Transport(transport) => transport.run(session),
            Self::Barycenter(barycenter) => barycenter.run(session),
            Self::Couple(couple) => couple.run(session),
            Self::Evaluate(evaluate) => evaluate.run(session),
            Self::Geodesic(geodesic) => geodesic.run(session),
            Self::Jko(jko) => jko.run(session),
            Self::Sample(sample) => sample.run(session),
            Self::Train(train) => train.run(session),
            Self::Schedule(schedule) => schedule.run(session),
            Self::Generate(generate) => generate.run(session),
            Self::Devices(devices) => devices.run(session),
            Self::Selftest(selftest) => selftest.run(session),
            Self::Bench(bench) => bench.run(session),
        }
    }

    fn keeps_checkpoint(&self) -> bool {
        !matches!(self, Self::Schedule(_) | Self::Generate(_) | Self::Devices(_) | Self::Selftest(_) | Self::Bench(_))
    }
}

/// The program: what its own command line says.
pub fn main() -> ExitCode {
    run(&std::env::args_os().collect::<Vec<OsString>>(), &[])
}

/// Does what `argv` says, the name of the program first. `itself` is the command that starts the program once more, where it is not the
/// file of this process: as from Python.
pub fn run(argv: &[OsString], itself: &[OsString]) -> ExitCode {
    match start(argv, itself, Instant::now()) {
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

/// Parses `argv` and does what it says; `run FILE.toml` is replaced by the command line that the file stands for, unless it is an
/// experiment.
fn start(argv: &[OsString], itself: &[OsString], started: Instant) -> Result<ExitCode, Failure> {
    let matches = Cli::command().try_get_matches_from(argv)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let task = match cli.command {
        Command::Run(run) => match run.read(&Cli::command(), &matches)? {
            Described::Command(argv) => return start(&argv, itself, started),
            Described::Experiment(experiment) => Task::Experiment(experiment),
        },
        Command::Completions(completions) => return completions.print(&mut Cli::command()),
        Command::Work(work) => Task::Work(work),
    };
    if cli.shared.resume && !matches!(&task, Task::Work(work) if work.keeps_checkpoint()) {
        let why = "nothing that this command does can be resumed: it keeps no checkpoint; leave --resume out";
        return Err(Cli::command().error(ErrorKind::ArgumentConflict, why).into());
    }
    signal::install()?;
    flags::log(cli.shared.verbose);
    threads::make(cli.shared.threads)?;
    let inputs = flags::inputs(&Cli::command(), &matches);
    let session = Session { shared: cli.shared, inputs, started, itself: itself.to_vec(), not_finite: NotFinite::default() };
    match task {
        Task::Experiment(experiment) => experiment.run(&session),
        Task::Work(work) => work.run(&session).map_err(|failure| advice::with_remedy(failure, &Cli::command(), &matches)),
    }
}
