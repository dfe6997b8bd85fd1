//! Checkpoints: what a run has done so far, in one `.safetensors` file from which it goes on bit for bit.
//!
//! A run keeps named arrays (tensors of f64) and named records (JSON in the metadata), and overwrites them as it goes on: the state
//! of a loop, or the pieces that are finished. The metadata also say which run it is, and hold a CRC-32 of the numbers.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::io::{Fault, ReadError, WriteError, write_whole};

/// The state of a run, kept in memory and now and then written to its file.
#[derive(Debug)]
pub struct Checkpoint {
    /// None: nothing is ever written.
    path: Option<PathBuf>,
    /// What the run is: command, version, inputs.
    run: Map<String, Value>,
    arrays: BTreeMap<String, Vec<f64>>,
    records: BTreeMap<String, String>,
    written: Instant,
}

/// Time between two writes.
const EVERY: Duration = Duration::from_secs(30);
/// Keys of the metadata; a record has its own name behind [`RECORD`].
const RUN: &str = "run";
const CHECKSUM: &str = "crc32";
const RECORD: &str = "record ";

impl Checkpoint {
    /// A checkpoint without a file: the run cannot be resumed.
    pub fn none() -> Self {
        Self::empty(None, Map::new())
    }

    /// The checkpoint of a run that begins; `run` tells it from all others.
    pub fn begin(path: PathBuf, run: Map<String, Value>) -> Self {
        Self::empty(Some(path), run)
    }

    /// The checkpoint that `run` left at `path`.
    ///
    /// # Errors
    /// [`ReadError`] when there is none, it is damaged, or it is that of another run.
    pub fn resume(path: PathBuf, run: Map<String, Value>) -> Result<Self, ReadError> {
        let mut checkpoint = Self::begin(path.clone(), run);
        match checkpoint.read(&path) {
            Ok(()) => Ok(checkpoint),
            Err(fault) => Err(ReadError::File { path, fault }),
        }
    }

    /// The part called `name`: what is kept there does not meet what other parts keep.
    pub fn part(&mut self, name: &str) -> Part<'_> {
        Part { prefix: format!("{name}: "), checkpoint: self }
    }

    /// Takes over what `other` keeps.
    pub fn absorb(&mut self, other: Self) {
        self.arrays.extend(other.arrays);
        self.records.extend(other.records);
    }

    fn empty(path: Option<PathBuf>, run: Map<String, Value>) -> Self {
        Self { path, run, arrays: BTreeMap::new(), records: BTreeMap::new(), written: Instant::now() }
    }

    /// The array called `name`.
    pub fn array(&self, name: &str) -> Option<&[f64]> {
        self.arrays.get(name).map(Vec::as_slice)
    }

    /// The record called `name`.
    pub fn record<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.records.get(name).and_then(|text| serde_json::from_str(text).ok())
    }

    /// Keeps an array.
    pub fn keep_array(&mut self, name: &str, values: Vec<f64>) {
        self.arrays.insert(name.into(), values);
    }

    /// Keeps a record: plain data, whose numbers come back to the bit.
    pub fn keep_record(&mut self, name: &str, record: &impl Serialize) {
        let text = serde_json::to_string(record);
        debug_assert!(text.is_ok(), "{name} is no plain data");
        self.records.extend(text.ok().map(|text| (name.into(), text)));
    }

    /// Whether the last write is long enough ago for the next.
    pub fn is_due(&self) -> bool {
        self.path.is_some() && self.written.elapsed() >= EVERY
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`WriteError`] when the system refuses.
    pub fn write(&mut self) -> Result<(), WriteError> {
        let Some(path) = &self.path else { return Ok(()) };
        let bytes = self.arrays.values().map(|values| values.iter().flat_map(|x| x.to_le_bytes()).collect());
        let bytes: Vec<Vec<u8>> = bytes.collect();
        let mut metadata: HashMap<String, String> =
            self.records.iter().map(|(name, text)| (format!("{RECORD}{name}"), text.clone())).collect();
        metadata.insert(RUN.into(), Value::Object(self.run.clone()).to_string());
        metadata.insert(CHECKSUM.into(), of_arrays(bytes.iter().map(Vec::as_slice)));
        write_whole(path, |out| {
            let tensors = self
                .arrays
                .iter()
                .zip(&bytes)
                .map(|((name, values), bytes)| Ok((name, TensorView::new(Dtype::F64, vec![values.len()], bytes)?)));
            let file = tensors.collect::<Result<Vec<_>, _>>().and_then(|tensors| serialize(tensors, Some(metadata)));
            out.write_all(&file.map_err(io::Error::other)?)
        })?;
        self.written = Instant::now();
        Ok(())
    }

    /// At a point from which the run can go on: `keep` keeps its state if it is not to go on, or if the next write is due and is then
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

    /// Writes the file in mid-run: a failure is no reason to end hours of work, so it is a warning.
    pub fn save(&mut self) {
        if let Err(error) = self.write() {
            tracing::warn!("{error}; the run goes on, and the next checkpoint is tried in {} s", EVERY.as_secs());
            self.written = Instant::now();
        }
    }

    /// Removes the file of a run that is complete.
    pub fn remove(self) {
        // One that cannot be removed would only be refused by the next run, or be resumed at its end.
        self.path.map(fs::remove_file);
    }

    /// Reads arrays and records.
    fn read(&mut self, path: &Path) -> Result<(), Fault> {
        let bytes = fs::read(path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => Fault::NoCheckpoint,
            _ => Fault::Unreadable(cause),
        })?;
        let damaged = |why: &str| Fault::Damaged { why: why.into() };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(&error.to_string()))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| damaged(&error.to_string()))?;
        let metadata = header.metadata().as_ref().ok_or_else(|| damaged("it says of no run"))?;
        let there: Map<String, Value> = metadata
            .get(RUN)
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| damaged("it does not say of which run it is"))?;
        let run = &self.run;
        let first = ["command", "version"].into_iter(); // the rest differs with these
        let mut keys = first.chain(there.keys().chain(run.keys()).map(String::as_str));
        if let Some(key) = keys.find(|key| there.get(*key) != run.get(*key)) {
            let words = |run: &Map<String, Value>| run.get(key).map_or("not given".into(), Value::to_string);
            return Err(Fault::OtherRun { key: key.to_owned(), there: words(&there), here: words(run) });
        }
        let mut all = tensors.tensors();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        if metadata.get(CHECKSUM) != Some(&of_arrays(all.iter().map(|(_, tensor)| tensor.data()))) {
            return Err(damaged("its numbers do not have their checksum"));
        }
        let numbers = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|x| f64::from_le_bytes(*x)).collect();
        self.arrays = all.iter().map(|(name, tensor)| (name.clone(), numbers(tensor.data()))).collect();
        let records = metadata.iter().filter_map(|(key, text)| Some((key.strip_prefix(RECORD)?.to_owned(), text.clone())));
        self.records = records.collect();
        Ok(())
    }
}

