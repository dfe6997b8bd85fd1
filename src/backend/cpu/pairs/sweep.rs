//! A whole Sinkhorn iteration in one pass over kept scores.
//!
//! A row's exponentials are taken once: their sum renews the row's potential at once, and scaled by that they are the entries of
//! the plan, which join the marginal of the columns. So a pair costs one read from memory, one exponential and two products,
//! whatever the dimension, where two soft-mins take two exponentials and 2 d products.

mod norms;

use std::f64::consts::{LN_2, LOG2_E};

use memmap2::MmapMut;
use rayon::prelude::*;

use crate::backend::cpu::Cpu;
use crate::backend::cpu::gemm::{Matrix, gemm};
use crate::backend::cpu::lane::{Isa, Kernel, Lane, Simd, steps};
use crate::backend::cpu::pairs::soft_min::{KEPT_BITS, add_compensated, in_units, is_usable};
use crate::backend::{Damping, LARGEST_BIAS, Real, Rows, Sweep};
use norms::norms;

/// Most memory of the scores: 10,000 × 10,000 in single precision, and a quarter more.
const MOST_BYTES: usize = 500_000_000;
/// Scores that stay in a cache are always worth keeping…
const CACHE_BYTES: usize = 16 << 20;
/// …others from the dimension on where their products cost more than reading them.
const LEAST_DIMENSION: usize = 5;
/// Numbers a row is padded to: the lanes of the widest vector, and a line of the cache.
const PAD: usize = 16;
/// Rows of a task, whose columns' sums are held in single precision; a rule of the sizes alone.
const BLOCK: usize = 64;
/// Rows that share a pass over the columns' sums.
const ROWS: usize = 4;
/// Least sum relative to the largest exponent of a column with weight: a weight of 2⁻⁴⁰.
const LEAST: f64 = 1.0 / 1_099_511_627_776.0;
/// Vectors after which a row's sum is taken over into a compensated one.
const TILE: usize = 64;

/// Scores s_ij of all pairs: products x_i·y_j, or minus a cost.
#[derive(Debug)]
pub struct Scores<T> {
    /// n × stride, in pages of the largest kind there is: in small ones their first touch would cost as much as the products.
    values: MmapMut,
    /// Padded number of columns.
    stride: usize,
    m: usize,
    /// Sums of each block's columns.
    sums: Vec<T>,
}

impl<T: Simd> Scores<T> {
    /// The products of all pairs, where keeping them pays.
    pub fn of_products(rows: Rows<'_, Cpu<T>>, columns: Rows<'_, Cpu<T>>) -> Option<Self> {
        let (Rows { points: x, n, d }, y, m) = (rows, columns.points, columns.n);
        let mut scores = Self::room(n, m, if d < LEAST_DIMENSION { CACHE_BYTES } else { MOST_BYTES })?;
        let stride = scores.stride;
        // The more rows a product has, the more often its packed columns are used.
        let rows = n.div_ceil(16).next_multiple_of(BLOCK).min(8 * BLOCK);
        bytemuck::cast_slice_mut::<u8, T>(&mut scores.values).par_chunks_mut(rows * stride).zip(x.par_chunks(rows * d)).for_each(
            |(out, x)| {
                // Without a look at what was there: a page that is read first costs a second fault.
                gemm([x.len() / d, d, m], Matrix(x, [d, 1]), Matrix(y, [1, d]), T::ZERO, Matrix(out, [stride, 1]));
            },
        );
        Some(scores)
    }

    /// −|x−y| of all pairs, or minus another norm of the difference, which always costs more than reading it.
    pub fn of_norms(isa: Isa, rows: Rows<'_, Cpu<T>>, columns: Rows<'_, Cpu<T>>, p: f64) -> Option<Self> {
        let mut scores = Self::room(rows.n, columns.n, MOST_BYTES)?;
        let out = (bytemuck::cast_slice_mut::<u8, T>(&mut scores.values), scores.stride);
        norms(isa, rows, columns, p, out);
        Some(scores)
    }

    /// The same of a function of the numbers of row and column.
    pub fn of_function(n: usize, m: usize, cost: impl Fn(usize, usize) -> f64 + Sync) -> Option<Self> {
        let mut scores = Self::room(n, m, MOST_BYTES)?;
        let rows = bytemuck::cast_slice_mut::<u8, T>(&mut scores.values).par_chunks_mut(scores.stride);
        rows.enumerate().for_each(|(i, row)| {
            row[..m].iter_mut().enumerate().for_each(|(j, score)| *score = T::from_f64(-cost(i, j)));
        });
        Some(scores)
    }

