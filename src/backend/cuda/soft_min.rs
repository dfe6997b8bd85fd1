//! Launches `kernels/softmin.cu` and, where the dimension or the number of values has no registers there,
//! `kernels/softmin_tensor.cu`.
//!
//! Columns are split among blocks by a rule of m alone, so that a few rows fill the device too; rows go in slabs, so that the
//! partial results of the splits stay within [`SLAB`] bytes. Neither changes a bit of any row.

use std::f64::consts::LOG2_E;

use crate::backend::cuda::launcher::{Argument, Pointer, Shape, blocks};
use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{BackendError, Columns, Rows};

/// Threads of a full block, and columns of the larger tile: a split is whole tiles. As in the kernel files.
const THREADS: usize = 128;
const TILE: usize = 128;
/// Bytes of working memory for the rows of a slab.
pub(super) const SLAB: usize = 64 << 20;
/// Blocks enough for the largest devices to share evenly, eight a multiprocessor; with fewer, blocks are made smaller.
const EVEN: usize = 1056;

/// Values v, m × p, and where their weighted mean goes, n × p.
pub struct Mean<'a> {
    pub values: &'a Buffer<f32>,
    pub p: usize,
    pub out: &'a mut Buffer<f32>,
}

/// Which kernels serve a dimension and a number of values.
#[derive(Clone, Copy)]
enum Kernels {
    /// The coordinates of `rows` rows a thread in registers, with a given shift and with a running maximum.
    Registers { d: usize, rows: [usize; 2] },
    /// Split products of coordinates `padded` to whole products.
    Tensor { padded: usize },
}

impl Kernels {
    /// The kernels, and how many values they take in one pass.
    fn of(d: usize, p: usize) -> (Self, usize) {
        if !matches!(d, 1..=4 | 8) || p > d + 1 {
            return (Self::Tensor { padded: d.next_multiple_of(16) }, if p == 0 { 0 } else { 32 });
        }
        let rows = match (d, p) {
            (8, 0) => [4, 4],
            (8, _) => [2, 2],
            (_, 0) => [8, 4],
            _ => [4, 4],
        };
        (Self::Registers { d, rows }, if p == 0 { 0 } else { d + 1 })
    }

    /// Bytes in which a vector is split, for the tensor cores: its halves, and its scale with a bias or without.
    fn split_bytes(&self, scales: usize) -> usize {
        match self {
            Self::Registers { .. } => 0,
            Self::Tensor { padded } => 4 * (padded + scales),
        }
    }
}

/// Columns a split: at most `most` splits, of at least two tiles.
pub(super) fn split(m: usize, most: usize) -> usize {
    m.div_ceil(most).next_multiple_of(TILE).max(2 * TILE)
}

/// `out_i = log Σ_j exp(h_j + k_j x_i·y_j − shift_i)`, and the weighted mean behind it.
pub fn soft_min(
    cuda: &Cuda,
    rows: Rows<'_, Cuda>,
    columns: Columns<'_, Cuda>,
    shift: Option<(&Buffer<f32>, f64)>,
    out: &mut Buffer<f32>,
    mean: Option<Mean<'_>>,
) -> Result<(), BackendError> {
    let (values, p, means) = mean.map_or((0, 0, 0), |mean| (mean.values.at(), mean.p, mean.out.at()));
    slabs(cuda, rows, columns, shift, p, 64, |first, pass| {
        let pass = Pass { values, out: offset(out.at(), first), mean: offset(means, first * p), ..pass };
        (0..p.max(1)).step_by(pass.width.max(1)).try_for_each(|value| pass.run(value))
    })
}

/// The sums `Σ_j 2^(logit_ij − shift_i)` of a slab of rows over each run of `chunk` columns, splits × rows.
pub struct Sums {
    pub first: usize,
    pub rows: usize,
    pub chunk: usize,
    pub splits: usize,
    pub at: Pointer,
}

/// Gives `each` slab of rows with its sums over at most `most` splits of the columns, in order.
pub fn split_sums(
    cuda: &Cuda,
    rows: Rows<'_, Cuda>,
    columns: Columns<'_, Cuda>,
    shift: (&Buffer<f32>, f64),
    most: usize,
    mut each: impl FnMut(Sums) -> Result<(), BackendError>,
) -> Result<(), BackendError> {
    slabs(cuda, rows, columns, Some(shift), 0, most, |first, pass| {
        pass.stream("soft_min", 0, 0, [&pass.shift, &pass.factor])?;
        each(Sums { first, rows: pass.rows, chunk: pass.chunk, splits: pass.splits, at: pass.partial })
    })
}

/// The address of number `index` behind `at`, or none where there is none.
fn offset(at: Pointer, index: usize) -> Pointer {
    if at == 0 { 0 } else { at + (4 * index) as Pointer }
}

