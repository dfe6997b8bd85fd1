//! Numbers that a device is still computing.

use std::fmt;

use crate::backend::BackendError;

/// A number under way: the work behind it is submitted, and the host waits for it only when it reads.
pub struct Ticket(Number);

enum Number {
    Known(f64),
    UnderWay(Box<dyn FnOnce() -> Result<f64, BackendError> + Send>),
}

impl Ticket {
    /// A number that is there.
    pub fn known(number: f64) -> Self {
        Self(Number::Known(number))
    }

    /// The number that `wait` gives.
    pub fn under_way(wait: impl FnOnce() -> Result<f64, BackendError> + Send + 'static) -> Self {
        Self(Number::UnderWay(Box::new(wait)))
    }

    /// The number, waited for.
    ///
    /// # Errors
    /// [`BackendError::Launch`] when the device failed.
    pub fn read(self) -> Result<f64, BackendError> {
        match self.0 {
            Number::Known(number) => Ok(number),
            Number::UnderWay(wait) => wait(),
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}
