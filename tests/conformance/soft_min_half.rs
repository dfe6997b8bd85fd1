//! `soft_min_half`: the soft-min and the mean of points in half precision, which are what they are: the reference takes them as
//! numbers, so the tolerance is that of f32.

use brenier::backend::{Backend, HalfColumns, Mean, Storage};

use crate::soft_mean::check_run;
use crate::soft_min::Case;
use crate::{SIZES, normals, rounded};

pub fn soft_min_half<B: Backend>(backend: &B) {
    for storage in [Storage::F16, Storage::Bf16] {
        for case in SIZES.into_iter().flat_map(Case::all::<B>) {
            let stored = |points: &[f64]| points.iter().map(|&x| storage.round(x)).collect::<Vec<f64>>();
            let case = Case { x: stored(&case.x), y: stored(&case.y), ..case };
            let (Ok(k), Some((potential, c))) = (&case.factor, &case.potential) else { continue };
            let halve = |points: &[f64]| backend.halve(points, case.d, storage).unwrap().expect("a device with half storage");
            let (rows, points) = (halve(&case.x), halve(&case.y));
            let up = |host: &[f64]| backend.upload_reals(host).unwrap();
            let (bias, potential) = (up(&case.bias), up(potential));
            for p in [0, 3] {
                check_run(backend, &case, &rounded::<B>(&normals(case.m * p, 6)), p, &|shift, values, out, mean| {
                    let columns = HalfColumns { points: &points, k: *k, bias: &bias, potential: (&potential, *c) };
                    let mean = (p > 0).then_some(Mean { values, p, out: mean });
                    backend.soft_min_half(&rows, columns, shift, out, mean)
                });
            }
        }
    }
}
