//! The soft-min over kept pairs of tiles. Twin of `soft_min.rs`, which has the same lanes and no list.
//!
//! A task has one tile of rows in lanes and streams the column tiles of its list past them. With tile centres x̄, ȳ, offsets δ, η
//! and frames φ = φ̄ + t·δ + ρ, ψ = ψ̄ + s·η + σ the exponent of a pair is
//!
//! ```text
//! x·y − φ − ψ = (x̄·ȳ − φ̄ − ψ̄) + (δ·(ȳ − t) − ρ) + ((δ + x̄ − s)·η − σ)
//! ```
//!
//! the first term in f64 once a pair of tiles, the second once a row and tile, the last once a pair: as many operations as
//! without tiles. Row and shift are one here: the sum is relative to the row's last potential φ, and a row whose sum leaves
//! [2⁻²⁰, 2²⁰] is run again with a running maximum.

use std::f64::consts::{LN_2, LOG2_E};
use std::ops::Range;

use rayon::prelude::*;

use crate::backend::cpu::Cpu;
use crate::backend::cpu::lane::{Isa, Kernel, Lane, Simd, both, steps};
use crate::backend::cpu::pairs::soft_min::{Mean, State, add_mean, in_units, is_usable, mean_of, rescale_means};
use crate::backend::{LARGEST_BIAS, Real, TILE, TileList, Tiles};

/// The two clouds of a tiled soft-min, the columns packed.
pub struct Pairs<'a, T: Simd> {
    pub rows: &'a Tiles<'a, Cpu<T>>,
    pub columns: &'a Tiles<'a, Cpu<T>>,
    pub packed: &'a [T],
    pub list: &'a TileList<'a, Cpu<T>>,
    pub eps: f64,
}

/// Centre, slope and level of tile `t`.
pub(super) struct Frame<'a> {
    pub(super) centre: &'a [f64],
    slope: &'a [f64],
    level: f64,
}

impl<'a> Frame<'a> {
    #[inline(always)]
    pub(super) fn of<T: Simd>(tiles: &Tiles<'a, Cpu<T>>, t: usize) -> Self {
        let d = tiles.d;
        let frame = &tiles.frames[t * (2 * d + 1)..][..2 * d + 1];
        Self { centre: &frame[..d], slope: &frame[d..2 * d], level: frame[2 * d] }
    }

    /// What the frame leaves of `potential` at `point`.
    #[inline(always)]
    pub(super) fn rest(&self, point: &[f64], potential: f64) -> f64 {
        let along = self.centre.iter().zip(self.slope).zip(point);
        potential - self.level - along.map(|((centre, slope), x)| slope * (x - centre)).sum::<f64>()
    }
}

/// `out_j = log₂e (η_j/ε, log b_j − σ_j/ε)`.
pub fn pack<T: Simd>(columns: &Tiles<'_, Cpu<T>>, eps: f64, out: &mut [T]) {
    let (d, k) = (columns.d, LOG2_E / eps);
    out.par_chunks_mut(TILE * (d + 1)).enumerate().with_min_len(16).for_each(|(t, out)| {
        let frame = Frame::of(columns, t);
        for (out, j) in out.chunks_exact_mut(d + 1).zip(t * TILE..) {
            let y = &columns.points[j * d..][..d];
            for ((o, y), centre) in out.iter_mut().zip(y).zip(frame.centre) {
                *o = T::from_f64(k * (y - centre));
            }
            let bias = LOG2_E * columns.log_weights[j] - k * frame.rest(y, columns.potential[j]);
            out[d] = T::from_f64(bias.clamp(-LARGEST_BIAS, LARGEST_BIAS));
        }
    });
}

/// `out_i = log Σ_j b_j exp((x_i·y_j − φ_i − ψ_j)/ε)` over the kept tiles and, where asked, the mean behind it.
pub fn soft_min<T: Simd>(isa: Isa, pairs: Pairs<'_, T>, out: &mut [T], mean: Option<Mean<'_, T>>) {
    let pairs = &pairs;
    match mean {
        None => out.par_chunks_mut(TILE).enumerate().for_each(|(tile, out)| {
            T::dispatch(isa, RowTile { pairs, tile, out, values: &[], p: 0, means: &mut [], sums: Vec::new() });
        }),
        Some(Mean { values, p, out: means }) => {
            let tiles = out.par_chunks_mut(TILE).zip(means.par_chunks_mut(TILE * p)).enumerate();
            tiles.for_each(|(tile, (out, means))| {
                T::dispatch(isa, RowTile { pairs, tile, out, values, p, means, sums: Vec::new() });
            });
        }
    }
}

