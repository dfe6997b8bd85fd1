//! The nearest column of each row: a search in lanes, settled in f64.
//!
//! Rows lie in lanes and the columns stream past them, [`TILE`] at a time, as in the soft-min: squared distances of the tile by
//! differences in the precision of the points, and their minimum. Only a row whose minimum comes within the rounding errors
//! of its best so far looks at the columns of the tile, and compares those in f64. A row does that about log(m/TILE) times, so
//! the search costs 2d operations a pair, and its result is that of the comparison of all pairs in f64.

use rayon::prelude::*;

use crate::backend::Real;
use crate::backend::cpu::lane::{Isa, Kernel, Lane, Simd, copy, steps, transpose};
use crate::vector::squared_distance;

/// Columns whose distances are held at a time.
const TILE: usize = 48;
/// Rows a task handles; no instruction set holds more at a time.
const ROWS: usize = 64;
/// Above what squares below the normal numbers can add to a distance, a coordinate.
const UNDERFLOW: f64 = 1e-37;

/// `index_i = argmin_j |x_i − y_j|²`, the lowest of equals; 0 if no distance is finite.
pub fn nearest<T: Simd>(isa: Isa, x: &[T], y: &[T], d: usize, index: &mut [u32]) {
    let tasks = index.par_chunks_mut(ROWS).zip(x.par_chunks(ROWS * d));
    tasks.for_each_init(Vec::new, |scratch, (index, x)| T::dispatch(isa, Block { x, y, d, index, scratch }));
}

/// The rows of one task against all columns.
struct Block<'a, T> {
    x: &'a [T],
    y: &'a [T],
    d: usize,
    index: &'a mut [u32],
    scratch: &'a mut Vec<T>,
}

/// The nearest column of a row so far.
#[derive(Clone, Copy)]
struct Best {
    distance: f64,
    index: u32,
    /// A distance above this in the lanes is not below `distance` in f64.
    bound: f64,
}

impl<T: Simd> Kernel<T> for Block<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(self) {
        // R × C accumulators, R rows, a broadcast and a difference must fit the registers.
        if L::REGISTERS >= 32 { self.rows::<L, 4, 4>() } else { self.rows::<L, 2, 4>() }
    }
}

impl<T: Simd> Block<'_, T> {
    /// Works through the task's rows, R vectors at a time.
    #[inline(always)]
    fn rows<L: Lane<Elem = T>, const R: usize, const C: usize>(self) {
        let Self { x, y, d, index, scratch } = self;
        scratch.resize(d * R * L::N, T::zeroed());
        for (group, index) in index.chunks_mut(R * L::N).enumerate() {
            let start = group * R * L::N;
            transpose(x, d, start..start + index.len(), R * L::N, scratch);
            let mut best = [Best { distance: f64::INFINITY, index: 0, bound: f64::INFINITY }; ROWS];
            let mut distances = [[L::splat(T::zeroed()); R]; TILE];
            for (t, tile) in y.chunks(TILE * d).enumerate() {
                let columns = tile.len() / d;
                let whole = columns / C * C;
                for j in steps(0..whole, C) {
                    squared_distances::<L, R, C>(scratch, &tile[j * d..], d, &mut distances[j..j + C]);
                }
                for j in whole..columns {
                    squared_distances::<L, R, 1>(scratch, &tile[j * d..], d, &mut distances[j..=j]);
                }
                let mut lanes = [T::zeroed(); ROWS];
                for (r, lanes) in lanes.chunks_exact_mut(L::N).take(R).enumerate() {
                    let mut least = distances[0][r];
                    for distance in &distances[1..columns] {
                        least = distance[r].min(least);
                    }
                    least.store(lanes);
                }
                for (i, best) in best[..index.len()].iter_mut().enumerate() {
                    if lanes[i].to_f64() <= best.bound {
                        let row = &x[(start + i) * d..][..d];
                        for (j, column) in tile.chunks_exact(d).enumerate() {
                            if lane(distances[j][i / L::N], i % L::N).to_f64() <= best.bound {
                                best.settle(row, column, t * TILE + j);
                            }
                        }
                    }
                }
            }
            index.iter_mut().zip(best).for_each(|(index, best)| *index = best.index);
        }
    }
}

impl Best {
    /// Compares `column`, number `j`, in f64.
    #[inline(always)]
    fn settle<T: Real>(&mut self, row: &[T], column: &[T], j: usize) {
        let distance = squared_distance(row, column);
        if distance < self.distance {
            let d = row.len() as f64;
            // d + 2 roundings, taken twice; a bound beyond the numbers of the lanes is infinite like their distances.
            let bound = distance * (1.0 + 2.0 * (d + 2.0) * T::ROUNDING) + d * UNDERFLOW;
            let bound = if distance == 0.0 { f64::NEG_INFINITY } else { T::from_f64(bound).to_f64() };
            *self = Self { distance, index: j as u32, bound };
        }
    }
}

/// Lane `l` of a vector.
#[inline(always)]
fn lane<L: Lane>(vector: L, l: usize) -> L::Elem {
    let mut lanes = [L::Elem::from_f64(0.0); 16];
    vector.store(&mut lanes);
    lanes[l]
}

/// Squared distances of C columns to R vectors of rows, by differences.
#[inline(always)]
fn squared_distances<L: Lane, const R: usize, const C: usize>(x: &[L::Elem], y: &[L::Elem], d: usize, out: &mut [[L; R]]) {
    let mut acc = [[L::splat(L::Elem::from_f64(0.0)); R]; C];
    for k in 0..d {
        let mut rows = [L::splat(L::Elem::from_f64(0.0)); R];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = L::load(&x[(k * R + r) * L::N..]);
        }
        for (c, acc) in acc.iter_mut().enumerate() {
            let y = L::splat(y[c * d + k]);
            for r in 0..R {
                let difference = rows[r].sub(y);
                acc[r] = difference.mul_add(difference, acc[r]);
            }
        }
    }
    copy(acc, out);
}
