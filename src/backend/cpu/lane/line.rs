//! Scratch of one thread that begins a line of the cache.

use std::ops::{Deref, DerefMut};

use crate::backend::Real;

/// Bytes of a line of the cache: a vector that lies across two of them is read twice.
const LINE: usize = 64;

/// Numbers that begin a line: where the allocator puts them would decide on up to a sixth of a kernel's time.
pub struct Aligned<T> {
    numbers: Vec<T>,
    origin: usize,
}

impl<T: Real> Aligned<T> {
    /// No numbers.
    pub fn new() -> Self {
        Self { numbers: Vec::new(), origin: 0 }
    }

    /// Makes room for `len` numbers, whatever they are.
    pub fn resize(&mut self, len: usize) {
        let most = LINE / size_of::<T>();
        self.numbers.resize(len + most, T::zeroed());
        self.origin = self.numbers.as_ptr().align_offset(LINE).min(most);
        self.numbers.truncate(self.origin + len);
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        &self.numbers[self.origin..]
    }
}

impl<T> DerefMut for Aligned<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.numbers[self.origin..]
    }
}
