//! Lanes of AVX-512 and of AVX2 with fused multiply-add.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::{EXP2_F32, EXP2_F64, LEAST_EXPONENT, Lane, ROUND_F32, ROUND_F64, UNIT_EXPONENT, WEIGHT_F32, WEIGHT_F64, polynomial};

/// 16 × f32 of AVX-512.
#[derive(Clone, Copy)]
pub struct F32x16(__m512);
/// 8 × f64 of AVX-512.
#[derive(Clone, Copy)]
pub struct F64x8(__m512d);
/// 8 × f32 of AVX2.
#[derive(Clone, Copy)]
pub struct F32x8(__m256);
/// 4 × f64 of AVX2.
#[derive(Clone, Copy)]
pub struct F64x4(__m256d);

// SAFETY of this file: `Simd` makes values of these types only inside functions whose target features include the
// instruction set, after `Isa::is_available`; loads and stores check their length first. They are plain copies of arrays: the
// intrinsics for them check their pointer where debug assertions are on, and are then too long to be inlined.

impl Lane for F32x16 {
    type Elem = f32;
    const N: usize = 16;
    const REGISTERS: usize = 32;
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self(unsafe { _mm512_set1_ps(x) })
    }
    #[inline(always)]
    fn load(from: &[f32]) -> Self {
        assert!(from.len() >= Self::N);
        Self(unsafe { transmute::<[f32; 16], __m512>(*from.as_ptr().cast()) })
    }
    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        assert!(to.len() >= Self::N);
        unsafe { *to.as_mut_ptr().cast::<[f32; 16]>() = transmute::<__m512, [f32; 16]>(self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(unsafe { _mm512_div_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(unsafe { _mm512_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(unsafe { _mm512_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        unsafe {
            let mantissa = _mm512_getmant_ps::<_MM_MANT_NORM_1_2, _MM_MANT_SIGN_ZERO>(self.0);
            (Self(mantissa), Self(_mm512_getexp_ps(self.0)))
        }
    }
    #[inline(always)]
    fn flush(self, least: Self) -> Self {
        Self(unsafe {
            let kept = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(_mm512_abs_ps(self.0), least.0);
            _mm512_maskz_mov_ps(kept, self.0)
        })
    }
    #[inline(always)]
    fn any_less(self, other: Self) -> bool {
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0) != 0 }
    }
    #[inline(always)]
    fn exp2(self) -> Self {
        self.power(&EXP2_F32)
    }
    #[inline(always)]
    fn weight(self) -> Self {
        self.power(&WEIGHT_F32)
    }
}

impl F32x16 {
    /// 2^self times what `coefficients` are scaled by.
    #[inline(always)]
    fn power(self, coefficients: &[f32]) -> Self {
        let n = Self(unsafe { _mm512_roundscale_ps::<0>(self.0) });
        let p = polynomial(self.sub(n), coefficients);
        let least = Self::splat(LEAST_EXPONENT as f32);
        Self(unsafe {
            let kept = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(self.0, least.0);
            _mm512_maskz_scalef_ps(kept, p.0, n.0)
        })
    }
}

impl Lane for F64x8 {
    type Elem = f64;
    const N: usize = 8;
    const REGISTERS: usize = 32;
    #[inline(always)]
    fn splat(x: f64) -> Self {
        Self(unsafe { _mm512_set1_pd(x) })
    }
    #[inline(always)]
    fn load(from: &[f64]) -> Self {
        assert!(from.len() >= Self::N);
        Self(unsafe { transmute::<[f64; 8], __m512d>(*from.as_ptr().cast()) })
    }
    #[inline(always)]
    fn store(self, to: &mut [f64]) {
        assert!(to.len() >= Self::N);
        unsafe { *to.as_mut_ptr().cast::<[f64; 8]>() = transmute::<__m512d, [f64; 8]>(self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm512_add_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(unsafe { _mm512_sub_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(unsafe { _mm512_mul_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(unsafe { _mm512_div_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(unsafe { _mm512_fmadd_pd(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(unsafe { _mm512_max_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(unsafe { _mm512_min_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(unsafe { _mm512_sqrt_pd(self.0) })
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        unsafe {
            let mantissa = _mm512_getmant_pd::<_MM_MANT_NORM_1_2, _MM_MANT_SIGN_ZERO>(self.0);
            (Self(mantissa), Self(_mm512_getexp_pd(self.0)))
        }
    }
    #[inline(always)]
    fn flush(self, least: Self) -> Self {
        Self(unsafe {
            let kept = _mm512_cmp_pd_mask::<_CMP_NLT_UQ>(_mm512_abs_pd(self.0), least.0);
            _mm512_maskz_mov_pd(kept, self.0)
        })
    }
    #[inline(always)]
    fn any_less(self, other: Self) -> bool {
        unsafe { _mm512_cmp_pd_mask::<_CMP_LT_OQ>(self.0, other.0) != 0 }
    }
    #[inline(always)]
    fn exp2(self) -> Self {
        self.power(&EXP2_F64)
    }
    #[inline(always)]
    fn weight(self) -> Self {
        self.power(&WEIGHT_F64)
    }
}

impl F64x8 {
    /// 2^self times what `coefficients` are scaled by.
    #[inline(always)]
    fn power(self, coefficients: &[f64]) -> Self {
        let n = Self(unsafe { _mm512_roundscale_pd::<0>(self.0) });
        let p = polynomial(self.sub(n), coefficients);
        let least = Self::splat(LEAST_EXPONENT as f64);
        Self(unsafe {
            let kept = _mm512_cmp_pd_mask::<_CMP_NLT_UQ>(self.0, least.0);
            _mm512_maskz_scalef_pd(kept, p.0, n.0)
        })
    }
}

impl Lane for F32x8 {
    type Elem = f32;
    const N: usize = 8;
    const REGISTERS: usize = 16;
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self(unsafe { _mm256_set1_ps(x) })
    }
    #[inline(always)]
    fn load(from: &[f32]) -> Self {
        assert!(from.len() >= Self::N);
        Self(unsafe { transmute::<[f32; 8], __m256>(*from.as_ptr().cast()) })
    }
    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        assert!(to.len() >= Self::N);
        unsafe { *to.as_mut_ptr().cast::<[f32; 8]>() = transmute::<__m256, [f32; 8]>(self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(unsafe { _mm256_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(unsafe { _mm256_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(unsafe { _mm256_div_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(unsafe { _mm256_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(unsafe { _mm256_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(unsafe { _mm256_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(unsafe { _mm256_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        // Under the exponent of 2^23 an integer is its own value above it.
        let exponent = unsafe {
            let bits = _mm256_srli_epi32::<23>(_mm256_castps_si256(self.0));
            Self(_mm256_castsi256_ps(_mm256_or_si256(bits, _mm256_set1_epi32(0x4b00_0000))))
        };
        let mantissa = unsafe {
            let bits = _mm256_and_si256(_mm256_castps_si256(self.0), _mm256_set1_epi32(0x007f_ffff));
            Self(_mm256_castsi256_ps(_mm256_or_si256(bits, _mm256_set1_epi32(0x3f80_0000))))
        };
        (mantissa, exponent.sub(Self::splat(8_388_608.0 + 127.0)))
    }
    #[inline(always)]
    fn flush(self, least: Self) -> Self {
        Self(unsafe {
            let size = _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0);
            _mm256_and_ps(self.0, _mm256_cmp_ps::<_CMP_NLT_UQ>(size, least.0))
        })
    }
    #[inline(always)]
    fn any_less(self, other: Self) -> bool {
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0)) != 0 }
    }
    #[inline(always)]
    fn exp2(self) -> Self {
        self.power(&EXP2_F32, 0)
    }
    #[inline(always)]
    fn weight(self) -> Self {
        self.power(&WEIGHT_F32, UNIT_EXPONENT)
    }
}

impl F32x8 {
    /// 2^self times what `coefficients` are scaled by, 2^`scale`.
    #[inline(always)]
    fn power(self, coefficients: &[f32], scale: i32) -> Self {
        // In this order a NaN stays one.
        let x = Self::splat((128 - scale) as f32).min(self);
        let shifted = x.add(Self::splat(ROUND_F32));
        let p = polynomial(x.sub(shifted.sub(Self::splat(ROUND_F32))), coefficients);
        let least = Self::splat(LEAST_EXPONENT as f32);
        Self(unsafe {
            let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(shifted.0));
            let power = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p.0), exponent));
            _mm256_and_ps(power, _mm256_cmp_ps::<_CMP_NLT_UQ>(self.0, least.0))
        })
    }
}

impl Lane for F64x4 {
    type Elem = f64;
    const N: usize = 4;
    const REGISTERS: usize = 16;
    #[inline(always)]
    fn splat(x: f64) -> Self {
        Self(unsafe { _mm256_set1_pd(x) })
    }
    #[inline(always)]
    fn load(from: &[f64]) -> Self {
        assert!(from.len() >= Self::N);
        Self(unsafe { transmute::<[f64; 4], __m256d>(*from.as_ptr().cast()) })
    }
    #[inline(always)]
    fn store(self, to: &mut [f64]) {
        assert!(to.len() >= Self::N);
        unsafe { *to.as_mut_ptr().cast::<[f64; 4]>() = transmute::<__m256d, [f64; 4]>(self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm256_add_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(unsafe { _mm256_sub_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(unsafe { _mm256_mul_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(unsafe { _mm256_div_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(unsafe { _mm256_fmadd_pd(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(unsafe { _mm256_max_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(unsafe { _mm256_min_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(unsafe { _mm256_sqrt_pd(self.0) })
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        // Under the exponent of 2^52 an integer is its own value above it.
        let exponent = unsafe {
            let bits = _mm256_srli_epi64::<52>(_mm256_castpd_si256(self.0));
            Self(_mm256_castsi256_pd(_mm256_or_si256(bits, _mm256_set1_epi64x(0x4330_0000_0000_0000))))
        };
        let mantissa = unsafe {
            let bits = _mm256_and_si256(_mm256_castpd_si256(self.0), _mm256_set1_epi64x(0x000f_ffff_ffff_ffff));
            Self(_mm256_castsi256_pd(_mm256_or_si256(bits, _mm256_set1_epi64x(0x3ff0_0000_0000_0000))))
        };
        (mantissa, exponent.sub(Self::splat(4_503_599_627_370_496.0 + 1023.0)))
    }
    #[inline(always)]
    fn flush(self, least: Self) -> Self {
        Self(unsafe {
            let size = _mm256_andnot_pd(_mm256_set1_pd(-0.0), self.0);
            _mm256_and_pd(self.0, _mm256_cmp_pd::<_CMP_NLT_UQ>(size, least.0))
        })
    }
    #[inline(always)]
    fn any_less(self, other: Self) -> bool {
        unsafe { _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_LT_OQ>(self.0, other.0)) != 0 }
    }
    #[inline(always)]
    fn exp2(self) -> Self {
        self.power(&EXP2_F64, 0)
    }
    #[inline(always)]
    fn weight(self) -> Self {
        self.power(&WEIGHT_F64, UNIT_EXPONENT)
    }
}

impl F64x4 {
    /// 2^self times what `coefficients` are scaled by, 2^`scale`.
    #[inline(always)]
    fn power(self, coefficients: &[f64], scale: i32) -> Self {
        // In this order a NaN stays one.
        let x = Self::splat((1024 - scale) as f64).min(self);
        let shifted = x.add(Self::splat(ROUND_F64));
        let p = polynomial(x.sub(shifted.sub(Self::splat(ROUND_F64))), coefficients);
        let least = Self::splat(LEAST_EXPONENT as f64);
        Self(unsafe {
            let exponent = _mm256_slli_epi64::<52>(_mm256_castpd_si256(shifted.0));
            let power = _mm256_castsi256_pd(_mm256_add_epi64(_mm256_castpd_si256(p.0), exponent));
            _mm256_and_pd(power, _mm256_cmp_pd::<_CMP_NLT_UQ>(self.0, least.0))
        })
    }
}
