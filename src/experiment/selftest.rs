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

#[cfg(test)]
mod tests {
    const TRAITS: [&str; 4] = [
        include_str!("../backend/memory.rs"),
        include_str!("../backend/pairs.rs"),
        include_str!("../backend/particles.rs"),
        include_str!("../backend/potentials.rs"),
    ];

    /// The functions that the trait in `text` declares.
    fn operations(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("    fn ")?.split(['(', '<']).next()).collect()
    }

    /// Operations that have no result to compare: of another backend, which has checks of its own.
    const APART: [&str; 1] = ["streamed"];

    /// The functions of the seam, as its file declares them, are all called by some operation of the selftest.
    #[test]
    fn every_operation_of_the_seam_is_checked() {
        let tests =
            [include_str!("selftest/operation.rs"), include_str!("selftest/partners.rs"), include_str!("selftest/updates.rs")];
        let called = |name: &&str| !tests.iter().any(|text| text.contains(&format!(".{name}(")));
        let of_traits: Vec<Vec<&str>> = TRAITS.map(operations).into();
        let missing: Vec<&str> = of_traits.concat().into_iter().filter(|name| !APART.contains(name)).filter(called).collect();
        assert_eq!(missing, Vec::<&str>::new());
        // Each kind of logit is an operation of its own.
        let soft_min = include_str!("../backend/soft_min.rs");
        let kinds = &soft_min[soft_min.find("pub enum Logit").expect("the logits")..];
        let kinds = kinds[..kinds.find("\n}").expect("their end")].lines().filter_map(|line| line.strip_prefix("    "));
        let kinds: Vec<&str> = kinds.filter(|line| line.starts_with(char::is_uppercase)).collect();
        let named = |kind: &&str| {
            kind.split([' ', '(']).next().is_some_and(|kind| tests.iter().any(|text| text.contains(&format!("Logit::{kind}"))))
        };
        assert!(kinds.len() == 5 && kinds.iter().all(named), "{kinds:?}");
    }

    /// No trait of the seam has more than eight operations, and they are no more than thirty in all; no other trait has any.
    #[test]
    fn the_seam_is_narrow() {
        let counts = TRAITS.map(|text| operations(text).len());
        assert!(counts.iter().all(|count| *count <= 8) && counts.iter().sum::<usize>() <= 30, "{counts:?}");
        let all = include_str!("../backend/mod.rs");
        assert!(
            all.contains("pub trait Backend: Memory + Pairs + Particles + Potentials {}"),
            "the seam is the sum of its parts"
        );
    }
}
