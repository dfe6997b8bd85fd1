//! Lanes: the few vector operations the kernels are written in, for each instruction set and precision.
//!
//! A [`Kernel`] is written once, generic over [`Lane`]; [`Simd::dispatch`] instantiates it inside a function that has the
//! instruction set switched on, so every operation below becomes one instruction.

mod line;
mod plain;
mod walk;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::f64::consts::{LOG2_E, SQRT_2};
use std::ops::Range;

use crate::backend::Real;
use crate::backend::cpu::gemm::Gemm;

pub use line::Aligned;
pub use walk::{both, copy, steps};

/// An instruction set of the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What every processor of the architecture has; multiplies and adds are separate.
    Plain,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512.
    Avx512,
}

impl Isa {
    /// All instruction sets, narrowest first.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Avx2, Self::Avx512];

    /// The widest instruction set this processor has.
    pub fn detect() -> Self {
        Self::ALL.into_iter().rfind(|isa| isa.is_available()).unwrap_or(Self::Plain)
    }

    /// Whether this processor has the instruction set.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return match self {
            Self::Plain => true,
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
            }
        };
        #[cfg(not(target_arch = "x86_64"))]
        return self == Self::Plain;
    }
}

/// A vector of [`Lane::N`] numbers of one instruction set.
///
/// Values exist only inside functions for which the instruction set is switched on; that is what makes the methods sound.
pub trait Lane: Copy {
    /// The number type.
    type Elem: Real;
    /// Lanes in the vector.
    const N: usize;
    /// Vector registers of the instruction set.
    const REGISTERS: usize;
    /// `x` in every lane.
    fn splat(x: Self::Elem) -> Self;
    /// The first N numbers of `from`.
    fn load(from: &[Self::Elem]) -> Self;
    /// Writes the lanes to the first N places of `to`.
    fn store(self, to: &mut [Self::Elem]);
    /// self + other.
    fn add(self, other: Self) -> Self;
    /// self − other.
    fn sub(self, other: Self) -> Self;
    /// self · other.
    fn mul(self, other: Self) -> Self;
    /// self / other.
    fn div(self, other: Self) -> Self;
    /// self · b + c; fused where the instruction set has it.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// The larger of each pair.
    fn max(self, other: Self) -> Self;
    /// The smaller of each pair.
    fn min(self, other: Self) -> Self;
    /// √self.
    fn sqrt(self) -> Self;
    /// Mantissas in [1, 2) and exponents of normal numbers.
    fn split(self) -> (Self, Self);
    /// Zero where |self| < `least`, else self; NaN stays.
    fn flush(self, least: Self) -> Self;
    /// Whether any lane is less than that of `other`.
    fn any_less(self, other: Self) -> bool;
    /// 2^self, and exactly zero below 2^−100; NaN stays.
    fn exp2(self) -> Self;
    /// [`UNIT`] · 2^self, and exactly zero where 2^self is below 2^−100; NaN stays.
    fn weight(self) -> Self;
}

/// What a softmax weight of one is held as, 2⁴⁰.
///
/// Weights below 2⁻¹⁰⁰ of a row's shift are zero, so a weight is held as zero or as 2⁻⁶⁰ or more, and its product with a value
/// from [`Real::TINY`] on is a normal number in either precision; a denormal would cost an Intel core some 150 cycles. Of m weights
/// the zeros lose at most m 2⁻¹⁰⁰ of the sum where the shift is the largest logit, and m 2⁻⁸⁰ where the sum is in the range
/// in which a stale shift is kept: less than a rounding of f64 for m ≤ 2²⁷.
pub const UNIT: f64 = 1_099_511_627_776.0;
/// Exponent below which a power of two is taken for zero.
const LEAST_EXPONENT: i32 = -100;
/// Exponent of [`UNIT`].
const UNIT_EXPONENT: i32 = 40;

