//! Activations with their first two derivatives, in the lanes of the processor.
//!
//! ```text
//! a = x s(u)     a′ = s + x s(1 − s) u′     a″ = s(1 − s) (2u′ + x ((1 − 2s) u′² + u″))          s the logistic function
//! ```
//!
//! with u = x for SiLU and u = 2√(2/π)(x + 0.044715 x³) for GELU by tanh. What is next to nothing is zero, so that no product with it
//! is denormal.

use std::f64::consts::{FRAC_1_SQRT_2, LN_2, LOG2_E};

use crate::backend::Real;
use crate::backend::cpu::Isa;
use crate::backend::cpu::lane::{Kernel, Lane, Simd, constant, load_part, log2, steps, store_part};
use crate::program::{Activation, GELU_CUBE, GELU_TANH};

/// `z ← a(z)`, with a′(z) in `slopes` and a″(z) in `curves`, where that is not empty.
pub(super) fn activate<T: Simd>(activation: Activation, z: &mut [T], slopes: &mut [T], curves: &mut [T]) {
    if activation == Activation::Gelu && T::ROUNDING < GELU_ERROR {
        // The error function to all digits of double precision.
        for (i, z) in z.iter_mut().enumerate() {
            let x = z.to_f64();
            slopes[i] = flushed(activation.slope(x));
            if let Some(curve) = curves.get_mut(i) {
                *curve = flushed(activation.curvature(x));
            }
            *z = flushed(activation.value(x));
        }
        return;
    }
    T::dispatch(Isa::detect(), Derive { activation, z, slopes, curves });
}

fn flushed<T: Real>(x: f64) -> T {
    T::from_f64(if x.abs() < T::TINY { 0.0 } else { x })
}

struct Derive<'a, T> {
    activation: Activation,
    z: &'a mut [T],
    slopes: &'a mut [T],
    curves: &'a mut [T],
}

impl<T: Simd> Kernel<T> for Derive<'_, T> {
    #[inline(always)]
    fn run<L: Lane<Elem = T>>(self) {
        match self.activation {
            Activation::Relu => self.each::<L, RELU>(),
            Activation::Silu => self.each::<L, SILU>(),
            Activation::Tanh => self.each::<L, TANH>(),
            Activation::GeluTanh => self.each::<L, GELU_BY_TANH>(),
            Activation::Gelu => self.each::<L, GELU>(),
            Activation::Softplus => self.each::<L, SOFTPLUS>(),
        }
    }
}

impl<T: Simd> Derive<'_, T> {
    #[inline(always)]
    fn each<L: Lane<Elem = T>, const A: u8>(self) {
        let least = constant::<L>(T::TINY);
        for at in steps(0..self.z.len(), L::N) {
            let [value, slope, curve] = derived::<L, A>(load_part(&self.z[at..]));
            store_part(value.flush(least), &mut self.z[at..]);
            store_part(slope.flush(least), &mut self.slopes[at..]);
            if !self.curves.is_empty() {
                store_part(curve.flush(least), &mut self.curves[at..]);
            }
        }
    }
}

const RELU: u8 = 0;
const SILU: u8 = 1;
const TANH: u8 = 2;
const GELU_BY_TANH: u8 = 3;
const GELU: u8 = 4;
const SOFTPLUS: u8 = 5;

/// Of the error function's tail e^{z²} erfc(z) in 1/(1 + 0.3275911 z), z ≥ 0, from its first power (Abramowitz, Stegun 1964, 7.1.26).
const TAIL: [f64; 5] = [0.254_829_592, -0.284_496_736, 1.421_413_741, -1.453_152_027, 1.061_405_429];
/// A precision coarser than this loses nothing by an error of 1.5e-7 in erfc.
const GELU_ERROR: f64 = 1e-8;
/// Beyond it derivatives are those of the asymptotes, and no power is to overflow.
const FAR: f64 = 100.0;
/// A slope of a step from −1 to 1 that is one between any two numbers that matter.
const STEEP: f64 = 1e18;

