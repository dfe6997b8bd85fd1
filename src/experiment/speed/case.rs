//! A kernel in one dimension: what it counts, what a count takes at least, and its time.

use std::f64::consts::LN_2;
use std::time::Instant;

use crate::backend::{
    Backend, BackendError, Chip, Columns, Dense, Draw, Draws, HalfColumns, HalfPoints, Logit, Out, PairCost, PairKernel, Reals,
    Rows, Scale, Storage, Symmetric, TILE, TileList, Tiles, Weighted,
};
use crate::experiment::speed::inputs::{COMPONENTS, STEPS, cloud, ddim, mixture, noise};
use crate::field::fold;
use crate::program::Activation;

/// Width of the hidden layers of the network.
const HIDDEN: usize = 256;

#[derive(Clone, Copy, PartialEq)]
pub enum Kernel {
    SoftMin,
    SoftMinHalf,
    SoftMean,
    SoftMinCost,
    SoftMinSelf,
    SoftMinTiles,
    SamplePlan,
    TopK,
    Nearest,
    Perceptron,
    PairSum,
    Interpret,
    Normals,
    MarginalError,
}

impl Kernel {
    pub fn name(self) -> &'static str {
        match self {
            Self::SoftMin => "soft-min, shifted",
            Self::SoftMinHalf => "soft-min of f16, shifted",
            Self::SoftMean => "soft-mean of y, shifted",
            Self::SoftMinCost => "soft-min of |x-y|",
            Self::SoftMinSelf => "soft-min of a cloud with itself",
            Self::SoftMinTiles => "soft-min by tiles, all kept",
            Self::SamplePlan => "a draw a row",
            Self::TopK => "top 10",
            Self::Nearest => "nearest",
            Self::Perceptron => "perceptron, d-256-256-d",
            Self::PairSum => "pair sum of distances",
            Self::Interpret => "interpret, K = 8, DDIM",
            Self::Normals => "normals",
            Self::MarginalError => "marginal error",
        }
    }

    pub fn item(self) -> &'static str {
        match self {
            Self::Interpret => "particle-step",
            Self::Normals | Self::MarginalError => "number",
            Self::Perceptron => "multiply-add",
            _ => "pair",
        }
    }
}

/// A kernel in one dimension.
#[derive(Clone, Copy)]
pub struct Case {
    pub kernel: Kernel,
    pub d: usize,
}

impl Case {
    pub const ALL: [Self; 18] = [
        Self { kernel: Kernel::SoftMin, d: 2 },
        Self { kernel: Kernel::SoftMin, d: 3 },
        Self { kernel: Kernel::SoftMin, d: 64 },
        Self { kernel: Kernel::SoftMin, d: 784 },
        Self { kernel: Kernel::SoftMinHalf, d: 64 },
        Self { kernel: Kernel::SoftMean, d: 3 },
        Self { kernel: Kernel::SoftMean, d: 64 },
        Self { kernel: Kernel::SoftMinCost, d: 3 },
        Self { kernel: Kernel::SoftMinSelf, d: 3 },
        Self { kernel: Kernel::SoftMinTiles, d: 3 },
        Self { kernel: Kernel::SamplePlan, d: 3 },
        Self { kernel: Kernel::TopK, d: 3 },
        Self { kernel: Kernel::Nearest, d: 3 },
        Self { kernel: Kernel::PairSum, d: 3 },
        Self { kernel: Kernel::Interpret, d: 2 },
        Self { kernel: Kernel::Perceptron, d: 64 },
        Self { kernel: Kernel::Normals, d: 4 },
        Self { kernel: Kernel::MarginalError, d: 1 },
    ];

    pub fn items(self, n: usize) -> usize {
        match self.kernel {
            Kernel::Interpret => n * STEPS,
            Kernel::Normals | Kernel::MarginalError => n * self.d,
            Kernel::Perceptron => n * HIDDEN * (2 * self.d + HIDDEN),
            _ => n * n,
        }
    }

