//! Models as fields: networks of our own, and ONNX files and programs with the flags, or what they say themselves, that tell what they
//! predict.

use std::path::Path;
use std::time::Duration;

use brenier::field::signature::Clock;
use brenier::field::{Conditional, Conditions, Field, Server, Signature};
use brenier::io::{is_network, read_network};
use brenier::path::{Prediction, Schedule};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::condition::Under;
use crate::flags::bad_usage;
#[cfg(feature = "onnx")]
use crate::memory;
use crate::session::Session;
use crate::{Failure, values};

const ENDING: &str = "onnx";
/// The version of the file beside a model.
const VERSION: i64 = 1;
/// Seconds that a program has for an answer.
const TIMEOUT: f64 = 300.0;
/// Relative change of its outputs from which on a model is another.
#[cfg(feature = "onnx")]
const CHECK: f64 = 0.01;

/// The share of the free memory that the calls of a model may take is one by this: the runtime keeps up to twice what it uses.
#[cfg(feature = "onnx")]
const MEMORY: u64 = 4;

/// The prediction that has no level.
pub const ENERGY: &str = "energy";
/// The flag that names a program, which a file may give only where the command line allows it.
pub const COMMAND: &str = "field_command";

/// What the model in an ONNX file or of a program predicts, and how it is told the time; MODEL.toml beside a file and the greeting of a
/// program have the same keys.
#[derive(Args, Clone, Default, Deserialize, PartialEq, Serialize)]
#[command(next_help_heading = "Models in ONNX files, and models that a program serves")]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ModelFlags {
    #[arg(skip)]
    version: i64,
    /// A program that serves the model, and its arguments: it is started without a shell, and asked as docs/servers.md says
    #[arg(long, value_name = "CMD", conflicts_with = "inputs")]
    #[serde(skip)]
    field_command: Option<String>,
    /// Seconds that the program may take to greet, and for each answer [default: 300]
    #[arg(long, value_name = "S", requires = COMMAND, allow_negative_numbers = true, value_parser = values::positive)]
    #[serde(skip)]
    field_timeout: Option<f64>,
    /// What the model predicts; this and the flags below are written to MODEL.toml, and need not be given again
    #[arg(long, value_name = "P", value_parser = values::predictions())]
    #[serde(skip_serializing_if = "Option::is_none")]
    prediction: Option<String>,
    #[arg(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<String>,
    /// The time that it takes [default: index on ddpm, ddpm-cosine and scaled-linear, else t]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<Clock>,
    /// The clock runs the other way: t is 1 at noise, an index counts from the noise, a log-SNR has the other sign
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    clock_reverse: bool,
    /// Factor of the clock, such as 1000 for a model that takes 1000 t [default: 1]
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = values::positive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_scale: Option<f64>,
    /// Names of its inputs where shapes do not tell, as x=NAME,time=NAME,condition=NAME
    #[arg(long, value_name = "NAMES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<String>,
    /// What stands for no condition where it takes one: a class, its numbers with commas between them, or a file of them; one number
    /// is all of them
    #[arg(long, value_name = "U", allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    unconditional: Option<String>,
    /// RMS of the model's outputs when the file was written.
    #[arg(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<f64>,
}

/// Whether `path` holds a model: a network of our own, or one in an ONNX file.
pub fn is_model(path: &Path) -> Result<bool, Failure> {
    Ok(is_onnx(path) || is_network(path)?)
}

/// Whether `path` ends as ONNX files do.
pub fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case(ENDING))
}

impl ModelFlags {
    /// The model at `path`, for which [`is_model`] holds; one in an ONNX file was trained on `schedule` unless these flags, or the file
    /// beside it, name another.
    pub fn open(&self, path: &Path, schedule: Option<&str>, session: &Session) -> Result<Under, Failure> {
        if is_onnx(path) {
            return self.open_onnx(path, schedule, session);
        }
        self.refuse(path)?;
        let (network, name) = (read_network(path)?, path.display().to_string());
        Ok(Box::new(move |conditions| match conditions {
            None => Ok(Field::Network(network.clone())),
            Some(given) => {
                let under = network.under(given);
                Ok(Field::Network(under.map_err(|error| format!("{name}: {error}"))?))
            }
        }))
    }

    /// Refuses the flags where the field is not a model in an ONNX file.
    pub fn refuse(&self, path: &Path) -> Result<(), Failure> {
        if *self == Self::default() {
            return Ok(());
        }
        let name = path.display();
        Err(bad_usage(format!(
            "--prediction, --clock, --clock-reverse, --clock-scale, --inputs, --unconditional and --field-timeout describe a model in an ONNX file or behind --field-command, and {name} is not one; leave them out"
        )))
    }

    #[cfg(not(feature = "onnx"))]
    fn open_onnx(&self, path: &Path, _: Option<&str>, _: &Session) -> Result<Under, Failure> {
        let name = path.display();
        Err(format!("{name}: this program was built without ONNX; build it with the feature \"onnx\"").into())
    }

