//! `Logit::Symmetric`: out_i = log Σ_j a_j exp(k x_i·x_j − s_i − s_j).

use brenier::backend::{Backend, Logit, Out, Rows, Symmetric};

use crate::{assert_near, dot, normals, on_each, rounded, rounding};

/// Points, weights, potential and k; one point in three has no mass.
pub fn suite<B: Backend>(backend: &B) {
    // One block and less, an odd and an even number of blocks, with a rest and without.
    for (n, d) in [(1, 1), (7, 2), (64, 3), (513, 64), (1024, 2), (1100, 3), (1030, 1), (2050, 5)] {
        let u = rounding::<B>();
        let x = rounded::<B>(&normals(n * d, 1));
        let mass =
            rounded::<B>(&(0..n).map(|i| if i % 3 == 2 { 0.0 } else { (1 + i % 5) as f64 / n as f64 }).collect::<Vec<_>>());
        let log_mass: Vec<f64> = mass.iter().map(|a| a.ln()).collect();
        let k = 0.7 / (d as f64).sqrt();
        // Near the answer, as the potential of the last iteration is; then so far that sums overflow.
        for (off, factor) in [(0.0, 1.0), (0.3, -2.0), (3e3, 1.0)] {
            let half = |i: usize| 0.5 * k * dot(&x[i * d..][..d], &x[i * d..][..d]) + off * (i as f64).sin();
            let s = rounded::<B>(&(0..n).map(|i| half(i) / factor).collect::<Vec<_>>());
            let up = |host: &[f64]| backend.upload_reals(host).unwrap();
            let (points, weights, log_weights, shift) = (up(&x), up(&mass), up(&log_mass), up(&s));
            let (mut packed, mut out) = (up(&vec![0.0; n * (d + 1)]), up(&vec![f64::NAN; n]));
            let rows = Rows { points: &points, n, d };
            let (weights, shift) = ((&weights, &log_weights), (&shift, factor));
            let cloud = Symmetric { rows, k, weights, shift, packed: &mut packed };
            backend.soft_min(Logit::Symmetric(cloud), Out::of(&mut out)).unwrap();
            let found = backend.download_reals(&out).unwrap();
            for i in (0..n).step_by(1 + n / 50) {
                let term = |j: usize| k * dot(&x[i * d..][..d], &x[j * d..][..d]) - factor * (s[i] + s[j]) + log_mass[j];
                let largest = (0..n).map(term).fold(f64::NEG_INFINITY, f64::max);
                let expected = largest + (0..n).map(|j| (term(j) - largest).exp()).sum::<f64>().ln();
                // The product of d terms, two shifts and a bias, each rounded; the potentials may be thousands.
                let size =
                    dot(&x[i * d..][..d], &x[i * d..][..d]) + 4.0 * (d as f64 + 4.0) + 4.0 * (factor * s[i]).abs() + 4.0 * off;
                assert_near(found[i], expected, 4.0 * u * size, &|| format!("n = {n}, d = {d}, off = {off}, row {i}"));
            }
        }
    }
}

#[test]
fn the_soft_min_of_a_cloud_with_itself_counts_every_pair_once_in_f32() {
    on_each::<f32>(suite);
}

#[test]
fn the_soft_min_of_a_cloud_with_itself_counts_every_pair_once_in_f64() {
    on_each::<f64>(suite);
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    in_one_order: soft_min_self_on_emulated_cuda, soft_min_self_on_a_gpu: suite;
}
