//! The door out: files are written whole or not at all.
//!
//! Everything goes to a temporary file in the same folder, which is renamed over the target when it is complete. A failure
//! (no space, a file-size limit, no permission) removes it and leaves the target as it was.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use tempfile::Builder;
use thiserror::Error;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::field::Network;
#[cfg(feature = "parquet")]
use crate::io::parquet;
use crate::io::{network, npy};
use crate::measure::Cloud;

/// Why a file was not written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The system refused.
    #[error("{} was not written, and nothing was left in its place: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A format of one array, and a cloud whose points weigh unlike.
    #[error("{}: the points have weights, and such a file holds points alone; give it the ending .npz, .safetensors or .parquet", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
    },
    /// The ending is that of no format.
    #[error("{}: arrays are written as .npy, .npz, .csv, .safetensors or .parquet; give the file one of these endings", path.display())]
    Extension {
        /// The file.
        path: PathBuf,
    },
}

/// What the name of a file begins with while it is written.
const TEMPORARY: &str = ".brenier-";

/// The type of the numbers written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Float {
    /// Four bytes, rounded to nearest; beyond 3.4e38 that is infinity.
    #[default]
    F32,
    /// Eight bytes, exact.
    F64,
}

impl Float {
    /// numpy's name of the type.
    fn descr(self) -> &'static str {
        match self {
            Self::F32 => "<f4",
            Self::F64 => "<f8",
        }
    }

    /// The numbers as little-endian bytes.
    fn write(self, values: &[f64], out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::F32 => values.iter().try_for_each(|&x| out.write_all(&(x as f32).to_le_bytes())),
            Self::F64 => values.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
        }
    }
}

/// An array of a file that holds several.
#[derive(Clone, Debug)]
pub struct NamedArray<'a> {
    /// What it is called in the file.
    pub name: &'a str,
    /// The numbers in C order, Π `shape` of them.
    pub numbers: Numbers<'a>,
    /// Extent of each axis.
    pub shape: Vec<usize>,
}

/// Numbers to be written.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    /// Reals, stored as the type says.
    Reals(&'a [f64], Float),
    /// Indices, stored as 64-bit integers: what numpy and PyTorch index with.
    Indices(&'a [u32]),
}

impl Numbers<'_> {
    fn descr(self) -> &'static str {
        match self {
            Self::Reals(_, float) => float.descr(),
            Self::Indices(_) => "<i8",
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::Reals(_, Float::F32) => Dtype::F32,
            Self::Reals(_, Float::F64) => Dtype::F64,
            Self::Indices(_) => Dtype::I64,
        }
    }

    fn write(self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Reals(values, float) => float.write(values, out),
            Self::Indices(indices) => indices.iter().try_for_each(|&i| out.write_all(&i64::from(i).to_le_bytes())),
        }
    }
}

