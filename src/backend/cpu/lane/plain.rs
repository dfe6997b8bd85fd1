//! Lanes of every processor: arrays that the compiler maps to what it has. Multiplies and adds stay apart, since a fused
//! multiply-add without hardware would be a library call.

use std::ops::{Add, Div, Mul, Sub};

use super::{EXP2_F32, EXP2_F64, Lane, ROUND_F32, ROUND_F64, polynomial};
use crate::backend::Real;

/// N numbers, each operation on its own.
#[derive(Clone, Copy)]
pub struct Array<T, const N: usize>([T; N]);

/// What exponential, root and logarithm need to know of a number type.
pub trait Plain: Real + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> {
    /// exp2 on [−½, ½], coefficients of x, x², ….
    const EXP2: &'static [Self];
    /// Adding it to a small number leaves the nearest integer in the low bits.
    const ROUND: Self;
    /// Exponents of the smallest normal number and of infinity.
    const EXPONENTS: (Self, Self);
    /// self · 2^n, where the low bits of `shifted` hold n.
    fn scale(self, shifted: Self) -> Self;
    /// √self.
    fn root(self) -> Self;
    /// Mantissa in [1, 2) and exponent of a normal number.
    fn parts(self) -> (Self, Self);
}

impl Plain for f32 {
    const EXP2: &'static [f32] = &EXP2_F32;
    const ROUND: f32 = ROUND_F32;
    const EXPONENTS: (f32, f32) = (-126.0, 128.0);
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
    const ROUND: f64 = ROUND_F64;
    const EXPONENTS: (f64, f64) = (-1022.0, 1024.0);
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
    fn exp2(self) -> Self {
        let (low, high) = T::EXPONENTS;
        let (x, round) = (self.max(Self::splat(low)).min(Self::splat(high)), Self::splat(T::ROUND));
        let shifted = x.add(round);
        polynomial(x.sub(shifted.sub(round)), T::EXP2).zip(shifted, T::scale)
    }
}
