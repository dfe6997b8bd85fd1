//! The calls as NVIDIA's own library does them, looked for at run time.

use std::ffi::{CStr, c_void};

use cudarc::driver::result::{self, DriverError, event, function, graph, mem_pool, module, primary_ctx, stream};
use cudarc::driver::sys::{
    self, CUcontext, CUdevice, CUdevice_attribute, CUevent, CUfunction, CUfunction_attribute, CUgraph, CUgraphExec,
    CUmemPool_attribute, CUmodule, CUstream,
};

use crate::backend::CudaAbsence;
use crate::backend::cuda::driver::calls::{Calls, Fault};
use crate::backend::cuda::launcher::Pointer;

/// NVIDIA's library; there is one of these only where the library is.
pub struct Nvidia(());

impl Nvidia {
    /// The library, where it is there and answers. Without it any other call would panic.
    ///
    /// # Errors
    /// [`CudaAbsence`] when there is none, or none that answers.
    pub fn present() -> Result<Self, CudaAbsence> {
        // SAFETY: only looks for the library.
        if !unsafe { sys::is_culib_present() } {
            return Err(CudaAbsence::NoDriver);
        }
        let there = Self(());
        result::init().map_err(fault).map_err(|why| why.absence("cuInit"))?;
        Ok(there)
    }

    /// Version of the driver's CUDA, as 12.9.
    ///
    /// # Errors
    /// [`Fault`] of the call.
    pub fn version(&self) -> Result<String, Fault> {
        let mut number = 0;
        // SAFETY: the library is there.
        unsafe { sys::cuDriverGetVersion(&mut number) }.result().map_err(fault)?;
        Ok(format!("{}.{}", number / 1000, number % 1000 / 10))
    }

    /// Name and bytes of memory of GPU number `ordinal`, and its handle.
    ///
    /// # Errors
    /// [`Fault`] of a call.
    pub fn describe(&self, ordinal: usize) -> Result<(String, u64, CUdevice), Fault> {
        let device = result::device::get(ordinal as i32).map_err(fault)?;
        // SAFETY: the device is one that the driver counts.
        let memory = unsafe { result::device::total_mem(device) }.map_err(fault)?;
        Ok((result::device::get_name(device).map_err(fault)?, memory as u64, device))
    }
}

impl Fault {
    /// As the reason why there is no GPU to be had.
    pub fn absence(self, call: &str) -> CudaAbsence {
        CudaAbsence::Failed { call: call.into(), reason: self.says }
    }
}

/// What the driver says about a failure.
fn fault(why: DriverError) -> Fault {
    let says = match (why.error_name(), why.error_string()) {
        (Ok(name), Ok(words)) => format!("{}, {}", name.to_string_lossy(), words.to_string_lossy()),
        _ => format!("error {:?}", why.0),
    };
    Fault { code: why.0, says }
}

/// The pool that a device's streams take memory from.
fn pool(device: CUdevice) -> Result<sys::CUmemoryPool, DriverError> {
    // SAFETY: the device is one that the driver counts.
    unsafe { result::device::get_mem_pool(device) }
}

/// A number of bytes about a pool.
fn pool_bytes(pool: sys::CUmemoryPool, attribute: CUmemPool_attribute) -> Result<u64, DriverError> {
    let mut bytes = 0u64;
    // SAFETY: these attributes are 64-bit numbers.
    unsafe { mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()) }?;
    Ok(bytes)
}

// SAFETY of every block below: the library is there, and handles and addresses are alive as the trait asks for.
impl Calls for Nvidia {
    fn device_count(&self) -> Result<usize, Fault> {
        result::device::get_count().map(|count| count as usize).map_err(fault)
    }

    fn retain(&self, ordinal: usize) -> Result<(CUdevice, CUcontext), Fault> {
        let device = result::device::get(ordinal as i32).map_err(fault)?;
        unsafe { primary_ctx::retain(device) }.map(|context| (device, context)).map_err(fault)
    }

    fn release(&self, device: CUdevice) -> Result<(), Fault> {
        unsafe { primary_ctx::release(device) }.map_err(fault)
    }

    fn attribute(&self, device: CUdevice, attribute: CUdevice_attribute) -> Result<i32, Fault> {
        unsafe { result::device::get_attribute(device, attribute) }.map_err(fault)
    }

    fn keep_freed(&self, device: CUdevice) -> Result<(), Fault> {
        let mut all = u64::MAX;
        let threshold = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        pool(device).and_then(|pool| unsafe { mem_pool::set_attribute(pool, threshold, (&raw mut all).cast()) }).map_err(fault)
    }

