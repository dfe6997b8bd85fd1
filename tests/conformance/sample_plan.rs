//! `sample_plan`: index_r = min {j : Σ_{j′≤j} w_ij′ > u_r} under the softmax weights of the soft-min.

use brenier::backend::Backend;
use brenier::random::{Philox, Stream};

use crate::soft_min::{Case, Expected, shifts};
use crate::{SIZES, on_each, rounding};

fn check<B: Backend>(backend: &B, case: &Case) {
    let u = rounding::<B>();
    let (x, packed) = case.upload(backend);
    let expected: Vec<Expected> = (0..case.n).map(|i| case.expect(i, u)).collect();
    let answer: Vec<f64> = expected.iter().map(|e| e.log_sum).collect();
    // Rows have none, one or several draws, the ends of the unit interval among them.
    let philox = Philox::new(5, Stream::Noise);
    let draws = |i: usize| [3, 0, 1, 2][i % 4];
    let first: Vec<u32> = std::iter::once(0).chain((0..case.n).scan(0, |sum, i| (*sum += draws(i), Some(*sum)).1)).collect();
    let count = first[case.n];
    let quantile = |r: u32| [0.0, philox.uniform(r, 0, 0), 1.0 - f64::EPSILON / 2.0][if r < 2 { 2 * r as usize } else { 1 }];
    let quantiles: Vec<f64> = (0..count).map(quantile).collect();
    let uploaded = backend.upload(&quantiles).unwrap();
    for (number, shift) in shifts::<B>(&answer).into_iter().flatten().enumerate() {
        let given = (&backend.upload_reals(&shift.0).unwrap(), shift.1);
        let mut index = backend.upload(&vec![u32::MAX; count as usize]).unwrap();
        let first_here = backend.upload(&first).unwrap();
        backend.sample_plan(case.rows(&x), case.columns(&packed), given, &first_here, &uploaded, &mut index).unwrap();
        let index = backend.download(&index).unwrap();
        for (i, e) in expected.iter().enumerate() {
            let cumulative: Vec<f64> = e.weights.iter().scan(0.0, |sum, w| (*sum += w, Some(*sum)).1).collect();
            // A logit's error moves a weight against the others; the running sums round 16 times.
            let tolerance = 2.0 * e.tolerance.min(1.0) + 16.0 * u;
            for r in first[i] as usize..first[i + 1] as usize {
                let (j, quantile) = (index[r] as usize, quantiles[r]);
                let below = if j == 0 { 0.0 } else { cumulative[j - 1] };
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

fn sample_plan<B: Backend>(backend: &B) {
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
