//! The cost of every pair, in passes over rows or columns that run in parallel.

use std::ops::Range;

use rayon::prelude::*;

use crate::transport::exact::twice::Twice;

/// Up to this dimension a cost is computed where it is needed, as fast as it could be read; above it all are stored.
const COMPUTED: usize = 8;
/// Columns of one piece of a pass: its costs stay in the first-level cache.
const PIECE: usize = 512;

/// What it costs to move a unit of mass from x to y.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// c = ½|x−y|².
    HalfSquare,
    /// |x−y|.
    Distance,
}

/// c_ij of n points x against m points y.
pub(super) struct Costs {
    pub n: usize,
    pub m: usize,
    pub d: usize,
    pub ground: Ground,
    pub x: Vec<f64>,
    pub y: Vec<f64>,
    /// y by coordinate, d × m.
    coordinates: Vec<f64>,
    /// n × m; empty where costs are computed as needed.
    stored: Vec<f64>,
}

impl Costs {
    pub fn new(x: Vec<f64>, y: Vec<f64>, d: usize, ground: Ground) -> Self {
        let (n, m) = (x.len() / d, y.len() / d);
        let coordinates = (0..d).flat_map(|k| y.iter().skip(k).step_by(d)).copied().collect();
        let mut costs = Self { n, m, d, ground, x, y, coordinates, stored: Vec::new() };
        if d > COMPUTED {
            let mut stored = vec![0.0; n * m];
            stored.par_chunks_exact_mut(m).enumerate().for_each(|(i, row)| costs.compute(i, 0, row));
            costs.stored = stored;
        }
        costs
    }

    /// No cost is larger; not finite where one overflows.
    pub fn bound(&self) -> f64 {
        let longest = |points: &[f64]| points.chunks_exact(self.d).map(square).fold(0.0, f64::max).sqrt();
        self.of_square((longest(&self.x) + longest(&self.y)).powi(2))
    }

    /// c_ij, to the bit as in the passes.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        if !self.stored.is_empty() {
            return self.stored[i * self.m + j];
        }
        let mut cost = [0.0];
        self.compute(i, j, &mut cost);
        cost[0]
    }

    /// c_ij of the coordinates as they are given, to twice the digits.
    pub fn exact(&self, i: usize, j: usize) -> Twice {
        let pairs = self.x[i * self.d..][..self.d].iter().zip(&self.y[j * self.d..][..self.d]);
        let square = pairs.fold(Twice::default(), |sum, (&x, &y)| sum + Twice::difference(x, y).square());
        match self.ground {
            Ground::HalfSquare => square.half(),
            Ground::Distance => square.sqrt(),
        }
    }

    /// The share by which c_ij of the passes may be off, and a sum of it and two potentials with it.
    pub fn rounding(&self) -> f64 {
        (self.d + 8) as f64 * f64::EPSILON
    }

    /// For each row i the state after `step(state, i, j, c_ij)` over its columns j.
    pub fn over_rows<S: Copy + Send + Sync>(&self, start: S, step: impl Fn(&mut S, usize, usize, f64) + Sync) -> Vec<S> {
        let row = |i: usize| {
            let (mut state, mut buffer) = (start, [0.0; PIECE]);
            for first in (0..self.m).step_by(PIECE) {
                let costs = self.piece(i, first..self.m.min(first + PIECE), &mut buffer);
                costs.iter().enumerate().for_each(|(k, &cost)| step(&mut state, i, first + k, cost));
            }
            state
        };
        (0..self.n).into_par_iter().with_min_len(16).map(row).collect()
    }

    /// For each column j the state after `step(state, i, j, c_ij)` over its rows i.
    pub fn over_columns<S: Copy + Send + Sync>(&self, start: S, step: impl Fn(&mut S, usize, usize, f64) + Sync) -> Vec<S> {
        let mut states = vec![start; self.m];
        states.par_chunks_mut(PIECE).enumerate().for_each(|(piece, states)| {
            let (first, mut buffer) = (piece * PIECE, [0.0; PIECE]);
            for i in 0..self.n {
                let costs = self.piece(i, first..first + states.len(), &mut buffer);
                states.iter_mut().zip(costs).enumerate().for_each(|(k, (state, &cost))| step(state, i, first + k, cost));
            }
        });
        states
    }

    /// min_j (c_ij − v_j) for each i.
    pub fn row_transform(&self, v: &[f64]) -> Vec<f64> {
        self.over_rows(f64::INFINITY, |least, _, j, cost| *least = least.min(cost - v[j]))
    }

    /// min_i (c_ij − u_i) for each j.
    pub fn column_transform(&self, u: &[f64]) -> Vec<f64> {
        self.over_columns(f64::INFINITY, |least, i, _, cost| *least = least.min(cost - u[i]))
    }

    fn piece<'a>(&'a self, i: usize, columns: Range<usize>, buffer: &'a mut [f64; PIECE]) -> &'a [f64] {
        if !self.stored.is_empty() {
            return &self.stored[i * self.m..][columns];
        }
        let out = &mut buffer[..columns.len()];
        self.compute(i, columns.start, out);
        out
    }

    /// The costs of row i from column `first` on.
    fn compute(&self, i: usize, first: usize, out: &mut [f64]) {
        out.fill(0.0);
        for (k, x) in self.x[i * self.d..][..self.d].iter().enumerate() {
            let y = &self.coordinates[k * self.m + first..][..out.len()];
            out.iter_mut().zip(y).for_each(|(sum, y)| *sum += (x - y) * (x - y));
        }
        out.iter_mut().for_each(|cost| *cost = self.of_square(*cost));
    }

    fn of_square(&self, square: f64) -> f64 {
        match self.ground {
            Ground::HalfSquare => 0.5 * square,
            Ground::Distance => square.sqrt(),
        }
    }
}

fn square(point: &[f64]) -> f64 {
    point.iter().map(|x| x * x).sum()
}