    #[cfg(feature = "onnx")]
    fn open_onnx(&self, path: &Path, schedule: Option<&str>, session: &Session) -> Result<Under, Failure> {
        use brenier::field::Onnx;

        let beside = path.with_extension("toml");
        let (name, kept) = (path.display().to_string(), Self::read(&beside)?);
        let mut all = self.over(kept.clone().unwrap_or_default());
        if all.prediction.as_deref() == Some(ENERGY) {
            return Err(bad_usage(format!(
                "{name}: an ONNX file has no gradient of its energy; export that, as a score of opposite sign"
            )));
        }
        let (signature, words) = all.signature(&name, schedule)?;
        let inputs = all.inputs.as_deref().map(inputs).transpose()?.unwrap_or_default();
        let model = Onnx::open(path, signature, &inputs)?;
        let model = match memory::free() {
            Some(free) => model.within(free / MEMORY)?,
            None => model,
        };
        let rows = crate::output::counted(model.points_of_a_call(), "point");
        session.note(&format!("{name}: {words}; takes {}, {rows} a call", model.describe()));
        let found = model.check()?;
        if !found.is_finite() {
            return Err(format!(
                "{name}: its predictions for normal points are not finite in the middle of the schedule; train or export it again"
            )
            .into());
        }
        match kept {
            None => {
                all.check = Some(found);
                all.write(&beside, session);
            }
            // It is often said later than the rest.
            Some(kept) if all.unconditional.is_some() && kept == (Self { unconditional: None, ..all.clone() }) => {
                all.write(&beside, session);
            }
            Some(kept) if kept != all => {
                session.note(&format!(
                    "{} says otherwise, and the flags win for this run; change the file to keep them",
                    beside.display()
                ));
            }
            Some(Self { check: Some(kept), .. }) if (kept - found).abs() > CHECK * kept.abs() => {
                return Err(format!(
                    "{name}: its outputs are of size {found:.4}, and were {kept:.4} when {} was written; it is another model: check the keys there, and remove \"check\"",
                    beside.display()
                )
                .into());
            }
            Some(_) => {}
        }
        under(model, name, all.unconditional.as_deref())
    }

    /// The program that serves the model.
    pub fn command(&self) -> Option<&str> {
        self.field_command.as_deref()
    }

    /// The model that a program serves, where one is named, as [`Self::open`] has one in a file.
    pub fn serve(&self, schedule: Option<&str>, session: &Session) -> Result<Option<Under>, Failure> {
        let Some(command) = self.command() else { return Ok(None) };
        let argv = shlex::split(command).filter(|argv| !argv.is_empty());
        let argv =
            argv.ok_or_else(|| bad_usage(format!("--field-command {command}: it names no program, or a quote is not closed")))?;
        let limit = Duration::try_from_secs_f64(self.field_timeout.unwrap_or(TIMEOUT)).unwrap_or(Duration::MAX);
        let server = Server::start(&argv, limit)?;
        let greeting = server.greeting();
        let mut all = self.over(Self {
            prediction: greeting.prediction.clone(),
            schedule: greeting.schedule.clone(),
            clock: greeting.clock,
            clock_reverse: greeting.clock_reverse,
            clock_scale: greeting.clock_scale,
            unconditional: greeting.unconditional.clone(),
            ..Self::default()
        });
        let (served, words) = if all.prediction.as_deref() == Some(ENERGY) {
            (server.energy()?, "gives an energy and its gradient at the data".into())
        } else {
            let (signature, words) = all.signature(command, schedule)?;
            (server.predicting(signature)?, words)
        };
        session.note(&format!("{command}: {words}; takes {}", served.describe()));
        under(served, command.to_owned(), all.unconditional.as_deref()).map(Some)
    }

    /// What the flags say of the model `name`, trained on `schedule` unless they name another, and that in words.
    fn signature(&mut self, name: &str, schedule: Option<&str>) -> Result<(Signature, String), Failure> {
        self.schedule = self.schedule.take().or(schedule.map(str::to_owned));
        // Kept too, so that a schedule given later is one to run on.
        if self.prediction.as_deref() == Some("velocity") {
            self.schedule.get_or_insert("condot".into());
        }
        let Some(prediction) = &self.prediction else {
            return Err(bad_usage(format!("{name}: say what the model predicts, with --prediction eps|x0|v|velocity|score")));
        };
        let Some(trained_on) = &self.schedule else {
            return Err(bad_usage(format!(
                "{name}: say which schedule the model was trained on, with --schedule S, such as linear-vp, ddpm or condot"
            )));
        };
        let schedule = Schedule::parse(trained_on)?;
        let usual = if matches!(schedule, Schedule::Table(_)) { Clock::Index } else { Clock::T };
        let (clock, scale) = (self.clock.unwrap_or(usual), self.clock_scale.unwrap_or(1.0));
        let shown = clock.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let reversed = if self.clock_reverse { ", reversed" } else { "" };
        let words = format!("predicts {prediction}, trained on {trained_on}, told the time as {scale} x {shown}{reversed}");
        let signature = Signature::new(Prediction::named(prediction)?, schedule, clock, self.clock_reverse, scale)?;
        Ok((signature, words))
    }

