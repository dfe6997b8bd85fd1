//! Launches `kernels/pairsum.cu`.

use crate::backend::cuda::launcher::{Argument, Shape, blocks};
use crate::backend::cuda::potentials::reduce;
use crate::backend::cuda::{Cuda, split_columns};
use crate::backend::{BackendError, PairKernel, Weighted};

/// `Σ_ij a_i b_j k(x_i, y_j)`.
pub fn pair_sum(cuda: &Cuda, x: Weighted<'_, Cuda>, y: Weighted<'_, Cuda>, kernel: PairKernel) -> Result<f64, BackendError> {
    let (rows, a, points, b) = (x.points, x.weights, y.points.points, y.weights);
    let (name, scale) = match kernel {
        PairKernel::Distance => ("pair_sum_distance", 0.0),
        PairKernel::Gaussian(bandwidth) => ("pair_sum_gaussian", 0.5 / (bandwidth * bandwidth)),
    };
    let (n, m, d) = (rows.n as u64, b.len() as u64, rows.d as u32);
    let tiles = blocks(rows.n, 64)?;
    let (splits, columns) = split_columns(tiles, b.len());
    let partials = tiles * splits;
    if partials == 0 {
        return Ok(0.0);
    }
    let scratch = cuda.scratch((partials as usize + 1) * size_of::<f64>())?;
    let out = scratch.at() + size_of::<f64>() as u64;
    let shape = Shape { grid: [tiles, splits, 1], block: [256, 1, 1], shared: 0 };
    let arguments: [&dyn Argument; 10] = [rows.points, a, &n, points, b, &m, &d, &columns, &scale, &out];
    cuda.launch(name, shape, &arguments)?;
    reduce::finish(cuda, "total_sum", &scratch, partials)?.read()
}
