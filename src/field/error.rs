//! Why a field cannot be evaluated.

use thiserror::Error;

use crate::backend::BackendError;
use crate::field::network::LevelError;

/// Why a field cannot be evaluated.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum FieldError {
    /// Points of another dimension than the field.
    #[error("{found} coordinates do not make points of the field's dimension {dim}; give rows of that length")]
    Dimension {
        /// Number of coordinates.
        found: usize,
        /// Dimension of the field.
        dim: usize,
    },
    /// A potential of another length than its target.
    #[error("the transport field has a potential of length {found} on a target of {needed} points")]
    Potential {
        /// Length of the potential.
        found: usize,
        /// Number of target points.
        needed: usize,
    },
    /// ε̂ of a field of points at σ = 0.
    #[error("at sigma = 0 a field of points knows only the nearest point, not the noise; end with an Euler step (euler_last)")]
    NoiseAtData,
    /// A level at which a network does not determine the step.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// Weights of guidance that do not sum to 1.
    #[error("the weights of guided fields sum to {sum}, and only with a sum of 1 is their combination a field; 1 + w and -w do")]
    Weights {
        /// Their sum.
        sum: f64,
    },
    /// Fields of different dimensions under guidance.
    #[error("fields of dimension {dim} and {found} cannot be combined; guidance needs fields in the same space")]
    Parts {
        /// Dimension of the first field.
        dim: usize,
        /// Dimension of another.
        found: usize,
    },
    /// Times between which guidance cannot act.
    #[error(
        "guidance from t = {low} to t = {high}: it acts in an interval of the schedule's time, from 0 at the noise to 1 at the data"
    )]
    Interval {
        /// The first.
        low: f64,
        /// The last.
        high: f64,
    },
    /// An error of a field given as Rust code.
    #[error("the given field failed: {0}")]
    Given(String),
    /// The device could not do it.
    #[error(transparent)]
    Backend(#[from] BackendError),
}
