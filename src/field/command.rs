//! A model that stays where it is: a program that predicts, asked over its standard input and output, with the numbers in a file that
//! both map.
//!
//! The protocol, version 1: lines of JSON over the pipes, one answer to each question.
//!
//! ```text
//! server    {"brenier": 1, "shape": [3, 32, 32]}                                        once it is ready
//! brenier   {"call": 0, "file": "/dev/shm/brenier-x1", "rows": 85, "points": 0, "predictions": 1044480}
//! server    {"call": 0}                                                                 once it has mapped the file
//! brenier   {"call": 1, "n": 64, "time": 0.25, "alpha": 0.25, "sigma": 0.75}
//! server    {"call": 1, "shape": [64, 3, 32, 32]}                                       once the predictions are there
//! ```
//!
//! In the file, `rows` points begin at the byte `points` and as many predictions at `predictions`, row-major floats in the order of the
//! machine. A call is about the first `n` points. `{"error": "a sentence"}` may stand for any answer. The end of its input tells the
//! server to end. [`Greeting`] has all that a server may say of itself.
//!
//! What the server writes to its standard error goes to the log, and its last lines into an error. It ends with this process, and the
//! file loses its name as soon as both have mapped it, so neither outlives the run.

mod arrays;
mod process;

use std::error::Error;
use std::fmt::Display;
use std::iter::repeat_n;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use crate::field::potential::only_at_data;
use crate::field::signature::Clock;
use crate::field::{Batch, ConditionError, Conditional, Conditions, HostField, Signature};
use crate::path::{Level, Prediction, Schedule};

use arrays::{Arrays, Element};
use process::{Mute, Process, readable};

/// The version of the protocol.
const VERSION: u64 = 1;
/// Coordinates in one call, unless the server takes fewer points: enough that what a call costs beside the model does not count.
const COORDINATES: usize = 1 << 18;
/// Coordinates of one point at most.
const LARGEST: usize = 1 << 28;
/// What is wrong with a line that was not meant for this program.
const NOT_JSON: &str = "that is not JSON; only answers go to standard output, so have it print everything else to standard error";
/// Characters of a line that is not what was due, and of a sentence, that are shown.
const LINE_SHOWN: usize = 120;
const SENTENCE_SHOWN: usize = 1000;
/// The arrays in the file.
const POINTS: usize = 0;
const PREDICTIONS: usize = 1;
const ENERGIES: usize = 2;
const CONDITIONS: usize = 3;

/// A program that has said what it serves.
pub struct Server {
    command: String,
    talk: Talk,
    greeting: Greeting,
}

/// A program that answers in lines.
struct Talk {
    process: Process,
    limit: Duration,
}

/// What a server says of itself. Only the first two keys are needed; the others may also be said to the user of the field.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Greeting {
    /// The version of the protocol.
    brenier: u64,
    /// The shape of one point, as C × H × W of a picture.
    pub shape: Vec<usize>,
    /// The type of the numbers in the file: `f32`, which is the default, or `f64`.
    #[serde(default)]
    precision: Element,
    /// The most points that it takes in one call.
    batch: Option<usize>,
    /// Numbers of the condition of a point, 1 of a class, where it takes one.
    condition: Option<usize>,
    /// What stands for no condition: a class, or numbers with commas between them.
    pub unconditional: Option<String>,
    /// What it predicts: `eps`, `x0`, `v`, `velocity`, `score` or `energy`.
    pub prediction: Option<String>,
    /// The schedule that it was trained on.
    pub schedule: Option<String>,
    /// The time that it takes.
    pub clock: Option<Clock>,
    /// Whether the clock runs the other way.
    #[serde(default)]
    pub clock_reverse: bool,
    /// The factor of the clock.
    pub clock_scale: Option<f64>,
}

/// A server as a field; clones share it.
#[derive(Clone)]
pub struct Served {
    command: String,
    asked: Arc<Mutex<Asked>>,
    dim: usize,
    rows: usize,
    /// None of an energy, whose answers are ∇V, with V itself, at the data.
    signature: Option<Signature>,
    /// Numbers of a condition.
    width: Option<usize>,
    conditions: Option<Conditions>,
}

/// A server with the arrays that it shares, asked by one caller at a time.
struct Asked {
    talk: Talk,
    arrays: Arrays,
    shape: Vec<usize>,
    calls: u64,
}

/// A program that does not give a field, or gives it no more.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{command}: {fault}")]
pub struct CommandError {
    /// The program and its arguments.
    pub command: String,
    /// What is wrong with it.
    pub fault: CommandFault,
}

