//! The admitted vector operations. Sums run over fixed blocks, then over the blocks in order, whatever the thread count.

use rayon::prelude::*;

use crate::backend::Real;

const BLOCK: usize = 4096;

/// Σ_{i<n} term(i) in f64.
pub fn sum(n: usize, term: impl Fn(usize) -> f64 + Sync) -> f64 {
    let blocks: Vec<f64> =
        (0..n.div_ceil(BLOCK)).into_par_iter().map(|b| (b * BLOCK..n.min((b + 1) * BLOCK)).map(&term).sum()).collect();
    blocks.into_iter().sum()
}

/// `registers[dst] ← Σ coefficient · register`, in the order of the terms.
pub fn combine<T: Real>(registers: &mut [Vec<T>], dst: usize, terms: &[(usize, f64)]) {
    let mut out = std::mem::take(&mut registers[dst]);
    out.par_chunks_mut(BLOCK).enumerate().for_each(|(b, out)| {
        let start = b * BLOCK;
        for (i, o) in out.iter_mut().enumerate() {
            let value = |r: usize| if r == dst { *o } else { registers[r][start + i] };
            let total: f64 = terms.iter().map(|&(r, c)| c * value(r).to_f64()).sum();
            *o = T::from_f64(total);
        }
    });
    registers[dst] = out;
}

/// `x ← min(max(x, low), high)`.
pub fn clip<T: Real>(x: &mut [T], low: f64, high: f64) {
    x.par_iter_mut().with_min_len(BLOCK).for_each(|x| *x = T::from_f64(x.to_f64().max(low).min(high)));
}

/// `y ← s y + t x`.
pub fn blend<T: Real>(s: f64, t: f64, x: &[T], y: &mut [T]) {
    y.par_iter_mut().zip(x).with_min_len(BLOCK).for_each(|(y, x)| *y = T::from_f64(t * x.to_f64() + s * y.to_f64()));
}

/// `out_r = points_{index_r}`, rows of length d.
pub fn gather<T: Real>(points: &[T], d: usize, index: &[u32], out: &mut [T]) {
    out.par_chunks_mut(d).zip(index).with_min_len(BLOCK / d.min(BLOCK)).for_each(|(row, &i)| {
        row.copy_from_slice(&points[i as usize * d..][..d]);
    });
}
