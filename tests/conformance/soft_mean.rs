//! `soft_mean`: mean_i = Σ_j w_ij v_j under the softmax weights of the soft-min, and the soft-min itself.

use brenier::backend::{Backend, BackendError, Blend, Mean, Out, Reals};

use crate::soft_min::{Case, Expected, SHIFT_ROUNDINGS, shifts};
use crate::{SIZES, assert_near, normals, on_each, rounded, rounding};

/// Values of each count: every remainder of the blocks of one to six.
const COUNTS: [usize; 8] = [1, 2, 3, 4, 5, 6, 7, 64];

/// A soft-min with means under test: its results under a shift.
type Run<'a, B> = dyn Fn(Option<(&Reals<B>, f64)>, Out<'_, B>) -> Result<(), BackendError> + 'a;

fn check<B: Backend>(backend: &B, case: &Case, values: &[f64], p: usize) {
    let uploaded = case.upload(backend);
    check_run(backend, case, values, p, &|shift, out| backend.soft_min(case.logit(&uploaded, shift), out));
}

/// Log-sums and means of `run` under every kind of shift against the reference.
pub fn check_run<B: Backend>(backend: &B, case: &Case, values: &[f64], p: usize, run: &Run<'_, B>) {
    let u = rounding::<B>();
    let expected: Vec<Expected> = (0..case.n).map(|i| case.expect(i, u)).collect();
    let answer: Vec<f64> = expected.iter().map(|e| e.log_sum).collect();
    let uploaded = backend.upload_reals(values).unwrap();
    for (number, shift) in shifts::<B>(&answer).into_iter().enumerate() {
        let given = shift.as_ref().map(|(s, c)| (backend.upload_reals(s).unwrap(), *c));
        let given = given.as_ref().map(|(s, c)| (s, *c));
        let mut out = backend.zeros(case.n).unwrap();
        let mut mean = backend.upload_reals(vec![f64::NAN; case.n * p]).unwrap();
        run(given, if p == 0 { Out::of(&mut out) } else { Out::with_mean(&mut out, &uploaded, p, &mut mean) }).unwrap();
        let (out, mean) = (backend.download_reals(&out).unwrap(), backend.download_reals(&mean).unwrap());
        for (i, e) in expected.iter().enumerate() {
            let what = || format!("{}, {} × {} × {}, p = {p}, shift {number}, row {i}", case.name, case.n, case.m, case.d);
            let by = shift.as_ref().map_or(0.0, |(s, c)| c * s[i]);
            assert_near(out[i], e.log_sum - by, e.tolerance + SHIFT_ROUNDINGS * u * by.abs(), &what);
            for k in 0..p {
                let value = |j: usize| values[j * p + k];
                let exact: f64 = (0..case.m).map(|j| e.weights[j] * value(j)).sum();
                let spread: f64 = (0..case.m).map(|j| e.weights[j] * (value(j) - exact).abs()).sum();
                let size: f64 = (0..case.m).map(|j| e.weights[j] * value(j).abs()).sum();
                // A logit's error moves its weight against the others; the product and its sum round 16 times. Columns below
                // the smallest normal number, 2⁻¹²⁶, weigh that much instead.
                let clamped = (0..case.m).map(|j| value(j).abs()).sum::<f64>() * 2f64.powi(-60);
                assert_near(mean[i * p + k], exact, 2.0 * e.tolerance.min(1.0) * spread + 16.0 * u * size + clamped, &what);
            }
        }
    }
}

pub fn soft_mean<B: Backend>(backend: &B) {
    for case in SIZES.into_iter().flat_map(Case::all::<B>) {
        check(backend, &case, &rounded::<B>(&normals(case.m * 3, 6)), 3);
    }
    for p in COUNTS {
        let case = Case::random::<B>((67, 101, 5));
        check(backend, &case, &rounded::<B>(&normals(case.m * p, 7)), p);
    }
}

#[test]
fn soft_mean_is_the_mean_under_the_softmax_in_f32() {
    on_each::<f32>(soft_mean);
}

#[test]
fn soft_mean_is_the_mean_under_the_softmax_in_f64() {
    on_each::<f64>(soft_mean);
}

