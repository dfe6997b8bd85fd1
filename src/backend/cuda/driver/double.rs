//! A driver that is none: it keeps account of what is alive, does copies only when they are waited for, fails at the call it is
//! told to, and remembers each use of what is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, c_void};
use std::sync::{Arc, Mutex};

use cudarc::driver::sys::{
    CUcontext, CUdevice, CUdevice_attribute as Attribute, CUevent, CUfunction, CUfunction_attribute, CUgraph, CUgraphExec,
    CUmodule, CUresult, CUstream,
};

use crate::backend::cuda::driver::calls::{Calls, Fault};
use crate::backend::cuda::launcher::Pointer;

/// What memory holds that nothing was copied to yet.
const POISON: u8 = 0xA5;

/// What a handle is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Context,
    Stream,
    Event,
    Pinned,
    Memory,
    Module,
    Graph,
    Exec,
}

/// A copy that is not done yet, from one address to another.
struct Copy {
    to: usize,
    from: usize,
    bytes: usize,
    /// The number of its submission.
    at: u64,
}

#[derive(Default)]
struct State {
    calls: u64,
    log: Vec<&'static str>,
    next: usize,
    alive: BTreeSet<(Kind, usize)>,
    /// Blocks of memory of both kinds, by address.
    blocks: BTreeMap<usize, Box<[u8]>>,
    under_way: Vec<Copy>,
    submitted: u64,
    /// Up to which submission each event waits.
    marks: BTreeMap<usize, u64>,
    recording: bool,
    /// Whether the device does nothing any more.
    lost: bool,
    current: bool,
    pool_is_kept: bool,
    wrong: Vec<String>,
}

/// The double.
#[derive(Default)]
pub struct Double {
    state: Mutex<State>,
    /// The call that fails, counted from 1, and how.
    fails: Option<(u64, CUresult)>,
    /// Whether there is a pool of memory.
    pooled: bool,
}

impl Double {
    /// A driver with a pool of memory or without, one of whose calls fails if one is to.
    pub fn new(pooled: bool, fails: Option<(u64, CUresult)>) -> Arc<Self> {
        Arc::new(Self { pooled, fails, ..Self::default() })
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.state.lock().unwrap().calls
    }

    /// Times that this call was made.
    pub fn made(&self, call: &str) -> usize {
        self.state.lock().unwrap().log.iter().filter(|made| **made == call).count()
    }

    /// Whether freed memory is kept.
    pub fn keeps_freed(&self) -> bool {
        self.state.lock().unwrap().pool_is_kept
    }

    /// What is wrong so far, and what is still alive.
    pub fn faults(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let alive = state.alive.iter().map(|(kind, handle)| format!("{kind:?} {handle:#x} is never given back"));
        state.wrong.iter().cloned().chain(alive).collect()
    }

    /// A call: counted, written down, and failing where it is its turn.
    fn call<T>(&self, name: &'static str, does: impl FnOnce(&mut State) -> T) -> Result<T, Fault> {
        let mut state = self.state.lock().unwrap();
        state.calls += 1;
        state.log.push(name);
        let (number, releases) = (state.calls, name.ends_with("destroy") || name.ends_with("free") || name == "release");
        let Some((turn, code)) = self.fails.filter(|(turn, _)| *turn == number || state.lost) else {
            return Ok(does(&mut state));
        };
        if releases || name == "module_unload" {
            // What gives something back does so all the same, and reports an earlier failure.
            does(&mut state);
        } else if turn == number && name.ends_with("synchronize") {
            // What waits finds the device lost, with the work under way.
            state.lost = true;
            state.under_way.clear();
        }
        Err(Fault { code, says: format!("{name}, call {number}, was told to fail") })
    }
}

impl State {
    fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    fn make(&mut self, kind: Kind) -> usize {
        if kind != Kind::Context {
            self.needs_context(kind);
        }
        self.next += 16;
        let handle = 0x1000 + self.next;
        self.alive.insert((kind, handle));
        handle
    }

