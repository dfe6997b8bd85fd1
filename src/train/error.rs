//! Why a network was not trained.

use thiserror::Error;

use crate::field::FieldError;
use crate::field::network::{LevelError, NetworkError};
use crate::measure::CloudError;
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
    /// Pairs made before of which one end is longer.
    #[error("{sources} points x0 and {targets} points x1 do not make pairs; give as many of each")]
    Unpaired {
        /// Points x₀.
        sources: usize,
        /// Points x₁.
        targets: usize,
    },
    /// Conditions that are not one for each point of the target.
    #[error("{conditions} conditions for {}; give each point of the target its own",
        .points.map_or("a law, which has no points".into(), |points| format!("{points} points")))]
    Conditions {
        /// Conditions given.
        conditions: usize,
        /// Points of the target, of which a law has none.
        points: Option<usize>,
    },
    /// A plan that serves less than a batch.
    #[error("a plan between {size} draws does not make a batch of {batch} pairs; give --coupling-size {batch} or more")]
    CouplingSize {
        /// Draws of either end.
        size: usize,
        /// Pairs of a batch.
        batch: usize,
    },
    /// Conditions that the coupling does not know.
    #[error(
        "pairs by the points alone bias a model of conditions; write pairs with couple --conditions or --labels, and give them with --pairs"
    )]
    BlindPlan,
    /// Cells of what has no points.
    #[error("a semidiscrete coupling is one with points, and the target is a law; give a file of points")]
    CellsOfLaw,
    /// Initial weights of a network of other widths.
    #[error("the network to start from has widths {found:?}, and training needs {needed:?}")]
    Start {
        /// Inputs and the outputs of each layer.
        found: Vec<usize>,
        /// Those needed.
        needed: Vec<usize>,
    },
    /// The network could not be looked at while it was trained.
    #[error("the network could not be judged while it was trained: {0}")]
    Look(String),
    /// The best field has no answer.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// Draws that make no cloud.
    #[error(transparent)]
    Draws(CloudError),
    /// A potential under conditions, or without a second derivative.
    #[error(
        "a potential is learnt of the points alone, and through its second derivative: leave conditions out, and take another activation than relu"
    )]
    Energy,
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
