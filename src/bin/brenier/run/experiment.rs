//! An experiment: a statement, the runs that show it, and what is expected of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use brenier::io::{Array, read_array};
use brenier::nearest;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value};
use serde::Serialize;
use serde_json::Value as Json;
use toml::{Table, Value as Toml};

use super::Beside;
use crate::flags::bad_usage;
use crate::formula::{self, Formula};
use crate::output::{self, columns, counted, number, seconds};
use crate::session::Session;
use crate::{Failure, signal};

/// The version of the format.
const VERSION: i64 = 1;
/// The keys of a file and of an expectation.
pub const KEYS: [&str; 7] = ["version", "title", "statement", "exact", "approximate", "run", "expect"];
const EXPECT_KEYS: [&str; 4] = ["value", "low", "high", "short"];
/// Flags of the experiment itself, which its runs do not take.
pub const OWN_FLAGS: [&str; 4] = ["out", "json", "quiet", "resume"];
/// What stands for the folder of the file in a run.
const FOLDER_OF_FILE: &str = "folder";
/// Where results go unless --out says.
const FOLDER: &str = "brenier-out/run";

/// An experiment as a file describes it.
pub struct Experiment {
    file: PathBuf,
    title: String,
    statement: String,
    exact: String,
    approximate: String,
    short: bool,
    folder: PathBuf,
    /// Name, and the command line without the flags of output.
    runs: Vec<(String, Vec<OsString>)>,
    expectations: Vec<Expectation>,
}

/// What is expected of a value.
#[derive(Clone)]
struct Expectation {
    value: String,
    low: Option<f64>,
    high: Option<f64>,
}

#[derive(Serialize)]
struct Record<'a> {
    command: &'static str,
    version: &'static str,
    title: &'a str,
    statement: &'a str,
    exact: &'a str,
    approximate: &'a str,
    short: bool,
    runs: BTreeMap<&'a str, Json>,
    expectations: Vec<Judged<'a>>,
    met: bool,
    wall_seconds: f64,
}

