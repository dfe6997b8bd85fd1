//! Flags: what a number means, or why it does not.

use serde::{Deserialize, Serialize};

/// An entropic map that keeps less than this share of its target's variance has collapsed towards a point, and the plan to independent
/// pairs. Shrinking by itself is what ε does: at the default ε a map between equal normals, of all clouds those of the most directions,
/// keeps s² with s = √(1 + r²) − r and r = ε/2σ², which is 0.9 in the plane and 0.09 in 64 dimensions.
pub const MAP_COLLAPSED: f64 = 0.05;
/// A renormalised entropy of a plan over this is that of independent pairs.
pub const INDEPENDENT: f64 = 0.98;

/// What a number means, or why it does not. A flag on a cloud that is judged is raised on an independent sample of the
/// reference's own law with a chance of about 1 %: [`Judge`](crate::metric::Judge) says by which null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// The distance is under half the noise floor, and under the 1 % quantile of its null: suspiciously good.
    BelowFloor,
    /// The total variance is less than chance explains: the cloud has shrunk. Of an entropic map or plan: next to nothing is left of the
    /// target's variance, so the pairs are next to independent.
    Collapsed,
    /// The total variance is more than chance explains: the cloud has spread.
    Inflated,
    /// Samples lie closer to the training points than held-out points do.
    Memorised,
    /// A mode of the reference has lost a third of its mass or more.
    ModeMissing,
    /// A density could not be estimated: in this dimension too few particles lie within a kernel's width.
    FewNeighbours,
    /// A run of a sampler began where the particles are not yet the prior's, and its samples keep that.
    ShortOfNoise,
    /// A number that is not finite was replaced by null.
    NotFinite,
}
