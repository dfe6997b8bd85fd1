//! `pair_sum`: Σ_ij a_i b_j k(x_i, y_j), accumulated in f64.

use brenier::backend::{Backend, PairKernel, Rows, Weighted};

use crate::{SIZES, assert_near, normals, on_each, rounded, squared_distance};

pub fn pair_sum<B: Backend>(backend: &B) {
    for (n, m, d) in SIZES {
        let (x, y) = (rounded::<B>(&normals(n * d, 1)), rounded::<B>(&normals(m * d, 2)));
        let (a, b) = (rounded::<B>(&normals(n, 3)), rounded::<B>(&normals(m, 4)));
        let bandwidth = 0.7 * (d as f64).sqrt();
        for kernel in [PairKernel::Distance, PairKernel::Gaussian(bandwidth)] {
            let up = |host: &[f64]| backend.upload_reals(host).unwrap();
            let (of_x, of_y, of_a, of_b) = (up(&x), up(&y), up(&a), up(&b));
            let rows = Weighted { points: Rows { points: &of_x, n, d }, weights: &of_a };
            let columns = Weighted { points: Rows { points: &of_y, n: m, d }, weights: &of_b };
            let found = backend.pair_sum(rows, columns, kernel).unwrap();
            let (mut expected, mut size) = (0.0, 0.0);
            for (a, x) in a.iter().zip(x.chunks(d)) {
                for (b, y) in b.iter().zip(y.chunks(d)) {
                    let squared = squared_distance(x, y);
                    let term = a
                        * b
                        * match kernel {
                            PairKernel::Distance => squared.sqrt(),
                            PairKernel::Gaussian(width) => (-squared / (2.0 * width * width)).exp(),
                        };
                    expected += term;
                    size += term.abs();
                }
            }
            // The inputs are exact and all arithmetic is f64: 1e-12 of the terms' size in either precision.
            assert_near(found, expected, 1e-12 * size, &|| format!("{kernel:?}, {n} × {m} × {d}"));
        }
    }
}

#[test]
fn pair_sums_are_accumulated_in_f64_from_f32_points() {
    on_each::<f32>(pair_sum);
}

#[test]
fn pair_sums_are_accumulated_in_f64_from_f64_points() {
    on_each::<f64>(pair_sum);
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    on_emulator: pair_sum_on_emulated_cuda, pair_sum_on_a_gpu: pair_sum;
}