/// An expectation and what was found.
#[derive(Serialize)]
struct Judged<'a> {
    value: &'a str,
    /// None where the value could not be computed.
    found: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    met: bool,
    /// Why it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Experiment {
    /// The experiment that `table`, the content of `file`, describes; whatever the file alone shows to be wrong is found before the first run.
    pub(super) fn new(file: &Path, short: bool, mut table: Table, beside: &Beside<'_>) -> Result<Self, Failure> {
        let name = file.display().to_string();
        let refused = |why: String| bad_usage(format!("{name}: {why}"));
        match table.get("version") {
            Some(Toml::Integer(VERSION)) => {}
            Some(other) => {
                return Err(refused(format!(
                    "it is an experiment of version {other}, and this program reads version {VERSION}; take the program of that version, or rewrite the file"
                )));
            }
            None => return Err(refused(format!("an experiment begins with version = {VERSION}"))),
        }
        only(&table, &KEYS, "the experiment").map_err(refused)?;
        let mut text = |key: &str| match table.remove(key) {
            Some(Toml::String(text)) => Ok(text),
            _ => Err(bad_usage(format!("{name}: an experiment needs {key} = \"…\", a sentence"))),
        };
        let (title, statement, exact, approximate) = (text("title")?, text("statement")?, text("exact")?, text("approximate")?);
        let stem = file.file_stem().unwrap_or(file.as_os_str());
        let folder = beside.matches.get_one::<PathBuf>("out").cloned().unwrap_or_else(|| Path::new(FOLDER).join(stem));
        let mut experiment =
            Self { file: file.into(), title, statement, exact, approximate, short, folder, runs: vec![], expectations: vec![] };
        for run in tables(&mut table, "run").map_err(refused)? {
            experiment.add_run(run, beside)?;
        }
        let language = experiment.language();
        let names: Vec<&str> = experiment.runs.iter().map(|(name, _)| name.as_str()).collect();
        for (k, expect) in tables(&mut table, "expect").map_err(refused)?.into_iter().enumerate() {
            let of_this = |why: String| refused(format!("expectation {}: {why}", k + 1));
            let expectation = Expectation::new(expect, short).map_err(of_this)?;
            Formula::new(&language, &expectation.value, &names).map_err(|why| of_this(why.to_string()))?;
            experiment.expectations.push(expectation);
        }
        Ok(experiment)
    }

    /// One more run, after those that are there.
    fn add_run(&mut self, mut table: Table, beside: &Beside<'_>) -> Result<(), Failure> {
        let file = self.file.display().to_string();
        let name = match table.remove("name") {
            Some(Toml::String(name)) if is_variable(&name) => name,
            Some(other) => {
                let why = "is not the name of a run: take letters, digits and _, a letter first";
                return Err(bad_usage(format!("{file}: {other} {why}")));
            }
            None => return Err(bad_usage(format!("{file}: run {} needs name = \"…\"", self.runs.len() + 1))),
        };
        let of_this = |why: &str| bad_usage(format!("{file}: run \"{name}\": {why}"));
        if self.runs.iter().any(|(other, _)| *other == name) || name == FOLDER_OF_FILE {
            return Err(of_this("that name is taken"));
        }
        if self.language().globals().any(|(function, _)| function == name) {
            return Err(of_this("that is the name of a function of formulas"));
        }
        match table.remove("short") {
            Some(Toml::Table(short)) if self.short => table.extend(short),
            None | Some(Toml::Table(_)) => {}
            Some(other) => return Err(of_this(&format!("short = {other} is not a table of flags"))),
        }
        if let Some(key) = OWN_FLAGS.iter().find(|key| table.contains_key(**key)) {
            return Err(of_this(&format!("\"{key}\" belongs to the experiment, not to one of its runs")));
        }
        if let Some(command @ ("generate" | "completions")) = table.get("command").and_then(Toml::as_str) {
            return Err(of_this(&format!("{command} has no record; name the law in the run that uses it")));
        }
        for (_, value) in table.iter_mut() {
            self.fill(value).map_err(|why| of_this(&why))?;
        }
        let argv = beside.argv(&format!("{file}: run \"{name}\""), table)?;
        beside.cli.clone().try_get_matches_from(&argv).map_err(|error| {
            let why = error.to_string();
            of_this(why.lines().next().unwrap_or_default().trim_start_matches("error: "))
        })?;
        self.runs.push((name, argv));
        Ok(())
    }

    /// Replaces each `{name}` by its folder.
    fn fill(&self, value: &mut Toml) -> Result<(), String> {
        let text = match value {
            Toml::String(text) => text,
            Toml::Array(values) => return values.iter_mut().try_for_each(|value| self.fill(value)),
            _ => return Ok(()),
        };
        let mut filled = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| format!("\"{text}\" has a {{ without a }}"))?;
            let known = || self.runs.iter().map(|(name, _)| name.as_str()).chain([FOLDER_OF_FILE]);
            let folder = match name {
                FOLDER_OF_FILE => {
                    self.file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
                }
                name if known().any(|known| known == name) => self.folder.join(name),
                name => {
                    let nearest = nearest(name, known());
                    return Err(format!("\"{text}\": {{{name}}} is not an earlier run; did you mean {{{nearest}}}?"));
                }
            };
            filled += &format!("{before}{}", folder.display());
            rest = after;
        }
        *text = filled + rest;
        Ok(())
    }

    /// The language of formulas, with the arrays of the runs.
    fn language(&self) -> Environment<'static> {
        let mut language = formula::language();
        let folder = self.folder.clone();
        language.add_function("array", move |file: &str| match read_array(&folder.join(file), "points") {
            Ok(array) => Ok(nested(&array)),
            Err(cause) => Err(Error::new(ErrorKind::InvalidOperation, cause.to_string())),
        });
        language
    }

    /// Does the runs in order, then judges the expectations.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let folder = session.folder(Some(&self.folder.display().to_string()))?;
        if let Some(folder) = &folder {
            folder.clear(&[])?;
        }
        let mut runs = BTreeMap::new();
        for (name, argv) in &self.runs {
            session.note(&format!("{name}: {}", in_words(argv)));
            runs.insert(name.as_str(), self.make(name, argv, session)?);
        }
        let language = self.language();
        let records = Value::from(Serde(&runs));
        let judge = |expectation| judged(expectation, &language, &runs, &records);
        let expectations = self.expectations.iter().map(judge).collect::<Result<Vec<Judged<'_>>, Failure>>()?;
        let record = Record {
            command: "run",
            version: env!("CARGO_PKG_VERSION"),
            title: &self.title,
            statement: &self.statement,
            exact: &self.exact,
            approximate: &self.approximate,
            short: self.short,
            met: expectations.iter().all(|judged| judged.met),
            runs,
            expectations,
            wall_seconds: session.wall_seconds(),
        };
        let code = session.finish(&record, folder.as_ref(), &summary(&record))?;
        for (k, judged) in record.expectations.iter().enumerate().filter(|(_, judged)| !judged.met) {
            output::error(&format!("{}: expectation {} is not met: {}", self.file.display(), k + 1, judged.words()));
        }
        Ok(if record.met { code } else { ExitCode::FAILURE })
    }

    /// The record of one run, which is a process of its own, as it would be on a command line of its own.
    fn make(&self, name: &str, argv: &[OsString], session: &Session) -> Result<Json, Failure> {
        let mut command = session.another()?;
        command.args(&argv[1..2]).arg("--json").arg("--out").arg(self.folder.join(name));
        if session.shared.verbose == 0 {
            command.arg("--quiet");
        }
        let output = command.args(&argv[2..]).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
        signal::check()?;
        match serde_json::from_slice(&output.stdout) {
            Ok(record) if output.status.success() => Ok(record),
            _ => Err(format!("{}: run \"{name}\" did not end well ({}): {}", self.file.display(), output.status, in_words(argv))
                .into()),
        }
    }
}

