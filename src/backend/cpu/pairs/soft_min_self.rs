//! The soft-min of a cloud with itself, each pair of blocks visited once.
//!
//! e_ij = 2^(k x_i·x_j − s_i − s_j) is symmetric, so a block of rows I against a block of columns J gives the sums Σ_j a_j e_ij of
//! its rows and, added across the lanes, Σ_i a_i e_ij of its columns. In round w block I meets block I + w (modulo the number of
//! blocks): no two tasks of a round write to the same rows, and a row's sums are added up in the order of the rounds.

use std::ops::Range;

use rayon::prelude::*;

use crate::backend::cpu::Cpu;
use crate::backend::cpu::lane::{Isa, Kernel, Lane, Simd, both, steps, transpose};
use crate::backend::cpu::pairs::soft_min::{Pairs, given_shift, in_units, is_usable, logits, pack};
use crate::backend::{Rows, Scale, Symmetric};

/// Points of a block: large enough that a task outweighs its bookkeeping, small enough for the second-level cache at d = 64.
const BLOCK: usize = 512;
/// Columns whose logits are held at a time.
const TILE: usize = 48;

/// `out_i = log Σ_j a_j e_ij`, or NaN where a sum left the usable range, as a shift far from the answer makes it; false if any did.
pub fn soft_min_self<T: Simd>(isa: Isa, cloud: &mut Symmetric<'_, Cpu<T>>, out: &mut [T]) -> bool {
    let Symmetric { rows, k, weights: (weights, _), shift: (shift, factor), ref mut packed } = *cloud;
    let (Rows { points: x, n, d }, shift) = (rows, (shift.as_slice(), factor));
    // No weights in the columns: e_ij must be symmetric, and a point without mass still has a sum.
    pack(rows, Scale::Uniform(k), &vec![T::zeroed(); n], Some((shift.0, -shift.1)), packed);
    let pairs = Pairs { x, y: &packed[..], d, shift: Some(shift) };
    // A weight so small counts nowhere, and its products would be denormal.
    let weights: &[T] = &weights.iter().map(|&a| if a.to_f64() < T::TINY { T::zeroed() } else { a }).collect::<Vec<_>>();
    let blocks = n.div_ceil(BLOCK);
    let (mut row_sums, mut column_sums) = (vec![0.0; n], vec![0.0; n]);
    let scratch = || Scratch { x: Vec::new(), a: Vec::new(), shift: Vec::new(), sums: Vec::new(), column: Vec::new() };
    for round in 0..=blocks / 2 {
        // With an even number of blocks the last round would meet every pair twice.
        let tasks = if round > 0 && 2 * round == blocks { round } else { blocks };
        let mut columns: Vec<_> = column_sums.chunks_mut(BLOCK).collect();
        columns.rotate_left(round);
        let rows = row_sums.par_chunks_mut(BLOCK).zip(columns).take(tasks).enumerate();
        rows.for_each_init(scratch, |scratch, (i, (row_sums, column_sums))| {
            let j = (i + round) % blocks;
            let (rows, columns) = (i * BLOCK..i * BLOCK + row_sums.len(), j * BLOCK..j * BLOCK + column_sums.len());
            T::dispatch(isa, Meeting { pairs, weights, rows, columns, row_sums, column_sums, scratch });
        });
    }
    let sums = row_sums.iter().zip(&column_sums).map(|(row, column)| in_units(row + column));
    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = T::from_f64(if is_usable(sum) { sum.ln() } else { f64::NAN }));
    out.iter().all(|sum| sum.to_f64().is_finite())
}

/// Memory of one thread: a block of rows in lanes, with their weights, shifts and sums, and one vector.
struct Scratch<T> {
    x: Vec<T>,
    a: Vec<T>,
    shift: Vec<T>,
    sums: Vec<T>,
    column: Vec<T>,
}

/// One block of rows against one block of columns; the same block twice counts its rows only.
struct Meeting<'a, T> {
    pairs: Pairs<'a, T>,
    weights: &'a [T],
    rows: Range<usize>,
    columns: Range<usize>,
    row_sums: &'a mut [f64],
    column_sums: &'a mut [f64],
    scratch: &'a mut Scratch<T>,
}

