//! What is printed and written: words on stderr, results on stdout, files in a folder.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use brenier::io::{Float, NamedArray, Numbers, check_folder, write_arrays, write_npy, write_text};
use brenier::metric::Flag;
use brenier::report::Report;
use clap::builder::styling::AnsiColor;

use crate::{Failure, signal};

/// A line on stderr. A closed stderr is not a reason to stop.
pub fn say(words: &str) {
    let _ = writeln!(io::stderr(), "{words}");
}

/// `error: …` on stderr.
pub fn error(words: &str) {
    let style = AnsiColor::Red.on_default().bold();
    if io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        say(&format!("{style}error:{style:#} {words}"));
    } else {
        say(&format!("error: {words}"));
    }
}

/// A result on stdout. A reader that has seen enough (`| head`) is not an error.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// What was written and is not finite, in words: of one run, whoever writes it.
#[derive(Clone, Default)]
pub struct NotFinite(Arc<Mutex<Vec<String>>>);

impl NotFinite {
    /// Counts the rows of an array, as it is written, with a number that is not finite.
    pub fn inspect(&self, name: &str, values: &[f64], shape: &[usize], float: Float) {
        let finite = |x: &f64| match float {
            Float::F32 => (*x as f32).is_finite(),
            Float::F64 => x.is_finite(),
        };
        let width = if shape.len() > 1 { shape[shape.len() - 1].max(1) } else { 1 };
        let rows = values.chunks(width).filter(|row| !row.iter().all(finite)).count();
        if rows > 0 {
            let words = format!("{} of the {} of {name}", count(rows), counted(values.len() / width, "row"));
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(words);
        }
    }

    /// A sentence about all that was found; none when everything is finite.
    pub fn words(&self) -> Option<String> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let files = found.join(", and ");
        (!found.is_empty()).then(|| {
            format!("not finite: {files}; the run overflowed or divided by zero, so use none of it: more or shorter steps, or --precision f64, may hold it")
        })
    }
}

/// A folder of results: the files of one run, each written whole or not at all.
pub struct Folder {
    path: PathBuf,
    not_finite: NotFinite,
}

impl Folder {
    /// The folder at `path`, made if missing; what is written there and is not finite is told to `not_finite`.
    pub fn open(path: &Path, not_finite: NotFinite) -> Result<Self, Failure> {
        fs::create_dir_all(path).map_err(|cause| format!("the folder {} cannot be made: {cause}", path.display()))?;
        check_folder(path).map_err(|cause| format!("no file can be written in the folder {}: {cause}", path.display()))?;
        Ok(Self { path: path.into(), not_finite })
    }

    /// Makes sure that files can be written in these folders of it, which are made if missing.
    pub fn with(self, folders: &[&str]) -> Result<Self, Failure> {
        folders.iter().try_for_each(|name| Self::open(&self.path.join(name), self.not_finite.clone()).map(drop))?;
        Ok(self)
    }

    /// The folder `name` in it.
    pub fn inner(&self, name: &str) -> Result<Self, Failure> {
        Self::open(&self.path.join(name), self.not_finite.clone())
    }

