//! One run of one command: its shared flags, and how it ends.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use brenier::backend::{Device, DeviceError, Precision};
use brenier::checkpoint::Checkpoint;
use brenier::io::{CheckpointFile, Float, checksum};
use brenier::metric::Flag;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::Failure;
use crate::flags::{Shared, bad_usage};
use crate::model::COMMAND;
use crate::output::{self, Folder, NotFinite, Summary, seconds};
use crate::signal;

/// Name of the checkpoint in the folder for results.
const CHECKPOINT: &str = "checkpoint.safetensors";

/// One run of one command.
pub struct Session {
    /// The flags that every command has.
    pub shared: Shared,
    /// What the command line said, for `run.json`.
    pub inputs: Map<String, Value>,
    /// When the process started.
    pub started: Instant,
    /// The command that starts the program once more; empty where that is the file of this process.
    pub itself: Vec<OsString>,
    /// What the command wrote that is not finite.
    pub not_finite: NotFinite,
}

/// The flag of a run that wrote a number that is not finite.
const NOT_FINITE: &str = "not_finite";

/// What is printed as JSON: the record and what it was computed from.
#[derive(Serialize)]
struct Printed<'a, R> {
    #[serde(flatten)]
    record: &'a R,
    inputs: &'a Map<String, Value>,
}

/// The precision of the arithmetic, by the key that tells of it.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arithmetic {
    Precision(&'static str),
    /// Where `precision` is a share of samples.
    Arithmetic(&'static str),
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Precision(name) | Self::Arithmetic(name)) = self;
        f.write_str(name)
    }
}

/// A command's own record between what the record of every run on a device begins and ends with.
#[derive(Serialize)]
pub struct Stamped<'a, R> {
    command: &'static str,
    version: &'static str,
    #[serde(flatten)]
    pub own: R,
    /// Of the work alone.
    pub seconds: f64,
    /// Since the process started.
    wall_seconds: f64,
    pub device: &'a str,
    #[serde(flatten)]
    pub precision: Arithmetic,
    seed: u32,
    /// None where the command has its own, or raises none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<Flag>>,
}

impl<R> Stamped<'_, R> {
    /// With these flags.
    pub fn flagged(self, flags: Vec<Flag>) -> Self {
        Self { flags: Some(flags), ..self }
    }

    /// The last line of a summary: how long it took, and on what.
    pub fn time(&self, summary: &mut Summary) {
        summary.line("time", seconds(self.seconds), format!("{} in {}", self.device, self.precision));
    }
}

impl Session {
    /// `own`, with what is said of every run on a device; the work itself took `seconds`.
    pub fn stamped<'a, R>(&self, command: &'static str, own: R, device: &'a Device, seconds: f64) -> Stamped<'a, R> {
        Stamped {
            command,
            version: env!("CARGO_PKG_VERSION"),
            own,
            seconds,
            wall_seconds: self.wall_seconds(),
            device: device.name(),
            precision: Arithmetic::Precision(device.precision().name()),
            seed: self.shared.seed,
            flags: None,
        }
    }

    /// The program in a process of its own, still without arguments.
    pub fn another(&self) -> io::Result<Command> {
        let Some((program, arguments)) = self.itself.split_first() else { return Ok(Command::new(env::current_exe()?)) };
        let mut command = Command::new(program);
        command.args(arguments);
        Ok(command)
    }

    /// The device asked for.
    pub fn device(&self) -> Result<Device, Failure> {
        Device::named(&self.shared.device, self.precision()).map_err(|error| match error {
            DeviceError::Unknown { .. } => bad_usage(error),
            _ => error.into(),
        })
    }

    /// The device of `what`, which runs on the processor in f64 whatever is asked: that one, and no other is made ready. A GPU
    /// asked for by name is not replaced.
    pub fn processor_for(&self, what: &str) -> Result<Device, Failure> {
        match self.shared.device.as_str() {
            "auto" | "cpu" => Ok(Device::cpu(Precision::F64)),
            name if name.starts_with("cuda") => {
                Err(bad_usage(format!("{what} runs on the processor alone, in f64, not on {name}; use --device cpu")))
            }
            name => Err(bad_usage(DeviceError::Unknown { name: name.into() })),
        }
    }

    /// The precision asked for.
    pub fn precision(&self) -> Precision {
        self.shared.precision
    }

    /// The type of the particles in files: that of the arithmetic.
    pub fn float(&self) -> Float {
        match self.precision() {
            Precision::F32 => Float::F32,
            Precision::F64 => Float::F64,
        }
    }

    /// The folder for results, or `default`; none when neither is given.
    pub fn folder(&self, default: Option<&str>) -> Result<Option<Folder>, Failure> {
        let path = self.shared.out.as_deref().or(default.map(Path::new));
        path.map(|path| Folder::open(path, self.not_finite.clone())).transpose()
    }

