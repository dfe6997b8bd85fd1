//! Memory: how much is free, and how the process ends when it runs out.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brenier::backend::BackendError;

use crate::Failure;
use crate::machine::{self, Limit};

/// The system's memory; where it gives none, a sentence and exit 1 in place of an abort.
pub struct Memory;

#[global_allocator]
static MEMORY: Memory = Memory;

// SAFETY: every call is passed on to the system's allocator as it is; a null pointer never leaves.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        some(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        some(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        some(unsafe { System.realloc(old, layout, size) }, size)
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(old, layout) }
    }
}

/// `pointer`, or the end of the process where it is null.
#[inline]
fn some(pointer: *mut u8, size: usize) -> *mut u8 {
    if pointer.is_null() { exhausted(size) } else { pointer }
}

/// Ends the process without memory of its own: what it writes is put together on the stack.
#[cold]
fn exhausted(size: usize) -> ! {
    static ENDING: AtomicBool = AtomicBool::new(false);
    while ENDING.swap(true, Ordering::Relaxed) {
        std::thread::sleep(Duration::from_secs(1)); // another thread ends the process
    }
    let mut words = [0; 256];
    let mut rest = &mut words[..];
    let _ = writeln!(
        rest,
        "error: the system gave no memory for {size} bytes more; take fewer points, or raise its limit on the memory of a process (ulimit -v)"
    );
    let left = rest.len();
    let _ = io::stderr().write_all(&words[..words.len() - left]);
    machine::leave(1)
}

/// Refuses `what`, of `numbers` numbers of 8 bytes, where it does not fit into the memory that is free.
pub fn require(what: &'static str, numbers: u64) -> Result<(), Failure> {
    let needed = numbers.saturating_mul(8);
    match free() {
        Some(free) if needed > free => Err(BackendError::OutOfMemory { what, needed, free }.into()),
        _ => Ok(()),
    }
}

/// Bytes that the process may still take; none where the system does not say.
pub fn free() -> Option<u64> {
    let left = machine::left(Limit::AddressSpace).into_iter().chain(machine::left(Limit::Data));
    left.chain(machine::memory("MemAvailable")).min()
}
