//! Numbers on their way to the host: each has a place in pinned memory and an event, both used again once it is read.

use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::cuda::driver::calls::Fault;
use crate::backend::cuda::driver::handle::{Context, Event, Pinned, Stream};
use crate::backend::cuda::launcher::Pointer;

/// Places for numbers on their way.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<Vec<Place>>>);

/// Pinned memory for one number, and the event that says when it is there.
struct Place {
    number: Pinned,
    there: Event,
}

impl Places {
    /// Submits the copy of the number at `from`; what it returns waits for it.
    pub fn take(&self, stream: &Stream, from: Pointer) -> Result<impl FnOnce() -> Result<f64, Fault> + Send + use<>, Fault> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut place = free.map_or_else(|| Place::new(stream.context()), Ok)?;
        stream.fetch(&mut place.number, from, size_of::<f64>(), &place.there)?;
        let places = self.0.clone();
        Ok(move || {
            let number = place.wait()?;
            places.lock().unwrap_or_else(PoisonError::into_inner).push(place);
            Ok(number)
        })
    }
}

impl Place {
    fn new(context: &Arc<Context>) -> Result<Self, Fault> {
        Ok(Self { number: Pinned::new(context, size_of::<f64>())?, there: Event::new(context)? })
    }

    fn wait(&self) -> Result<f64, Fault> {
        self.there.wait()?;
        Ok(bytemuck::pod_read_unaligned(self.number.bytes()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.there.settle();
    }
}
