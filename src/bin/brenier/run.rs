//! `brenier run`: a command line from a file, or an experiment of several. The flags are those of the command itself; there is no
//! second list of them.

mod experiment;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use brenier::io::read_text;
use brenier::nearest;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command};
use toml::{Table, Value};

use crate::Failure;
use crate::flags::{self, bad_usage};
use crate::model::COMMAND;
pub use experiment::Experiment;

/// Run a command that a file describes, or an experiment
///
/// The file of a command holds command = "…", the command's arguments by their names, and its flags as keys. Flags that every command
/// has may also be given here, and then win over the file. What the command line takes several of is a list. Paths are relative to the
/// current folder.
///
/// The file of an experiment holds version = 1, a title, the statement, what of it is exact and what approximate, its runs [[run]], each
/// with a name beside the keys of a command, and its expectations [[expect]]: a value, which is a formula over the records of the runs
/// by name, and low or high or both. A run's {name} stands for the folder of an earlier run and {folder} for that of the file. Keys under
/// [run.short] and [expect.short] replace the others with --short. An expectation that is not met is a sentence, and exit code 1.
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier run experiment.toml",
    "brenier run experiment.toml --seed 7 --out result-7",
    "",
    "where experiment.toml is, for example,",
    "    command = \"transport\"",
    "    source = \"moons\"",
    "    target = \"8gaussians\"",
    "    blur = 0.1",
    "    debias = true",
    "",
    "and of an experiment, for example,",
    "    version = 1",
    "    title = \"DDIM is Euler flow matching\"",
    "    statement = \"…\"",
    "    exact = \"…\"",
    "    approximate = \"…\"",
    "    [[run]]",
    "    name = \"ddim\"",
    "    command = \"sample\"",
    "    field = \"8gaussians\"",
    "    schedule = \"trigonometric\"",
    "    grid = \"balanced\"",
    "    [[run]]",
    "    name = \"euler\"",
    "    …",
    "    [[expect]]",
    "    value = \"rms_distance(array('ddim/samples.npy'), array('euler/samples.npy'))\"",
    "    high = 1e-12",
]))]
pub struct Run {
    /// File that describes the run
    file: PathBuf,
    /// The short form of an experiment
    #[arg(long)]
    short: bool,
    /// Start the programs that the file names with field-command: only of a file that you have read
    #[arg(long)]
    allow_command: bool,
}

/// What a file describes.
pub enum Described {
    /// The command line that it stands for.
    Command(Vec<OsString>),
    /// An experiment.
    Experiment(Box<Experiment>),
}

impl Run {
    /// What the file describes, with the flags given beside it in `matches`.
    pub fn read(&self, cli: &Command, matches: &ArgMatches) -> Result<Described, Failure> {
        let text = read_text(&self.file)?;
        let table: Table = text.parse().map_err(|cause| format!("{}: it is not TOML: {cause}", self.file.display()))?;
        let mut beside = Beside { cli, matches, own: &[], allows_command: self.allow_command };
        if !table.contains_key("command") && experiment::KEYS.iter().any(|key| table.contains_key(*key)) {
            beside.own = &experiment::OWN_FLAGS;
            return Ok(Described::Experiment(Box::new(Experiment::new(&self.file, self.short, table, &beside)?)));
        }
        if self.short {
            return Err(bad_usage(format!("{}: it holds one command, which has no short form", self.file.display())));
        }
        Ok(Described::Command(beside.argv(&self.file.display().to_string(), table)?))
    }
}

/// The command line that the file is given on.
struct Beside<'a> {
    cli: &'a Command,
    matches: &'a ArgMatches,
    /// Flags that are not passed on.
    own: &'a [&'a str],
    /// Whether the file may name a program to start.
    allows_command: bool,
}

