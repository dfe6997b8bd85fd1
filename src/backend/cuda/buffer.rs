//! Memory of a device.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::sync::Arc;

use bytemuck::Pod;

use crate::backend::BackendError;
use crate::backend::cuda::launcher::{Argument, Launcher, Pointer};

/// `len` numbers on the device, given back when dropped. As an argument of a kernel it is the address of the first.
pub struct Buffer<T> {
    launcher: Arc<dyn Launcher>,
    at: Pointer,
    len: usize,
    elements: PhantomData<T>,
}

impl<T> Buffer<T> {
    /// Numbers in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of the first.
    pub fn at(&self) -> Pointer {
        self.at
    }
}

impl<T: Pod> Buffer<T> {
    /// Room for `len` numbers, contents undefined.
    pub(super) fn new(launcher: Arc<dyn Launcher>, len: usize) -> Result<Self, BackendError> {
        let at = if len == 0 { 0 } else { launcher.alloc(len * size_of::<T>())? };
        Ok(Self { launcher, at, len, elements: PhantomData })
    }

    /// Sets every byte to zero.
    pub(super) fn clear(&mut self) -> Result<(), BackendError> {
        if self.len == 0 { Ok(()) } else { self.launcher.fill(self.at, 0, self.len * size_of::<T>()) }
    }

    /// Copies `host`, at most as long as this buffer, to its start.
    pub(super) fn write(&mut self, host: &[T]) -> Result<(), BackendError> {
        debug_assert!(host.len() <= self.len);
        if host.is_empty() { Ok(()) } else { self.launcher.write(self.at, bytemuck::cast_slice(host)) }
    }

    /// The first `len` numbers.
    pub(super) fn read(&self, len: usize) -> Result<Vec<T>, BackendError> {
        debug_assert!(len <= self.len);
        let mut host = vec![T::zeroed(); len];
        if len > 0 {
            self.launcher.read(self.at, bytemuck::cast_slice_mut(&mut host))?;
        }
        Ok(host)
    }
}

impl<T> Argument for Buffer<T> {
    fn address(&self) -> *mut c_void {
        std::ptr::from_ref(&self.at).cast_mut().cast()
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.len > 0 {
            self.launcher.free(self.at, self.len * size_of::<T>());
        }
    }
}

// SAFETY: the address is the device's; every access goes through the launcher, which is Send and Sync.
unsafe impl<T: Send> Send for Buffer<T> {}
unsafe impl<T: Sync> Sync for Buffer<T> {}
