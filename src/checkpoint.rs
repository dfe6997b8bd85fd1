//! What a run has done so far, in memory: from it the run continues bit for bit.
//!
//! A run keeps named arrays (of f64) and named records (as JSON), and overwrites them as it goes on: the state of a loop, or the pieces
//! that are finished. A [`Store`] writes them somewhere now and then; `io` has the one that writes a file.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Arrays and records by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Arrays.
    pub arrays: BTreeMap<String, Vec<f64>>,
    /// Records, as JSON.
    pub records: BTreeMap<String, String>,
}

/// Where the state of a run outlives it.
pub trait Store: Debug + Send + Sync {
    /// Writes `state`, whole or not at all.
    ///
    /// # Errors
    /// What kept it from being written.
    fn write(&self, state: &State) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// Removes what was written: the run is complete.
    fn remove(&self);
}

/// The state of a run, kept in memory and now and then written to its store.
#[derive(Debug)]
pub struct Checkpoint {
    state: State,
    /// None: nothing is ever written.
    store: Option<Box<dyn Store>>,
    written: Instant,
}

/// Time between two writes.
const EVERY: Duration = Duration::from_secs(30);

impl Checkpoint {
    /// A checkpoint without a store: it lives as long as the process.
    pub fn none() -> Self {
        Self { state: State::default(), store: None, written: Instant::now() }
    }

    /// The checkpoint of a run that has come as far as `state`, written to `store`.
    pub fn in_store(store: Box<dyn Store>, state: State) -> Self {
        Self { state, store: Some(store), written: Instant::now() }
    }

    /// The part called `name`: what is kept there does not meet what other parts keep.
    pub fn part(&mut self, name: &str) -> Part<'_> {
        Part { prefix: format!("{name}: "), checkpoint: self }
    }

    /// All of it as one part.
    pub fn whole(&mut self) -> Part<'_> {
        Part { prefix: String::new(), checkpoint: self }
    }

    /// The array called `name`.
    pub fn array(&self, name: &str) -> Option<&[f64]> {
        self.state.arrays.get(name).map(Vec::as_slice)
    }

    /// The record called `name`.
    pub fn record<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.state.records.get(name).and_then(|text| serde_json::from_str(text).ok())
    }

    /// Keeps an array.
    pub fn keep_array(&mut self, name: &str, values: Vec<f64>) {
        self.state.arrays.insert(name.into(), values);
    }

    /// Keeps a record: plain data, whose numbers come back to the bit.
    pub fn keep_record(&mut self, name: &str, record: &impl Serialize) {
        let text = serde_json::to_string(record);
        debug_assert!(text.is_ok(), "{name} is not plain data");
        self.state.records.extend(text.ok().map(|text| (name.into(), text)));
    }

    /// Whether the last write is long enough ago for the next.
    pub fn is_due(&self) -> bool {
        self.store.is_some() && self.written.elapsed() >= EVERY
    }

    /// Writes the state to its store.
    ///
    /// # Errors
    /// That of the store.
    pub fn write(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Some(store) = &self.store else { return Ok(()) };
        store.write(&self.state)?;
        self.written = Instant::now();
        Ok(())
    }

    /// At a point from which the run can continue: `keep` keeps its state if it stops here, or if the next write is due and is then
    /// made. Whether it goes on.
    pub fn pass(&mut self, go_on: bool, keep: impl FnOnce(&mut Self)) -> bool {
        let due = self.is_due();
        if !go_on || due {
            keep(self);
        }
        if go_on && due {
            self.save();
        }
        go_on
    }

    /// Writes the state in mid-run: a failure is not a reason to end hours of work, so it is a warning.
    pub fn save(&mut self) {
        if let Err(error) = self.write() {
            tracing::warn!("{error}; the run goes on, and the next checkpoint is tried in {} s", EVERY.as_secs());
            self.written = Instant::now();
        }
    }

    /// Removes what was written of a run that is complete.
    pub fn remove(self) {
        self.store.iter().for_each(|store| store.remove());
    }
}

/// The state of one of several things that a run does.
#[derive(Debug)]
pub struct Part<'a> {
    checkpoint: &'a mut Checkpoint,
    prefix: String,
}

impl Part<'_> {
    /// The same part, for a shorter time.
    pub fn again(&mut self) -> Part<'_> {
        Part { checkpoint: self.checkpoint, prefix: self.prefix.clone() }
    }

    /// The part of it called `name`.
    pub fn part(&mut self, name: &str) -> Part<'_> {
        Part { prefix: format!("{}{name}: ", self.prefix), checkpoint: self.checkpoint }
    }

    fn named(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// As [`Checkpoint::array`].
    pub fn array(&self, name: &str) -> Option<&[f64]> {
        self.checkpoint.array(&self.named(name))
    }

    /// As [`Checkpoint::record`].
    pub fn record<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.checkpoint.record(&self.named(name))
    }

    /// As [`Checkpoint::keep_array`].
    pub fn keep_array(&mut self, name: &str, values: Vec<f64>) {
        self.checkpoint.keep_array(&self.named(name), values);
    }

    /// As [`Checkpoint::keep_record`].
    pub fn keep_record(&mut self, name: &str, record: &impl Serialize) {
        self.checkpoint.keep_record(&self.named(name), record);
    }

    /// Takes over what `other` keeps, under this part.
    pub fn absorb(&mut self, other: Checkpoint) {
        let State { arrays, records } = other.state;
        arrays.into_iter().for_each(|(name, values)| self.keep_array(&name, values));
        self.checkpoint.state.records.extend(records.into_iter().map(|(name, text)| (format!("{}{name}", self.prefix), text)));
    }

    /// The record called `name`, or what `work` gives, which is then kept under it.
    ///
    /// # Errors
    /// As `work`.
    pub fn once<T: Serialize + DeserializeOwned, E>(&mut self, name: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        if let Some(record) = self.record(name) {
            return Ok(record);
        }
        let record = work()?;
        self.keep_record(name, &record);
        self.checkpoint.pass(true, |_| {});
        Ok(record)
    }

    /// Keeps what `keep` does in place of all that was kept in this part.
    pub fn close(&mut self, keep: impl FnOnce(&mut Part<'_>)) {
        let others = |name: &String| !name.starts_with(&self.prefix);
        self.checkpoint.state.arrays.retain(|name, _| others(name));
        self.checkpoint.state.records.retain(|name, _| others(name));
        keep(self);
    }

    /// As [`Checkpoint::is_due`].
    pub fn is_due(&self) -> bool {
        self.checkpoint.is_due()
    }

    /// As [`Checkpoint::pass`]; what was kept in this part goes first.
    pub fn pass(&mut self, go_on: bool, keep: impl FnOnce(&mut Part<'_>)) -> bool {
        let (checkpoint, prefix) = (&mut *self.checkpoint, self.prefix.clone());
        checkpoint.pass(go_on, |checkpoint| Part { checkpoint, prefix }.close(keep))
    }

    /// Writes the checkpoint where that is due, with what is kept in this part as it is.
    pub fn save_if_due(&mut self) {
        if self.is_due() {
            self.checkpoint.save();
        }
    }
}
