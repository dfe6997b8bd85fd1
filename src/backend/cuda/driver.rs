//! The launcher over NVIDIA's driver, looked for at run time: one context, one stream, the modules that the binary carries.

mod calls;
#[cfg(test)]
mod double;
mod handle;
mod late;
mod nvidia;
mod staging;

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUfunction_attribute as Of};

use crate::backend::cuda::launcher::{Launcher, Pointer, Recorded};
use crate::backend::cuda::modules::{self, MODULES, NVRTC};
use crate::backend::cuda::nvrtc;
use crate::backend::{BackendError, Chip, CudaAbsence, Gpu, Ticket};
use calls::{Calls, Fault};
use handle::{Context, Graph, Module, Stream};
use late::Places;
use nvidia::Nvidia;
use staging::Staging;

/// Dynamic shared memory that a kernel may have without asking.
const SHARED_UNASKED: u32 = 48 << 10;

/// The driver's stream on one GPU.
pub struct Driver {
    context: Arc<Context>,
    stream: Arc<Stream>,
    /// Where launches go that are recorded and not run: nothing else ever does.
    recorder: Stream,
    /// The thread that records.
    recording: Mutex<Option<ThreadId>>,
    /// Shared with the graphs, whose kernels they hold.
    modules: Arc<[Module]>,
    functions: Mutex<HashMap<String, Function>>,
    staging: Mutex<Staging>,
    late: Places,
    chip: Chip,
    /// Whether memory comes from a pool, in the order of the stream.
    pooled: bool,
}

/// A kernel, and whether it may have all of the dynamic shared memory.
#[derive(Clone, Copy)]
struct Function {
    handle: sys::CUfunction,
    asked: bool,
}

// SAFETY: the driver's handles may be used from any thread that the context is bound to, and every call binds it.
unsafe impl Send for Function {}

/// The GPUs that the driver sees.
///
/// # Errors
/// [`CudaAbsence`] when there are no kernels or no driver.
pub fn gpus() -> Result<Vec<Gpu>, CudaAbsence> {
    kernels()?;
    let nvidia = Nvidia::present()?;
    let driver = nvidia.version().map_err(|why| why.absence("cuDriverGetVersion"))?;
    let count = nvidia.device_count().map_err(|why| why.absence("cuDeviceGetCount"))?;
    let gpu = |ordinal| {
        let (name, memory, device) = nvidia.describe(ordinal)?;
        Ok(Gpu { ordinal, name, memory, driver: driver.clone(), chip: chip(&nvidia, device)? })
    };
    (0..count).map(|ordinal| gpu(ordinal).map_err(|why: Fault| why.absence("cuDeviceGet"))).collect()
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

fn chip(calls: &dyn Calls, device: sys::CUdevice) -> Result<Chip, Fault> {
    let read = |attribute| calls.attribute(device, attribute);
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
        let nvidia = Nvidia::present()?;
        let version = nvidia.version().unwrap_or_else(|_| "unknown".into());
        Self::over(Arc::new(nvidia), ordinal, MODULES, &version)
    }

    /// The same over any `calls`, whose CUDA is `version`, with any `modules`.
    fn over(calls: Arc<dyn Calls>, ordinal: usize, modules: &[modules::Module], version: &str) -> Result<Self, CudaAbsence> {
        let during = |call: &'static str| move |why: Fault| why.absence(call);
        let count = calls.device_count().map_err(during("cuDeviceGetCount"))?;
        if ordinal >= count {
            return Err(CudaAbsence::NoSuch { ordinal, count });
        }
        let context = Context::new(calls, ordinal).map_err(during("cuDevicePrimaryCtxRetain"))?;
        let (calls, device) = (context.bound().map_err(during("cuCtxSetCurrent"))?, context.device());
        let pools = calls.attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED);
        let pooled = pools.map_err(during("cuDeviceGetAttribute"))? != 0;
        if let Some(Err(why)) = pooled.then(|| calls.keep_freed(device)) {
            tracing::debug!(reason = why.says, "freed memory goes back to the driver at every wait");
        }
        let chip = chip(calls, device).map_err(during("cuDeviceGetAttribute"))?;
        let [stream, recorder] = [Stream::new(&context), Stream::new(&context)];
        let (stream, recorder) = (stream.map_err(during("cuStreamCreate"))?, recorder.map_err(during("cuStreamCreate"))?);
        let modules = modules.iter().map(|module| load(&context, module, chip.capability, version)).collect::<Result<_, _>>()?;
        let staging = Staging::new(&context).map_err(during("cuMemHostAlloc"))?;
        Ok(Self {
            context,
            stream: Arc::new(stream),
            recorder,
            recording: Mutex::default(),
            modules,
            functions: Mutex::default(),
            staging: Mutex::new(staging),
            late: Places::default(),
            chip,
            pooled,
        })
    }

    /// The calls, for this context.
    fn calls(&self) -> Result<&dyn Calls, BackendError> {
        self.context.bound().map_err(Fault::of("cuCtxSetCurrent"))
    }

    /// The stream in whose order memory is taken and given back, if any.
    fn pool(&self) -> Option<sys::CUstream> {
        self.pooled.then(|| self.stream.handle())
    }

    fn records(&self) -> bool {
        *self.recording.lock().unwrap_or_else(PoisonError::into_inner) == Some(thread::current().id())
    }

    /// The stream that what this thread submits goes to.
    fn here(&self) -> sys::CUstream {
        if self.records() { self.recorder.handle() } else { self.stream.handle() }
    }

    /// The stream for `what`, which cannot be recorded.
    fn now(&self, what: &str) -> Result<&Stream, BackendError> {
        match self.records() {
            true => Err(BackendError::Launch { what: what.into(), reason: "it is not to be recorded".into() }),
            false => Ok(&self.stream),
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
            let optin = Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
            let (own, dynamic) = (Of::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, Of::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
            let allow = |calls: &dyn Calls| {
                let all = calls.attribute(self.context.device(), optin)?;
                let own = calls.function_attribute(function.handle, own)?;
                calls.set_function_attribute(function.handle, dynamic, all - own)
            };
            allow(self.calls()?).map_err(Fault::of(name))?;
        }
        functions.insert(name.into(), Function { asked: function.asked || ask, ..function });
        Ok(function.handle)
    }

    fn find(&self, name: &str) -> Result<sys::CUfunction, BackendError> {
        let missing = |reason: &str| BackendError::Launch { what: name.into(), reason: reason.into() };
        let c_name = CString::new(name).map_err(|_| missing("a zero byte in the name"))?;
        for module in self.modules.iter() {
            match module.function(&c_name) {
                Ok(found) => return Ok(found),
                Err(why) if why.code == sys::CUresult::CUDA_ERROR_NOT_FOUND => {}
                Err(why) => return Err(Fault::of(name)(why)),
            }
        }
        Err(missing("no module has such a kernel"))
    }
}

