//! Help from a device that does not hold the clouds.

use std::fmt::Debug;

use crate::backend::BackendError;
use crate::backend::cpu::pairs::soft_min::{Mean, Pairs};

/// Does soft-mins of what the host holds.
pub trait Assistant<T>: Debug + Send + Sync {
    /// `out_i = log Σ_j exp(h_j + k_j x_i·y_j − shift_i)` and, where asked, the mean behind it.
    ///
    /// # Errors
    /// [`BackendError`] when the device fails, or has no room for the smallest of tiles.
    fn soft_min(&self, pairs: Pairs<'_, T>, out: &mut [T], mean: Option<Mean<'_, T>>) -> Result<(), BackendError>;
}
