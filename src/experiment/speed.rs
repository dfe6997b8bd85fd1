//! How far from the limit? The time of each kernel over a ladder of sizes, beside what this chip could do at most.
//!
//! The limit counts what a pair (or a particle-step, or a number) cannot do without: on a GPU, of each multiprocessor and clock 128
//! issue slots, 16 exponentials, the multiply-adds of its tensor cores and of its double pipe, and the bytes of its memory.

use std::time::Instant;

use serde::Serialize;

use crate::backend::{Backend, BackendError, Chip, Columns, Cost, Device, Noise, PairKernel, Reals, Rows, Scale, Task};
use crate::field::fold;
use crate::measure::{Covariance, Mixture};
use crate::path::{Grid, Schedule};
use crate::random::{Philox, Stream};
use crate::sampler::program::{Program, Step};

/// Rows of the ladder; pairs are of as many columns.
const LADDER: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Steps of the interpreter.
const STEPS: usize = 20;
/// Components of its mixture.
const COMPONENTS: usize = 8;
/// A rung is left out when the one below says that it would take longer.
const LONGEST: f64 = 2.0;
/// Numbers of the largest matrix written.
const LARGEST_MATRIX: usize = 1 << 28;

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
    /// Picoseconds an item at least, on this chip; null on a processor.
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
                let too_large = case.matrix() && n * n > LARGEST_MATRIX;
                if too_large || last.is_some_and(|per_item| per_item * items > LONGEST) {
                    break;
                }
                if !(self.progress)(&format!("{}, d = {}, n = {n}", case.kernel.name(), case.d)) {
                    return Ok(timings);
                }
                let seconds = case.seconds(backend, n)?;
                let limit = self.chip.map(|chip| case.limit(chip));
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

#[derive(Clone, Copy, PartialEq)]
enum Kernel {
    SoftMin,
    SoftMean,
    Nearest,
    CostMatrix,
    PairSum,
    Interpret,
    Normals,
    Dot,
}

impl Kernel {
    fn name(self) -> &'static str {
        match self {
            Self::SoftMin => "soft-min, shifted",
            Self::SoftMean => "soft-mean of y, shifted",
            Self::Nearest => "nearest",
            Self::CostMatrix => "cost matrix",
            Self::PairSum => "pair sum of distances",
            Self::Interpret => "interpret, K = 8, DDIM",
            Self::Normals => "normals",
            Self::Dot => "dot",
        }
    }

    fn item(self) -> &'static str {
        match self {
            Self::Interpret => "particle-step",
            Self::Normals | Self::Dot => "number",
            _ => "pair",
        }
    }
}

/// A kernel in one dimension.
#[derive(Clone, Copy)]
struct Case {
    kernel: Kernel,
    d: usize,
}

impl Case {
    const ALL: [Self; 12] = [
        Self { kernel: Kernel::SoftMin, d: 2 },
        Self { kernel: Kernel::SoftMin, d: 3 },
        Self { kernel: Kernel::SoftMin, d: 64 },
        Self { kernel: Kernel::SoftMin, d: 784 },
        Self { kernel: Kernel::SoftMean, d: 3 },
        Self { kernel: Kernel::SoftMean, d: 64 },
        Self { kernel: Kernel::Nearest, d: 3 },
        Self { kernel: Kernel::CostMatrix, d: 3 },
        Self { kernel: Kernel::PairSum, d: 3 },
        Self { kernel: Kernel::Interpret, d: 2 },
        Self { kernel: Kernel::Normals, d: 4 },
        Self { kernel: Kernel::Dot, d: 1 },
    ];

    fn items(self, n: usize) -> usize {
        match self.kernel {
            Kernel::Interpret => n * STEPS,
            Kernel::Normals | Kernel::Dot => n * self.d,
            _ => n * n,
        }
    }

    fn matrix(self) -> bool {
        self.kernel == Kernel::CostMatrix
    }

    /// Seconds an item takes at least, and what sets that.
    fn limit(self, chip: Chip) -> (f64, &'static str) {
        let d = self.d as f64;
        let clocks = f64::from(chip.multiprocessors) * chip.clock;
        // Multiply-adds of f16 and of f64 in a multiprocessor and clock.
        let (tensor, double) = match chip.capability {
            [8, 0] => (1024.0, 32.0),
            [9, _] => (2048.0, 64.0),
            [10, _] => (4096.0, 64.0),
            _ => (512.0, 2.0),
        };
        let memory = |bytes: f64| (bytes / chip.bandwidth, "memory");
        let issue = |slots: f64| (slots / 128.0 / clocks, "issue slots");
        let exponentials = |count: f64| (count / 16.0 / clocks, "exp unit");
        let needs = match self.kernel {
            // d multiply-adds, the shift, the sum and the exponential; or three split products on the tensor cores.
            Kernel::SoftMin if d < 16.0 => vec![exponentials(1.0), issue(d + 3.0)],
            Kernel::SoftMin => vec![exponentials(1.0), (3.0 * d / tensor / clocks, "tensor cores")],
            Kernel::SoftMean if d < 16.0 => vec![exponentials(1.0), issue(2.0 * d + 3.0)],
            Kernel::SoftMean => vec![exponentials(1.0), (6.0 * d / tensor / clocks, "tensor cores")],
            Kernel::Nearest => vec![issue(2.0 * d + 1.0)],
            Kernel::CostMatrix => vec![memory(4.0), issue(2.0 * d)],
            Kernel::PairSum => vec![((2.0 * d + 1.0) / double / clocks, "double pipe")],
            Kernel::Interpret => {
                let k = COMPONENTS as f64;
                vec![exponentials(k), issue(k * (2.0 * d + 6.0))]
            }
            Kernel::Normals => vec![memory(4.0)],
            Kernel::Dot => vec![memory(8.0)],
        };
        needs.into_iter().fold((0.0, ""), |most, need| if need.0 > most.0 { need } else { most })
    }

