//! Why a backend could not do what it was asked.

use thiserror::Error;

/// Why a backend could not do what it was asked.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum BackendError {
    /// Not enough memory.
    #[error("{what} needs {needed} bytes and {free} are free; use fewer points")]
    OutOfMemory {
        /// What was to be allocated.
        what: &'static str,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// What a GPU has no code for.
    #[error("{what} is for the processor alone; use --device cpu")]
    ProcessorOnly {
        /// What was asked for.
        what: &'static str,
    },
    /// The device failed.
    #[error("{what} failed on the GPU: {reason}")]
    Launch {
        /// The kernel, or the call to the driver.
        what: String,
        /// What the device says.
        reason: String,
    },
}
