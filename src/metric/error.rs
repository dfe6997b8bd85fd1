//! Why clouds cannot be compared.

use thiserror::Error;

use crate::backend::BackendError;
use crate::measure::CloudError;
use crate::transport::TransportError;

/// Why clouds cannot be compared.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum MetricError {
    /// The two live in different spaces.
    #[error("dimensions {left} and {right} cannot be compared; both must live in the same space")]
    Dimensions {
        /// Dimension of the first.
        left: usize,
        /// Dimension of the second.
        right: usize,
    },
    /// A reference without extent, which gives no ε to measure with.
    #[error("all points of the reference lie in one place, so its own spread gives no eps to measure with")]
    NoSpread,
    /// Features of another number of points.
    #[error(
        "the features of {name} have {rows} rows and {name} has {points} points; give the features of each point, row by row"
    )]
    Rows {
        /// Whose features.
        name: &'static str,
        /// Their number.
        rows: usize,
        /// The number of points.
        points: usize,
    },
    /// Features of a law.
    #[error("{name} is a law and has no rows that features could belong to; give its points in a file")]
    NoRows {
        /// Whose features.
        name: &'static str,
    },
    /// Training points without a neighbour.
    #[error("all training points lie in one place, so none has a neighbour to be copied from; give the training set itself")]
    OnePlace,
    /// A cloud without pairs.
    #[error("a cloud has a single point with mass, and distances within it need two; give more samples")]
    Single,
    /// Fewer points than neighbours.
    #[error(
        "a cloud has {points} points with mass, and a ball to neighbour {k} needs {}; use fewer neighbours, or more samples", k + 1
    )]
    FewNeighbours {
        /// Neighbours asked for.
        k: usize,
        /// Points with mass.
        points: usize,
    },
    /// Start and end points that are not the same particles.
    #[error("{start} start points and {end} end points are not pairs; give one end point a start point, without weights")]
    Unpaired {
        /// Number of start points.
        start: usize,
        /// Number of end points.
        end: usize,
    },
    /// A part of a cloud that is not a cloud.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The device could not do it.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The transport problem behind a distance has no answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl MetricError {
    /// Refuses two dimensions that differ.
    pub(crate) fn same_dim(left: usize, right: usize) -> Result<(), Self> {
        if left == right { Ok(()) } else { Err(Self::Dimensions { left, right }) }
    }
}
