//! The streaming soft-min over costs that are no product of coordinates. Twin of `kernels/softmin_cost.cu`.
//!
//! As in the soft-min a task holds R vectors of rows in lanes and streams the columns past them, [`TILE`] at a time. Differences are
//! taken before anything is squared, so near points keep their digits. A cost is dearer than a product, so a running maximum is
//! cheap beside it and no row is run twice: at d = 3 a pair of |x−y| costs 3 subtractions, 3 FMA, a root and an exponential.

use std::f64::consts::{LN_2, LOG2_E};
use std::ops::Range;

use rayon::prelude::*;

use crate::backend::PairCost;
use crate::backend::cpu::lane::{Isa, Kernel, Lane, Simd, both, copy, steps, transpose};
use crate::backend::cpu::pairs::metric::{Euclidean, Given, Lines, Lp, Manhattan, Metric};
use crate::backend::cpu::pairs::soft_min::{
    Mean, Pairs, State, TILE, add_compensated, add_mean, in_units, mean_of, rescale_means,
};

/// Rows of a task, whatever the lanes.
const ROWS: usize = 64;

/// The means that are wanted: of values, and of the cost, n of them.
pub struct Wanted<'a, T> {
    pub mean: Option<Mean<'a, T>>,
    pub costs: Option<&'a mut [T]>,
}

/// `out_i = log Σ_j exp(h_j − k c_ij − shift_i)` and, where asked, the means of values and cost. Columns hold (y, log₂e h).
pub fn soft_min_cost<T: Simd>(
    isa: Isa,
    pairs: Pairs<'_, T>,
    (cost, k): (PairCost<'_>, f64),
    out: &mut [T],
    wanted: Wanted<'_, T>,
) {
    let n = out.len();
    let Wanted { mean, costs } = wanted;
    let (values, p) = mean.as_ref().map_or((&[][..], 0), |mean| (mean.values, mean.p));
    let with_means = mean.is_some() || costs.is_some();
    let task = |scratch: &mut Scratch<T>, block: usize| {
        let rows = block * ROWS..n.min((block + 1) * ROWS);
        let mut found = Found { log_sum: Vec::new(), mean: vec![T::zeroed(); rows.len() * p], cost: Vec::new() };
        T::dispatch(isa, Block { pairs, cost, k, rows, values, p, with_means, scratch, found: &mut found });
        found
    };
    let blocks = (0..n.div_ceil(ROWS)).into_par_iter().map_init(Scratch::default, task);
    let blocks: Vec<Found<T>> = blocks.collect();
    for (out, block) in out.chunks_mut(ROWS).zip(&blocks) {
        out.copy_from_slice(&block.log_sum);
    }
    for (costs, block) in costs.into_iter().flat_map(|costs| costs.chunks_mut(ROWS)).zip(&blocks) {
        costs.copy_from_slice(&block.cost);
    }
    for (out, block) in mean.into_iter().flat_map(|mean| mean.out.chunks_mut(ROWS * p.max(1))).zip(&blocks) {
        out.copy_from_slice(&block.mean);
    }
}

/// What a task finds of its rows.
struct Found<T> {
    log_sum: Vec<T>,
    mean: Vec<T>,
    cost: Vec<T>,
}

/// Memory of one thread.
struct Scratch<T> {
    /// Rows transposed: coordinate, row.
    x: Vec<T>,
    /// Mean so far: value, vector of rows, its sum and what rounding added to it.
    mean: Vec<T>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        Self { x: Vec::new(), mean: Vec::new() }
    }
}

/// The rows of one task against all columns.
struct Block<'a, T> {
    pairs: Pairs<'a, T>,
    cost: PairCost<'a>,
    k: f64,
    rows: Range<usize>,
    values: &'a [T],
    p: usize,
    with_means: bool,
    scratch: &'a mut Scratch<T>,
    found: &'a mut Found<T>,
}

impl<T: Simd> Kernel<T> for Block<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(mut self) {
        match self.cost {
            PairCost::Euclidean => self.with::<L, _>(&Euclidean),
            PairCost::Lp(2.0) => self.with::<L, _>(&Euclidean),
            PairCost::Lp(1.0) => self.with::<L, _>(&Manhattan),
            PairCost::Lp(p) => self.with::<L, _>(&Lp(p)),
            PairCost::Given(cost) => self.with::<L, _>(&Given(cost)),
        }
    }
}

