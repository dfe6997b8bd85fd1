//! The streaming soft-min and its weighted mean. Twin of `kernels/softmin.cu`.
//!
//! A task holds R vectors of rows in lanes and streams the columns past them, [`TILE`] at a time: logits of the tile by a
//! register-blocked product (R row vectors × C columns), their exponentials, and, for the mean, a second product of the
//! weights with the values. Everything is in units of log 2, scaled when the columns are packed.
//!
//! With a shift (the last potential) there is no running maximum, and a row whose sum leaves [2⁻²⁰, 2²⁰] is run again with
//! it: weights below 2⁻¹⁰⁰ are zero ([`UNIT`](crate::backend::cpu::lane::UNIT) says what that loses), so that no product is denormal. At d = 3 a pair
//! costs 3 FMA for the product, 1 subtraction, 1 rounding, 1 subtraction, 5 FMA, 1 comparison, 1 scaling and 1 addition: 14 operations.

mod panel;
mod product;
mod state;

use std::f64::consts::{LN_2, LOG2_E};
use std::ops::Range;

use rayon::prelude::*;

use crate::backend::cpu::Cpu;
use crate::backend::cpu::lane::{Aligned, Isa, Kernel, Lane, Simd, steps, transpose};
use crate::backend::{LARGEST_BIAS, Rows, Scale};
use panel::{PANEL, PART, Panel};
pub(super) use product::{add_mean, logits, rescale_means};
use state::LEAST;
pub(super) use state::{KEPT_BITS, State, add_compensated, given_shift, in_units, is_usable, mean_of};

/// Columns whose weights are held at a time; a multiple of every C below.
pub(super) const TILE: usize = 48;

/// Rows, packed columns and the shift of a soft-min.
#[derive(Clone, Copy)]
pub struct Pairs<'a, T> {
    /// Rows x, n × d.
    pub x: &'a [T],
    /// Columns (log₂e k y, log₂e h), m × (d + 1).
    pub y: &'a [T],
    /// Dimension d.
    pub d: usize,
    /// Shift of each row in nats: a buffer and the factor it is to be multiplied by.
    pub shift: Option<(&'a [T], f64)>,
}

/// The weighted mean to take in the same pass.
pub struct Mean<'a, T> {
    /// Values v, m × p.
    pub values: &'a [T],
    /// Numbers a value.
    pub p: usize,
    /// Where the means go, n × p.
    pub out: &'a mut [T],
}

/// `out_j = log₂e (k_j y_j, bias_j + c · potential_j)`.
pub fn pack<T: Simd>(
    points: Rows<'_, Cpu<T>>,
    scale: Scale<'_, Cpu<T>>,
    bias: &[T],
    potential: Option<(&[T], f64)>,
    out: &mut [T],
) {
    let Rows { points, d, .. } = points;
    out.par_chunks_mut(d + 1).zip(points.par_chunks(d)).enumerate().with_min_len(1024).for_each(|(j, (out, y))| {
        let k = LOG2_E
            * match scale {
                Scale::Uniform(k) => k,
                Scale::PerColumn(k) => k[j].to_f64(),
            };
        for (o, y) in out.iter_mut().zip(y) {
            *o = T::from_f64(k * y.to_f64());
        }
        let h = bias[j].to_f64() + potential.map_or(0.0, |(g, c)| c * g[j].to_f64());
        out[d] = T::from_f64((LOG2_E * h).clamp(-LARGEST_BIAS, LARGEST_BIAS));
    });
}

/// `out_i = log Σ_j exp(h_j + k_j x_i·y_j − shift_i)` and, where asked, `mean_i = Σ_j w_ij v_j`.
pub fn soft_min<T: Simd>(isa: Isa, pairs: Pairs<'_, T>, out: &mut [T], mean: Option<Mean<'_, T>>) {
    if pairs.y.len() <= PART * (pairs.d + 1) {
        return part(isa, pairs, false, out, mean);
    }
    let (values, p, means) = match mean {
        Some(mean) => (mean.values, mean.p, mean.out),
        None => (&[][..], 0, &mut [][..]),
    };
    for (panel, out) in out.chunks_mut(PANEL).enumerate() {
        let first = panel * PANEL;
        let x = &pairs.x[first * pairs.d..][..out.len() * pairs.d];
        let shift = pairs.shift.map(|(shift, factor)| (&shift[first..][..out.len()], factor));
        let panel = Panel { isa, pairs: Pairs { x, shift, ..pairs }, values, p };
        panel.run(out, &mut means[first * p..][..out.len() * p]);
    }
}

/// [`soft_min`] over columns that are all there are, or a part of them.
fn part<T: Simd>(isa: Isa, pairs: Pairs<'_, T>, is_part: bool, out: &mut [T], mean: Option<Mean<'_, T>>) {
    // Whatever the lanes, a task has 64 rows: enough to reuse a column from the first-level cache many times.
    const ROWS: usize = 64;
    let (values, p, means) = match mean {
        Some(mean) => (mean.values, mean.p, mean.out),
        None => (&[][..], 0, &mut [][..]),
    };
    let scratch = || Scratch { x: Aligned::new(), mean: Aligned::new() };
    let task = |scratch: &mut Scratch<T>, b: usize, out: &mut [T], means: &mut [T]| {
        T::dispatch(isa, Block { pairs, is_part, first: b * ROWS, out, values, p, means, scratch });
    };
    if p == 0 {
        out.par_chunks_mut(ROWS).enumerate().for_each_init(scratch, |s, (b, out)| task(s, b, out, &mut []));
    } else {
        let blocks = out.par_chunks_mut(ROWS).zip(means.par_chunks_mut(ROWS * p)).enumerate();
        blocks.for_each_init(scratch, |s, (b, (out, means))| task(s, b, out, means));
    }
}

