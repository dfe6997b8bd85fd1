//! A multilayer perceptron: a block of rows goes through all layers while it is in the cache.

use std::f64::consts::{FRAC_1_SQRT_2, LOG2_E};

use rayon::prelude::*;

use crate::backend::cpu::Cpu;
use crate::backend::cpu::gemm::{Matrix, gemm};
use crate::backend::cpu::lane::{Isa, Kernel, Lane, Simd};
use crate::backend::{Dense, Real, Rows};
use crate::program::{Activation, GELU_CUBE, GELU_TANH};

/// Numbers of the widest layer in a block: with those of the layer before, they stay in the second-level cache.
const BLOCK: usize = 1 << 16;
/// Most rows of a block, so that there are blocks for every thread; they repay packing a layer's weights many times.
const ROWS: usize = 512;

/// C ← W X + C with W m × k row-major; X is k × n and C m × n, row-major or, where so said, their transposes.
fn product<T: Simd>(n: usize, w: &[T], (x, x_transposed): (&[T], bool), (c, c_transposed): (&mut [T], bool)) {
    let (m, k) = (c.len() / n, x.len() / n);
    let strides = |transposed, rows, columns| if transposed { [1, rows] } else { [columns, 1] };
    let (x, c) = (Matrix(x, strides(x_transposed, k, n)), Matrix(c, strides(c_transposed, m, n)));
    gemm([m, k, n], Matrix(w, [k, 1]), x, T::ONE, c);
}

/// `out = W_L a(… a(W_1 (s x) + b_1) …) + b_L`, n × outputs. Between the layers a state is transposed, features × rows, so that
/// the product finds it in the order in which it wants it.
pub fn perceptron<T: Simd>(
    isa: Isa,
    rows: Rows<'_, Cpu<T>>,
    s: f64,
    layers: &[Dense<'_, Cpu<T>>],
    activation: Activation,
    out: &mut [T],
) {
    let Rows { points: x, d, .. } = rows;
    let Some((last, hidden)) = layers.split_last() else { return };
    let widest = hidden.iter().map(|layer| layer.bias.len()).max().unwrap_or(d);
    let block = (BLOCK / widest).clamp(16, ROWS);
    let blocks = out.par_chunks_mut(block * last.bias.len()).zip(x.par_chunks(block * d));
    blocks.for_each_init(
        || (Vec::new(), Vec::new()),
        |(state, next), (out, x)| {
            let n = x.len() / d;
            state.clear();
            state.extend(x.iter().map(|x| T::from_f64(s * x.to_f64())));
            let mut transposed = true;
            for layer in hidden {
                next.clear();
                layer.bias.iter().for_each(|&b| next.extend(std::iter::repeat_n(b, n)));
                product(n, layer.weight, (state, transposed), (next, false));
                T::dispatch(isa, Activate { activation, values: next });
                std::mem::swap(state, next);
                transposed = false;
            }
            out.chunks_exact_mut(last.bias.len()).for_each(|row| row.copy_from_slice(last.bias));
            product(n, last.weight, (state, transposed), (out, true));
        },
    );
}

/// The activation of every value, in place.
struct Activate<'a, T> {
    activation: Activation,
    values: &'a mut [T],
}

impl<T: Simd> Kernel<T> for Activate<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(self) {
        let Self { activation, values } = self;
        match activation {
            Activation::Relu => each::<L, RELU>(values),
            Activation::Silu => each::<L, SILU>(values),
            Activation::Tanh => each::<L, TANH>(values),
            Activation::GeluTanh => each::<L, GELU_BY_TANH>(values),
            Activation::Gelu if T::ROUNDING > GELU_ERROR => each::<L, GELU>(values),
            Activation::Gelu | Activation::Softplus => {
                for x in values {
                    let value = activation.value(x.to_f64());
                    *x = T::from_f64(if value.abs() < T::TINY { 0.0 } else { value });
                }
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

/// The activation of every value, a vector at a time; what is next to nothing is zero, so that no product of the next layer is
/// denormal.
#[inline(always)]
fn each<L: Lane, const A: u8>(values: &mut [L::Elem]) {
    let least = constant(L::Elem::TINY);
    let mut chunks = values.chunks_exact_mut(L::N);
    for chunk in &mut chunks {
        activate::<L, A>(L::load(chunk)).flush(least).store(chunk);
    }
    let rest = chunks.into_remainder();
    let mut lanes = [L::Elem::from_f64(0.0); 16];
    lanes[..rest.len()].copy_from_slice(rest);
    activate::<L, A>(L::load(&lanes)).flush(least).store(&mut lanes);
    rest.copy_from_slice(&lanes[..rest.len()]);
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