impl<T: Simd> Block<'_, T> {
    /// R × C sums, R rows and a broadcast must fit the registers.
    #[inline(always)]
    fn with<L: Lane<Elem = T>, M: Metric>(&mut self, metric: &M) {
        if L::REGISTERS >= 32 { self.all::<L, M, 4, 4>(metric) } else { self.all::<L, M, 2, 2>(metric) }
    }

    /// Works through the task's rows, R vectors at a time.
    #[inline(always)]
    fn all<L: Lane<Elem = T>, M: Metric, const R: usize, const C: usize>(&mut self, metric: &M) {
        for start in steps(self.rows.clone(), R * L::N) {
            let rows = start..self.rows.end.min(start + R * L::N);
            self.scratch.x.resize(self.pairs.d * R * L::N, T::zeroed());
            transpose(self.pairs.x, self.pairs.d, rows.clone(), R * L::N, &mut self.scratch.x);
            self.stream::<L, M, R, C>(metric, rows);
        }
    }

    /// Streams all columns past R vectors of rows.
    #[inline(always)]
    fn stream<L: Lane<Elem = T>, M: Metric, const R: usize, const C: usize>(&mut self, metric: &M, rows: Range<usize>) {
        let d = self.pairs.d;
        let zero = L::splat(T::zeroed());
        let k = L::splat(T::from_f64(-LOG2_E * self.k));
        self.scratch.mean.clear();
        self.scratch.mean.resize(2 * self.p * R * L::N, T::zeroed());
        let lines = Lines { x: &self.scratch.x, d, rows: rows.clone(), stride: d + 1 };
        let mut state = State::<L, R>::new(None);
        let (mut cost, mut lost) = ([zero; R], [zero; R]);
        let (mut costs, mut weights) = ([[zero; R]; TILE], [[zero; R]; TILE]);
        for (t, tile) in self.pairs.y.chunks(TILE * (d + 1)).enumerate() {
            let columns = tile.len() / (d + 1);
            let whole = columns / C * C;
            for j in steps(0..whole, C) {
                copy(metric.costs::<L, R, C>(&lines, &tile[j * (d + 1)..], t * TILE + j), &mut costs[j..j + C]);
            }
            for j in whole..columns {
                costs[j] = metric.costs::<L, R, 1>(&lines, &tile[j * (d + 1)..], t * TILE + j)[0];
            }
            for (j, (logits, costs)) in both(&mut weights[..columns], &costs).enumerate() {
                let h = L::splat(tile[j * (d + 1) + d]);
                for r in 0..R {
                    logits[r] = costs[r].mul_add(k, h);
                }
            }
            let weights = &mut weights[..columns];
            let rescale = state.raise_shift(weights);
            state.add_exponentials(weights);
            if !self.with_means {
                continue;
            }
            for r in 0..R {
                let mut tile = zero;
                for (weights, costs) in both(weights.iter(), &costs) {
                    tile = weights[r].mul_add(costs[r], tile);
                }
                let (rescaled, remainder) = rescale[r].of(cost[r], lost[r]);
                (cost[r], lost[r]) = add_compensated(rescaled, remainder, tile);
            }
            if self.p > 0 {
                rescale_means(&rescale, &mut self.scratch.mean);
                let values = &self.values[t * TILE * self.p..][..columns * self.p];
                add_mean::<L, R>(weights, values, self.p, &mut self.scratch.mean);
            }
        }
        self.finish(&state, &cost, rows);
    }

    /// Keeps log-sums relative to the given shift, and means.
    #[inline(always)]
    fn finish<L: Lane<Elem = T>, const R: usize>(&mut self, state: &State<L, R>, cost: &[L; R], rows: Range<usize>) {
        let (mut sum, mut shift, mut mean) = ([T::zeroed(); 16], [T::zeroed(); 16], [T::zeroed(); 16]);
        for (r, cost) in cost.iter().enumerate() {
            state.sum[r].store(&mut sum);
            state.shift[r].store(&mut shift);
            let here = rows.len().saturating_sub(r * L::N).min(L::N);
            let (first, start) = (rows.start + r * L::N, rows.start + r * L::N - self.rows.start);
            for l in 0..here {
                let given = match self.pairs.shift {
                    Some((given, factor)) => factor * given[first + l].to_f64(),
                    None => 0.0,
                };
                self.found.log_sum.push(T::from_f64(LN_2 * shift[l].to_f64() + in_units(sum[l]).ln() - given));
            }
            mean_of(*cost, state.sum[r]).store(&mut mean);
            self.found.cost.extend(&mean[..here]);
            for k in 0..self.p {
                mean_of(L::load(&self.scratch.mean[(k * R + r) * 2 * L::N..]), state.sum[r]).store(&mut mean);
                for (l, mean) in mean[..here].iter().enumerate() {
                    self.found.mean[(start + l) * self.p + k] = *mean;
                }
            }
        }
    }
}
