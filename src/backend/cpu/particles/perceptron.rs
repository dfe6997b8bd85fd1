//! A multilayer perceptron: a few vectors of rows go through all layers while they are in the first-level cache.
//!
//! Between the layers a state is features × rows, the order in which a product reads it. A tile of [`C`] outputs × [`R`] vectors
//! of rows begins as the biases and takes one input after the other, so that a row's sums have one order and its bits are its own.
//! The weights of a tile lie side by side, packed once a call. Its activations follow at once, and the processor starts the next
//! tile while they are under way.

use std::f64::consts::{FRAC_1_SQRT_2, LOG2_E};

use rayon::prelude::*;

use crate::backend::cpu::Cpu;
use crate::backend::cpu::lane::{Aligned, Isa, Kernel, Lane, Simd, both, constant, steps, transpose};
use crate::backend::{Dense, Real, Rows};
use crate::program::{Activation, GELU_CUBE, GELU_TANH};

/// Rows of a task; a multiple of the rows of every tile.
const ROWS: usize = 64;
/// Outputs of a tile…
const C: usize = 6;
/// …and its vectors of rows: 12 sums hide the latency of a multiply-add, and leave 4 of 16 registers for rows and a weight.
const R: usize = 2;
/// Bytes of a layer beyond which it leaves the second-level cache from one tile of rows to the next: a panel then meets all rows
/// of the task while it is at hand.
const LARGE: usize = 1 << 19;

/// `out = W_L a(… a(W_1 (s x) + b_1) …) + b_L`, n × outputs.
pub fn perceptron<T: Simd>(
    isa: Isa,
    rows: Rows<'_, Cpu<T>>,
    scale: f64,
    layers: &[Dense<'_, Cpu<T>>],
    activation: Activation,
    out: &mut [T],
) {
    let Rows { points: x, d, .. } = rows;
    let Some(last) = layers.last() else { return };
    let outputs = last.bias.len();
    let layers: Vec<Packed<T>> = layers.iter().map(Packed::new).collect();
    let tasks = out.par_chunks_mut(ROWS * outputs).zip(x.par_chunks(ROWS * d));
    tasks.for_each_init(
        || [Aligned::new(), Aligned::new()],
        |states, (out, x)| T::dispatch(isa, Block { x, d, scale, layers: &layers, activation, out, states }),
    );
}

/// A layer as one panel for each tile: the biases of its outputs, then their weights of one input after the other. Beyond the
/// last output are zeros.
struct Packed<T> {
    inputs: usize,
    outputs: usize,
    panels: Vec<T>,
}

impl<T: Simd> Packed<T> {
    fn new(layer: &Dense<'_, Cpu<T>>) -> Self {
        let outputs = layer.bias.len();
        let inputs = layer.weight.len() / outputs;
        let mut panels = vec![T::zeroed(); outputs.div_ceil(C) * C * (inputs + 1)];
        for (o, (row, bias)) in layer.weight.chunks_exact(inputs).zip(layer.bias.iter()).enumerate() {
            let column = panels[o / C * C * (inputs + 1)..].iter_mut().skip(o % C).step_by(C);
            column.zip(std::iter::once(bias).chain(row)).for_each(|(to, from)| *to = *from);
        }
        Self { inputs, outputs, panels }
    }

    /// `next ← a(W state + b)` for tiles of rows, `stride` numbers each; without an activation `next ← W state + b`.
    #[inline(always)]
    fn apply<L: Lane<Elem = T>>(&self, activation: Option<Activation>, stride: usize, state: &[T], next: &mut [T]) {
        let width = R * L::N;
        for (t, panel) in self.panels.chunks_exact(C * (self.inputs + 1)).enumerate() {
            for (state, next) in both(state.chunks_exact(stride), next.chunks_exact_mut(stride)) {
                let out = &mut next[t * C * width..][..C * width];
                tile::<L>(panel, &state[..self.inputs * width], out);
                if let Some(activation) = activation {
                    activate_all::<L>(activation, out);
                }
            }
        }
    }
}

/// Biases and products of one panel.
#[inline(always)]
fn tile<L: Lane>(panel: &[L::Elem], state: &[L::Elem], out: &mut [L::Elem]) {
    let zero = L::splat(L::Elem::from_f64(0.0));
    let (bias, weights) = panel.split_at(C);
    let mut sums = [[zero; R]; C];
    for c in 0..C {
        sums[c] = [L::splat(bias[c]); R];
    }
    for (x, w) in both(state.chunks_exact(R * L::N), weights.chunks_exact(C)) {
        let mut rows = [zero; R];
        for r in 0..R {
            rows[r] = L::load(&x[r * L::N..]);
        }
        for c in 0..C {
            let w = L::splat(w[c]);
            for r in 0..R {
                sums[c][r] = rows[r].mul_add(w, sums[c][r]);
            }
        }
    }
    // Written as they are: an activation here would keep the sums in memory throughout.
    for c in 0..C {
        for r in 0..R {
            sums[c][r].store(&mut out[(c * R + r) * L::N..]);
        }
    }
}

/// Rows of one task.
struct Block<'a, T> {
    x: &'a [T],
    d: usize,
    scale: f64,
    layers: &'a [Packed<T>],
    activation: Activation,
    out: &'a mut [T],
    states: &'a mut [Aligned<T>; 2],
}