    fn block(&mut self, kind: Kind, bytes: usize) -> usize {
        self.needs_context(kind);
        let block = vec![POISON; bytes].into_boxed_slice();
        let at = block.as_ptr() as usize;
        self.blocks.insert(at, block);
        self.alive.insert((kind, at));
        at
    }

    fn give_back(&mut self, kind: Kind, handle: usize) {
        self.needs_context(kind);
        if !self.alive.remove(&(kind, handle)) {
            self.wrong(format!("{kind:?} {handle:#x} is given back twice"));
        }
    }

    fn free(&mut self, kind: Kind, at: usize) {
        let end = at + self.blocks.get(&at).map_or(0, |block| block.len());
        if kind == Kind::Pinned
            && self.under_way.iter().any(|copy| (at..end).contains(&copy.to) || (at..end).contains(&copy.from))
        {
            self.wrong(format!("{at:#x} is freed while a copy is under way"));
        }
        if kind == Kind::Memory {
            // In the order of the stream: what was submitted before is done.
            self.until(u64::MAX);
        }
        self.give_back(kind, at);
        self.blocks.remove(&at);
    }

    fn needs_context(&mut self, of: Kind) {
        if !self.current || !self.alive.iter().any(|(kind, _)| *kind == Kind::Context) {
            self.wrong(format!("{of:?} is made, used or given back without a context"));
        }
    }

    fn needs(&mut self, kind: Kind, handle: usize) {
        self.needs_context(kind);
        if !self.alive.contains(&(kind, handle)) {
            self.wrong(format!("{kind:?} {handle:#x} is used and is not alive"));
        }
    }

    /// The block with these bytes, if there is one.
    fn bytes(&mut self, at: usize, bytes: usize) -> Option<&mut [u8]> {
        let (&start, _) = self.blocks.range(..=at).next_back()?;
        let block = self.blocks.get_mut(&start)?;
        block.get_mut(at - start..at - start + bytes)
    }

    /// Begins a copy: what it will write is poisoned.
    fn submit(&mut self, to: usize, from: usize, bytes: usize) {
        match (self.bytes(from, bytes).is_some(), self.bytes(to, bytes)) {
            (true, Some(to)) => to.fill(POISON),
            _ => self.wrong(format!("a copy of {bytes} bytes from {from:#x} to {to:#x} is beyond what there is")),
        }
        self.submitted += 1;
        self.under_way.push(Copy { to, from, bytes, at: self.submitted });
    }

    /// Does the copies up to submission `last`, in order.
    fn until(&mut self, last: u64) {
        for copy in std::mem::take(&mut self.under_way) {
            if copy.at > last {
                self.under_way.push(copy);
                continue;
            }
            let read = self.bytes(copy.from, copy.bytes).map(|bytes| bytes.to_vec());
            match (read, self.bytes(copy.to, copy.bytes)) {
                (Some(read), Some(to)) => to.copy_from_slice(&read),
                _ => self.wrong(format!("memory of a copy to {:#x} is gone before it is done", copy.to)),
            }
        }
    }
}

impl Calls for Double {
    fn device_count(&self) -> Result<usize, Fault> {
        self.call("device_count", |_| 1)
    }

    fn retain(&self, ordinal: usize) -> Result<(CUdevice, CUcontext), Fault> {
        self.call("retain", |state| (ordinal as CUdevice, state.make(Kind::Context) as CUcontext))
    }

    fn release(&self, _: CUdevice) -> Result<(), Fault> {
        self.call("release", |state| {
            let of = state.alive.iter().find(|(kind, _)| *kind == Kind::Context).copied();
            match of {
                Some(context) => _ = state.alive.remove(&context),
                None => state.wrong("the context is released twice".into()),
            }
            for (kind, handle) in state.alive.clone() {
                state.wrong(format!("{kind:?} {handle:#x} outlives the context"));
            }
            state.current = false;
        })
    }

