//! Many columns: cut into parts, each streamed by itself, their log-sums and means merged in order.

use std::f64::consts::LN_2;

use rayon::prelude::*;

use crate::backend::Real;
use crate::backend::cpu::lane::{Isa, Simd};
use crate::backend::cpu::soft_min::{KEPT_BITS, Mean, Pairs, TILE, part};

/// Columns of a part: more of them are cut into parts whose results are merged in order, a rule of m alone, so that a row's sum
/// does not depend on how many rows share the threads.
pub const PART: usize = 1365 * TILE;
/// Rows whose parts are held at a time.
pub const PANEL: usize = 4096;

/// Some rows against all columns, part by part.
pub struct Panel<'a, T> {
    pub isa: Isa,
    pub pairs: Pairs<'a, T>,
    pub values: &'a [T],
    pub p: usize,
}

impl<T: Simd> Panel<'_, T> {
    pub fn run(&self, out: &mut [T], means: &mut [T]) {
        merge(&self.parts(self.pairs.shift), self.p, out, means, |_| true, |_| 0.0);
        let Some((shift, factor)) = self.pairs.shift else { return };
        // As within a part: a row whose sum is lost against its shift takes the result of a run without.
        let kept = |log_sum: T| log_sum.to_f64().abs() < KEPT_BITS * LN_2;
        if !out.iter().all(|&log_sum| kept(log_sum)) {
            merge(&self.parts(None), self.p, out, means, |log_sum| !kept(log_sum), |i| factor * shift[i].to_f64());
        }
    }

    /// Log-sums and means of all rows over each part.
    fn parts(&self, shift: Option<(&[T], f64)>) -> Vec<(Vec<T>, Vec<T>)> {
        let (d, p) = (self.pairs.d, self.p);
        let columns = self.pairs.y.par_chunks(PART * (d + 1)).enumerate();
        let one = |(k, y): (usize, &[T])| {
            let n = self.pairs.x.len() / d;
            let (mut out, mut means) = (vec![T::zeroed(); n], vec![T::zeroed(); n * p]);
            let values = if p == 0 { &[][..] } else { &self.values[k * PART * p..][..y.len() / (d + 1) * p] };
            let mean = (p > 0).then_some(Mean { values, p, out: &mut means });
            part(self.isa, Pairs { y, shift, ..self.pairs }, true, &mut out, mean);
            (out, means)
        };
        columns.map(one).collect()
    }
}

/// Merges the parts, log-sums and means of `p` values each, of the rows that are `wanted`, relative to `shift`.
pub fn merge<T: Real>(
    parts: &[(Vec<T>, Vec<T>)],
    p: usize,
    out: &mut [T],
    means: &mut [T],
    wanted: impl Fn(T) -> bool,
    shift: impl Fn(usize) -> f64,
) {
    for (i, out) in out.iter_mut().enumerate().filter(|(_, out)| wanted(**out)) {
        let log_sums = || parts.iter().map(|(log_sums, _)| log_sums[i].to_f64());
        let top = log_sums().fold(f64::NEG_INFINITY, f64::max);
        // No part has any mass: the logarithm of nothing, not of a difference of infinities.
        let total = if top == f64::NEG_INFINITY { top } else { top + log_sums().map(|l| share(l - top)).sum::<f64>().ln() };
        *out = T::from_f64(total - shift(i));
        for (k, mean) in means[i * p..][..p].iter_mut().enumerate() {
            // A part without mass has no mean.
            let shares = log_sums().map(|l| share(l - total)).zip(parts).filter(|(share, _)| *share != 0.0);
            *mean = T::from_f64(shares.map(|(share, (_, part))| share * part[i * p + k].to_f64()).sum());
        }
    }
}

/// The exponential, or zero where it adds nothing to a part of size one: below 2⁻¹⁰⁰.
fn share(log: f64) -> f64 {
    if log < -100.0 * LN_2 { 0.0 } else { log.exp() }
}
