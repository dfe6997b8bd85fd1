//! A multilayer perceptron: a few vectors of rows go through all layers while they are in the first-level cache.
//!
//! Between the layers a state is features × rows. A tile of C outputs × R vectors of rows begins as the bias and takes one input after
//! the other, so that a row's sums have one order and its bits are its own; of W, packed once a call, the outputs of a tile lie side
//! by side, so that a product reads two streams. A tile's activations are taken while the next tile's products are under way.

use std::f64::consts::{FRAC_1_SQRT_2, LOG2_E};

use rayon::prelude::*;

use crate::backend::cpu::Cpu;
use crate::backend::cpu::lane::{Aligned, Isa, Kernel, Lane, Simd, both, steps, transpose};
use crate::backend::{Dense, Real, Rows};
use crate::program::{Activation, GELU_CUBE, GELU_TANH};

/// Rows of a task; a multiple of the rows of every tile.
const ROWS: usize = 64;
/// Outputs whose weights lie side by side; a multiple of every C below.
const PANEL: usize = 8;
/// Vectors of rows of a tile.
const R: usize = 2;

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

/// A layer's panels of [`PANEL`] outputs: their biases, then their weights of one input after the other; zeros beyond the last output.
struct Packed<T> {
    inputs: usize,
    outputs: usize,
    panels: Vec<T>,
}

impl<T: Simd> Packed<T> {
    fn new(layer: &Dense<'_, Cpu<T>>) -> Self {
        let outputs = layer.bias.len();
        let inputs = layer.weight.len() / outputs;
        let mut panels = vec![T::zeroed(); outputs.div_ceil(PANEL) * PANEL * (inputs + 1)];
        for (o, (row, &bias)) in layer.weight.chunks_exact(inputs).zip(layer.bias.iter()).enumerate() {
            let column = panels[o / PANEL * PANEL * (inputs + 1)..].iter_mut().skip(o % PANEL).step_by(PANEL);
            column.zip(std::iter::once(&bias).chain(row)).for_each(|(to, &from)| *to = from);
        }
        Self { inputs, outputs, panels }
    }

    /// `next ← a(W state + b)`, features × rows, with a the identity where there is no activation.
    #[inline(always)]
    fn apply<L: Lane<Elem = T>, const C: usize>(&self, activation: Option<Activation>, state: &[T], next: &mut [T]) {
        let width = R * L::N;
        for (t, panel) in self.panels.chunks_exact(PANEL * (self.inputs + 1)).enumerate() {
            for first in steps(0..PANEL.min(self.outputs - t * PANEL), C) {
                let out = &mut next[(t * PANEL + first) * width..][..C * width];
                tile::<L, C>(panel, first, &state[..self.inputs * width], out);
                if let Some(activation) = activation {
                    activate_all::<L>(activation, out);
                }
            }
        }
    }
}

/// Bias and products of the C outputs of `panel` from the `first`.
#[inline(always)]
fn tile<L: Lane, const C: usize>(panel: &[L::Elem], first: usize, state: &[L::Elem], out: &mut [L::Elem]) {
    let mut sums = [[L::splat(L::Elem::from_f64(0.0)); R]; C];
    let (bias, weights) = panel.split_at(PANEL);
    for c in 0..C {
        sums[c] = [L::splat(bias[first + c]); R];
    }
    for (x, w) in both(state.chunks_exact(R * L::N), weights.chunks_exact(PANEL)) {
        let w = &w[first..][..C];
        let mut rows = [L::splat(L::Elem::from_f64(0.0)); R];
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
        // R × C sums, R vectors of rows and a broadcast must fit the registers.
        if L::REGISTERS >= 32 { self.rows::<L, 8>() } else { self.rows::<L, 4>() }
    }
}

impl<T: Simd> Block<'_, T> {
    #[inline(always)]
    fn rows<L: Lane<Elem = T>, const C: usize>(self) {
        let Self { x, d, scale, layers, activation, out, states } = self;
        let (n, width, outputs) = (x.len() / d, R * L::N, layers[layers.len() - 1].outputs);
        let widest = layers.iter().fold(d, |most, layer| most.max(layer.outputs)).next_multiple_of(PANEL);
        let [state, next] = states;
        state.resize(widest * width);
        next.resize(widest * width);
        let (mut state, mut next) = (&mut state[..], &mut next[..]);
        for start in steps(0..n, width) {
            let rows = start..n.min(start + width);
            transpose(x, d, rows.clone(), width, &mut state[..d * width]);
            for x in &mut state[..d * width] {
                *x = T::from_f64(scale * x.to_f64());
            }
            for (k, layer) in layers.iter().enumerate() {
                layer.apply::<L, C>((k + 1 < layers.len()).then_some(activation), state, next);
                std::mem::swap(&mut state, &mut next);
            }
            for (row, l) in both(out[start * outputs..rows.end * outputs].chunks_exact_mut(outputs), 0..width) {
                for (k, out) in row.iter_mut().enumerate() {
                    *out = state[k * width + l];
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

/// The activation of whole vectors of values, one at a time; what is next to nothing is zero, so that no product of the next layer is
/// denormal.
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

#[inline(always)]
fn constant<L: Lane>(x: f64) -> L {
    L::splat(L::Elem::from_f64(x))
}
