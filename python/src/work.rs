//! Work beside Python: on threads of ours, without the interpreter's lock, stopped by Ctrl-C within a moment.
//!
//! The caller's thread waits, looks for signals and tells of the progress; so a `KeyboardInterrupt` is raised whatever the work is at,
//! which then ends at its own next look. After a fork the threads are made again: those of the parent do not exist in the child.

use std::collections::HashMap;
use std::hint;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use brenier::Error;
use brenier::backend::{Device, Precision};
use brenier::checkpoint::Checkpoint;
use brenier::io::CheckpointFile;
use brenier::watch::Progress;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{exception, raised};
use crate::log;

/// How often signals and the progress are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How long the caller's thread waits awake: a thread that sleeps takes as long to wake as small work does.
const AWAKE: Duration = Duration::from_micros(200);

/// What a process has made for its work.
#[derive(Default)]
struct Made {
    process: u32,
    threads: usize,
    pool: Option<Arc<ThreadPool>>,
    devices: HashMap<(String, &'static str), Device>,
    /// Whether a process from which this one was forked had a context of CUDA, which no child can use.
    inherits_cuda: bool,
}

static MADE: Mutex<Option<Made>> = Mutex::new(None);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something with what this process, not its parent, has made.
fn made<T>(with: impl FnOnce(&mut Made) -> T) -> T {
    let mut made = locked(&MADE);
    let own = process::id();
    let now = made.get_or_insert_with(|| Made { process: own, ..Made::default() });
    if now.process != own {
        let inherits_cuda = now.inherits_cuda || now.devices.values().any(|device| device.chip().is_some());
        let fresh = Made { process: own, threads: now.threads, inherits_cuda, ..Made::default() };
        // Its threads are not there to be joined, nor its context to be destroyed.
        std::mem::forget(std::mem::replace(now, fresh));
    }
    with(now)
}

/// The threads of this process.
fn pool() -> PyResult<Arc<ThreadPool>> {
    made(|made| {
        if made.pool.is_none() {
            let pool = ThreadPoolBuilder::new().num_threads(made.threads).thread_name(|i| format!("brenier-{i}")).build();
            made.pool = Some(Arc::new(pool.map_err(|why| raised(&format!("no threads could be made: {why}")))?));
        }
        made.pool.clone().ok_or_else(|| raised("no threads could be made"))
    })
}

/// What `work` gives, done on the threads of this process without the lock: short work that nobody need be told of. All of the library's
/// loops run there, since threads that it made by itself would be missing in a forked child.
pub fn aside<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    let pool = pool()?;
    Ok(py.detach(|| pool.install(work)))
}

/// Works with `n` threads from now on; 0 is one for each processor.
pub fn set_threads(n: usize) {
    made(|made| {
        made.threads = n;
        made.pool = None;
    });
}

/// The number of threads that work.
pub fn threads() -> PyResult<usize> {
    Ok(pool()?.current_num_threads())
}

/// The device called `name` in the precision called `precision`, opened once a process.
pub fn device(name: &str, precision: &str) -> PyResult<Device> {
    let precision = match precision {
        "f32" => Precision::F32,
        "f64" => Precision::F64,
        other => return Err(PyValueError::new_err(format!("there is no precision \"{other}\"; take \"f32\" or \"f64\""))),
    };
    made(|made| {
        let key = (name.to_owned(), precision.name());
        if let Some(device) = made.devices.get(&key) {
            return Ok(device.clone());
        }
        if made.inherits_cuda && name.starts_with("cuda") {
            return Err(raised(
                "CUDA was in use before this process was forked, and no child can use it; start it by spawn, or take device=\"cpu\"",
            ));
        }
        let name = if made.inherits_cuda { "cpu" } else { name };
        let device = Device::named(name, precision).map_err(exception)?;
        made.devices.insert(key, device.clone());
        Ok(device)
    })
}

/// What the work tells, and what it is told.
#[derive(Default)]
pub struct Told {
    stop: AtomicBool,
    now: Mutex<Option<Now>>,
}

/// How far the work is.
#[derive(Clone, PartialEq)]
struct Now {
    stage: String,
    done: usize,
    of: Option<usize>,
    value: Option<f64>,
}

impl Told {
    /// Takes note of the progress; whether to go on.
    pub fn tell(&self, now: Progress<'_>) -> bool {
        if let Ok(mut told) = self.now.try_lock() {
            let stage =
                if now.stage.is_empty() { told.take().map_or(String::new(), |told| told.stage) } else { now.stage.into() };
            let value = now.value.or(now.residual.map(|residual| residual.error));
            *told = Some(Now { stage, done: now.done, of: now.of, value });
        }
        !self.is_stopped()
    }

