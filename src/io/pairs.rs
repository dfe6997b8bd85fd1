//! A folder of pairs as `couple` and `sample --pairs` write them: shards `pairs-00000.npz` or `.safetensors`, in the order of their names.

use std::path::{Path, PathBuf};

use crate::field::Conditions;
use crate::io::array::Layout;
use crate::io::format::Format;
use crate::io::read::{in_file, load};
use crate::io::{Array, Fault, ReadError, npz, safetensors};
use crate::measure::{Cloud, Given};

/// Pairs in files.
#[derive(Clone, Debug)]
pub struct StoredPairs {
    /// The points x₀.
    pub x0: Cloud,
    /// Their partners x₁.
    pub x1: Cloud,
    /// Which point of the target x₁ is, where the target was points.
    pub target_index: Option<Vec<usize>>,
    /// The class of each pair.
    pub label: Option<Conditions>,
    /// The condition of each pair.
    pub condition: Option<Conditions>,
}

/// The pairs in the shards of `folder`.
///
/// # Errors
/// [`ReadError`] where there are none, or arrays of them are missing or of other lengths.
pub fn read_pairs(folder: &Path) -> Result<StoredPairs, ReadError> {
    let paths = in_file(folder, shards)?;
    let (mut x0, mut x1) = (Ends::default(), Ends::default());
    let [mut indices, mut labels, mut conditions] = [const { Vec::new() }; 3];
    let (mut rows, mut width) = (0, 0);
    for path in &paths {
        in_file(path, |path| {
            let before = rows;
            rows += x0.add(cloud(path, "x0")?)?;
            let found = x1.add(cloud(path, "x1")?)?;
            let of_pairs = |name: &'static str, found: usize| match found == rows - before {
                true => Ok(()),
                false => Err(Fault::Rows { array: name, found, needed: rows - before }),
            };
            of_pairs("x1", found)?;
            for (name, all) in [("target_index", &mut indices), ("label", &mut labels), ("condition", &mut conditions)] {
                let Some(array) = optional(path, name)? else { continue };
                of_pairs(name, array.shape.first().copied().unwrap_or(0))?;
                if name == "condition" {
                    width = array.shape.iter().skip(1).product();
                }
                all.extend(array.values);
            }
            Ok(())
        })?;
    }
    in_file(folder, |_| {
        let whole = |name: &'static str, found: usize| match found {
            0 => Ok(false),
            found if found == rows => Ok(true),
            found => Err(Fault::Rows { array: name, found, needed: rows }),
        };
        let has = [
            whole("target_index", indices.len())?,
            whole("label", labels.len())?,
            whole("condition", conditions.len() / width.max(1))?,
        ];
        let of = |values: &[f64], width| Conditions::new(values.to_vec(), width).map_err(Fault::Conditions);
        Ok(StoredPairs {
            x0: x0.cloud()?,
            x1: x1.cloud()?,
            target_index: has[0].then(|| indices.iter().map(|index| *index as usize).collect()),
            label: has[1].then(|| of(&labels, 1)).transpose()?,
            condition: has[2].then(|| of(&conditions, width)).transpose()?,
        })
    })
}

/// The files of pairs in `folder`, in order.
fn shards(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let is_shard = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("pairs-") && (name.ends_with(".npz") || name.ends_with(".safetensors"))
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in folder.read_dir()? {
        paths.extend(Some(entry?.path()).filter(is_shard));
    }
    paths.sort();
    if paths.is_empty() { Err(Fault::NoPairs) } else { Ok(paths) }
}

/// What `decode` makes of the array `name` of a shard.
fn array<T>(path: &Path, name: &str, decode: impl FnOnce(&Layout, &[u8]) -> Result<T, Fault>) -> Result<T, Fault> {
    load(path, |format, bytes| match format {
        Format::Npz => npz::read(bytes, name, decode),
        _ => safetensors::read(bytes, name, decode),
    })
}

fn cloud(path: &Path, name: &str) -> Result<Cloud, Fault> {
    array(path, name, Layout::cloud)
}

/// The array `name`, if the shard has it.
fn optional(path: &Path, name: &str) -> Result<Option<Array>, Fault> {
    match array(path, name, Layout::decode) {
        Err(Fault::NoArray { .. }) => Ok(None),
        array => array.map(Some),
    }
}

/// One end of all pairs, in the precision of the files.
#[derive(Default)]
struct Ends {
    single: Vec<f32>,
    double: Vec<f64>,
    dim: usize,
}

impl Ends {
    /// Takes the points of a shard; how many they are.
    fn add(&mut self, cloud: Cloud) -> Result<usize, Fault> {
        if self.dim != 0 && self.dim != cloud.dim() {
            return Err(Fault::PairDims { found: cloud.dim(), needed: self.dim });
        }
        self.dim = cloud.dim();
        match cloud.given() {
            Given::F32(x) if self.double.is_empty() => self.single.extend_from_slice(x),
            _ => {
                self.double.extend(self.single.drain(..).map(f64::from));
                self.double.extend_from_slice(cloud.points());
            }
        }
        Ok(cloud.len())
    }

    fn cloud(self) -> Result<Cloud, Fault> {
        Ok(if self.double.is_empty() { Cloud::of_f32(self.single, self.dim)? } else { Cloud::new(self.double, self.dim)? })
    }
}
