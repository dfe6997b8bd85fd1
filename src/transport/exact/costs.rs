//! The cost of every pair, in passes over rows or columns that run in parallel.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use crate::random::{Philox, Stream};
use crate::transport::exact::twice::Twice;

/// Up to this dimension a cost is computed where it is needed, as fast as it could be read; above it all are stored.
const COMPUTED: usize = 8;
/// Columns of one piece of a pass: its costs stay in the first-level cache.
const PIECE: usize = 512;
/// Partners by whose costs points are told apart where only costs are known.
const SIGNATURE: usize = 8;

/// What it costs to move a unit of mass from x to y.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// c = ½|x−y|².
    HalfSquare,
    /// |x−y|.
    Distance,
}

/// c_ij of n points x against m points y, or as they are given.
pub(super) struct Costs<'a> {
    pub n: usize,
    pub m: usize,
    /// None where the costs are given.
    points: Option<Points>,
    /// n × m; empty where costs are computed as needed.
    stored: Cow<'a, [f64]>,
}

/// Points of a dimension d, and what moving between them costs.
struct Points {
    ground: Ground,
    d: usize,
    x: Vec<f64>,
    y: Vec<f64>,
    /// y by coordinate, d × m.
    coordinates: Vec<f64>,
}

impl<'a> Costs<'a> {
    pub fn new(x: Vec<f64>, y: Vec<f64>, d: usize, ground: Ground) -> Self {
        let (n, m) = (x.len() / d, y.len() / d);
        let coordinates = (0..d).flat_map(|k| y.iter().skip(k).step_by(d)).copied().collect();
        let points = Points { ground, d, x, y, coordinates };
        let mut stored = Vec::new();
        if d > COMPUTED {
            stored.resize(n * m, 0.0);
            stored.par_chunks_exact_mut(m).enumerate().for_each(|(i, row)| points.compute(i, 0, row));
        }
        Self { n, m, points: Some(points), stored: stored.into() }
    }

    /// The costs `stored`, m a row, which may be negative.
    pub fn given(stored: Cow<'a, [f64]>, m: usize) -> Self {
        Self { n: stored.len() / m, m, points: None, stored }
    }

    /// The costs of some rows and columns.
    pub fn of(&self, rows: &[usize], columns: &[usize]) -> Self {
        match &self.points {
            Some(Points { ground, d, x, y, .. }) => Self::new(gathered(x, rows, *d), gathered(y, columns, *d), *d, *ground),
            None => {
                let row = |&i: &usize| columns.iter().map(move |j| self.stored[i * self.m + j]);
                Self::given(rows.iter().flat_map(row).collect::<Vec<f64>>().into(), columns.len())
            }
        }
    }

    /// For each row the one of `chosen` that is nearest, by its number there.
    pub fn nearest_row(&self, chosen: &[usize]) -> Vec<usize> {
        match &self.points {
            Some(Points { ground, x, d, .. }) => nearest(x, chosen, *d, *ground),
            None => {
                let columns = Philox::new(0, Stream::Split).permutation(self.m, self.m.min(SIGNATURE), 1);
                nearest(
                    &signatures(self.n, &columns, |i, j| self.stored[i * self.m + j]),
                    chosen,
                    columns.len(),
                    Ground::HalfSquare,
                )
            }
        }
    }

    /// The same of the columns.
    pub fn nearest_column(&self, chosen: &[usize]) -> Vec<usize> {
        match &self.points {
            Some(Points { ground, y, d, .. }) => nearest(y, chosen, *d, *ground),
            None => {
                let rows = Philox::new(0, Stream::Split).permutation(self.n, self.n.min(SIGNATURE), 1);
                nearest(&signatures(self.m, &rows, |j, i| self.stored[i * self.m + j]), chosen, rows.len(), Ground::HalfSquare)
            }
        }
    }

