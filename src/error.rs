//! The error of the crate: one variant a room.

use thiserror::Error;

use crate::io::{ReadError, WriteError};
use crate::measure::{CloudError, MixtureError, NameError};
use crate::path::GridError;

/// Anything that can go wrong, by the room it went wrong in.
#[derive(Debug, Error)]
pub enum Error {
    /// Numbers that do not make a cloud.
    #[error(transparent)]
    Cloud(#[from] CloudError),
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
    /// Times that do not make a grid.
    #[error(transparent)]
    Grid(#[from] GridError),
}
