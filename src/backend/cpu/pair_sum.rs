//! Costs and kernel sums of pairs, one by one in f64.

use std::f64::consts::LN_2;

use rayon::prelude::*;

use crate::backend::cpu::Cpu;
use crate::backend::cpu::lane::Simd;
use crate::backend::{Cost, PairKernel, Real, Rows, Weighted};

/// |x − y|² by differences, so that near pairs keep their digits; in eight running sums, so that it vectorises.
#[inline(always)]
pub fn squared_distance<T: Real>(x: &[T], y: &[T]) -> f64 {
    let square = |x: &T, y: &T| (x.to_f64() - y.to_f64()).powi(2);
    let ((x_blocks, x_rest), (y_blocks, y_rest)) = (x.as_chunks::<8>(), y.as_chunks::<8>());
    let rest: f64 = x_rest.iter().zip(y_rest).map(|(x, y)| square(x, y)).sum();
    if x_blocks.is_empty() {
        return rest;
    }
    let mut sums = [0.0; 8];
    for (x, y) in x_blocks.iter().zip(y_blocks) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += square(x, y);
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// c(x, y).
pub fn pair_cost<T: Real>(cost: Cost, x: &[T], y: &[T]) -> f64 {
    match cost {
        Cost::HalfSquaredEuclidean => 0.5 * squared_distance(x, y),
        Cost::Euclidean => squared_distance(x, y).sqrt(),
        Cost::Lp(p) => {
            // About the largest difference, so that no power over- or underflows.
            let differences = || x.iter().zip(y).map(|(x, y)| (x.to_f64() - y.to_f64()).abs());
            let largest = differences().fold(f64::MIN_POSITIVE, f64::max);
            largest * differences().map(|difference| (difference / largest).powf(p)).sum::<f64>().powf(1.0 / p)
        }
        Cost::Cosine => {
            let dot = |x: &[T], y: &[T]| x.iter().zip(y).map(|(x, y)| x.to_f64() * y.to_f64()).sum::<f64>();
            let lengths = (dot(x, x) * dot(y, y)).sqrt();
            if lengths > 0.0 { 1.0 - dot(x, y) / lengths } else { 1.0 }
        }
    }
}

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
            a.to_f64() * y.chunks_exact(d).zip(b).map(|(y, b)| b.to_f64() * pair(y)).sum::<f64>()
        })
        .collect();
    rows.into_iter().sum()
}
