//! What can be wrong with a file: sentences that name the file, the place, the value and the remedy.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::field::ConditionError;
use crate::field::network::{LevelError, NetworkError};
use crate::measure::{CloudError, MixtureError, NameError};
use crate::path::ScheduleError;

/// Why a measure or an array could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Not a file, and not a named source either.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A file that cannot be used.
    #[error("{}: {fault}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Weights for something that has no points.
    #[error("{source_name} is a law, not a set of points, so it takes no weights; leave {} out", path.display())]
    WeightsOfLaw {
        /// The law, as it was asked for.
        source_name: String,
        /// File of the weights.
        path: PathBuf,
    },
}

/// What is wrong with a file. Rows and columns count from 0, lines of text from 1.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Fault {
    /// There is no such file.
    #[error("there is no such file; check the path")]
    Missing,
    /// The file is there and cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The ending is that of no format.
    #[error(
        "its ending \"{found}\" is none of .npy, .npz, .csv, .safetensors, .idx, .parquet, .json (a mixture); rename or convert it"
    )]
    Extension {
        /// The ending, with its dot.
        found: String,
    },
    /// A folder.
    #[error("it is a folder, not a file; name a file in it")]
    Folder,
    /// A folder without pairs.
    #[error("it is a folder with no pairs-00000.npz or .safetensors in it; name one that couple or sample --pairs wrote")]
    NoPairs,
    /// Arrays of pairs of unequal lengths.
    #[error("array \"{array}\" has {found} rows for {needed} pairs; write the pairs again")]
    Rows {
        /// The array.
        array: &'static str,
        /// Its rows.
        found: usize,
        /// The pairs.
        needed: usize,
    },
    /// Pairs of different dimensions.
    #[error("its pairs have dimension {found}, and those of the files before it {needed}; write the pairs again")]
    PairDims {
        /// Their dimension.
        found: usize,
        /// That of the files before.
        needed: usize,
    },
    /// Conditions that cannot be used.
    #[error(transparent)]
    Conditions(ConditionError),
    /// A folder without pictures.
    #[error("it is a folder with no .png or .jpg file in it; name a file, or a folder of pictures")]
    NoPictures,
    /// A picture that cannot be read.
    #[error("{name}: {why}; remove or repair it")]
    Picture {
        /// Its file name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Pictures of several sizes.
    #[error("{name} is of {found:?} pixels and {first} of {expected:?}; points have one dimension: scale or crop the pictures")]
    Sizes {
        /// A picture.
        name: String,
        /// Its width and height.
        found: [usize; 2],
        /// The first picture.
        first: String,
        /// Its width and height.
        expected: [usize; 2],
    },
    /// A pipe or a device, which may never give or never end.
    #[error("it is a pipe or a device, not a file; write what it gives to a file, and name that")]
    Stream,
    /// A kind of file that is known and not read.
    #[error("it is {what}, which is not read; {remedy}")]
    NotRead {
        /// The kind.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Nothing in it.
    #[error("the file is empty (0 bytes); write it again")]
    NoBytes,
    /// The first bytes are not those of the format.
    #[error("this is not a {says} file, whatever its name says: {found}; give it its own ending, or write it again")]
    NotWhatItSays {
        /// Ending of the name.
        says: &'static str,
        /// What the first bytes look like.
        found: String,
    },
    /// The format's own structure is broken.
    #[error("the file is damaged or cut short: {why}; copy or write it again")]
    Damaged {
        /// What was found.
        why: String,
    },
    /// Fewer bytes than the shape needs.
    #[error(
        "the file is cut short: an array of shape {shape:?} needs {} bytes, and {found} are there; copy or write it again",
        needed.map_or("more than 2^64".into(), |n| n.to_string())
    )]
    Truncated {
        /// Shape in the header.
        shape: Vec<usize>,
        /// Bytes the shape needs; none when their number overflows.
        needed: Option<usize>,
        /// Bytes found.
        found: usize,
    },
    /// Numbers of a type that is not read.
    #[error(
        "it holds {found}; float16, bfloat16, float32, float64 and integers are read: convert it, as with x.astype(\"float32\")"
    )]
    Type {
        /// The type found.
        found: String,
    },
    /// An array of the wrong shape.
    #[error("the array has shape {shape:?}; {wanted}")]
    Shape {
        /// Shape found.
        shape: Vec<usize>,
        /// What is needed.
        wanted: &'static str,
    },
    /// An archive without the array wanted.
    #[error("there is no array \"{name}\" in it, only [{}]; save the array under that name", present.join(", "))]
    NoArray {
        /// Name of the array wanted.
        name: String,
        /// Names of the arrays there.
        present: Vec<String>,
    },
    /// A field that is not a number.
    #[error(
        "line {line}, column {column} holds \"{text}\", which is not a finite number: repair or remove that line (commas separate fields)"
    )]
    Cell {
        /// Line, from 1.
        line: u64,
        /// Column, from 0.
        column: usize,
        /// The field.
        text: String,
    },
    /// A table without a column that is asked for.
    #[error("the table has no column \"{name}\"; did you mean \"{nearest}\"? Its columns are {}", present.join(", "))]
    NoColumn {
        /// The name asked for.
        name: String,
        /// The nearest one there is.
        nearest: String,
        /// All of them.
        present: Vec<String>,
    },
    /// A column that is not a coordinate.
    #[error(
        "column \"{column}\" holds {found}, where numbers are needed; --columns {} says which columns are the coordinates of points",
        if numeric.is_empty() { "a,b".into() } else { numeric.join(",") }
    )]
    NotNumbers {
        /// Its name.
        column: String,
        /// What it holds.
        found: String,
        /// The columns of numbers.
        numeric: Vec<String>,
    },
    /// A row without a number.
    #[error("row {row} has no value in column \"{column}\"; every coordinate must be a finite number: remove or repair that row")]
    NoValue {
        /// The row.
        row: usize,
        /// Name of the column.
        column: String,
    },
    /// Lists of different lengths.
    #[error(
        "row {row} has a list of {found} numbers in column \"{column}\", and those before it {expected}; points have one dimension"
    )]
    Lists {
        /// Name of the column.
        column: String,
        /// The row.
        row: usize,
        /// Length of its list.
        found: usize,
        /// Length of the lists before it.
        expected: usize,
    },
    /// Lines of different lengths.
    #[error("line {line} has {found} fields where line {first_line} has {expected}; fields are separated by commas")]
    Ragged {
        /// Line, from 1.
        line: u64,
        /// Fields of that line.
        found: usize,
        /// First line, from 1.
        first_line: u64,
        /// Fields of the first line.
        expected: usize,
    },
    /// JSON that is not a mixture.
    #[error("it is not a mixture of \"weights\", \"means\" and \"covariances\" or \"variances\": {0}")]
    Json(#[from] serde_json::Error),
    /// Neither or both kinds of covariance.
    #[error(
        "it has {found} of \"covariances\" (a d × d matrix a component) and \"variances\" (a number a component); give one of them"
    )]
    Covariances {
        /// `neither` or `both`.
        found: &'static str,
    },
    /// A mixture where numbers are needed.
    #[error("a .json file holds a mixture, not an array; give a .npy, .npz, .csv or .safetensors file")]
    NotAnArray,
    /// Nothing to go on from.
    #[error("there is no checkpoint to resume; leave --resume out to start over")]
    NoCheckpoint,
    /// A checkpoint that another command, version or input left.
    #[error(
        "this is the checkpoint of another run: {key} is {there} there and {here} here; repeat that run's command line, or leave \
         --resume out"
    )]
    OtherRun {
        /// What differs.
        key: String,
        /// Its value in the checkpoint.
        there: String,
        /// Its value now.
        here: String,
    },
    /// A network where points are needed.
    #[error("this is a network, not points; it is a FIELD of sample, or the model of compare MODEL --target DATA")]
    Network,
    /// Something else where a network is needed.
    #[error("this is not a network; a model is a .safetensors file with metadata as examples/export_mlp.py writes them")]
    NoNetwork,
    /// Metadata without a key.
    #[error("its metadata has no \"{key}\"; save a network with the keys that examples/export_mlp.py writes")]
    NoKey {
        /// The key.
        key: &'static str,
    },
    /// Metadata with a key that means nothing.
    #[error("its metadata has \"{key}\", which is not a key of a network; did you mean \"{nearest}\"?")]
    UnknownKey {
        /// The key.
        key: String,
        /// The nearest one there is.
        nearest: &'static str,
    },
    /// A value of the metadata that is none of those known.
    #[error("its metadata say \"{key}\" = \"{found}\"; that must be {wanted}")]
    Metadata {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What is needed.
        wanted: String,
    },
    /// A tensor of the wrong shape.
    #[error("tensor \"{tensor}\" has shape {shape:?} where {wanted} is needed; save the tensor in that shape")]
    Tensor {
        /// Its name.
        tensor: String,
        /// Shape found.
        shape: Vec<usize>,
        /// Shape needed.
        wanted: String,
    },
    /// A tensor that no layer uses.
    #[error("tensor \"{tensor}\" belongs to no layer that the metadata name; add its layer to \"layers\", or leave it out")]
    Unused {
        /// Its name.
        tensor: String,
    },
    /// A network that does not give its own check.
    #[error(
        "its network does not give its own check: the predictions differ from tensor \"check.y\" by {share:.1e} of their size; one of the keys \"activation\", \"prediction\", \"time\", \"clock\" or \"schedule\" does not say what was trained"
    )]
    Check {
        /// RMS difference over the RMS of the check.
        share: f64,
    },
    /// Layers that do not make a network.
    #[error(transparent)]
    Layers(#[from] NetworkError),
    /// A check at a level where there is no answer.
    #[error("tensors \"check.t\": {0}")]
    Level(LevelError),
    /// A schedule that is none.
    #[error("its metadata say \"schedule\": {0}")]
    Schedule(#[from] ScheduleError),
    /// Numbers that do not make a mixture.
    #[error(transparent)]
    Mixture(#[from] MixtureError),
    /// Numbers that do not make a cloud.
    #[error(transparent)]
    Cloud(#[from] CloudError),
}