    /// Room for n × m scores, if it is no more than `most` bytes.
    fn room(n: usize, m: usize, most: usize) -> Option<Self> {
        let stride = m.next_multiple_of(PAD);
        let bytes = n.checked_mul(stride)?.checked_mul(size_of::<T>())?;
        if bytes > most {
            return None;
        }
        let values = MmapMut::map_anon(bytes).ok()?;
        // Only advice: without it the pages are small ones.
        #[cfg(target_os = "linux")]
        let _ = values.advise(memmap2::Advice::HugePage);
        Some(Self { values, stride, m, sums: vec![T::zeroed(); n.div_ceil(BLOCK) * stride] })
    }

    /// Log-sums of the rows and log-ratios of the columns; whether no sum was lost.
    pub fn sweep(&mut self, isa: Isa, sweep: &Sweep<'_, Cpu<T>>, log_sum: &mut [T], log_ratio: &mut [T]) -> bool {
        let Self { values, stride, m, sums } = self;
        let (stride, m) = (*stride, *m);
        let k = LOG2_E * sweep.k;
        let padded = |values: &mut dyn Iterator<Item = f64>, rest| -> Vec<T> {
            values.chain(std::iter::repeat_n(rest, stride - m)).map(T::from_f64).collect()
        };
        let bias = padded(&mut sweep.columns.potential.iter().map(|q| -k * q.to_f64()), -LARGEST_BIAS);
        let weights = padded(&mut sweep.columns.weights.iter().map(|a| counting::<T>(a.to_f64())), 0.0);
        let without = |a: &T| if counting::<T>(a.to_f64()) > 0.0 { 0.0 } else { -LARGEST_BIAS };
        let massless = padded(&mut sweep.columns.weights.iter().map(without), -LARGEST_BIAS);
        let values: &[T] = bytemuck::cast_slice(values);
        let tasks = values.par_chunks(BLOCK * stride).zip(sums.par_chunks_mut(stride)).zip(log_sum.par_chunks_mut(BLOCK));
        tasks.enumerate().for_each_init(
            || vec![T::zeroed(); ROWS * stride],
            |entries, (block, ((scores, sums), log_sum))| {
                let columns = Columns { bias: &bias, weights: &weights, massless: &massless, sums };
                T::dispatch(isa, Block { scores, k, sweep, first: block * BLOCK, columns, entries, log_sum });
            },
        );
        log_ratio.par_iter_mut().enumerate().with_min_len(256).for_each(|(j, out)| {
            *out = T::from_f64(in_units(sums[j..].iter().step_by(stride).map(|sum| sum.to_f64()).sum::<f64>()).ln());
        });
        let kept = KEPT_BITS * LN_2;
        log_sum.iter().all(|log| log.to_f64().is_finite()) && log_ratio.iter().all(|log| log.to_f64().abs() < kept)
    }
}

/// `weight`, or zero where it counts nowhere and its products would be denormal.
#[inline(always)]
fn counting<T: Real>(weight: f64) -> f64 {
    if weight < T::TINY { 0.0 } else { weight }
}

/// What a block knows of its columns, padded.
struct Columns<'a, T> {
    bias: &'a [T],
    weights: &'a [T],
    /// 0, and next to −∞ where there is no weight.
    massless: &'a [T],
    sums: &'a mut [T],
}

/// Some rows against all columns.
struct Block<'a, T: Simd> {
    scores: &'a [T],
    k: f64,
    sweep: &'a Sweep<'a, Cpu<T>>,
    first: usize,
    columns: Columns<'a, T>,
    entries: &'a mut [T],
    log_sum: &'a mut [T],
}