    fn kept(&self, device: CUdevice) -> Result<u64, Fault> {
        let of = |pool| {
            let reserved = pool_bytes(pool, CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
            Ok(reserved.saturating_sub(pool_bytes(pool, CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?))
        };
        pool(device).and_then(of).map_err(fault)
    }

    fn trim(&self, device: CUdevice) -> Result<(), Fault> {
        pool(device).and_then(|pool| unsafe { mem_pool::trim_to(pool, 0) }).map_err(fault)
    }

    fn set_current(&self, context: CUcontext) -> Result<(), Fault> {
        unsafe { result::ctx::set_current(context) }.map_err(fault)
    }

    fn free_memory(&self) -> Result<u64, Fault> {
        result::mem_get_info().map(|(free, _)| free as u64).map_err(fault)
    }

    fn stream_create(&self) -> Result<CUstream, Fault> {
        stream::create(stream::StreamKind::NonBlocking).map_err(fault)
    }

    fn stream_synchronize(&self, stream: CUstream) -> Result<(), Fault> {
        unsafe { stream::synchronize(stream) }.map_err(fault)
    }

    fn stream_destroy(&self, stream: CUstream) -> Result<(), Fault> {
        unsafe { stream::destroy(stream) }.map_err(fault)
    }

    fn begin_capture(&self, stream: CUstream) -> Result<(), Fault> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        unsafe { stream::begin_capture(stream, mode) }.map_err(fault)
    }

    fn end_capture(&self, stream: CUstream) -> Result<CUgraph, Fault> {
        unsafe { stream::end_capture(stream) }.map_err(fault)
    }

    fn graph_instantiate(&self, graph: CUgraph) -> Result<CUgraphExec, Fault> {
        unsafe { graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)) }.map_err(fault)
    }

    fn graph_launch(&self, exec: CUgraphExec, stream: CUstream) -> Result<(), Fault> {
        unsafe { graph::launch(exec, stream) }.map_err(fault)
    }

    fn graph_exec_destroy(&self, exec: CUgraphExec) -> Result<(), Fault> {
        unsafe { graph::exec_destroy(exec) }.map_err(fault)
    }

    fn graph_destroy(&self, graph: CUgraph) -> Result<(), Fault> {
        unsafe { graph::destroy(graph) }.map_err(fault)
    }

    fn event_create(&self) -> Result<CUevent, Fault> {
        event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(fault)
    }

    fn event_record(&self, event: CUevent, stream: CUstream) -> Result<(), Fault> {
        unsafe { event::record(event, stream) }.map_err(fault)
    }

    fn event_synchronize(&self, event: CUevent) -> Result<(), Fault> {
        unsafe { event::synchronize(event) }.map_err(fault)
    }

    fn event_destroy(&self, event: CUevent) -> Result<(), Fault> {
        unsafe { event::destroy(event) }.map_err(fault)
    }

    fn host_alloc(&self, bytes: usize) -> Result<*mut c_void, Fault> {
        unsafe { result::malloc_host(bytes, 0) }.map_err(fault)
    }

    fn host_free(&self, at: *mut c_void) -> Result<(), Fault> {
        unsafe { result::free_host(at) }.map_err(fault)
    }

    fn alloc(&self, bytes: usize, stream: Option<CUstream>) -> Result<Pointer, Fault> {
        let got = match stream {
            Some(stream) => unsafe { result::malloc_async(stream, bytes) },
            None => unsafe { result::malloc_sync(bytes) },
        };
        got.map_err(fault)
    }

    fn free(&self, at: Pointer, stream: Option<CUstream>) -> Result<(), Fault> {
        let gone = match stream {
            Some(stream) => unsafe { result::free_async(at, stream) },
            None => unsafe { result::free_sync(at) },
        };
        gone.map_err(fault)
    }

    fn memset(&self, at: Pointer, byte: u8, bytes: usize, stream: CUstream) -> Result<(), Fault> {
        unsafe { result::memset_d8_async(at, byte, bytes, stream) }.map_err(fault)
    }

    fn copy_to_device(&self, to: Pointer, from: *const u8, bytes: usize, stream: CUstream) -> Result<(), Fault> {
        unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.cast(), bytes, stream) }.result().map_err(fault)
    }

    fn copy_to_host(&self, to: *mut u8, from: Pointer, bytes: usize, stream: CUstream) -> Result<(), Fault> {
        unsafe { sys::cuMemcpyDtoHAsync_v2(to.cast(), from, bytes, stream) }.result().map_err(fault)
    }

    fn module_load(&self, image: &[u8]) -> Result<CUmodule, Fault> {
        unsafe { module::load_data(image.as_ptr().cast()) }.map_err(fault)
    }

    fn module_function(&self, module: CUmodule, name: &CStr) -> Result<CUfunction, Fault> {
        unsafe { module::get_function(module, name.to_owned()) }.map_err(fault)
    }

    fn module_unload(&self, module: CUmodule) -> Result<(), Fault> {
        unsafe { module::unload(module) }.map_err(fault)
    }

    fn function_attribute(&self, function: CUfunction, attribute: CUfunction_attribute) -> Result<i32, Fault> {
        unsafe { function::get_function_attribute(function, attribute) }.map_err(fault)
    }

    fn set_function_attribute(&self, function: CUfunction, attribute: CUfunction_attribute, value: i32) -> Result<(), Fault> {
        unsafe { function::set_function_attribute(function, attribute, value) }.map_err(fault)
    }

    unsafe fn launch(
        &self,
        function: CUfunction,
        [grid, block]: [[u32; 3]; 2],
        shared: u32,
        stream: CUstream,
        params: &mut [*mut c_void],
    ) -> Result<(), Fault> {
        unsafe { result::launch_kernel(function, grid.into(), block.into(), shared, stream, params) }.map_err(fault)
    }
}
