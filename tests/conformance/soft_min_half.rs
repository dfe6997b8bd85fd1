//! `Logit::Half`: the soft-min and the mean of points in half precision, which are what they are: the reference takes them as
//! numbers, so the tolerance is that of f32.

use brenier::backend::{Backend, HalfColumns, HalfPoints, Logit, Storage};

use crate::soft_mean::check_run;
use crate::soft_min::Case;
use crate::{SIZES, normals, on_each, rounded};

pub fn soft_min_half<B: Backend>(backend: &B) {
    for storage in [Storage::F16, Storage::Bf16] {
        for case in SIZES.into_iter().flat_map(Case::all::<B>) {
            let stored = |points: &[f64]| points.iter().map(|&x| storage.round(x)).collect::<Vec<f64>>();
            let case = Case { x: stored(&case.x), y: stored(&case.y), ..case };
            let (Ok(k), Some((potential, c))) = (&case.factor, &case.potential) else { continue };
            let halve = |points: &[f64]| HalfPoints::new(backend, points, case.d, storage).unwrap().unwrap();
            let (rows, points) = (halve(&case.x), halve(&case.y));
            let up = |host: &[f64]| backend.upload_reals(host).unwrap();
            let (bias, potential) = (up(&case.bias), up(potential));
            for p in [0, 3] {
                check_run(backend, &case, &rounded::<B>(&normals(case.m * p, 6)), p, &|shift, out| {
                    let columns = HalfColumns { points: &points, k: *k, bias: &bias, potential: (&potential, *c) };
                    backend.soft_min(Logit::Half { rows: &rows, columns, shift }, out)
                });
            }
        }
    }
}

#[test]
fn points_in_half_precision_are_taken_as_they_are() {
    on_each::<f32>(soft_min_half);
    on_each::<f64>(soft_min_half);
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    in_one_order: soft_min_half_on_emulated_cuda, soft_min_half_on_a_gpu: soft_min_half;
}
