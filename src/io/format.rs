//! Which format a file's name says, and whether the file agrees.

use std::path::Path;

use crate::io::{Fault, idx};

/// A format that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Npy,
    Npz,
    Csv,
    Safetensors,
    Json,
    Idx,
    Parquet,
}

const FORMATS: [(Format, &str); 7] = [
    (Format::Npy, ".npy"),
    (Format::Npz, ".npz"),
    (Format::Csv, ".csv"),
    (Format::Safetensors, ".safetensors"),
    (Format::Json, ".json"),
    (Format::Idx, ".idx"),
    (Format::Parquet, ".parquet"),
];

/// How the names of MNIST's files end, which have no other ending: train-images-idx3-ubyte.
const UBYTE: &str = "ubyte";

/// First bytes by which a file is known.
const SIGNATURES: [(&[u8], &str); 9] = [
    (b"\x93NUMPY", "a .npy array"),
    (b"PK\x03\x04", "a .npz or other zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x89PNG", "a PNG picture"),
    (b"PAR1", "a Parquet file"),
    (b"MATLAB", "a MATLAB file"),
    (b"\x80\x04", "a Python pickle"),
];

/// What a text in UTF-8 holds behind the mark that some editors begin it with.
///
/// # Errors
/// [`Fault::NotRead`] when it is text in UTF-16 or UTF-32, known by its mark or by two Latin letters of two bytes each.
pub(super) fn text(bytes: &[u8]) -> Result<&[u8], Fault> {
    let encoding = match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => "UTF-32",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [1..=0xff, 0, 1..=0xff, 0, ..] | [0, 1..=0xff, 0, 1..=0xff, ..] => "UTF-16",
        _ => return Ok(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)),
    };
    Err(Fault::NotRead { what: format!("text in {encoding}"), remedy: "save it as UTF-8" })
}

impl Format {
    /// The format that the name of `path` says.
    pub fn of(path: &Path) -> Result<Self, Fault> {
        if path.file_name().is_some_and(|name| name.to_string_lossy().to_ascii_lowercase().ends_with(UBYTE)) {
            return Ok(Self::Idx);
        }
        let found = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
        let same = |(_, name): &&(Self, &str)| name.eq_ignore_ascii_case(&found);
        FORMATS.iter().find(same).map(|(format, _)| *format).ok_or(Fault::Extension { found })
    }

    /// The ending of its files' names.
    fn name(self) -> &'static str {
        FORMATS.iter().find(|(format, _)| *format == self).map_or("", |(_, name)| name)
    }

    /// `bytes` without the mark that some editors begin a text with.
    ///
    /// # Errors
    /// [`Fault::NotRead`] when it is text of two or four bytes a letter.
    pub fn content(self, bytes: &[u8]) -> Result<&[u8], Fault> {
        if matches!(self, Self::Csv | Self::Json) { text(bytes) } else { Ok(bytes) }
    }

    /// Refuses a file whose first bytes are not those of the format.
    pub fn check(self, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.is_empty() {
            return Err(Fault::NoBytes);
        }
        let signature = SIGNATURES.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, what)| *what);
        let brace = bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
        let tensors = bytes.get(8) == Some(&b'{');
        let agrees = match self {
            Self::Npy => signature == Some(SIGNATURES[0].1),
            Self::Npz => signature == Some(SIGNATURES[1].1),
            Self::Safetensors => tensors,
            Self::Json => brace,
            Self::Idx => idx::is_idx(bytes),
            Self::Parquet => signature == Some(SIGNATURES[6].1),
            Self::Csv => signature.is_none() && !bytes[..bytes.len().min(4096)].contains(&0),
        };
        if agrees {
            return Ok(());
        }
        let found = match signature {
            Some(what) => format!("it begins as {what} does"),
            None if tensors && bytes.contains(&0) => "it begins as a .safetensors file does".into(),
            None if brace => "it begins as JSON does".into(),
            None => format!("its first bytes are {:02x?}", &bytes[..bytes.len().min(6)]),
        };
        Err(Fault::NotWhatItSays { says: self.name(), found })
    }
}