/// What is wrong with a program that should serve a field.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum CommandFault {
    /// It cannot be started.
    #[error("it cannot be started: {cause}; give a program that is in PATH, or the path of one, and its arguments")]
    Start {
        /// What the system says.
        cause: String,
    },
    /// It ended.
    #[error("it ended{status} where {due} was due{last_words}")]
    Ended {
        /// How, where that is known.
        status: String,
        /// What it owed.
        due: String,
        /// The end of its standard error.
        last_words: String,
    },
    /// It took too long.
    #[error("{due} did not come within {seconds} s; give it longer with --field-timeout, or end what it waits for{last_words}")]
    Silent {
        /// What it owed.
        due: String,
        /// How long it had.
        seconds: f64,
        /// The end of its standard error.
        last_words: String,
    },
    /// It wrote something else than an answer.
    #[error("it wrote \"{line}\" where {due} was due: {cause}")]
    Line {
        /// The line.
        line: String,
        /// What it owed.
        due: String,
        /// What is wrong with the line.
        cause: String,
    },
    /// It speaks another version.
    #[error("it speaks version {found} of the protocol, and this program version {VERSION}; write the server for that one")]
    Version {
        /// Its version.
        found: String,
    },
    /// It serves no points.
    #[error(
        "it takes {found}; it needs extents above zero, at most {LARGEST} numbers a point, at least one point a call, and one number a condition"
    )]
    Points {
        /// What it takes.
        found: String,
    },
    /// No memory can be shared with it.
    #[error("no file can be shared with it: {cause}; make room in the folder for temporary files")]
    Arrays {
        /// What the system says.
        cause: String,
    },
    /// An error of its own.
    #[error("{0}")]
    Said(String),
    /// It answers another call.
    #[error("it answered call {found} when it was asked call {call}; it must answer each call once, with the call's number")]
    Call {
        /// The call answered.
        found: u64,
        /// The call asked.
        call: u64,
    },
    /// Its predictions have another shape than the points.
    #[error("its predictions have shape {found:?} and the points {points:?}; a prediction has the shape of its points")]
    Shape {
        /// The shape of the predictions.
        found: Vec<usize>,
        /// The shape of the points.
        points: Vec<usize>,
    },
    /// The file is no longer what was mapped.
    #[error("it changed the size of the shared file; have it open the file for reading and writing as it is")]
    Resized,
    /// A prediction that is not a number, or was not written.
    #[error("of call {call}{time} the prediction for point {point} is not finite, or was not written")]
    NotFinite {
        /// The call.
        call: u64,
        /// Its time, in words.
        time: String,
        /// The row of the point.
        point: usize,
    },
}

/// An answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    call: u64,
    shape: Option<Vec<usize>>,
}

impl Server {
    /// Starts `argv`, a program and its arguments, and waits for its greeting; it has `limit` for that, and for each answer.
    ///
    /// # Errors
    /// [`CommandError`] when the program does not start or greets otherwise than the protocol says.
    pub fn start(argv: &[String], limit: Duration) -> Result<Self, CommandError> {
        let start = |cause: String| CommandFault::Start { cause };
        let greeted = || {
            let (program, arguments) = argv.split_first().ok_or_else(|| start("no program is named".into()))?;
            let process = Process::start(program, arguments).map_err(|cause| start(cause.to_string()))?;
            let mut talk = Talk { process, limit };
            let greeting = talk.greeting()?;
            Ok((talk, greeting))
        };
        let command = argv.join(" ");
        match greeted() {
            Ok((talk, greeting)) => Ok(Self { command, talk, greeting }),
            Err(fault) => Err(CommandError { command, fault }),
        }
    }

    /// What it says of itself.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// The field of its predictions, which `signature` describes.
    ///
    /// # Errors
    /// [`CommandError`] when it does not take the shared file.
    pub fn predicting(self, signature: Signature) -> Result<Served, CommandError> {
        self.serve(Some(signature))
    }

    /// The field of π ∝ e^{−V} at the data, for methods that stay there, from its answers ∇V and V.
    ///
    /// # Errors
    /// As [`Server::predicting`].
    pub fn energy(self) -> Result<Served, CommandError> {
        self.serve(None)
    }

