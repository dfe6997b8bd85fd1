//! What the ONNX Runtime has taken of memory, as its own allocator counts it.

use std::ffi::CStr;
use std::ptr;

use ort::AsPointer;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;

/// The most bytes that `session` has held at one time, weights and results included; none where the runtime does not count them.
pub(super) fn peak(session: &Session) -> Option<u64> {
    let on_processor = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Arena, MemoryType::Default).ok()?;
    let arena = Allocator::new(session, on_processor).ok()?;
    let api = ort::api();
    let mut counts = ptr::null_mut();
    // SAFETY: the allocator lives; the runtime fills `counts` or reports a status, which is given back.
    let status = unsafe { (api.AllocatorGetStats)(arena.ptr(), &mut counts) };
    if !status.0.is_null() {
        // SAFETY: a status that is not null is owned by the caller.
        unsafe { (api.ReleaseStatus)(status.0) };
        return None;
    }
    // SAFETY: `counts` is a list that the runtime made, and what it holds is read before it is given back.
    unsafe {
        let value = (api.GetKeyValue)(counts, c"MaxInUse".as_ptr());
        let peak = if value.is_null() { None } else { CStr::from_ptr(value).to_str().ok().and_then(|text| text.parse().ok()) };
        (api.ReleaseKeyValuePairs)(counts);
        peak
    }
}