    /// Does `work`, which keeps a checkpoint in the folder for results, or in `default`: from the start, or with --resume from where
    /// it was left. Without a folder there is none.
    pub fn resumable(
        &self,
        command: &str,
        default: Option<&str>,
        device: &Device,
        work: impl FnOnce(&mut Checkpoint) -> Result<ExitCode, Failure>,
    ) -> Result<ExitCode, Failure> {
        let folder = self.shared.out.as_deref().or(default.map(Path::new));
        let mut checkpoint = match folder.map(|folder| folder.join(CHECKPOINT)) {
            Some(path) if self.shared.resume => CheckpointFile::new(path, self.identity(command, device)?).resume()?,
            Some(path) => CheckpointFile::new(path, self.identity(command, device)?).begin(),
            None if self.shared.resume => {
                return Err(bad_usage("a checkpoint lies in the folder of the run; say which with --out DIR"));
            }
            None => Checkpoint::none(),
        };
        let ended = work(&mut checkpoint);
        match &ended {
            Ok(_) => checkpoint.remove(),
            Err(_) if signal::interrupted() => {
                checkpoint.write().map_err(|error| -> Failure { error })?;
                if let Some(folder) = folder {
                    let folder = folder.display();
                    self.note(&format!("a checkpoint is in {folder}: the same command line with --resume goes on from there"));
                }
            }
            Err(_) => {}
        }
        ended
    }

    /// What a run depends on: its command line, the files it names, the version and the device.
    fn identity(&self, command: &str, device: &Device) -> Result<Map<String, Value>, Failure> {
        let mut identity = self.inputs.clone();
        identity.remove("threads"); // no result depends on it
        let words = self.inputs.get(COMMAND).and_then(Value::as_str).and_then(shlex::split).unwrap_or_default();
        let inputs = self.inputs.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
        let lists = self.inputs.values().filter_map(Value::as_array).flatten().filter_map(Value::as_str);
        for (key, path) in inputs.chain(lists.chain(words.iter().map(String::as_str)).map(|word| (word, word))) {
            if Path::new(path).is_file() {
                identity.insert(format!("contents of {key}"), checksum(File::open(path)?)?.into());
            }
        }
        let about = [("command", command), ("version", env!("CARGO_PKG_VERSION")), ("device", device.name())];
        identity.extend(about.map(|(key, value)| (key.to_owned(), value.into())));
        Ok(identity)
    }

    /// A sentence that a person should see, unless they asked for quiet.
    pub fn note(&self, words: &str) {
        if !self.shared.quiet {
            output::say(words);
        }
    }

    /// Whether progress is shown.
    pub fn shows_progress(&self) -> bool {
        !self.shared.quiet && !self.shared.json && io::stderr().is_terminal()
    }

    /// Seconds since the process started.
    pub fn wall_seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Ends the run: `run.json` into `folder`, the same or the summary on stdout. Where the command wrote a number that is not finite
    /// the record is flagged and the count said, and with --strict it has failed.
    pub fn finish<R: Serialize>(&self, record: &R, folder: Option<&Folder>, summary: &str) -> Result<ExitCode, Failure> {
        let not_finite = self.not_finite.words();
        let json = match not_finite {
            Some(_) => serde_json::to_string_pretty(&Printed { record: &flagged(record)?, inputs: &self.inputs })?,
            None => serde_json::to_string_pretty(&Printed { record, inputs: &self.inputs })?,
        };
        if let Some(folder) = folder {
            folder.text("run.json", &format!("{json}\n"))?;
        }
        output::print(if self.shared.json { &json } else { summary })?;
        if let Some(folder) = folder {
            self.note(&format!("written to {}", folder.path().display()));
        }
        match not_finite {
            Some(words) if self.shared.strict => {
                output::error(&words);
                Ok(ExitCode::FAILURE)
            }
            Some(words) => {
                self.note(&words);
                Ok(ExitCode::SUCCESS)
            }
            None => Ok(ExitCode::SUCCESS),
        }
    }

    /// Ends the run of a solver; `unconverged` says why its result is not final, which is an error with --strict.
    pub fn finish_solve<R: Serialize>(
        &self,
        record: &R,
        folder: Option<&Folder>,
        summary: &str,
        unconverged: Option<&str>,
    ) -> Result<ExitCode, Failure> {
        let fails = self.shared.strict && unconverged.is_some();
        match unconverged {
            Some(words) if fails => output::error(words),
            Some(words) => self.note(words),
            None => {}
        }
        let code = self.finish(record, folder, summary)?;
        Ok(if fails { ExitCode::FAILURE } else { code })
    }
}

/// The record with [`NOT_FINITE`] among its flags.
fn flagged<R: Serialize>(record: &R) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(record)?;
    if let Some(flags) = value.as_object_mut().and_then(|record| {
        let flags = record.entry("flags").or_insert_with(|| Value::Array(Vec::new()));
        flags.as_array_mut()
    }) && !flags.contains(&NOT_FINITE.into())
    {
        flags.push(NOT_FINITE.into());
    }
    Ok(value)
}
