//! numpy's `.npz`: a zip archive of `.npy` files, stored or deflated.

use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use crate::io::array::Array;
use crate::io::{Problem, npy};

/// The array `name` of a whole `.npz` file.
pub(super) fn read(bytes: &[u8], name: &str) -> Result<Array, Problem> {
    let damaged = |error: ZipError| Problem::Damaged { why: error.to_string() };
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let present: Vec<String> = archive.file_names().flatten().map(|file| file.trim_end_matches(".npy").to_owned()).collect();
    let mut array = Vec::new();
    match archive.by_name(&format!("{name}.npy")) {
        Ok(mut entry) => entry.read_to_end(&mut array).map_err(|error| damaged(error.into()))?,
        Err(ZipError::FileNotFound) => return Err(Problem::NoArray { name: name.into(), present }),
        Err(error) => return Err(damaged(error)),
    };
    npy::read(&array)
}