impl<T: Simd> Kernel<T> for Block<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(self) {
        let Self { x, d, scale, layers, activation, out, states: [state, next] } = self;
        let (width, outputs) = (R * L::N, layers[layers.len() - 1].outputs);
        let (mut widest, mut largest) = (d, 0);
        for layer in layers {
            widest = widest.max(layer.outputs.next_multiple_of(C));
            largest = largest.max(size_of_val(&layer.panels[..]));
        }
        let (stride, rows) = (widest * width, if largest > LARGE { ROWS } else { width });
        for (x, out) in both(x.chunks(rows * d), out.chunks_mut(rows * outputs)) {
            let n = x.len() / d;
            let used = n.div_ceil(width) * stride;
            state.resize(used);
            next.resize(used);
            for (first, state) in both(steps(0..n, width), state.chunks_exact_mut(stride)) {
                let state = &mut state[..d * width];
                transpose(x, d, first..n.min(first + width), width, state);
                for x in state {
                    *x = T::from_f64(scale * x.to_f64());
                }
            }
            for (k, layer) in layers.iter().enumerate() {
                layer.apply::<L>((k + 1 < layers.len()).then_some(activation), stride, state, next);
                std::mem::swap(state, next);
            }
            for (i, row) in out.chunks_exact_mut(outputs).enumerate() {
                for (k, out) in row.iter_mut().enumerate() {
                    *out = state[i / width * stride + k * width + i % width];
                }
            }
        }
    }
}

/// The activation of every value, in place.
#[inline(always)]
fn activate_all<L: Lane>(activation: Activation, values: &mut [L::Elem]) {
    match activation {
        Activation::Relu => each::<L, RELU>(values),
        Activation::Silu => each::<L, SILU>(values),
        Activation::Tanh => each::<L, TANH>(values),
        Activation::GeluTanh => each::<L, GELU_BY_TANH>(values),
        Activation::Gelu if L::Elem::ROUNDING > GELU_ERROR => each::<L, GELU>(values),
        Activation::Gelu | Activation::Softplus => {
            for x in values {
                let value = activation.value(x.to_f64());
                *x = L::Elem::from_f64(if value.abs() < L::Elem::TINY { 0.0 } else { value });
            }
        }
    }
}

const RELU: u8 = 0;
const SILU: u8 = 1;
const TANH: u8 = 2;
const GELU_BY_TANH: u8 = 3;
const GELU: u8 = 4;

/// Of the error function's tail e^{z²} erfc(z) in 1/(1 + 0.3275911 z), z ≥ 0, from its first power (Abramowitz, Stegun 1964, 7.1.26).
const TAIL: [f64; 5] = [0.254_829_592, -0.284_496_736, 1.421_413_741, -1.453_152_027, 1.061_405_429];
/// A precision coarser than this loses nothing by an error of 1.5e-7 in erfc.
const GELU_ERROR: f64 = 1e-8;

/// The activation of whole vectors of values; what is next to nothing is zero, so that no product of the next layer is denormal.
#[inline(always)]
fn each<L: Lane, const A: u8>(values: &mut [L::Elem]) {
    let least = constant(L::Elem::TINY);
    for values in values.chunks_exact_mut(L::N) {
        activate::<L, A>(L::load(values)).flush(least).store(values);
    }
}

#[inline(always)]
fn activate<L: Lane, const A: u8>(x: L) -> L {
    match A {
        RELU => constant::<L>(0.0).max(x), // in this order a NaN stays one
        SILU => x.div(one_and_exp(x)),
        TANH => constant::<L>(2.0).div(one_and_exp(x.add(x))).sub(constant(1.0)),
        GELU => {
            // x Φ(x) = max(x, 0) − |x| Φ(−|x|)
            let size = x.max(constant::<L>(0.0).sub(x));
            let t = constant::<L>(1.0).div(size.mul_add(constant(0.327_591_1 * FRAC_1_SQRT_2), constant(1.0)));
            let mut tail = constant(TAIL[4]);
            for k in (0..4).rev() {
                tail = t.mul_add(tail, constant(TAIL[k]));
            }
            let bell = x.mul(x).mul(constant(-0.5 * LOG2_E)).exp2();
            constant::<L>(0.0).max(x).sub(size.mul(constant(0.5)).mul(t.mul(tail)).mul(bell))
        }
        _ => {
            let cubic = x.mul(x).mul_add(constant(GELU_CUBE), constant(1.0)).mul(x);
            x.div(one_and_exp(cubic.mul(constant(GELU_TANH))))
        }
    }
}

/// 1 + e^{−u}; above 2^126 its inverse is denormal.
#[inline(always)]
fn one_and_exp<L: Lane>(u: L) -> L {
    u.mul(constant(-LOG2_E)).min(constant(126.0)).exp2().add(constant(1.0))
}
