//! Lanes of every processor: arrays that the compiler maps to what it has. Multiplies and adds stay apart, since a fused
//! multiply-add without hardware would be a library call.

use std::ops::{Add, Div, Mul, Sub};

use super::{EXP2_F32, EXP2_F64, LEAST_EXPONENT, Lane, ROUND_F32, ROUND_F64, UNIT_EXPONENT, WEIGHT_F32, WEIGHT_F64, polynomial};
use crate::backend::Real;

/// N numbers, each operation on its own.
#[derive(Clone, Copy)]
pub struct Array<T, const N: usize>([T; N]);

/// What exponential, root and logarithm need to know of a number type.
pub trait Plain: Real + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> {
    /// exp2 on [−½, ½], coefficients of 1, x, x², ….
    const EXP2: &'static [Self];
    /// The same of a weight.
    const WEIGHT: &'static [Self];
    /// Adding it to a small number leaves the nearest integer in the low bits.
    const ROUND: Self;
    /// Exponent of infinity.
    const INFINITE: i32;
    /// self · 2^n, where the low bits of `shifted` hold n.
    fn scale(self, shifted: Self) -> Self;
    /// √self.
    fn root(self) -> Self;
    /// Mantissa in [1, 2) and exponent of a normal number.
    fn parts(self) -> (Self, Self);
}

impl Plain for f32 {
    const EXP2: &'static [f32] = &EXP2_F32;
    const WEIGHT: &'static [f32] = &WEIGHT_F32;
    const ROUND: f32 = ROUND_F32;
    const INFINITE: i32 = 128;
    #[inline(always)]
    fn scale(self, shifted: f32) -> f32 {
        f32::from_bits(self.to_bits().wrapping_add(shifted.to_bits() << 23))
    }
    #[inline(always)]
    fn root(self) -> f32 {
        self.sqrt()
    }
    #[inline(always)]
    fn parts(self) -> (f32, f32) {
        let bits = self.to_bits();
        (f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000), ((bits >> 23) as i32 - 127) as f32)
    }
}

impl Plain for f64 {
    const EXP2: &'static [f64] = &EXP2_F64;
    const WEIGHT: &'static [f64] = &WEIGHT_F64;
    const ROUND: f64 = ROUND_F64;
    const INFINITE: i32 = 1024;
    #[inline(always)]
    fn scale(self, shifted: f64) -> f64 {
        f64::from_bits(self.to_bits().wrapping_add(shifted.to_bits() << 52))
    }
    #[inline(always)]
    fn root(self) -> f64 {
        self.sqrt()
    }
    #[inline(always)]
    fn parts(self) -> (f64, f64) {
        let bits = self.to_bits();
        (f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000), ((bits >> 52) as i32 - 1023) as f64)
    }
}

impl<T: Plain, const N: usize> Array<T, N> {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(T, T) -> T) -> Self {
        Self(std::array::from_fn(|l| f(self.0[l], other.0[l])))
    }

    /// 2^self times what `coefficients` are scaled by, 2^`scale`.
    #[inline(always)]
    fn power(self, coefficients: &[T], scale: i32) -> Self {
        let exponent = |n: i32| Self::splat(T::from_f64(f64::from(n)));
        let (round, zero, least) = (Self::splat(T::ROUND), T::zeroed(), T::from_f64(f64::from(LEAST_EXPONENT)));
        // Bounded below as well: the compiler may compute with a power before zero takes its place, and it must not be denormal.
        let x = Self::splat(least).max(exponent(T::INFINITE - scale).min(self));
        let shifted = x.add(round);
        let power = polynomial(x.sub(shifted.sub(round)), coefficients).zip(shifted, T::scale);
        self.zip(power, |x, power| if x < least { zero } else { power })
    }
}

impl<T: Plain, const N: usize> Lane for Array<T, N> {
    type Elem = T;
    const N: usize = N;
    const REGISTERS: usize = 16;
    #[inline(always)]
    fn splat(x: T) -> Self {
        Self([x; N])
    }
    #[inline(always)]
    fn load(from: &[T]) -> Self {
        Self(std::array::from_fn(|l| from[l]))
    }
    #[inline(always)]
    fn store(self, to: &mut [T]) {
        to[..N].copy_from_slice(&self.0);
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |x, y| x + y)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |x, y| x - y)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |x, y| x * y)
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |x, y| x / y)
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        self.mul(b).add(c)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |x, y| if x > y { x } else { y })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |x, y| if x < y { x } else { y })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.map(T::root))
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        (Self(self.0.map(|x| x.parts().0)), Self(self.0.map(|x| x.parts().1)))
    }
    #[inline(always)]
    fn flush(self, least: Self) -> Self {
        self.zip(least, |x, least| if x < least && T::zeroed() - x < least { T::zeroed() } else { x })
    }
    #[inline(always)]
    fn any_less(self, other: Self) -> bool {
        self.0.iter().zip(&other.0).any(|(x, y)| x < y)
    }
    #[inline(always)]
    fn exp2(self) -> Self {
        self.power(T::EXP2, 0)
    }
    #[inline(always)]
    fn weight(self) -> Self {
        self.power(T::WEIGHT, UNIT_EXPONENT)
    }
}
