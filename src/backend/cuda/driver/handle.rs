//! Owners of the driver's handles: each gives its own back once, and holds the context, which so outlives them all whatever the
//! order in which they go.

use std::ffi::CStr;
use std::sync::Arc;

use cudarc::driver::sys::{CUcontext, CUdevice, CUevent, CUfunction, CUgraph, CUgraphExec, CUmodule, CUstream};

use crate::backend::cuda::driver::calls::{Calls, Fault};
use crate::backend::cuda::launcher::Pointer;

/// The primary context of one GPU.
pub struct Context {
    calls: Arc<dyn Calls>,
    device: CUdevice,
    handle: CUcontext,
}

// SAFETY: the driver's handles may be used from any thread that the context is bound to, and every use binds it.
unsafe impl Send for Context {}
unsafe impl Sync for Context {}

impl Context {
    /// That of GPU number `ordinal`.
    pub fn new(calls: Arc<dyn Calls>, ordinal: usize) -> Result<Arc<Self>, Fault> {
        let (device, handle) = calls.retain(ordinal)?;
        Ok(Arc::new(Self { calls, device, handle }))
    }

    /// The calls, for this context.
    pub fn bound(&self) -> Result<&dyn Calls, Fault> {
        self.calls.set_current(self.handle)?;
        Ok(&*self.calls)
    }

    /// The GPU.
    pub fn device(&self) -> CUdevice {
        self.device
    }

    /// Gives a handle back by `give`. A failure here is one of an earlier call, which reports it, or has nobody to report to.
    pub fn drop_by(&self, give: impl FnOnce(&dyn Calls) -> Result<(), Fault>) {
        let _ = self.bound();
        let _ = give(&*self.calls);
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let _ = self.calls.release(self.device);
    }
}

/// A stream.
pub struct Stream {
    context: Arc<Context>,
    handle: CUstream,
}

// SAFETY: as for the context.
unsafe impl Send for Stream {}
unsafe impl Sync for Stream {}

impl Stream {
    /// A new one.
    pub fn new(context: &Arc<Context>) -> Result<Self, Fault> {
        let handle = context.bound()?.stream_create()?;
        Ok(Self { context: context.clone(), handle })
    }

    /// For calls that submit to it.
    pub fn handle(&self) -> CUstream {
        self.handle
    }

    /// Its context.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Waits for all that was submitted.
    pub fn synchronize(&self) -> Result<(), Fault> {
        self.context.bound()?.stream_synchronize(self.handle)
    }

    /// Waits for all that was submitted, before something goes that it needs.
    pub fn settle(&self) {
        self.context.drop_by(|calls| calls.stream_synchronize(self.handle));
    }

    /// Submits a copy of the first `bytes` of `from` to the device, and `done` behind it.
    pub fn send(&self, to: Pointer, from: &Pinned, bytes: usize, done: &Event) -> Result<(), Fault> {
        debug_assert!(bytes <= from.bytes);
        let calls = self.context.bound()?;
        calls.copy_to_device(to, from.at, bytes, self.handle)?;
        self.mark(calls, done)
    }

    /// Submits a copy of `bytes` from the device to the start of `to`, and `done` behind it.
    pub fn fetch(&self, to: &mut Pinned, from: Pointer, bytes: usize, done: &Event) -> Result<(), Fault> {
        debug_assert!(bytes <= to.bytes);
        let calls = self.context.bound()?;
        calls.copy_to_host(to.at, from, bytes, self.handle)?;
        self.mark(calls, done)
    }

    /// `event` happens when what was submitted so far is done. Where that cannot be had it is waited for at once, so that in
    /// either case the work is over when the event is.
    fn mark(&self, calls: &dyn Calls, event: &Event) -> Result<(), Fault> {
        let marked = calls.event_record(event.handle, self.handle);
        if marked.is_err() {
            // Should this fail too, the device is lost, and the work with it.
            let _ = calls.stream_synchronize(self.handle);
        }
        marked
    }

