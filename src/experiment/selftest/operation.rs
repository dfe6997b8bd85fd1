//! The operations of the seam, each on the inputs of one size.

use crate::backend::{Backend, BackendError, Columns, Dense, Draw, Logit, Out, PairCost, PairKernel, Reals, Rows, Weighted};
use crate::experiment::selftest::inputs::{Inputs, counter, mixture, normals, program};
use crate::experiment::selftest::{partners, updates};
use crate::field::fold;
use crate::program::Activation;

/// The operations of the seam.
#[derive(Clone, Copy)]
pub enum Operation {
    Normals,
    SoftMin,
    ShiftedSoftMin,
    SoftMean,
    SoftBlend,
    SoftMinHalf,
    SoftMinSelf,
    SoftMinCost(&'static str, PairCost<'static>),
    CostMean,
    Sweep,
    SoftMinTiles,
    TiledMean,
    SamplePlan,
    TopK,
    Share,
    Nearest,
    Perceptron,
    PairSum(&'static str, PairKernel),
    Interpret(&'static str, bool),
    Combine,
    Clip,
    Relax,
    Repeat,
    Accelerate,
    Gather,
    MarginalError,
    LargestChange,
    LargestFall,
}

impl Operation {
    pub const ALL: [Self; 31] = [
        Self::Normals,
        Self::SoftMin,
        Self::ShiftedSoftMin,
        Self::SoftMean,
        Self::SoftBlend,
        Self::SoftMinHalf,
        Self::SoftMinSelf,
        Self::SoftMinCost("soft-min of |x-y|", PairCost::Euclidean),
        Self::SoftMinCost("soft-min of Lp, p = 3", PairCost::Lp(3.0)),
        Self::CostMean,
        Self::Sweep,
        Self::SoftMinTiles,
        Self::TiledMean,
        Self::SamplePlan,
        Self::TopK,
        Self::Share,
        Self::Nearest,
        Self::Perceptron,
        Self::PairSum("pair sum of distances", PairKernel::Distance),
        Self::PairSum("pair sum of Gaussians", PairKernel::Gaussian(3.0)),
        Self::Interpret("interpret, isotropic", true),
        Self::Interpret("interpret, full", false),
        Self::Combine,
        Self::Clip,
        Self::Relax,
        Self::Repeat,
        Self::Accelerate,
        Self::Gather,
        Self::MarginalError,
        Self::LargestChange,
        Self::LargestFall,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Normals => "normals",
            Self::SoftMin => "soft-min, running maximum",
            Self::ShiftedSoftMin => "soft-min, shifted",
            Self::SoftMean => "soft-mean",
            Self::SoftBlend => "soft-blend",
            Self::SoftMinHalf => "soft-mean of points in f16",
            Self::CostMean => "means of |x-y|",
            Self::Sweep => "sweep",
            Self::SoftMinSelf => "soft-min of a cloud with itself",
            Self::SoftMinTiles => "soft-min by tiles",
            Self::TiledMean => "soft-mean by tiles",
            Self::SamplePlan => "draws from the plan",
            Self::TopK => "top k",
            Self::Share => "shares of stations",
            Self::Nearest => "nearest",
            Self::Perceptron => "perceptron",
            Self::PairSum(name, _) | Self::Interpret(name, _) | Self::SoftMinCost(name, _) => name,
            Self::Combine => "combine",
            Self::Clip => "clip",
            Self::Relax => "relax",
            Self::Repeat => "an update, repeated",
            Self::Accelerate => "accelerate",
            Self::Gather => "gather",
            Self::MarginalError => "marginal error",
            Self::LargestChange => "largest change",
            Self::LargestFall => "largest fall",
        }
    }

    /// What rounding may do, over the largest result; `u` is the largest relative rounding error of the device.
    pub fn tolerance(self, u: f64, d: f64) -> f64 {
        // d + 4 roundings of logits of up to 16, adding like a random walk, and 16 of exponential and sum.
        let logit = u * (16.0 * (d + 4.0).sqrt() + 16.0);
        match self {
            // The same numbers, or the same bits.
            Self::Normals | Self::Nearest | Self::Gather | Self::SamplePlan => 0.0,
            Self::SoftMin | Self::TopK => logit,
            // A cost is rounded once a coordinate, and its power and root cost more; a mean sees it in its weights and values.
            Self::SoftMinCost(..) => 4.0 * logit,
            Self::CostMean => 8.0 * logit,
            // Products of d terms and two potentials of about d, times k.
            Self::Sweep => u * (16.0 * (d + 4.0) + 64.0),
            // The result is what is left after subtraction, of size one.
            Self::ShiftedSoftMin | Self::SoftMinSelf | Self::SoftMinTiles => 4.0 * logit,
            // A logit's error moves its weight against the others.
            Self::SoftBlend | Self::SoftMean | Self::SoftMinHalf | Self::TiledMean => 4.0 * logit,
            // Three layers of sums of size one, each of up to d + 4 roundings that walk at random, and two activations.
            Self::Perceptron => u * (12.0 * (d + 4.0).sqrt() + 64.0),
            // In double on every device.
            Self::PairSum(..) | Self::Share => 1e-12,
            Self::MarginalError => 1e-13,
            Self::LargestChange | Self::LargestFall => 0.0,
            Self::Relax => 1e-15,
            // An update of an update, rounded to the device in between.
            Self::Repeat => 4.0 * u,
            // What the least squares make of roundings of 1e-16: three rates, a decade apart.
            Self::Accelerate => 1e-10,
            // Logits of up to 50 bits, three steps that may triple an error each.
            Self::Interpret(..) => 2000.0 * u,
            Self::Combine | Self::Clip => 2.0 * u,
        }
    }

    /// The result of the operation on `backend`.
    pub fn run<B: Backend>(self, backend: &B, inputs: &Inputs) -> Result<Vec<f64>, BackendError> {
        let Inputs { n, m, d } = *inputs;
        let up = |count: usize, step: u32| backend.upload_reals(normals(count, step));
        let (x, y) = (up(n * d, 1)?, up(m * d, 2)?);
        let rows = || Rows { points: &x, n, d };
        match self {
            Self::Normals => {
                let mut out = backend.zeros(n * d)?;
                backend.normals(counter(), Draw { step: 7, number: 1, call: 0 }, d, &mut out)?;
                backend.download_reals(&out)
            }
            Self::SoftMin | Self::ShiftedSoftMin | Self::SoftMean => {
                let packed = partners::packed(backend, inputs)?;
                let (rows, columns) = (rows(), Columns { packed: &packed, m, d });
                let mut out = backend.zeros(n)?;
                match self {
                    Self::SoftMin => backend.soft_min(Logit::Product { rows, columns, shift: None }, Out::of(&mut out))?,
                    Self::ShiftedSoftMin => {
                        // Within the range that the fixed shift covers, and different on each row.
                        let shift: Vec<f64> = normals(n, 4).iter().map(|z| 8.0 + 0.5 * z).collect();
                        let shift = backend.upload_reals(&shift)?;
                        let logit = Logit::Product { rows, columns, shift: Some((&shift, 1.0)) };
                        backend.soft_min(logit, Out::of(&mut out))?;
                    }
                    _ => {
                        let (values, mut mean) = (up(m * 3, 5)?, backend.zeros(n * 3)?);
                        let wanted = Out::with_mean(&mut out, &values, 3, &mut mean);
                        backend.soft_min(Logit::Product { rows, columns, shift: None }, wanted)?;
                        return backend.download_reals(&mean);
                    }
                }
                backend.download_reals(&out)
            }
            Self::SoftBlend => partners::soft_blend(backend, inputs),
            Self::SoftMinHalf => partners::soft_min_half(backend, inputs),
            Self::SoftMinCost(_, cost) => Ok(partners::soft_min_cost(backend, inputs, cost)?.0),
            Self::CostMean => Ok(partners::soft_min_cost(backend, inputs, PairCost::Euclidean)?.1),
            Self::Sweep => partners::sweep(backend, inputs),
            Self::SoftMinSelf => partners::soft_min_self(backend, inputs),
            Self::SoftMinTiles => Ok(partners::tiles(backend, inputs)?.0),
            Self::TiledMean => Ok(partners::tiles(backend, inputs)?.1),
            Self::SamplePlan => partners::draws(backend, inputs),
            Self::TopK => partners::top_k(backend, inputs),
            Self::Share => partners::share(backend, inputs),
            Self::Perceptron => perceptron(backend, inputs),
            Self::Nearest => {
                let mut index = backend.zeros(n)?;
                backend.nearest(rows(), &y, &mut index)?;
                Ok(backend.download(&index)?.into_iter().map(f64::from).collect())
            }
            Self::PairSum(_, kernel) => {
                let weights = |count: usize| backend.upload_reals(vec![1.0; count]);
                let (a, b) = (weights(n)?, weights(m)?);
                let (x, y) =
                    (Weighted { points: rows(), weights: &a }, Weighted { points: Rows { points: &y, n: m, d }, weights: &b });
                Ok(vec![backend.pair_sum(x, y, kernel)?])
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
            Self::Relax => updates::relax(backend, n * d),
            Self::Repeat => updates::repeat(backend, n * d),
            Self::Accelerate => updates::accelerate(backend, n * d),
            Self::Gather => {
                let index: Vec<u32> = (0..n).map(|r| (r * 7 % m) as u32).collect();
                let mut out = backend.zeros(n * d)?;
                backend.gather(&y, d, &backend.upload(&index)?, &mut out)?;
                backend.download_reals(&out)
            }
            Self::LargestChange => {
                let mass: Vec<f64> = (0..n * d).map(|i| (i % 3) as f64).collect();
                Ok(vec![backend.largest_change(&backend.upload(&mass)?, &backend.upload(&normals(n * d, 2))?)?.read()?])
            }
            Self::LargestFall => {
                let [before, after] = [1, 2].map(|step| backend.upload(&normals(n * d, step)));
                Ok(vec![backend.largest_fall(&before?, &after?)?.read()?])
            }
            Self::MarginalError => {
                let weights = backend.upload_reals(vec![1.0; n * d])?;
                Ok(vec![backend.marginal_error(&weights, &x)?.read()?])
            }
        }
    }
}

/// Three layers of 48 between points of dimension d: of x, the processor's in f64.
fn perceptron<B: Backend>(backend: &B, inputs: &Inputs) -> Result<Vec<f64>, BackendError> {
    let Inputs { n, d, .. } = *inputs;
    let layer = |inputs: usize, outputs: usize, step: u32| -> Result<(Reals<B>, Reals<B>), BackendError> {
        let weight =
            normals(inputs * outputs, step).iter().map(|w| f64::from((w / (inputs as f64).sqrt()) as f32)).collect::<Vec<_>>();
        Ok((backend.upload_reals(&weight)?, backend.upload_reals(normals(outputs, step + 1))?))
    };
    let layers = [layer(d, 48, 20)?, layer(48, 48, 22)?, layer(48, d, 24)?];
    let layers: Vec<Dense<'_, B>> = layers.iter().map(|(weight, bias)| Dense { weight, bias }).collect();
    let (x, mut out) = (backend.upload_reals(normals(n * d, 1))?, backend.zeros(n * d)?);
    backend.perceptron(Rows { points: &x, n, d }, 0.5, &layers, Activation::Silu, &mut out)?;
    backend.download_reals(&out)
}