    fn attribute(&self, _: CUdevice, attribute: Attribute) -> Result<i32, Fault> {
        self.call("attribute", |_| match attribute {
            Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED => i32::from(self.pooled),
            Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR => 9,
            Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR => 0,
            Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN => 227 << 10,
            _ => 100,
        })
    }

    fn keep_freed(&self, _: CUdevice) -> Result<(), Fault> {
        self.call("keep_freed", |state| state.pool_is_kept = true)
    }

    fn kept(&self, _: CUdevice) -> Result<u64, Fault> {
        self.call("kept", |_| 1 << 20)
    }

    fn trim(&self, _: CUdevice) -> Result<(), Fault> {
        self.call("trim", |_| ())
    }

    fn set_current(&self, context: CUcontext) -> Result<(), Fault> {
        self.call("set_current", |state| {
            state.current = true;
            state.needs(Kind::Context, context as usize);
        })
    }

    fn free_memory(&self) -> Result<u64, Fault> {
        self.call("free_memory", |_| 1 << 30)
    }

    fn stream_create(&self) -> Result<CUstream, Fault> {
        self.call("stream_create", |state| state.make(Kind::Stream) as CUstream)
    }

    fn stream_synchronize(&self, stream: CUstream) -> Result<(), Fault> {
        self.call("stream_synchronize", |state| {
            state.needs(Kind::Stream, stream as usize);
            state.until(u64::MAX);
        })
    }

    fn stream_destroy(&self, stream: CUstream) -> Result<(), Fault> {
        self.call("stream_destroy", |state| state.give_back(Kind::Stream, stream as usize))
    }

    fn begin_capture(&self, stream: CUstream) -> Result<(), Fault> {
        self.call("begin_capture", |state| {
            state.needs(Kind::Stream, stream as usize);
            state.recording = true;
        })
    }

    fn end_capture(&self, stream: CUstream) -> Result<CUgraph, Fault> {
        self.call("end_capture", |state| {
            state.needs(Kind::Stream, stream as usize);
            state.recording = false;
            state.make(Kind::Graph) as CUgraph
        })
    }

    fn graph_instantiate(&self, graph: CUgraph) -> Result<CUgraphExec, Fault> {
        self.call("graph_instantiate", |state| {
            state.needs(Kind::Graph, graph as usize);
            state.make(Kind::Exec) as CUgraphExec
        })
    }

    fn graph_launch(&self, exec: CUgraphExec, stream: CUstream) -> Result<(), Fault> {
        self.call("graph_launch", |state| {
            state.needs(Kind::Exec, exec as usize);
            state.needs(Kind::Stream, stream as usize);
        })
    }

    fn graph_exec_destroy(&self, exec: CUgraphExec) -> Result<(), Fault> {
        self.call("graph_exec_destroy", |state| state.give_back(Kind::Exec, exec as usize))
    }

    fn graph_destroy(&self, graph: CUgraph) -> Result<(), Fault> {
        self.call("graph_destroy", |state| state.give_back(Kind::Graph, graph as usize))
    }

    fn event_create(&self) -> Result<CUevent, Fault> {
        self.call("event_create", |state| state.make(Kind::Event) as CUevent)
    }

    fn event_record(&self, event: CUevent, stream: CUstream) -> Result<(), Fault> {
        self.call("event_record", |state| {
            state.needs(Kind::Event, event as usize);
            state.needs(Kind::Stream, stream as usize);
            state.marks.insert(event as usize, state.submitted);
        })
    }

    fn event_synchronize(&self, event: CUevent) -> Result<(), Fault> {
        self.call("event_synchronize", |state| {
            state.needs(Kind::Event, event as usize);
            let last = state.marks.get(&(event as usize)).copied().unwrap_or(0);
            state.until(last);
        })
    }

