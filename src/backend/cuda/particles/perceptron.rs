//! Launches `kernels/perceptron.cu`, layer after layer for slabs of rows whose states stay in the second-level cache.

use crate::backend::cuda::launcher::{Argument, Pointer, Shape, blocks};
use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{BackendError, Dense, Rows};
use crate::program::Activation;

/// Rows and outputs of a block, as in the kernel file.
const ROWS: usize = 128;
const OUTPUTS: usize = 64;
/// Bytes of a slab's widest state; there are two, the layer's inputs and its outputs.
const SLAB: usize = 12 << 20;

/// Number of the activation in the kernel file, where 0 is none.
fn number(activation: Activation) -> i32 {
    match activation {
        Activation::Relu => 1,
        Activation::Silu => 2,
        Activation::Tanh => 3,
        Activation::Gelu => 4,
        Activation::GeluTanh => 5,
        Activation::Softplus => 6,
    }
}

/// `out = W_L a(… a(W_1 (s x) + b_1) …) + b_L`, n × outputs.
pub fn perceptron(
    cuda: &Cuda,
    rows: Rows<'_, Cuda>,
    scale: f64,
    layers: &[Dense<'_, Cuda>],
    activation: Activation,
    out: &mut Buffer<f32>,
) -> Result<(), BackendError> {
    let Some((last, hidden)) = layers.split_last() else { return Ok(()) };
    let widest = hidden.iter().map(|layer| layer.bias.len()).max().unwrap_or(0);
    let slab = (SLAB / (4 * widest.max(1))).next_multiple_of(ROWS).min(rows.n.next_multiple_of(ROWS));
    let state = 4 * widest * slab;
    let scratch = cuda.scratch(2 * state)?;
    for first in (0..rows.n).step_by(slab.max(1)) {
        let n = slab.min(rows.n - first);
        let behind = |at: Pointer, width: usize| at + (4 * first * width) as Pointer;
        let (mut from, mut inputs, mut scale) = (behind(rows.points.at(), rows.d), rows.d, scale as f32);
        for (layer, turn) in layers.iter().zip([0, state].into_iter().cycle()) {
            let outputs = layer.bias.len();
            let (kind, to) = match std::ptr::eq(layer, last) {
                true => (0, behind(out.at(), outputs)),
                false => (number(activation), scratch.at() + turn as Pointer),
            };
            let grid = [blocks(n, ROWS)?, outputs.div_ceil(OUTPUTS) as u32, 1];
            let shape = Shape { grid, block: [128, 1, 1], shared: 0 };
            let sizes = [n, inputs, outputs].map(|size| size as i32);
            let arguments: [&dyn Argument; 9] =
                [&from, layer.weight, layer.bias, &scale, &kind, &to, &sizes[0], &sizes[1], &sizes[2]];
            cuda.launch("perceptron_layer", shape, &arguments)?;
            (from, inputs, scale) = (to, outputs, 1.0);
        }
    }
    Ok(())
}
