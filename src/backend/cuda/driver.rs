//! The launcher over NVIDIA's driver, looked for at run time: one context, one stream, the modules that the binary carries.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use cudarc::driver::result::{self, DriverError, module};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use cudarc::driver::{CudaContext, CudaGraph, CudaStream};

use crate::backend::cuda::late::Places;
use crate::backend::cuda::launcher::{Launcher, Pointer, Recorded};
use crate::backend::cuda::modules::{MODULES, Module, NVRTC};
use crate::backend::cuda::nvrtc;
use crate::backend::cuda::staging::Staging;
use crate::backend::{BackendError, Chip, CudaAbsence, Gpu, Ticket};

/// Dynamic shared memory that a kernel may have without asking.
const SHARED_UNASKED: u32 = 48 << 10;

/// The driver's stream on one GPU.
pub struct Driver {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// Where launches go that are recorded and not run: nothing else ever does.
    recorder: Arc<CudaStream>,
    /// The thread that records.
    recording: Mutex<Option<ThreadId>>,
    modules: Vec<sys::CUmodule>,
    functions: Mutex<HashMap<String, Function>>,
    staging: Mutex<Staging>,
    late: Places,
    chip: Chip,
}

/// A kernel, and whether it may have all of the dynamic shared memory.
#[derive(Clone, Copy)]
struct Function {
    handle: sys::CUfunction,
    asked: bool,
}

// SAFETY: the driver's handles may be used from any thread that the context is bound to, and every call binds it.
unsafe impl Send for Driver {}
unsafe impl Sync for Driver {}

/// Version of the driver's CUDA, as 12.9.
fn version() -> Result<String, CudaAbsence> {
    present()?;
    let mut number = 0;
    // SAFETY: the library is there.
    unsafe { sys::cuDriverGetVersion(&mut number) }.result().map_err(|why| absent("cuDriverGetVersion", why))?;
    Ok(format!("{}.{}", number / 1000, number % 1000 / 10))
}

/// The GPUs that the driver sees.
///
/// # Errors
/// [`CudaAbsence`] when there are no kernels or no driver.
pub fn gpus() -> Result<Vec<Gpu>, CudaAbsence> {
    kernels()?;
    present()?;
    let driver = version()?;
    let count = CudaContext::device_count().map_err(|why| absent("cuDeviceGetCount", why))?;
    (0..count as usize)
        .map(|ordinal| {
            let describe = || -> Result<Gpu, DriverError> {
                let device = result::device::get(ordinal as i32)?;
                // SAFETY: the device is one that the driver counts.
                let memory = unsafe { result::device::total_mem(device) }? as u64;
                Ok(Gpu { ordinal, name: result::device::get_name(device)?, memory, driver: driver.clone(), chip: chip(device)? })
            };
            describe().map_err(|why| absent("cuDeviceGet", why))
        })
        .collect()
}

/// Architectures that the binary carries kernels for, machine code first: `sm_80`, …, `compute_80`.
pub fn architectures() -> Vec<String> {
    let Some(module) = MODULES.first() else { return Vec::new() };
    let cubins = module.cubins.iter().map(|(arch, _)| format!("sm_{arch}"));
    cubins.chain(module.ptx.map(|_| "compute_80".into())).collect()
}

/// Whether kernels can be had: carried, or compiled here.
fn kernels() -> Result<(), CudaAbsence> {
    // SAFETY: only looks for the library.
    if NVRTC.is_some() || unsafe { cudarc::nvrtc::sys::is_culib_present() } { Ok(()) } else { Err(CudaAbsence::NoKernels) }
}

/// Whether there is a driver that answers. Without its library any other call would panic.
fn present() -> Result<(), CudaAbsence> {
    // SAFETY: only looks for the library.
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaAbsence::NoDriver);
    }
    result::init().map_err(|why| absent("cuInit", why))
}