    fn event_destroy(&self, event: CUevent) -> Result<(), Fault> {
        self.call("event_destroy", |state| state.give_back(Kind::Event, event as usize))
    }

    fn host_alloc(&self, bytes: usize) -> Result<*mut c_void, Fault> {
        self.call("host_alloc", |state| state.block(Kind::Pinned, bytes) as *mut c_void)
    }

    fn host_free(&self, at: *mut c_void) -> Result<(), Fault> {
        self.call("host_free", |state| state.free(Kind::Pinned, at as usize))
    }

    fn alloc(&self, bytes: usize, stream: Option<CUstream>) -> Result<Pointer, Fault> {
        self.call("alloc", |state| {
            stream.inspect(|stream| state.needs(Kind::Stream, *stream as usize));
            state.block(Kind::Memory, bytes) as Pointer
        })
    }

    fn free(&self, at: Pointer, stream: Option<CUstream>) -> Result<(), Fault> {
        self.call("free", |state| {
            stream.inspect(|stream| state.needs(Kind::Stream, *stream as usize));
            state.free(Kind::Memory, at as usize);
        })
    }

    fn memset(&self, at: Pointer, byte: u8, bytes: usize, stream: CUstream) -> Result<(), Fault> {
        self.call("memset", |state| {
            state.needs(Kind::Stream, stream as usize);
            if state.recording {
                return;
            }
            state.until(u64::MAX);
            match state.bytes(at as usize, bytes) {
                Some(to) => to.fill(byte),
                None => state.wrong(format!("{bytes} bytes at {at:#x} are set beyond what there is")),
            }
        })
    }

    fn copy_to_device(&self, to: Pointer, from: *const u8, bytes: usize, stream: CUstream) -> Result<(), Fault> {
        self.call("copy_to_device", |state| {
            state.needs(Kind::Stream, stream as usize);
            state.submit(to as usize, from as usize, bytes);
        })
    }

    fn copy_to_host(&self, to: *mut u8, from: Pointer, bytes: usize, stream: CUstream) -> Result<(), Fault> {
        self.call("copy_to_host", |state| {
            state.needs(Kind::Stream, stream as usize);
            state.submit(to as usize, from as usize, bytes);
        })
    }

    fn module_load(&self, image: &[u8]) -> Result<CUmodule, Fault> {
        self.call("module_load", |state| {
            if !(image.as_ptr() as usize).is_multiple_of(8) {
                state.wrong("a module is loaded from where no word begins".into());
            }
            state.make(Kind::Module) as CUmodule
        })
    }

    fn module_function(&self, module: CUmodule, _: &CStr) -> Result<CUfunction, Fault> {
        self.call("module_function", |state| {
            state.needs(Kind::Module, module as usize);
            module as CUfunction
        })
    }

    fn module_unload(&self, module: CUmodule) -> Result<(), Fault> {
        self.call("module_unload", |state| state.give_back(Kind::Module, module as usize))
    }

    fn function_attribute(&self, function: CUfunction, _: CUfunction_attribute) -> Result<i32, Fault> {
        self.call("function_attribute", |state| {
            state.needs(Kind::Module, function as usize);
            1 << 10
        })
    }

    fn set_function_attribute(&self, function: CUfunction, _: CUfunction_attribute, value: i32) -> Result<(), Fault> {
        self.call("set_function_attribute", |state| {
            state.needs(Kind::Module, function as usize);
            if value != (226 << 10) {
                state.wrong(format!("{value} bytes of dynamic shared memory are not all but the kernel's own"));
            }
        })
    }

    unsafe fn launch(
        &self,
        function: CUfunction,
        _: [[u32; 3]; 2],
        _: u32,
        stream: CUstream,
        _: &mut [*mut c_void],
    ) -> Result<(), Fault> {
        self.call("launch", |state| {
            state.needs(Kind::Module, function as usize);
            state.needs(Kind::Stream, stream as usize);
        })
    }
}
