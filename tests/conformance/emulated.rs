//! The launcher over the emulator: device memory is the host's, and every byte that a suite reads back is digested, so that runs
//! in different thread orders can be held to the same bits. It records and replays launches as a driver does, keeps to a limit of
//! memory, and counts what the host waits for.

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::c_void;
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use brenier::backend::cuda::Launcher;
use brenier::backend::cuda::launcher::{Pointer, Recorded};
use brenier::backend::{BackendError, Chip, Ticket};
use emulator::Order;

/// What memory holds that nothing was written to.
const POISON: u8 = 0xA5;

#[allow(dead_code)] // this file is shared by targets that each look at a part of it
pub struct Emulator {
    order: Order,
    /// Whether launches can be recorded.
    pub records: bool,
    /// Bytes that can be had.
    pub memory: u64,
    used: AtomicU64,
    read: Arc<Mutex<DefaultHasher>>,
    record: Mutex<Option<Vec<Launch>>>,
    /// Times that the host waited, and times that it waited for a number that was asked for before.
    pub waits: AtomicUsize,
    pub late_reads: Arc<AtomicUsize>,
    /// Times that a record was replayed.
    pub replays: Arc<AtomicUsize>,
    refused: AtomicBool,
    /// A kernel that fails, and whether every call after it does too.
    pub broken: Option<(&'static str, bool)>,
    lost: AtomicBool,
}

/// A launch with its arguments, or a fill.
#[derive(Clone)]
enum Launch {
    Kernel { name: String, grid: [u32; 3], block: [u32; 3], shared: u32, arguments: Vec<Vec<u128>>, order: Order },
    Fill { at: Pointer, byte: u8, bytes: usize },
}

impl Launch {
    fn run(&self) -> Result<(), BackendError> {
        match self {
            Self::Kernel { name, grid, block, shared, arguments, order } => {
                let mut params: Vec<*mut c_void> = arguments.iter().map(|words| words.as_ptr().cast_mut().cast()).collect();
                // SAFETY: the arguments are copies of those that the caller answered for.
                let done = unsafe { emulator::launch(name, *grid, *block, *shared, &mut params, *order) };
                done.map_err(|reason| BackendError::Launch { what: format!("{name} on the emulator"), reason })
            }
            Self::Fill { at, byte, bytes } => {
                // SAFETY: the backend hands over ranges within its buffers.
                unsafe { (*at as *mut u8).write_bytes(*byte, *bytes) }
                Ok(())
            }
        }
    }
}

/// What was recorded, to be run again with the arguments of then.
struct Replay {
    launches: Vec<Launch>,
    replays: Arc<AtomicUsize>,
}

impl Recorded for Replay {
    fn replay(&self) -> Result<(), BackendError> {
        self.replays.fetch_add(1, Relaxed);
        self.launches.iter().try_for_each(Launch::run)
    }
}

impl Emulator {
    pub fn new(order: Order) -> Self {
        Self {
            order,
            records: true,
            memory: 1 << 32,
            used: AtomicU64::new(0),
            read: Arc::default(),
            record: Mutex::default(),
            waits: AtomicUsize::new(0),
            late_reads: Arc::default(),
            replays: Arc::default(),
            refused: AtomicBool::new(false),
            broken: None,
            lost: AtomicBool::new(false),
        }
    }

    /// Digest of all that was read back so far.
    #[allow(dead_code)] // tests/kernels.rs, which shares this file, compares the results themselves
    pub fn digest(&self) -> u64 {
        self.read.lock().unwrap().finish()
    }

    /// Runs or records a launch.
    fn submit(&self, launch: Launch) -> Result<(), BackendError> {
        if let (Some((broken, stays)), Launch::Kernel { name, .. }) = (self.broken, &launch)
            && broken == name
        {
            self.lost.fetch_or(stays, Relaxed);
            return Err(BackendError::Launch { what: name.clone(), reason: "it is broken".into() });
        }
        match &mut *self.record.lock().unwrap() {
            Some(record) => record.push(launch),
            None => launch.run()?,
        }
        Ok(())
    }

