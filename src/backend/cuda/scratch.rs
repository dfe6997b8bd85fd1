//! Working memory that operations share.

use std::ops::Deref;
use std::sync::{Arc, MutexGuard, PoisonError};

use crate::backend::BackendError;
use crate::backend::cuda::{Buffer, Cuda};

/// Working memory, this operation's until it is dropped.
pub struct Scratch<'a>(MutexGuard<'a, Arc<Buffer<u64>>>);

impl<'a> Scratch<'a> {
    /// At least `bytes` bytes, and at most an eighth more: steps of a sixteenth of the next power of two. What is outgrown lives
    /// on where a recording has its address, and is given back first everywhere else.
    pub fn of(cuda: &'a Cuda, bytes: usize) -> Result<Self, BackendError> {
        let mut scratch = cuda.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let words = bytes.div_ceil(size_of::<u64>());
        if scratch.len() < words {
            *scratch = Arc::new(cuda.room(0)?);
            let step = (words.next_power_of_two() / 16).max(1);
            *scratch = Arc::new(cuda.room(words.next_multiple_of(step))?);
        }
        Ok(Self(scratch))
    }

    /// Gives back what there is.
    pub fn release(cuda: &Cuda) -> Result<(), BackendError> {
        *cuda.scratch.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(cuda.room(0)?);
        Ok(())
    }

    /// The memory, kept as long as this is.
    pub fn shared(&self) -> Arc<Buffer<u64>> {
        self.0.clone()
    }
}

impl Deref for Scratch<'_> {
    type Target = Buffer<u64>;

    fn deref(&self) -> &Buffer<u64> {
        &self.0
    }
}
