//! The doors in: a measure from a name or a file, an array from a file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use memmap2::Mmap;

use crate::field::Network;
use crate::io::array::Layout;
use crate::io::format::{self, Format};
#[cfg(feature = "parquet")]
use crate::io::parquet;
#[cfg(feature = "image")]
use crate::io::pictures;
use crate::io::{Array, Fault, ReadError, csv, idx, mixture, network, npy, npz, safetensors};
use crate::measure::{Cloud, CloudError, Measure, NameError, named};

/// The measure that `spec` stands for: a named source ([`named()`]), or the path of a file.
///
/// Points are n × d, or n numbers for d = 1, or n × C × H × W, each point then being C·H·W numbers: a `.npy` array, a `.csv` table, an
/// `.idx` file, the array `points` of a `.npz` or `.safetensors` file with optional `weights` beside it, or the columns of a `.parquet`
/// file, with its columns `weights`, `labels`, `label` and `condition` apart (feature `parquet`). A folder of `.png` and `.jpg` pictures
/// of one size is a point each, with numbers from −1 to 1 (feature `image`). A `.json` file is a mixture. `weights` is a file of n
/// weights that override the file's own. `dim` is the dimension of a plain `normal` (2 where none is given). A file named like a source
/// is `./moons`.
///
/// # Errors
/// [`ReadError`], which names file, place, value and remedy.
pub fn read_measure(spec: &str, weights: Option<&Path>, dim: Option<usize>) -> Result<Measure, ReadError> {
    read_measure_as(spec, Reading { weights, dim, columns: None })
}

/// What a file or a name leaves open.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading<'a> {
    /// File of n weights that override the file's own.
    pub weights: Option<&'a Path>,
    /// The dimension of a plain `normal`.
    pub dim: Option<usize>,
    /// Names of the columns of a table, `.csv` or `.parquet`, that are the coordinates, in this order; else all are.
    pub columns: Option<&'a [String]>,
}

/// [`read_measure`], with what the file leaves open.
///
/// # Errors
/// [`ReadError`], which names file, place, value and remedy.
pub fn read_measure_as(spec: &str, Reading { weights, dim, columns }: Reading<'_>) -> Result<Measure, ReadError> {
    let path = Path::new(spec);
    let means_file = path.extension().is_some() || path.components().count() > 1 || path.exists();
    let measure = match named(spec, dim) {
        Err(NameError::Unknown { .. }) if means_file => in_file(path, |path| measure(path, columns))?,
        other => other?,
    };
    match (measure, weights) {
        (Measure::Finite(cloud), Some(path)) => in_file(path, |path| {
            let weights = load(path, |format, bytes| array(path, format, bytes, "weights"))?.into_weights()?;
            Ok(Measure::Finite(cloud.with_weights(weights)?))
        }),
        (_, Some(path)) => Err(ReadError::WeightsOfLaw { source_name: spec.into(), path: path.into() }),
        (measure, None) => Ok(measure),
    }
}

/// Whether the file at `path` is a `.safetensors` file that holds a network, with its metadata or without.
///
/// # Errors
/// [`ReadError`] when it ends in `.safetensors` and cannot be read.
pub fn is_network(path: &Path) -> Result<bool, ReadError> {
    match Format::of(path) {
        Ok(Format::Safetensors) => in_file(path, |path| load(path, |_, bytes| network::is_network(bytes))),
        _ => Ok(false),
    }
}

/// The network in the `.safetensors` file at `path`.
///
#[doc = include_str!("../../docs/networks.md")]
///
/// # Errors
/// [`ReadError`], which names file, tensor or key, what was found and what is needed.
pub fn read_network(path: &Path) -> Result<Network, ReadError> {
    in_file(path, |path| {
        load(path, |format, bytes| match format {
            Format::Safetensors => network::read(bytes),
            _ => Err(Fault::NoNetwork),
        })
    })
}

/// The array in the file at `path`, of any shape; in `.npz` and `.safetensors` files the one called `name`.
///
/// # Errors
/// [`ReadError`] when the file cannot be read or a number is not finite.
pub fn read_array(path: &Path, name: &str) -> Result<Array, ReadError> {
    in_file(path, |path| {
        let array = load(path, |format, bytes| array(path, format, bytes, name))?;
        if let Some(at) = array.values.iter().position(|x| !x.is_finite()) {
            let columns = array.shape.last().copied().unwrap_or(1);
            return Err(CloudError::NotFinite { row: at / columns, column: at % columns, value: array.values[at] }.into());
        }
        Ok(array)
    })
}

