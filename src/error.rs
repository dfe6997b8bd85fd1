//! The error of the crate: one variant a room.

use std::error::Error as StdError;

use thiserror::Error;

use crate::backend::{BackendError, CudaAbsence, DeviceError};
#[cfg(feature = "onnx")]
use crate::field::OnnxError;
use crate::field::network::{LevelError, NetworkError};
use crate::field::{ClockError, CommandError, CommandFault, ConditionError, FieldError, SignatureError};
use crate::gradient_flow::FlowError;
#[cfg(feature = "image")]
use crate::io::PictureError;
use crate::io::{Fault, ReadError, WriteError};
use crate::measure::{CloudError, MixtureError, NameError};
use crate::metric::MetricError;
use crate::path::{ConversionError, GridError, PredictionError, ScheduleError};
use crate::sampler::{AdaptiveError, CourseError, RunError, UnknownCompat, UnknownMethod};
use crate::train::TrainError;
use crate::transport::TransportError;

/// Anything that can go wrong, by the room it went wrong in.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Numbers that do not make a cloud.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// A network that was not trained.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Numbers that do not make a mixture.
    #[error(transparent)]
    Mixture(#[from] MixtureError),
    /// A name that stands for no measure.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A file that cannot be read as what it should be.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file that was not written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What is wrong with a file, before it is said with which.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A picture that cannot be read or encoded.
    #[cfg(feature = "image")]
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Layers that do not make a network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// What does not describe a model.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A level at which a model's clock shows nothing.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// A file that does not give a model.
    #[cfg(feature = "onnx")]
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// Conditions that cannot be used.
    #[error(transparent)]
    Condition(#[from] ConditionError),
    /// A program that does not give a field.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// What is wrong with a program, before it is said with which.
    #[error(transparent)]
    CommandFault(#[from] CommandFault),
    /// A name that is not that of a prediction.
    #[error(transparent)]
    Prediction(#[from] PredictionError),
    /// A level at which a network was not trained.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// Times that do not make a grid.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// A transport problem that cannot be solved as asked.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A gradient flow that cannot be run.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// Clouds that cannot be compared.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// There is no such device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// CUDA, or one GPU, cannot be used.
    #[error(transparent)]
    Cuda(#[from] CudaAbsence),
    /// The device could not do it.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Parameters that do not make a schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A prediction that does not determine another.
    #[error(transparent)]
    Conversion(#[from] ConversionError),
    /// A method that is not known.
    #[error(transparent)]
    Method(#[from] UnknownMethod),
    /// A defect that is not known.
    #[error(transparent)]
    Compat(#[from] UnknownCompat),
    /// A differential equation that was not solved.
    #[error(transparent)]
    Adaptive(#[from] AdaptiveError),
    /// A field that cannot be evaluated.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A method that cannot be made ready.
    #[error(transparent)]
    Course(#[from] CourseError),
    /// A program that cannot run on a field.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A report that cannot be drawn: a [`ReportError`](crate::report::ReportError), which is above this floor.
    #[error(transparent)]
    Report(Box<dyn StdError + Send + Sync>),
}