    /// Refuses what a driver refuses while it records.
    fn now(&self) -> Result<(), BackendError> {
        let records = self.record.lock().unwrap().is_some();
        self.refused.fetch_or(records, Relaxed);
        match records || self.lost.load(Relaxed) {
            true if !records => {
                Err(BackendError::Launch { what: "the emulator".into(), reason: "an earlier kernel failed".into() })
            }
            true => Err(BackendError::Launch { what: "the emulator".into(), reason: "it is not to be recorded".into() }),
            false => Ok(()),
        }
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 256).unwrap()
}

impl Launcher for Emulator {
    fn alloc(&self, bytes: usize) -> Result<Pointer, BackendError> {
        assert!(bytes > 0, "the driver refuses empty buffers");
        self.now()?;
        let free = self.memory - self.used.load(Relaxed);
        if bytes as u64 > free {
            return Err(BackendError::OutOfMemory { what: "a buffer on the emulator", needed: bytes as u64, free });
        }
        self.used.fetch_add(bytes as u64, Relaxed);
        // SAFETY: the layout has a size; the memory is written before it can be read.
        unsafe {
            let at = alloc(layout(bytes));
            assert!(!at.is_null());
            at.write_bytes(POISON, bytes);
            Ok(at as Pointer)
        }
    }

    fn free(&self, at: Pointer, bytes: usize) {
        self.used.fetch_sub(bytes as u64, Relaxed);
        // SAFETY: it comes from `alloc` with the same layout.
        unsafe { dealloc(at as *mut u8, layout(bytes)) }
    }

    fn write(&self, to: Pointer, from: &[u8]) -> Result<(), BackendError> {
        self.now()?;
        // SAFETY: the backend hands over ranges within its buffers.
        unsafe { (to as *mut u8).copy_from_nonoverlapping(from.as_ptr(), from.len()) }
        Ok(())
    }

    fn read(&self, from: Pointer, to: &mut [u8]) -> Result<(), BackendError> {
        self.now()?;
        self.waits.fetch_add(1, Relaxed);
        // SAFETY: as in `write`.
        unsafe { to.as_mut_ptr().copy_from_nonoverlapping(from as *const u8, to.len()) }
        self.read.lock().unwrap().write(to);
        Ok(())
    }

    fn read_later(&self, from: Pointer) -> Result<Ticket, BackendError> {
        self.now()?;
        // SAFETY: as in `write`.
        let number = unsafe { (from as *const f64).read() };
        let (digest, late_reads) = (self.read.clone(), self.late_reads.clone());
        Ok(Ticket::under_way(move || {
            late_reads.fetch_add(1, Relaxed);
            digest.lock().unwrap().write(&number.to_ne_bytes());
            Ok(number)
        }))
    }

    fn fill(&self, at: Pointer, byte: u8, bytes: usize) -> Result<(), BackendError> {
        self.submit(Launch::Fill { at, byte, bytes })
    }

    unsafe fn launch(
        &self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        params: &mut [*mut c_void],
    ) -> Result<(), BackendError> {
        let sizes = emulator::argument_sizes(kernel).unwrap_or_default();
        let copied = params.iter().zip(sizes).map(|(&param, &size)| {
            let mut words = vec![0u128; (size as usize).div_ceil(16)];
            // SAFETY: the caller answers for the arguments.
            unsafe { words.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(param.cast(), size as usize) };
            words
        });
        let arguments = copied.collect();
        self.submit(Launch::Kernel { name: kernel.into(), grid, block, shared, arguments, order: self.order })
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<(), BackendError>) -> Result<Option<Box<dyn Recorded>>, BackendError> {
        if !self.records {
            return Ok(None);
        }
        *self.record.lock().unwrap() = Some(Vec::new());
        self.refused.store(false, Relaxed);
        let submitted = work();
        let launches = self.record.lock().unwrap().take().unwrap_or_default();
        if submitted.is_err() || self.refused.load(Relaxed) {
            return Ok(None);
        }
        Ok(Some(Box::new(Replay { launches, replays: self.replays.clone() })))
    }

    fn synchronize(&self) -> Result<(), BackendError> {
        self.now()?;
        self.waits.fetch_add(1, Relaxed);
        Ok(())
    }

    fn chip(&self) -> Chip {
        Chip { capability: [8, 0], multiprocessors: 1, clock: 1e9, bandwidth: 1e9 }
    }

    fn free_memory(&self) -> Result<u64, BackendError> {
        Ok(self.memory - self.used.load(Relaxed))
    }
}
