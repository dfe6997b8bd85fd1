//! What the ONNX Runtime has taken of memory, as its own allocator counts it.

use std::ffi::CStr;
use std::ptr;

use ort::AsPointer;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;

/// The most bytes that the calls of `session` have held at one time, beyond what stays between them; none where the runtime does not
/// count.
pub(super) fn of_calls(session: &Session) -> Option<u64> {
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
    let count = |name: &CStr| -> Option<u64> {
        // SAFETY: `counts` is a list that the runtime made and that is given back below; a value is a text that it holds.
        let value = unsafe { (api.GetKeyValue)(counts, name.as_ptr()).as_ref().map(|text| CStr::from_ptr(text)) };
        value?.to_str().ok()?.parse().ok()
    };
    let (most, now) = (count(c"MaxInUse"), count(c"InUse"));
    // SAFETY: nothing refers to the list any more.
    unsafe { (api.ReleaseKeyValuePairs)(counts) };
    most?.checked_sub(now?)
}