/// Writes the file at `path` with `fill`, whole or not at all; its folder is made if missing.
///
/// # Errors
/// [`WriteError::File`] with the path and what the system said, whatever went wrong.
pub fn write_whole(path: &Path, fill: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> Result<(), WriteError> {
    let write = || {
        let folder = folder_of(path);
        fs::create_dir_all(folder)?;
        let mut builder = Builder::new();
        #[cfg(unix)] // as any new file is: 0666 less the umask, where a temporary file would be 0600
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let temporary = builder.prefix(TEMPORARY).tempfile_in(folder)?;
        let mut out = BufWriter::new(temporary.as_file());
        fill(&mut out)?;
        out.flush()?;
        drop(out);
        temporary.persist(path)?;
        Ok(())
    };
    write().map_err(|cause| WriteError::File { path: path.into(), cause })
}

/// Writes `text` to `path`.
///
/// # Errors
/// [`WriteError::File`] when the system refuses.
pub fn write_text(path: &Path, text: &str) -> Result<(), WriteError> {
    write_whole(path, |out| out.write_all(text.as_bytes()))
}

/// Writes Π `shape` numbers in C order to the `.npy` file at `path`.
///
/// # Errors
/// [`WriteError::File`] when the system refuses.
pub fn write_npy(path: &Path, values: &[f64], shape: &[usize], float: Float) -> Result<(), WriteError> {
    write_whole(path, |out| npy_into(out, values, shape, float))
}

/// Writes Π `shape` numbers in C order to `path` in the format its ending says: `.npy`; `.npz` and `.safetensors` with the array
/// `points`; `.csv` with a header `x0,x1,…` and the last axis along a line; `.parquet` with columns `x0`, `x1`, …, a row for each of the
/// first axis (feature `parquet`).
///
/// # Errors
/// [`WriteError::Extension`] for another ending, [`WriteError::File`] when the system refuses.
pub fn write_array(path: &Path, values: &[f64], shape: &[usize], float: Float) -> Result<(), WriteError> {
    match ending(path).as_str() {
        "npy" => write_npy(path, values, shape, float),
        "npz" | "safetensors" => write_arrays(path, &[points(values, shape, float)]),
        "csv" => write_whole(path, |out| csv_into(out, values, shape, float)),
        #[cfg(feature = "parquet")]
        "parquet" => write_whole(path, |out| parquet::write(out, (values, shape.iter().skip(1).product()), None, float)),
        _ => Err(WriteError::Extension { path: path.into() }),
    }
}

/// Writes the points of `cloud` to `path` as [`write_array`] does, and its weights, in double precision, as the array or column `weights`
/// beside them.
///
/// # Errors
/// [`WriteError::Weights`] when the cloud has weights that are not all equal and the format holds one array, else as [`write_array`].
pub fn write_cloud(path: &Path, cloud: &Cloud, float: Float) -> Result<(), WriteError> {
    let shape = [cloud.len(), cloud.dim()];
    let Some(weights) = cloud.weights().filter(|weights| weights.iter().any(|w| *w != weights[0])) else {
        return write_array(path, cloud.points(), &shape, float);
    };
    if !holds_weights(path) {
        return Err(WriteError::Weights { path: path.into() });
    }
    #[cfg(feature = "parquet")]
    if is_parquet(path) {
        return write_whole(path, |out| parquet::write(out, (cloud.points(), cloud.dim()), Some(weights), float));
    }
    let weights = NamedArray { name: "weights", numbers: Numbers::Reals(weights, Float::F64), shape: vec![weights.len()] };
    write_arrays(path, &[points(cloud.points(), &shape, float), weights])
}

/// Whether `path` ends as Parquet files do, and these are written.
fn is_parquet(path: &Path) -> bool {
    cfg!(feature = "parquet") && ending(path) == "parquet"
}

/// Whether a file of the name of `path` holds several arrays, so that weights can stand beside points.
pub fn holds_weights(path: &Path) -> bool {
    ["npz", "safetensors"].contains(&ending(path).as_str()) || is_parquet(path)
}

fn points<'a>(values: &'a [f64], shape: &[usize], float: Float) -> NamedArray<'a> {
    NamedArray { name: "points", numbers: Numbers::Reals(values, float), shape: shape.to_vec() }
}

/// Several arrays into one file, `.npz` or `.safetensors` by its ending.
///
/// # Errors
/// [`WriteError::Extension`] for another ending, [`WriteError::File`] when the system refuses.
pub fn write_arrays(path: &Path, arrays: &[NamedArray<'_>]) -> Result<(), WriteError> {
    match ending(path).as_str() {
        "npz" => write_whole(path, |out| npz_into(out, arrays)),
        "safetensors" => write_whole(path, |out| safetensors_into(out, arrays, None)),
        _ => Err(WriteError::Extension { path: path.into() }),
    }
}

/// A network in brenier's own format, `.safetensors` with metadata (docs/networks.md); `schedule` names the one that it was trained on.
///
/// # Errors
/// [`WriteError::File`] when the system refuses.
pub fn write_network(path: &Path, network: &Network, schedule: &str, float: Float) -> Result<(), WriteError> {
    let tensors = network::tensors(network);
    let arrays: Vec<NamedArray<'_>> = tensors
        .iter()
        .map(|(name, shape, values)| NamedArray { name, numbers: Numbers::Reals(values, float), shape: shape.clone() })
        .collect();
    write_whole(path, |out| safetensors_into(out, &arrays, Some(network::metadata(network, schedule))))
}

/// Refuses a path that [`write_array`] would refuse: the check to make before hours of work. Its folder is made if missing.
///
/// # Errors
/// [`WriteError::Extension`] when the ending is none of `.npy`, `.npz`, `.csv`, `.safetensors` and `.parquet`, [`WriteError::File`] when no file
/// can be written there.
pub fn check_path(path: &Path) -> Result<(), WriteError> {
    if !["npy", "npz", "safetensors", "csv"].contains(&ending(path).as_str()) && !is_parquet(path) {
        return Err(WriteError::Extension { path: path.into() });
    }
    let free = if path.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { check_folder(folder_of(path)) };
    free.map_err(|cause| WriteError::File { path: path.into(), cause })
}

/// Makes `folder` if it is missing, and a file in it that is removed at once: the check to make before hours of work.
///
/// # Errors
/// What the system says when it refuses either.
pub fn check_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    Builder::new().prefix(TEMPORARY).tempfile_in(folder)?.close()
}