/// Adds the path to what goes wrong in `work`.
pub(super) fn in_file<T>(path: &Path, work: impl FnOnce(&Path) -> Result<T, Fault>) -> Result<T, ReadError> {
    work(path).map_err(|fault| ReadError::File { path: path.into(), fault })
}

/// The measure in the file at `path`.
fn measure(path: &Path, columns: Option<&[String]>) -> Result<Measure, Fault> {
    #[cfg(feature = "image")]
    if path.is_dir() {
        return Ok(Measure::Finite(pictures::read(path)?));
    }
    load(path, |format, bytes| {
        if format == Format::Json {
            return Ok(Measure::Law(mixture::read(bytes)?));
        }
        if format == Format::Safetensors && network::is_network(bytes)? {
            return Err(Fault::Network);
        }
        let cloud = points(path, format, bytes, columns)?;
        if !matches!(format, Format::Npz | Format::Safetensors) {
            return Ok(Measure::Finite(cloud));
        }
        match array(path, format, bytes, "weights") {
            Err(Fault::NoArray { .. }) => Ok(Measure::Finite(cloud)),
            weights => Ok(Measure::Finite(cloud.with_weights(weights?.into_weights()?)?)),
        }
    })
}

/// The text in the file at `path`, in UTF-8.
///
/// # Errors
/// [`ReadError`] when it cannot be read or is in another encoding.
pub fn read_text(path: &Path) -> Result<String, ReadError> {
    in_file(path, |path| {
        let mut bytes = Vec::new();
        // A pipe that the shell opened has someone who writes to it; another may never have.
        let mut file = if path.starts_with("/dev") { File::open(path)? } else { open(path)? };
        file.read_to_end(&mut bytes)?;
        let text = str::from_utf8(format::text(&bytes)?);
        let remedy = "save it as UTF-8";
        text.map(str::to_owned).map_err(|_| Fault::NotRead { what: "text in another encoding than UTF-8".into(), remedy })
    })
}

/// The array called `name`, or the only one there is, in the file at `path`.
fn array(path: &Path, format: Format, bytes: &[u8], name: &str) -> Result<Array, Fault> {
    match format {
        Format::Npy => npy::read(bytes, Layout::decode),
        Format::Csv => table(path, bytes, None),
        Format::Npz => npz::read(bytes, name, Layout::decode),
        Format::Safetensors => safetensors::read(bytes, name, Layout::decode),
        Format::Idx => idx::read(bytes, Layout::decode),
        #[cfg(feature = "parquet")]
        Format::Parquet => parquet::Table::open(bytes)?.array(name),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => {
            Err(Fault::NotRead { what: "a Parquet file".into(), remedy: "build brenier with the feature \"parquet\"" })
        }
        Format::Json => Err(Fault::NotAnArray),
    }
}

/// The array of points in the file at `path`.
fn points(path: &Path, format: Format, bytes: &[u8], columns: Option<&[String]>) -> Result<Cloud, Fault> {
    match format {
        Format::Npy => npy::read(bytes, Layout::cloud),
        Format::Npz => npz::read(bytes, "points", Layout::cloud),
        Format::Safetensors => safetensors::read(bytes, "points", Layout::cloud),
        Format::Idx => idx::read(bytes, Layout::cloud),
        Format::Csv => table(path, bytes, columns)?.into_cloud(),
        #[cfg(feature = "parquet")]
        Format::Parquet => parquet::Table::open(bytes)?.cloud(columns),
        _ => array(path, format, bytes, "points")?.into_cloud(),
    }
}

/// The table in the file at `path`; what is to be said of it is a warning.
fn table(path: &Path, bytes: &[u8], columns: Option<&[String]>) -> Result<Array, Fault> {
    let table = csv::read(bytes, columns)?;
    table.remarks.iter().for_each(|remark| tracing::warn!("{}: {remark}", path.display()));
    Ok(table.array)
}

/// The file at `path`, which is neither a folder nor a pipe: opening one of those that nobody writes to never ends.
pub(super) fn open(path: &Path) -> Result<File, Fault> {
    let of = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Fault::Missing,
        _ => error.into(),
    };
    let kind = fs::metadata(path).map_err(of)?.file_type();
    if kind.is_dir() {
        return Err(Fault::Folder);
    }
    if !kind.is_file() {
        return Err(Fault::Stream);
    }
    File::open(path).map_err(of)
}

