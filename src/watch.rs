//! A watch on work that takes long: told how far it is, it says whether to go on, and keeps the state from which the work continues.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::checkpoint::Part;

/// How far a work is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress<'a> {
    /// What is being done; empty where there is only one thing to do, or nothing new to say.
    pub stage: &'a str,
    /// Iterations, steps or rows done.
    pub done: usize,
    /// How many there will be, where that is known.
    pub of: Option<usize>,
    /// What the work lowers, as it is now: a transport cost, a barycenter's objective, a free energy.
    pub value: Option<f64>,
    /// How far the innermost iteration is.
    pub residual: Option<Residual>,
}

/// The error of a plan before an iteration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Residual {
    /// Iterations made before, all levels counted.
    pub iteration: usize,
    /// ε of the level, in units of c.
    pub eps: f64,
    /// The error, as [`Outcome::marginal_error`](crate::transport::Outcome::marginal_error).
    pub error: f64,
}

impl Residual {
    /// Keeps the errors so far.
    pub fn keep(history: &[Self], part: &mut Part<'_>) {
        let numbers = history.iter().flat_map(|r| [r.iteration as f64, r.eps, r.error]);
        part.keep_array("history", numbers.collect());
    }

    /// The errors that were kept.
    pub fn kept(part: &Part<'_>) -> Option<Vec<Self>> {
        let rows = part.array("history")?.as_chunks().0;
        Some(rows.iter().map(|&[iteration, eps, error]| Self { iteration: iteration as usize, eps, error }).collect())
    }
}

impl Progress<'_> {
    /// So many steps done.
    pub fn of_steps(done: usize) -> Self {
        Self { done, ..Self::default() }
    }

    /// So many steps done, of what is now at `value`.
    pub fn at(done: usize, value: f64) -> Self {
        Self { done, value: Some(value), ..Self::default() }
    }
}

impl From<Residual> for Progress<'_> {
    fn from(residual: Residual) -> Self {
        Self { done: residual.iteration, residual: Some(residual), ..Self::default() }
    }
}

/// Told of the progress; `false` stops the work.
pub type Tell<'a> = &'a (dyn Fn(Progress<'_>) -> bool + Sync);

/// Who is told of a work, and where its state is kept; by default nobody and nowhere.
#[derive(Default)]
pub struct Watch<'a> {
    tell: Option<Tell<'a>>,
    kept: Option<Part<'a>>,
}

impl<'a> Watch<'a> {
    /// One that is told, and keeps nothing.
    pub fn telling(tell: Tell<'a>) -> Self {
        Self { tell: Some(tell), kept: None }
    }

    /// One that keeps the state in `part` as well: what is there already is not done again.
    pub fn keeping(self, part: Part<'a>) -> Self {
        Self { kept: Some(part), ..self }
    }

    /// The same watch, for a shorter time.
    pub fn again(&mut self) -> Watch<'_> {
        Watch { tell: self.tell, kept: self.kept.as_mut().map(Part::again) }
    }

    /// The watch on a part of the work, whose state is kept under `name`.
    pub fn part(&mut self, name: &str) -> Watch<'_> {
        Watch { tell: self.tell, kept: self.kept.as_mut().map(|part| part.part(name)) }
    }

    /// The watch on a part of the work that tells of its progress in its own terms.
    pub fn part_telling<'b>(&'b mut self, name: &str, tell: Tell<'b>) -> Watch<'b> {
        Watch { tell: Some(tell), ..self.part(name) }
    }

    /// The watch on what is too short to be kept.
    pub fn not_keeping(&self) -> Watch<'a> {
        Watch { tell: self.tell, kept: None }
    }

    /// Tells of the progress; whether to go on.
    pub fn tell(&self, now: Progress<'_>) -> bool {
        self.tell.is_none_or(|tell| tell(now))
    }

    /// What was kept of the work.
    pub fn kept(&self) -> Option<&Part<'a>> {
        self.kept.as_ref()
    }

    /// The array that was kept under `name`.
    pub fn array(&self, name: &str) -> Option<&[f64]> {
        self.kept.as_ref()?.array(name)
    }

    /// The record that was kept under `name`.
    pub fn record<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.kept.as_ref()?.record(name)
    }

    /// Keeps an array, where anything is kept.
    pub fn keep_array(&mut self, name: &str, values: &[f64]) {
        self.kept.iter_mut().for_each(|part| part.keep_array(name, values.to_vec()));
    }

    /// Keeps a record, where anything is kept.
    pub fn keep_record(&mut self, name: &str, record: &impl Serialize) {
        self.kept.iter_mut().for_each(|part| part.keep_record(name, record));
    }

    /// The record kept under `name`, or what `work` gives, which is then kept under it.
    ///
    /// # Errors
    /// As `work`.
    pub fn once<T: Serialize + DeserializeOwned, E>(&mut self, name: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        match &mut self.kept {
            Some(part) => part.once(name, work),
            None => work(),
        }
    }

    /// Whether the state has to be kept: it is due, or the work stops.
    pub fn keeps(&self, go_on: bool) -> bool {
        self.kept.as_ref().is_some_and(|part| !go_on || part.is_due())
    }

    /// At a point from which the work can continue: has `keep` keep the state where it has to be. Whether to go on.
    pub fn pass(&mut self, go_on: bool, keep: impl FnOnce(&mut Part<'_>)) -> bool {
        if let Some(part) = &mut self.kept {
            part.pass(go_on, keep);
        }
        go_on
    }

    /// Keeps the end of the work in place of its state.
    pub fn close(&mut self, keep: impl FnOnce(&mut Part<'_>)) {
        if let Some(part) = &mut self.kept {
            part.close(keep);
        }
    }

    /// Writes what was kept where that is due.
    pub fn save_if_due(&mut self) {
        self.kept.iter_mut().for_each(Part::save_if_due);
    }
}
