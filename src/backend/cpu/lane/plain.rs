//! Lanes of every processor: arrays that the compiler maps to what it has. Multiplies and adds stay apart, since a fused
//! multiply-add without hardware would be a library call.

use super::{EXP2_F32, EXP2_F64, Lane, ROUND_F32, ROUND_F64, polynomial};

/// 4 × f32, each operation on its own.
#[derive(Clone, Copy)]
pub struct F32x4([f32; 4]);
/// 2 × f64, each operation on its own.
#[derive(Clone, Copy)]
pub struct F64x2([f64; 2]);

impl Lane for F32x4 {
    type Elem = f32;
    const N: usize = 4;
    const REGISTERS: usize = 16;
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; 4])
    }
    #[inline(always)]
    fn load(from: &[f32]) -> Self {
        Self(std::array::from_fn(|l| from[l]))
    }
    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        to[..4].copy_from_slice(&self.0);
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|l| self.0[l] + other.0[l]))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(std::array::from_fn(|l| self.0[l] - other.0[l]))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(std::array::from_fn(|l| self.0[l] * other.0[l]))
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(std::array::from_fn(|l| self.0[l] / other.0[l]))
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        self.mul(b).add(c)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(std::array::from_fn(|l| if self.0[l] > other.0[l] { self.0[l] } else { other.0[l] }))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(std::array::from_fn(|l| if self.0[l] < other.0[l] { self.0[l] } else { other.0[l] }))
    }
    #[inline(always)]
    fn exp2(self) -> Self {
        let x = self.max(Self::splat(-126.0)).min(Self::splat(128.0));
        let shifted = x.add(Self::splat(ROUND_F32));
        let p = polynomial(x.sub(shifted.sub(Self::splat(ROUND_F32))), &EXP2_F32);
        Self(std::array::from_fn(|l| f32::from_bits(p.0[l].to_bits().wrapping_add(shifted.0[l].to_bits() << 23))))
    }
}

impl Lane for F64x2 {
    type Elem = f64;
    const N: usize = 2;
    const REGISTERS: usize = 16;
    #[inline(always)]
    fn splat(x: f64) -> Self {
        Self([x; 2])
    }
    #[inline(always)]
    fn load(from: &[f64]) -> Self {
        Self(std::array::from_fn(|l| from[l]))
    }
    #[inline(always)]
    fn store(self, to: &mut [f64]) {
        to[..2].copy_from_slice(&self.0);
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|l| self.0[l] + other.0[l]))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(std::array::from_fn(|l| self.0[l] - other.0[l]))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(std::array::from_fn(|l| self.0[l] * other.0[l]))
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(std::array::from_fn(|l| self.0[l] / other.0[l]))
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        self.mul(b).add(c)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(std::array::from_fn(|l| if self.0[l] > other.0[l] { self.0[l] } else { other.0[l] }))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(std::array::from_fn(|l| if self.0[l] < other.0[l] { self.0[l] } else { other.0[l] }))
    }
    #[inline(always)]
    fn exp2(self) -> Self {
        let x = self.max(Self::splat(-1022.0)).min(Self::splat(1024.0));
        let shifted = x.add(Self::splat(ROUND_F64));
        let p = polynomial(x.sub(shifted.sub(Self::splat(ROUND_F64))), &EXP2_F64);
        Self(std::array::from_fn(|l| f64::from_bits(p.0[l].to_bits().wrapping_add(shifted.0[l].to_bits() << 52))))
    }
}
