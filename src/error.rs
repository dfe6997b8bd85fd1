//! The error of the crate: one variant a room.

use thiserror::Error;

use crate::measure::{CloudError, MixtureError};
use crate::metric::MetricError;
use crate::path::GridError;
use crate::transport::TransportError;

/// Anything that can go wrong, by the room it went wrong in.
#[derive(Debug, Error)]
pub enum Error {
    /// Numbers that do not make a cloud.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// Numbers that do not make a mixture.
    #[error(transparent)]
    Mixture(#[from] MixtureError),
    /// Times that do not make a grid.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// A transport problem that has no answer as asked.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Clouds that cannot be compared.
    #[error(transparent)]
    Metric(#[from] MetricError),
}