impl Expectation {
    fn new(mut table: Table, short: bool) -> Result<Self, String> {
        only(&table, &EXPECT_KEYS, "an expectation")?;
        match table.remove("short") {
            Some(Toml::Table(of_short)) => {
                only(&of_short, &EXPECT_KEYS[1..3], "the short form")?;
                if short {
                    table.extend(of_short);
                }
            }
            None => {}
            Some(other) => return Err(format!("short = {other} is not a table of low and high")),
        }
        let bound = |key: &str| match table.get(key) {
            None => Ok(None),
            Some(Toml::Float(bound)) if !bound.is_nan() => Ok(Some(*bound)),
            Some(Toml::Integer(bound)) => Ok(Some(*bound as f64)),
            Some(other) => Err(format!("{key} = {other} is not a number")),
        };
        let (low, high) = (bound("low")?, bound("high")?);
        let Some(Toml::String(value)) = table.get("value") else { return Err("it needs value = \"…\", a formula".into()) };
        match (low, high) {
            (None, None) => Err("it needs low or high, or both".into()),
            (Some(low), Some(high)) if low > high => Err(format!("low = {low} is above high = {high}")),
            _ => Ok(Self { value: value.clone(), low, high }),
        }
    }
}

impl Judged<'_> {
    /// What is wrong with the value.
    fn words(&self) -> String {
        let below = |low: &f64| self.found.is_some_and(|found| found < *low);
        match (self.found, self.low.filter(below), self.high) {
            (Some(found), Some(low), _) => format!("\"{}\" is {found}, below {low}", self.value),
            (Some(found), None, Some(high)) => format!("\"{}\" is {found}, above {high}", self.value),
            _ => self.why.clone().unwrap_or_default(),
        }
    }
}