    /// Seconds an item takes at least, and what sets that; none where the chip does not say its clock or its bandwidth.
    pub fn limit(self, chip: Chip) -> Option<(f64, &'static str)> {
        let d = self.d as f64;
        let clocks = f64::from(chip.multiprocessors) * chip.clock;
        // Multiply-adds of f16 into f32 by `mma.sync` and of f64 in a multiprocessor and clock: of 8.6, 8.9 and 12.0 those of
        // the GeForce, and of 10.x those of 9.0, because twice as many are for `tcgen05` alone.
        let (tensor, double) = match chip.capability {
            [8, 0] => (1024.0, 32.0),
            [9 | 10, _] => (2048.0, 64.0),
            _ => (256.0, 2.0),
        };
        let exponentials_a_clock = if chip.capability == [10, 3] { 32.0 } else { 16.0 };
        let memory = |bytes: f64| (bytes / chip.bandwidth, "memory");
        let issue = |slots: f64| (slots / 128.0 / clocks, "issue slots");
        let exponentials = |count: f64| (count / exponentials_a_clock / clocks, "exp unit");
        let needs = match self.kernel {
            // d multiply-adds, the shift, the sum and the exponential; or three split products on the tensor cores.
            // A cost's root beside the exponential, and no shift but a running maximum.
            Kernel::SoftMinCost => vec![exponentials(2.0), issue(2.0 * d + 3.0)],
            // What is symmetric could be visited once.
            Kernel::SoftMinSelf => vec![exponentials(0.5), issue(0.5 * (d + 3.0))],
            Kernel::SoftMin if d < 16.0 => vec![exponentials(1.0), issue(d + 3.0)],
            Kernel::SoftMin => vec![exponentials(1.0), (3.0 * d / tensor / clocks, "tensor cores")],
            Kernel::SoftMinHalf => vec![exponentials(1.0), (d / tensor / clocks, "tensor cores")],
            Kernel::SoftMean if d < 16.0 => vec![exponentials(1.0), issue(2.0 * d + 3.0)],
            Kernel::SoftMean => vec![exponentials(1.0), (6.0 * d / tensor / clocks, "tensor cores")],
            Kernel::SoftMinTiles | Kernel::SamplePlan => vec![exponentials(1.0), issue(d + 3.0)],
            Kernel::TopK => vec![issue(d + 1.0)],
            Kernel::Nearest => vec![issue(2.0 * d + 1.0)],
            // Three split products.
            Kernel::Perceptron => vec![(3.0 / tensor / clocks, "tensor cores")],
            Kernel::PairSum => vec![((2.0 * d + 1.0) / double / clocks, "double pipe")],
            Kernel::Interpret => {
                let k = COMPONENTS as f64;
                vec![exponentials(k), issue(k * (2.0 * d + 6.0))]
            }
            Kernel::Normals => vec![memory(4.0)],
            Kernel::MarginalError => vec![memory(8.0)],
        };
        let known = needs.iter().all(|(seconds, _)| seconds.is_finite());
        known.then(|| needs.into_iter().fold((0.0, ""), |most, need| if need.0 > most.0 { need } else { most }))
    }

