//! Flags: what a number means, or why it does not.

use serde::{Deserialize, Serialize};

/// A distance under this share of its noise floor is suspiciously good.
pub const BELOW_FLOOR: f64 = 0.5;
/// A variance ratio under this is a collapse.
pub const COLLAPSED: f64 = 0.9;
/// An entropic map that keeps less than this share of its target's variance has collapsed towards a point, and the plan to independent
/// pairs. Shrinking by itself is what ε does: at the default ε a map between equal normals, of all clouds those of the most directions,
/// keeps s² with s = √(1 + r²) − r and r = ε/2σ², which is 0.9 in the plane and 0.09 in 64 dimensions.
pub const MAP_COLLAPSED: f64 = 0.05;
/// A renormalised entropy of a plan over this is that of independent pairs.
pub const INDEPENDENT: f64 = 0.98;
/// A variance ratio over this is an inflation.
pub const INFLATED: f64 = 1.1;
/// Samples whose median distance to the training set is under this share of that of held-out points were memorised.
pub const MEMORISED: f64 = 0.5;

/// What a number means, or why it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// The distance is under half the noise floor: suspiciously good.
    BelowFloor,
    /// Variance ratio under 0.9: the cloud has shrunk. Of an entropic map or plan: under 0.05, it is next to independent.
    Collapsed,
    /// Variance ratio over 1.1: the cloud has spread.
    Inflated,
    /// Samples lie far closer to the training points than held-out points do.
    Memorised,
    /// A number that is not finite was replaced by null.
    NotFinite,
}

/// The flags of a cloud, in the order of [`Flag`].
///
/// `distances` are (distance, its noise floor); `nearest` is the median nearest-neighbour distance to the training set of
/// (samples, held-out points), absent where there is no training set. A number that is not finite sets [`Flag::NotFinite`] and no
/// other flag.
pub fn flags(distances: &[(f64, f64)], variance_ratio: f64, nearest: Option<(f64, f64)>) -> Vec<Flag> {
    let numbers = distances.iter().flat_map(|&(distance, floor)| [distance, floor]);
    let mut all = numbers.chain([variance_ratio]).chain(nearest.into_iter().flat_map(|(samples, heldout)| [samples, heldout]));
    [
        (Flag::BelowFloor, distances.iter().any(|&(distance, floor)| distance < BELOW_FLOOR * floor)),
        (Flag::Collapsed, variance_ratio < COLLAPSED),
        (Flag::Inflated, variance_ratio > INFLATED && variance_ratio.is_finite()),
        (Flag::Memorised, nearest.is_some_and(|(samples, heldout)| samples < MEMORISED * heldout)),
        (Flag::NotFinite, !all.all(f64::is_finite)),
    ]
    .into_iter()
    .filter_map(|(flag, set)| set.then_some(flag))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_threshold_sets_its_flag_and_no_other() {
        assert_eq!(flags(&[(1.0, 1.0), (0.5, 1.0)], 1.0, Some((0.5, 1.0))), []);
        assert_eq!(flags(&[(1.0, 1.0), (0.49, 1.0)], 1.0, None), [Flag::BelowFloor]);
        assert_eq!(flags(&[], 0.89, None), [Flag::Collapsed]);
        assert_eq!(flags(&[], 1.11, None), [Flag::Inflated]);
        assert_eq!(flags(&[], 1.0, Some((0.1, 1.0))), [Flag::Memorised]);
    }

    #[test]
    fn a_number_that_is_not_finite_is_said_so() {
        assert_eq!(flags(&[(f64::NAN, 1.0)], 1.0, None), [Flag::NotFinite]);
        assert_eq!(flags(&[(1.0, 1.0)], f64::INFINITY, None), [Flag::NotFinite]);
        assert_eq!(flags(&[(1.0, 1.0)], 0.5, Some((f64::NAN, 1.0))), [Flag::Collapsed, Flag::NotFinite]);
    }
}
