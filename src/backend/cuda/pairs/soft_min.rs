//! Launches `kernels/softmin.cu` and, where the dimension or the number of values has no registers there,
//! `kernels/softmin_tensor.cu`.
//!
//! Columns are split among blocks by a rule of m alone, so that a few rows fill the device too; rows go in slabs, so that the
//! partial results of the splits stay within [`SLAB`] bytes. Neither changes a bit of any row.

mod pairs;

use std::f64::consts::LOG2_E;

use crate::backend::cuda::launcher::{Argument, Pointer, Shape, blocks};
use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{BackendError, Blend, Columns, Mean, Out, Rows};
pub use pairs::Pairs;
use pairs::Parts;

/// Threads of a full block, and columns of the larger tile: a split is whole tiles. As in the kernel files.
const THREADS: usize = 128;
const TILE: usize = 128;
/// Bytes of working memory for the rows of a slab.
pub(super) const SLAB: usize = 64 << 20;
/// Blocks enough for the largest devices to share evenly, eight a multiprocessor; with fewer, blocks are made smaller.
const EVEN: usize = 1056;

/// Which kernels serve a dimension and a number of values.
#[derive(Clone, Copy)]
enum Kernels {
    /// The coordinates of `rows` rows a thread in registers, with a given shift and with a running maximum.
    Registers { d: usize, rows: [usize; 2] },
    /// Products of vectors in one or two `parts`, their coordinates `padded` to whole products.
    Tensor { padded: usize, parts: usize },
}

impl Kernels {
    /// The kernels, and how many values they take in one pass.
    fn of(d: usize, p: usize) -> (Self, usize) {
        if !matches!(d, 1..=4 | 8) || p > d + 1 {
            return Self::tensor(d, p, 2);
        }
        let rows = match (d, p) {
            (8, 0) => [4, 4],
            (8, _) => [2, 2],
            (_, 0) => [8, 4],
            _ => [4, 4],
        };
        (Self::Registers { d, rows }, if p == 0 { 0 } else { d + 1 })
    }

    fn tensor(d: usize, p: usize, parts: usize) -> (Self, usize) {
        (Self::Tensor { padded: d.next_multiple_of(16), parts }, if p == 0 { 0 } else { 32 })
    }

    /// Bytes in which a vector is split, for the tensor cores: its parts, and its scale with a bias or without.
    fn split_bytes(&self, scales: usize) -> usize {
        match self {
            Self::Registers { .. } => 0,
            Self::Tensor { padded, parts } => 2 * parts * padded + 4 * scales,
        }
    }
}

/// Columns a split: at most `most` splits, of at least two tiles.
pub(super) fn split(m: usize, most: usize) -> usize {
    m.div_ceil(most).next_multiple_of(TILE).max(2 * TILE)
}

/// `L_i = log Σ_j exp(h_j + k_j x_i·y_j − shift_i)`, and the mean behind it; the merge of the splits blends it.
pub fn soft_min(cuda: &Cuda, pairs: Pairs<'_>, shift: Shift<'_>, out: Out<'_, Cuda>) -> Result<(), BackendError> {
    let (log_sums, means) = (out.log_sum.at(), Means::of(out.mean.as_ref()));
    slabs(cuda, pairs, shift, Splits { p: means.p, most: 64 }, |first, pass| {
        let pass = Pass { out: offset(log_sums, first), means: means.from(first), ..pass };
        (0..means.p.max(1)).step_by(pass.width.max(1)).try_for_each(|value| pass.run(value))
    })
}

/// A factor times a buffer, if any.
pub type Shift<'a> = Option<(&'a Buffer<f32>, f64)>;

/// Addresses of the values of a mean, of where it goes, and of what it is blended with: s times it and t times that; 0 where there is
/// none.
#[derive(Clone, Copy)]
pub struct Means {
    pub values: Pointer,
    pub p: usize,
    pub out: Pointer,
    pub with: Pointer,
    pub s: f64,
    pub t: f64,
}

impl Means {
    pub fn of(mean: Option<&Mean<'_, Cuda>>) -> Self {
        let none = Self { values: 0, p: 0, out: 0, with: 0, s: 1.0, t: 0.0 };
        let Some(Mean { values, p, out, blend }) = mean else { return none };
        let all = Self { values: values.at(), p: *p, out: out.at(), ..none };
        match blend {
            Some(Blend { s, t, with }) => Self { with: with.at(), s: *s, t: *t, ..all },
            None => all,
        }
    }