/// out_i = s mean_i + t x_i, of the same means, with two products and a sum more.
pub fn soft_blend<B: Backend>(backend: &B) {
    let (u, s, t) = (rounding::<B>(), 0.8, -1.7);
    for case in SIZES.into_iter().flat_map(Case::all::<B>) {
        let (n, m, d) = (case.n, case.m, case.d);
        let values = rounded::<B>(&normals(m * d, 6));
        let pairs = case.upload(backend);
        let uploaded = backend.upload_reals(&values).unwrap();
        let (mut log_sum, mut out) = (backend.zeros(n).unwrap(), backend.upload_reals(vec![f64::NAN; n * d]).unwrap());
        let mean = Mean { values: &uploaded, p: d, out: &mut out, blend: Some(Blend { s, t, with: &pairs.0 }) };
        backend.soft_min(case.logit(&pairs, None), Out { log_sum: &mut log_sum, mean: Some(mean) }).unwrap();
        let out = backend.download_reals(&out).unwrap();
        for i in 0..n {
            let e = case.expect(i, u);
            for k in 0..d {
                let (value, x) = (|j: usize| values[j * d + k], case.x[i * d + k]);
                let mean: f64 = (0..m).map(|j| e.weights[j] * value(j)).sum();
                let spread: f64 = (0..m).map(|j| e.weights[j] * (value(j) - mean).abs()).sum();
                let size: f64 = (0..m).map(|j| e.weights[j] * value(j).abs()).sum();
                let clamped = (0..m).map(|j| value(j).abs()).sum::<f64>() * 2f64.powi(-60);
                let of_mean = 2.0 * e.tolerance.min(1.0) * spread + 16.0 * u * size + clamped;
                let tolerance = s * of_mean + 4.0 * u * ((s * mean).abs() + (t * x).abs());
                let what = || format!("{}, {n} × {m} × {d}, row {i}, number {k}", case.name);
                assert_near(out[i * d + k], s * mean + t * x, tolerance, &what);
            }
        }
    }
}

#[test]
fn soft_blend_is_a_mean_and_the_row_itself() {
    on_each::<f32>(soft_blend);
    on_each::<f64>(soft_blend);
}

/// Values of size 1e15 on rows whose shift is 40 too small: neither sums nor products overflow in f32.
pub fn large_values<B: Backend>(backend: &B) {
    let case = Case::random::<B>((20, 70, 3));
    let values: Vec<f64> = normals(case.m, 8).iter().map(|z| 1e15 * (3.0 + z)).collect();
    check(backend, &case, &rounded::<B>(&values), 1);
}

#[test]
fn large_values_do_not_overflow() {
    on_each::<f32>(large_values);
    on_each::<f64>(large_values);
}

/// A million columns, the sum of so many roundings: 1e-5 is asked for, plain summation in f32 would lose up to 1e-2.
pub fn a_million_columns<B: Backend>(backend: &B) {
    let (n, m, d) = (3, 1_000_000, 3);
    let random = Case::random::<B>((n, m, d));
    // With equal columns every addition rounds the same way: the worst case of a sum.
    let equal = Case { y: vec![0.0; m * d], bias: vec![0.0; m], potential: None, ..Case::random::<B>((n, m, d)) };
    let shifted: Vec<f64> = normals(m * 2, 9).iter().map(|z| 3.3 + 0.1 * z).collect();
    for (case, values) in [(random, rounded::<B>(&shifted)), (equal, rounded::<B>(&vec![3.3; m * 2]))] {
        let pairs = case.upload(backend);
        let values_here = backend.upload_reals(&values).unwrap();
        let (mut out, mut mean) = (backend.zeros(n).unwrap(), backend.zeros(n * 2).unwrap());
        let expected: Vec<Expected> = (0..n).map(|i| case.expect(i, 0.0)).collect();
        let answer: Vec<f64> = expected.iter().map(|e| e.log_sum).collect();
        for shift in [None, Some(answer)] {
            let given = shift.as_ref().map(|s| backend.upload_reals(s).unwrap());
            let given = given.as_ref().map(|s| (s, 1.0));
            backend.soft_min(case.logit(&pairs, given), Out::with_mean(&mut out, &values_here, 2, &mut mean)).unwrap();
            let (out, mean) = (backend.download_reals(&out).unwrap(), backend.download_reals(&mean).unwrap());
            for (i, e) in expected.iter().enumerate() {
                let by = shift.as_ref().map_or(0.0, |s| s[i]);
                assert_near(out[i] + by, e.log_sum, 1e-5, &|| format!("log of the sum, row {i}"));
                for k in 0..2 {
                    let exact: f64 = (0..m).map(|j| e.weights[j] * values[2 * j + k]).sum();
                    assert_near(mean[2 * i + k], exact, 1e-5 * exact, &|| format!("mean, row {i}"));
                }
            }
        }
    }
}

#[test]
fn a_million_columns_keep_five_digits() {
    on_each::<f32>(a_million_columns);
    on_each::<f64>(a_million_columns);
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    in_one_order: soft_mean_on_emulated_cuda, soft_mean_on_a_gpu: soft_mean;
    in_one_order: soft_blend_on_emulated_cuda, soft_blend_on_a_gpu: soft_blend;
    on_emulator: large_values_on_emulated_cuda, large_values_on_a_gpu: large_values;
    in_one_order: a_million_columns_on_emulated_cuda, a_million_columns_on_a_gpu: a_million_columns;
}
