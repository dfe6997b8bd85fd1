//! `cost_matrix`: out_ij = ½|x_i − y_j|² or |x_i − y_j|.

use brenier::backend::{Backend, Cost, Rows};

use crate::{SIZES, assert_near, normals, on_each, rounded, rounding, squared_distance};

fn cost_matrix<B: Backend>(backend: &B) {
    for (n, m, d) in SIZES {
        for offset in [0.0, 1e4] {
            let shifted = |count: usize, step: u32| normals(count, step).iter().map(|z| offset + z).collect::<Vec<_>>();
            let (x, y) = (rounded::<B>(&shifted(n * d, 1)), rounded::<B>(&shifted(m * d, 2)));
            let (points, columns) = (backend.upload_reals(&x).unwrap(), backend.upload_reals(&y).unwrap());
            for cost in [Cost::HalfSquaredEuclidean, Cost::Euclidean] {
                let mut out = backend.zeros(n * m).unwrap();
                backend.cost_matrix(Rows { points: &points, n, d }, &columns, cost, &mut out).unwrap();
                let found = backend.download_reals(&out).unwrap();
                for (at, found) in found.into_iter().enumerate() {
                    let squared = squared_distance(&x[at / m * d..][..d], &y[at % m * d..][..d]);
                    let expected = match cost {
                        Cost::HalfSquaredEuclidean => 0.5 * squared,
                        Cost::Euclidean => squared.sqrt(),
                    };
                    // Differences before squares: d + 2 roundings of positive terms, wherever the origin is.
                    let tolerance = rounding::<B>() * (d as f64 + 2.0) * expected;
                    assert_near(found, expected, tolerance, &|| format!("{cost:?} {at} of {n} × {m} × {d}, offset {offset}"));
                }
            }
        }
    }
}

#[test]
fn costs_are_taken_by_differences_in_f32() {
    on_each::<f32>(cost_matrix);
}

#[test]
fn costs_are_taken_by_differences_in_f64() {
    on_each::<f64>(cost_matrix);
}
