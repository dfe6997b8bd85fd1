//! Kernel sums of pairs, one by one in f64. Twin of `kernels/pairsum.cu`.

use std::f64::consts::LN_2;

use rayon::prelude::*;

use crate::backend::cpu::Cpu;
use crate::backend::cpu::lane::{Simd, both};
use crate::backend::{PairKernel, Rows, Weighted};
use crate::vector::squared_distance;

/// `Σ_ij a_i b_j k(x_i, y_j)`: over the columns of each row, then over the rows in order.
pub fn pair_sum<T: Simd>(x: Weighted<'_, Cpu<T>>, y: Weighted<'_, Cpu<T>>, kernel: PairKernel) -> f64 {
    let (Rows { points: x, d, .. }, a, y, b) = (x.points, x.weights, y.points.points, y.weights);
    let rows: Vec<f64> = x
        .par_chunks_exact(d)
        .zip(a)
        .map(|(x, a)| {
            let pair = |y: &[T]| match kernel {
                PairKernel::Distance => squared_distance(x, y).sqrt(),
                PairKernel::Gaussian(bandwidth) => {
                    let exponent = -0.5 * squared_distance(x, y) / (bandwidth * bandwidth);
                    // Below 2⁻¹⁰⁰ it adds nothing, and far below it is denormal.
                    if exponent < -100.0 * LN_2 { 0.0 } else { exponent.exp() }
                }
            };
            a.to_f64() * both(y.chunks_exact(d), b).map(|(y, b)| b.to_f64() * pair(y)).sum::<f64>()
        })
        .collect();
    rows.into_iter().sum()
}