/// The folder that the file at `path` lies in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The ending of `path` in small letters, without its dot.
fn ending(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default()
}

fn npy_into(out: &mut impl Write, values: &[f64], shape: &[usize], float: Float) -> io::Result<()> {
    debug_assert_eq!(values.len(), shape.iter().product::<usize>());
    out.write_all(&npy::header(float.descr(), shape))?;
    float.write(values, out)
}

fn npz_into(out: &mut BufWriter<&File>, arrays: &[NamedArray<'_>]) -> io::Result<()> {
    let mut archive = ZipWriter::new(out);
    // Stored as numpy.savez does, with room for sizes beyond 4 GiB.
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored).large_file(true);
    for array in arrays {
        archive.start_file(format!("{}.npy", array.name), options)?;
        let mut entry = BufWriter::new(&mut archive);
        entry.write_all(&npy::header(array.numbers.descr(), &array.shape))?;
        array.numbers.write(&mut entry)?;
        entry.flush()?;
    }
    archive.finish()?;
    Ok(())
}

fn safetensors_into(
    out: &mut impl Write,
    arrays: &[NamedArray<'_>],
    metadata: Option<HashMap<String, String>>,
) -> io::Result<()> {
    let mut bytes = vec![Vec::new(); arrays.len()];
    arrays.iter().zip(&mut bytes).try_for_each(|(array, bytes)| array.numbers.write(bytes))?;
    let view = |(array, bytes)| {
        let NamedArray { name, numbers, shape }: &NamedArray<'_> = array;
        let bytes: &Vec<u8> = bytes;
        TensorView::new(numbers.dtype(), shape.clone(), bytes).map(|view| (*name, view)).map_err(io::Error::other)
    };
    let views: Vec<_> = arrays.iter().zip(&bytes).map(view).collect::<Result<_, _>>()?;
    let named = metadata.is_some();
    let mut file = safetensors::serialize(views, metadata).map_err(io::Error::other)?;
    if named {
        sort_metadata(&mut file)?;
    }
    out.write_all(&file)
}

/// Puts the metadata of a `.safetensors` file, which come in the order of a hash, into that of their names: equal networks are equal
/// files.
fn sort_metadata(file: &mut [u8]) -> io::Result<()> {
    let (length, rest) = file.split_at_mut(8);
    let length = u64::from_le_bytes(length.try_into().map_err(io::Error::other)?) as usize;
    let mut header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&rest[..length])?;
    if let Some(metadata) = header.get_mut("__metadata__").and_then(serde_json::Value::as_object_mut) {
        metadata.sort_keys();
    }
    let text = serde_json::to_vec(&header)?;
    if text.len() <= length {
        rest[..length].fill(b' ');
        rest[..text.len()].copy_from_slice(&text);
    }
    Ok(())
}

