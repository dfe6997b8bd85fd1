//! Flags: what a number means, or why it does not.

use serde::{Deserialize, Serialize};

/// What a number means, or why it does not. A flag on a cloud that is judged is raised on an independent sample of the
/// reference's own law with a chance of about 1 %: [`Judge`](crate::metric::Judge) says by which null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// The distance is under half the noise floor, and under the 1 % quantile of its null: suspiciously good.
    BelowFloor,
    /// The total variance is less than chance explains: the cloud has shrunk.
    Collapsed,
    /// The total variance is more than chance explains: the cloud has spread.
    Inflated,
    /// Samples lie closer to the training points than held-out points do.
    Memorised,
    /// A mode of the reference has lost a third of its mass or more.
    ModeMissing,
    /// A density could not be estimated: in this dimension too few particles lie within a kernel's width.
    FewNeighbours,
    /// A number that is not finite was replaced by null.
    NotFinite,
}