    /// Takes note of a step of so many; iterations within it are not told of.
    pub fn tell_step(&self, now: Progress<'_>, of: usize) -> bool {
        match now.residual {
            Some(_) if now.value.is_none() => !self.is_stopped(),
            _ => self.tell(Progress { of: Some(of), ..now }),
        }
    }

    /// Whether the work should stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Where the work leaves what it found.
struct Slot<T> {
    found: Mutex<Option<T>>,
    /// Whether it is there, for whoever will not sleep yet.
    done: AtomicBool,
    is_there: Condvar,
}

/// Where work keeps its state when it is stopped: a file, and what tells the run from all others, in JSON.
pub type Kept = Option<(PathBuf, String)>;

/// [`run`], with a checkpoint: work that is stopped is waited for until it is kept, and one that was kept goes on.
pub fn run_kept<T, E>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    kept: Kept,
    work: impl FnOnce(&Told, &mut Checkpoint) -> Result<T, E> + Send + 'static,
) -> PyResult<T>
where
    T: Send + 'static,
    E: Into<Error>,
{
    let Some((path, run)) = kept else { return run_until(py, progress, false, move |told| work(told, &mut Checkpoint::none())) };
    let run = serde_json::from_str(&run).map_err(|why| raised(&why.to_string()))?;
    run_until(py, progress, true, move |told| {
        let there = path.exists();
        let file = CheckpointFile::new(path, run);
        let mut checkpoint = if there { file.resume()? } else { file.begin() };
        let done = work(told, &mut checkpoint).map_err(Into::into);
        match &done {
            Ok(_) => checkpoint.remove(),
            Err(_) if told.is_stopped() => checkpoint.write().map_err(Error::Report)?,
            Err(_) => {}
        }
        done
    })
}

/// Does `work` on the threads of this process and waits for it, without the lock; `progress` is called with (stage, done, of, value).
pub fn run<T, E>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Told) -> Result<T, E> + Send + 'static,
) -> PyResult<T>
where
    T: Send + 'static,
    E: Into<Error>,
{
    run_until(py, progress, false, work)
}

fn run_until<T, E>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    waits: bool,
    work: impl FnOnce(&Told) -> Result<T, E> + Send + 'static,
) -> PyResult<T>
where
    T: Send + 'static,
    E: Into<Error>,
{
    log::forward();
    let told = Arc::new(Told::default());
    let slot = Arc::new(Slot { found: Mutex::new(None), done: AtomicBool::new(false), is_there: Condvar::new() });
    let progress = progress.map(|progress| progress.clone().unbind());
    let (teller, leaver) = (told.clone(), slot.clone());
    pool()?.spawn(move || {
        let found = catch_unwind(AssertUnwindSafe(|| work(&teller).map_err(exception)));
        let found = found.unwrap_or_else(|_| Err(raised("a fault in brenier itself; please report it, with what you called")));
        *locked(&leaver.found) = Some(found);
        leaver.done.store(true, Ordering::Release);
        leaver.is_there.notify_one();
    });
    py.detach(|| waited_for(&slot, &told, progress.as_ref(), waits))?
}

/// What is found once it is there, or why to wait no longer; `waits` also after that, until the work has ended.
fn waited_for<T>(slot: &Slot<T>, told: &Told, progress: Option<&Py<PyAny>>, waits: bool) -> PyResult<T> {
    let mut shown = None;
    let begun = Instant::now();
    while !slot.done.load(Ordering::Acquire) && begun.elapsed() < AWAKE {
        hint::spin_loop();
    }
    loop {
        let mut found = locked(&slot.found);
        if found.is_none() {
            found = slot.is_there.wait_timeout(found, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Some(found) = found.take() {
            return Ok(found);
        }
        drop(found);
        let now = locked(&told.now).clone();
        let looked = Python::attach(|py| {
            py.check_signals()?;
            if let (Some(progress), Some(now)) = (progress, now)
                && shown.as_ref() != Some(&now)
            {
                progress.call1(py, (&now.stage, now.done, now.of, now.value))?;
                shown = Some(now);
            }
            Ok::<(), PyErr>(())
        });
        if looked.is_err() {
            told.stop.store(true, Ordering::Relaxed);
            let mut found = locked(&slot.found);
            while waits && found.is_none() {
                found = slot.is_there.wait(found).unwrap_or_else(PoisonError::into_inner);
            }
        }
        looked?;
    }
}