/// Runs `each` on the first row and the pass of every slab of rows, for means of `p` values; columns are split at most `most` times.
fn slabs<'a>(
    cuda: &'a Cuda,
    rows: Rows<'_, Cuda>,
    columns: Columns<'_, Cuda>,
    shift: Option<(&Buffer<f32>, f64)>,
    p: usize,
    most: usize,
    mut each: impl FnMut(usize, Pass<'a>) -> Result<(), BackendError>,
) -> Result<(), BackendError> {
    let (n, m, d) = (rows.n, columns.m, rows.d);
    let (kernels, width) = Kernels::of(d, p);
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

    if let Kernels::Tensor { padded } = kernels {
        split_halves(cuda, columns.packed.at(), m, d, d + 1, padded, split_columns)?;
    }
    for first in (0..n).step_by(slab) {
        let here = slab.min(n - first);
        let x = offset(rows.points.at(), first * d);
        if let Kernels::Tensor { padded } = kernels {
            split_halves(cuda, x, here, d, d, padded, split_rows)?;
        }
        let pass = Pass {
            cuda,
            kernels,
            width,
            rows: here,
            columns: m,
            chunk,
            splits,
            x: if matches!(kernels, Kernels::Tensor { .. }) { split_rows } else { x },
            y: if matches!(kernels, Kernels::Tensor { .. }) { split_columns } else { columns.packed.at() },
            values: 0,
            p,
            shift: shift.map_or(0, |(shift, _)| offset(shift.at(), first)),
            factor: shift.map_or(0.0, |(_, factor)| LOG2_E * factor),
            partial,
            redo,
            count: redo + 4 * slab as Pointer,
            out: 0,
            mean: 0,
        };
        each(first, pass)?;
    }
    Ok(())
}

/// Splits `count` vectors into halves at `to`, with their scales behind.
fn split_halves(
    cuda: &Cuda,
    from: Pointer,
    count: usize,
    d: usize,
    stride: usize,
    padded: usize,
    to: Pointer,
) -> Result<(), BackendError> {
    let scales = scales(to, count, padded);
    let [count, d, stride, padded] = [count, d, stride, padded].map(|size| size as i32);
    cuda.launch("soft_min_split", Shape::covering(32 * count as usize)?, &[&from, &count, &d, &stride, &padded, &to, &scales])
}

/// Where the scales of `count` vectors of halves are.
fn scales(halves: Pointer, count: usize, padded: usize) -> Pointer {
    halves + (4 * count * padded) as Pointer
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
    values: Pointer,
    p: usize,
    shift: Pointer,
    factor: f64,
    partial: Pointer,
    redo: Pointer,
    count: Pointer,
    out: Pointer,
    mean: Pointer,
}

impl Pass<'_> {
    /// With the shift where there is one, then with a running maximum all rows that are not done.
    fn run(&self, first: usize) -> Result<(), BackendError> {
        let [n, splits, width, p, first] = [self.rows, self.splits, self.width, self.p, first].map(|size| size as i32);
        let merge = Shape::covering(self.rows)?;
        let results: [&dyn Argument; 8] = [&self.partial, &splits, &n, &width, &p, &first, &self.out, &self.mean];
        let (mut list, mut count) = (0, 0);
        if self.shift != 0 {
            self.cuda.launcher().fill(self.count, 0, 4)?;
            self.stream("soft_min", 0, first, [&self.shift, &self.factor])?;
            self.cuda.launch("soft_min_merge", merge, &[&results[..], &[&self.redo, &self.count]].concat())?;
            (list, count) = (self.redo, self.count);
        }
        self.stream("soft_min_max", 1, first, [&list, &count])?;
        let given: [&dyn Argument; 4] = [&list, &count, &self.shift, &self.factor];
        self.cuda.launch("soft_min_merge_max", merge, &[&results[..], &given].concat())
    }

    /// Launches the streaming kernel `name` of one `kind`: with a shift, or with a running maximum.
    fn stream(&self, name: &str, kind: usize, first: i32, own: [&dyn Argument; 2]) -> Result<(), BackendError> {
        let [n, m, chunk, p] = [self.rows, self.columns, self.chunk, self.p].map(|size| size as i32);
        match self.kernels {
            Kernels::Registers { d, rows } => {
                let arguments: [&dyn Argument; 11] =
                    [&self.x, &self.y, &self.values, &p, &first, own[0], own[1], &self.partial, &n, &m, &chunk];
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
            Kernels::Tensor { padded } => {
                let (row_scales, biases) = (scales(self.x, self.rows, padded), scales(self.y, self.columns, padded));
                // The rows stay in shared memory up to 64 coordinates, two slices; beyond, two slices are on their way.
                let resident = i32::from(padded <= 64);
                let (tile, values) = if self.width == 0 { (64, 0) } else { (32, 8 * (self.width + 4)) };
                let shape = Shape {
                    grid: [blocks(self.rows, 128)?, self.splits as u32, 1],
                    block: [THREADS as u32, 1, 1],
                    shared: (20480 * padded.div_ceil(32).min(2) + tile * (320 + 16 + values)) as u32,
                };
                let padded = padded as i32;
                let points: [&dyn Argument; 4] = [&self.x, &row_scales, &self.y, &biases];
                let rest: [&dyn Argument; 11] =
                    [&self.values, &p, &first, own[0], own[1], &self.partial, &n, &m, &padded, &resident, &chunk];
                self.cuda.launch(&format!("{name}_tensor_p{}", self.width), shape, &[&points[..], &rest].concat())
            }
        }
    }
}