    /// Seconds of one run over `n` rows.
    fn seconds<B: Backend>(self, backend: &B, n: usize) -> Result<f64, BackendError> {
        let d = self.d;
        let (x, y) = (cloud(backend, n, d, 1)?, cloud(backend, n, d, 2)?);
        let rows = || Rows { points: &x, n, d };
        match self.kernel {
            Kernel::SoftMin | Kernel::SoftMean => {
                let mut packed = backend.zeros(n * (d + 1))?;
                backend.pack(&y, d, Scale::Uniform(2.0 / (d as f64).sqrt()), &backend.zeros(n)?, None, &mut packed)?;
                let columns = || Columns { packed: &packed, m: n, d };
                let (mut shift, mut out) = (backend.zeros(n)?, backend.zeros(n)?);
                backend.soft_min(rows(), columns(), None, &mut shift)?;
                if self.kernel == Kernel::SoftMin {
                    return timed(backend, || backend.soft_min(rows(), columns(), Some((&shift, 1.0)), &mut out));
                }
                let mut mean = backend.zeros(n * d)?;
                timed(backend, || backend.soft_mean(rows(), columns(), Some((&shift, 1.0)), &y, d, &mut out, &mut mean))
            }
            Kernel::Nearest => {
                let mut index = backend.zeros(n)?;
                timed(backend, || backend.nearest(rows(), &y, &mut index))
            }
            Kernel::CostMatrix => {
                let mut out = backend.zeros(n * n)?;
                timed(backend, || backend.cost_matrix(rows(), &y, Cost::HalfSquaredEuclidean, &mut out))
            }
            Kernel::PairSum => {
                let ones = backend.upload_reals(&vec![1.0; n])?;
                timed(backend, || backend.pair_sum(rows(), &ones, &y, &ones, PairKernel::Distance).map(|_| ()))
            }
            Kernel::Interpret => {
                let folded = fold(&mixture(d), &ddim());
                let mut registers: Vec<Reals<B>> = vec![x];
                for _ in 1..folded.registers {
                    registers.push(backend.zeros(n * d)?);
                }
                timed(backend, || backend.interpret(&folded, 0..STEPS, noise(), &mut registers))
            }
            Kernel::Normals => {
                let mut out = backend.zeros(n * d)?;
                timed(backend, || backend.normals(noise(), 0, 0, 0, d, &mut out))
            }
            Kernel::Dot => timed(backend, || backend.dot(&x, &y)?.read().map(|_| ())),
        }
    }
}

/// Seconds of one `run`: batches long enough for the clock, the least of three, after one run to warm up.
fn timed<B: Backend>(backend: &B, mut run: impl FnMut() -> Result<(), BackendError>) -> Result<f64, BackendError> {
    let mut batch = |runs: usize| -> Result<f64, BackendError> {
        backend.synchronize()?;
        let clock = Instant::now();
        (0..runs).try_for_each(|_| run())?;
        backend.synchronize()?;
        Ok(clock.elapsed().as_secs_f64() / runs as f64)
    };
    batch(1)?;
    let once = batch(1)?;
    let runs = (0.1 / once.max(1e-6)).ceil() as usize;
    (0..3).try_fold(f64::INFINITY, |least, _| Ok(least.min(batch(runs.clamp(1, 10_000))?)))
}

fn cloud<B: Backend>(backend: &B, n: usize, d: usize, step: u32) -> Result<Reals<B>, BackendError> {
    let mut points = backend.zeros(n * d)?;
    let noise = Noise::Counter { philox: Philox::new(0, Stream::Source), first: 0 };
    backend.normals(noise, step, 0, 0, d, &mut points)?;
    Ok(points)
}

fn noise() -> Noise<'static> {
    Noise::Counter { philox: Philox::new(0, Stream::Noise), first: 0 }
}

/// Isotropic components on a curve, the mixture of the peers' benchmark.
fn mixture(d: usize) -> Mixture {
    let mean = |k: usize| (0..d).map(|i| 2.0 * ((k * (i + 1)) as f64).sin()).collect();
    let variance = |k: usize| Covariance::Isotropic(0.05 + 0.02 * k as f64);
    let all = 0..COMPONENTS;
    Mixture::new(vec![1.0; COMPONENTS], all.clone().map(mean).collect(), all.map(variance).collect()).expect("parts that fit")
}

fn ddim() -> Program {
    let schedule = Schedule::linear_vp(0.1, 20.0).expect("a valid schedule");
    let grid = Grid::uniform(&schedule, STEPS).expect("a valid grid");
    grid.steps().map(|(from, to)| Step::evaluate(from, to.alpha, to.sigma)).collect()
}