/// The state of one of several things that a run does.
#[derive(Debug)]
pub struct Part<'a> {
    checkpoint: &'a mut Checkpoint,
    prefix: String,
}

impl Part<'_> {
    /// The same part, borrowed anew.
    pub fn again(&mut self) -> Part<'_> {
        Part { checkpoint: self.checkpoint, prefix: self.prefix.clone() }
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
        self.checkpoint.arrays.retain(|name, _| others(name));
        self.checkpoint.records.retain(|name, _| others(name));
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
}

/// CRC-32 of all that `reader` holds, in hexadecimal.
///
/// # Errors
/// What the system says.
pub fn checksum(mut reader: impl Read) -> io::Result<String> {
    let (mut hasher, mut block) = (crc32fast::Hasher::new(), vec![0; 1 << 16]);
    loop {
        match reader.read(&mut block)? {
            0 => return Ok(format!("{:08x}", hasher.finalize())),
            len => hasher.update(&block[..len]),
        }
    }
}

/// CRC-32 of the numbers of all arrays in the order of their names.
fn of_arrays<'a>(arrays: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hasher = crc32fast::Hasher::new();
    arrays.for_each(|bytes| hasher.update(bytes));
    format!("{:08x}", hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(seed: u64) -> Map<String, Value> {
        Map::from_iter([("command".into(), "sample".into()), ("seed".into(), seed.into())])
    }

    fn path(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("checkpoint.safetensors")
    }

    proptest! {
        #[test]
        fn what_is_kept_comes_back_to_the_bit(values in prop::collection::vec(prop::num::f64::ANY, 0..40), x in prop::num::f64::NORMAL) {
            let folder = tempfile::tempdir().unwrap();
            let mut checkpoint = Checkpoint::begin(path(&folder), run(0));
            checkpoint.keep_array("x/0", values.clone());
            checkpoint.keep_record("state", &(3, x, None::<f64>));
            checkpoint.write().unwrap();
            let back = Checkpoint::resume(path(&folder), run(0)).unwrap();
            let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(back.array("x/0").unwrap()), bits(&values));
            prop_assert_eq!(back.record::<(usize, f64, Option<f64>)>("state"), Some((3, x, None)));
            prop_assert!(back.array("y").is_none());
        }
    }

    #[test]
    fn the_checkpoint_of_another_run_is_refused_with_what_differs() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = |seed| Checkpoint::resume(path(&folder), run(seed)).unwrap_err().to_string();
        assert!(refusal(0).ends_with("there is no checkpoint to resume; leave --resume out to start anew"));
        Checkpoint::begin(path(&folder), run(0)).write().unwrap();
        assert!(refusal(7).ends_with(
            "this is the checkpoint of another run: seed is 0 there and 7 here; repeat that run's command line, or leave --resume out"
        ));
    }

    #[test]
    fn a_damaged_checkpoint_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut checkpoint = Checkpoint::begin(path(&folder), run(0));
        checkpoint.keep_array("x", vec![1.0; 8]);
        checkpoint.write().unwrap();
        let mut bytes = fs::read(path(&folder)).unwrap();
        let last = bytes.len() - 1;
        for damaged in [&bytes[..last], &bytes[..4], b"no safetensors at all"] {
            let written = fs::write(path(&folder), damaged);
            assert!(written.is_ok() && Checkpoint::resume(path(&folder), run(0)).is_err());
        }
        bytes[last] ^= 1;
        fs::write(path(&folder), &bytes).unwrap();
        let message = Checkpoint::resume(path(&folder), run(0)).unwrap_err().to_string();
        assert!(message.contains("its numbers do not have their checksum"), "{message}");
    }
}
