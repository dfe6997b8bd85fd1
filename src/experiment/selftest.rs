//! Does this device compute right? Every operation of the seam against the processor in f64, on the same random, ragged inputs.
//!
//! Inputs are numbers of f32, so that both sides start from the same; an error is the largest difference over the largest result,
//! or over one where that is smaller.

use std::f64::consts::LN_2;

use serde::Serialize;

use crate::backend::cpu::Cpu;
use crate::backend::{Backend, BackendError, Columns, Cost, Device, Noise, PairKernel, Real, Reals, Rows, Scale, Task};
use crate::field::fold;
use crate::measure::{Covariance, Mixture};
use crate::path::{Grid, Schedule};
use crate::random::{Philox, Stream};
use crate::sampler::program::{Op, Program, Step};

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

/// The operations of the seam.
#[derive(Clone, Copy)]
enum Operation {
    Normals,
    SoftMin,
    ShiftedSoftMin,
    SoftMean,
    Nearest,
    CostMatrix(&'static str, Cost),
    HalfCostMatrix,
    PairSum(&'static str, PairKernel),
    Interpret(&'static str, bool),
    Combine,
    Clip,
    Axpby,
    Gather,
    Dot,
    MaxDifference,
    MarginalError,
}

impl Operation {
    const ALL: [Self; 21] = [
        Self::Normals,
        Self::SoftMin,
        Self::ShiftedSoftMin,
        Self::SoftMean,
        Self::Nearest,
        Self::CostMatrix("cost ½|x-y|²", Cost::HalfSquaredEuclidean),
        Self::CostMatrix("cost |x-y|", Cost::Euclidean),
        Self::CostMatrix("cost Lp, p = 3", Cost::Lp(3.0)),
        Self::CostMatrix("cost cosine", Cost::Cosine),
        Self::HalfCostMatrix,
        Self::PairSum("pair sum of distances", PairKernel::Distance),
        Self::PairSum("pair sum of Gaussians", PairKernel::Gaussian(3.0)),
        Self::Interpret("interpret, isotropic", true),
        Self::Interpret("interpret, full", false),
        Self::Combine,
        Self::Clip,
        Self::Axpby,
        Self::Gather,
        Self::Dot,
        Self::MaxDifference,
        Self::MarginalError,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Normals => "normals",
            Self::SoftMin => "soft-min, running maximum",
            Self::ShiftedSoftMin => "soft-min, shifted",
            Self::SoftMean => "soft-mean",
            Self::Nearest => "nearest",
            Self::CostMatrix(name, _) | Self::PairSum(name, _) | Self::Interpret(name, _) => name,
            Self::HalfCostMatrix => "cost ½|x-y|², half",
            Self::Combine => "combine",
            Self::Clip => "clip",
            Self::Axpby => "axpby",
            Self::Gather => "gather",
            Self::Dot => "dot",
            Self::MaxDifference => "max difference",
            Self::MarginalError => "marginal error",
        }
    }

    /// What rounding may do, over the largest result; `u` is the largest relative rounding error of the device.
    fn tolerance(self, u: f64, d: f64) -> f64 {
        // d + 4 roundings of logits of up to 16, adding like a random walk, and 16 of exponential and sum.
        let logit = u * (16.0 * (d + 4.0).sqrt() + 16.0);
        match self {
            // The same numbers, or the same bits.
            Self::Normals | Self::Nearest | Self::Gather => 0.0,
            Self::SoftMin => logit,
            // The result is what is left after subtraction, of size one.
            Self::ShiftedSoftMin => 4.0 * logit,
            // A logit's error moves its weight against the others.
            Self::SoftMean => 4.0 * logit,
            Self::CostMatrix(_, Cost::Lp(_)) => u * (d + 50.0),
            Self::CostMatrix(_, Cost::Cosine) => u * (2.0 * d + 6.0),
            Self::CostMatrix(..) => u * (d + 2.0),
            Self::HalfCostMatrix => u * (d + 2.0) + 2f64.powi(-11),
            // In double on every device.
            Self::PairSum(..) => 1e-12,
            Self::Dot | Self::MaxDifference | Self::MarginalError => 1e-13,
            // Logits of up to 50 bits, three steps that may triple an error each.
            Self::Interpret(..) => 2000.0 * u,
            Self::Combine | Self::Clip | Self::Axpby => 2.0 * u,
        }
    }

    /// The operation whose result in f64 is the reference: half precision is compared with what it rounds.
    fn exact(self) -> Self {
        match self {
            Self::HalfCostMatrix => Self::CostMatrix("", Cost::HalfSquaredEuclidean),
            other => other,
        }
    }

    /// The result of the operation on `backend`.
    fn run<B: Backend>(self, backend: &B, inputs: &Inputs) -> Result<Vec<f64>, BackendError> {
        let Inputs { n, m, d } = *inputs;
        let up = |count: usize, step: u32| backend.upload_reals(&normals(count, step));
        let (x, y) = (up(n * d, 1)?, up(m * d, 2)?);
        let rows = || Rows { points: &x, n, d };
        match self {
            Self::Normals => {
                let mut out = backend.zeros(n * d)?;
                backend.normals(counter(), 7, 1, 0, d, &mut out)?;
                backend.download_reals(&out)
            }
            Self::SoftMin | Self::ShiftedSoftMin | Self::SoftMean => {
                let bias =
                    backend.upload_reals(&normals(m, 3).iter().map(|z| f64::from((LN_2 * z) as f32)).collect::<Vec<_>>())?;
                let mut packed = backend.zeros(m * (d + 1))?;
                backend.pack(&y, d, Scale::Uniform(1.0 / (d as f64).sqrt()), &bias, None, &mut packed)?;
                let columns = || Columns { packed: &packed, m, d };
                let mut out = backend.zeros(n)?;
                match self {
                    Self::SoftMin => backend.soft_min(rows(), columns(), None, &mut out)?,
                    Self::ShiftedSoftMin => {
                        // Within the range that the fixed shift covers, and different on each row.
                        let shift: Vec<f64> = normals(n, 4).iter().map(|z| 8.0 + 0.5 * z).collect();
                        backend.soft_min(rows(), columns(), Some((&backend.upload_reals(&shift)?, 1.0)), &mut out)?;
                    }
                    _ => {
                        let (values, mut mean) = (up(m * 3, 5)?, backend.zeros(n * 3)?);
                        backend.soft_mean(rows(), columns(), None, &values, 3, &mut out, &mut mean)?;
                        return backend.download_reals(&mean);
                    }
                }
                backend.download_reals(&out)
            }
            Self::Nearest => {
                let mut index = backend.zeros(n)?;
                backend.nearest(rows(), &y, &mut index)?;
                Ok(backend.download(&index)?.into_iter().map(f64::from).collect())
            }
            Self::CostMatrix(_, cost) => {
                let mut out = backend.zeros(n * m)?;
                backend.cost_matrix(rows(), &y, cost, &mut out)?;
                backend.download_reals(&out)
            }
            Self::HalfCostMatrix => {
                let mut out = backend.zeros(n * m)?;
                backend.cost_matrix_half(rows(), &y, Cost::HalfSquaredEuclidean, &mut out)?;
                Ok(backend.download(&out)?.into_iter().map(f64::from).collect())
            }
            Self::PairSum(_, kernel) => {
                let weights = |count: usize| backend.upload_reals(&vec![1.0; count]);
                Ok(vec![backend.pair_sum(rows(), &weights(n)?, &y, &weights(m)?, kernel)?])
            }
            Self::Interpret(_, isotropic) => {
                // A full covariance of an image is 6 MB a component; its whitening is tested at smaller d.
                let d = if isotropic { d } else { d.min(8) };
                let folded = fold(&mixture(d, isotropic), &program());
                let mut registers: Vec<Reals<B>> = vec![up(n * d, 1)?];
                for _ in 1..folded.registers {
                    registers.push(backend.zeros(n * d)?);
                }
                backend.interpret(&folded, 0..folded.steps.len(), counter(), &mut registers)?;
                backend.download_reals(&registers[0])
            }
            Self::Combine => {
                let mut registers = [up(n * d, 1)?, up(n * d, 2)?, up(n * d, 3)?];
                backend.combine(&mut registers, 0, &[(0, 0.5), (1, -1.25), (2, 2.0), (0, 0.3)])?;
                backend.download_reals(&registers[0])
            }
            Self::Clip => {
                let mut clipped = up(n * d, 1)?;
                backend.clip(&mut clipped, -0.3, 0.7)?;
                backend.download_reals(&clipped)
            }
            Self::Axpby => {
                let mut sum = up(n * d, 2)?;
                backend.axpby(0.7, &x, -1.3, &mut sum)?;
                backend.download_reals(&sum)
            }
            Self::Gather => {
                let index: Vec<u32> = (0..n).map(|r| (r * 7 % m) as u32).collect();
                let mut out = backend.zeros(n * d)?;
                backend.gather(&y, d, &backend.upload(&index)?, &mut out)?;
                backend.download_reals(&out)
            }
            Self::Dot => Ok(vec![backend.dot(&x, &x)?.read()?]),
            Self::MaxDifference => Ok(vec![backend.max_difference(&x, &up(n * d, 2)?)?.read()?]),
            Self::MarginalError => {
                let weights = backend.upload_reals(&vec![1.0; n * d])?;
                Ok(vec![backend.marginal_error(&weights, &x)?.read()?])
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Inputs {
    n: usize,
    m: usize,
    d: usize,
}

/// Independent standard normals, numbers of f32, different for each `step`.
fn normals(count: usize, step: u32) -> Vec<f64> {
    let mut z = vec![0.0; count];
    Philox::new(0, Stream::Source).normals(0, step, 0, &mut z);
    z.into_iter().map(f64::from).collect()
}

fn counter() -> Noise<'static> {
    Noise::Counter { philox: Philox::new(0, Stream::Noise), first: 5 }
}

/// Eight components with means of size one.
fn mixture(d: usize, isotropic: bool) -> Mixture {
    let covariance = |k: usize| {
        let variance = 0.3 + 0.1 * k as f64;
        if isotropic {
            return Covariance::Isotropic(variance);
        }
        let matrix: Vec<f64> = (0..d * d).map(|at| if at / d == at % d { variance } else { 0.05 }).collect();
        Covariance::from_matrix(&matrix, d).expect("a positive diagonal that outweighs the rest")
    };
    let means = (0..8).map(|k| normals(d, 10 + k)).collect();
    Mixture::new(vec![1.0; 8], means, (0..8).map(covariance).collect()).expect("weights, means and covariances that fit")
}

/// Three steps, each with an evaluation, noise, and a clip that few particles reach.
fn program() -> Program {
    let schedule = Schedule::linear_vp(0.1, 20.0).expect("a valid schedule");
    let grid = Grid::uniform(&schedule, 3).expect("a valid grid");
    let step = |from, to: crate::path::Level| {
        Step::evaluate(from, to.alpha, 0.8 * to.sigma).add_noise(0.6 * to.sigma).then(Op::Clip {
            register: 0,
            low: -9.0,
            high: 9.0,
        })
    };
    grid.steps().map(|(from, to)| step(from, to)).collect()
}
