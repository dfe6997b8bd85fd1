//! Launches `kernels/nearest.cu`.

use crate::backend::cuda::launcher::{Argument, Shape, blocks};
use crate::backend::cuda::{Buffer, Cuda, split_columns};
use crate::backend::{BackendError, Rows};

/// Bytes of the kernel file's `Best`.
const BEST: usize = 16;

/// `index_i = argmin_j |x_i − y_j|²`.
pub fn nearest(cuda: &Cuda, rows: Rows<'_, Cuda>, points: &Buffer<f32>, index: &mut Buffer<u32>) -> Result<(), BackendError> {
    let (n, m, d) = (rows.n as u64, (points.len() / rows.d) as u64, rows.d as u32);
    let tiles = blocks(rows.n, 64)?;
    let (splits, columns) = split_columns(tiles, m as usize);
    let best = cuda.scratch(BEST * rows.n * splits as usize)?;
    let shape = Shape { grid: [tiles, splits, 1], block: [256, 1, 1], shared: 0 };
    let arguments: [&dyn Argument; 7] = [rows.points, &n, points, &m, &d, &columns, &*best];
    cuda.launch("nearest", shape, &arguments)?;
    cuda.launch("nearest_merge", Shape::covering(rows.n)?, &[&n, &splits, &*best, index])
}
