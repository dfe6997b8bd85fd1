//! `top_k`: the k columns of largest logit of each row, in falling order.

use brenier::backend::Backend;

use crate::soft_min::{Case, Expected};
use crate::{SIZES, assert_near, on_each, rounding};

fn check<B: Backend>(backend: &B, case: &Case, k: usize) {
    let u = rounding::<B>();
    let (x, packed) = case.upload(backend);
    let mut index = backend.upload(&vec![u32::MAX; case.n * k]).unwrap();
    let mut logit = backend.upload_reals(&vec![f64::NAN; case.n * k]).unwrap();
    backend.top_k(case.rows(&x), case.columns(&packed), k, &mut index, &mut logit).unwrap();
    let (index, logit) = (backend.download(&index).unwrap(), backend.download_reals(&logit).unwrap());
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

fn top_k<B: Backend>(backend: &B) {
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

/// Equal columns come in the order of their numbers.
fn ties<B: Backend>(backend: &B) {
    let mut case = Case::random::<B>((70, 150, 3));
    case.y = case.y[..3].repeat(150);
    (case.bias, case.potential) = (vec![0.0; 150], None);
    let (x, packed) = case.upload(backend);
    let mut index = backend.upload(&vec![u32::MAX; case.n * 5]).unwrap();
    let mut logit = backend.zeros(case.n * 5).unwrap();
    backend.top_k(case.rows(&x), case.columns(&packed), 5, &mut index, &mut logit).unwrap();
    assert!(backend.download(&index).unwrap().chunks(5).all(|row| row == [0, 1, 2, 3, 4]));
}

#[test]
fn of_equal_columns_the_lowest_comes_first() {
    on_each::<f32>(ties);
    on_each::<f64>(ties);
}