/// Memory of one thread.
struct Scratch<T> {
    /// Rows transposed: coordinate, row.
    x: Aligned<T>,
    /// Mean so far: value, vector of rows, its sum and what rounding added to it.
    mean: Aligned<T>,
}

/// The rows of one task against all columns.
struct Block<'a, T> {
    pairs: Pairs<'a, T>,
    /// Whether other columns add to the sums, so that a sum of next to nothing is one.
    is_part: bool,
    first: usize,
    out: &'a mut [T],
    values: &'a [T],
    p: usize,
    means: &'a mut [T],
    scratch: &'a mut Scratch<T>,
}

impl<T: Simd> Kernel<T> for Block<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(mut self) {
        // R × C accumulators, R rows and a broadcast must fit the registers.
        if L::REGISTERS >= 32 {
            match self.pairs.d {
                1 => self.rows::<L, 4, 2, 1>(),
                2 => self.rows::<L, 4, 2, 2>(),
                3 => self.rows::<L, 4, 2, 3>(),
                _ => self.rows::<L, 4, 6, 0>(),
            }
        } else {
            match self.pairs.d {
                1 => self.rows::<L, 2, 2, 1>(),
                2 => self.rows::<L, 2, 2, 2>(),
                3 => self.rows::<L, 2, 2, 3>(),
                _ => self.rows::<L, 2, 4, 0>(),
            }
        }
    }
}

impl<T: Simd> Block<'_, T> {
    /// Works through the task's rows, R vectors at a time; D is the dimension when known at compile time, else 0.
    #[inline(always)]
    fn rows<L: Lane<Elem = T>, const R: usize, const C: usize, const D: usize>(&mut self) {
        let n = self.out.len();
        for start in steps(0..n, R * L::N) {
            let rows = start..n.min(start + R * L::N);
            let within = self.first + rows.start..self.first + rows.end;
            self.scratch.x.resize(self.pairs.d * R * L::N);
            transpose(self.pairs.x, self.pairs.d, within.clone(), R * L::N, &mut self.scratch.x);
            let given = self.pairs.shift.map(|shift| given_shift::<L, R>(shift, within));
            let mut state = State::<L, R>::new(given);
            self.stream::<L, R, C, D>(&mut state, given.is_none());
            self.finish(&state, None, given, rows.clone());
            if given.is_some() && !state.is_usable(rows.len(), self.is_part) {
                // Only the rows that need it take the second result: none depends on its neighbours.
                let first = std::mem::replace(&mut state, State::new(None));
                self.stream::<L, R, C, D>(&mut state, true);
                self.finish(&state, Some(&first), given, rows);
            }
        }
    }

    /// Streams all columns past R vectors of rows; `online` keeps a running maximum as shift.
    #[inline(always)]
    fn stream<L: Lane<Elem = T>, const R: usize, const C: usize, const D: usize>(
        &mut self,
        state: &mut State<L, R>,
        online: bool,
    ) {
        let d = if D > 0 { D } else { self.pairs.d };
        let x = &self.scratch.x[..];
        self.scratch.mean.resize(2 * self.p * R * L::N);
        self.scratch.mean.fill(T::zeroed());
        let mut weights = [[L::splat(T::zeroed()); R]; TILE];
        for (t, tile) in self.pairs.y.chunks(TILE * (d + 1)).enumerate() {
            let columns = tile.len() / (d + 1);
            let whole = columns / C * C;
            for j in steps(0..whole, C) {
                logits::<L, R, C>(x, &tile[j * (d + 1)..], d, &mut weights[j..j + C]);
            }
            for j in whole..columns {
                logits::<L, R, 1>(x, &tile[j * (d + 1)..], d, &mut weights[j..=j]);
            }
            let weights = &mut weights[..columns];
            if online {
                rescale_means(&state.raise_shift(weights), &mut self.scratch.mean);
            }
            state.add_exponentials(weights);
            if self.p > 0 {
                let values = &self.values[t * TILE * self.p..][..columns * self.p];
                add_mean::<L, R>(weights, values, self.p, &mut self.scratch.mean);
            }
        }
    }

    /// Writes log-sums relative to the given shift, and means; after a first run only those of the rows that it lost.
    #[inline(always)]
    fn finish<L: Lane<Elem = T>, const R: usize>(
        &mut self,
        state: &State<L, R>,
        first: Option<&State<L, R>>,
        given: Option<[L; R]>,
        rows: Range<usize>,
    ) {
        let (mut sum, mut shift, mut mean, mut before) =
            ([T::zeroed(); 16], [T::zeroed(); 16], [T::zeroed(); 16], [T::zeroed(); 16]);
        for r in 0..R {
            state.sum[r].store(&mut sum);
            match given {
                Some(given) => state.shift[r].sub(given[r]).store(&mut shift),
                None => state.shift[r].store(&mut shift),
            }
            if let Some(first) = first {
                first.sum[r].store(&mut before);
            }
            let start = rows.start + r * L::N;
            let here = rows.end.saturating_sub(start).min(L::N);
            let mut wanted = [true; 16];
            if first.is_some() {
                for l in 0..here {
                    let sum = in_units(before[l]);
                    wanted[l] = !(is_usable(sum) || self.is_part && sum < LEAST);
                }
            }
            for l in 0..here {
                if wanted[l] {
                    self.out[start + l] = T::from_f64(LN_2 * shift[l].to_f64() + in_units(sum[l]).ln());
                }
            }
            for k in 0..self.p {
                mean_of(L::load(&self.scratch.mean[(k * R + r) * 2 * L::N..]), state.sum[r]).store(&mut mean);
                for l in 0..here {
                    if wanted[l] {
                        self.means[(start + l) * self.p + k] = mean[l];
                    }
                }
            }
        }
    }
}
