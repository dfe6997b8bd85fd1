//! The files of pairs, each written when it is full.

use brenier::io::{Float, NamedArray, Numbers};

use clap::ValueEnum;

use crate::Failure;
use crate::output::Folder;

/// A format of several arrays a file.
#[derive(Clone, Copy, ValueEnum)]
pub enum Format {
    /// numpy's archive
    Npz,
    /// As PyTorch users like it
    Safetensors,
}

/// Pairs a file, unless told otherwise: fewer where a file would exceed 256 MiB.
pub fn rows(asked: Option<u32>, d: usize) -> usize {
    asked.map_or_else(|| 65_536.min((1usize << 25).div_ceil(d)), |rows| rows as usize)
}

/// Pairs on their way into files of `rows` pairs.
pub struct Shards<'a> {
    folder: Option<&'a Folder>,
    ending: &'static str,
    rows: usize,
    d: usize,
    float: Float,
    source: Vec<u32>,
    target: Vec<u32>,
    x0: Vec<f64>,
    x1: Vec<f64>,
    classes: Vec<u32>,
    conditions: Vec<f64>,
    files: usize,
    written: u64,
    /// Σ|x1 − x0|².
    squares: f64,
}

impl<'a> Shards<'a> {
    /// Removes the pairs of an earlier run from `folder`.
    pub fn new(folder: Option<&'a Folder>, format: Format, rows: usize, d: usize, float: Float) -> Result<Self, Failure> {
        let ending = match format {
            Format::Npz => "npz",
            Format::Safetensors => "safetensors",
        };
        if let Some(folder) = folder {
            folder.clear_numbered("pairs-", &["npz", "safetensors"])?;
        }
        let (source, target, x0, x1, classes, conditions) = Default::default();
        Ok(Self {
            folder,
            ending,
            rows,
            d,
            float,
            source,
            target,
            x0,
            x1,
            classes,
            conditions,
            files: 0,
            written: 0,
            squares: 0.0,
        })
    }

    /// Dimension d of the points.
    pub fn dim(&self) -> usize {
        self.d
    }

    /// Pairs taken so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Takes the pair of the points `x0` and `x1`, with their indices where they are of clouds, and with the class or the condition of
    /// the target.
    pub fn push(
        &mut self,
        [x0, x1]: [&[f64]; 2],
        indices: Option<[u32; 2]>,
        class: Option<u32>,
        condition: &[f64],
    ) -> Result<(), Failure> {
        self.classes.extend(class);
        self.conditions.extend_from_slice(condition);
        if let Some([i, j]) = indices {
            self.source.push(i);
            self.target.push(j);
        }
        self.x0.extend_from_slice(x0);
        self.x1.extend_from_slice(x1);
        self.squares += x0.iter().zip(x1).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
        self.written += 1;
        if self.x0.len() == self.rows * self.d { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let rows = self.x0.len() / self.d;
        if let Some(folder) = self.folder {
            let index = |name, numbers| NamedArray { name, numbers: Numbers::Indices(numbers), shape: vec![rows] };
            let points = |name, x| NamedArray { name, numbers: Numbers::Reals(x, self.float), shape: vec![rows, self.d] };
            let mut arrays = Vec::new();
            if !self.source.is_empty() {
                arrays.extend([index("source_index", &self.source), index("target_index", &self.target)]);
            }
            arrays.extend([points("x0", &self.x0), points("x1", &self.x1)]);
            arrays.extend((!self.classes.is_empty()).then(|| index("label", &self.classes)));
            let width = self.conditions.len() / rows;
            let numbers = Numbers::Reals(&self.conditions, self.float);
            arrays.extend((width > 0).then(|| NamedArray { name: "condition", numbers, shape: vec![rows, width] }));
            folder.arrays(&format!("pairs-{:05}.{}", self.files, self.ending), &arrays)?;
        }
        self.files += 1;
        self.source.clear();
        self.target.clear();
        self.x0.clear();
        self.x1.clear();
        self.classes.clear();
        self.conditions.clear();
        Ok(())
    }

    /// Writes what is left; the number of files, and the mean of |x1 − x0|².
    pub fn finish(mut self) -> Result<(usize, f64), Failure> {
        if !self.x0.is_empty() {
            self.flush()?;
        }
        Ok((self.files, self.squares / self.written as f64))
    }
}
