//! The flags that every command has, and what the command line said.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::IsTerminal;
use std::marker::PhantomData;
use std::num::NonZero;
use std::path::PathBuf;

use brenier::backend::Precision;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Id};
use serde_json::{Map, Value};

use crate::Failure;

/// Heading of the flags that change what is shown and not what is computed.
const OUTPUT: &str = "Output";
const COMPUTATION: &str = "Computation";

/// Flags of every command.
#[derive(Args)]
pub struct Shared {
    /// Folder for results, made if missing
    #[arg(long, global = true, value_name = "DIR", help_heading = OUTPUT)]
    pub out: Option<PathBuf>,
    /// Print one JSON object on stdout; words go to stderr
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub json: bool,
    /// Exit with 1 when the solver did not converge, or an array written has a number that is not finite
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub strict: bool,
    /// No progress and no notes on stderr
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub quiet: bool,
    /// Say what is being done; -vv says more
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = OUTPUT)]
    pub verbose: u8,
    /// Seed of all random numbers, 0 to 4294967295
    #[arg(long, global = true, value_name = "N", default_value_t = 0, allow_negative_numbers = true, help_heading = COMPUTATION)]
    pub seed: u32,
    /// auto, cpu or cuda[:i]
    #[arg(long, global = true, value_name = "DEVICE", default_value = "auto", help_heading = COMPUTATION)]
    pub device: String,
    /// Threads to use; all by default. No result depends on it
    #[arg(long, global = true, value_name = "N", help_heading = COMPUTATION)]
    pub threads: Option<NonZero<u16>>,
    /// Precision of the arithmetic over particles
    #[arg(long, global = true, value_enum, default_value = "f32", help_heading = COMPUTATION)]
    pub precision: Precision,
    /// Columns that are the coordinates of points, by name, in .csv and .parquet files [default: all]
    #[arg(long, global = true, value_name = "NAMES", value_delimiter = ',', help_heading = COMPUTATION)]
    pub columns: Vec<String>,
    /// Continue an interrupted run: the same command line, with the checkpoint in its folder
    #[arg(long, global = true, help_heading = COMPUTATION)]
    pub resume: bool,
}

/// The names of the flags of `A`.
pub fn of<A: Args>() -> Vec<Id> {
    A::augment_args(Command::new("")).get_arguments().map(|arg| arg.get_id().clone()).collect()
}

/// Whether the command line gives a flag of `A` another value than it has without.
pub struct Asked<A> {
    is_one: bool,
    of: PhantomData<A>,
}

impl<A> Asked<A> {
    /// Whether there is one.
    pub fn is_one(&self) -> bool {
        self.is_one
    }
}

impl<A: Args> FromArgMatches for Asked<A> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let asks = |arg: &Arg| {
            let given = matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
            let values = matches.get_raw(arg.get_id().as_str()).into_iter().flatten();
            given && !values.eq(arg.get_default_values().iter().map(OsStr::new))
        };
        let is_one = A::augment_args(Command::new("")).get_arguments().any(asks);
        Ok(Self { is_one, of: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<A: Args> Args for Asked<A> {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

/// The last lines of a `--help`.
pub fn examples(lines: &[&str]) -> String {
    let heading = crate::STYLES.get_header();
    format!("{heading}Examples:{heading:#}\n  {}", lines.join("\n  "))
}

/// A command line that asks for nothing that there is: `why` in a sentence, and exit code 2.
pub fn bad_usage(why: impl Display) -> Failure {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{why}\n")).into()
}

/// Sends the library's events to stderr: warnings always, more with each -v.
pub fn log(verbose: u8) {
    let level = match verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A closed stderr is not a reason to stop, so failures to write to it are not reported.
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).log_internal_errors(false);
    log.without_time().with_target(false).with_ansi(colours).init();
}

/// All that `matches` holds for the command in use, defaults included, except what only changes the output.
pub fn inputs(cli: &Command, matches: &ArgMatches) -> Map<String, Value> {
    let Some((name, matches)) = matches.subcommand() else { return Map::new() };
    let ids = matches.ids().map(|id| id.as_str());
    let mut inputs = Map::new();
    for id in ids {
        let args = cli.find_subcommand(name).into_iter().chain([cli]).flat_map(Command::get_arguments);
        let Some(arg) = args.into_iter().find(|arg| arg.get_id() == id) else { continue }; // a group
        if arg.get_help_heading() == Some(OUTPUT) || id == "resume" {
            continue;
        }
        let values: Vec<Value> = matches.get_raw(id).into_iter().flatten().map(number_or_text).collect();
        let value = match (values.len(), arg.get_action().takes_values()) {
            (_, false) => (matches.value_source(id) == Some(ValueSource::CommandLine)).into(),
            (1, _) => values.into_iter().next().into(),
            _ => values.into(),
        };
        inputs.insert(id.to_owned(), value);
    }
    inputs
}

fn number_or_text(raw: &OsStr) -> Value {
    let text = raw.to_string_lossy();
    let number = text.parse::<u64>().map(Value::from).or_else(|_| text.parse::<f64>().map(Value::from));
    number.ok().filter(|number| !number.is_null()).unwrap_or_else(|| text.into())
}
