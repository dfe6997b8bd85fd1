//! Cells of tiles, what a pair of them can hold at most, and the lists of pairs that are kept.
//!
//! With centres x̄, ȳ, offsets δ, η and affine functions under the potentials, φ ≥ φ̄ + t·δ − R and ψ ≥ ψ̄ + s·η − S on the cells,
//! the exponent of every pair in a pair of cells is at most
//!
//! ```text
//! x̄·ȳ − φ̄ − ψ̄ + R + S + max (δ·(ȳ − t) + (x̄ − s)·η + δ·η)
//! ```
//!
//! and the maximum over two boxes is a sum over coordinates of the larger of four corners. A pair of cells whose bound is under
//! ε log τ is skipped; as the weights b add up to one, a row then lacks at most τ of its sum.

use nalgebra::{SMatrix, SVector};
use rayon::prelude::*;

use crate::backend::TILE;
use crate::vector::dot;

/// The largest dimension in which tiles are small enough to be skipped.
pub const LARGEST_DIM: usize = 4;

/// Points of one cloud at one scale, in k-d order.
pub struct Scale<const D: usize> {
    pub points: Vec<f64>,
    pub weights: Vec<f64>,
}

impl<const D: usize> Scale<D> {
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    pub fn point(&self, i: usize) -> [f64; D] {
        std::array::from_fn(|k| self.points[i * D + k])
    }

    /// ½|x|² of each point.
    pub fn half_squares(&self) -> Vec<f64> {
        self.points.chunks_exact(D).map(|x| 0.5 * dot(x, x)).collect()
    }

    /// The largest ½|x|² of a point with mass.
    pub fn largest_half_square(&self) -> f64 {
        let with_mass = self.points.chunks_exact(D).zip(&self.weights).filter(|(_, mass)| **mass > 0.0);
        with_mass.map(|(x, _)| 0.5 * dot(x, x)).fold(0.0, f64::max)
    }

    /// Pairs of points as their centroids, and the variance Σ a |x − centroid|² that is lost.
    pub fn merged(&self) -> (Self, f64) {
        let pairs: Vec<_> = self.points.chunks(2 * D).zip(self.weights.chunks(2)).map(|(x, a)| centroid::<D>(x, a)).collect();
        let points = pairs.iter().flat_map(|(centre, ..)| *centre).collect();
        let weights = pairs.iter().map(|(_, mass, _)| *mass).collect();
        (Self { points, weights }, pairs.iter().map(|(.., lost)| lost).sum())
    }

    /// The largest squared half-diagonal of a tile.
    pub fn widest_tile(&self) -> f64 {
        let widest = |x: &[f64]| extent::<D>(x).1.iter().map(|half| half * half).sum::<f64>();
        self.points.par_chunks(TILE * D).map(widest).reduce(|| 0.0, f64::max)
    }
}

/// Centroid, mass and Σ a |x − centroid|² of a block; the plain mean where there is no mass.
fn centroid<const D: usize>(x: &[f64], a: &[f64]) -> ([f64; D], f64, f64) {
    let mass: f64 = a.iter().sum();
    let share = |a: f64| if mass > 0.0 { a / mass } else { 1.0 / (x.len() / D) as f64 };
    let mut centre = [0.0; D];
    for (x, &a) in x.chunks_exact(D).zip(a) {
        (0..D).for_each(|k| centre[k] += share(a) * x[k]);
    }
    let squared = |x: &[f64]| (0..D).map(|k| (x[k] - centre[k]).powi(2)).sum::<f64>();
    (centre, mass, x.chunks_exact(D).zip(a).map(|(x, a)| a * squared(x)).sum())
}

/// A block of points: its box, its mass and the affine function near the potential on it.
#[derive(Clone, Copy)]
pub struct Cell<const D: usize> {
    pub centre: [f64; D],
    pub half_width: [f64; D],
    pub mass: f64,
    pub slope: [f64; D],
    pub level: f64,
    /// The most by which the affine function is above the potential.
    pub above: f64,
}

/// Binary levels between a level of cells and the next coarser one.
const STEP: u32 = 2;

/// Cells of a cloud with potential: tiles first, then blocks of 2^STEP of them, and so on up to a few.
pub fn cells<const D: usize>(scale: &Scale<D>, potential: &[f64]) -> Vec<Vec<Cell<D>>> {
    let mut levels: Vec<Vec<Cell<D>>> = Vec::new();
    while levels.last().is_none_or(|coarsest| coarsest.len() > 8) {
        let block = TILE << (STEP * levels.len() as u32);
        let blocks = scale.points.par_chunks(block * D).zip(scale.weights.par_chunks(block)).zip(potential.par_chunks(block));
        levels.push(blocks.map(|((x, a), phi)| cell(x, a, phi)).collect());
    }
    levels
}

/// Centre and half-widths of the box of points.
fn extent<const D: usize>(x: &[f64]) -> ([f64; D], [f64; D]) {
    let (mut low, mut high) = ([f64::MAX; D], [f64::MIN; D]);
    for x in x.chunks_exact(D) {
        for k in 0..D {
            low[k] = low[k].min(x[k]);
            high[k] = high[k].max(x[k]);
        }
    }
    (std::array::from_fn(|k| 0.5 * (low[k] + high[k])), std::array::from_fn(|k| 0.5 * (high[k] - low[k])))
}

