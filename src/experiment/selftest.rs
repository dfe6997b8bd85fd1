//! Does this device compute right? Every operation of the seam against the processor in f64, on the same random, ragged inputs.
//!
//! Inputs are numbers of f32, so that both sides start from the same; an error is the largest difference over the largest result,
//! or over one where that is smaller.

mod inputs;
mod operation;
mod partners;

use serde::Serialize;

use crate::backend::cpu::Cpu;
use crate::backend::{Backend, BackendError, Device, Real, Task};
use inputs::Inputs;
use operation::Operation;

/// Rows, columns, dimension: one of each, no multiples of anything, coordinates in registers and on tensor cores, an image.
const SIZES: [(usize, usize, usize); 5] = [(1, 1, 1), (257, 131, 2), (1000, 1301, 3), (300, 777, 64), (70, 130, 784)];

/// One operation at one size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Its name.
    pub operation: &'static str,
    /// Rows.
    pub n: usize,
    /// Columns.
    pub m: usize,
    /// Dimension.
    pub d: usize,
    /// Largest difference from f64, over the largest result or one; null when it is not a number.
    pub error: f64,
    /// What rounding alone may make of it.
    pub tolerance: f64,
    /// Whether the error is within the tolerance.
    pub passed: bool,
}

/// All operations at all sizes; `progress` is told each before it starts, and stops the test by returning false.
///
/// # Errors
/// [`BackendError`] when the device fails; a wrong result is no error but a check that did not pass.
pub fn selftest(device: &Device, progress: &mut dyn FnMut(&str) -> bool) -> Result<Vec<Check>, BackendError> {
    device.run(Selftest { progress })
}

struct Selftest<'a> {
    progress: &'a mut dyn FnMut(&str) -> bool,
}

impl Task for Selftest<'_> {
    type Output = Result<Vec<Check>, BackendError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let mut checks = Vec::new();
        for operation in Operation::ALL {
            for (n, m, d) in SIZES {
                let name = operation.name();
                if !(self.progress)(&format!("{name}, {n} × {m} in dimension {d}")) {
                    return Ok(checks);
                }
                let inputs = Inputs { n, m, d };
                let found = operation.run(backend, &inputs)?;
                let exact = operation.exact().run(&Cpu::<f64>::new(), &inputs)?;
                let size = exact.iter().fold(1.0, |size: f64, x| size.max(x.abs()));
                let larger = |a: f64, b: f64| if a > b || a.is_nan() { a } else { b };
                let differences = found.iter().zip(&exact).map(|(found, exact)| (found - exact).abs() / size);
                let error = differences.fold(0.0, larger);
                let tolerance = operation.tolerance(B::Real::ROUNDING, d as f64);
                checks.push(Check { operation: name, n, m, d, error, tolerance, passed: error <= tolerance });
            }
        }
        Ok(checks)
    }
}
