//! Draws from the softmax of each row by streaming inverse CDF. Shares tiles, logits and running sums with the soft-min.
//!
//! Rows lie in lanes. One pass keeps the running sum after every [`TILE`] of columns, m/48 numbers a row; a draw then finds its tile
//! by bisection and its column inside that tile in f64. So a draw costs a tile, and the pass is shared by all draws of a row.

use rayon::prelude::*;

use crate::backend::cpu::lane::{Isa, Kernel, Lane, Simd, both, steps, transpose};
use crate::backend::cpu::pairs::soft_min::{Pairs, State, TILE, given_shift, in_units, is_usable, logits};

/// Rows a task handles; no instruction set holds more at a time.
const ROWS: usize = 64;

/// `index_r = min {j : Σ_{j′≤j} w_ij′ > quantiles_r}` for r ∈ first_i..first_{i+1}.
pub fn sample_plan<T: Simd>(isa: Isa, pairs: Pairs<'_, T>, first: &[u32], quantiles: &[f64], index: &mut [u32]) {
    let n = first.len() - 1;
    let mut rest = index;
    let tasks: Vec<_> = (0..n)
        .step_by(ROWS)
        .map(|start| {
            let draws = first[n.min(start + ROWS)] - first[start];
            let (here, after) = std::mem::take(&mut rest).split_at_mut(draws as usize);
            rest = after;
            (&first[start..=n.min(start + ROWS)], start, here)
        })
        .collect();
    let drawn = tasks.into_par_iter().filter(|(.., index)| !index.is_empty());
    drawn.for_each_init(Scratch::default, |scratch, (first, start, index)| {
        let quantiles = &quantiles[first[0] as usize..][..index.len()];
        T::dispatch(isa, Block { pairs, start, first, quantiles, index, scratch });
    });
}

/// Memory of one thread.
struct Scratch<T> {
    /// Rows transposed: coordinate, row.
    x: Vec<T>,
    /// Running sums: tile, row.
    running: Vec<T>,
    /// Weights of the columns in which a draw is looked for.
    weights: Vec<f64>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        Self { x: Vec::new(), running: Vec::new(), weights: Vec::new() }
    }
}

/// The rows of one task against all columns.
struct Block<'a, T> {
    pairs: Pairs<'a, T>,
    start: usize,
    first: &'a [u32],
    quantiles: &'a [f64],
    index: &'a mut [u32],
    scratch: &'a mut Scratch<T>,
}

impl<T: Simd> Kernel<T> for Block<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(self) {
        // As in the soft-min: R × C accumulators, R rows and a broadcast must fit the registers.
        match (L::REGISTERS >= 32, self.pairs.d) {
            (true, 2) => self.rows::<L, 4, 2, 2>(),
            (true, 3) => self.rows::<L, 4, 2, 3>(),
            (true, _) => self.rows::<L, 4, 6, 0>(),
            (false, 2) => self.rows::<L, 2, 2, 2>(),
            (false, 3) => self.rows::<L, 2, 2, 3>(),
            (false, _) => self.rows::<L, 2, 4, 0>(),
        }
    }
}