    /// Those of the rows from `first` on.
    pub fn from(self, first: usize) -> Self {
        Self { out: offset(self.out, first * self.p), with: offset(self.with, first * self.p), ..self }
    }
}

/// The sums `Σ_j 2^(logit_ij − shift_i)` of a slab of rows over each run of `chunk` columns, splits × rows.
pub struct Sums {
    pub first: usize,
    pub rows: usize,
    pub chunk: usize,
    pub splits: usize,
    pub at: Pointer,
}

/// Rows, columns and a shift.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    pub rows: Rows<'a, Cuda>,
    pub columns: Columns<'a, Cuda>,
    pub shift: (&'a Buffer<f32>, f64),
}

/// Gives `each` slab of rows with its sums over at most `most` splits of the columns, in order.
pub fn split_sums(
    cuda: &Cuda,
    product: Product<'_>,
    most: usize,
    mut each: impl FnMut(Sums) -> Result<(), BackendError>,
) -> Result<(), BackendError> {
    let Product { rows, columns, shift } = product;
    slabs(cuda, Pairs::Full(rows, columns), Some(shift), Splits { p: 0, most }, |first, pass| {
        pass.stream("soft_min", 0, 0, [&pass.shift, &pass.factor])?;
        each(Sums { first, rows: pass.rows, chunk: pass.chunk, splits: pass.splits, at: pass.partial })
    })
}

/// The address of number `index` behind `at`, or none where there is none.
fn offset(at: Pointer, index: usize) -> Pointer {
    if at == 0 { 0 } else { at + (4 * index) as Pointer }
}

/// How columns are split: at most `most` times, for means of `p` values.
struct Splits {
    p: usize,
    most: usize,
}

/// Runs `each` on the first row and the pass of every slab of rows.
fn slabs<'a>(
    cuda: &'a Cuda,
    pairs: Pairs<'_>,
    shift: Shift<'_>,
    Splits { p, most }: Splits,
    mut each: impl FnMut(usize, Pass<'a>) -> Result<(), BackendError>,
) -> Result<(), BackendError> {
    let (n, m) = pairs.sizes();
    if n == 0 {
        return Ok(());
    }
    let (kernels, width) = pairs.kernels(p);
    let (chunk, splits) = (split(m, most), m.div_ceil(split(m, most)));

    // For each row of a slab its partial results, its place on the list of those to run again, its split halves and scale.
    let row_bytes = 4 * splits * (2 + width) + 4 + kernels.split_bytes(1);
    let slab = (SLAB / row_bytes).next_multiple_of(THREADS).min(n.next_multiple_of(THREADS));
    let column_bytes = (m * kernels.split_bytes(2)).next_multiple_of(16);
    let scratch = cuda.scratch(column_bytes + slab * row_bytes + 4)?;
    let split_columns = scratch.at();
    let split_rows = split_columns + column_bytes as Pointer;
    let partial = split_rows + (slab * kernels.split_bytes(1)) as Pointer;
    let redo = partial + (4 * splits * (2 + width) * slab) as Pointer;

    if let Kernels::Tensor { padded, .. } = kernels {
        pairs.split_columns(cuda, Parts { at: split_columns, padded })?;
    }
    for first in (0..n).step_by(slab) {
        let here = slab.min(n - first);
        let (x, y) = match kernels {
            Kernels::Registers { .. } => pairs.at(first),
            Kernels::Tensor { padded, .. } => {
                pairs.split_rows(cuda, first, here, Parts { at: split_rows, padded })?;
                (split_rows, split_columns)
            }
        };
        let pass = Pass {
            cuda,
            kernels,
            width,
            rows: here,
            columns: m,
            chunk,
            splits,
            x,
            y,
            shift: shift.map_or(0, |(shift, _)| offset(shift.at(), first)),
            factor: shift.map_or(0.0, |(_, factor)| LOG2_E * factor),
            partial,
            redo,
            count: redo + 4 * slab as Pointer,
            out: 0,
            means: Means::of(None),
        };
        each(first, pass)?;
    }
    Ok(())
}

