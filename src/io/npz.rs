//! numpy's `.npz`: a zip archive of `.npy` files, stored or deflated.

use std::borrow::Cow;
use std::io::{Cursor, Read};

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use crate::io::array::Layout;
use crate::io::{Fault, npy};

/// What `decode` makes of the array `name` of a whole `.npz` file: its member `name.npy`, or `name` as writers other than numpy call it.
pub(super) fn read<T>(bytes: &[u8], name: &str, decode: impl FnOnce(&Layout, &[u8]) -> Result<T, Fault>) -> Result<T, Fault> {
    let damaged = |error: ZipError| Fault::Damaged { why: error.to_string() };
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let with_ending = format!("{name}.npy");
    let Some(index) = archive.index_for_name(&with_ending).or_else(|| archive.index_for_name(name)) else {
        let array = |file: Cow<'_, str>| file.strip_suffix(".npy").unwrap_or(&file).to_owned();
        return Err(Fault::NoArray { name: name.into(), present: archive.file_names().flatten().map(array).collect() });
    };
    let raw = archive.by_index_raw(index).map_err(damaged)?;
    let not_read = |what: String| Fault::NotRead { what, remedy: "write it with numpy.savez or numpy.savez_compressed" };
    if raw.encrypted() {
        return Err(not_read("an archive under a password".into()));
    }
    if !matches!(raw.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
        return Err(not_read(format!("an archive compressed with {}", compressor(raw.compression()))));
    }
    drop(raw);
    let mut array = Vec::new();
    archive.by_index(index).map_err(damaged)?.read_to_end(&mut array).map_err(|error| damaged(error.into()))?;
    npy::read(&array, decode)
}

/// What a compression method is called outside of the format's documents.
fn compressor(method: CompressionMethod) -> String {
    let known = [
        (CompressionMethod::DEFLATE64, "deflate64"),
        (CompressionMethod::BZIP2, "bzip2"),
        (CompressionMethod::LZMA, "lzma"),
        (CompressionMethod::ZSTD, "zstd"),
        (CompressionMethod::XZ, "xz"),
    ];
    let name = known.iter().find(|(known, _)| *known == method).map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| format!("method {method}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::io::Array;
    use zip::write::{SimpleFileOptions, ZipWriter};

    fn read(bytes: &[u8], name: &str) -> Result<Array, Fault> {
        super::read(bytes, name, Layout::decode)
    }

    fn archive(member: &str, method: CompressionMethod) -> Vec<u8> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file(member, SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(&[npy::header("<f4", &[2]), [1f32.to_le_bytes(), 2f32.to_le_bytes()].concat()].concat()).unwrap();
        archive.finish().unwrap().into_inner()
    }

    #[test]
    fn a_member_is_found_with_and_without_its_ending() {
        for member in ["points.npy", "points"] {
            for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
                assert_eq!(read(&archive(member, method), "points").unwrap().values, [1.0, 2.0], "{member} {method}");
            }
        }
    }

    /// Members whose method, in the local header and in the directory, is written over: as other programs compress.
    #[test]
    fn other_compression_and_passwords_are_named() {
        let stored = archive("points.npy", CompressionMethod::Stored);
        let directory = stored.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
        for (id, name) in [(12u8, "bzip2"), (14, "lzma"), (93, "zstd"), (9, "deflate64"), (95, "xz"), (98, "method ")] {
            let mut other = stored.clone();
            (other[8], other[directory + 10]) = (id, id);
            let error = read(&other, "points").unwrap_err().to_string();
            assert!(error.starts_with(&format!("it is an archive compressed with {name}")), "{error}");
        }
        let mut locked = stored.clone();
        (locked[6], locked[directory + 8]) = (locked[6] | 1, locked[directory + 8] | 1);
        let error = read(&locked, "points").unwrap_err().to_string();
        assert!(error.starts_with("it is an archive under a password, which is not read"), "{error}");
    }
}