/// Loads one module: machine code of this architecture or of an earlier one of the same generation, else PTX, else what NVRTC
/// makes of the source here.
fn load(
    context: &Arc<Context>,
    module: &modules::Module,
    [major, minor]: [u32; 2],
    version: &str,
) -> Result<Module, CudaAbsence> {
    let arch = 10 * major + minor;
    let mut tried = Vec::new();
    let mut attempt = |how: String, image: &[u8]| match Module::load(context, image) {
        Ok(loaded) => {
            tracing::debug!(module = module.name, from = how, "kernels loaded");
            Some(loaded)
        }
        Err(why) => {
            tried.push(format!("{how}: {}", why.says));
            None
        }
    };
    let native = module.cubins.iter().filter(|(made, _)| made / 10 == major && *made <= arch).max_by_key(|(made, _)| *made);
    if let Some(loaded) = native.and_then(|(made, image)| attempt(format!("sm_{made}"), &image.0)) {
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
    Err(CudaAbsence::NotLoaded { arch, driver: version.into(), tried: tried.join("; ") })
}

impl Launcher for Driver {
    fn alloc(&self, bytes: usize) -> Result<Pointer, BackendError> {
        self.now("an allocation")?;
        let (calls, full) = (self.calls()?, sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY);
        let mut got = calls.alloc(bytes, self.pool());
        if self.pooled && matches!(&got, Err(why) if why.code == full) {
            // What the pool keeps may be in pieces too small; the driver has it whole.
            let _ = self.stream.synchronize().and_then(|()| calls.trim(self.context.device()));
            got = calls.alloc(bytes, self.pool());
        }
        got.map_err(|why| match why.code == full {
            true => BackendError::OutOfMemory {
                what: "a buffer on the GPU",
                needed: bytes as u64,
                free: self.free_memory().unwrap_or(0),
            },
            false => Fault::of("cuMemAlloc")(why),
        })
    }

    fn free(&self, at: Pointer, _bytes: usize) {
        self.context.drop_by(|calls| calls.free(at, self.pool()));
    }

    fn write(&self, to: Pointer, from: &[u8]) -> Result<(), BackendError> {
        let stream = self.now("a copy to the device")?;
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        staging.write(stream, to, from).map_err(Fault::of("a copy to the device"))
    }

    fn read(&self, from: Pointer, to: &mut [u8]) -> Result<(), BackendError> {
        let stream = self.now("a copy from the device")?;
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        staging.read(stream, from, to).map_err(Fault::of("a copy from the device"))
    }

    fn read_later(&self, from: Pointer) -> Result<Ticket, BackendError> {
        let stream = self.now("a copy from the device")?;
        let wait = self.late.take(stream, from).map_err(Fault::of("a copy from the device"))?;
        Ok(Ticket::under_way(move || wait().map_err(Fault::of("the work submitted before"))))
    }

    fn fill(&self, at: Pointer, byte: u8, bytes: usize) -> Result<(), BackendError> {
        self.calls()?.memset(at, byte, bytes, self.here()).map_err(Fault::of("cuMemsetD8Async"))
    }

    unsafe fn launch(
        &self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        params: &mut [*mut c_void],
    ) -> Result<(), BackendError> {
        let function = self.function(kernel, shared)?;
        // SAFETY: the caller answers for the arguments.
        let launched = unsafe { self.calls()?.launch(function, [grid, block], shared, self.here(), params) };
        launched.map_err(Fault::of(kernel))
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<(), BackendError>) -> Result<Option<Box<dyn Recorded>>, BackendError> {
        let me = Some(thread::current().id());
        {
            let mut recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
            if recording.is_some() || self.recorder.begin_capture().is_err() {
                return Ok(None);
            }
            *recording = me;
        }
        let submitted = work();
        let graph = self.recorder.end_capture();
        *self.recording.lock().unwrap_or_else(PoisonError::into_inner) = None;
        match (submitted, graph) {
            (Ok(()), Ok(Some(graph))) => {
                let (stream, modules) = (self.stream.clone(), self.modules.clone());
                Ok(Some(Box::new(Iteration { graph, stream, _modules: modules })))
            }
            (submitted, graph) => {
                tracing::debug!(?submitted, captured = ?graph.err(), "an iteration is not recorded");
                Ok(None)
            }
        }
    }

    fn synchronize(&self) -> Result<(), BackendError> {
        self.now("a wait")?.synchronize().map_err(Fault::of("the work submitted before"))
    }

    fn chip(&self) -> Chip {
        self.chip
    }

    fn free_memory(&self) -> Result<u64, BackendError> {
        let calls = self.calls()?;
        let free = calls.free_memory().map_err(Fault::of("cuMemGetInfo"))?;
        // What the pool keeps is to be had too.
        Ok(free + if self.pooled { calls.kept(self.context.device()).unwrap_or(0) } else { 0 })
    }
}

/// A recorded iteration, the stream it is launched on, and its kernels.
struct Iteration {
    graph: Graph,
    stream: Arc<Stream>,
    _modules: Arc<[Module]>,
}

impl Recorded for Iteration {
    fn replay(&self) -> Result<(), BackendError> {
        self.graph.launch(&self.stream).map_err(Fault::of("a recorded iteration"))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Kernels are not unloaded while they run.
        self.stream.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::double::Double;
    use super::staging::HALF;
    use super::*;
    use crate::backend::cuda::modules::Aligned;

    const KERNEL: modules::Module =
        modules::Module { name: "one", source: "", ptx: None, cubins: &[(80, &Aligned([1; 5])), (90, &Aligned([2; 3]))] };
    static KERNELS: [modules::Module; 2] = [KERNEL; 2];

    fn driver(double: &Arc<Double>) -> Result<Driver, CudaAbsence> {
        Driver::over(double.clone(), 0, &KERNELS, "12.9")
    }

    /// What a run of a solver or a sampler asks of the driver: memory, copies both ways and larger than a half, numbers that are
    /// read late or never, kernels, a recorded iteration. Gives what came back.
    fn session(double: &Arc<Double>) -> Result<(Vec<u8>, f64), String> {
        let device: Arc<dyn Launcher> = Arc::new(driver(double).map_err(|why| why.to_string())?);
        let work = || -> Result<(Vec<u8>, f64), BackendError> {
            let bytes: Vec<u8> = (0..2 * HALF + 1000).map(|i| (i % 251) as u8).collect();
            let memory = Held { device: device.clone(), at: device.alloc(bytes.len())?, bytes: bytes.len() };
            device.write(memory.at, &bytes)?;
            device.write(memory.at, &1.5f64.to_ne_bytes())?;
            let first = device.read_later(memory.at)?;
            device.write(memory.at, &2.5f64.to_ne_bytes())?;
            drop(device.read_later(memory.at)?);
            let launch = |shared: u32| unsafe { device.launch("kernel", [1; 3], [32, 1, 1], shared, &mut []) };
            launch(0)?;
            launch(SHARED_UNASKED + 1)?;
            let iteration = device.record(&mut || {
                launch(0)?;
                device.fill(memory.at, 0, 8)
            })?;
            iteration.as_ref().map_or(Ok(()), |iteration| iteration.replay())?;
            let mut back = vec![0; bytes.len()];
            device.read(memory.at, &mut back)?;
            let number = first.read()?;
            device.synchronize()?;
            Ok((back, number))
        };
        work().map_err(|why| why.to_string())
    }

    /// Memory that is given back, as a buffer does.
    struct Held {
        device: Arc<dyn Launcher>,
        at: Pointer,
        bytes: usize,
    }

    impl Drop for Held {
        fn drop(&mut self) {
            self.device.free(self.at, self.bytes);
        }
    }

    /// Copies that happen only when they are waited for bring what was sent, a number as it was when it was asked for; and the
    /// context goes last, after each handle once, whether a number was ever read late or not.
    #[test]
    fn all_handles_are_given_back_once_before_the_context() {
        for pooled in [true, false] {
            let double = Double::new(pooled, None);
            let (back, number) = session(&double).unwrap();
            let mut expected: Vec<u8> = (0..2 * HALF + 1000).map(|i| (i % 251) as u8).collect();
            expected[..8].copy_from_slice(&2.5f64.to_ne_bytes());
            assert!(back == expected && number == 1.5, "{number}");
            assert_eq!(double.faults(), [""; 0]);
            assert_eq!(double.keeps_freed(), pooled);
            // A run that reads no number late: its last holder of the context is the staging memory.
            let double = Double::new(pooled, None);
            drop(driver(&double).unwrap());
            assert_eq!(double.faults(), [""; 0]);
            assert_eq!((double.made("retain"), double.made("release"), double.made("host_free")), (1, 1, 2));
        }
    }

    /// Whichever call fails, and however, what there is is given back once and nothing is used after; and the run ends in an
    /// error, or in the right result.
    #[test]
    fn a_failure_of_any_call_leaves_nothing_behind() {
        let whole = Double::new(true, None);
        let expected = session(&whole).unwrap();
        for code in [sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY, sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS] {
            let mut errors = 0;
            for turn in 1..=whole.calls() {
                let double = Double::new(true, Some((turn, code)));
                match session(&double) {
                    Ok(found) => assert!(found == expected, "call {turn}"),
                    Err(why) => {
                        assert!(
                            why.contains("was told to fail") || why.contains("bytes are free") || why.contains("are free"),
                            "{why}"
                        );
                        errors += 1;
                    }
                }
                assert_eq!(double.faults(), [""; 0], "call {turn} of {}", whole.calls());
            }
            assert!(errors > 20, "{errors} of {} failures are reported", whole.calls());
        }
    }

    /// Memory that the pool keeps in pieces is had whole by trimming it once; where that does not help the error says what is
    /// free.
    #[test]
    fn a_full_pool_is_trimmed_before_memory_is_said_to_be_out() {
        let double = Double::new(true, None);
        let whole = driver(&double).unwrap();
        let opened = double.calls();
        drop(whole);
        // The context is bound, then memory asked for.
        let fails = Some((opened + 2, sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY));
        let double = Double::new(true, fails);
        let driver = driver(&double).unwrap();
        let at = driver.alloc(8).unwrap();
        assert_eq!((double.made("trim"), double.made("alloc")), (1, 2));
        assert_eq!(driver.free_memory().unwrap(), (1 << 30) + (1 << 20));
        driver.free(at, 8);
        drop(driver);
        assert_eq!(double.faults(), [""; 0]);
    }

    /// The driver reads a module by words: every image begins a cache line, whatever its length.
    #[test]
    fn modules_lie_at_whole_cache_lines() {
        let images = KERNELS.iter().chain(MODULES).flat_map(|module| module.cubins);
        assert!(images.map(|(_, image)| image.0.as_ptr() as usize).all(|at| at.is_multiple_of(64)));
    }
}
