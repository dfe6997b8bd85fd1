//! Launches `kernels/cost.cu`.

use crate::backend::cuda::launcher::{Argument, Shape, blocks};
use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{BackendError, Cost, Rows};

/// `out_ij = c(x_i, y_j)` in f32, or in half precision where E has two bytes.
pub fn cost_matrix<E>(
    cuda: &Cuda,
    rows: Rows<'_, Cuda>,
    points: &Buffer<f32>,
    cost: Cost,
    out: &mut Buffer<E>,
) -> Result<(), BackendError> {
    let (name, p) = match cost {
        Cost::HalfSquaredEuclidean => ("cost_half_squared", 0.0),
        Cost::Euclidean => ("cost_euclidean", 0.0),
        Cost::Lp(p) => ("cost_lp", p as f32),
        Cost::Cosine => ("cost_cosine", 0.0),
    };
    let (n, m, d) = (rows.n as u64, (points.len() / rows.d) as u64, rows.d as u32);
    let tiles = rows.n.div_ceil(64) * (m as usize).div_ceil(64);
    let shape = Shape { grid: [blocks(tiles, 1)?, 1, 1], block: [256, 1, 1], shared: 0 };
    let half = u32::from(size_of::<E>() == 2);
    let arguments: [&dyn Argument; 8] = [rows.points, &n, points, &m, &d, &p, &half, out];
    cuda.launch(name, shape, &arguments)
}
