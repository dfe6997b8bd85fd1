//! `top_k`: the k columns of largest logit of each row, in falling order.

use brenier::backend::Backend;

use crate::soft_min::{Case, Expected};
use crate::{SIZES, assert_near, on_each, rounding};

fn check<B: Backend>(backend: &B, case: &Case, k: usize) {
    let u = rounding::<B>();
    let (index, logit) = top(backend, case, k);
    for (i, (index, logit)) in index.chunks(k).zip(logit.chunks(k)).enumerate() {
        let Expected { log_sum, tolerance, weights } = case.expect(i, u);
        let mut falling: Vec<f64> = weights.iter().map(|w| w.ln() + log_sum).collect();
        falling.sort_by(|a, b| b.total_cmp(a));
        let what = || format!("{}, {} × {} × {}, k = {k}, row {i}", case.name, case.n, case.m, case.d);
        let mut seen = index.to_vec();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), k, "{}: a column appears twice", what());
        for (rank, (&j, &logit)) in index.iter().zip(logit).enumerate() {
            // The tolerance is that of columns within 40 of the top; what is farther down has no weight worth ordering.
            if falling[rank] >= falling[0] - 40.0 {
                assert_near(logit, falling[rank], tolerance, &what);
                assert_near(weights[j as usize].ln() + log_sum, logit, tolerance, &what);
            } else {
                assert!(logit <= falling[0] - 39.0, "{}", what());
            }
        }
    }
}

pub fn top_k<B: Backend>(backend: &B) {
    for case in SIZES.into_iter().flat_map(Case::all::<B>) {
        let ks = [1, 2, 7, case.m];
        ks.into_iter().filter(|&k| k <= case.m).for_each(|k| check(backend, &case, k));
    }
}

#[test]
fn the_top_columns_are_those_of_largest_logit_in_f32() {
    on_each::<f32>(top_k);
}

#[test]
fn the_top_columns_are_those_of_largest_logit_in_f64() {
    on_each::<f64>(top_k);
}

/// The k columns of largest logit, and these.
fn top<B: Backend>(backend: &B, case: &Case, k: usize) -> (Vec<u32>, Vec<f64>) {
    let (x, packed) = case.upload(backend);
    let mut index = backend.upload(&vec![u32::MAX; case.n * k]).unwrap();
    let mut logit = backend.upload_reals(vec![f64::NAN; case.n * k]).unwrap();
    backend.top_k(case.rows(&x), case.columns(&packed), k, &mut index, &mut logit).unwrap();
    (backend.download(&index).unwrap(), backend.download_reals(&logit).unwrap())
}

/// Two backends in f32 form logits in the same order, so both index and logit are the same bits: many tiles, few and all chosen.
#[cfg(feature = "cuda")]
pub fn agree<A: Backend, B: Backend>(one: &A, other: &B) {
    for size in [(70, 1000, 3), (9, 700, 64), (65, 200, 1)] {
        for case in Case::all::<A>(size) {
            for k in [1, 3, 10, 40] {
                assert_eq!(top(one, &case, k), top(other, &case, k), "{}, {size:?}, k = {k}", case.name);
            }
        }
    }
}

/// Equal columns come in the order of their numbers.
pub fn ties<B: Backend>(backend: &B) {
    let mut case = Case::random::<B>((70, 1500, 3));
    case.y = case.y[..3].repeat(1500);
    (case.bias, case.potential) = (vec![0.0; 1500], None);
    let (index, _) = top(backend, &case, 5);
    assert!(index.chunks(5).all(|row| row == [0, 1, 2, 3, 4]));
}

#[test]
fn of_equal_columns_the_lowest_comes_first() {
    on_each::<f32>(ties);
    on_each::<f64>(ties);
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    in_one_order: top_k_on_emulated_cuda, top_k_on_a_gpu: top_k;
    on_emulator: ties_on_emulated_cuda, ties_on_a_gpu: ties;
}
