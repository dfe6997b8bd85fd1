//! The file of a checkpoint: arrays as tensors of f64 and records as metadata of one `.safetensors` file, written whole or not at all.
//! The metadata also say which run it is, and hold a CRC-32 of the numbers.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde_json::{Map, Value};

use crate::checkpoint::{Checkpoint, State, Store};
use crate::io::{Fault, ReadError, write_whole};

/// The file of a run: where it is, and which run it is of.
#[derive(Clone, Debug)]
pub struct CheckpointFile {
    path: PathBuf,
    /// What the run is: command, version, inputs.
    run: Map<String, Value>,
}

/// Keys of the metadata; a record has its own name behind [`RECORD`].
const RUN: &str = "run";
const CHECKSUM: &str = "crc32";
const RECORD: &str = "record ";

impl CheckpointFile {
    /// The file at `path` of a run that `run` tells from all others.
    pub fn new(path: PathBuf, run: Map<String, Value>) -> Self {
        Self { path, run }
    }

    /// The checkpoint of the run that begins.
    pub fn begin(self) -> Checkpoint {
        Checkpoint::in_store(Box::new(self), State::default())
    }

    /// The checkpoint that the run left in the file.
    ///
    /// # Errors
    /// [`ReadError`] when there is none, it is damaged, or it is that of another run.
    pub fn resume(self) -> Result<Checkpoint, ReadError> {
        match self.read() {
            Ok(state) => Ok(Checkpoint::in_store(Box::new(self), state)),
            Err(fault) => Err(ReadError::File { path: self.path, fault }),
        }
    }

    /// Reads arrays and records.
    fn read(&self) -> Result<State, Fault> {
        let bytes = fs::read(&self.path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => Fault::NoCheckpoint,
            _ => Fault::Unreadable(cause),
        })?;
        let damaged = |why: &str| Fault::Damaged { why: why.into() };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(&error.to_string()))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| damaged(&error.to_string()))?;
        let metadata = header.metadata().as_ref().ok_or_else(|| damaged("it does not say which run it belongs to"))?;
        let there: Map<String, Value> = metadata
            .get(RUN)
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| damaged("it does not say which run it belongs to"))?;
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
        let arrays = all.iter().map(|(name, tensor)| (name.clone(), numbers(tensor.data()))).collect();
        let records = metadata.iter().filter_map(|(key, text)| Some((key.strip_prefix(RECORD)?.to_owned(), text.clone())));
        Ok(State { arrays, records: records.collect() })
    }
}

impl Store for CheckpointFile {
    fn write(&self, State { arrays, records }: &State) -> Result<(), Box<dyn Error + Send + Sync>> {
        let bytes = arrays.values().map(|values| values.iter().flat_map(|x| x.to_le_bytes()).collect());
        let bytes: Vec<Vec<u8>> = bytes.collect();
        let mut metadata: HashMap<String, String> =
            records.iter().map(|(name, text)| (format!("{RECORD}{name}"), text.clone())).collect();
        metadata.insert(RUN.into(), Value::Object(self.run.clone()).to_string());
        metadata.insert(CHECKSUM.into(), of_arrays(bytes.iter().map(Vec::as_slice)));
        write_whole(&self.path, |out| {
            let tensors = arrays
                .iter()
                .zip(&bytes)
                .map(|((name, values), bytes)| Ok((name, TensorView::new(Dtype::F64, vec![values.len()], bytes)?)));
            let file = tensors.collect::<Result<Vec<_>, _>>().and_then(|tensors| serialize(tensors, Some(metadata)));
            out.write_all(&file.map_err(io::Error::other)?)
        })?;
        Ok(())
    }

    fn remove(&self) {
        // One that cannot be removed would only be refused by the next run, or be resumed at its end.
        let _ = fs::remove_file(&self.path);
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
            let mut checkpoint = CheckpointFile::new(path(&folder), run(0)).begin();
            checkpoint.keep_array("x/0", values.clone());
            checkpoint.keep_record("state", &(3, x, None::<f64>));
            checkpoint.write().unwrap();
            let back = CheckpointFile::new(path(&folder), run(0)).resume().unwrap();
            let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(back.array("x/0").unwrap()), bits(&values));
            prop_assert_eq!(back.record::<(usize, f64, Option<f64>)>("state"), Some((3, x, None)));
            prop_assert!(back.array("y").is_none());
        }
    }

    #[test]
    fn the_checkpoint_of_another_run_is_refused_with_what_differs() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = |seed| CheckpointFile::new(path(&folder), run(seed)).resume().unwrap_err().to_string();
        assert!(refusal(0).ends_with("there is no checkpoint to resume; leave --resume out to start over"));
        CheckpointFile::new(path(&folder), run(0)).begin().write().unwrap();
        assert!(refusal(7).ends_with(
            "this is the checkpoint of another run: seed is 0 there and 7 here; repeat that run's command line, or leave --resume out"
        ));
    }

    #[test]
    fn a_damaged_checkpoint_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut checkpoint = CheckpointFile::new(path(&folder), run(0)).begin();
        checkpoint.keep_array("x", vec![1.0; 8]);
        checkpoint.write().unwrap();
        let mut bytes = fs::read(path(&folder)).unwrap();
        let last = bytes.len() - 1;
        for damaged in [&bytes[..last], &bytes[..4], b"no safetensors at all"] {
            let written = fs::write(path(&folder), damaged);
            assert!(written.is_ok() && CheckpointFile::new(path(&folder), run(0)).resume().is_err());
        }
        bytes[last] ^= 1;
        fs::write(path(&folder), &bytes).unwrap();
        let message = CheckpointFile::new(path(&folder), run(0)).resume().unwrap_err().to_string();
        assert!(message.contains("its numbers do not have their checksum"), "{message}");
    }
}