    /// These flags for a model trained on `schedule`, whatever the file beside it says.
    pub fn trained_on(&self, schedule: Option<&str>) -> Self {
        Self { schedule: schedule.map(str::to_owned), ..self.clone() }
    }

    /// These flags, and those `kept` with the model where they are not given.
    fn over(&self, kept: Self) -> Self {
        Self {
            version: VERSION,
            field_command: None,
            field_timeout: None,
            prediction: self.prediction.clone().or(kept.prediction),
            schedule: self.schedule.clone().or(kept.schedule),
            clock: self.clock.or(kept.clock),
            clock_reverse: self.clock_reverse || kept.clock_reverse,
            clock_scale: self.clock_scale.or(kept.clock_scale),
            inputs: self.inputs.clone().or(kept.inputs),
            unconditional: self.unconditional.clone().or(kept.unconditional),
            check: kept.check,
        }
    }

    /// The keys in the file beside a model, if there is one.
    #[cfg(feature = "onnx")]
    fn read(beside: &Path) -> Result<Option<Self>, Failure> {
        if !beside.exists() {
            return Ok(None);
        }
        let (text, name) = (brenier::io::read_text(beside)?, beside.display());
        let refused = |cause: toml::de::Error| format!("{name}: {}", cause.message());
        let table: toml::Table = text.parse().map_err(refused)?;
        match table.get("version").and_then(toml::Value::as_integer) {
            Some(VERSION) => Ok(Some(table.try_into().map_err(refused)?)),
            Some(other) => {
                Err(format!("{name}: it is of version {other}, and this program reads version {VERSION}; write it again").into())
            }
            None => Err(format!("{name}: it begins with version = {VERSION}").into()),
        }
    }

    /// Keeps the keys beside the model; a folder that cannot be written to is not a reason to stop.
    #[cfg(feature = "onnx")]
    fn write(&self, beside: &Path, session: &Session) {
        let text = toml::to_string(self).map_err(|cause| cause.to_string());
        match text.and_then(|text| std::fs::write(beside, text).map_err(|cause| cause.to_string())) {
            Ok(()) => session.note(&format!("{} keeps what was said of the model", beside.display())),
            Err(cause) => session.note(&format!("{} could not be written: {cause}", beside.display())),
        }
    }
}

/// The inputs that `text` names, as x=NAME,time=NAME,condition=NAME.
#[cfg(feature = "onnx")]
fn inputs(text: &str) -> Result<brenier::field::Inputs, Failure> {
    let mut inputs = brenier::field::Inputs::default();
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("x", name)) => inputs.points = Some(name.into()),
            Some(("time", name)) => inputs.time = Some(name.into()),
            Some(("condition", name)) => inputs.condition = Some(name.into()),
            _ => return Err(bad_usage(format!("--inputs takes x=NAME,time=NAME,condition=NAME, and not \"{part}\""))),
        }
    }
    Ok(inputs)
}

/// The model called `name` under conditions, or under what `none` says to stand for none.
fn under(model: impl Conditional, name: String, none: Option<&str>) -> Result<Under, Failure> {
    let width = model.condition_width();
    let none = none.map(|text| unconditional(text, width)).transpose()?;
    let none = none.map(|none| model.under(none)).transpose().map_err(|error| format!("{name}: {error}"))?;
    Ok(Box::new(move |conditions| match (conditions, &none) {
        (Some(conditions), _) => {
            let under = model.under(conditions.clone());
            Ok(Field::given(under.map_err(|error| format!("{name}: {error}"))?))
        }
        (None, Some(unconditional)) => Ok(Field::given(unconditional.clone())),
        (None, None) if width.is_some() => Err(format!(
            "{name} is asked without a condition, and takes one: say with --unconditional what stands for none, or give \
             --condition FILE"
        )
        .into()),
        (None, None) => Ok(Field::given(model.clone())),
    }))
}

/// What `text` says to stand for no condition, of `width` numbers.
fn unconditional(text: &str, width: Option<usize>) -> Result<Conditions, Failure> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    let values = match (numbers, width) {
        (Some(numbers), Some(width)) if numbers.len() == 1 => vec![numbers[0]; width],
        (Some(numbers), _) => numbers,
        (None, _) => brenier::io::read_array(Path::new(text), "condition")?.values,
    };
    let width = values.len();
    Ok(Conditions::new(values, width).map_err(|error| format!("--unconditional {text}: {error}"))?)
}