    fn serve(self, signature: Option<Signature>) -> Result<Served, CommandError> {
        let Self { command, mut talk, greeting: Greeting { shape, precision, batch, condition: width, .. } } = self;
        let dim = shape.iter().product::<usize>();
        let rows = (COORDINATES / dim.max(width.unwrap_or(1))).max(1).min(batch.unwrap_or(usize::MAX));
        let energies = if signature.is_none() { rows } else { 0 };
        let shared = Arrays::new(precision, &[rows * dim, rows * dim, energies, rows * width.unwrap_or(0)])
            .map_err(|cause| CommandFault::Arrays { cause: cause.to_string() })
            .and_then(|arrays| talk.share(arrays, rows, [energies > 0, width.is_some()]));
        match shared {
            Ok(arrays) => {
                let asked = Arc::new(Mutex::new(Asked { talk, arrays, shape, calls: 0 }));
                Ok(Served { command, asked, dim, rows, signature, width, conditions: None })
            }
            Err(fault) => Err(CommandError { command, fault }),
        }
    }
}

impl Talk {
    /// The first line.
    fn greeting(&mut self) -> Result<Greeting, CommandFault> {
        const DUE: &str = "its greeting";
        let (line, value) = self.hear(DUE)?;
        match value.get("brenier") {
            Some(version) if *version == VERSION => {}
            Some(other) => return Err(CommandFault::Version { found: other.to_string() }),
            None => return Err(odd(&line, DUE, format!("it begins with {{\"brenier\": {VERSION}}}"))),
        }
        let greeting: Greeting = serde_json::from_value(value).map_err(|cause| odd(&line, DUE, cause))?;
        let Greeting { shape, batch, condition, .. } = &greeting;
        let numbers = shape.iter().try_fold(1usize, |all, extent| all.checked_mul(*extent));
        let is_condition = matches!(condition, None | Some(1..=LARGEST));
        if !shape.is_empty() && matches!(numbers, Some(1..=LARGEST)) && *batch != Some(0) && is_condition {
            return Ok(greeting);
        }
        let most = batch.map_or(String::new(), |batch| format!(", at most {batch} in a call"));
        let with = condition.map_or(String::new(), |width| format!(", with a condition of {width} numbers"));
        Err(CommandFault::Points { found: format!("points of shape {shape:?}{most}{with}") })
    }

    /// Has it map `arrays` of `rows` points.
    fn share(&mut self, mut arrays: Arrays, rows: usize, [energies, conditions]: [bool; 2]) -> Result<Arrays, CommandFault> {
        let question = json!({
            "file": arrays.path().map(|path| path.to_string_lossy().into_owned()),
            "rows": rows,
            "points": arrays.start(POINTS),
            "predictions": arrays.start(PREDICTIONS),
            "energies": energies.then(|| arrays.start(ENERGIES)),
            "conditions": conditions.then(|| arrays.start(CONDITIONS)),
        });
        self.ask(0, question, "its answer to call 0, which names the file,")?;
        arrays.unlink();
        Ok(arrays)
    }

    /// The answer to `question`, which is call `call`; `due` is what an error says was awaited.
    fn ask(&mut self, call: u64, mut question: Value, due: &str) -> Result<Answer, CommandFault> {
        question["call"] = call.into();
        self.process.ask(&question.to_string());
        let (line, value) = self.hear(due)?;
        let answer: Answer = serde_json::from_value(value).map_err(|cause| odd(&line, due, cause))?;
        if answer.call == call { Ok(answer) } else { Err(CommandFault::Call { found: answer.call, call }) }
    }

    /// The next line, which is JSON and not an error.
    fn hear(&mut self, due: &str) -> Result<(Vec<u8>, Value), CommandFault> {
        let line = self.process.answer(self.limit).map_err(|mute| {
            let (due, last_words) = (due.to_owned(), self.last_words());
            match mute {
                Mute::Ended(status) => {
                    let status = status.map_or(String::new(), |status| format!(" ({status})"));
                    CommandFault::Ended { status, due, last_words }
                }
                Mute::Silent => CommandFault::Silent { due, seconds: self.limit.as_secs_f64(), last_words },
            }
        })?;
        let value: Value = serde_json::from_slice(&line).map_err(|_| odd(&line, due, NOT_JSON))?;
        match value.get("error") {
            Some(Value::String(sentence)) => Err(CommandFault::Said(readable(sentence.as_bytes(), SENTENCE_SHOWN))),
            Some(other) => Err(CommandFault::Said(other.to_string())),
            None => Ok((line, value)),
        }
    }

    fn last_words(&mut self) -> String {
        let words = self.process.last_words();
        if words.is_empty() { String::new() } else { format!("; its last words:\n  {}", words.join("\n  ")) }
    }
}

/// A line that is not what was due.
fn odd(line: &[u8], due: &str, cause: impl Display) -> CommandFault {
    CommandFault::Line { line: readable(line, LINE_SHOWN), due: due.into(), cause: cause.to_string() }
}