/// a, a′ and a″.
#[inline(always)]
fn derived<L: Lane, const A: u8>(x: L) -> [L; 3] {
    let (zero, one) = (constant::<L>(0.0), constant::<L>(1.0));
    match A {
        RELU => [zero.max(x), x.mul(constant(STEEP)).max(zero).min(one), zero],
        TANH => {
            let [s, other] = logistic(x.add(x));
            let (t, slope) = (s.sub(other), constant::<L>(4.0).mul(s).mul(other));
            [t, slope, constant::<L>(-2.0).mul(t).mul(slope)]
        }
        SOFTPLUS => {
            let [s, other] = logistic(x);
            let size = x.max(zero.sub(x));
            let tail = log2(size.mul(constant(-LOG2_E)).exp2().add(one)).mul(constant(LN_2));
            [zero.max(x).add(tail), s, s.mul(other)]
        }
        GELU => {
            // Φ(−|x|) = ½ erfc(|x|/√2), and Φ(x) = ½ ± (½ − Φ(−|x|)).
            let near = x.max(constant(-FAR)).min(constant(FAR));
            let (size, square, half) = (near.max(zero.sub(near)), near.mul(near), constant::<L>(0.5));
            let t = one.div(size.mul_add(constant(0.327_591_1 * FRAC_1_SQRT_2), one));
            let mut tail = constant(TAIL[4]);
            for k in (0..4).rev() {
                tail = t.mul_add(tail, constant(TAIL[k]));
            }
            let bell = square.mul(constant(-0.5 * LOG2_E)).exp2();
            let below = half.mul(t.mul(tail)).mul(bell);
            let sign = x.mul(constant(STEEP)).max(constant(-1.0)).min(one);
            let phi = bell.mul(constant(1.0 / std::f64::consts::TAU.sqrt()));
            let slope = sign.mul_add(half.sub(below), half).add(near.mul(phi));
            [zero.max(x).sub(size.mul(below)), slope, phi.mul(constant::<L>(2.0).sub(square))]
        }
        _ => {
            let near = x.max(constant(-FAR)).min(constant(FAR));
            let (u, rise, bend) = if A == SILU {
                (x, one, zero)
            } else {
                let square = near.mul(near);
                let u = square.mul_add(constant(GELU_CUBE), one).mul(near).mul(constant(GELU_TANH));
                let rise = square.mul_add(constant(3.0 * GELU_CUBE), one).mul(constant(GELU_TANH));
                (u, rise, near.mul(constant(6.0 * GELU_CUBE * GELU_TANH)))
            };
            let [s, other] = logistic(u);
            let both = s.mul(other);
            let inner = other.sub(s).mul(rise).mul(rise).add(bend);
            [x.mul(s), near.mul(both).mul_add(rise, s), both.mul(near.mul_add(inner, rise.add(rise)))]
        }
    }
}

/// The logistic function s(u) and 1 − s(u), each to its own rounding.
#[inline(always)]
fn logistic<L: Lane>(u: L) -> [L; 2] {
    // In this order a NaN stays one; above 2^126 the inverse is denormal.
    let exp = constant::<L>(126.0).min(u.mul(constant(-LOG2_E))).exp2();
    let s = constant::<L>(1.0).div(exp.add(constant(1.0)));
    [s, exp.mul(s)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Activation; 6] =
        [Activation::Relu, Activation::Silu, Activation::Tanh, Activation::Gelu, Activation::GeluTanh, Activation::Softplus];

    fn all<T: Simd>(activation: Activation, x: &[f64]) -> [Vec<f64>; 3] {
        let mut z: Vec<T> = x.iter().map(|x| T::from_f64(*x)).collect();
        let (mut slopes, mut curves) = (z.clone(), z.clone());
        activate(activation, &mut z, &mut slopes, &mut curves);
        [z, slopes, curves].map(|values| values.iter().map(|x| x.to_f64()).collect())
    }

    /// The values are those of the functions in f64, in either precision to a few of its roundings, whatever the length.
    #[test]
    fn lanes_give_the_functions_and_their_derivatives() {
        let x: Vec<f64> = (-600..=601).map(|i| f64::from(i) * 0.0175 + 1e-4).collect();
        for activation in ALL {
            // In f32 terms of up to ten cancel in the curvature of GELU by tanh, and the error function is off by 1.5e-7.
            for (found, error) in [(all::<f64>(activation, &x), 2e-14), (all::<f32>(activation, &x), 5e-6)] {
                for (i, &x) in x.iter().enumerate() {
                    let exact = [activation.value(x), activation.slope(x), activation.curvature(x)];
                    for (found, exact) in found.iter().zip(exact) {
                        let off = (found[i] - exact).abs() / exact.abs().max(1.0);
                        assert!(off < error, "{activation:?} at {x}: {} {exact}", found[i]);
                    }
                }
            }
        }
    }

    /// Far out nothing overflows, and what is not a number stays so.
    #[test]
    fn far_values_are_finite_and_nan_stays() {
        for activation in ALL {
            for x in [-1e30, -1e4, 1e4, 1e30] {
                for found in [all::<f64>(activation, &[x]), all::<f32>(activation, &[x])] {
                    assert!(found.iter().all(|found| found[0].is_finite()), "{activation:?} at {x}: {found:?}");
                }
            }
            assert!(all::<f32>(activation, &[f64::NAN])[0][0].is_nan(), "{activation:?}");
        }
    }
}
