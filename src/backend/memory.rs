//! Memory of a device, and how work reaches it.

use std::borrow::Borrow;

use bytemuck::Pod;

use crate::backend::{Backend, BackendError, Real};

/// A buffer of reals of backend `B`.
pub type Reals<B> = <B as Memory>::Buf<<B as Memory>::Real>;

/// Memory of a device, and how work reaches it.
///
/// Every operation fails with [`BackendError`] when memory runs out or the device fails.
pub trait Memory: Clone + Send + Sync + 'static {
    /// f32 or f64.
    type Real: Real;
    /// Memory of the device: reals, labels, lists.
    type Buf<T: Pod + Send + Sync>: Send + Sync;
    /// Operations that were recorded to be run again: [`Memory::repeat`].
    type Recording: Default + Send;
    /// The backend to use when the clouds do not fit in this device's memory: [`Memory::streamed`].
    type Streamed: Backend;
    /// Iterations that a loop submits before it reads the number it may stop by; 0 where numbers are there at once.
    const AHEAD: usize;
    /// Whether a soft-min of [`HalfPoints`](crate::backend::HalfPoints) is faster than one of the same points as reals.
    const HALVES: bool;

    /// A buffer of `len` zeros.
    fn zeros<T: Pod + Send + Sync>(&self, len: usize) -> Result<Self::Buf<T>, BackendError>;

    /// A copy of `host`.
    fn upload<T: Pod + Send + Sync>(&self, host: &[T]) -> Result<Self::Buf<T>, BackendError>;

    /// A copy on the host.
    fn download<T: Pod + Send + Sync>(&self, buf: &Self::Buf<T>) -> Result<Vec<T>, BackendError>;

    /// The numbers of `host`, rounded to [`Memory::Real`] one by one.
    fn upload_reals(&self, host: impl IntoIterator<Item: Borrow<f64>>) -> Result<Reals<Self>, BackendError> {
        let rounded: Vec<Self::Real> = host.into_iter().map(|x| Self::Real::from_f64(*x.borrow())).collect();
        self.upload(&rounded)
    }

    /// A copy on the host in f64.
    fn download_reals(&self, buf: &Reals<Self>) -> Result<Vec<f64>, BackendError> {
        Ok(self.download(buf)?.into_iter().map(Real::to_f64).collect())
    }

    /// Waits until every operation so far is done; what a clock needs, and nothing else does.
    fn synchronize(&self) -> Result<(), BackendError>;

    /// A backend whose buffers the host holds and whose soft-mins go through this device in tiles that fit; none where memory is
    /// the host's anyway.
    fn streamed(&self) -> Result<Option<Self::Streamed>, BackendError>;

    /// Does `work`, whose operations must be the same on the same buffers each time: a device may record them and run them again
    /// from the record. What they depend on beyond the sizes must lie in buffers.
    fn repeat(
        &self,
        recording: &mut Self::Recording,
        work: &mut dyn FnMut() -> Result<(), BackendError>,
    ) -> Result<(), BackendError>;
}