/// One tile of rows against the tiles it keeps.
struct RowTile<'a, T: Simd> {
    pairs: &'a Pairs<'a, T>,
    tile: usize,
    out: &'a mut [T],
    values: &'a [T],
    p: usize,
    means: &'a mut [T],
    /// Mean so far: value, vector of rows, its sum and what rounding added to it.
    sums: Vec<T>,
}

impl<T: Simd> Kernel<T> for RowTile<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(mut self) {
        match self.pairs.rows.d {
            1 => self.rows::<L, 2, 1>(),
            2 => self.rows::<L, 2, 2>(),
            3 => self.rows::<L, 2, 3>(),
            _ => self.rows::<L, 2, 4>(),
        }
    }
}

/// R vectors of rows: their offsets δ, and −ρ/ε in units of log 2.
pub(super) struct Lanes<L, const R: usize, const D: usize> {
    offset: [[L; R]; D],
    rest: [L; R],
}

impl<L: Lane, const R: usize, const D: usize> Lanes<L, R, D> {
    /// `rows` of tile `tile`; lanes beyond the last row repeat it.
    #[inline(always)]
    pub(super) fn new<T: Simd>(x: &Tiles<'_, Cpu<T>>, tile: usize, rows: &Range<usize>, eps: f64) -> Self
    where
        L: Lane<Elem = T>,
    {
        let frame = Frame::of(x, tile);
        let mut lanes = Self { offset: [[L::splat(T::zeroed()); R]; D], rest: [L::splat(T::zeroed()); R] };
        for r in 0..R {
            let (mut offset, mut rest) = ([[T::zeroed(); 16]; D], [T::zeroed(); 16]);
            for l in 0..L::N {
                let i = tile * TILE + (rows.start + r * L::N + l).min(rows.end - 1);
                let point = &x.points[i * D..][..D];
                for ((offset, x), centre) in both(both(&mut offset, point), frame.centre) {
                    offset[l] = T::from_f64(x - centre);
                }
                rest[l] = T::from_f64(-LOG2_E / eps * frame.rest(point, x.potential[i]));
            }
            for (lanes, offset) in both(&mut lanes.offset, &offset) {
                lanes[r] = L::load(offset);
            }
            lanes.rest[r] = L::load(&rest);
        }
        lanes
    }

    /// What multiplies η_j, and what is added, in the exponents of rows in `row` and columns in `column`.
    #[inline(always)]
    pub(super) fn facing(&self, row: &Frame<'_>, column: &Frame<'_>, k: f64) -> ([[L; R]; D], [L; R]) {
        let mut product = -row.level - column.level;
        for c in 0..D {
            product += row.centre[c] * column.centre[c];
        }
        let (mut base, product) = (self.rest, L::splat(L::Elem::from_f64(k * product)));
        for base in &mut base {
            *base = base.add(product);
        }
        let mut x = self.offset;
        for (c, x) in x.iter_mut().enumerate() {
            let along = L::splat(L::Elem::from_f64(k * (column.centre[c] - row.slope[c])));
            let across = L::splat(L::Elem::from_f64(row.centre[c] - column.slope[c]));
            for r in 0..R {
                base[r] = self.offset[c][r].mul_add(along, base[r]);
                x[r] = self.offset[c][r].add(across);
            }
        }
        (x, base)
    }
}

impl<T: Simd> RowTile<'_, T> {
    /// Works through the tile, R vectors of rows at a time.
    #[inline(always)]
    fn rows<L: Lane<Elem = T>, const R: usize, const D: usize>(&mut self) {
        let n = self.out.len();
        for start in steps(0..n, R * L::N) {
            let rows = start..n.min(start + R * L::N);
            let lanes = Lanes::<L, R, D>::new(self.pairs.rows, self.tile, &rows, self.pairs.eps);
            let mut state = State::new(Some([L::splat(T::zeroed()); R]));
            self.stream(&lanes, &mut state, false);
            self.finish(&state, None, &rows);
            if !state.is_usable(rows.len(), false) {
                let first = std::mem::replace(&mut state, State::new(None));
                self.stream(&lanes, &mut state, true);
                self.finish(&state, Some(&first), &rows);
            }
        }
    }

