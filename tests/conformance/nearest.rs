//! `nearest`: index_i = argmin_j |x_i − y_j|², the lowest index of equals.

use brenier::backend::{Backend, Rows};

use crate::{SIZES, normals, on_each, rounded, squared_distance};

fn expect_nearest<B: Backend>(backend: &B, x: &[f64], y: &[f64], d: usize, what: &str) {
    let (x, y) = (rounded::<B>(x), rounded::<B>(y));
    let n = x.len() / d;
    let points = backend.upload_reals(&x).unwrap();
    let mut index = backend.upload(&vec![u32::MAX; n]).unwrap();
    backend.nearest(Rows { points: &points, n, d }, &backend.upload_reals(&y).unwrap(), &mut index).unwrap();
    for (i, (x, found)) in x.chunks(d).zip(backend.download(&index).unwrap()).enumerate() {
        let distances = y.chunks(d).map(|y| squared_distance(x, y)).enumerate();
        let (nearest, least) = distances.fold((0, f64::INFINITY), |best, (j, c)| if c < best.1 { (j, c) } else { best });
        // Another column only if the reference's own order of summation decides between the two.
        let chosen = squared_distance(x, &y[found as usize * d..][..d]);
        let tie = chosen != least && chosen <= least * (1.0 + 1e-15 * d as f64);
        assert!(
            found as usize == nearest || tie,
            "{what}, d = {d}, row {i}: column {found} at {chosen:e}, {nearest} at {least:e}"
        );
    }
}

pub fn nearest<B: Backend>(backend: &B) {
    for (n, m, d) in SIZES {
        let (x, y) = (normals(n * d, 1), normals(m * d, 2));
        let scaled = |v: &[f64], s: f64, offset: f64| v.iter().map(|v| offset + s * v).collect::<Vec<_>>();
        expect_nearest(backend, &x, &y, d, "random");
        expect_nearest(backend, &x, &[&y[..], &y[..]].concat(), d, "every column twice");
        expect_nearest(backend, &scaled(&x, 1.0, 1e4), &scaled(&y, 1.0, 1e4), d, "far from the origin");
        expect_nearest(backend, &scaled(&x, 1e-3, 0.0), &scaled(&y, 1e3, 0.0), d, "columns far away");
        expect_nearest(backend, &scaled(&x, 1e-22, 0.0), &scaled(&y, 1e-22, 0.0), d, "squares below the normal numbers of f32");
        expect_nearest(backend, &scaled(&x, 1e25, 0.0), &scaled(&y, 1e25, 0.0), d, "squares above the numbers of f32");
        expect_nearest(backend, &x, &x, d, "the rows themselves");
        let nearly: Vec<f64> = x[..d].iter().cycle().take(m * d).zip(&y).map(|(x, y)| x + 1e-6 * y).collect();
        expect_nearest(backend, &x, &nearly, d, "columns nearly equal");
        // On a lattice every distance is exact and ties abound.
        let lattice = |v: &[f64]| v.iter().map(|v| v.round()).collect::<Vec<_>>();
        expect_nearest(backend, &lattice(&x), &lattice(&y), d, "a lattice");
    }
}

#[test]
fn nearest_is_the_first_column_of_least_distance_in_f32() {
    on_each::<f32>(nearest);
}

#[test]
fn nearest_is_the_first_column_of_least_distance_in_f64() {
    on_each::<f64>(nearest);
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    on_emulator: nearest_on_emulated_cuda, nearest_on_a_gpu: nearest;
}
