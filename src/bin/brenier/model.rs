//! Models as fields: networks of our own, and ONNX files with the flags, or the file beside them, that say what they predict.

use std::path::Path;

use brenier::field::Field;
use brenier::field::signature::Clock;
use brenier::io::{is_network, read_network};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::flags::bad_usage;
use crate::session::Session;
use crate::{Failure, values};

const ENDING: &str = "onnx";
/// The version of the file beside a model.
#[cfg(feature = "onnx")]
const VERSION: u32 = 1;
/// Relative change of its outputs from which on a model is another.
#[cfg(feature = "onnx")]
const CHECK: f64 = 0.01;

/// What the model in an ONNX file predicts, and how it is told the time; MODEL.toml beside it has the same keys.
#[derive(Args, Clone, Default, Deserialize, PartialEq, Serialize)]
#[command(next_help_heading = "Models in ONNX files")]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ModelFlags {
    #[arg(skip)]
    version: u32,
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
    /// Names of its inputs where shapes do not tell, as x=NAME,time=NAME
    #[arg(long, value_name = "NAMES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<String>,
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
    /// The model at `path`, for which [`is_model`] holds. An ONNX model was trained on `schedule` unless the file beside it names another.
    pub fn open(&self, path: &Path, schedule: Option<&str>, session: &Session) -> Result<Field, Failure> {
        if is_onnx(path) {
            return self.open_onnx(path, schedule, session);
        }
        self.refuse(path)?;
        Ok(Field::Network(read_network(path)?))
    }

    /// Refuses the flags where the field is not a model in an ONNX file.
    pub fn refuse(&self, path: &Path) -> Result<(), Failure> {
        if *self == Self::default() {
            return Ok(());
        }
        let name = path.display();
        Err(bad_usage(format!(
            "--prediction, --clock, --clock-reverse, --clock-scale and --inputs describe a model in an ONNX file, and {name} is not one; leave them out"
        )))
    }

    #[cfg(not(feature = "onnx"))]
    fn open_onnx(&self, path: &Path, _: Option<&str>, _: &Session) -> Result<Field, Failure> {
        let name = path.display();
        Err(format!("{name}: this program was built without ONNX; build it with the feature \"onnx\"").into())
    }

    #[cfg(feature = "onnx")]
    fn open_onnx(&self, path: &Path, schedule: Option<&str>, session: &Session) -> Result<Field, Failure> {
        use brenier::field::{Onnx, Signature};
        use brenier::path::{Prediction, Schedule};

        let beside = path.with_extension("toml");
        let kept = Self::read(&beside)?;
        let (name, is_new) = (path.display(), kept.is_none());
        let mut all = self.over(kept.unwrap_or_default());
        all.schedule = all.schedule.or(schedule.map(str::to_owned));
        let Some(prediction) = &all.prediction else {
            return Err(bad_usage(format!("{name}: say what the model predicts, with --prediction eps|x0|v|velocity|score")));
        };
        let prediction = Prediction::named(prediction)?;
        let schedule = match &all.schedule {
            Some(schedule) => Schedule::parse(schedule)?,
            None if prediction == Prediction::Velocity => Schedule::CondOt,
            None => {
                return Err(bad_usage(format!(
                    "{name}: say which schedule the model was trained on, with --schedule S, such as linear-vp, ddpm or condot"
                )));
            }
        };
        let usual = if matches!(schedule, Schedule::Table(_)) { Clock::Index } else { Clock::T };
        let (clock, scale) = (all.clock.unwrap_or(usual), all.clock_scale.unwrap_or(1.0));
        let signature = Signature::new(prediction, schedule, clock, all.clock_reverse, scale)?;
        let inputs = all.inputs.as_deref().map(inputs).transpose()?.unwrap_or_default();
        let model = Onnx::open(path, signature, &inputs)?;
        session.note(&format!("{name}: {}", model.describe()));
        let found = model.check()?;
        if let Some(kept) = all.check.filter(|kept| (kept - found).abs() > CHECK * kept.abs()) {
            return Err(format!(
                "{name}: its outputs are of size {found:.4}, and were {kept:.4} when {} was written; it is another model: check the keys there, and remove \"check\"",
                beside.display()
            )
            .into());
        }
        if is_new {
            all.check = Some(found);
            all.write(&beside, session);
        }
        Ok(Field::given(model))
    }

    /// These flags, and those `kept` beside the model where they are not given.
    #[cfg(feature = "onnx")]
    fn over(&self, kept: Self) -> Self {
        Self {
            version: VERSION,
            prediction: self.prediction.clone().or(kept.prediction),
            schedule: kept.schedule,
            clock: self.clock.or(kept.clock),
            clock_reverse: self.clock_reverse || kept.clock_reverse,
            clock_scale: self.clock_scale.or(kept.clock_scale),
            inputs: self.inputs.clone().or(kept.inputs),
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
        let kept: Self = toml::from_str(&text).map_err(|cause| format!("{name}: {}", cause.message()))?;
        match kept.version {
            VERSION => Ok(Some(kept)),
            other => {
                Err(format!("{name}: it is of version {other}, and this program reads version {VERSION}; write it again").into())
            }
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

/// The inputs that `text` names, as x=NAME,time=NAME.
#[cfg(feature = "onnx")]
fn inputs(text: &str) -> Result<brenier::field::Inputs, Failure> {
    let mut inputs = brenier::field::Inputs::default();
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("x", name)) => inputs.points = Some(name.into()),
            Some(("time", name)) => inputs.time = Some(name.into()),
            _ => return Err(bad_usage(format!("--inputs takes x=NAME,time=NAME, and not \"{part}\""))),
        }
    }
    Ok(inputs)
}
