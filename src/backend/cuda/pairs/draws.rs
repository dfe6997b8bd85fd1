//! Launches `kernels/draws.cu`, for draws behind the streaming soft-min.

use crate::backend::cuda::launcher::{Argument, Pointer, Shape, blocks};
use crate::backend::cuda::pairs::soft_min::{Product, Sums, split_sums};
use crate::backend::cuda::{Buffer, Cuda, split_columns};
use crate::backend::{BackendError, Columns, Draws, Rows};

/// Rows a block, a warp each; runs of columns at most; columns of a tile. As in the kernel file.
const WARPS: usize = 4;
const SPLITS: usize = 512;
const TILE: usize = 64;
/// Bytes of working memory for the rows of a slab.
const SLAB: usize = 64 << 20;

/// `index_r = min {j : Σ_{j′≤j} w_ij′ > quantiles_r}` for r ∈ first_i..first_{i+1}.
pub fn sample_plan(
    cuda: &Cuda,
    product: Product<'_>,
    draws: Draws<'_, Cuda>,
    index: &mut Buffer<u32>,
) -> Result<(), BackendError> {
    let (Product { rows, columns, .. }, Draws { first, quantiles }) = (product, draws);
    // As many warps a row as it has draws on average.
    let turns = index.len().div_ceil(rows.n.max(1)).clamp(1, 1 << 15) as u32;
    let [m, d] = [columns.m, rows.d].map(|size| size as i32);
    let (points, packed) = (rows.points.at(), columns.packed.at());
    split_sums(cuda, product, SPLITS, |sums| {
        let Sums { first: row, rows: n, chunk, splits, at } = sums;
        let (x, first) = (points + (4 * row * d as usize) as Pointer, first.at() + 4 * row as Pointer);
        let shape = Shape { grid: [blocks(n, WARPS)?, turns, 1], block: [32 * WARPS as u32, 1, 1], shared: 0 };
        let [n, chunk, splits] = [n, chunk, splits].map(|size| size as i32);
        cuda.launch("sample_plan", shape, &[&x, &packed, &n, &m, &d, &at, &splits, &chunk, &first, quantiles, index])
    })
}

/// The `k` columns of largest logit of each row and these logits in nats, n × k.
pub fn top_k(
    cuda: &Cuda,
    rows: Rows<'_, Cuda>,
    columns: Columns<'_, Cuda>,
    k: usize,
    index: &mut Buffer<u32>,
    logit: &mut Buffer<f32>,
) -> Result<(), BackendError> {
    let (n, m, d, tiles) = (rows.n, columns.m, rows.d, columns.m.div_ceil(TILE));
    let some = tiles > k;
    // For each row of a slab the maximum of every tile, and the tiles chosen with their maxima; nothing where all tiles are.
    let row_bytes = if some { 4 * (tiles + 2 * k) } else { 0 };
    let slab = if some { (SLAB / row_bytes).next_multiple_of(TILE).min(n) } else { n };
    let scratch = cuda.scratch(row_bytes * slab)?;
    for first in (0..n).step_by(slab.max(1)) {
        let here = slab.min(n - first);
        let at = |from: Pointer, width: usize| from + (4 * first * width) as Pointer;
        let (x, index, logit) = (at(rows.points.at(), d), at(index.at(), k), at(logit.at(), k));
        let largest = scratch.at();
        let maxima = largest + (4 * tiles * slab) as Pointer;
        let chosen = maxima + (4 * k * slab) as Pointer;
        if some {
            let row_tiles = blocks(here, TILE)?;
            let (splits, run) = split_columns(row_tiles, m);
            let shape = Shape { grid: [row_tiles, splits, 1], block: [256, 1, 1], shared: 0 };
            let arguments: [&dyn Argument; 7] = [&x, &(here as u64), columns.packed, &(m as u64), &(d as u32), &run, &largest];
            cuda.launch("tile_maximum", shape, &arguments)?;
        }
        let shape = Shape { grid: [blocks(here, WARPS)?, 1, 1], block: [32 * WARPS as u32, 1, 1], shared: 0 };
        let [n, m, d, k, tiles] = [here, m, d, k, tiles].map(|size| size as i32);
        let points: [&dyn Argument; 6] = [&x, columns.packed, &n, &m, &d, &k];
        let rest: [&dyn Argument; 6] = [&largest, &tiles, &maxima, &chosen, &index, &logit];
        cuda.launch("top_k", shape, &[&points[..], &rest].concat())?;
    }
    Ok(())
}
