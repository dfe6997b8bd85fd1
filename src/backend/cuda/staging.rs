//! Pinned memory through which copies go, two halves in turn: while one is on the bus the other is filled.

use cudarc::driver::result::{self, DriverError, event};
use cudarc::driver::sys;

use crate::backend::cuda::launcher::Pointer;

/// Bytes of a half.
const HALF: usize = 4 << 20;

/// Two halves of pinned memory, each with the event that says when it is free again.
pub struct Staging {
    halves: [*mut u8; 2],
    done: [sys::CUevent; 2],
    /// The half whose turn it is.
    turn: usize,
}

impl Staging {
    /// On the current context.
    pub fn new() -> Result<Self, DriverError> {
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
        // SAFETY: the memory is given back when dropped.
        let halves = unsafe { [result::malloc_host(HALF, 0)?.cast(), result::malloc_host(HALF, 0)?.cast()] };
        Ok(Self { halves, done: [event::create(flags)?, event::create(flags)?], turn: 0 })
    }

    /// Copies `from` to the device; returns when `from` is no longer needed.
    pub fn write(&mut self, stream: sys::CUstream, to: Pointer, from: &[u8]) -> Result<(), DriverError> {
        for (chunk, from) in from.chunks(HALF).enumerate() {
            let (half, done) = self.next();
            // SAFETY: a half is written when the copy before from it is done; the device's range is the caller's.
            unsafe {
                event::synchronize(done)?;
                let pinned = std::slice::from_raw_parts_mut(half, from.len());
                pinned.copy_from_slice(from);
                result::memcpy_htod_async(to + (chunk * HALF) as Pointer, pinned, stream)?;
                event::record(done, stream)?;
            }
        }
        Ok(())
    }

    /// Copies from the device, and waits for it.
    pub fn read(&mut self, stream: sys::CUstream, from: Pointer, to: &mut [u8]) -> Result<(), DriverError> {
        let mut under_way: Option<(*mut u8, sys::CUevent, &mut [u8])> = None;
        for (chunk, to) in to.chunks_mut(HALF).enumerate() {
            let (half, done) = self.next();
            // SAFETY: as in `write`; a half is read when its copy is done.
            unsafe {
                event::synchronize(done)?;
                let pinned = std::slice::from_raw_parts_mut(half, to.len());
                result::memcpy_dtoh_async(pinned, from + (chunk * HALF) as Pointer, stream)?;
                event::record(done, stream)?;
            }
            if let Some(before) = under_way.replace((half, done, to)) {
                Self::take(before)?;
            }
        }
        under_way.map_or(Ok(()), Self::take)
    }

    fn take((half, done, to): (*mut u8, sys::CUevent, &mut [u8])) -> Result<(), DriverError> {
        // SAFETY: the copy into the half is done when the event is.
        unsafe {
            event::synchronize(done)?;
            to.copy_from_slice(std::slice::from_raw_parts(half, to.len()));
        }
        Ok(())
    }

    fn next(&mut self) -> (*mut u8, sys::CUevent) {
        self.turn ^= 1;
        (self.halves[self.turn], self.done[self.turn])
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        for (half, done) in self.halves.into_iter().zip(self.done) {
            // SAFETY: both are this one's own; a copy under way is waited for.
            unsafe {
                let _ = event::synchronize(done);
                let _ = event::destroy(done);
                let _ = result::free_host(half.cast());
            }
        }
    }
}
