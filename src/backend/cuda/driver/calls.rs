//! The calls that this crate makes of NVIDIA's driver, so that a test can stand in for it.

use std::ffi::{CStr, c_void};

use cudarc::driver::sys::{
    CUcontext, CUdevice, CUdevice_attribute, CUevent, CUfunction, CUfunction_attribute, CUgraph, CUgraphExec, CUmodule, CUresult,
    CUstream,
};

use crate::backend::BackendError;
use crate::backend::cuda::launcher::Pointer;

/// What the driver answers instead of doing what it was called for.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Its number.
    pub code: CUresult,
    /// Its name, and what that means.
    pub says: String,
}

impl Fault {
    /// As the error of `what`.
    pub fn of(what: &str) -> impl Fn(Self) -> BackendError {
        move |fault| BackendError::Launch { what: what.into(), reason: fault.says }
    }
}

/// One method a call, named after it. Handles are those that this driver gave out and has not been given back; only the owners in
/// `handle.rs` hold them. All calls from [`Calls::set_current`] on are for the context that is current on the calling thread.
pub trait Calls: Send + Sync {
    /// GPUs that there are.
    fn device_count(&self) -> Result<usize, Fault>;
    /// GPU number `ordinal`, and its primary context, held from now on.
    fn retain(&self, ordinal: usize) -> Result<(CUdevice, CUcontext), Fault>;
    /// Lets the primary context go; it ends with its last holder.
    fn release(&self, device: CUdevice) -> Result<(), Fault>;
    /// A number about the GPU.
    fn attribute(&self, device: CUdevice, attribute: CUdevice_attribute) -> Result<i32, Fault>;
    /// Keeps memory that is freed in the device's pool, instead of giving it back at the next wait.
    fn keep_freed(&self, device: CUdevice) -> Result<(), Fault>;
    /// Bytes that the device's pool keeps and nobody uses.
    fn kept(&self, device: CUdevice) -> Result<u64, Fault>;
    /// Gives back what the device's pool keeps.
    fn trim(&self, device: CUdevice) -> Result<(), Fault>;
    /// Makes a context the calling thread's.
    fn set_current(&self, context: CUcontext) -> Result<(), Fault>;
    /// Bytes free on the device.
    fn free_memory(&self) -> Result<u64, Fault>;

    /// A stream that waits for no other.
    fn stream_create(&self) -> Result<CUstream, Fault>;
    /// Waits for all that was submitted.
    fn stream_synchronize(&self, stream: CUstream) -> Result<(), Fault>;
    /// Ends a stream.
    fn stream_destroy(&self, stream: CUstream) -> Result<(), Fault>;
    /// From now on what this thread submits is recorded.
    fn begin_capture(&self, stream: CUstream) -> Result<(), Fault>;
    /// What was recorded; null where it was spoilt.
    fn end_capture(&self, stream: CUstream) -> Result<CUgraph, Fault>;
    /// Makes a graph ready to be launched.
    fn graph_instantiate(&self, graph: CUgraph) -> Result<CUgraphExec, Fault>;
    /// Submits all of a graph.
    fn graph_launch(&self, exec: CUgraphExec, stream: CUstream) -> Result<(), Fault>;
    /// Ends what was instantiated.
    fn graph_exec_destroy(&self, exec: CUgraphExec) -> Result<(), Fault>;
    /// Ends a graph.
    fn graph_destroy(&self, graph: CUgraph) -> Result<(), Fault>;

    /// An event without a clock.
    fn event_create(&self) -> Result<CUevent, Fault>;
    /// The event happens when what was submitted so far is done.
    fn event_record(&self, event: CUevent, stream: CUstream) -> Result<(), Fault>;
    /// Waits for the event as it was recorded last.
    fn event_synchronize(&self, event: CUevent) -> Result<(), Fault>;
    /// Ends an event.
    fn event_destroy(&self, event: CUevent) -> Result<(), Fault>;

    /// Host memory that the device can read and write by itself.
    fn host_alloc(&self, bytes: usize) -> Result<*mut c_void, Fault>;
    /// Gives it back.
    fn host_free(&self, at: *mut c_void) -> Result<(), Fault>;
    /// Device memory; with a stream in the order of its work, from the device's pool.
    fn alloc(&self, bytes: usize, stream: Option<CUstream>) -> Result<Pointer, Fault>;
    /// Gives it back, in the same way.
    fn free(&self, at: Pointer, stream: Option<CUstream>) -> Result<(), Fault>;
    /// Submits setting every byte.
    fn memset(&self, at: Pointer, byte: u8, bytes: usize, stream: CUstream) -> Result<(), Fault>;
    /// Submits a copy to the device; the source is read whenever the stream gets there.
    fn copy_to_device(&self, to: Pointer, from: *const u8, bytes: usize, stream: CUstream) -> Result<(), Fault>;
    /// Submits a copy from the device; the destination is written whenever the stream gets there.
    fn copy_to_host(&self, to: *mut u8, from: Pointer, bytes: usize, stream: CUstream) -> Result<(), Fault>;

    /// Loads a cubin, or PTX that ends in a zero byte.
    fn module_load(&self, image: &[u8]) -> Result<CUmodule, Fault>;
    /// A kernel of a module by its name.
    fn module_function(&self, module: CUmodule, name: &CStr) -> Result<CUfunction, Fault>;
    /// Ends a module.
    fn module_unload(&self, module: CUmodule) -> Result<(), Fault>;
    /// A number about a kernel.
    fn function_attribute(&self, function: CUfunction, attribute: CUfunction_attribute) -> Result<i32, Fault>;
    /// Sets such a number.
    fn set_function_attribute(&self, function: CUfunction, attribute: CUfunction_attribute, value: i32) -> Result<(), Fault>;
    /// Submits a kernel.
    ///
    /// # Safety
    /// `params` must match the kernel's signature, and the device pointers among them must be good for what it does with them.
    unsafe fn launch(
        &self,
        function: CUfunction,
        shape: [[u32; 3]; 2],
        shared: u32,
        stream: CUstream,
        params: &mut [*mut c_void],
    ) -> Result<(), Fault>;
}
