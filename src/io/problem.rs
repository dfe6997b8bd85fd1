//! What can be wrong with a file: sentences that name the file, the place, the value and the remedy.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::measure::{CloudError, MixtureError, NameError};

/// Why a measure or an array could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Not a file, and not a named source either.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A file that cannot be used.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Problem,
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
pub enum Problem {
    /// There is no such file.
    #[error("there is no such file; check the path")]
    Missing,
    /// The file is there and cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The ending is that of no format.
    #[error("its ending \"{found}\" is none of .npy, .npz, .csv, .safetensors, .json (a mixture); rename or convert it")]
    Extension {
        /// The ending, with its dot.
        found: String,
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
    /// A field that is no number.
    #[error(
        "line {line}, column {column} holds \"{text}\", which is no finite number: repair or remove that line (commas separate fields)"
    )]
    Cell {
        /// Line, from 1.
        line: u64,
        /// Column, from 0.
        column: usize,
        /// The field.
        text: String,
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
    /// JSON that is no mixture.
    #[error("it is not a mixture of \"weights\", \"means\" and \"covariances\" or \"variances\": {0}")]
    Json(#[from] serde_json::Error),
    /// Neither or both kinds of covariance.
    #[error("give either \"covariances\" (a d × d matrix a component) or \"variances\" (a number a component), not both")]
    Covariances,
    /// A mixture where numbers are needed.
    #[error("a .json file holds a mixture, not an array; give a .npy, .npz, .csv or .safetensors file")]
    NotAnArray,
    /// Nothing to go on from.
    #[error("there is no checkpoint to resume; leave --resume out to start anew")]
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
    /// Numbers that do not make a mixture.
    #[error(transparent)]
    Mixture(#[from] MixtureError),
    /// Numbers that do not make a cloud.
    #[error(transparent)]
    Cloud(#[from] CloudError),
}