    /// Begins to record what this thread submits.
    pub fn begin_capture(&self) -> Result<(), Fault> {
        self.context.bound()?.begin_capture(self.handle)
    }

    /// What was recorded, ready to be launched; none where it was spoilt.
    pub fn end_capture(&self) -> Result<Option<Graph>, Fault> {
        let calls = self.context.bound()?;
        let graph = calls.end_capture(self.handle)?;
        if graph.is_null() {
            return Ok(None);
        }
        let graph = Captured { context: self.context.clone(), handle: graph };
        let exec = calls.graph_instantiate(graph.handle)?;
        Ok(Some(Graph { exec, graph }))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.context.drop_by(|calls| calls.stream_destroy(self.handle));
    }
}

/// What a stream recorded.
struct Captured {
    context: Arc<Context>,
    handle: CUgraph,
}

impl Drop for Captured {
    fn drop(&mut self) {
        self.context.drop_by(|calls| calls.graph_destroy(self.handle));
    }
}

/// The same, ready to be launched.
pub struct Graph {
    exec: CUgraphExec,
    graph: Captured,
}

// SAFETY: as for the context; one owner launches it, from one thread at a time.
unsafe impl Send for Graph {}

impl Graph {
    /// Submits all of it to `stream`.
    pub fn launch(&self, stream: &Stream) -> Result<(), Fault> {
        self.graph.context.bound()?.graph_launch(self.exec, stream.handle)
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.graph.context.drop_by(|calls| calls.graph_exec_destroy(self.exec));
    }
}

/// An event, which happens in a stream.
pub struct Event {
    context: Arc<Context>,
    handle: CUevent,
}

// SAFETY: as for the context.
unsafe impl Send for Event {}

impl Event {
    /// One that has happened.
    pub fn new(context: &Arc<Context>) -> Result<Self, Fault> {
        let handle = context.bound()?.event_create()?;
        Ok(Self { context: context.clone(), handle })
    }

    /// Waits for it.
    pub fn wait(&self) -> Result<(), Fault> {
        self.context.bound()?.event_synchronize(self.handle)
    }

    /// Waits for it, before something goes that the work behind it needs.
    pub fn settle(&self) {
        self.context.drop_by(|calls| calls.event_synchronize(self.handle));
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.context.drop_by(|calls| calls.event_destroy(self.handle));
    }
}

/// Memory of the host that the device reads and writes by itself.
pub struct Pinned {
    context: Arc<Context>,
    at: *mut u8,
    bytes: usize,
}

// SAFETY: as for the context.
unsafe impl Send for Pinned {}

impl Pinned {
    /// `bytes` bytes of zero.
    pub fn new(context: &Arc<Context>, bytes: usize) -> Result<Self, Fault> {
        let at = context.bound()?.host_alloc(bytes)?.cast::<u8>();
        // SAFETY: it is as long.
        unsafe { at.write_bytes(0, bytes) };
        Ok(Self { context: context.clone(), at, bytes })
    }

    /// The bytes, while no copy is under way.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: this owns them.
        unsafe { std::slice::from_raw_parts(self.at, self.bytes) }
    }

    /// The bytes, while no copy is under way.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.context.drop_by(|calls| calls.host_free(self.at.cast()));
    }
}

/// A loaded module.
pub struct Module {
    context: Arc<Context>,
    handle: CUmodule,
}

// SAFETY: as for the context.
unsafe impl Send for Module {}
unsafe impl Sync for Module {}

impl Module {
    /// From a cubin, or PTX that ends in a zero byte.
    pub fn load(context: &Arc<Context>, image: &[u8]) -> Result<Self, Fault> {
        let handle = context.bound()?.module_load(image)?;
        Ok(Self { context: context.clone(), handle })
    }

    /// Its kernel of this name.
    pub fn function(&self, name: &CStr) -> Result<CUfunction, Fault> {
        self.context.bound()?.module_function(self.handle, name)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        self.context.drop_by(|calls| calls.module_unload(self.handle));
    }
}
