//! The launcher over the emulator: device memory is the host's, and every byte that a suite reads back is digested, so that runs
//! in different thread orders can be held to the same bits.

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::c_void;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Mutex;

use brenier::backend::cuda::Launcher;
use brenier::backend::cuda::launcher::Pointer;
use brenier::backend::{BackendError, Chip};
use emulator::Order;

/// What memory holds that nothing was written to.
const POISON: u8 = 0xA5;

pub struct Emulator {
    order: Order,
    read: Mutex<DefaultHasher>,
}

impl Emulator {
    pub fn new(order: Order) -> Self {
        Self { order, read: Mutex::default() }
    }

    /// Digest of all that was read back so far.
    pub fn digest(&self) -> u64 {
        self.read.lock().unwrap().finish()
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 256).unwrap()
}

impl Launcher for Emulator {
    fn alloc(&self, bytes: usize) -> Result<Pointer, BackendError> {
        assert!(bytes > 0, "the driver refuses empty buffers");
        // SAFETY: the layout has a size; the memory is written before it can be read.
        unsafe {
            let at = alloc(layout(bytes));
            assert!(!at.is_null());
            at.write_bytes(POISON, bytes);
            Ok(at as Pointer)
        }
    }

    fn free(&self, at: Pointer, bytes: usize) {
        // SAFETY: it comes from `alloc` with the same layout.
        unsafe { dealloc(at as *mut u8, layout(bytes)) }
    }

    fn write(&self, to: Pointer, from: &[u8]) -> Result<(), BackendError> {
        // SAFETY: the backend hands over ranges within its buffers.
        unsafe { (to as *mut u8).copy_from_nonoverlapping(from.as_ptr(), from.len()) }
        Ok(())
    }

    fn read(&self, from: Pointer, to: &mut [u8]) -> Result<(), BackendError> {
        // SAFETY: as in `write`.
        unsafe { to.as_mut_ptr().copy_from_nonoverlapping(from as *const u8, to.len()) }
        self.read.lock().unwrap().write(to);
        Ok(())
    }

    fn fill(&self, at: Pointer, byte: u8, bytes: usize) -> Result<(), BackendError> {
        // SAFETY: as in `write`.
        unsafe { (at as *mut u8).write_bytes(byte, bytes) }
        Ok(())
    }

    unsafe fn launch(
        &self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        params: &mut [*mut c_void],
    ) -> Result<(), BackendError> {
        // SAFETY: the caller answers for the arguments.
        let done = unsafe { emulator::launch(kernel, grid, block, shared, params, self.order) };
        done.map_err(|reason| BackendError::Launch { what: format!("{kernel} on the emulator"), reason })
    }

    fn synchronize(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn chip(&self) -> Chip {
        Chip { capability: [8, 0], multiprocessors: 1, clock: 1e9, bandwidth: 1e9 }
    }

    fn free_memory(&self) -> Result<u64, BackendError> {
        Ok(1 << 32)
    }
}
