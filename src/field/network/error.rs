//! Why layers do not make a network, and why a network has no answer at a level.

use thiserror::Error;

use crate::field::network::Clock;
use crate::path::{Prediction, ScheduleError};

/// Why layers do not make a network. Tensors are called as in the file.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum NetworkError {
    /// No layers.
    #[error("the network has no layers; name at least one under \"layers\"")]
    Empty,
    /// A layer without outputs, or a weight that is not outputs × inputs.
    #[error(
        "tensor \"{layer}.weight\" holds {found} numbers, which do not make {outputs} rows of equal length; save W as outputs × inputs"
    )]
    Ragged {
        /// Name of the layer.
        layer: String,
        /// Numbers found.
        found: usize,
        /// Length of the bias.
        outputs: usize,
    },
    /// Layers that do not follow one another.
    #[error(
        "tensor \"{layer}.weight\" has shape [{outputs}, {found}] where [{outputs}, {expected}] is needed: {why}; check \"layers\" and \"time\""
    )]
    Inputs {
        /// Name of the layer.
        layer: String,
        /// Its outputs.
        outputs: usize,
        /// Inputs found.
        found: usize,
        /// Inputs needed.
        expected: usize,
        /// Where that number comes from.
        why: String,
    },
    /// A number that is not finite.
    #[error(
        "number {index} of tensor \"{tensor}\" is {value}; every weight must be finite: train the network again, it has diverged"
    )]
    NotFinite {
        /// Name of the tensor.
        tensor: String,
        /// Index in C order, from 0.
        index: usize,
        /// The value.
        value: f64,
    },
    /// s_d not a positive number.
    #[error("sigma_data is {0}; it is the standard deviation of the data, above zero")]
    SigmaData(f64),
    /// An energy of several numbers.
    #[error("the last layer has {outputs} outputs; an energy is one number of the point alone, so give that layer one output")]
    Energy {
        /// Outputs of the last layer.
        outputs: usize,
    },
}

/// Why a network has no answer at a level.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum LevelError {
    /// F and x say nothing about what is asked.
    #[error(
        "the field's {prediction:?} and x do not determine the step at alpha = {alpha}, sigma = {sigma}; train one that predicts v or velocity, or on a schedule without that end, such as linear-vp or ddpm-cosine"
    )]
    Undetermined {
        /// What the network predicts.
        prediction: Prediction,
        /// α of the level.
        alpha: f64,
        /// σ of the level.
        sigma: f64,
    },
    /// A clock that is infinite.
    #[error(
        "the network's clock {clock:?} is infinite at alpha = {alpha}, sigma = {sigma}; give it t, or train on a schedule without that end, such as linear-vp"
    )]
    Clock {
        /// The clock.
        clock: Clock,
        /// α of the level.
        alpha: f64,
        /// σ of the level.
        sigma: f64,
    },
    /// A network that gives an energy.
    #[error(
        "the network gives an energy, which is known at the data alone: take a Langevin method, such as energy-matching, or train a network that predicts at all levels"
    )]
    Energy,
    /// A noise level that the network was not trained on.
    #[error("the network was not trained at that noise level: {0}; leave --schedule out for its own")]
    Schedule(#[from] ScheduleError),
}
