//! Pinned memory through which copies go, two halves in turn: while one is on the bus the other is filled.

use std::sync::Arc;

use crate::backend::cuda::driver::calls::Fault;
use crate::backend::cuda::driver::handle::{Context, Event, Pinned, Stream};
use crate::backend::cuda::launcher::Pointer;

/// Bytes of a half.
pub const HALF: usize = 4 << 20;

/// Two halves of pinned memory.
pub struct Staging {
    halves: [Half; 2],
    /// The half whose turn it is.
    turn: usize,
}

/// Pinned memory, and the event that says when it is free again.
struct Half {
    pinned: Pinned,
    done: Event,
}

impl Half {
    fn new(context: &Arc<Context>) -> Result<Self, Fault> {
        Ok(Self { pinned: Pinned::new(context, HALF)?, done: Event::new(context)? })
    }

    /// Copies to `to` what was fetched.
    fn take(&self, to: &mut [u8]) -> Result<(), Fault> {
        self.done.wait()?;
        to.copy_from_slice(&self.pinned.bytes()[..to.len()]);
        Ok(())
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.done.settle();
    }
}

impl Staging {
    /// Of `context`.
    pub fn new(context: &Arc<Context>) -> Result<Self, Fault> {
        Ok(Self { halves: [Half::new(context)?, Half::new(context)?], turn: 0 })
    }

    /// Copies `from` to the device; returns when `from` is no longer needed.
    pub fn write(&mut self, stream: &Stream, to: Pointer, from: &[u8]) -> Result<(), Fault> {
        for (chunk, from) in from.chunks(HALF).enumerate() {
            let half = self.next();
            half.done.wait()?;
            half.pinned.bytes_mut()[..from.len()].copy_from_slice(from);
            stream.send(to + (chunk * HALF) as Pointer, &half.pinned, from.len(), &half.done)?;
        }
        Ok(())
    }

    /// Copies from the device, and waits for it.
    pub fn read(&mut self, stream: &Stream, from: Pointer, to: &mut [u8]) -> Result<(), Fault> {
        let mut under_way: Option<&mut [u8]> = None;
        for (chunk, to) in to.chunks_mut(HALF).enumerate() {
            let half = self.next();
            half.done.wait()?;
            stream.fetch(&mut half.pinned, from + (chunk * HALF) as Pointer, to.len(), &half.done)?;
            if let Some(before) = under_way.replace(to) {
                self.halves[1 - self.turn].take(before)?;
            }
        }
        under_way.map_or(Ok(()), |to| self.halves[self.turn].take(to))
    }

    fn next(&mut self) -> &mut Half {
        self.turn ^= 1;
        &mut self.halves[self.turn]
    }
}
