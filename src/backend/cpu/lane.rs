//! Lanes: the few vector operations the kernels are written in, for each instruction set and precision.
//!
//! A kernel is one `#[inline(always)]` function generic over [`Lane`]; [`Simd`] instantiates it inside a function that has the
//! instruction set switched on, so every operation below becomes one instruction. Rows lie in the lanes.

use std::ops::Range;

use crate::backend::cpu::{interpret, soft_min};
use crate::backend::{Noise, Real};
use crate::field::MixtureProgram;

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
            Self::Avx512 => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        };
        #[cfg(not(target_arch = "x86_64"))]
        return self == Self::Plain;
    }

    /// Runs `work`, an `#[inline(always)]` closure of scalar code, with the instruction set switched on for the compiler.
    #[inline(always)]
    pub fn with_fma<R>(self, work: impl FnOnce() -> R) -> R {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx512f,avx2,fma")]
            fn avx512<R>(work: impl FnOnce() -> R) -> R {
                work()
            }
            #[target_feature(enable = "avx2,fma")]
            fn avx2<R>(work: impl FnOnce() -> R) -> R {
                work()
            }
            match self {
                Self::Plain => work(),
                // SAFETY: a `Cpu` holds only instruction sets that `is_available`.
                Self::Avx2 => unsafe { avx2(work) },
                // SAFETY: as above.
                Self::Avx512 => unsafe { avx512(work) },
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        work()
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
    /// 2^self for self ≤ 1, clamped below at the smallest normal number: denormals would cost a factor of 26.
    fn exp2(self) -> Self;
}

/// exp2 on [−½, ½], coefficients of x, x², …: relative error 9e-8.
const EXP2_F32: [f32; 5] = [0.693_147, 0.240_222_42, 0.055_507_336, 0.009_671_513, 0.001_326_472_7];
/// exp2 on [−½, ½]: relative error 4e-16 before rounding.
const EXP2_F64: [f64; 10] = [
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
/// Adding 1.5·2²³ to a small f32 leaves its nearest integer in the low bits.
const ROUND_F32: f32 = 12_582_912.0;
/// Adding 1.5·2⁵² to a small f64 leaves its nearest integer in the low bits.
const ROUND_F64: f64 = 6_755_399_441_055_744.0;

/// Σ c_k x^k of `coefficients` c_1, c_2, … and c_0 = 1.
#[inline(always)]
fn polynomial<L: Lane>(x: L, coefficients: &[L::Elem]) -> L {
    let mut p = L::splat(coefficients[coefficients.len() - 1]);
    for &c in coefficients.iter().rev().skip(1) {
        p = p.mul_add(x, L::splat(c));
    }
    p.mul_add(x, L::splat(L::Elem::from_f64(1.0)))
}

/// A precision whose kernels are compiled for every instruction set.
pub trait Simd: Real {
    /// [`crate::backend::Backend::soft_min`] and, with `mean`, [`crate::backend::Backend::soft_mean`].
    fn soft_min(isa: Isa, pairs: soft_min::Pairs<'_, Self>, out: &mut [Self], mean: Option<soft_min::Mean<'_, Self>>);
    /// [`crate::backend::Backend::interpret`].
    fn interpret(isa: Isa, program: &MixtureProgram, steps: Range<usize>, noise: Noise<'_>, registers: &mut [Vec<Self>]);
}
