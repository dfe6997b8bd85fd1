//! The slope at the predictor as the first slope of the next step (`compat stale_slope`).

use crate::sampler::Pair;

/// `pair` as if its last stage were the slope at y′.
pub const fn stale_slope(pair: Pair) -> Pair {
    Pair { first_same_as_last: true, ..pair }
}