fn cell<const D: usize>(x: &[f64], a: &[f64], potential: &[f64]) -> Cell<D> {
    let (centre, half_width) = extent(x);
    let (slope, level) = affine(x, potential, &centre);
    let at = |x: &[f64]| level + (0..D).map(|k| slope[k] * (x[k] - centre[k])).sum::<f64>();
    let above = x.chunks_exact(D).zip(potential).map(|(x, p)| at(x) - p).fold(0.0, f64::max);
    Cell { centre, half_width, mass: a.iter().sum(), slope, level, above }
}

/// The affine function nearest to `values` in the mean square: slope, and value at `centre`.
pub fn affine<const D: usize>(x: &[f64], values: &[f64], centre: &[f64; D]) -> ([f64; D], f64) {
    let n = values.len() as f64;
    let (mut mean, mut value) = (SVector::<f64, D>::zeros(), 0.0);
    let offset = |x: &[f64]| SVector::<f64, D>::from_fn(|k, _| x[k] - centre[k]);
    for (x, v) in x.chunks_exact(D).zip(values) {
        mean += offset(x) / n;
        value += (v - values[0]) / n;
    }
    let (mut square, mut along) = (SMatrix::<f64, D, D>::zeros(), SVector::<f64, D>::zeros());
    for (x, v) in x.chunks_exact(D).zip(values) {
        let offset = offset(x) - mean;
        square += offset * offset.transpose();
        along += offset * (v - values[0] - value);
    }
    // A ridge of rounding size: points on a line or all in one place leave slopes across it at zero.
    let ridge = 1e-12 * square.trace() + f64::MIN_POSITIVE;
    (0..D).for_each(|k| square[(k, k)] += ridge);
    let slope = square.cholesky().map_or(SVector::zeros(), |c| c.solve(&along));
    (std::array::from_fn(|k| slope[k]), values[0] + value - slope.dot(&mean))
}

/// The most that the exponent x·y − φ − ψ can be between points of two cells.
pub fn largest<const D: usize>(x: &Cell<D>, y: &Cell<D>) -> f64 {
    let mut bound = x.above + y.above - x.level - y.level;
    for k in 0..D {
        let (w, v) = (x.half_width[k], y.half_width[k]);
        let along = w * (y.centre[k] - x.slope[k]);
        let across = v * (x.centre[k] - y.slope[k]);
        bound += x.centre[k] * y.centre[k] + (w * v + (along + across).abs()).max((along - across).abs() - w * v);
    }
    bound
}

/// The column cells that each row cell keeps, as runs of consecutive ones.
pub struct List {
    pub starts: Vec<u32>,
    pub runs: Vec<[u32; 2]>,
    /// A bound of the plan's mass in the skipped pairs.
    pub skipped: f64,
}

/// Keeps every pair of tiles that can hold an exponent above `cut`·ε: coarse cells first, then the children of kept pairs.
pub fn list<const D: usize>(rows: &[Vec<Cell<D>>], columns: &[Vec<Cell<D>>], eps: f64, cut: f64) -> List {
    let top = rows.len().min(columns.len()) - 1;
    let all = [0, columns[top].len() as u32];
    let everything = List { starts: (0..=rows[top].len() as u32).collect(), runs: vec![all; rows[top].len()], skipped: 0.0 };
    let mut list = refine(&everything, 0, &rows[top], &columns[top], eps, cut);
    for level in (0..top).rev() {
        list = refine(&list, STEP, &rows[level], &columns[level], eps, cut);
    }
    list
}

/// The list of cells 2^`step` times smaller than those of `parents`.
fn refine<const D: usize>(parents: &List, step: u32, rows: &[Cell<D>], columns: &[Cell<D>], eps: f64, cut: f64) -> List {
    let refined: Vec<(Vec<[u32; 2]>, f64)> = rows
        .par_iter()
        .enumerate()
        .with_min_len(16)
        .map(|(r, row)| {
            let (mut runs, mut skipped): (Vec<[u32; 2]>, f64) = (Vec::new(), 0.0);
            let parent = r >> step;
            for &[from, to] in &parents.runs[parents.starts[parent] as usize..parents.starts[parent + 1] as usize] {
                for c in from << step..(to << step).min(columns.len() as u32) {
                    let column = &columns[c as usize];
                    let exponent = largest(row, column) / eps;
                    if exponent < cut {
                        skipped += row.mass * column.mass * exponent.exp();
                        continue;
                    }
                    match runs.last_mut() {
                        Some(run) if run[1] == c => run[1] = c + 1,
                        _ => runs.push([c, c + 1]),
                    }
                }
            }
            (runs, skipped)
        })
        .collect();
    let mut list = List {
        starts: Vec::with_capacity(rows.len() + 1),
        runs: Vec::with_capacity(refined.iter().map(|(runs, _)| runs.len()).sum()),
        skipped: parents.skipped,
    };
    list.starts.push(0);
    for (runs, skipped) in refined {
        list.runs.extend(runs);
        list.starts.push(list.runs.len() as u32);
        list.skipped += skipped;
    }
    list
}