fn absent(call: &str, why: DriverError) -> CudaAbsence {
    CudaAbsence::Failed { call: call.into(), reason: said(why) }
}

/// What the driver says about a failure.
fn said(why: DriverError) -> String {
    match (why.error_name(), why.error_string()) {
        (Ok(name), Ok(words)) => format!("{}, {}", name.to_string_lossy(), words.to_string_lossy()),
        _ => format!("error {:?}", why.0),
    }
}

fn failed(what: &str) -> impl Fn(DriverError) -> BackendError {
    move |why| BackendError::Launch { what: what.into(), reason: said(why) }
}

fn chip(device: sys::CUdevice) -> Result<Chip, DriverError> {
    // SAFETY: the device is one that the driver counts.
    let read = |attribute| unsafe { result::device::get_attribute(device, attribute) };
    let memory_clock = 1e3 * f64::from(read(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)?);
    let bus = f64::from(read(Attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH)?) / 8.0;
    Ok(Chip {
        capability: [
            read(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)? as u32,
            read(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)? as u32,
        ],
        multiprocessors: read(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as u32,
        clock: 1e3 * f64::from(read(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?),
        // Two transfers a clock.
        bandwidth: 2.0 * memory_clock * bus,
    })
}

impl Driver {
    /// GPU number `ordinal` with the kernels loaded.
    ///
    /// # Errors
    /// [`CudaAbsence`], when there is no driver, no such GPU, or no way to get kernels for it.
    pub fn open(ordinal: usize) -> Result<Self, CudaAbsence> {
        kernels()?;
        present()?;
        let count = CudaContext::device_count().map_err(|why| absent("cuDeviceGetCount", why))? as usize;
        if ordinal >= count {
            return Err(CudaAbsence::NoSuch { ordinal, count });
        }
        let context = CudaContext::new(ordinal).map_err(|why| absent("cuDevicePrimaryCtxRetain", why))?;
        // SAFETY: one stream, whose order is all the synchronisation that buffers need; events would forbid capture in graphs.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(|why| absent("cuStreamCreate", why))?;
        let recorder = context.new_stream().map_err(|why| absent("cuStreamCreate", why))?;
        let chip = chip(context.cu_device()).map_err(|why| absent("cuDeviceGetAttribute", why))?;
        let modules = MODULES.iter().map(|module| load(module, chip.capability)).collect::<Result<_, _>>()?;
        let staging = Staging::new().map_err(|why| absent("cuMemHostAlloc", why))?;
        Ok(Self {
            context,
            stream,
            recorder,
            recording: Mutex::default(),
            modules,
            functions: Mutex::default(),
            staging: Mutex::new(staging),
            late: Places::default(),
            chip,
        })
    }

    fn bind(&self) -> Result<(), BackendError> {
        self.context.bind_to_thread().map_err(failed("cuCtxSetCurrent"))
    }

    fn records(&self) -> bool {
        *self.recording.lock().unwrap_or_else(PoisonError::into_inner) == Some(thread::current().id())
    }

    /// The stream that what this thread submits goes to.
    fn here(&self) -> Result<sys::CUstream, BackendError> {
        self.bind()?;
        Ok(if self.records() { self.recorder.cu_stream() } else { self.stream.cu_stream() })
    }

    /// The stream for `what`, which cannot be recorded.
    fn now(&self, what: &str) -> Result<sys::CUstream, BackendError> {
        self.bind()?;
        match self.records() {
            true => Err(BackendError::Launch { what: what.into(), reason: "it is not to be recorded".into() }),
            false => Ok(self.stream.cu_stream()),
        }
    }

    /// The kernel of this name, allowed `shared` bytes of dynamic shared memory.
    fn function(&self, name: &str, shared: u32) -> Result<sys::CUfunction, BackendError> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let function = match functions.get(name) {
            Some(function) => *function,
            None => Function { handle: self.find(name)?, asked: false },
        };
        let ask = shared > SHARED_UNASKED && !function.asked;
        if ask {
            let attribute = |what| self.context.attribute(what).map_err(failed("cuDeviceGetAttribute"));
            let all = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
            // SAFETY: the function belongs to a module that stays loaded.
            unsafe {
                use sys::CUfunction_attribute as Of;
                let own = result::function::get_function_attribute(function.handle, Of::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)
                    .map_err(failed(name))?;
                let dynamic = Of::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                result::function::set_function_attribute(function.handle, dynamic, all - own).map_err(failed(name))?;
            }
        }
        functions.insert(name.into(), Function { asked: function.asked || ask, ..function });
        Ok(function.handle)
    }

    fn find(&self, name: &str) -> Result<sys::CUfunction, BackendError> {
        let missing = |reason: &str| BackendError::Launch { what: name.into(), reason: reason.into() };
        let c_name = CString::new(name).map_err(|_| missing("a zero byte in the name"))?;
        // SAFETY: the modules stay loaded.
        let found = self.modules.iter().find_map(|&module| unsafe { module::get_function(module, c_name.clone()) }.ok());
        found.ok_or_else(|| missing("no module has such a kernel"))
    }
}

/// Loads one module on the current context: machine code of this architecture or of an earlier one of the same generation, else
/// PTX, else what NVRTC makes of the source here.
fn load(module: &Module, [major, minor]: [u32; 2]) -> Result<sys::CUmodule, CudaAbsence> {
    let arch = 10 * major + minor;
    let mut tried = Vec::new();
    let mut attempt = |how: String, image: &[u8]| {
        // SAFETY: the image is a whole cubin, or PTX that ends in a zero byte.
        match unsafe { module::load_data(image.as_ptr().cast()) } {
            Ok(loaded) => {
                tracing::debug!(module = module.name, from = how, "kernels loaded");
                Some(loaded)
            }
            Err(why) => {
                tried.push(format!("{how}: {}", said(why)));
                None
            }
        }
    };
    let native = module.cubins.iter().filter(|(made, _)| made / 10 == major && *made <= arch).max_by_key(|(made, _)| *made);
    if let Some(loaded) = native.and_then(|(made, image)| attempt(format!("sm_{made}"), image)) {
        return Ok(loaded);
    }
    if let Some(loaded) = module.ptx.and_then(|ptx| attempt("compute_80".into(), format!("{ptx}\0").as_bytes())) {
        return Ok(loaded);
    }
    // SAFETY: only looks for the library.
    if unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        match nvrtc::compile(module.name, module.source, &format!("sm_{arch}"), &[]) {
            Ok(made) => {
                if let Some(loaded) = attempt("NVRTC on this machine".into(), &made.cubin) {
                    return Ok(loaded);
                }
            }
            Err(why) => tried.push(why),
        }
    } else {
        tried.push("NVRTC is not on this machine".into());
    }
    let driver = version().unwrap_or_else(|_| "unknown".into());
    Err(CudaAbsence::NotLoaded { arch, driver, tried: tried.join("; ") })
}

