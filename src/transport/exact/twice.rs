//! Numbers of twice the digits of f64: unevaluated sums of two (Dekker 1971; Knuth, volume 2, section 4.2.2).
//!
//! Costs and potentials of a basis differ by as much as its clusters lie apart, squared, and what decides a pivot is the small rest
//! when they cancel. With 2⁻¹⁰⁴ of relative rounding that rest is known where f64 has nothing left of it.

use std::ops::{Add, Neg, Sub};

/// `high` + `low`, with |low| ≤ ½ ulp(high).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Twice {
    pub high: f64,
    low: f64,
}

impl Twice {
    /// A sum, a difference or a product is off by at most this share of its operands.
    pub const ROUNDING: f64 = f64::EPSILON * f64::EPSILON;

    /// p + q, exactly.
    fn sum(p: f64, q: f64) -> Self {
        let high = p + q;
        let of_q = high - p;
        Self { high, low: (p - (high - of_q)) + (q - of_q) }
    }

    /// p + q, exactly where |p| ≥ |q|.
    fn ordered_sum(p: f64, q: f64) -> Self {
        let high = p + q;
        Self { high, low: q - (high - p) }
    }

    /// p², exactly where it neither over- nor underflows.
    fn square_of(p: f64) -> Self {
        // The upper and the lower 26 bits, whose products are exact.
        const SPLIT: f64 = 134_217_729.0;
        let shifted = SPLIT * p;
        let upper = shifted - (shifted - p);
        let lower = p - upper;
        let high = p * p;
        Self { high, low: ((upper * upper - high) + 2.0 * upper * lower) + lower * lower }
    }

    /// p − q, exactly.
    pub fn difference(p: f64, q: f64) -> Self {
        Self::sum(p, -q)
    }

    pub fn square(self) -> Self {
        let square = Self::square_of(self.high);
        Self::ordered_sum(square.high, square.low + 2.0 * self.high * self.low)
    }

    pub fn half(self) -> Self {
        Self { high: 0.5 * self.high, low: 0.5 * self.low }
    }

    /// √ of a number ≥ 0: one step of Newton's method from the root in f64.
    pub fn sqrt(self) -> Self {
        let root = self.high.sqrt();
        if root == 0.0 {
            return Self::default();
        }
        Self::ordered_sum(root, (self - Self::square_of(root)).high / (2.0 * root))
    }
}

impl From<f64> for Twice {
    fn from(high: f64) -> Self {
        Self { high, low: 0.0 }
    }
}

impl Add for Twice {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let sum = Self::sum(self.high, other.high);
        Self::ordered_sum(sum.high, sum.low + (self.low + other.low))
    }
}

impl Neg for Twice {
    type Output = Self;

    fn neg(self) -> Self {
        Self { high: -self.high, low: -self.low }
    }
}

impl Sub for Twice {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_f64_rounds_away_is_kept() {
        let third = 1.0 / 3.0;
        // (3 · fl(1/3))² = (1 − 2⁻⁵⁴)² = 1 − 2⁻⁵³ + 2⁻¹⁰⁸.
        let triple = Twice::sum(third, third) + Twice::sum(third, 0.0);
        assert_eq!(triple, Twice { high: 1.0, low: -(2f64.powi(-54)) });
        let square = triple.square() - Twice::sum(1.0, 0.0);
        assert_eq!(square.high, -(2f64.powi(-53)));
        let root = Twice::sum(2.0, 0.0).sqrt();
        assert!((root.square() - Twice::sum(2.0, 0.0)).high.abs() < 4.0 * Twice::ROUNDING);
        assert_eq!((Twice::difference(1e16, 0.5) - Twice::sum(1e16, 0.0)).high, -0.5);
    }
}