    /// No cost is larger in size; not finite where one overflows.
    pub fn bound(&self) -> f64 {
        let Some(Points { ground, x, y, d, .. }) = &self.points else {
            return self.stored.iter().fold(0.0, |bound: f64, cost| bound.max(cost.abs()));
        };
        let longest = |points: &[f64]| points.chunks_exact(*d).map(square).fold(0.0, f64::max).sqrt();
        ground.of_square((longest(x) + longest(y)).powi(2))
    }

    /// c_ij, to the bit as in the passes.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        if !self.stored.is_empty() {
            return self.stored[i * self.m + j];
        }
        let mut cost = [0.0];
        self.points.iter().for_each(|points| points.compute(i, j, &mut cost));
        cost[0]
    }

    /// c_ij of the coordinates as they are given, to twice the digits.
    pub fn exact(&self, i: usize, j: usize) -> Twice {
        let Some(Points { ground, d, x, y, .. }) = &self.points else { return Twice::from(self.stored[i * self.m + j]) };
        let pairs = x[i * d..][..*d].iter().zip(&y[j * d..][..*d]);
        let square = pairs.fold(Twice::default(), |sum, (&x, &y)| sum + Twice::difference(x, y).square());
        match ground {
            Ground::HalfSquare => square.half(),
            Ground::Distance => square.sqrt(),
        }
    }

    /// The share by which c_ij of the passes may be off, and a sum of it and two potentials with it.
    pub fn rounding(&self) -> f64 {
        (self.points.as_ref().map_or(0, |points| points.d) + 8) as f64 * f64::EPSILON
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

    fn piece<'b>(&'b self, i: usize, columns: Range<usize>, buffer: &'b mut [f64; PIECE]) -> &'b [f64] {
        match &self.points {
            Some(points) if self.stored.is_empty() => {
                let out = &mut buffer[..columns.len()];
                points.compute(i, columns.start, out);
                out
            }
            _ => &self.stored[i * self.m..][columns],
        }
    }
}

impl Points {
    /// The costs of row i from column `first` on.
    fn compute(&self, i: usize, first: usize, out: &mut [f64]) {
        let m = self.y.len() / self.d;
        out.fill(0.0);
        for (k, x) in self.x[i * self.d..][..self.d].iter().enumerate() {
            let y = &self.coordinates[k * m + first..][..out.len()];
            out.iter_mut().zip(y).for_each(|(sum, y)| *sum += (x - y) * (x - y));
        }
        out.iter_mut().for_each(|cost| *cost = self.ground.of_square(*cost));
    }
}

impl Ground {
    fn of_square(self, square: f64) -> f64 {
        match self {
            Ground::HalfSquare => 0.5 * square,
            Ground::Distance => square.sqrt(),
        }
    }
}

fn square(point: &[f64]) -> f64 {
    point.iter().map(|x| x * x).sum()
}

fn gathered(points: &[f64], rows: &[usize], d: usize) -> Vec<f64> {
    rows.iter().flat_map(|&i| &points[i * d..][..d]).copied().collect()
}

/// For each of `points` the number of the nearest of those `chosen`.
fn nearest(points: &[f64], chosen: &[usize], d: usize, ground: Ground) -> Vec<usize> {
    let to_few = Costs::new(points.to_vec(), gathered(points, chosen, d), d, ground);
    let least = to_few.over_rows((f64::INFINITY, 0), |least, _, j, cost| {
        if cost < least.0 {
            *least = (cost, j);
        }
    });
    least.into_iter().map(|(_, j)| j).collect()
}

/// For each of `n` points its costs to a few `partners` about their mean, for what all of them have in common moves no mass: points
/// that are alike in these are near.
fn signatures(n: usize, partners: &[usize], cost: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let of = |i: usize| {
        let costs: Vec<f64> = partners.iter().map(|&j| cost(i, j)).collect();
        let mean = costs.iter().sum::<f64>() / costs.len() as f64;
        costs.into_iter().map(move |cost| cost - mean)
    };
    (0..n).flat_map(of).collect()
}
