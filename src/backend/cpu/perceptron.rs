//! A multilayer perceptron: a block of rows goes through all layers while it is in the cache.
//!
//! The products are those of `matrixmultiply`, whose sums run over k in blocks of a fixed size whatever the number of rows; so
//! row i does not depend on its neighbours. It chooses its own instruction set.

use std::f64::consts::LOG2_E;

use rayon::prelude::*;

use crate::backend::Real;
use crate::backend::cpu::lane::{Isa, Kernel, Lane, Simd};
use crate::field::network::{Activation, GELU_CUBE, GELU_TANH};

/// Rows of a block: enough to repay packing a layer's weights.
const ROWS: usize = 256;

/// One layer: W row-major, outputs × inputs, and b.
pub struct Layer<'a, T> {
    /// W.
    pub weight: &'a [T],
    /// b.
    pub bias: &'a [T],
}

/// A precision with a matrix product.
pub trait Gemm: Sized {
    /// C ← s A Bᵀ + C with A m × k, B n × k and C m × n, all row-major.
    fn gemm(k: usize, s: Self, a: &[Self], b: &[Self], c: &mut [Self]);
}

/// m and n of the product, when the slices are as long as they must be.
fn sizes<T>(k: usize, a: &[T], b: &[T], c: &[T]) -> (usize, usize) {
    let (m, n) = (a.len() / k, b.len() / k);
    assert!(a.len() == m * k && b.len() == n * k && c.len() == m * n, "the matrices of a product do not fit");
    (m, n)
}

impl Gemm for f32 {
    fn gemm(k: usize, s: f32, a: &[f32], b: &[f32], c: &mut [f32]) {
        let (m, n) = sizes(k, a, b, c);
        // SAFETY: `sizes` has checked that the strides stay within the slices.
        unsafe {
            matrixmultiply::sgemm(
                m,
                k,
                n,
                s,
                a.as_ptr(),
                k as isize,
                1,
                b.as_ptr(),
                1,
                k as isize,
                1.0,
                c.as_mut_ptr(),
                n as isize,
                1,
            );
        }
    }
}

impl Gemm for f64 {
    fn gemm(k: usize, s: f64, a: &[f64], b: &[f64], c: &mut [f64]) {
        let (m, n) = sizes(k, a, b, c);
        // SAFETY: `sizes` has checked that the strides stay within the slices.
        unsafe {
            matrixmultiply::dgemm(
                m,
                k,
                n,
                s,
                a.as_ptr(),
                k as isize,
                1,
                b.as_ptr(),
                1,
                k as isize,
                1.0,
                c.as_mut_ptr(),
                n as isize,
                1,
            );
        }
    }
}

/// `out = W_L a(… a(W_1 (s x) + b_1) …) + b_L`, n × outputs.
pub fn perceptron<T: Simd>(isa: Isa, x: &[T], d: usize, s: f64, layers: &[Layer<'_, T>], activation: Activation, out: &mut [T]) {
    let Some((last, hidden)) = layers.split_last() else { return };
    let blocks = out.par_chunks_mut(ROWS * last.bias.len()).zip(x.par_chunks(ROWS * d));
    blocks.for_each_init(
        || (Vec::new(), Vec::new()),
        |(state, next), (out, x)| {
            let (mut s, mut width) = (T::from_f64(s), d);
            for (k, layer) in hidden.iter().enumerate() {
                next.clear();
                (0..x.len() / d).for_each(|_| next.extend_from_slice(layer.bias));
                T::gemm(width, s, if k == 0 { x } else { &state[..] }, layer.weight, next);
                T::dispatch(isa, Activate { activation, values: next });
                std::mem::swap(state, next);
                (s, width) = (T::from_f64(1.0), layer.bias.len());
            }
            out.chunks_exact_mut(last.bias.len()).for_each(|row| row.copy_from_slice(last.bias));
            T::gemm(width, s, if hidden.is_empty() { x } else { &state[..] }, last.weight, out);
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
        let constant = |x: f64| L::splat(T::from_f64(x));
        let (zero, one) = (constant(0.0), constant(1.0));
        // 1 + e^{−u}; above 2^126 its inverse is zero but for a denormal.
        let one_and_exp = |u: L| u.mul(constant(-LOG2_E)).min(constant(126.0)).exp2().add(one);
        match activation {
            Activation::Relu => each(values, |x: L| zero.max(x)), // in this order a NaN stays one
            Activation::Silu => each(values, |x: L| x.div(one_and_exp(x))),
            Activation::Tanh => each(values, |x: L| constant(2.0).div(one_and_exp(x.add(x))).sub(one)),
            Activation::GeluTanh => each(values, |x: L| {
                let cubic = x.mul(x).mul_add(constant(GELU_CUBE), one).mul(x);
                x.div(one_and_exp(cubic.mul(constant(GELU_TANH))))
            }),
            Activation::Gelu | Activation::Softplus => {
                values.iter_mut().for_each(|x| *x = T::from_f64(activation.value(x.to_f64())));
            }
        }
    }
}

/// `x ← f(x)`, a vector at a time.
#[inline(always)]
fn each<L: Lane>(values: &mut [L::Elem], f: impl Fn(L) -> L) {
    let mut chunks = values.chunks_exact_mut(L::N);
    for chunk in &mut chunks {
        f(L::load(chunk)).store(chunk);
    }
    let rest = chunks.into_remainder();
    let mut lanes = [L::Elem::from_f64(0.0); 16];
    lanes[..rest.len()].copy_from_slice(rest);
    f(L::load(&lanes)).store(&mut lanes);
    rest.copy_from_slice(&lanes[..rest.len()]);
}