impl<T: Simd> Block<'_, T> {
    /// Works through the task's rows, R vectors at a time; D is the dimension when known at compile time, else 0.
    #[inline(always)]
    fn rows<L: Lane<Elem = T>, const R: usize, const C: usize, const D: usize>(mut self) {
        let width = R * L::N;
        let n = self.first.len() - 1;
        for start in steps(0..n, width) {
            let rows = start..n.min(start + width);
            if self.first[rows.start] == self.first[rows.end] {
                continue;
            }
            self.stream::<L, R, C, D>(rows.start, rows.end);
            for (lane, row) in rows.enumerate() {
                self.draw(row, lane, width);
            }
        }
    }

    /// The running sums of rows `from..to` after every tile.
    #[inline(always)]
    fn stream<L: Lane<Elem = T>, const R: usize, const C: usize, const D: usize>(&mut self, from: usize, to: usize) {
        let Self { pairs, scratch, start, .. } = self;
        let d = if D > 0 { D } else { pairs.d };
        let within = *start + from..*start + to;
        scratch.x.resize(d * R * L::N, T::zeroed());
        transpose(pairs.x, d, within.clone(), R * L::N, &mut scratch.x);
        let mut state = State::<L, R>::new(pairs.shift.map(|shift| given_shift::<L, R>(shift, within)));
        let tiles = pairs.y.chunks(TILE * (d + 1));
        scratch.running.resize(tiles.len() * R * L::N, T::zeroed());
        let mut weights = [[L::splat(T::zeroed()); R]; TILE];
        for (tile, running) in both(tiles, scratch.running.chunks_exact_mut(R * L::N)) {
            let columns = tile.len() / (d + 1);
            let whole = columns / C * C;
            for j in steps(0..whole, C) {
                logits::<L, R, C>(&scratch.x, &tile[j * (d + 1)..], d, &mut weights[j..j + C]);
            }
            for j in whole..columns {
                logits::<L, R, 1>(&scratch.x, &tile[j * (d + 1)..], d, &mut weights[j..=j]);
            }
            state.add_exponentials(&mut weights[..columns]);
            for (sum, lanes) in both(&state.sum, running.chunks_exact_mut(L::N)) {
                sum.store(lanes);
            }
        }
    }

    /// The draws of `row`, whose running sums are in `lane` of `width`.
    fn draw(&mut self, row: usize, lane: usize, width: usize) {
        let offset = self.first[0];
        let running = &self.scratch.running;
        let tiles = running.len() / width;
        let sum = |tile: usize| running[tile * width + lane].to_f64();
        let (m, total) = (self.pairs.y.len() / (self.pairs.d + 1), sum(tiles - 1));
        let usable = is_usable(in_units(running[(tiles - 1) * width + lane]));
        for r in (self.first[row] - offset) as usize..(self.first[row + 1] - offset) as usize {
            let quantile = self.quantiles[r];
            let mut found = None;
            if usable {
                let target = quantile * total;
                let (mut low, mut high) = (0, tiles - 1);
                while low < high {
                    let middle = (low + high) / 2;
                    if sum(middle) > target { high = middle } else { low = middle + 1 }
                }
                let before = if low == 0 { 0.0 } else { sum(low - 1) };
                let share = (target - before) / (sum(low) - before);
                found =
                    locate(self.pairs, self.start + row, low * TILE..m.min((low + 1) * TILE), share, &mut self.scratch.weights);
            }
            // A shift that fits the row nowhere, or a tile of columns without mass: all columns in f64.
            let found = found.or_else(|| locate(self.pairs, self.start + row, 0..m, quantile, &mut self.scratch.weights));
            self.index[r] = found.unwrap_or(0);
        }
    }
}

/// The column at `share` ∈ [0, 1) of the mass that `row` has in `columns`; none if that is none.
fn locate<T: Simd>(
    pairs: Pairs<'_, T>,
    row: usize,
    columns: std::ops::Range<usize>,
    share: f64,
    weights: &mut Vec<f64>,
) -> Option<u32> {
    let d = pairs.d;
    let x = &pairs.x[row * d..][..d];
    weights.clear();
    weights.extend(pairs.y[columns.start * (d + 1)..columns.end * (d + 1)].chunks_exact(d + 1).map(|column| {
        let (y, h) = column.split_at(d);
        h[0].to_f64() + x.iter().zip(y).map(|(x, y)| x.to_f64() * y.to_f64()).sum::<f64>()
    }));
    let top = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // A packed bias of −1e36 is the log of a zero weight.
    if top < -1e35 {
        return None;
    }
    for weight in weights.iter_mut() {
        // Held at −101 first: the compiler may take the power before it looks whether it is wanted.
        let bits = if *weight - top < -101.0 { -101.0 } else { *weight - top };
        *weight = if bits < -100.0 { 0.0 } else { bits.exp2() };
    }
    let mut left = share * weights.iter().sum::<f64>();
    let crossing = weights.iter().position(|weight| {
        left -= weight;
        left < 0.0
    });
    // Rounding may leave a remainder: the last column with mass, then.
    let found = crossing.or_else(|| weights.iter().rposition(|weight| *weight > 0.0))?;
    Some((columns.start + found) as u32)
}
