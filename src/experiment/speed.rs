//! How far from the limit? The time of each kernel over a ladder of sizes, beside what this chip could do at most.
//!
//! The limit counts what a pair (or a particle-step, or a number) cannot do without: on a GPU, of each multiprocessor and clock 128
//! issue slots, 16 exponentials, the multiply-adds of its tensor cores and of its double pipe, and the bytes of its memory.

mod case;
mod inputs;

use serde::Serialize;

use crate::backend::{Backend, BackendError, Chip, Device, Task};
use case::Case;

/// Rows of the ladder; pairs are of as many columns.
const LADDER: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// A rung is left out when the one below says that it would take longer.
const LONGEST: f64 = 2.0;

/// One kernel at one size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timing {
    /// Its name.
    pub kernel: &'static str,
    /// Rows, particles or numbers.
    pub n: usize,
    /// Dimension.
    pub d: usize,
    /// What is counted: pair, particle-step or number.
    pub item: &'static str,
    /// Seconds a run: the least of three batches.
    pub seconds: f64,
    /// Picoseconds an item.
    pub ps_per_item: f64,
    /// Picoseconds an item at least, on this chip; null on a processor, and on a GPU that does not say its clocks.
    pub limit_ps: Option<f64>,
    /// What sets that limit.
    pub limited_by: Option<&'static str>,
    /// Limit over time: 1 is as good as the chip.
    pub fraction: Option<f64>,
}

/// All kernels up the ladder; `progress` is told each before it starts, and stops by returning false.
///
/// # Errors
/// [`BackendError`] when the device fails.
pub fn speed(device: &Device, progress: &mut dyn FnMut(&str) -> bool) -> Result<Vec<Timing>, BackendError> {
    device.run(Speed { chip: device.chip(), progress })
}

struct Speed<'a> {
    chip: Option<Chip>,
    progress: &'a mut dyn FnMut(&str) -> bool,
}

impl Task for Speed<'_> {
    type Output = Result<Vec<Timing>, BackendError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let mut timings = Vec::new();
        for case in Case::ALL {
            let mut last: Option<f64> = None;
            for n in LADDER {
                let items = case.items(n) as f64;
                if last.is_some_and(|per_item| per_item * items > LONGEST) {
                    break;
                }
                if !(self.progress)(&format!("{}, d = {}, n = {n}", case.kernel.name(), case.d)) {
                    return Ok(timings);
                }
                let Some(seconds) = case.seconds(backend, n)? else { break };
                let limit = self.chip.and_then(|chip| case.limit(chip));
                last = Some(seconds / items);
                timings.push(Timing {
                    kernel: case.kernel.name(),
                    n,
                    d: case.d,
                    item: case.kernel.item(),
                    seconds,
                    ps_per_item: 1e12 * seconds / items,
                    limit_ps: limit.map(|(limit, _)| 1e12 * limit),
                    limited_by: limit.map(|(_, by)| by),
                    fraction: limit.map(|(limit, _)| limit * items / seconds),
                });
            }
        }
        Ok(timings)
    }
}
