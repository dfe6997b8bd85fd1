//! Does this device compute right? Every operation of the seam against the processor in f64, on the same random, ragged inputs.
//!
//! Inputs are numbers of f32, so that both sides start from the same; an error is the largest difference over the largest result,
//! or over one where that is smaller.

mod inputs;
mod operation;
mod partners;
mod updates;

use serde::{Deserialize, Serialize};

use crate::backend::cpu::Cpu;
use crate::backend::{Backend, BackendError, Device, Real, Task};
use inputs::Inputs;
use operation::Operation;

/// Rows, columns, dimension: one of each, no multiples of anything, coordinates in registers and on tensor cores, an image.
const SIZES: [(usize, usize, usize); 5] = [(1, 1, 1), (257, 131, 2), (1000, 1301, 3), (300, 777, 64), (70, 130, 784)];

/// One operation at one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Its name.
    pub operation: String,
    /// Rows.
    pub n: usize,
    /// Columns.
    pub m: usize,
    /// Dimension.
    pub d: usize,
    /// Largest difference from f64, over the largest result or one; null when it is not a number, or there is no result.
    pub error: Option<f64>,
    /// What rounding alone may make of it.
    pub tolerance: f64,
    /// Whether the error is within the tolerance.
    pub passed: bool,
    /// What the device said instead of giving a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What was checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// In the order of [`operations`].
    pub checks: Vec<Check>,
    /// Whether the device answers nothing any more, so that the operations behind the last one are still to be checked, by
    /// another process: an error of a kernel stays with the one that it happened in.
    pub lost: bool,
}

/// Names of the operations, in the order in which they are checked.
pub fn operations() -> impl Iterator<Item = &'static str> {
    Operation::ALL.into_iter().map(Operation::name)
}

/// The operation called `only`, or all, at all sizes; `progress` is told each before it starts, and stops the test by returning
/// false.
///
/// A device that fails at one operation does not keep the next from being checked, unless the device no longer answers at all.
pub fn selftest(device: &Device, only: Option<&str>, progress: &mut dyn FnMut(&str) -> bool) -> Checked {
    device.run(Selftest { only, progress })
}

struct Selftest<'a> {
    only: Option<&'a str>,
    progress: &'a mut dyn FnMut(&str) -> bool,
}

impl Task for Selftest<'_> {
    type Output = Checked;

    fn run<B: Backend>(self, backend: &B) -> Checked {
        let mut checked = Checked::default();
        for operation in Operation::ALL.into_iter().filter(|operation| self.only.is_none_or(|only| only == operation.name())) {
            for (n, m, d) in SIZES {
                let name = operation.name();
                if !(self.progress)(&format!("{name}, {n} × {m} in dimension {d}")) {
                    return checked;
                }
                let error = compared(operation, backend, &Inputs { n, m, d });
                let tolerance = operation.tolerance(B::Real::ROUNDING, d as f64);
                checked.checks.push(Check {
                    operation: name.into(),
                    n,
                    m,
                    d,
                    error: error.as_ref().ok().copied().filter(|error| !error.is_nan()),
                    tolerance,
                    passed: error.as_ref().is_ok_and(|error| *error <= tolerance),
                    failure: error.as_ref().err().map(ToString::to_string),
                });
                if error.is_err() && backend.synchronize().is_err() {
                    checked.lost = true;
                    return checked;
                }
            }
        }
        checked
    }
}

/// The largest difference of an operation's result from that in f64, over the largest result or one.
fn compared<B: Backend>(operation: Operation, backend: &B, inputs: &Inputs) -> Result<f64, BackendError> {
    let found = operation.run(backend, inputs)?;
    let exact = operation.run(&Cpu::<f64>::new(), inputs)?;
    let size = exact.iter().fold(1.0, |size: f64, x| size.max(x.abs()));
    let larger = |a: f64, b: f64| if a > b || a.is_nan() { a } else { b };
    Ok(found.iter().zip(&exact).map(|(found, exact)| (found - exact).abs() / size).fold(0.0, larger))
}
