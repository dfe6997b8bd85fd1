//! The floating-point type of a backend.

use bytemuck::Pod;

/// The floating-point type of a backend.
pub trait Real: Pod + Into<f64> + Send + Sync + PartialOrd + std::fmt::Debug + 'static {
    /// Half the spacing of numbers at one: the largest relative rounding error.
    const ROUNDING: f64;
    /// The square root of the smallest normal number: squares of smaller ones, and their products with a small weight, are denormal.
    const TINY: f64;
    /// The nearest number of this type.
    fn from_f64(x: f64) -> Self;
    /// The number in f64, exactly.
    fn to_f64(self) -> f64;
}

impl Real for f32 {
    const ROUNDING: f64 = 0.5 * f32::EPSILON as f64;
    const TINY: f64 = f64::from_bits((1023 - 63) << 52);
    fn from_f64(x: f64) -> Self {
        x as f32
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    const ROUNDING: f64 = 0.5 * f64::EPSILON;
    const TINY: f64 = f64::from_bits((1023 - 511) << 52);
    fn from_f64(x: f64) -> Self {
        x
    }
    fn to_f64(self) -> f64 {
        self
    }
}