/// Some rows against all columns, with some of the values; addresses are those of the first row, 0 where there is none.
struct Pass<'a> {
    cuda: &'a Cuda,
    kernels: Kernels,
    /// Values in this pass.
    width: usize,
    rows: usize,
    columns: usize,
    chunk: usize,
    splits: usize,
    x: Pointer,
    y: Pointer,
    shift: Pointer,
    factor: f64,
    partial: Pointer,
    redo: Pointer,
    count: Pointer,
    out: Pointer,
    means: Means,
}

impl Pass<'_> {
    /// With the shift where there is one, then with a running maximum all rows that are not done.
    fn run(&self, first: usize) -> Result<(), BackendError> {
        let Means { p, out: mean, with, s, t, .. } = self.means;
        let [n, splits, width, p, first] = [self.rows, self.splits, self.width, p, first].map(|size| size as i32);
        let merge = Shape::covering(self.rows)?;
        let results: [&dyn Argument; 8] = [&self.partial, &splits, &n, &width, &p, &first, &self.out, &mean];
        let (mut list, mut count) = (0, 0);
        if self.shift != 0 {
            self.cuda.launcher().fill(self.count, 0, 4)?;
            self.stream("soft_min", 0, first, [&self.shift, &self.factor])?;
            self.cuda.launch("soft_min_merge", merge, &[&results[..], &[&self.redo, &self.count]].concat())?;
            (list, count) = (self.redo, self.count);
        }
        self.stream("soft_min_max", 1, first, [&list, &count])?;
        let (s, t) = (s as f32, t as f32);
        let given: [&dyn Argument; 7] = [&list, &count, &self.shift, &self.factor, &with, &s, &t];
        self.cuda.launch("soft_min_merge_max", merge, &[&results[..], &given].concat())
    }

    /// Launches the streaming kernel `name` of one `kind`: with a shift, or with a running maximum.
    fn stream(&self, name: &str, kind: usize, first: i32, own: [&dyn Argument; 2]) -> Result<(), BackendError> {
        let Means { values, p, .. } = self.means;
        let [n, m, chunk, p] = [self.rows, self.columns, self.chunk, p].map(|size| size as i32);
        match self.kernels {
            Kernels::Registers { d, rows } => {
                let arguments: [&dyn Argument; 11] =
                    [&self.x, &self.y, &values, &p, &first, own[0], own[1], &self.partial, &n, &m, &chunk];
                let blocks = |threads: usize| self.rows.div_ceil(threads * rows[kind]);
                let fills = |&threads: &usize| blocks(threads) * self.splits >= EVEN;
                let threads = [THREADS, THREADS / 2].into_iter().find(fills).unwrap_or(THREADS / 4);
                let shape = Shape {
                    grid: [blocks(threads) as u32, self.splits as u32, 1],
                    block: [threads as u32, 1, 1],
                    shared: (2 * 4 * TILE * (d + 1 + self.width)) as u32,
                };
                self.cuda.launch(&format!("{name}_d{d}_p{}", self.width), shape, &arguments)
            }
            Kernels::Tensor { padded, parts } => {
                let row_scales = Parts { at: self.x, padded }.scales(self.rows, parts);
                let biases = Parts { at: self.y, padded }.scales(self.columns, parts);
                // The rows stay in shared memory up to 64 coordinates, two slices; beyond, two slices are on their way.
                let resident = i32::from(padded <= 64);
                let (tile, of_values) = if self.width == 0 { (64, 0) } else { (32, 8 * (self.width + 4)) };
                let shape = Shape {
                    grid: [blocks(self.rows, 128)?, self.splits as u32, 1],
                    block: [THREADS as u32, 1, 1],
                    shared: (20480 * padded.div_ceil(32).min(2) + tile * (320 + 16 + of_values)) as u32,
                };
                let [parts, padded] = [parts, padded].map(|size| size as i32);
                let points: [&dyn Argument; 4] = [&self.x, &row_scales, &self.y, &biases];
                let rest: [&dyn Argument; 12] =
                    [&values, &p, &first, own[0], own[1], &self.partial, &n, &m, &parts, &padded, &resident, &chunk];
                self.cuda.launch(&format!("{name}_tensor_p{}", self.width), shape, &[&points[..], &rest].concat())
            }
        }
    }
}
