//! Minus a norm of the difference of each pair, written out.
//!
//! A task has a few rows, and streams all columns past them with R vectors of columns in lanes: the matrix is written in lines of
//! whole vectors. At d = 3 a pair of |x−y| takes 3 subtractions, 3 FMA and a root; memory binds.

use rayon::prelude::*;

use crate::backend::cpu::Cpu;
use crate::backend::cpu::lane::{Isa, Kernel, Lane, Simd, both, steps, transpose};
use crate::backend::cpu::pairs::metric::{Euclidean, Lines, Lp, Manhattan, Metric};
use crate::backend::{Real, Rows};

/// Rows of a task: each block of columns is transposed once for them.
const ROWS: usize = 32;

/// `out_ij = −(Σ_k |x_ik − y_jk|^p)^(1/p)` in rows of `stride` ≥ m; what is behind the m-th is left as it is.
pub fn norms<T: Simd>(isa: Isa, rows: Rows<'_, Cpu<T>>, columns: Rows<'_, Cpu<T>>, p: f64, (out, stride): (&mut [T], usize)) {
    let (y, d) = (columns.points.as_slice(), rows.d);
    let tasks = out.par_chunks_mut(ROWS * stride).zip(rows.points.par_chunks(ROWS * d));
    tasks.for_each_init(Vec::new, |lines, (out, x)| {
        T::dispatch(isa, Block { x, y, d, p, out, stride, lines });
    });
}

/// Some rows against all columns.
struct Block<'a, T> {
    x: &'a [T],
    y: &'a [T],
    d: usize,
    p: f64,
    out: &'a mut [T],
    stride: usize,
    /// Columns transposed: coordinate, column.
    lines: &'a mut Vec<T>,
}

impl<T: Simd> Kernel<T> for Block<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(self) {
        match self.p {
            2.0 => self.with::<L, _>(&Euclidean),
            1.0 => self.with::<L, _>(&Manhattan),
            p => self.with::<L, _>(&Lp(p)),
        }
    }
}

impl<T: Simd> Block<'_, T> {
    /// R × C sums, R columns and a broadcast must fit the registers.
    #[inline(always)]
    fn with<L: Lane<Elem = T>, M: Metric>(self, metric: &M) {
        if L::REGISTERS >= 32 { self.stream::<L, M, 4, 4>(metric) } else { self.stream::<L, M, 2, 2>(metric) }
    }

    #[inline(always)]
    fn stream<L: Lane<Elem = T>, M: Metric, const R: usize, const C: usize>(self, metric: &M) {
        let Self { x, y, d, out, stride, lines, .. } = self;
        let (n, m) = (x.len() / d, y.len() / d);
        lines.resize(d * R * L::N, T::zeroed());
        for start in steps(0..m, R * L::N) {
            let columns = start..m.min(start + R * L::N);
            transpose(y, d, columns.clone(), R * L::N, lines);
            let lines = Lines { x: lines, d, rows: columns, stride: d };
            let whole = n / C * C;
            for i in steps(0..whole, C) {
                let costs = metric.costs::<L, R, C>(&lines, &x[i * d..], i);
                for (c, costs) in costs.iter().enumerate() {
                    write(costs, &mut out[(i + c) * stride + start..][..lines.rows.len()]);
                }
            }
            for i in whole..n {
                let costs = metric.costs::<L, R, 1>(&lines, &x[i * d..], i);
                write(&costs[0], &mut out[i * stride + start..][..lines.rows.len()]);
            }
        }
    }
}

/// Writes the lanes of R vectors that are there, negated.
#[inline(always)]
fn write<L: Lane, const R: usize>(costs: &[L; R], out: &mut [L::Elem]) {
    for (cost, out) in both(costs, out.chunks_mut(L::N)) {
        let mut lanes = [L::Elem::from_f64(0.0); 16];
        cost.store(&mut lanes);
        for (out, &lane) in both(out, &lanes) {
            *out = L::Elem::from_f64(-lane.to_f64());
        }
    }
}