impl Launcher for Driver {
    fn alloc(&self, bytes: usize) -> Result<Pointer, BackendError> {
        let stream = self.now("an allocation")?;
        // SAFETY: the stream is alive as long as this.
        let got = unsafe {
            if self.context.has_async_alloc() { result::malloc_async(stream, bytes) } else { result::malloc_sync(bytes) }
        };
        got.map_err(|why| match why.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => BackendError::OutOfMemory {
                what: "a buffer on the GPU",
                needed: bytes as u64,
                free: self.free_memory().unwrap_or(0),
            },
            _ => failed("cuMemAlloc")(why),
        })
    }

    fn free(&self, at: Pointer, _bytes: usize) {
        // A failure here is one of an earlier call, which reports it.
        // SAFETY: it comes from `alloc`, and nobody else knows it.
        let _ = self.bind().map(|()| unsafe {
            if self.context.has_async_alloc() { result::free_async(at, self.stream.cu_stream()) } else { result::free_sync(at) }
        });
    }

    fn write(&self, to: Pointer, from: &[u8]) -> Result<(), BackendError> {
        let stream = self.now("a copy to the device")?;
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        staging.write(stream, to, from).map_err(failed("a copy to the device"))
    }

    fn read(&self, from: Pointer, to: &mut [u8]) -> Result<(), BackendError> {
        let stream = self.now("a copy from the device")?;
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        staging.read(stream, from, to).map_err(failed("a copy from the device"))
    }

    fn read_later(&self, from: Pointer) -> Result<Ticket, BackendError> {
        let stream = self.now("a copy from the device")?;
        let wait = self.late.take(&self.context, stream, from).map_err(failed("a copy from the device"))?;
        Ok(Ticket::under_way(move || wait().map_err(failed("the work submitted before"))))
    }

    fn fill(&self, at: Pointer, byte: u8, bytes: usize) -> Result<(), BackendError> {
        let stream = self.here()?;
        // SAFETY: the backend hands over ranges within its buffers.
        unsafe { result::memset_d8_async(at, byte, bytes, stream) }.map_err(failed("cuMemsetD8Async"))
    }

    unsafe fn launch(
        &self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        params: &mut [*mut c_void],
    ) -> Result<(), BackendError> {
        let stream = self.here()?;
        let function = self.function(kernel, shared)?;
        // SAFETY: the caller answers for the arguments.
        unsafe { result::launch_kernel(function, grid.into(), block.into(), shared, stream, params) }.map_err(failed(kernel))
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<(), BackendError>) -> Result<Option<Box<dyn Recorded>>, BackendError> {
        self.bind()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        let me = Some(thread::current().id());
        {
            let mut recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
            if recording.is_some() || self.recorder.begin_capture(mode).is_err() {
                return Ok(None);
            }
            *recording = me;
        }
        let submitted = work();
        let graph = self.recorder.end_capture(sys::CUgraphInstantiate_flags(0));
        *self.recording.lock().unwrap_or_else(PoisonError::into_inner) = None;
        match (submitted, graph) {
            (Ok(()), Ok(Some(graph))) => Ok(Some(Box::new(Graph { graph, stream: self.stream.clone() }))),
            (submitted, graph) => {
                tracing::debug!(?submitted, captured = ?graph.err(), "an iteration is not recorded");
                Ok(None)
            }
        }
    }

    fn synchronize(&self) -> Result<(), BackendError> {
        self.now("a wait")?;
        self.stream.synchronize().map_err(failed("the work submitted before"))
    }

    fn chip(&self) -> Chip {
        self.chip
    }

    fn free_memory(&self) -> Result<u64, BackendError> {
        let (free, _) = self.context.mem_get_info().map_err(failed("cuMemGetInfo"))?;
        Ok(free as u64)
    }
}

/// A captured graph, and the stream it is launched on.
struct Graph {
    graph: CudaGraph,
    stream: Arc<CudaStream>,
}

// SAFETY: it is one owner's, who launches it from one thread at a time; the launch binds the context.
unsafe impl Send for Graph {}

impl Recorded for Graph {
    fn replay(&self) -> Result<(), BackendError> {
        let launch = |stream: &CudaStream| {
            stream.context().bind_to_thread()?;
            // SAFETY: graph and stream are alive.
            unsafe { result::graph::launch(self.graph.cu_graph_exec(), stream.cu_stream()) }
        };
        launch(&self.stream).map_err(failed("a recorded iteration"))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Failures while going away have nobody to report to.
        let _ = self.bind();
        let _ = self.stream.synchronize();
        for &module in &self.modules {
            // SAFETY: no work is under way, and no function of it is used after.
            let _ = unsafe { module::unload(module) };
        }
    }
}
