//! The file that both sides map: what is written there by one is read by the other, and nothing is copied through a pipe.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use bytemuck::{cast_slice, cast_slice_mut};
use memmap2::MmapMut;
use serde::Deserialize;
use tempfile::{Builder, TempPath};

/// Where files live in memory, if the system has such a place.
const IN_MEMORY: &str = "/dev/shm";
/// Arrays begin at multiples of this many bytes.
const LINE: usize = 64;

/// The type of the numbers.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Element {
    /// 32-bit floats.
    #[default]
    F32,
    /// 64-bit floats.
    F64,
}

impl Element {
    /// `f32` or `f64`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    /// Their rounding error.
    pub(super) fn rounding(self) -> f64 {
        match self {
            Self::F32 => f32::EPSILON.into(),
            Self::F64 => f64::EPSILON,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// Arrays of one type one behind the other in a mapped file.
pub(super) struct Arrays {
    map: MmapMut,
    file: File,
    /// Removes the file when it is dropped, which is after the map.
    path: Option<TempPath>,
    element: Element,
    starts: Vec<usize>,
}

impl Arrays {
    /// Arrays of `lengths` numbers each.
    pub(super) fn new(element: Element, lengths: &[usize]) -> io::Result<Self> {
        let mut starts = vec![0];
        for length in lengths {
            starts.push((starts[starts.len() - 1] + length * element.bytes()).next_multiple_of(LINE));
        }
        let size = starts[lengths.len()] as u64;
        let make = |folder: &Path| {
            let mut file = Builder::new().prefix("brenier-").tempfile_in(folder)?;
            // Written, so that a lack of room is an error here and not a signal later.
            io::copy(&mut io::repeat(0).take(size), file.as_file_mut())?;
            Ok(file)
        };
        let (file, path) = make(Path::new(IN_MEMORY)).or_else(|_: io::Error| make(&env::temp_dir()))?.into_parts();
        // SAFETY: the other side writes only between a question and its answer, when nothing here refers to the bytes.
        let map = unsafe { MmapMut::map_mut(&file)? };
        Ok(Self { map, file, path: Some(path), element, starts })
    }

    /// The type of the numbers.
    pub(super) fn element(&self) -> Element {
        self.element
    }

    /// Where the file is, while it has a name.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The byte that array `which` begins at.
    pub(super) fn start(&self, which: usize) -> usize {
        self.starts[which]
    }

    /// Takes the file's name away: the bytes live as long as they are mapped, and nothing is left however this process ends.
    pub(super) fn unlink(&mut self) {
        if cfg!(unix) {
            self.path = None;
        }
    }

    /// Whether the file still has the size that was mapped.
    pub(super) fn is_whole(&self) -> bool {
        self.file.metadata().is_ok_and(|found| found.len() == self.map.len() as u64)
    }

    /// Writes `values` to the front of array `which`.
    pub(super) fn write(&mut self, which: usize, values: impl ExactSizeIterator<Item = f64>) {
        let bytes = self.bytes(which, values.len());
        match self.element {
            Element::F32 => {
                let there: &mut [f32] = cast_slice_mut(&mut self.map[bytes]);
                there.iter_mut().zip(values).for_each(|(there, value)| *there = value as f32);
            }
            Element::F64 => {
                let there: &mut [f64] = cast_slice_mut(&mut self.map[bytes]);
                there.iter_mut().zip(values).for_each(|(there, value)| *there = value);
            }
        }
    }

    /// Reads the front of array `which` into `values`.
    pub(super) fn read(&self, which: usize, values: &mut [f64]) {
        let bytes = self.bytes(which, values.len());
        match self.element {
            Element::F32 => {
                let there: &[f32] = cast_slice(&self.map[bytes]);
                values.iter_mut().zip(there).for_each(|(value, there)| *value = f64::from(*there));
            }
            Element::F64 => values.copy_from_slice(cast_slice(&self.map[bytes])),
        }
    }

    fn bytes(&self, which: usize, numbers: usize) -> Range<usize> {
        self.starts[which]..self.starts[which] + numbers * self.element.bytes()
    }
}
