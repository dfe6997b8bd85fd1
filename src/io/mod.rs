//! Files in and out: measures, arrays and weights are read, arrays and text written.
//!
//! Nothing is guessed: a file is read as the format its name says, and refused with a sentence that names file, place, value
//! and remedy when it is not that. Files are written whole or not at all.

pub mod array;
pub mod checkpoint;
mod columns;
mod csv;
pub mod fault;
mod format;
#[cfg(feature = "image")]
pub mod grid;
mod idx;
mod mixture;
mod network;
mod npy;
mod npz;
mod pairs;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "image")]
pub mod picture;
#[cfg(feature = "image")]
mod pictures;
pub mod read;
mod safetensors;
pub mod write;

pub use array::Array;
pub use checkpoint::{CheckpointFile, checksum};
pub use fault::{Fault, ReadError};
#[cfg(feature = "image")]
pub use grid::grid;
pub use pairs::{StoredPairs, read_pairs};
#[cfg(feature = "image")]
pub use picture::{PictureError, PictureFormat, encode_picture, on_canvas, read_picture};
pub use read::{Reading, is_network, read_array, read_measure, read_measure_as, read_network, read_text};
pub use write::{
    Float, NamedArray, Numbers, WriteError, check_folder, check_path, holds_weights, write_array, write_arrays, write_cloud,
    write_network, write_npy, write_text, write_whole,
};