    /// Seconds of one run over `n` rows; none where the device has no such kernel.
    pub fn seconds<B: Backend>(self, backend: &B, n: usize) -> Result<Option<f64>, BackendError> {
        let d = self.d;
        let (x, y) = (cloud(backend, n, d, 1)?, cloud(backend, n, d, 2)?);
        let (rows, points) = (Rows { points: &x, n, d }, Rows { points: &y, n, d });
        match self.kernel {
            Kernel::SoftMin | Kernel::SoftMean | Kernel::SamplePlan | Kernel::TopK => {
                let mut packed = backend.zeros(n * (d + 1))?;
                backend.pack(points, Scale::Uniform(2.0 / (d as f64).sqrt()), &backend.zeros(n)?, None, &mut packed)?;
                let columns = Columns { packed: &packed, m: n, d };
                if self.kernel == Kernel::TopK {
                    let (mut index, mut logit) = (backend.zeros(10 * n)?, backend.zeros(10 * n)?);
                    return timed(backend, || backend.top_k(rows, columns, 10, &mut index, &mut logit)).map(Some);
                }
                let (mut shift, mut out) = (backend.zeros(n)?, backend.zeros(n)?);
                backend.soft_min(Logit::Product { rows, columns, shift: None }, Out::of(&mut shift))?;
                let logit = || Logit::Product { rows, columns, shift: Some((&shift, 1.0)) };
                if self.kernel == Kernel::SoftMin {
                    return timed(backend, || backend.soft_min(logit(), Out::of(&mut out))).map(Some);
                }
                if self.kernel == Kernel::SamplePlan {
                    let first = backend.upload(&(0..=n as u32).collect::<Vec<_>>())?;
                    let quantiles = backend.upload(&(0..n).map(|i| (i as f64 + 0.5) / n as f64).collect::<Vec<_>>())?;
                    let mut index = backend.zeros(n)?;
                    let shift = (&shift, 1.0);
                    let draws = || Draws { first: &first, quantiles: &quantiles };
                    let draw = || backend.sample_plan(rows, columns, shift, draws(), &mut index);
                    return timed(backend, draw).map(Some);
                }
                let mut mean = backend.zeros(n * d)?;
                timed(backend, || backend.soft_min(logit(), Out::with_mean(&mut out, &y, d, &mut mean)))
            }
            Kernel::SoftMinHalf => return half(backend, n, d),
            Kernel::SoftMinCost => {
                let (mut packed, mut out) = (backend.zeros(n * (d + 1))?, backend.zeros(n)?);
                backend.pack(points, Scale::Uniform(LN_2), &backend.zeros(n)?, None, &mut packed)?;
                let (columns, cost) = (Columns { packed: &packed, m: n, d }, PairCost::Euclidean);
                let logit = || Logit::Cost { rows, columns, cost, k: 1.0, shift: None, mean: None };
                timed(backend, || backend.soft_min(logit(), Out::of(&mut out)))
            }
            Kernel::SoftMinSelf => {
                let half_squares = |x: &[f64]| x.chunks_exact(d).map(|x| 0.5 * x.iter().map(|x| x * x).sum::<f64>()).collect();
                let halves: Vec<f64> = half_squares(&backend.download_reals(&x)?);
                let (shift, weights) = (backend.upload_reals(&halves)?, backend.upload_reals(vec![1.0 / n as f64; n])?);
                let log_weights = backend.upload_reals(vec![-(n as f64).ln(); n])?;
                let (mut packed, mut out) = (backend.zeros(n * (d + 1))?, backend.zeros(n)?);
                let weights = (&weights, &log_weights);
                timed(backend, || {
                    let cloud = Symmetric { rows, k: 1.0, weights, shift: (&shift, 1.0), packed: &mut packed };
                    backend.soft_min(Logit::Symmetric(cloud), Out::of(&mut out))
                })
            }
            Kernel::SoftMinTiles => {
                let tiles = n.div_ceil(TILE);
                let up = |host: Vec<f64>| backend.upload(&host);
                let (points, potential, frames) =
                    (up(backend.download_reals(&x)?)?, up(vec![0.0; n])?, up(vec![0.0; tiles * (2 * d + 1)])?);
                let log_weights = up(vec![-(n as f64).ln(); n])?;
                let cloud = Tiles { points: &points, potential: &potential, log_weights: &log_weights, frames: &frames, n, d };
                let (starts, runs) =
                    (backend.upload(&(0..=tiles as u32).collect::<Vec<_>>())?, backend.upload(&vec![[0, tiles as u32]; tiles])?);
                let list = TileList { starts: &starts, runs: &runs };
                let (mut packed, mut out) = (backend.zeros(n * (d + 1))?, backend.zeros(n)?);
                let (rows, columns, list) = (&cloud, &cloud, &list);
                timed(backend, || {
                    backend.soft_min(Logit::Tiles { rows, columns, list, eps: 1.0, packed: &mut packed }, Out::of(&mut out))
                })
            }
            Kernel::Perceptron => {
                let layer = |inputs: usize, outputs: usize, step: u32| -> Result<(Reals<B>, Reals<B>), BackendError> {
                    Ok((cloud(backend, outputs, inputs, step)?, backend.zeros(outputs)?))
                };
                let layers = [layer(d, HIDDEN, 3)?, layer(HIDDEN, HIDDEN, 4)?, layer(HIDDEN, d, 5)?];
                let layers: Vec<Dense<'_, B>> = layers.iter().map(|(weight, bias)| Dense { weight, bias }).collect();
                let mut out = backend.zeros(n * d)?;
                timed(backend, || backend.perceptron(rows, 0.1, &layers, Activation::Silu, &mut out))
            }
            Kernel::Nearest => {
                let mut index = backend.zeros(n)?;
                timed(backend, || backend.nearest(rows, &y, &mut index))
            }
            Kernel::PairSum => {
                let ones = backend.upload_reals(vec![1.0; n])?;
                let weighted = |points| Weighted { points, weights: &ones };
                timed(backend, || backend.pair_sum(weighted(rows), weighted(points), PairKernel::Distance).map(|_| ()))
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
                timed(backend, || backend.normals(noise(), Draw { step: 0, number: 0, call: 0 }, d, &mut out))
            }
            Kernel::MarginalError => timed(backend, || backend.marginal_error(&x, &y)?.read().map(|_| ())),
        }
        .map(Some)
    }
}

