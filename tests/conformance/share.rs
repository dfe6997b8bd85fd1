//! `share`: q_ik = softmax_k(x_i·z_k + β_k), and its sums over the points.

use brenier::backend::{Backend, Shares, Stations};

use crate::{assert_near, dot, normals, on_each};

pub fn share<B: Backend>(backend: &B) {
    // Less than a block of rows, several, and more than a task of them; one station and more than rows.
    for (n, d, rank) in [(1, 1, 1), (7, 3, 20), (263, 2, 5), (600, 64, 9), (2500, 2, 4)] {
        let (x, z, beta) = (normals(n * d, 1), normals(rank * d, 2), normals(rank, 3));
        let masses: Vec<f64> = (0..n).map(|i| (1 + i % 5) as f64 / n as f64).collect();
        let up = |host: &[f64]| backend.upload(host).unwrap();
        let (points, weights, slopes, levels) = (up(&x), up(&masses), up(&z), up(&beta));
        let stations = || Stations { slopes: &slopes, levels: &levels };
        let [mut each, mut moments, mut overlaps] = [n * rank, rank * d, rank * rank].map(|len| up(&vec![f64::NAN; len]));
        backend.share(&points, &weights, stations(), Shares::Each(&mut each)).unwrap();
        let sums = Shares::Sums { moments: &mut moments, overlaps: &mut overlaps };
        backend.share(&points, &weights, stations(), sums).unwrap();
        let [each, moments, overlaps] = [&each, &moments, &overlaps].map(|buffer| backend.download(buffer).unwrap());
        let (mut of_moments, mut of_overlaps) = (vec![0.0; rank * d], vec![0.0; rank * rank]);
        for (i, (x, a)) in x.chunks_exact(d).zip(&masses).enumerate() {
            let exponents: Vec<f64> = z.chunks_exact(d).zip(&beta).map(|(z, beta)| dot(x, z) + beta).collect();
            let top = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = exponents.iter().map(|e| (e - top).exp()).sum();
            let q: Vec<f64> = exponents.iter().map(|e| (e - top).exp() / total).collect();
            for k in 0..rank {
                // Exponents of up to 50, whose products and exponential are rounded some d + 10 times.
                let tolerance = 1e-14 * (d as f64 + 10.0);
                assert_near(each[i * rank + k], q[k], tolerance, &|| format!("{n} × {d}, station {k} of row {i}"));
                (0..d).for_each(|c| of_moments[k * d + c] += a * q[k] * x[c]);
                (0..rank).for_each(|l| of_overlaps[k * rank + l] += a * q[k] * q[l]);
            }
        }
        for (found, expected) in moments.iter().zip(&of_moments).chain(overlaps.iter().zip(&of_overlaps)) {
            assert_near(*found, *expected, 1e-12, &|| format!("a sum over {n} points in dimension {d}"));
        }
    }
}

#[test]
fn shares_are_those_of_a_softmax_over_stations() {
    on_each::<f32>(share);
    on_each::<f64>(share);
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    on_emulator: shares_on_emulated_cuda, shares_on_a_gpu: share;
}
