//! Partial results: soft-mins over parts of the columns, on one device or on several, merge to the soft-min over all of them.

use brenier::backend::cpu::{Cpu, Isa};
use brenier::backend::{Backend, Partial, Real, merge};

use crate::soft_min::Case;
use crate::{assert_near, normals, rounded, rounding};

/// The soft-min of `case` over its columns from `first` up to `end`, with the means of two values.
fn part<B: Backend>(backend: &B, case: &Case, values: &[f64], (first, end): (usize, usize)) -> Partial<B::Real> {
    let (d, potential) = (case.d, case.potential.as_ref().map(|(g, c)| (g[first..end].to_vec(), *c)));
    let (x, y, bias) = (case.x.clone(), case.y[first * d..end * d].to_vec(), case.bias[first..end].to_vec());
    let columns = Case { name: case.name, m: end - first, x, y, bias, potential, factor: case.factor.clone(), ..*case };
    let (uploaded, values) = (columns.upload(backend), backend.upload_reals(&values[2 * first..2 * end]).unwrap());
    Partial::of(backend, columns.logit(&uploaded, None), case.n, Some((&values, 2))).unwrap()
}

/// Three parts, two of them on `one` device and one on the `other`, the middle one without mass.
pub fn split<A: Backend, B: Backend<Real = A::Real>>(one: &A, other: &B) {
    let mut case = Case::random::<A>((40, 310, 3));
    case.bias[90..100].fill(f64::NEG_INFINITY);
    let (n, m, u, values) = (case.n, case.m, rounding::<A>(), rounded::<A>(&normals(2 * case.m, 6)));
    let parts = [part(one, &case, &values, (0, 90)), part(other, &case, &values, (90, 100)), part(one, &case, &values, (100, m))];
    let zero = A::Real::from_f64(0.0);
    let (mut log_sum, mut mean) = (vec![zero; n], vec![zero; 2 * n]);
    merge(&parts, &mut log_sum, &mut mean, |_| true, |_| 0.0);
    for i in 0..n {
        let e = case.expect(i, u);
        assert_near(log_sum[i].to_f64(), e.log_sum, e.tolerance + 4.0 * u, &|| format!("log-sum of row {i}"));
        for k in 0..2 {
            let exact: f64 = (0..m).map(|j| e.weights[j] * values[2 * j + k]).sum();
            // A logit's error moves its weight against the others, and values are of size one.
            assert_near(mean[2 * i + k].to_f64(), exact, 4.0 * e.tolerance + 16.0 * u, &|| format!("mean {k} of row {i}"));
        }
    }
}

/// Two instruction sets stand for two devices.
#[test]
fn parts_of_the_columns_on_two_devices_merge_to_the_whole() {
    split(&Cpu::<f32>::new(), &Cpu::<f32>::with(Isa::Plain));
    split(&Cpu::<f64>::new(), &Cpu::<f64>::with(Isa::Plain));
}