/// Seconds of a soft-min of points in half precision.
fn half<B: Backend>(backend: &B, n: usize, d: usize) -> Result<Option<f64>, BackendError> {
    if !B::HALVES {
        return Ok(None);
    }
    let halve = |step: u32| HalfPoints::new(backend, &backend.download_reals(&cloud(backend, n, d, step)?)?, d, Storage::F16);
    let (Some(rows), Some(points)) = (halve(1)?, halve(2)?) else { return Ok(None) };
    let (bias, mut shift, mut out) = (backend.zeros(n)?, backend.zeros(n)?, backend.zeros(n)?);
    let columns = || HalfColumns { points: &points, k: 2.0 / (d as f64).sqrt(), bias: &bias, potential: (&bias, 0.0) };
    backend.soft_min(Logit::Half { rows: &rows, columns: columns(), shift: None }, Out::of(&mut shift))?;
    let logit = || Logit::Half { rows: &rows, columns: columns(), shift: Some((&shift, 1.0)) };
    timed(backend, || backend.soft_min(logit(), Out::of(&mut out))).map(Some)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn chip(capability: [u32; 2]) -> Chip {
        Chip { capability, multiprocessors: 100, clock: 1e9, bandwidth: 1e12 }
    }

    fn of(kernel: Kernel, d: usize, chip: Chip) -> Option<(f64, &'static str)> {
        Case { kernel, d }.limit(chip)
    }

    /// A soft-min in d = 784 is bound by three products of 784 multiply-adds, in the plane by one exponential a pair.
    #[test]
    fn limits_are_those_of_the_chip() {
        for (capability, rate) in
            [([8, 0], 1024.0), ([8, 6], 256.0), ([8, 9], 256.0), ([12, 0], 256.0), ([9, 0], 2048.0), ([10, 0], 2048.0)]
        {
            let (seconds, by) = of(Kernel::SoftMin, 784, chip(capability)).unwrap();
            assert!(
                (seconds * 1e11 - 3.0 * 784.0 / rate).abs() < 1e-9 && by == "tensor cores",
                "{capability:?}: {seconds:e} by {by}"
            );
        }
        for (capability, each) in [([9, 0], 1.0 / 16.0), ([10, 0], 1.0 / 16.0), ([10, 3], 5.0 / 128.0)] {
            let (seconds, _) = of(Kernel::SoftMin, 2, chip(capability)).unwrap();
            assert!((seconds * 1e11 - each).abs() < 1e-12, "{capability:?}: {seconds:e}");
        }
    }

    /// A virtual GPU says neither its clock nor that of its memory: there is no limit then, and not one that is infinite.
    #[test]
    fn a_chip_that_does_not_say_its_clock_has_no_limit() {
        for case in Case::ALL {
            assert_eq!(case.limit(Chip { clock: 0.0, bandwidth: 0.0, ..chip([9, 0]) }), None);
            assert!(case.limit(chip([9, 0])).is_some_and(|(seconds, _)| seconds > 0.0));
        }
        assert_eq!(of(Kernel::MarginalError, 1, Chip { bandwidth: 0.0, ..chip([9, 0]) }), None);
        assert!(of(Kernel::SoftMin, 2, Chip { bandwidth: 0.0, ..chip([9, 0]) }).is_some());
    }
}
