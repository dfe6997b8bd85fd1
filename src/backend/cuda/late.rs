//! Numbers on their way to the host: each has a place in pinned memory and an event, both used again once it is read.

use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::result::{self, DriverError, event};
use cudarc::driver::{CudaContext, sys};

use crate::backend::cuda::launcher::Pointer;

/// Places for numbers on their way.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<Vec<Place>>>);

/// Pinned memory for one number, and the event that says when it is there.
struct Place {
    context: Arc<CudaContext>,
    number: *mut f64,
    there: sys::CUevent,
}

// SAFETY: the driver's handles may be used from any thread that the context is bound to, and every use binds it.
unsafe impl Send for Place {}

impl Places {
    /// Submits the copy of the number at `from`; what it returns waits for it.
    pub fn take(
        &self,
        context: &Arc<CudaContext>,
        stream: sys::CUstream,
        from: Pointer,
    ) -> Result<impl FnOnce() -> Result<f64, DriverError> + Send + use<>, DriverError> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let place = free.map_or_else(|| Place::new(context.clone()), Ok)?;
        // SAFETY: the place is this copy's until its event has been waited for.
        unsafe {
            result::memcpy_dtoh_async(std::slice::from_raw_parts_mut(place.number, 1), from, stream)?;
            event::record(place.there, stream)?;
        }
        let places = self.0.clone();
        Ok(move || {
            let number = place.wait()?;
            places.lock().unwrap_or_else(PoisonError::into_inner).push(place);
            Ok(number)
        })
    }
}

impl Place {
    fn new(context: Arc<CudaContext>) -> Result<Self, DriverError> {
        // SAFETY: both are given back when dropped.
        let number = unsafe { result::malloc_host(size_of::<f64>(), 0)?.cast() };
        Ok(Self { context, number, there: event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)? })
    }

    fn wait(&self) -> Result<f64, DriverError> {
        self.context.bind_to_thread()?;
        // SAFETY: the copy is done when the event is.
        unsafe {
            event::synchronize(self.there)?;
            Ok(self.number.read_volatile())
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A copy under way is waited for; failures have nobody to report to.
        let _ = self.wait();
        // SAFETY: both are this one's own.
        unsafe {
            let _ = event::destroy(self.there);
            let _ = result::free_host(self.number.cast());
        }
    }
}
