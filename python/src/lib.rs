//! brenier for Python: arrays in, the library's work, arrays out. No mathematics.

mod array;
mod error;
mod flow;
mod log;
mod measure;
mod sample;
mod transport;
mod work;

#[cfg(feature = "command")]
use std::{ffi::OsString, process::ExitCode};

use pyo3::prelude::*;

/// The command line: does what `argv` says, and returns the exit code. `itself` is the command that starts the program.
#[cfg(feature = "command")]
#[pyfunction]
fn command(py: Python<'_>, argv: Vec<OsString>, itself: Vec<OsString>) -> u8 {
    let code = py.detach(|| brenier_command::run(&argv, &itself));
    // There is no other way to the number.
    (0..=u8::MAX).find(|number| ExitCode::from(*number) == code).unwrap_or(1)
}

/// The devices' kernels that this build carries.
#[pyfunction]
fn kernels() -> Vec<String> {
    brenier::backend::Device::kernels()
}

/// Where the numbers of an array are read from: its own memory, unless they had to be gathered.
#[pyfunction]
fn address(array: &Bound<'_, PyAny>) -> PyResult<usize> {
    Ok(array::Array::of(array, "array")?.address())
}

/// Works with `n` threads from now on; 0 is one for each processor.
#[pyfunction]
fn set_threads(n: usize) {
    work::set_threads(n);
}

/// The number of threads that work.
#[pyfunction]
fn threads() -> PyResult<usize> {
    work::threads()
}

#[pymodule(name = "_brenier")]
fn extension(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add("MAP_COLLAPSED", brenier::metric::flag::MAP_COLLAPSED)?;
    m.add_class::<transport::Found>()?;
    #[cfg(feature = "command")]
    m.add_function(wrap_pyfunction!(command, m)?)?;
    m.add_function(wrap_pyfunction!(kernels, m)?)?;
    m.add_function(wrap_pyfunction!(address, m)?)?;
    m.add_function(wrap_pyfunction!(set_threads, m)?)?;
    m.add_function(wrap_pyfunction!(threads, m)?)?;
    m.add_function(wrap_pyfunction!(transport::sinkhorn, m)?)?;
    m.add_function(wrap_pyfunction!(transport::divergence, m)?)?;
    m.add_function(wrap_pyfunction!(transport::couple, m)?)?;
    m.add_function(wrap_pyfunction!(transport::exact, m)?)?;
    m.add_function(wrap_pyfunction!(transport::low_rank, m)?)?;
    m.add_class::<measure::Law>()?;
    m.add_function(wrap_pyfunction!(sample::sample, m)?)?;
    m.add_function(wrap_pyfunction!(sample::methods, m)?)?;
    m.add_function(wrap_pyfunction!(flow::jko, m)?)?;
    m.add_function(wrap_pyfunction!(flow::descend_potential, m)?)?;
    m.add_function(wrap_pyfunction!(flow::barycenter, m)?)?;
    m.add_function(wrap_pyfunction!(flow::evaluate, m)?)?;
    m.add_function(wrap_pyfunction!(flow::draw, m)?)?;
    Ok(())
}