impl Asked {
    /// Asks about `points`, and reads the answers into `out`; `time` is none where the answers have no level.
    fn call(&mut self, points: &[f64], level: Level, time: Option<f64>, out: &mut [f64]) -> Result<(), CommandFault> {
        let dim = self.shape.iter().product::<usize>();
        let n = points.len() / dim;
        self.calls += 1;
        let (call, shape) = (self.calls, [&[n], &self.shape[..]].concat());
        let at = time.map_or(String::new(), |time| format!(" at time {time}"));
        self.arrays.write(POINTS, points.iter().copied());
        // What the server leaves unwritten is then found out.
        self.arrays.write(PREDICTIONS, repeat_n(f64::NAN, points.len()));
        let question = json!({"n": n, "time": time, "alpha": level.alpha, "sigma": level.sigma});
        let answer = self.talk.ask(call, question, &format!("its answer to call {call}, about {n} points{at},"))?;
        let found = answer.shape.unwrap_or_default();
        if found != shape {
            return Err(CommandFault::Shape { found, points: shape });
        }
        if !self.arrays.is_whole() {
            return Err(CommandFault::Resized);
        }
        self.arrays.read(PREDICTIONS, out);
        match out.iter().position(|value| !value.is_finite()) {
            Some(place) => Err(CommandFault::NotFinite { call, time: at, point: place / dim }),
            None => Ok(()),
        }
    }
}

impl Served {
    /// One sentence on what it takes.
    pub fn describe(&self) -> String {
        let asked = self.asked();
        let element = asked.arrays.element().name();
        let with = self
            .width
            .map_or(String::new(), |width| format!(", with a condition of {width} number{}", if width == 1 { "" } else { "s" }));
        format!("points of shape {:?} in {element}{with}, at most {} of them in a call", asked.shape, self.rows)
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Conditional for Served {
    fn condition_width(&self) -> Option<usize> {
        self.width
    }

    fn under(&self, conditions: Conditions) -> Result<Self, ConditionError> {
        let needed = self.width.ok_or(ConditionError::NotTaken)?;
        if conditions.width() == needed {
            Ok(Self { conditions: Some(conditions), ..self.clone() })
        } else {
            Err(ConditionError::Width { found: conditions.width(), needed })
        }
    }
}

impl HostField for Served {
    fn dim(&self) -> usize {
        self.dim
    }

    fn shape(&self) -> Vec<usize> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).shape.clone()
    }

    fn prediction(&self) -> Prediction {
        self.signature.as_ref().map_or(Prediction::Score, Signature::prediction)
    }

    fn schedule(&self) -> Option<&Schedule> {
        self.signature.as_ref().map(Signature::schedule)
    }

    fn predict(&self, batch: Batch<'_>, out: &mut [f64]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (time, sign) = match &self.signature {
            Some(signature) => (Some(signature.time(batch.level)?), signature.sign()),
            None => {
                only_at_data(batch.level)?;
                (None, -1.0)
            }
        };
        if self.width.is_some() && self.conditions.is_none() {
            return Err(format!("{}: it takes a condition; give one", self.command).into());
        }
        let (size, mut asked) = (self.rows * self.dim, self.asked());
        for (k, (points, out)) in batch.points.chunks(size).zip(out.chunks_mut(size)).enumerate() {
            if let Some(conditions) = &self.conditions {
                let first = batch.first + k * self.rows;
                let own = (first..first + points.len() / self.dim).flat_map(|particle| conditions.of(particle));
                asked.arrays.write(CONDITIONS, own.copied().collect::<Vec<f64>>().into_iter());
            }
            let asked = asked.call(points, batch.level, time, out);
            asked.map_err(|fault| CommandError { command: self.command.clone(), fault })?;
            out.iter_mut().for_each(|value| *value *= sign);
        }
        Ok(())
    }

    fn rounding(&self) -> f64 {
        self.asked().arrays.element().rounding()
    }

    fn is_regular_at_data(&self) -> bool {
        self.signature.as_ref().is_none_or(Signature::is_regular_at_data)
    }

    fn log_density(&self, level: Level, x: &[f64]) -> Option<f64> {
        // The particle, and so its condition, is not known here.
        if self.signature.is_some() || self.width.is_some() {
            return None;
        }
        only_at_data(level).ok()?;
        let (mut asked, mut energy, mut gradient) = (self.asked(), [0.0], vec![0.0; x.len()]);
        asked.call(x, level, None, &mut gradient).ok()?;
        asked.arrays.read(ENERGIES, &mut energy);
        Some(-energy[0])
    }
}
