//! `soft_min_cost`: out_i = log Σ_j exp(h_j − k c(x_i, y_j)) − shift_i and the means behind it, for costs that are no product.

use std::f64::consts::LN_2;

use brenier::backend::{Backend, Columns, Logit, Out, PairCost, Rows, Scale};

use crate::{SIZES, assert_near, normals, on_each, rounded, rounding};

/// The cost of two points; norms of every kind that has code of its own.
const NORMS: [(PairCost<'static>, f64); 5] = [
    (PairCost::Euclidean, 2.0),
    (PairCost::Lp(2.0), 2.0),
    (PairCost::Lp(1.0), 1.0),
    (PairCost::Lp(1.5), 1.5),
    (PairCost::Lp(7.0), 7.0),
];

fn norm(x: &[f64], y: &[f64], p: f64) -> f64 {
    let largest = x.iter().zip(y).map(|(x, y)| (x - y).abs()).fold(f64::MIN_POSITIVE, f64::max);
    largest * x.iter().zip(y).map(|(x, y)| ((x - y).abs() / largest).powf(p)).sum::<f64>().powf(1.0 / p)
}

/// Under `cost`, which `between` says of row i and column j; p values a column where there are any.
fn check<B: Backend>(
    backend: &B,
    (n, m, d): (usize, usize, usize),
    cost: PairCost<'_>,
    between: &dyn Fn(usize, usize) -> f64,
    p: usize,
) {
    let (x, y) = clouds::<B>(n, m, d);
    let (h, values) = (rounded::<B>(&normals(m, 3)), rounded::<B>(&normals(m * p, 4)));
    let up = |host: &[f64]| backend.upload_reals(host).unwrap();
    let mut packed = backend.zeros(m * (d + 1)).unwrap();
    backend.pack(Rows { points: &up(&y), n: m, d }, Scale::Uniform(LN_2), &up(&h), None, &mut packed).unwrap();
    let k = 3.0 / (d as f64).sqrt();
    // A cost is rounded once a coordinate and sixteen times after; powers cost as much again for each unit of their exponent.
    let power = if let PairCost::Lp(p) = cost { p } else { 0.0 };
    let u = rounding::<B>() * ((d as f64).sqrt() + 16.0 + 4.0 * power);
    for shift in [None, Some((rounded::<B>(&normals(n, 5)), -20.0))] {
        let (points, given) = (up(&x), shift.as_ref().map(|(s, c)| (up(s), *c)));
        let given = given.as_ref().map(|(s, c)| (s, *c));
        let (rows, columns) = (Rows { points: &points, n, d }, Columns { packed: &packed, m, d });
        let [mut out, mut costs] = [0; 2].map(|_| up(&vec![f64::NAN; n]));
        let mut means = up(&vec![f64::NAN; n * p]);
        let logit = Logit::Cost { rows, columns, cost, k, shift: given, mean: Some(&mut costs) };
        backend.soft_min(logit, Out::with_mean(&mut out, &up(&values), p, &mut means)).unwrap();
        let [found, costs, means] = [&out, &costs, &means].map(|buffer| backend.download_reals(buffer).unwrap());
        backend.soft_min(Logit::Cost { rows, columns, cost, k, shift: given, mean: None }, Out::of(&mut out)).unwrap();
        assert_eq!(backend.download_reals(&out).unwrap(), found, "with means and without");
        for i in 0..n {
            let c: Vec<f64> = (0..m).map(|j| between(i, j)).collect();
            let top = (0..m).map(|j| h[j] - k * c[j]).fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = (0..m).map(|j| (h[j] - k * c[j] - top).exp()).collect();
            let total: f64 = weights.iter().sum();
            let by = shift.as_ref().map_or(0.0, |(s, c)| c * s[i]);
            // Only columns that weigh anything err.
            let size = (0..m).filter(|j| weights[*j] > 1e-12).map(|j| h[j].abs() + k * c[j]).fold(1.0, f64::max);
            let what = || format!("{n} × {m} × {d}, p = {p}, power {power}, row {i}");
            assert_near(found[i], top + total.ln() - by, u * (size + by.abs()), &what);
            let mean = |v: &dyn Fn(usize) -> f64| (0..m).map(|j| weights[j] * v(j)).sum::<f64>() / total;
            assert_near(costs[i], mean(&|j| c[j]), 4.0 * u * size * mean(&|j| c[j].abs()) + 1e-30, &what);
            for v in 0..p {
                let size = size * mean(&|j| values[j * p + v].abs());
                assert_near(means[i * p + v], mean(&|j| values[j * p + v]), 4.0 * u * size, &what);
            }
        }
    }
}

fn clouds<B: Backend>(n: usize, m: usize, d: usize) -> (Vec<f64>, Vec<f64>) {
    let (x, mut y) = (rounded::<B>(&normals(n * d, 1)), rounded::<B>(&normals(m * d, 2)));
    // A pair that coincides: the kink of |x − y|.
    y[..d].copy_from_slice(&x[..d]);
    (x, y)
}

/// Norms of the difference, known to every device.
pub fn norms<B: Backend>(backend: &B) {
    for (n, m, d) in SIZES {
        let (x, y) = clouds::<B>(n, m, d);
        for (cost, power) in NORMS {
            let between = |i: usize, j: usize| norm(&x[i * d..][..d], &y[j * d..][..d], power);
            check(backend, (n, m, d), cost, &between, if d == 5 { 5 } else { d.min(3) - 1 });
        }
    }
}

/// A function of the numbers of row and column.
fn given<B: Backend>(backend: &B) {
    for size in SIZES {
        let cost = |i: usize, j: usize| ((3 * i + 5 * j) % 11) as f64 - 4.0;
        check(backend, size, PairCost::Given(&cost), &cost, 2);
    }
}

#[test]
fn soft_min_cost_is_the_log_sum_over_a_norm_in_f32() {
    on_each::<f32>(norms);
}

#[test]
fn soft_min_cost_is_the_log_sum_over_a_norm_in_f64() {
    on_each::<f64>(norms);
}

#[test]
fn soft_min_cost_is_the_log_sum_over_a_given_function() {
    on_each::<f32>(given);
    on_each::<f64>(given);
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    in_one_order: soft_min_cost_on_emulated_cuda, soft_min_cost_on_a_gpu: norms;
}