    /// Streams the kept columns past R vectors of rows; `online` keeps a running maximum as shift.
    #[inline(always)]
    fn stream<L: Lane<Elem = T>, const R: usize, const D: usize>(
        &mut self,
        lanes: &Lanes<L, R, D>,
        state: &mut State<L, R>,
        online: bool,
    ) {
        let Pairs { rows, columns, packed, list, eps } = self.pairs;
        let k = LOG2_E / eps;
        let row = Frame::of(rows, self.tile);
        self.sums.clear();
        self.sums.resize(2 * self.p * R * L::N, T::zeroed());
        let mut weights = [[L::splat(T::zeroed()); R]; TILE];
        let runs = &list.runs[list.starts[self.tile] as usize..list.starts[self.tile + 1] as usize];
        for tile in runs.iter().flat_map(|&[from, to]| from as usize..to as usize) {
            let column = Frame::of(columns, tile);
            let (x, base) = lanes.facing(&row, &column, k);
            let packed = &packed[tile * TILE * (D + 1)..columns.n.min((tile + 1) * TILE) * (D + 1)];
            if !online && self.p == 0 {
                state.add(sum_of_exponentials(&x, &base, packed));
                continue;
            }
            let weights = &mut weights[..packed.len() / (D + 1)];
            for (logits, y) in both(weights.iter_mut(), packed.chunks_exact(D + 1)) {
                *logits = logit(&x, &base, y);
            }
            if online {
                rescale_means(&state.raise_shift(weights), &mut self.sums);
            }
            state.add_exponentials(weights);
            if self.p > 0 {
                add_mean(weights, &self.values[tile * TILE * self.p..][..weights.len() * self.p], self.p, &mut self.sums);
            }
        }
    }

    /// Writes log-sums and means; after a first run only those of the rows that it lost.
    #[inline(always)]
    fn finish<L: Lane<Elem = T>, const R: usize>(
        &mut self,
        state: &State<L, R>,
        first: Option<&State<L, R>>,
        rows: &Range<usize>,
    ) {
        let (mut sum, mut shift, mut mean, mut before) =
            ([T::zeroed(); 16], [T::zeroed(); 16], [T::zeroed(); 16], [T::zeroed(); 16]);
        for r in 0..R {
            state.sum[r].store(&mut sum);
            state.shift[r].store(&mut shift);
            if let Some(first) = first {
                first.sum[r].store(&mut before);
            }
            let start = rows.start + r * L::N;
            let here = rows.end.saturating_sub(start).min(L::N);
            let mut wanted = [true; 16];
            if first.is_some() {
                for l in 0..here {
                    wanted[l] = !is_usable(in_units(before[l]));
                }
            }
            for l in 0..here {
                if wanted[l] {
                    self.out[start + l] = T::from_f64(LN_2 * shift[l].to_f64() + in_units(sum[l]).ln());
                }
            }
            for k in 0..self.p {
                mean_of(L::load(&self.sums[(k * R + r) * 2 * L::N..]), state.sum[r]).store(&mut mean);
                for l in 0..here {
                    if wanted[l] {
                        self.means[(start + l) * self.p + k] = mean[l];
                    }
                }
            }
        }
    }
}

/// Exponents of one column for R vectors of rows, in units of log 2.
#[inline(always)]
fn logit<L: Lane, const R: usize, const D: usize>(x: &[[L; R]; D], base: &[L; R], y: &[L::Elem]) -> [L; R] {
    let mut logit = [L::splat(y[D]); R];
    for k in 0..D {
        for r in 0..R {
            logit[r] = x[k][r].mul_add(L::splat(y[k]), logit[r]);
        }
    }
    for r in 0..R {
        logit[r] = logit[r].add(base[r]);
    }
    logit
}

/// Σ_j 2^logit over the columns of one tile, in units of a weight.
#[inline(always)]
fn sum_of_exponentials<L: Lane, const R: usize, const D: usize>(x: &[[L; R]; D], base: &[L; R], packed: &[L::Elem]) -> [L; R] {
    let mut sum = [L::splat(L::Elem::from_f64(0.0)); R];
    for y in packed.chunks_exact(D + 1) {
        let logit = logit(x, base, y);
        for r in 0..R {
            sum[r] = sum[r].add(logit[r].weight());
        }
    }
    sum
}
