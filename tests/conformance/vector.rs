//! The admitted vector operations, over more than one block of them.

use brenier::backend::{Backend, Reals};

use crate::{assert_near, normals, on_each, rounded, rounding};

/// Lengths: one number, one less and one more than a block of 4096, several blocks.
const LENGTHS: [usize; 5] = [1, 100, 4095, 4097, 10_001];

fn up<B: Backend>(backend: &B, host: &[f64]) -> Reals<B> {
    backend.upload_reals(host).unwrap()
}

/// Fails unless each of `found` is the rounding of `expected`, or its neighbour where f64 rounded before.
fn assert_rounded<B: Backend>(backend: &B, found: &Reals<B>, expected: impl Iterator<Item = (f64, f64)>) {
    let found = backend.download_reals(found).unwrap();
    for (i, (found, (expected, size))) in found.into_iter().zip(expected).enumerate() {
        // One rounding of the result; in f64 one more for each of up to four terms.
        assert_near(found, expected, rounding::<B>() * expected.abs() + 4.0 * f64::EPSILON * size, &|| format!("number {i}"));
    }
}

pub fn combine<B: Backend>(backend: &B) {
    for n in LENGTHS {
        let host: Vec<Vec<f64>> = (0..3).map(|r| rounded::<B>(&normals(n, r))).collect();
        // `dst` is no term, one term, and two.
        let sums: [&[(usize, f64)]; 5] =
            [&[(1, 0.5), (2, -1.5)], &[(0, 0.3), (2, 0.7)], &[(1, 1.1), (0, 0.2), (2, 0.1), (0, -2.0)], &[(1, 2.0)], &[]];
        for terms in sums {
            let mut registers: Vec<Reals<B>> = host.iter().map(|register| up(backend, register)).collect();
            backend.combine(&mut registers, 0, terms).unwrap();
            let expected = (0..n).map(|i| {
                let term = |&(r, c): &(usize, f64)| c * host[r][i];
                (terms.iter().map(term).sum(), terms.iter().map(|t| term(t).abs()).sum())
            });
            assert_rounded(backend, &registers[0], expected);
            assert_eq!(backend.download_reals(&registers[2]).unwrap(), host[2], "the other registers stay");
        }
    }
}

pub fn clip<B: Backend>(backend: &B) {
    for n in LENGTHS {
        let host = rounded::<B>(&normals(n, 1));
        // Where the bounds cross, min(max(x, low), high) is high.
        for (low, high) in [(-0.5, 0.75), (f64::NEG_INFINITY, 0.25), (0.0, 0.0), (0.5, -0.5)] {
            let mut x = up(backend, &host);
            backend.clip(&mut x, low, high).unwrap();
            let expected: Vec<f64> = host.iter().map(|x| x.max(low).min(high)).collect();
            assert_eq!(backend.download_reals(&x).unwrap(), expected);
        }
    }
}

/// Sums are in f64 from exact inputs: 1e-13 of the terms' size in either precision.
pub fn reductions<B: Backend>(backend: &B) {
    for n in LENGTHS {
        let (x, y) = (rounded::<B>(&normals(n, 1)), rounded::<B>(&normals(n, 2)));
        let a = rounded::<B>(&x.iter().map(|x| x.abs() / n as f64).collect::<Vec<_>>());
        for scale in [1.0, 1e-9] {
            let log_ratio = rounded::<B>(&y.iter().map(|y| scale * y).collect::<Vec<_>>());
            let error: f64 = a.iter().zip(&log_ratio).map(|(a, r)| a * r.exp_m1().abs()).sum();
            let found = backend.marginal_error(&up(backend, &a), &up(backend, &log_ratio)).unwrap().read().unwrap();
            assert_near(found, error, 1e-13 * error, &|| format!("marginal_error of {n}, ratios of {scale}"));
        }
    }
}

/// What is not a number must not look like agreement.
pub fn not_a_number<B: Backend>(backend: &B) {
    let mut host = vec![0.0; 5000];
    host[123] = f64::NAN;
    let bad = up(backend, &host);
    assert!(backend.marginal_error(&up(backend, &[1.0; 5000]), &bad).unwrap().read().unwrap().is_nan());
}

pub fn gather<B: Backend>(backend: &B) {
    for (m, d, n) in [(1, 1, 5), (10, 3, 7), (50, 784, 20), (9, 2, 9000)] {
        let points = rounded::<B>(&normals(m * d, 1));
        let index: Vec<u32> = (0..n).map(|r| (r * 7 + r / 3) as u32 % m as u32).collect();
        let mut out = backend.zeros(n * d).unwrap();
        backend.gather(&up(backend, &points), d, &backend.upload(&index).unwrap(), &mut out).unwrap();
        let expected: Vec<f64> = index.iter().flat_map(|&i| &points[i as usize * d..][..d]).copied().collect();
        assert_eq!(backend.download_reals(&out).unwrap(), expected);
    }
}

#[test]
fn combine_is_the_sum_of_scaled_registers() {
    on_each::<f32>(combine);
    on_each::<f64>(combine);
}

#[test]
fn clip_is_the_smaller_of_high_and_the_larger_of_low() {
    on_each::<f32>(clip);
    on_each::<f64>(clip);
}

#[test]
fn reductions_are_accumulated_in_f64() {
    on_each::<f32>(reductions);
    on_each::<f64>(reductions);
}

#[test]
fn reductions_do_not_hide_what_is_not_a_number() {
    on_each::<f32>(not_a_number);
    on_each::<f64>(not_a_number);
}

#[test]
fn gather_copies_the_rows_named() {
    on_each::<f32>(gather);
    on_each::<f64>(gather);
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    on_emulator: combine_on_emulated_cuda, combine_on_a_gpu: combine;
    on_emulator: clip_on_emulated_cuda, clip_on_a_gpu: clip;
    on_emulator: gather_on_emulated_cuda, gather_on_a_gpu: gather;
    on_emulator: reductions_on_emulated_cuda, reductions_on_a_gpu: reductions;
    on_emulator: not_a_number_on_emulated_cuda, not_a_number_on_a_gpu: not_a_number;
}