/// exp2 on [−½, ½], coefficients of 1, x, x², …: relative error 9e-8.
#[allow(clippy::approx_constant)] // the best polynomial, not the Taylor series: the coefficient of x is only near log 2
const EXP2_F32: [f32; 6] = [1.0, 0.693_147, 0.240_222_42, 0.055_507_336, 0.009_671_513, 0.001_326_472_7];
/// exp2 on [−½, ½]: relative error 4e-16 before rounding.
const EXP2_F64: [f64; 11] = [
    1.0,
    0.693_147_180_559_950_2,
    0.240_226_506_959_085_6,
    0.055_504_108_664_439_1,
    0.009_618_129_108_198_21,
    0.001_333_355_823_156_606_7,
    0.000_154_035_297_320_515_7,
    1.525_265_645_585_961e-5,
    1.321_577_798_924_032e-6,
    1.020_883_997_190_566_4e-7,
    7.018_049_036_876_25e-9,
];
/// The same times [`UNIT`], so that the scale costs nothing and changes no other bit.
const WEIGHT_F32: [f32; 6] = {
    let (mut scaled, mut k) = (EXP2_F32, 0);
    while k < scaled.len() {
        scaled[k] *= UNIT as f32;
        k += 1;
    }
    scaled
};
const WEIGHT_F64: [f64; 11] = {
    let (mut scaled, mut k) = (EXP2_F64, 0);
    while k < scaled.len() {
        scaled[k] *= UNIT;
        k += 1;
    }
    scaled
};
/// Adding 1.5·2²³ to a small f32 leaves its nearest integer in the low bits.
const ROUND_F32: f32 = 12_582_912.0;
/// Adding 1.5·2⁵² to a small f64 leaves its nearest integer in the low bits.
const ROUND_F64: f64 = 6_755_399_441_055_744.0;

/// Σ c_k x^k of `coefficients` c_0, c_1, ….
#[inline(always)]
fn polynomial<L: Lane>(x: L, coefficients: &[L::Elem]) -> L {
    let mut p = L::splat(coefficients[coefficients.len() - 1]);
    for &c in coefficients.iter().rev().skip(1) {
        p = p.mul_add(x, L::splat(c));
    }
    p
}

/// log₂ x of a normal number, off by a rounding of the larger of 1 and itself: with m ∈ [1, 2) and t = (m − √2)/(m + √2) it is the
/// exponent + ½ + (2/ln 2) artanh t.
#[inline(always)]
pub fn log2<L: Lane>(x: L) -> L {
    let constant = |x: f64| L::splat(L::Elem::from_f64(x));
    // |t| < 0.172: the terms left out are below 2e-9 and 1e-18.
    let terms = if L::Elem::ROUNDING > 1e-10 { 5 } else { 11 };
    let (mantissa, exponent) = x.split();
    let t = mantissa.sub(constant(SQRT_2)).div(mantissa.add(constant(SQRT_2)));
    let square = t.mul(t);
    let mut series = constant(0.0);
    for k in (0..terms).rev() {
        series = series.mul_add(square, constant(2.0 * LOG2_E / f64::from(2 * k + 1)));
    }
    t.mul_add(series, exponent.add(constant(0.5)))
}

/// Rows of the row-major n × `d` matrix `x` in lanes: coordinate k of the l-th of `rows` goes to `out[k · width + l]`; lanes
/// beyond the last row repeat it.
#[inline(always)]
pub fn transpose<T: Real>(x: &[T], d: usize, rows: Range<usize>, width: usize, out: &mut [T]) {
    for (k, lanes) in out.chunks_exact_mut(width).enumerate() {
        for (l, lane) in lanes.iter_mut().enumerate() {
            *lane = x[(rows.start + l).min(rows.end - 1) * d + k];
        }
    }
}

/// x in every lane.
#[inline(always)]
pub fn constant<L: Lane>(x: f64) -> L {
    L::splat(L::Elem::from_f64(x))
}

/// The first N numbers of `from`, and zeros beyond its end.
#[inline(always)]
pub fn load_part<L: Lane>(from: &[L::Elem]) -> L {
    if from.len() >= L::N {
        return L::load(from);
    }
    let mut padded = [L::Elem::from_f64(0.0); WIDEST];
    for (i, from) in from.iter().enumerate() {
        padded[i] = *from;
    }
    L::load(&padded)
}

