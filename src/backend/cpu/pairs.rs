//! Operations over all pairs that are not a soft-min: nearest column, cost matrix, kernel sums.

use rayon::prelude::*;

use crate::backend::{Cost, PairKernel, Real};

/// Rows that one task handles.
const ROWS: usize = 64;

/// |x − y|² by differences, so that near pairs keep their digits.
#[inline(always)]
fn squared_distance<T: Real>(x: &[T], y: &[T]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (x.to_f64() - y.to_f64()).powi(2)).sum()
}

/// `index_i = argmin_j |x_i − y_j|²`.
pub fn nearest<T: Real>(x: &[T], y: &[T], d: usize, index: &mut [u32]) {
    index.par_iter_mut().zip(x.par_chunks_exact(d)).with_min_len(ROWS).for_each(|(index, x)| {
        let mut best = f64::INFINITY;
        for (j, y) in y.chunks_exact(d).enumerate() {
            let distance = squared_distance(x, y);
            if distance < best {
                (best, *index) = (distance, j as u32);
            }
        }
    });
}

/// `out_ij = c(x_i, y_j)`.
pub fn cost_matrix<T: Real>(x: &[T], y: &[T], d: usize, cost: Cost, out: &mut [T]) {
    let m = y.len() / d;
    out.par_chunks_mut(m).zip(x.par_chunks_exact(d)).for_each(|(out, x)| {
        for (c, y) in out.iter_mut().zip(y.chunks_exact(d)) {
            let squared = squared_distance(x, y);
            *c = T::from_f64(match cost {
                Cost::HalfSquaredEuclidean => 0.5 * squared,
                Cost::Euclidean => squared.sqrt(),
            });
        }
    });
}

/// `Σ_ij a_i b_j k(x_i, y_j)`: over the columns of each row, then over the rows in order.
pub fn pair_sum<T: Real>(x: &[T], a: &[T], y: &[T], b: &[T], d: usize, kernel: PairKernel) -> f64 {
    let rows: Vec<f64> = x
        .par_chunks_exact(d)
        .zip(a)
        .map(|(x, a)| {
            let pair = |y: &[T]| match kernel {
                PairKernel::Distance => squared_distance(x, y).sqrt(),
                PairKernel::Gaussian(bandwidth) => (-0.5 * squared_distance(x, y) / (bandwidth * bandwidth)).exp(),
            };
            a.to_f64() * y.chunks_exact(d).zip(b).map(|(y, b)| b.to_f64() * pair(y)).sum::<f64>()
        })
        .collect();
    rows.into_iter().sum()
}