/// `expectation`, held against the records of the runs.
fn judged<'a>(
    expectation: &'a Expectation,
    language: &Environment<'static>,
    runs: &BTreeMap<&str, Json>,
    records: &Value,
) -> Result<Judged<'a>, Failure> {
    let Expectation { value, low, high } = expectation;
    let names: Vec<&str> = runs.keys().copied().collect();
    let formula = Formula::new(language, value, &names)?;
    let missing = formula.paths().iter().find_map(|path| missing(runs, path));
    let found = match missing {
        Some(why) => Err(format!("\"{value}\": {why}")),
        None => formula.number(records.clone()).map_err(|why| why.to_string()),
    };
    let (found, why) = match found {
        Ok(found) if !found.is_finite() => (None, Some(format!("\"{value}\" is {found}, not a finite number"))),
        Ok(found) => (Some(found), None),
        Err(why) => (None, Some(why)),
    };
    let met = found.is_some_and(|found| low.is_none_or(|low| found >= low) && high.is_none_or(|high| found <= high));
    Ok(Judged { value, found, low: *low, high: *high, met, why })
}

/// Why there is nothing at `path`, a run and keys of its record with dots between; none where there is something.
fn missing(runs: &BTreeMap<&str, Json>, path: &str) -> Option<String> {
    let mut parts = path.split('.');
    let mut value = runs.get(parts.next()?)?;
    for part in parts {
        let object = value.as_object()?;
        value = match object.get(part) {
            Some(inner) => inner,
            None => {
                let nearest = nearest(part, object.keys().map(String::as_str));
                return Some(format!("there is no \"{part}\" in the record; did you mean \"{nearest}\"?"));
            }
        };
    }
    None
}

/// The array as lists in lists.
fn nested(array: &Array) -> Value {
    fn of(values: &[f64], shape: &[usize]) -> Value {
        match shape {
            [] | [_] => values.iter().copied().map(Value::from).collect(),
            [_, inner @ ..] => {
                let size = inner.iter().product::<usize>().max(1);
                values.chunks_exact(size).map(|values| of(values, inner)).collect()
            }
        }
    }
    of(&array.values, &array.shape)
}

/// Refuses keys of `table` that are not among `known`.
fn only(table: &Table, known: &[&str], of: &str) -> Result<(), String> {
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("{of} has no key \"{key}\"; did you mean \"{}\"?", nearest(key, known.iter().copied()))),
        None => Ok(()),
    }
}

/// The tables of `[[key]]`, at least one.
fn tables(table: &mut Table, key: &str) -> Result<Vec<Table>, String> {
    let is_table = |value| if let Toml::Table(table) = value { Some(table) } else { None };
    let found = match table.remove(key) {
        Some(Toml::Array(values)) => values.into_iter().map(is_table).collect::<Option<Vec<Table>>>(),
        _ => None,
    };
    found.filter(|found| !found.is_empty()).ok_or_else(|| format!("an experiment needs at least one [[{key}]]"))
}

/// Whether a formula can call something so.
fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A command line as a person would type it.
fn in_words(argv: &[OsString]) -> String {
    argv.iter().map(|word| word.to_string_lossy()).filter(|word| word != "--").collect::<Vec<_>>().join(" ")
}

fn summary(record: &Record<'_>) -> String {
    let of_expectation = |judged: &Judged<'_>| {
        let bound = match (judged.low, judged.high) {
            (Some(low), Some(high)) => format!("from {} to {}", number(low), number(high)),
            (Some(low), None) => format!("at least {}", number(low)),
            (_, high) => format!("at most {}", output::maybe(high)),
        };
        [if judged.met { "met" } else { "not met" }.into(), output::maybe(judged.found), bound, judged.value.into()]
    };
    let expectations: Vec<[String; 4]> = record.expectations.iter().map(of_expectation).collect();
    format!(
        "{}\n\n{}\nexact: {}\napproximate: {}\n\n{}\n\n{} in {}",
        record.title,
        record.statement,
        record.exact,
        record.approximate,
        columns(&expectations, |_| false),
        counted(record.runs.len(), "run"),
        seconds(record.wall_seconds)
    )
}
