//! The embedded data set: 1,797 handwritten digits of 8 × 8 pixels (Alpaydin and Kaynak 1998; `data/README.md`).

use crate::measure::Cloud;

/// Pixels of an image, row by row from its top left.
const PIXELS: usize = 64;

/// Grey levels 0 to 16, row-major 1,797 × 64.
static LEVELS: &[u8] = include_bytes!("../../data/digits.u8");

/// The digits as 1,797 points of R^64 with coordinates v/8 − 1 in [−1, 1], v being the grey level.
pub fn digits() -> Cloud {
    Cloud::of_known(LEVELS.iter().map(|&v| f64::from(v) / 8.0 - 1.0).collect(), PIXELS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are those that numpy gives for scikit-learn's `load_digits().data / 8 - 1`.
    #[test]
    fn digits_are_those_of_scikit_learn() {
        let cloud = digits();
        assert_eq!((cloud.len(), cloud.dim()), (1797, 64));
        assert_eq!(LEVELS.iter().map(|&v| u64::from(v)).sum::<u64>(), 561_718);
        let fnv = |hash: u64, &v: &u8| (hash ^ u64::from(v)).wrapping_mul(0x0100_0000_01b3);
        assert_eq!(LEVELS.iter().fold(0xcbf2_9ce4_8422_2325, fnv), 0x493f_a2f6_7df5_50a1);
        assert!((cloud.variance() - 18.773_105_271_290_89).abs() < 1e-11); // 115,008 terms of order one
    }

    #[test]
    fn pixels_run_from_minus_one_to_one_in_eighths() {
        let cloud = digits();
        assert_eq!(cloud.row(0)[..6], [-1.0, -1.0, -0.375, 0.625, 0.125, -0.875]);
        let extremes = cloud.points().iter().fold((f64::MAX, f64::MIN), |(low, high), &x| (low.min(x), high.max(x)));
        assert_eq!(extremes, (-1.0, 1.0));
    }
}