/// What `decode` makes of the file at `path`, mapped into memory so that only the decoded numbers take space of their own.
pub(super) fn load<T>(path: &Path, decode: impl FnOnce(Format, &[u8]) -> Result<T, Fault>) -> Result<T, Fault> {
    let file = open(path)?;
    let format = Format::of(path)?;
    // SAFETY: the map is only read, and dropped before this returns. A file that someone truncates meanwhile ends the process
    // with SIGBUS, as with every mapped reader; nothing here keeps a reference that could change under it later.
    let bytes = unsafe { Mmap::map(&file)? };
    let content = format.content(&bytes)?;
    format.check(content)?;
    decode(format, content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::safetensors::tensor::{Dtype, TensorView, serialize};
    use proptest::prelude::*;
    use std::fs;

    /// Writes `bytes` as `name` in a folder of its own and gives what reading it as a measure says.
    fn refusal(name: &str, bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let message = read_measure(path.to_str().unwrap(), None, None).unwrap_err().to_string();
        message.strip_prefix(&format!("{}: ", path.display())).expect("the message names the file").to_owned()
    }

    fn npy(descr: &str, shape: &[usize], data: &[u8]) -> Vec<u8> {
        [npy::header(descr, shape), data.to_vec()].concat()
    }

    /// `numpy.savez_compressed("numpy.npz", points=…, weights=[1, 2, 5])` with points in Fortran order and float32.
    #[test]
    fn an_archive_of_numpy_is_a_weighted_cloud() {
        let Measure::Finite(cloud) = read_measure("tests/data/numpy.npz", None, None).unwrap() else { panic!("points") };
        assert_eq!((cloud.points(), cloud.dim()), (&[0.0, 0.25, 0.5, 0.75, 1.0, 1.25][..], 2));
        assert_eq!(cloud.weights().unwrap(), [0.125, 0.25, 0.625]);
        assert_eq!(read_array(Path::new("tests/data/numpy.npz"), "weights").unwrap().values, [1.0, 2.0, 5.0]);
    }

    #[test]
    fn weights_of_their_own_file_override() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.csv");
        let read = |spec: &str, text: &str| {
            fs::write(&path, text).unwrap();
            read_measure(spec, Some(&path), None)
        };
        let Measure::Finite(cloud) = read("tests/data/numpy.npz", "weight\n1\n1\n2\n").unwrap() else { panic!("points") };
        assert_eq!(cloud.weights().unwrap(), [0.25, 0.25, 0.5]);
        let message = |spec, text| read(spec, text).unwrap_err().to_string();
        assert!(message("tests/data/numpy.npz", "1\n1\n").ends_with("w.csv: 2 weights for 3 points; give one weight a point"));
        assert!(
            message("tests/data/numpy.npz", "1\n-1\n2\n").ends_with("weight 1 is -1; weights must be finite and not negative")
        );
        assert!(message("tests/data/numpy.npz", "1,1\n2,2\n").ends_with("shape [2, 2]; weights are n numbers, one a point"));
        assert!(message("moons", "1\n").starts_with("moons is a law, not a set of points, so it takes no weights; leave "));
    }

    #[test]
    fn points_that_are_no_cloud_are_refused_by_row_and_column() {
        let row = |x: f32| [1f32.to_le_bytes(), x.to_le_bytes()].concat();
        let nan = npy("<f4", &[2, 2], &[row(1.0), row(f32::NAN)].concat());
        assert_eq!(
            refusal("x.npy", &nan),
            "row 1, column 1 is NaN; every coordinate must be a finite number: remove or repair that row"
        );
        assert!(refusal("x.npy", &npy("<f2", &[1], &half::f16::INFINITY.to_le_bytes())).starts_with("row 0, column 0 is inf"));
        assert!(refusal("x.npy", &npy("<f4", &[0, 2], &[])).starts_with("the cloud is empty: 0 points of dimension 2"));
        assert!(refusal("x.csv", b"x,y\n").starts_with("the cloud is empty: 0 points of dimension 2"));
        assert!(refusal("x.npy", &npy("<f4", &[], &[0; 4])).starts_with("the array has shape []; points are n × d"));
        assert!(refusal("x.npy", &npy("<f4", &[1, 0, 2], &[])).starts_with("the cloud is empty: 0 points of dimension 0"));
        assert!(refusal("x.npy", &npy("|b1", &[2, 2], &[0; 4])).starts_with("it holds numbers of type |b1; float16"));
    }

    #[test]
    fn pictures_in_an_array_are_a_point_each() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            let Measure::Finite(cloud) = read_measure(path.to_str().unwrap(), None, None).unwrap() else { panic!("points") };
            (cloud.len(), cloud.dim(), cloud.points().to_vec())
        };
        let numbers: Vec<f64> = (0..12u8).map(f64::from).collect();
        let bytes: Vec<u8> = (0..12).collect();
        assert_eq!(read("x.npy", &npy("|u1", &[2, 1, 3, 2], &bytes)), (2, 6, numbers.clone()));
        let idx = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 2][..], &bytes].concat();
        for name in ["x.idx", "train-images-idx3-ubyte", "t10k.idx3-ubyte"] {
            assert_eq!(read(name, &idx), (2, 6, numbers.clone()));
        }
        let doubles = [&[0, 0, 14, 1, 0, 0, 0, 1][..], &2.5f64.to_be_bytes()].concat();
        assert_eq!(read("x.idx", &doubles), (1, 1, vec![2.5]));
        assert!(refusal("x.idx", &idx[..20]).starts_with("the file is cut short: an array of shape [2, 3, 2] needs 12 bytes"));
        assert!(refusal("x.idx", &idx[..9]).starts_with("the file is damaged"));
        assert!(refusal("x.idx", &bytes).starts_with("this is not a .idx file"));
    }

    #[test]
    fn a_file_that_is_not_what_its_name_says_is_refused() {
        let array = npy("<f4", &[2, 2], &[0; 16]);
        let zip = fs::read("tests/data/numpy.npz").unwrap();
        let not = |name, bytes: &[u8], says: &str, found: &str| {
            let expected =
                format!("this is not a {says} file, whatever its name says: {found}; give it its own ending, or write it again");
            assert_eq!(refusal(name, bytes), expected);
        };
        not("x.npy", &zip, ".npy", "it begins as a .npz or other zip archive does");
        not("x.npy", b"hello world", ".npy", "its first bytes are [68, 65, 6c, 6c, 6f, 20]");
        not("x.npz", &array, ".npz", "it begins as a .npy array does");
        not("x.csv", &array, ".csv", "it begins as a .npy array does");
        not("x.safetensors", &array, ".safetensors", "it begins as a .npy array does");
        not("x.json", b"1,2\n", ".json", "its first bytes are [31, 2c, 32, 0a]");
        not("x.npy", b"{\"weights\": []}", ".npy", "it begins as JSON does");
        assert_eq!(refusal("x.npy", b""), "the file is empty (0 bytes); write it again");
        assert!(
            refusal("x.mat", b"1")
                .starts_with("its ending \".mat\" is none of .npy, .npz, .csv, .safetensors, .idx, .parquet, .json")
        );
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let array = npy("<f8", &[10, 2], &[0; 150]);
        let message = refusal("x.npy", &array);
        assert_eq!(
            message,
            "the file is cut short: an array of shape [10, 2] needs 160 bytes, and 150 are there; copy or write it again"
        );
        let zip = fs::read("tests/data/numpy.npz").unwrap();
        let view = TensorView::new(Dtype::F32, vec![2, 2], &[0; 16]).unwrap();
        let tensors = serialize([("points", view)], None).unwrap();
        for (name, whole) in [("x.npz", zip), ("x.safetensors", tensors)] {
            for length in [whole.len() - 1, whole.len() / 2, 12] {
                assert!(refusal(name, &whole[..length]).starts_with("the file is damaged or cut short"), "{name} {length}");
            }
        }
    }

    #[test]
    fn an_archive_without_points_lists_what_it_has() {
        let view = TensorView::new(Dtype::BOOL, vec![1], &[0; 1]).unwrap();
        let save = |name| serialize([(name, view.clone())], None).unwrap();
        assert_eq!(
            refusal("x.safetensors", &save("x")),
            "there is no array \"points\" in it, only [x]; save the array under that name"
        );
        assert!(refusal("x.safetensors", &save("points")).starts_with("it holds numbers of type BOOL"));
        let error = read_array(Path::new("tests/data/numpy.npz"), "noise").unwrap_err().to_string();
        assert!(error.contains("no array \"noise\" in it, only [points, weights]"), "{error}");
    }

    #[test]
    fn what_is_neither_name_nor_file_is_refused_with_the_names() {
        let message = |spec: &str| read_measure(spec, None, None).unwrap_err().to_string();
        assert_eq!(message("nowhere.npy"), "nowhere.npy: there is no such file; check the path");
        assert!(message("digit").contains("did you mean digits?"));
        let folder = if cfg!(feature = "image") { "no .png or .jpg file in it" } else { "it is a folder, not a file" };
        assert!(message("src/io").starts_with("src/io: it is a folder") && message("src/io").contains(folder.trim_start()));
        let error = read_array(Path::new("Cargo.toml"), "points").unwrap_err().to_string();
        assert!(error.contains("its ending \".toml\""), "{error}");
    }

    #[test]
    fn text_is_read_behind_its_mark_and_in_one_encoding() {
        let folder = tempfile::tempdir().unwrap();
        let json = r#"{"weights": [1], "means": [[0, 0, 0]], "variances": [2]}"#;
        for (name, text) in [("x.json", json), ("x.csv", "x,y,z\n1,2,3\n")] {
            let path = folder.path().join(name);
            fs::write(&path, format!("\u{feff}{text}")).unwrap();
            assert_eq!(read_measure(path.to_str().unwrap(), None, None).unwrap().dim(), 3, "{name}");
            assert_eq!(read_text(&path).unwrap(), text);
            let wide = |mark: &[u8], units: Vec<Vec<u8>>| [mark.to_vec(), units.concat()].concat();
            let utf16 =
                |big: bool| text.encode_utf16().map(|u| if big { u.to_be_bytes() } else { u.to_le_bytes() }.to_vec()).collect();
            let utf32 = || text.chars().map(|c| u32::from(c).to_le_bytes().to_vec()).collect();
            for (encoding, bytes) in [
                ("UTF-16", wide(b"\xff\xfe", utf16(false))),
                ("UTF-16", wide(b"\xfe\xff", utf16(true))),
                ("UTF-16", wide(b"", utf16(false))),
                ("UTF-32", wide(b"\xff\xfe\0\0", utf32())),
            ] {
                assert_eq!(refusal(name, &bytes), format!("it is text in {encoding}, which is not read; save it as UTF-8"));
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["x.npy", "x.json", "x"] {
            let path = folder.path().join(name);
            assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
            for message in [read_array(&path, "points").map(drop), read_measure(path.to_str().unwrap(), None, None).map(drop)] {
                assert!(message.unwrap_err().to_string().contains("it is a pipe or a device, not a file"), "{name}");
            }
            assert!(read_text(&path).is_err());
        }
        assert!(read_array(Path::new("/dev/null"), "points").unwrap_err().to_string().contains("a pipe or a device"));
    }

    #[test]
    fn a_json_file_is_a_law() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.json");
        fs::write(&path, r#"{"weights": [1], "means": [[0, 0, 0]], "variances": [2]}"#).unwrap();
        let measure = read_measure(path.to_str().unwrap(), None, None).unwrap();
        assert!(matches!(&measure, Measure::Law(mixture) if mixture.dim() == 3));
        assert!(read_array(&path, "points").unwrap_err().to_string().contains("holds a mixture, not an array"));
    }

    proptest! {
        /// Whatever happens to a file, reading it ends in a measure or a sentence.
        #[test]
        fn a_garbled_file_never_panics(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>()) {
            let view = TensorView::new(Dtype::F32, vec![2, 2], &[0; 16]).unwrap();
            for (format, mut bytes) in [
                (Format::Npy, npy("<f4", &[2, 2], &[0; 16])),
                (Format::Npz, fs::read("tests/data/numpy.npz").unwrap()),
                (Format::Safetensors, serialize([("points", view)], None).unwrap()),
                (Format::Csv, b"x,y\n1,2\n3,4\n".to_vec()),
                #[cfg(feature = "parquet")]
                (Format::Parquet, fs::read("tests/data/pandas.parquet").unwrap()),
                (Format::Idx, [&[0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 2][..], &[1; 4]].concat()),
            ] {
                for (at, value) in &flips {
                    let at = at.index(bytes.len());
                    bytes[at] = *value;
                }
                let _ = array(Path::new("x"), format, &bytes, "points");
                let _ = array(Path::new("x"), format, &bytes[..cut.index(bytes.len())], "points");
            }
            let mut json = br#"{"weights": [1, 2], "means": [[0, 1], [2, 3]], "covariances": [[[1, 0], [0, 1]], [[1, 0], [0, 1]]]}"#.to_vec();
            for (at, value) in &flips {
                let at = at.index(json.len());
                json[at] = *value;
            }
            let _ = mixture::read(&json);
        }
    }
}