/// Writes the lanes to the first N places of `to`, as far as it goes.
#[inline(always)]
pub fn store_part<L: Lane>(lanes: L, to: &mut [L::Elem]) {
    if to.len() >= L::N {
        return lanes.store(to);
    }
    let mut padded = [L::Elem::from_f64(0.0); WIDEST];
    lanes.store(&mut padded);
    for (i, to) in to.iter_mut().enumerate() {
        *to = padded[i];
    }
}

/// Lanes of the widest vector.
const WIDEST: usize = 16;

/// Two vectors as one: independent chains of operations that hide each other's latency.
#[derive(Clone, Copy)]
pub struct Twice<L>(L, L);

impl<L: Lane> Lane for Twice<L> {
    type Elem = L::Elem;
    const N: usize = 2 * L::N;
    const REGISTERS: usize = L::REGISTERS / 2;
    #[inline(always)]
    fn splat(x: L::Elem) -> Self {
        Self(L::splat(x), L::splat(x))
    }
    #[inline(always)]
    fn load(from: &[L::Elem]) -> Self {
        Self(L::load(from), L::load(&from[L::N..]))
    }
    #[inline(always)]
    fn store(self, to: &mut [L::Elem]) {
        self.0.store(to);
        self.1.store(&mut to[L::N..]);
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0.add(other.0), self.1.add(other.1))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0.sub(other.0), self.1.sub(other.1))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(self.0.mul(other.0), self.1.mul(other.1))
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(self.0.div(other.0), self.1.div(other.1))
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(self.0.mul_add(b.0, c.0), self.1.mul_add(b.1, c.1))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(self.0.max(other.0), self.1.max(other.1))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(self.0.min(other.0), self.1.min(other.1))
    }
    #[inline(always)]
    fn flush(self, least: Self) -> Self {
        Self(self.0.flush(least.0), self.1.flush(least.1))
    }
    #[inline(always)]
    fn any_less(self, other: Self) -> bool {
        self.0.any_less(other.0) || self.1.any_less(other.1)
    }
    #[inline(always)]
    fn exp2(self) -> Self {
        Self(self.0.exp2(), self.1.exp2())
    }
    #[inline(always)]
    fn weight(self) -> Self {
        Self(self.0.weight(), self.1.weight())
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.sqrt(), self.1.sqrt())
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        let ((m0, e0), (m1, e1)) = (self.0.split(), self.1.split());
        (Self(m0, m1), Self(e0, e1))
    }
}

/// A piece of work on lanes; `run`, and all that it calls of lanes, must be `#[inline(always)]`, and no closure may touch a lane:
/// those given to `all`, `map` or `map_or` are not always inlined, and then are compiled without the instruction set, so that each
/// operation is a call and what it shares with the loop around it lives in memory.
pub trait Kernel<T> {
    /// Does the work with lanes `L`.
    fn run<L: Lane<Elem = T>>(self);
}

/// A precision whose kernels are compiled for every instruction set.
pub trait Simd: Real + Gemm {
    /// Runs `kernel` with the lanes of `isa`.
    fn dispatch<K: Kernel<Self>>(isa: Isa, kernel: K);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn avx512<L: Lane, K: Kernel<L::Elem>>(kernel: K) {
    kernel.run::<L>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<L: Lane, K: Kernel<L::Elem>>(kernel: K) {
    kernel.run::<L>();
}

impl Simd for f32 {
    fn dispatch<K: Kernel<f32>>(isa: Isa, kernel: K) {
        match isa {
            // SAFETY: a `Cpu` holds only an instruction set that is available.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::<x86::F32x16, K>(kernel) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2::<x86::F32x8, K>(kernel) },
            _ => kernel.run::<plain::Array<f32, 4>>(),
        }
    }
}

impl Simd for f64 {
    fn dispatch<K: Kernel<f64>>(isa: Isa, kernel: K) {
        match isa {
            // SAFETY: as for f32.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::<x86::F64x8, K>(kernel) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2::<x86::F64x4, K>(kernel) },
            _ => kernel.run::<plain::Array<f64, 2>>(),
        }
    }
}
