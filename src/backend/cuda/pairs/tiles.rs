//! Launches `kernels/tiles.cu`.

use std::f64::consts::LOG2_E;

use bytemuck::{Pod, Zeroable};

use crate::backend::cuda::launcher::{Pointer, Shape, blocks};
use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{BackendError, LARGEST_BIAS, Mean, TILE, TileList, Tiles};

/// Values of a mean that the kernel takes at a time.
const VALUES: usize = 4;

/// Two clouds and the pairs of their tiles that are kept.
pub struct Kept<'a> {
    pub rows: &'a Tiles<'a, Cuda>,
    pub columns: &'a Tiles<'a, Cuda>,
    pub list: &'a TileList<'a, Cuda>,
    pub eps: f64,
}

/// `Tiled` of the kernel file.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Tiled {
    x: Pointer,
    potential: Pointer,
    row_frames: Pointer,
    column_frames: Pointer,
    packed: Pointer,
    values: Pointer,
    starts: Pointer,
    runs: Pointer,
    out: Pointer,
    mean: Pointer,
    k: f64,
    n: i32,
    m: i32,
    p: i32,
    first: i32,
}

/// `out_i = log Σ_j b_j exp((x_i·y_j − φ_i − ψ_j)/ε)` over the kept tiles and, where asked, the mean behind it.
pub fn soft_min(
    cuda: &Cuda,
    kept: Kept<'_>,
    packed: &mut Buffer<f32>,
    out: &mut Buffer<f32>,
    mean: Option<&mut Mean<'_, Cuda>>,
) -> Result<(), BackendError> {
    let Kept { rows, columns, list, eps } = kept;
    let (m, d, k) = (columns.n as u64, columns.d as i32, LOG2_E / eps);
    let Tiles { points, potential, log_weights, frames, .. } = columns;
    cuda.launch(
        "pack_tiles",
        Shape::covering(columns.n)?,
        &[*points, *potential, *log_weights, *frames, &m, &d, &k, &LARGEST_BIAS, packed],
    )?;
    let (values, p, mean) = mean.map_or((0, 0, 0), |mean| (mean.values.at(), mean.p, mean.out.at()));
    let shape = Shape { grid: [blocks(rows.n, TILE)?, 1, 1], block: [128, 1, 1], shared: 0 };
    let name = format!("soft_min_tiles_d{d}_p{}", if p == 0 { 0 } else { VALUES });
    for first in (0..p.max(1)).step_by(VALUES) {
        let tiled = Tiled {
            x: rows.points.at(),
            potential: rows.potential.at(),
            row_frames: rows.frames.at(),
            column_frames: frames.at(),
            packed: packed.at(),
            values,
            starts: list.starts.at(),
            runs: list.runs.at(),
            out: out.at(),
            mean,
            k,
            n: rows.n as i32,
            m: columns.n as i32,
            p: p as i32,
            first: first as i32,
        };
        cuda.launch(&name, shape, &[&tiled])?;
    }
    Ok(())
}