impl<T: Simd> Kernel<T> for Block<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(self) {
        let Self { scores, k, sweep, first, columns, entries, log_sum } = self;
        let (potential, weights) = (sweep.rows.potential, sweep.rows.weights);
        let stride = columns.bias.len();
        let zero = L::splat(T::zeroed());
        columns.sums.fill(T::zeroed());
        for (group, log_sums) in log_sum.chunks_mut(ROWS).enumerate() {
            let scores = &scores[group * ROWS * stride..];
            let mut factors = [zero; ROWS];
            for (r, out) in log_sums.iter_mut().enumerate() {
                let i = first + group * ROWS + r;
                let row = Row { scores: &scores[r * stride..][..stride], k: L::splat(T::from_f64(k)), bias: columns.bias };
                let entries = &mut entries[r * stride..][..stride];
                let mut shift = T::from_f64(k * potential[i].to_f64());
                let mut sum = row.exponentials(shift, columns.weights, entries);
                let mut raised = 0.0;
                if !is_usable(sum) {
                    let largest = row.largest(columns.massless);
                    raised = LN_2 * (largest.to_f64() - shift.to_f64());
                    shift = largest;
                    sum = row.exponentials(shift, columns.weights, entries);
                }
                // Lost all the same: no point has weight.
                let log = if sum >= LEAST { raised + sum.ln() } else { f64::NAN };
                let change = match &sweep.damping {
                    Some(Damping { omega, ground }) => {
                        omega * log + (1.0 - omega) * sweep.k * (ground[i] - potential[i].to_f64())
                    }
                    None => log,
                };
                *out = T::from_f64(log);
                // A factor that counts nowhere is not even taken: its exponential may be denormal.
                let factor = if raised - change < T::TINY.ln() { 0.0 } else { (raised - change).exp() };
                factors[r] = L::splat(T::from_f64(counting::<T>(weights[i].to_f64() * factor)));
            }
            if log_sums.len() == ROWS {
                add_entries::<L, ROWS>(entries, factors, columns.sums);
            } else {
                for r in 0..log_sums.len() {
                    add_entries::<L, 1>(&entries[r * stride..], [factors[r]], columns.sums);
                }
            }
        }
    }
}

/// One row of scores against all columns: exponents k s_j + bias_j.
struct Row<'a, L: Lane> {
    scores: &'a [L::Elem],
    k: L,
    bias: &'a [L::Elem],
}

impl<L: Lane> Row<'_, L> {
    #[inline(always)]
    fn exponents(&self, j: usize) -> L {
        L::load(&self.scores[j..]).mul_add(self.k, L::load(&self.bias[j..]))
    }

    /// Writes the entries 2^(exponent_j − shift), in units of a weight, and returns Σ_j a_j 2^(exponent_j − shift).
    #[inline(always)]
    fn exponentials(&self, shift: L::Elem, weights: &[L::Elem], entries: &mut [L::Elem]) -> f64 {
        let (shift, zero) = (L::splat(shift), L::splat(L::Elem::from_f64(0.0)));
        let (mut sum, mut lost) = (zero, zero);
        for start in steps(0..entries.len(), TILE * L::N) {
            let end = entries.len().min(start + TILE * L::N);
            let mut tile = zero;
            for j in steps(start..end, L::N) {
                let entry = self.exponents(j).sub(shift).weight();
                entry.store(&mut entries[j..]);
                tile = entry.mul_add(L::load(&weights[j..]), tile);
            }
            (sum, lost) = add_compensated(sum, lost, tile);
        }
        let mut lanes = [L::Elem::from_f64(0.0); PAD];
        sum.store(&mut lanes);
        let mut total = 0.0;
        for lane in lanes {
            total += in_units(lane);
        }
        total
    }

    /// The largest exponent of a column with weight.
    #[inline(always)]
    fn largest(&self, massless: &[L::Elem]) -> L::Elem {
        let mut largest = L::splat(L::Elem::from_f64(-2.0 * LARGEST_BIAS));
        for j in steps(0..self.scores.len(), L::N) {
            largest = largest.max(self.exponents(j).add(L::load(&massless[j..])));
        }
        let mut lanes = [L::Elem::from_f64(-2.0 * LARGEST_BIAS); PAD];
        largest.store(&mut lanes);
        let mut most = lanes[0];
        for lane in lanes {
            if lane > most {
                most = lane;
            }
        }
        most
    }
}

/// `sums_j += Σ_r factor_r entry_rj`.
#[inline(always)]
fn add_entries<L: Lane, const R: usize>(entries: &[L::Elem], factors: [L; R], sums: &mut [L::Elem]) {
    let stride = sums.len();
    for j in steps(0..stride, L::N) {
        let mut sum = L::load(&sums[j..]);
        for r in 0..R {
            sum = L::load(&entries[r * stride + j..]).mul_add(factors[r], sum);
        }
        sum.store(&mut sums[j..]);
    }
}