    /// Removes `run.json` and the command's `own` files of an earlier run, so that none is taken for one of this run.
    pub fn clear(&self, own: &[&str]) -> Result<(), Failure> {
        signal::check()?;
        for file in own.iter().chain(&["run.json"]).map(|name| self.path.join(name)) {
            match fs::remove_file(&file) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(format!("{} cannot be replaced: {cause}", file.display()).into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the numbered files PREFIX00000.ENDING of an earlier run.
    pub fn clear_numbered(&self, prefix: &str, endings: &[&str]) -> Result<(), Failure> {
        self.clear(&[])?;
        self.clear_in(".", |name| {
            let rest = name.strip_prefix(prefix).and_then(|rest| rest.split_once('.'));
            rest.is_some_and(|(digits, ending)| digits.bytes().all(|b| b.is_ascii_digit()) && endings.contains(&ending))
        })
    }

    /// Removes from the folder `inner` the files of an earlier run, by their names.
    pub fn clear_in(&self, inner: &str, is_own: impl Fn(&str) -> bool) -> Result<(), Failure> {
        let folder = self.path.join(inner);
        let refused = |cause: io::Error| format!("the folder {} cannot be cleared: {cause}", folder.display());
        for entry in fs::read_dir(&folder).map_err(refused)? {
            let entry = entry.map_err(refused)?;
            if entry.file_name().to_str().is_some_and(&is_own) {
                fs::remove_file(entry.path()).map_err(refused)?;
            }
        }
        Ok(())
    }

    /// Writes a page, and its figures into the folder of that name.
    pub fn report(&self, report: &Report) -> Result<(), Failure> {
        self.text("report.html", &report.html)?;
        for figure in &report.figures {
            self.text(&format!("figures/{}.svg", figure.name), &figure.svg)?;
            self.text(&format!("figures/{}.csv", figure.name), &figure.csv)?;
        }
        Ok(())
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes an array.
    pub fn array(&self, name: &str, values: &[f64], shape: &[usize], float: Float) -> Result<(), Failure> {
        signal::check()?;
        tracing::info!(file = name, ?shape, "writing");
        self.not_finite.inspect(name, values, shape, float);
        Ok(write_npy(&self.path.join(name), values, shape, float)?)
    }

    /// Writes bytes.
    #[cfg(feature = "image")]
    pub fn bytes(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        signal::check()?;
        Ok(brenier::io::write_whole(&self.path.join(name), |out| out.write_all(bytes))?)
    }

    /// Writes several arrays into one file.
    pub fn arrays(&self, name: &str, arrays: &[NamedArray<'_>]) -> Result<(), Failure> {
        signal::check()?;
        tracing::info!(file = name, "writing");
        for array in arrays {
            if let Numbers::Reals(values, float) = array.numbers {
                self.not_finite.inspect(&format!("{} in {name}", array.name), values, &array.shape, float);
            }
        }
        Ok(write_arrays(&self.path.join(name), arrays)?)
    }

    /// Writes a text.
    pub fn text(&self, name: &str, text: &str) -> Result<(), Failure> {
        signal::check()?;
        tracing::info!(file = name, "writing");
        Ok(write_text(&self.path.join(name), text)?)
    }
}

/// What a person reads: a title, and lines of a name, a value and a remark.
pub struct Summary {
    title: String,
    lines: Vec<[String; 3]>,
}

impl Summary {
    /// An empty summary under `title`.
    pub fn new(title: String) -> Self {
        Self { title, lines: Vec::new() }
    }

    /// One more line.
    pub fn line(&mut self, name: &str, value: impl Into<String>, remark: impl Into<String>) {
        self.lines.push([name.into(), value.into(), remark.into()]);
    }

    /// The text: names, values and remarks in columns.
    pub fn text(&self) -> String {
        format!("{}\n{}", self.title, columns(&self.lines, |_| false))
    }
}

/// Lines of cells in columns of equal width, of which those of numbers stand to the `right`.
pub fn columns<L: AsRef<[String]>>(lines: &[L], right: impl Fn(usize) -> bool) -> String {
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.as_ref().get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for line in lines {
        let mut written = String::new();
        for (column, cell) in line.as_ref().iter().enumerate() {
            let wide = width(column);
            let _ = if right(column) { write!(written, "  {cell:>wide$}") } else { write!(written, "  {cell:wide$}") };
        }
        text.push_str(written.trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

/// Flags in words.
pub fn in_words(flags: &[Flag]) -> String {
    let words = |flag: &Flag| serde_json::to_value(flag).ok()?.as_str().map(|name| name.replace('_', " "));
    flags.iter().filter_map(words).collect::<Vec<String>>().join(", ")
}

/// A number with five digits; a dash where there is none.
pub fn maybe(x: Option<f64>) -> String {
    x.map_or("–".into(), number)
}

/// A number with five digits.
pub fn number(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        a if !(1e-3..1e6).contains(&a) => format!("{x:.4e}"),
        a => format!("{x:.*}", (4 - a.log10().floor() as i32).max(0) as usize),
    }
}

/// A whole number, its thousands set apart.
pub fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// About `most` of `rows`, a screen's worth: with their places, in equal strides, and the last in any case.
pub fn strided<T>(rows: &[T], most: usize) -> impl Iterator<Item = (usize, &T)> {
    let (stride, last) = (rows.len().div_ceil(most).max(1), rows.len().saturating_sub(1));
    rows.iter().enumerate().filter(move |(k, _)| k.is_multiple_of(stride) || *k == last)
}

/// So many things of a name.
pub fn counted(n: usize, name: &str) -> String {
    format!("{} {name}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A duration.
pub fn seconds(s: f64) -> String {
    match s {
        s if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.2} s"),
        s => format!("{:.0} min {:.0} s", (s / 60.0).floor(), s % 60.0),
    }
}
