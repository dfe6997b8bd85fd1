//! NVIDIA GPUs: the kernels of `kernels/`, one launcher file a kernel file, over the [`Launcher`] of a driver or an emulator.
//!
//! Arithmetic is in single precision, sums are in double. Every launch is a function of the sizes alone, so a result repeats bit
//! for bit on one device.

mod buffer;
mod driver;
pub mod launcher;
mod memory;
mod modules;
mod nvrtc;
mod pairs;
mod particles;
mod potentials;
mod recording;
mod scratch;

use std::fmt;
use std::sync::{Arc, Mutex};

use bytemuck::Pod;

use crate::backend::{BackendError, CudaAbsence};

pub use buffer::Buffer;
pub use driver::Driver;
pub(super) use driver::{architectures, gpus};
pub use launcher::Launcher;
use launcher::{Argument, Shape};
pub use recording::Recording;
use scratch::Scratch;

/// A GPU in single precision.
#[derive(Clone)]
pub struct Cuda {
    name: String,
    launcher: Arc<dyn Launcher>,
    scratch: Arc<Mutex<Arc<Buffer<u64>>>>,
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cuda").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Cuda {
    /// GPU number `ordinal`.
    ///
    /// # Errors
    /// [`CudaAbsence`] when it cannot be used.
    pub fn open(ordinal: usize) -> Result<Self, CudaAbsence> {
        let driver = Arc::new(Driver::open(ordinal)?);
        Self::over(driver, format!("cuda:{ordinal}"))
            .map_err(|why| CudaAbsence::Failed { call: "the first buffer".into(), reason: why.to_string() })
    }

    /// The backend over `launcher`, called `name` where results are printed.
    ///
    /// # Errors
    /// [`BackendError`] when the device has no memory at all.
    pub fn over(launcher: Arc<dyn Launcher>, name: String) -> Result<Self, BackendError> {
        let scratch = Arc::new(Mutex::new(Arc::new(Buffer::new(launcher.clone(), 0)?)));
        Ok(Self { name, launcher, scratch })
    }

    /// Name of the device.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device's memory and kernels.
    pub fn launcher(&self) -> &dyn Launcher {
        &*self.launcher
    }

    /// Submits `kernel`.
    fn launch(&self, kernel: &str, shape: Shape, arguments: &[&dyn Argument]) -> Result<(), BackendError> {
        if shape.grid.contains(&0) {
            return Ok(());
        }
        let mut params: Vec<_> = arguments.iter().map(|argument| argument.address()).collect();
        // SAFETY: each launcher file passes what its kernel file declares; the conformance suite runs every one of them.
        unsafe { self.launcher.launch(kernel, shape.grid, shape.block, shape.shared, &mut params) }
    }

    /// A buffer whose contents are not defined yet.
    fn room<T: Pod>(&self, len: usize) -> Result<Buffer<T>, BackendError> {
        Buffer::new(self.launcher.clone(), len)
    }

    /// Working memory of at least `bytes` bytes, kept from one operation to the next. It is free again for the next operation
    /// when the guard is dropped, because operations take effect in the order they are submitted.
    fn scratch(&self, bytes: usize) -> Result<Scratch<'_>, BackendError> {
        Scratch::of(self, bytes)
    }
}

/// How many splits of how many columns, whole tiles of 64, give some 512 blocks beside `tiles` tiles of rows: four for each
/// multiprocessor of the largest devices. For operations whose result does not depend on the splits, or that are sums in double.
fn split_columns(tiles: u32, m: usize) -> (u32, u64) {
    let wanted = 512usize.div_ceil(tiles.max(1) as usize).clamp(1, m.div_ceil(64).max(1));
    let columns = m.div_ceil(wanted).next_multiple_of(64).max(64);
    (m.div_ceil(columns) as u32, columns as u64)
}
