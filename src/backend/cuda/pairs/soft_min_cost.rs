//! Launches `kernels/softmin_cost.cu`, and the merge of `kernels/softmin.cu`.
//!
//! As in the soft-min columns are split by a rule of m alone and rows go in slabs; neither changes a bit of any row.

use std::f64::consts::LOG2_E;

use crate::backend::cuda::launcher::{Argument, Pointer, Shape, blocks};
use crate::backend::cuda::pairs::soft_min::{Means, SLAB, Shift, split};
use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{BackendError, Columns, Out, PairCost, Rows};

/// Rows of a block, as in the kernel file.
const SIDE: usize = 64;
/// Values that a pass takes.
const VALUES: usize = 4;

/// Rows, columns and the logit h_j − k c(x_i, y_j), relative to the shift.
pub struct Costs<'a> {
    pub rows: Rows<'a, Cuda>,
    pub columns: Columns<'a, Cuda>,
    pub cost: PairCost<'a>,
    pub k: f64,
    pub shift: Shift<'a>,
}

/// `L_i = log Σ_j exp(h_j − k c(x_i, y_j) − shift_i)`, the means behind it, and those of the cost.
pub fn soft_min_cost(
    cuda: &Cuda,
    costs: Costs<'_>,
    out: Out<'_, Cuda>,
    mean_costs: Option<&mut Buffer<f32>>,
) -> Result<(), BackendError> {
    let Costs { rows, columns, cost, k, shift } = costs;
    let (log_sums, means) = (out.log_sum.at(), Means::of(out.mean.as_ref()));
    let (norm, power) = match cost {
        PairCost::Euclidean | PairCost::Lp(2.0) => ("euclidean", 0.0),
        PairCost::Lp(p) => ("lp", p as f32),
        PairCost::Given(_) => return Err(BackendError::ProcessorOnly { what: "a cost given as a function" }),
    };
    if rows.n == 0 {
        return Ok(());
    }
    let (n, m, chunk) = (rows.n, columns.m, split(columns.m, 64));
    let splits = m.div_ceil(chunk);
    let row_bytes = 4 * splits * (2 + VALUES);
    let slab = (SLAB / row_bytes).next_multiple_of(SIDE).min(n.next_multiple_of(SIDE));
    let scratch = cuda.scratch(slab * row_bytes)?;
    for first in (0..n).step_by(slab) {
        let slice = |at: Pointer, width: usize| at + (4 * first * width) as Pointer;
        let pass = Pass {
            cuda,
            norm,
            power,
            scale: (LOG2_E * k) as f32,
            rows: slab.min(n - first),
            columns: m,
            d: rows.d,
            chunk,
            splits,
            x: slice(rows.points.at(), rows.d),
            y: columns.packed.at(),
            shift: shift.map_or(0, |(shift, _)| slice(shift.at(), 1)),
            factor: shift.map_or(0.0, |(_, factor)| LOG2_E * factor),
            partial: scratch.at(),
            out: slice(log_sums, 1),
        };
        let none = Means::of(None);
        match &mean_costs {
            Some(costs) => pass.run("cost", 1, Means { p: 1, out: slice(costs.at(), 1), ..none }, 0)?,
            None if means.p == 0 => pass.run("p0", 0, none, 0)?,
            None => {}
        }
        for value in (0..means.p).step_by(VALUES) {
            pass.run("p4", VALUES, means.from(first), value)?;
        }
    }
    Ok(())
}

/// Some rows against all columns; addresses are those of the first row, 0 where there is none.
struct Pass<'a> {
    cuda: &'a Cuda,
    norm: &'static str,
    power: f32,
    scale: f32,
    rows: usize,
    columns: usize,
    d: usize,
    chunk: usize,
    splits: usize,
    x: Pointer,
    y: Pointer,
    shift: Pointer,
    factor: f64,
    partial: Pointer,
    out: Pointer,
}

impl Pass<'_> {
    /// Log-sums, and the mean of `width` of the values from the `first` on.
    fn run(&self, kind: &str, width: usize, means: Means, first: usize) -> Result<(), BackendError> {
        let Means { values, p, out: mean, with, s, t } = means;
        let (s, t) = (s as f32, t as f32);
        let [n, m, d, chunk, splits, width, p, first] =
            [self.rows, self.columns, self.d, self.chunk, self.splits, width, p, first].map(|size| size as i32);
        let shape = Shape { grid: [blocks(self.rows, SIDE)?, self.splits as u32, 1], block: [256, 1, 1], shared: 0 };
        let arguments: [&dyn Argument; 12] =
            [&self.x, &self.y, &values, &p, &first, &self.scale, &self.power, &self.partial, &n, &m, &d, &chunk];
        self.cuda.launch(&format!("soft_min_cost_{}_{kind}", self.norm), shape, &arguments)?;
        // All rows.
        let none: Pointer = 0;
        let results: [&dyn Argument; 8] = [&self.partial, &splits, &n, &width, &p, &first, &self.out, &mean];
        let given: [&dyn Argument; 7] = [&none, &none, &self.shift, &self.factor, &with, &s, &t];
        self.cuda.launch("soft_min_merge_max", Shape::covering(self.rows)?, &[&results[..], &given].concat())
    }
}
