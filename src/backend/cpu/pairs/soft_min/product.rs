//! The two register-blocked products: rows × columns for the logits, weights × values for the mean.

use crate::backend::Real;
use crate::backend::cpu::lane::{Lane, copy, steps};
use crate::backend::cpu::pairs::soft_min::state::{Rescale, add_compensated};

/// Logits of C columns for R vectors of rows: bias plus product.
#[inline(always)]
pub fn logits<L: Lane, const R: usize, const C: usize>(x: &[L::Elem], y: &[L::Elem], d: usize, out: &mut [[L; R]]) {
    let stride = d + 1;
    let zero = L::splat(L::Elem::from_f64(0.0));
    let mut acc = [[zero; R]; C];
    // Cut to length d here, so that the loop over k checks no column.
    let mut columns = [&y[..d]; C];
    for c in 0..C {
        columns[c] = &y[c * stride..][..d];
        acc[c] = [L::splat(y[c * stride + d]); R];
    }
    for k in 0..d {
        let x = &x[k * R * L::N..][..R * L::N];
        let mut rows = [zero; R];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = L::load(&x[r * L::N..]);
        }
        for (c, acc) in acc.iter_mut().enumerate() {
            let y = L::splat(columns[c][k]);
            for r in 0..R {
                acc[r] = rows[r].mul_add(y, acc[r]);
            }
        }
    }
    copy(acc, out);
}

/// `mean[k][row] += Σ_j w_j,row v_jk`, in blocks of up to six values, compensated like the sum.
#[inline(always)]
pub fn add_mean<L: Lane, const R: usize>(weights: &[[L; R]], values: &[L::Elem], p: usize, mean: &mut [L::Elem]) {
    let mut k = 0;
    while k < p {
        let step = match p - k {
            1 => add_values::<L, R, 1>(weights, values, p, k, mean),
            2 => add_values::<L, R, 2>(weights, values, p, k, mean),
            3 => add_values::<L, R, 3>(weights, values, p, k, mean),
            _ if L::REGISTERS >= 32 && p - k >= 6 => add_values::<L, R, 6>(weights, values, p, k, mean),
            _ => add_values::<L, R, 4>(weights, values, p, k, mean),
        };
        k += step;
    }
}

/// [`add_mean`] for the K values from `first`; returns K.
#[inline(always)]
fn add_values<L: Lane, const R: usize, const K: usize>(
    weights: &[[L; R]],
    values: &[L::Elem],
    p: usize,
    first: usize,
    mean: &mut [L::Elem],
) -> usize {
    let mut acc = [[L::splat(L::Elem::from_f64(0.0)); R]; K];
    for (w, v) in weights.iter().zip(values.chunks_exact(p)) {
        for k in 0..K {
            let v = L::splat(v[first + k]);
            for r in 0..R {
                acc[k][r] = w[r].mul_add(v, acc[k][r]);
            }
        }
    }
    // An iterator over `acc` would keep it in memory.
    for k in 0..K {
        for r in 0..R {
            let (sum, lost) = mean[((first + k) * R + r) * 2 * L::N..].split_at_mut(L::N);
            let (total, remainder) = add_compensated(L::load(sum), L::load(lost), acc[k][r]);
            total.store(sum);
            remainder.store(lost);
        }
    }
    K
}

/// Means so far, as [`add_mean`] keeps them, under a raised shift.
#[inline(always)]
pub fn rescale_means<L: Lane, const R: usize>(rescale: &[Rescale<L>; R], mean: &mut [L::Elem]) {
    for (r, rescale) in rescale.iter().enumerate() {
        if rescale.is_less {
            for at in steps(r..mean.len() / (2 * L::N), R) {
                let (sum, lost) = mean[at * 2 * L::N..].split_at_mut(L::N);
                let (rescaled, remainder) = rescale.of(L::load(sum), L::load(lost));
                rescaled.store(sum);
                remainder.store(lost);
            }
        }
    }
}
