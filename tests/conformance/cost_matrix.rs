//! `cost_matrix` and `cost_matrix_half`: out_ij = c(x_i, y_j).

use brenier::backend::{Backend, Cost, Rows};

use crate::{SIZES, assert_near, dot, normals, on_each, rounded, rounding, squared_distance};

pub fn cost_matrix<B: Backend>(backend: &B) {
    for (n, m, d) in SIZES {
        for offset in [0.0, 1e4] {
            let shifted = |count: usize, step: u32| normals(count, step).iter().map(|z| offset + z).collect::<Vec<_>>();
            let (x, y) = (rounded::<B>(&shifted(n * d, 1)), rounded::<B>(&shifted(m * d, 2)));
            let (points, columns) = (backend.upload_reals(&x).unwrap(), backend.upload_reals(&y).unwrap());
            for cost in [Cost::HalfSquaredEuclidean, Cost::Euclidean, Cost::Lp(1.0), Cost::Lp(2.5), Cost::Cosine] {
                let rows = || Rows { points: &points, n, d };
                let (mut out, mut half) = (backend.zeros(n * m).unwrap(), backend.zeros(n * m).unwrap());
                backend.cost_matrix(rows(), &columns, cost, &mut out).unwrap();
                backend.cost_matrix_half(rows(), &columns, cost, &mut half).unwrap();
                let (found, half) = (backend.download_reals(&out).unwrap(), backend.download(&half).unwrap());
                for (at, (found, half)) in found.into_iter().zip(half).enumerate() {
                    let (expected, roundings) = expect(cost, &x[at / m * d..][..d], &y[at % m * d..][..d]);
                    let what = || format!("{cost:?} {at} of {n} × {m} × {d}, offset {offset}");
                    assert_near(found, expected, rounding::<B>() * roundings, &what);
                    // One more rounding, to 11 bits, or to the spacing of the numbers below 2⁻¹⁴.
                    let nearest = if expected > 65_520.0 { f64::INFINITY } else { expected };
                    let tolerance = rounding::<B>() * roundings + expected * 2f64.powi(-11) + 2f64.powi(-25);
                    assert_near(half.to_f64(), nearest, tolerance, &|| format!("{}, in half precision", what()));
                }
            }
        }
    }
}

/// The cost in f64 and how many roundings of size one its computation by differences may make, wherever the origin is.
fn expect(cost: Cost, x: &[f64], y: &[f64]) -> (f64, f64) {
    let d = x.len() as f64;
    let squared = squared_distance(x, y);
    match cost {
        Cost::HalfSquaredEuclidean => (0.5 * squared, (d + 2.0) * 0.5 * squared),
        Cost::Euclidean => (squared.sqrt(), (d + 2.0) * squared.sqrt()),
        Cost::Lp(p) => {
            let sum: f64 = x.iter().zip(y).map(|(x, y)| (x - y).abs().powf(p)).sum();
            // Each power has a few roundings and those of p times the logarithm, which is below 20.
            (sum.powf(1.0 / p), (d + 50.0) * sum.powf(1.0 / p))
        }
        Cost::Cosine => (1.0 - dot(x, y) / (dot(x, x) * dot(y, y)).sqrt(), 2.0 * d + 6.0),
    }
}

/// Points near zero: an angle does not see their length, and a norm scales with it, down to where squares are denormal.
fn small_points<B: Backend>(backend: &B) {
    let (n, m, d) = (5, 33, 3);
    for (cost, scale, seen) in [(Cost::Cosine, 2f64.powi(-50), 1.0), (Cost::Lp(2.5), 2f64.powi(-104), 2f64.powi(-104))] {
        let (x, y) = (rounded::<B>(&normals(n * d, 1)), rounded::<B>(&normals(m * d, 2)));
        let up = |points: &[f64]| backend.upload_reals(&points.iter().map(|x| scale * x).collect::<Vec<_>>()).unwrap();
        let (points, columns, mut out) = (up(&x), up(&y), backend.zeros(n * m).unwrap());
        backend.cost_matrix(Rows { points: &points, n, d }, &columns, cost, &mut out).unwrap();
        for (at, found) in backend.download_reals(&out).unwrap().into_iter().enumerate() {
            let (expected, roundings) = expect(cost, &x[at / m * d..][..d], &y[at % m * d..][..d]);
            assert_near(found, seen * expected, seen * rounding::<B>() * roundings, &|| format!("{cost:?} {at}, small"));
        }
    }
}

#[test]
fn costs_of_small_points_keep_their_digits() {
    on_each::<f32>(small_points);
    on_each::<f64>(small_points);
}

#[test]
fn costs_are_taken_by_differences_in_f32() {
    on_each::<f32>(cost_matrix);
}

#[test]
fn costs_are_taken_by_differences_in_f64() {
    on_each::<f64>(cost_matrix);
}