fn csv_into(out: &mut impl Write, values: &[f64], shape: &[usize], float: Float) -> io::Result<()> {
    let columns = shape.get(1..).unwrap_or_default().last().map_or(1, |&d| d.max(1));
    let header: Vec<String> = (0..columns).map(|k| format!("x{k}")).collect();
    writeln!(out, "{}", header.join(","))?;
    for row in values.chunks_exact(columns) {
        for (k, &x) in row.iter().enumerate() {
            let separator = if k == 0 { "" } else { "," };
            match float {
                Float::F32 => write!(out, "{separator}{:?}", x as f32)?,
                Float::F64 => write!(out, "{separator}{x:?}")?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{read_array, read_measure};
    use crate::measure::Measure;
    use proptest::prelude::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    const ENDINGS: &[&str] = if cfg!(feature = "parquet") {
        &["npy", "npz", "safetensors", "csv", "parquet"]
    } else {
        &["npy", "npz", "safetensors", "csv"]
    };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_written_is_read_back_to_the_bit(
            columns in 1usize..5,
            values in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO, 4..40),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let values = &values[..values.len() / columns * columns];
            let narrow: Vec<f64> = values.iter().map(|&x| f64::from((x as f32).clamp(f32::MIN, f32::MAX))).collect();
            for (float, values) in [(Float::F64, values), (Float::F32, &narrow)] {
                for ending in ENDINGS {
                    let path = folder.path().join(format!("x.{ending}"));
                    write_array(&path, values, &[values.len() / columns, columns], float).unwrap();
                    let Measure::Finite(cloud) = read_measure(path.to_str().unwrap(), None, None).unwrap() else { panic!() };
                    // A decimal written for an f32 is the shortest that gives that f32 back, not its f64.
                    let round = |x: f64| if float == Float::F32 { f64::from(x as f32) } else { x };
                    let bits = |values: &[f64]| values.iter().map(|&x| round(x).to_bits()).collect::<Vec<_>>();
                    prop_assert_eq!(bits(cloud.points()), bits(values), "{} {:?}", ending, float);
                    prop_assert_eq!(cloud.dim(), columns);
                }
            }
        }
    }

    #[test]
    fn a_weighted_cloud_is_written_with_its_weights_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let cloud = Cloud::new(vec![0.0, 1.0, 5.0], 1).unwrap();
        let weighted = cloud.clone().with_weights(vec![3.0, 0.0, 1.0]).unwrap();
        let equal = cloud.clone().with_weights(vec![2.0; 3]).unwrap();
        for ending in ENDINGS {
            let path = folder.path().join(format!("x.{ending}"));
            let read = || match read_measure(path.to_str().unwrap(), None, None).unwrap() {
                Measure::Finite(cloud) => cloud,
                other => panic!("{other:?}"),
            };
            write_cloud(&path, &equal, Float::F32).unwrap();
            assert_eq!(read(), cloud, "{ending}");
            match write_cloud(&path, &weighted, Float::F32) {
                Ok(()) => assert_eq!(read(), weighted, "{ending}"),
                Err(error) => {
                    assert!(!holds_weights(&path) && error.to_string().contains("the points have weights"), "{error}");
                    assert_eq!(read(), cloud, "{ending}");
                }
            }
        }
    }

    #[test]
    fn a_path_that_cannot_be_written_is_refused_beforehand_and_one_that_can_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write_text(&at("file"), "").unwrap();
        fs::create_dir(at("folder.npy")).unwrap();
        assert!(matches!(check_path(&at("x.txt")), Err(WriteError::Extension { .. })));
        for name in ["file/x.npy", "file/new/x.csv", "folder.npy"] {
            assert!(matches!(check_path(&at(name)), Err(WriteError::File { .. })), "{name}");
        }
        check_path(&at("new/x.npy")).unwrap();
        assert_eq!(names(folder.path()), ["file", "folder.npy", "new"]);
        assert_eq!(names(&at("new")), [] as [String; 0]);
    }

    #[test]
    fn arrays_of_three_axes_keep_their_shape() {
        let folder = tempfile::tempdir().unwrap();
        let values: Vec<f64> = (0..24).map(f64::from).collect();
        for ending in ["npy", "npz", "safetensors"] {
            let path = folder.path().join(format!("new/folders/x.{ending}"));
            write_array(&path, &values, &[2, 3, 4], Float::F32).unwrap();
            let array = read_array(&path, "points").unwrap();
            assert_eq!((array.shape, array.values), (vec![2, 3, 4], values.clone()));
        }
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        write_text(&path, "old").unwrap();
        let error = write_whole(&path, |out| {
            out.write_all(&[0; 100_000])?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        let message = error.unwrap_err().to_string();
        assert_eq!(message, format!("{} was not written, and nothing was left in its place: no storage space", path.display()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["run.json"]);
        write_text(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn a_folder_that_cannot_be_made_and_an_unknown_ending_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        write_text(&file, "").unwrap();
        assert!(matches!(write_text(&file.join("x.json"), ""), Err(WriteError::File { .. })));
        assert!(matches!(write_text(folder.path(), ""), Err(WriteError::File { .. })));
        let error = write_array(&folder.path().join("x.txt"), &[1.0], &[1], Float::F32).unwrap_err().to_string();
        assert!(error.ends_with(
            "x.txt: arrays are written as .npy, .npz, .csv, .safetensors or .parquet; give the file one of these endings"
        ));
        assert_eq!(names(folder.path()), ["file"]);
    }

    /// Runs itself under `ulimit -f`, with SIGXFSZ ignored as the binary must have it.
    #[cfg(unix)]
    #[test]
    fn a_file_size_limit_is_an_error_that_leaves_nothing_behind() {
        const FOLDER: &str = "BRENIER_TEST_FOLDER";
        if let Some(folder) = std::env::var_os(FOLDER) {
            for ending in ENDINGS {
                let path = Path::new(&folder).join(format!("x.{ending}"));
                let error = write_array(&path, &vec![0.5; 1 << 18], &[1 << 17, 2], Float::F64).unwrap_err();
                assert!(error.to_string().contains("File too large"), "{error}");
            }
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let name = "io::write::tests::a_file_size_limit_is_an_error_that_leaves_nothing_behind";
        let status = std::process::Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" --exact \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg(name)
            .env(FOLDER, folder.path())
            .output()
            .unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
        assert_eq!(names(folder.path()), [] as [String; 0]);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_has_the_permissions_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_text(&ours, "x").unwrap();
        fs::write(&plain, "x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
