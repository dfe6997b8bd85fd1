//! Many columns: cut into parts, each streamed by itself, their log-sums and means merged in order.

use std::f64::consts::LN_2;

use rayon::prelude::*;

use crate::backend::cpu::lane::{Isa, Simd};
use crate::backend::cpu::pairs::soft_min::{KEPT_BITS, Mean, Pairs, TILE, part};
use crate::backend::partial::{Partial, merge};

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
        merge(&self.parts(self.pairs.shift), out, means, |_| true, |_| 0.0);
        let Some((shift, factor)) = self.pairs.shift else { return };
        // As within a part: a row whose sum is lost against its shift takes the result of a run without.
        let kept = |log_sum: T| log_sum.to_f64().abs() < KEPT_BITS * LN_2;
        if !out.iter().all(|&log_sum| kept(log_sum)) {
            merge(&self.parts(None), out, means, |log_sum| !kept(log_sum), |i| factor * shift[i].to_f64());
        }
    }

    /// Log-sums and means of all rows over each part.
    fn parts(&self, shift: Option<(&[T], f64)>) -> Vec<Partial<T>> {
        let (d, p) = (self.pairs.d, self.p);
        let columns = self.pairs.y.par_chunks(PART * (d + 1)).enumerate();
        let one = |(k, y): (usize, &[T])| {
            let n = self.pairs.x.len() / d;
            let mut found = Partial { log_sum: vec![T::zeroed(); n], mean: vec![T::zeroed(); n * p] };
            let values = if p == 0 { &[][..] } else { &self.values[k * PART * p..][..y.len() / (d + 1) * p] };
            let mean = (p > 0).then_some(Mean { values, p, out: &mut found.mean });
            part(self.isa, Pairs { y, shift, ..self.pairs }, true, &mut found.log_sum, mean);
            found
        };
        columns.map(one).collect()
    }
}
