//! Launches `kernels/softmin.cu`.
//!
//! Columns are split among blocks by a rule of m alone, so that a few rows fill the device too; rows go in slabs, so that the
//! partial results of the splits stay within [`PARTIAL`] bytes. Neither changes a bit of any row.

use std::f64::consts::LOG2_E;

use crate::backend::cuda::launcher::{Argument, Pointer, Shape};
use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{BackendError, Columns, Rows};

/// Columns of a tile, and threads of a full block; `TILE` and `THREADS` of the kernel file.
const TILE: usize = 128;
const THREADS: usize = 128;
/// Bytes of partial results at a time.
const PARTIAL: usize = 64 << 20;
/// Blocks that fill the largest devices twice over; with fewer, blocks are made smaller.
const FULL: usize = 264;

/// Values v, m × p, and where their weighted mean goes, n × p.
pub struct Mean<'a> {
    pub values: &'a Buffer<f32>,
    pub p: usize,
    pub out: &'a mut Buffer<f32>,
}

/// The kernel for a dimension and a number of values.
struct Variant {
    /// What its name ends with.
    suffix: String,
    /// Values taken in one pass.
    values: usize,
    /// Rows a thread, with a given shift and with a running maximum.
    rows: [usize; 2],
}

impl Variant {
    fn new(d: usize, p: usize) -> Self {
        let values = if p == 0 { 0 } else { d + 1 };
        let rows = match (d, p) {
            (8, 0) => [4, 4],
            (8, _) => [2, 2],
            (_, 0) => [8, 4],
            _ => [4, 4],
        };
        Self { suffix: format!("d{d}_p{values}"), values, rows }
    }
}

/// Columns a split: at most 64 splits, of at least two tiles.
fn split(m: usize) -> usize {
    m.div_ceil(64).next_multiple_of(TILE).max(2 * TILE)
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
    let (n, m, d) = (rows.n, columns.m, rows.d);
    let (values, p, means) = mean.map_or((0, 0, 0), |mean| (mean.values.at(), mean.p, mean.out.at()));
    let variant = Variant::new(d, p);
    let (chunk, splits) = (split(m), m.div_ceil(split(m)));
    let slab = (PARTIAL / (4 * splits * (2 + variant.values))).next_multiple_of(THREADS).min(n.next_multiple_of(THREADS));
    // Partial results, the list of rows to run again, and its length.
    let partial = 4 * splits * (2 + variant.values) * slab;
    let scratch = cuda.scratch(partial + 4 * slab + 4)?;
    let redo = scratch.at() + partial as Pointer;
    for first in (0..n).step_by(slab) {
        let offset = |at: Pointer, width: usize| if at == 0 { 0 } else { at + (4 * first * width) as Pointer };
        let pass = Pass {
            cuda,
            variant: &variant,
            rows: slab.min(n - first),
            columns: m,
            d,
            chunk,
            splits,
            x: offset(rows.points.at(), d),
            y: columns.packed.at(),
            values,
            p,
            shift: shift.map_or(0, |(shift, _)| offset(shift.at(), 1)),
            factor: shift.map_or(0.0, |(_, factor)| LOG2_E * factor),
            partial: scratch.at(),
            redo,
            count: redo + 4 * slab as Pointer,
            out: offset(out.at(), 1),
            mean: offset(means, p),
        };
        for value in (0..p.max(1)).step_by(variant.values.max(1)) {
            pass.run(value)?;
        }
    }
    Ok(())
}

/// Some rows against all columns, with some of the values; addresses are those of the first row, 0 where there is none.
struct Pass<'a> {
    cuda: &'a Cuda,
    variant: &'a Variant,
    rows: usize,
    columns: usize,
    d: usize,
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
        let Variant { suffix, values, rows } = self.variant;
        let [n, m, chunk, splits] = [self.rows, self.columns, self.chunk, self.splits].map(|size| size as i32);
        let [p, first, width] = [self.p, first, *values].map(|size| size as i32);
        let merge = Shape::covering(self.rows)?;
        let (mut list, mut count) = (0, 0);
        if self.shift != 0 {
            self.cuda.launcher().fill(self.count, 0, 4)?;
            let columns: [&dyn Argument; 5] = [&self.x, &self.y, &self.values, &p, &first];
            let rest: [&dyn Argument; 6] = [&self.shift, &self.factor, &self.partial, &n, &m, &chunk];
            self.cuda.launch(&format!("soft_min_{suffix}"), self.shape(rows[0]), &[&columns[..], &rest].concat())?;
            let results: [&dyn Argument; 8] = [&self.partial, &splits, &n, &width, &p, &first, &self.out, &self.mean];
            self.cuda.launch("soft_min_merge", merge, &[&results[..], &[&self.redo, &self.count]].concat())?;
            (list, count) = (self.redo, self.count);
        }
        let columns: [&dyn Argument; 5] = [&self.x, &self.y, &self.values, &p, &first];
        let rest: [&dyn Argument; 6] = [&list, &count, &self.partial, &n, &m, &chunk];
        self.cuda.launch(&format!("soft_min_max_{suffix}"), self.shape(rows[1]), &[&columns[..], &rest].concat())?;
        let results: [&dyn Argument; 8] = [&self.partial, &splits, &n, &width, &p, &first, &self.out, &self.mean];
        let given: [&dyn Argument; 4] = [&list, &count, &self.shift, &self.factor];
        self.cuda.launch("soft_min_merge_max", merge, &[&results[..], &given].concat())
    }

    /// Blocks of `rows` rows a thread: full ones where there are enough to fill the device.
    fn shape(&self, rows: usize) -> Shape {
        let blocks = |threads: usize| self.rows.div_ceil(threads * rows);
        let threads = [THREADS, THREADS / 2].into_iter().find(|&t| blocks(t) * self.splits >= FULL).unwrap_or(THREADS / 4);
        let stage = TILE * (self.d + 1 + self.variant.values);
        Shape {
            grid: [blocks(threads) as u32, self.splits as u32, 1],
            block: [threads as u32, 1, 1],
            shared: (2 * 4 * stage) as u32,
        }
    }
}
