//! The error of the crate: one variant a room.

use thiserror::Error;

use crate::measure::{CloudError, MixtureError};
use crate::path::{ConversionError, GridError, ScheduleError};
use crate::sampler::UnknownMethod;

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
    /// Parameters that do not make a schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A prediction that does not determine another.
    #[error(transparent)]
    Conversion(#[from] ConversionError),
    /// A method that is not known.
    #[error(transparent)]
    Method(#[from] UnknownMethod),
}

/// The name of `known`, not empty, that is most like `name`: what an error about a misspelt name offers.
pub(crate) fn nearest(name: &str, known: &[&'static str]) -> &'static str {
    let mut best = known[0];
    for candidate in known {
        if strsim::jaro_winkler(name, candidate) > strsim::jaro_winkler(name, best) {
            best = candidate;
        }
    }
    best
}