impl<T: Simd> Kernel<T> for Meeting<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(mut self) {
        if L::REGISTERS >= 32 {
            match self.pairs.d {
                1 => self.meet::<L, 4, 2, 1>(),
                2 => self.meet::<L, 4, 2, 2>(),
                3 => self.meet::<L, 4, 2, 3>(),
                _ => self.meet::<L, 4, 6, 0>(),
            }
        } else {
            self.meet::<L, 2, 2, 0>();
        }
    }
}

impl<T: Simd> Meeting<'_, T> {
    /// R vectors of rows at a time against C columns; D is the dimension when known at compile time, else 0.
    #[inline(always)]
    fn meet<L: Lane<Elem = T>, const R: usize, const C: usize, const D: usize>(&mut self) {
        let d = if D > 0 { D } else { self.pairs.d };
        let (width, zero) = (R * L::N, L::splat(T::zeroed()));
        let groups = self.rows.len().div_ceil(width);
        let Scratch { x, a, shift, sums, column } = &mut *self.scratch;
        x.resize(groups * width * d, T::zeroed());
        a.clear();
        a.extend_from_slice(&self.weights[self.rows.clone()]);
        // Lanes beyond the last row repeat it and must not count.
        a.resize(groups * width, T::zeroed());
        sums.clear();
        sums.resize(groups * width, T::zeroed());
        column.resize(L::N, T::zeroed());
        let group = |g: usize| self.rows.start + g * width..self.rows.end.min(self.rows.start + (g + 1) * width);
        for (g, x) in x.chunks_exact_mut(width * d).enumerate() {
            transpose(self.pairs.x, d, group(g), width, x);
        }
        shift.resize(groups * width, T::zeroed());
        if let Some(given) = self.pairs.shift {
            for (g, lanes) in shift.chunks_exact_mut(width).enumerate() {
                let vectors = given_shift::<L, R>(given, group(g));
                for r in 0..R {
                    vectors[r].store(&mut lanes[r * L::N..]);
                }
            }
        }
        let mut tile = [[zero; R]; TILE];
        for first in steps(self.columns.clone(), TILE) {
            let columns = first..self.columns.end.min(first + TILE);
            let packed = &self.pairs.y[first * (d + 1)..columns.end * (d + 1)];
            let tile = &mut tile[..columns.len()];
            let mut across = [zero; TILE];
            for g in 0..groups {
                let rows = &x[g * width * d..(g + 1) * width * d];
                let whole = columns.len() / C * C;
                for j in steps(0..whole, C) {
                    logits::<L, R, C>(rows, &packed[j * (d + 1)..], d, &mut tile[j..j + C]);
                }
                for j in whole..columns.len() {
                    logits::<L, R, 1>(rows, &packed[j * (d + 1)..], d, &mut tile[j..=j]);
                }
                let (mut own_shift, mut own, mut down) = ([zero; R], [zero; R], [zero; R]);
                for r in 0..R {
                    own_shift[r] = L::load(&shift[g * width + r * L::N..]);
                    own[r] = L::load(&a[g * width + r * L::N..]);
                }
                for ((logit, across), b) in both(both(&*tile, &mut across), &self.weights[columns.clone()]) {
                    let b = L::splat(*b);
                    for r in 0..R {
                        let e = logit[r].sub(own_shift[r]).weight();
                        down[r] = e.mul_add(b, down[r]);
                        *across = e.mul_add(own[r], *across);
                    }
                }
                for r in 0..R {
                    let sum = &mut sums[g * width + r * L::N..];
                    L::load(sum).add(down[r]).store(sum);
                }
            }
            if self.rows != self.columns {
                for (across, total) in both(&across, &mut self.column_sums[first - self.columns.start..][..columns.len()]) {
                    across.store(column);
                    let mut sum = 0.0;
                    for lane in column.iter() {
                        sum += lane.to_f64();
                    }
                    *total += sum;
                }
            }
        }
        self.row_sums.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum.to_f64());
    }
}
