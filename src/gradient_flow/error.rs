//! Why a flow cannot be run, or where it stopped.

use thiserror::Error;

use crate::transport::TransportError;

/// Why a flow cannot be run, or where it stopped.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum FlowError {
    /// A step that is none.
    #[error("tau = {tau}; a step of the flow needs a finite tau above zero")]
    Tau {
        /// The τ given.
        tau: f64,
    },
    /// The transport problem behind a step has no answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl FlowError {
    /// Refuses a τ that is no step.
    pub(crate) fn check_tau(tau: f64) -> Result<(), Self> {
        if tau > 0.0 && tau.is_finite() { Ok(()) } else { Err(Self::Tau { tau }) }
    }
}