impl Beside<'_> {
    /// The command line that `table` stands for, with the flags given beside it; `name` says in errors which it is.
    fn argv(&self, name: &str, mut table: Table) -> Result<Vec<OsString>, Failure> {
        let cli = self.cli;
        let commands: Vec<&str> = cli.get_subcommands().map(Command::get_name).filter(|name| *name != "run").collect();
        let command = match table.remove("command") {
            Some(Value::String(command)) => command,
            _ => return Err(bad_usage(format!("{name}: it needs command = \"…\", one of {}", commands.join(", ")))),
        };
        let Some(chosen) = commands.contains(&command.as_str()).then(|| cli.find_subcommand(&command)).flatten() else {
            let nearest = nearest(&command, commands.iter().copied());
            return Err(bad_usage(format!("{name}: there is no command \"{command}\"; did you mean \"{nearest}\"?")));
        };
        let known: Vec<&Arg> = chosen.get_arguments().chain(cli.get_arguments().filter(|arg| arg.is_global_set())).collect();
        let (mut positionals, mut options) = (Vec::new(), Vec::new());
        for (key, value) in table {
            let id = key.replace('-', "_");
            let Some(place) = known.iter().position(|arg| arg.get_id() == id.as_str()) else {
                let nearest = nearest(&id, known.iter().map(|arg| arg.get_id().as_str()));
                return Err(bad_usage(format!("{name}: {command} has no flag \"{key}\"; did you mean \"{nearest}\"?")));
            };
            let arg = known[place];
            if self.gives(&id) {
                continue;
            }
            let refused = |why: &str| bad_usage(format!("{name}: \"{key}\" {why}"));
            if id == COMMAND && !self.allows_command {
                return Err(refused(&format!(
                    "is a program to start: {value}; if you trust it, give --allow-command with the file"
                )));
            }
            let words = words(arg, &value).map_err(refused)?;
            match (arg.get_long(), arg.get_action().takes_values(), &value) {
                (None, ..) => positionals.push((place, words)),
                (Some(_), true, Value::Boolean(truth)) => return Err(refused(&format!("needs a value, not {truth}"))),
                (Some(long), true, _) => options.extend(words.iter().map(|word| format!("--{long}={word}").into())),
                (Some(_), false, Value::Boolean(false)) => {}
                (Some(long), false, Value::Boolean(true)) => options.push(format!("--{long}").into()),
                (Some("verbose"), false, Value::Integer(times)) => {
                    options.extend((0..*times).map(|_| OsString::from("--verbose")));
                }
                _ => return Err(refused(&format!("is true or false, not {}", words.join(", ")))),
            }
        }
        positionals.sort();
        let mut argv: Vec<OsString> = vec!["brenier".into(), command.into()];
        argv.append(&mut options);
        argv.extend(self.words());
        argv.push("--".into());
        argv.extend(positionals.into_iter().flat_map(|(_, words)| words).map(OsString::from));
        Ok(argv)
    }

    /// Whether the shared flag `id` is given and passed on.
    fn gives(&self, id: &str) -> bool {
        let is_shared = self.cli.get_arguments().any(|arg| arg.get_id() == id) && !self.own.contains(&id);
        is_shared && self.matches.value_source(id) == Some(ValueSource::CommandLine)
    }

    /// The shared flags that are given and passed on.
    fn words(&self) -> Vec<OsString> {
        let given = self.cli.get_arguments().filter(|arg| self.gives(arg.get_id().as_str()));
        let flag = |arg: &Arg| -> Vec<OsString> {
            let long = format!("--{}", arg.get_long().unwrap_or_default());
            let id = arg.get_id().as_str();
            if !arg.get_action().takes_values() {
                let times = if id == "verbose" { usize::from(self.matches.get_count(id)) } else { 1 };
                return vec![long.into(); times];
            }
            let with_value = |value: &OsStr| {
                let mut word = OsString::from(format!("{long}="));
                word.push(value);
                word
            };
            self.matches.get_raw(id).into_iter().flatten().map(with_value).collect()
        };
        given.flat_map(flag).collect()
    }
}

/// The words that the command line has for `value` of `arg`: of a list one for each of its values, or all of them in one where `arg`
/// takes a list so; else why there are none.
fn words(arg: &Arg, value: &Value) -> Result<Vec<String>, &'static str> {
    let Value::Array(values) = value else { return Ok(vec![word(value)?]) };
    let all = values.iter().map(word).collect::<Result<Vec<String>, _>>()?;
    let several = matches!(arg.get_action(), ArgAction::Append) || arg.get_num_args().is_some_and(|many| many.max_values() > 1);
    match arg.get_value_delimiter() {
        Some(delimiter) => Ok(vec![all.join(&delimiter.to_string())]),
        None if several => Ok(all),
        None => Err("takes one value, not a list"),
    }
}

/// A single value as the command line writes it.
fn word(value: &Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(flag) => Ok(flag.to_string()),
        Value::Array(_) | Value::Datetime(_) | Value::Table(_) => {
            Err("must be a number, a text, true, false, or a list of these")
        }
    }
}
