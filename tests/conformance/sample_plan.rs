//! `sample_plan`: index_r = min {j : Σ_{j′≤j} w_ij′ > u_r} under the softmax weights of the soft-min.

use brenier::backend::{Backend, Draws};
use brenier::random::{Philox, Stream};

use crate::soft_min::{Case, Expected, shifts};
use crate::{SIZES, on_each, rounding};

fn check<B: Backend>(backend: &B, case: &Case) {
    let u = rounding::<B>();
    let expected: Vec<Expected> = (0..case.n).map(|i| case.expect(i, u)).collect();
    let answer: Vec<f64> = expected.iter().map(|e| e.log_sum).collect();
    let (first, quantiles) = draws(case.n);
    for (number, shift) in shifts::<B>(&answer).into_iter().flatten().enumerate() {
        let index = drawn(backend, case, &shift, &first, &quantiles);
        for (i, e) in expected.iter().enumerate() {
            let cumulative = cumulative(e);
            for r in first[i] as usize..first[i + 1] as usize {
                let (j, quantile) = (index[r] as usize, quantiles[r]);
                let below = if j == 0 { 0.0 } else { cumulative[j - 1] };
                let tolerance = edge(e, u);
                assert!(
                    below <= quantile + tolerance && quantile <= cumulative[j] + tolerance,
                    "{}, {} × {} × {}, shift {number}, row {i}: column {j} of ({below}, {}] for {quantile}",
                    case.name,
                    case.n,
                    case.m,
                    case.d,
                    cumulative[j]
                );
                assert!(case.m == 1 || case.bias[j] > f64::NEG_INFINITY, "row {i} drew column {j}, which has no mass");
            }
        }
    }
}

/// Which draws of which row, and their quantiles. Rows have none, one or several, the ends of the unit interval among them.
fn draws(n: usize) -> (Vec<u32>, Vec<f64>) {
    let philox = Philox::new(5, Stream::Noise);
    let draws = |i: usize| [3, 0, 1, 2][i % 4];
    let first: Vec<u32> = std::iter::once(0).chain((0..n).scan(0, |sum, i| (*sum += draws(i), Some(*sum)).1)).collect();
    let quantile = |r: u32| [0.0, philox.uniform(r, 0, 0), 1.0 - f64::EPSILON / 2.0][if r < 2 { 2 * r as usize } else { 1 }];
    let quantiles = (0..first[n]).map(quantile).collect();
    (first, quantiles)
}

fn drawn<B: Backend>(backend: &B, case: &Case, shift: &(Vec<f64>, f64), first: &[u32], quantiles: &[f64]) -> Vec<u32> {
    let (x, packed) = case.upload(backend);
    let given = (&backend.upload_reals(&shift.0).unwrap(), shift.1);
    let (first, uploaded) = (backend.upload(first).unwrap(), backend.upload(quantiles).unwrap());
    let mut index = backend.upload(&vec![u32::MAX; quantiles.len()]).unwrap();
    let draws = Draws { first: &first, quantiles: &uploaded };
    backend.sample_plan(case.rows(&x), case.columns(&packed), given, draws, &mut index).unwrap();
    backend.download(&index).unwrap()
}

/// Σ_{j′≤j} w_j′.
fn cumulative(expected: &Expected) -> Vec<f64> {
    expected.weights.iter().scan(0.0, |sum, w| (*sum += w, Some(*sum)).1).collect()
}

/// How far the edges of a column may be off: a logit's error moves a weight against the others; the running sums round 16 times.
fn edge(expected: &Expected, u: f64) -> f64 {
    2.0 * expected.tolerance.min(1.0) + 16.0 * u
}

/// Two backends in f32 draw the same columns, but where the quantile is within rounding of an edge that both know; that is seldom.
#[cfg(feature = "cuda")]
pub fn agree<A: Backend, B: Backend>(one: &A, other: &B) {
    let case = Case::random::<A>((400, 1500, 3));
    let expected: Vec<Expected> = (0..case.n).map(|i| case.expect(i, rounding::<A>())).collect();
    let shift = (expected.iter().map(|e| f64::from(e.log_sum as f32)).collect(), 1.0);
    let (first, quantiles) = draws(case.n);
    let (a, b) = (drawn(one, &case, &shift, &first, &quantiles), drawn(other, &case, &shift, &first, &quantiles));
    let mut apart = 0;
    for (i, e) in expected.iter().enumerate() {
        for r in first[i] as usize..first[i + 1] as usize {
            if a[r] != b[r] {
                let (low, high) = (a[r].min(b[r]) as usize, a[r].max(b[r]) as usize);
                let between = &cumulative(e)[low..high];
                assert!(between.iter().all(|c| (c - quantiles[r]).abs() <= edge(e, rounding::<A>())), "row {i}: {low} or {high}");
                apart += 1;
            }
        }
    }
    // Edges lie 1/1500 apart and are known to 1e-6: one draw in several hundred.
    assert!(100 * apart <= quantiles.len(), "{apart} of {} draws differ", quantiles.len());
}

pub fn sample_plan<B: Backend>(backend: &B) {
    SIZES.into_iter().flat_map(Case::all::<B>).for_each(|case| check(backend, &case));
}

#[test]
fn draws_are_quantiles_of_the_softmax_in_f32() {
    on_each::<f32>(sample_plan);
}

#[test]
fn draws_are_quantiles_of_the_softmax_in_f64() {
    on_each::<f64>(sample_plan);
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    in_one_order: sample_plan_on_emulated_cuda, sample_plan_on_a_gpu: sample_plan;
}
