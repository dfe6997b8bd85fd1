//! One entry of the index, and what it takes to read it.

use std::path::{Path, PathBuf};

use brenier::backend::{Device, Noise, Precision};
use brenier::field::Field;
use brenier::io::{read_array, read_measure};
use brenier::measure::{Measure, Mixture};
use brenier::program::{Op, Program};
use brenier::sampler::Observe;
use serde_json::Value;

/// Why a case does not pass.
pub enum Trouble {
    /// The library has no such method or option yet.
    Skip(String),
    /// A number is wrong.
    Fail(String),
}

pub fn skip<T>(why: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Skip(why.into()))
}

pub fn fail<T>(why: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Fail(why.into()))
}

/// The message of any error, as a failure.
pub fn failed(error: impl std::fmt::Display) -> Trouble {
    Trouble::Fail(error.to_string())
}

/// What a run gives: the state after each step, or at each requested time.
#[derive(Default)]
pub struct Produced {
    pub states: Vec<Vec<f64>>,
    /// Times of the states; empty when they are steps.
    pub times: Vec<f64>,
    /// The last state before its noise.
    pub mean: Option<Vec<f64>>,
    pub nfe: usize,
}

pub struct Case {
    folder: PathBuf,
    entry: Value,
    mixture: Option<Mixture>,
}

impl Case {
    /// All cases of the index in `folder`.
    pub fn all(folder: &Path) -> Result<Vec<Self>, String> {
        let path = folder.join("index.json");
        let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut index: Value = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let entries = index["cases"].as_array_mut().ok_or("the index has no cases")?;
        entries.drain(..).map(|entry| Self::new(folder, entry)).collect()
    }

    fn new(folder: &Path, entry: Value) -> Result<Self, String> {
        let mixture = match entry["mixture"].as_str() {
            None | Some("-") => None,
            Some(name) => {
                let path = folder.join(format!("mixture_{name}.json"));
                match read_measure(&path.display().to_string(), None, None).map_err(|error| error.to_string())? {
                    Measure::Law(mixture) => Some(mixture),
                    _ => return Err(format!("{} is not a mixture", path.display())),
                }
            }
        };
        Ok(Self { folder: folder.to_owned(), entry, mixture })
    }

    pub fn text(&self, key: &str) -> &str {
        self.entry[key].as_str().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.text("name")
    }

    pub fn kind(&self) -> &str {
        self.text("kind")
    }

    pub fn method(&self) -> &str {
        self.text("method")
    }

    pub fn entry(&self) -> &Value {
        &self.entry
    }

    pub fn params(&self) -> &Value {
        &self.entry["params"]
    }

    /// Whether the upstream behaviour `name` is to be reproduced.
    pub fn compat(&self, name: &str) -> bool {
        self.entry["compat"].as_array().is_some_and(|names| names.iter().any(|n| n == name))
    }

    pub fn mixture(&self) -> Result<&Mixture, Trouble> {
        self.mixture.as_ref().ok_or_else(|| failed("the case has no mixture"))
    }

    pub fn device() -> Device {
        Device::cpu(Precision::F64)
    }

    pub fn field(&self) -> Result<Field, Trouble> {
        Ok(Field::Mixture(self.mixture()?.clone()))
    }

    /// The array that `{array, in}` stands for; `rows` pick along the first axis.
    pub fn array(&self, at: &Value) -> Result<Vec<f64>, Trouble> {
        let name = at["array"].as_str().ok_or_else(|| failed(format!("{at} is no array")))?;
        let file = match at["in"].as_str() {
            Some("common") => format!("common_{}.npz", self.text("mixture")),
            _ => self.text("file").to_owned(),
        };
        let array = read_array(&self.folder.join(file), name).map_err(failed)?;
        match at["rows"].as_array() {
            None => Ok(array.values),
            Some(rows) => {
                let width = array.values.len() / array.shape.first().copied().unwrap_or(1).max(1);
                let row = |r: &Value| r.as_u64().map(|r| r as usize * width).and_then(|at| array.values.get(at..at + width));
                rows.iter()
                    .map(|r| row(r).ok_or_else(|| failed("a row is not there")))
                    .collect::<Result<Vec<_>, _>>()
                    .map(|r| r.concat())
            }
        }
    }

    /// A number of `params`; `null` is infinity.
    pub fn number(&self, key: &str) -> Result<f64, Trouble> {
        number(self.params(), key)
    }

    pub fn count(&self, key: &str) -> Result<usize, Trouble> {
        Ok(self.number(key)? as usize)
    }

    pub fn word(&self, key: &str) -> Result<&str, Trouble> {
        word(self.params(), key)
    }

    pub fn flag(&self, key: &str) -> bool {
        self.params()[key].as_bool().unwrap_or(false)
    }

    /// Compares our own grid with the one the entry has under `key`, if any.
    pub fn check(&self, key: &str, own: &[f64]) -> Result<(), Trouble> {
        let at = &self.params()[key];
        if at.is_null() {
            return Ok(());
        }
        let theirs = match at.as_array() {
            Some(list) => list.iter().filter_map(Value::as_f64).collect(),
            None => self.array(at)?,
        };
        let tolerance = at["tolerance"].as_f64().unwrap_or(1e-9);
        if own.len() != theirs.len() {
            return fail(format!("{key} has {} entries, not {}", own.len(), theirs.len()));
        }
        match own.iter().zip(&theirs).position(|(a, b)| a.is_nan() || (a - b).abs() > tolerance * b.abs().max(1.0)) {
            Some(i) => fail(format!("{key}[{i}] is {} and should be {}", own[i], theirs[i])),
            None => Ok(()),
        }
    }

    pub fn start(&self) -> Result<Vec<f64>, Trouble> {
        let at = &self.entry["start"];
        let scale = number(at, "scale")?;
        Ok(self.array(at)?.iter().map(|z| scale * z).collect())
    }

    /// All rows of noise, each n × d.
    pub fn noise(&self) -> Result<Vec<f64>, Trouble> {
        if self.entry["noise"].is_null() { Ok(Vec::new()) } else { self.array(&self.entry["noise"]) }
    }

    /// Runs `program` from the case's start with the case's noise.
    pub fn run(&self, program: &Program) -> Result<Produced, Trouble> {
        let (start, rows) = (self.start()?, self.noise()?);
        let mut noise = Vec::new();
        if self.entry["noise"]["rule"] == "per_step" {
            for (i, step) in program.steps.iter().enumerate() {
                for _ in step.ops.iter().filter(|op| matches!(op, Op::Draw { .. })) {
                    noise.extend_from_slice(
                        rows.get(i * start.len()..(i + 1) * start.len()).ok_or_else(|| failed("no noise left"))?,
                    );
                }
            }
        } else {
            noise = rows;
        }
        let mut states = Vec::new();
        let mut keep = |_: usize, state: &[f64]| {
            states.push(state.to_vec());
            true
        };
        let field = self.field()?;
        program.observed(&field, &start, Noise::Given(&noise), &Self::device(), Observe::States(&mut keep)).map_err(failed)?;
        Ok(Produced { states, nfe: program.nfe(), ..Produced::default() })
    }
}

pub fn number(of: &Value, key: &str) -> Result<f64, Trouble> {
    match &of[key] {
        Value::Null if of.get(key).is_some() => Ok(f64::INFINITY),
        value => value.as_f64().ok_or_else(|| failed(format!("{key} is not a number"))),
    }
}

pub fn word<'a>(of: &'a Value, key: &str) -> Result<&'a str, Trouble> {
    of[key].as_str().ok_or_else(|| failed(format!("{key} is no word")))
}
