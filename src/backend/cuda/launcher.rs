//! The inner seam: device memory, and kernels launched by name with the shape of `cuLaunchKernel`.
//!
//! Behind it is the driver, or in tests the emulator that runs the very same kernels on the host; so grid arithmetic, order of
//! arguments and the kernels' logic are tested where there is no GPU.

use std::ffi::c_void;

use bytemuck::Pod;

use crate::backend::{BackendError, Chip, Ticket};

/// An address on the device.
pub type Pointer = u64;

/// One device: its memory and its kernels. Calls take effect in the order they are made.
pub trait Launcher: Send + Sync {
    /// `bytes` bytes, aligned to 256, contents undefined.
    ///
    /// # Errors
    /// [`BackendError::OutOfMemory`] with what was needed and what is free.
    fn alloc(&self, bytes: usize) -> Result<Pointer, BackendError>;
    /// Gives back what [`Launcher::alloc`] gave, once the work submitted before is done with it.
    fn free(&self, at: Pointer, bytes: usize);
    /// Copies `from` to the device; `from` may be changed as soon as this returns.
    ///
    /// # Errors
    /// [`BackendError::Launch`] when the device fails, as in all that follows.
    fn write(&self, to: Pointer, from: &[u8]) -> Result<(), BackendError>;
    /// Copies from the device, and waits for it.
    fn read(&self, from: Pointer, to: &mut [u8]) -> Result<(), BackendError>;
    /// Submits a copy of the f64 at `from` to the host, which waits for it when it reads the ticket.
    fn read_later(&self, from: Pointer) -> Result<Ticket, BackendError>;
    /// Sets every byte.
    fn fill(&self, at: Pointer, byte: u8, bytes: usize) -> Result<(), BackendError>;
    /// Submits a kernel; `params` are the addresses of its arguments.
    ///
    /// # Safety
    /// `params` must match the kernel's signature, and the device pointers among them must be good for what it does with them.
    unsafe fn launch(
        &self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        params: &mut [*mut c_void],
    ) -> Result<(), BackendError>;
    /// Records the launches and fills that `work` submits instead of submitting them; none where that is not to be had. In `work`
    /// every other call on this thread is refused.
    fn record(&self, work: &mut dyn FnMut() -> Result<(), BackendError>) -> Result<Option<Box<dyn Recorded>>, BackendError>;
    /// Waits until all that was submitted is done, and reports what failed of it.
    fn synchronize(&self) -> Result<(), BackendError>;
    /// What the device is.
    fn chip(&self) -> Chip;
    /// Bytes that are free.
    fn free_memory(&self) -> Result<u64, BackendError>;
}

/// What [`Launcher::record`] recorded, arguments included.
pub trait Recorded: Send {
    /// Submits all of it.
    ///
    /// # Errors
    /// [`BackendError::Launch`] when the device fails.
    fn replay(&self) -> Result<(), BackendError>;
}

/// Blocks, threads a block, and dynamic shared memory in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads in x, y, z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
}

impl Shape {
    /// Blocks of 256 threads, in x, that hold at least `threads`.
    ///
    /// # Errors
    /// [`BackendError::Launch`] when they are more than a grid holds.
    pub fn covering(threads: usize) -> Result<Self, BackendError> {
        Ok(Self { grid: [blocks(threads, 256)?, 1, 1], block: [256, 1, 1], shared: 0 })
    }
}

/// ⌈count / each⌉ as an extent of a grid in x.
///
/// # Errors
/// [`BackendError::Launch`] above 2³¹ − 1.
pub fn blocks(count: usize, each: usize) -> Result<u32, BackendError> {
    let blocks = count.div_ceil(each);
    i32::try_from(blocks).map(|blocks| blocks as u32).map_err(|_| BackendError::Launch {
        what: "a kernel".into(),
        reason: format!("{blocks} blocks of work are more than a grid holds; use fewer points"),
    })
}

/// A kernel's argument: plain numbers by value, a buffer by its pointer.
pub trait Argument {
    /// Where the argument is.
    fn address(&self) -> *mut c_void;
}

impl<T: Pod> Argument for T {
    fn address(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}
