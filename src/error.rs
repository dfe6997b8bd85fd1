//! The error of the crate: one variant a room.

use thiserror::Error;

use crate::backend::{BackendError, DeviceError};
use crate::measure::{CloudError, MixtureError};
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
    /// A transport problem that cannot be solved as asked.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// There is no such device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The device could not do it.
    #[error(transparent)]
    Backend(#[from] BackendError),
}
