//! Why a network was not trained.

use thiserror::Error;

use crate::field::network::{LevelError, NetworkError};
use crate::transport::TransportError;

/// Why a network was not trained.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum TrainError {
    /// Source and target of different dimensions.
    #[error("the source has dimension {source_dim} and the target {target_dim}; pairs live in one space")]
    Dimensions {
        /// Dimension of the source.
        source_dim: usize,
        /// Dimension of the target.
        target_dim: usize,
    },
    /// Data that one point determines.
    #[error("the target is a single point, which leaves nothing to learn; give at least two")]
    OnePoint,
    /// A loss that is not a number.
    #[error("the loss is not finite at step {step}; the weights before it are kept: lower --rate, or scale the data")]
    NotFinite {
        /// The step, from 1.
        step: usize,
    },
    /// The watch said stop.
    #[error("stopped after {steps} steps")]
    Stopped {
        /// Steps made.
        steps: usize,
    },
    /// The minibatches could not be coupled.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A time at which the network's clock or its prediction is infinite.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// The trained weights make no network.
    #[error(transparent)]
    Network(#[from] NetworkError),
}
