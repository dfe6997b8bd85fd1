//! How good is cloud A as a sample of B: distances with their noise floor, and the checks that tell whether they mean anything.

use serde::Serialize;

use crate::Error;
use crate::backend::Device;
use crate::io::Checkpoint;
use crate::measure::{Cloud, Measure};
use crate::metric::{Flag, Law, NoiseFloor, Ruler, flags, median_distance, mode_weights, w2_size};
use crate::random::Stream;
use crate::transport::Progress;

/// An evaluation: seeds and sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evaluate {
    /// Draws that stand for a law or a shape.
    pub n: usize,
    /// Seed of draws, splits and subsamples.
    pub seed: u32,
}

/// What `evaluate` prints as JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvaluateRecord {
    /// Points of A.
    pub n: usize,
    /// Points of B.
    pub m: usize,
    /// Dimension.
    pub d: usize,
    /// 2 S_ε at ε = 0.05 × mean c of B against itself, in units of |x−y|².
    pub divergence: f64,
    /// ε of the divergence, in units of c.
    pub eps: f64,
    /// Exact W₂² on subsamples, in units of |x−y|².
    pub w2_squared_exact: f64,
    /// Points of each subsample.
    pub w2_size: usize,
    /// What two independent clouds of B's law would score at these sizes.
    pub noise_floor: NoiseFloor,
    /// Total variance of A over that of B.
    pub variance_ratio: f64,
    /// Distance between the means.
    pub mean_distance: f64,
    /// Median distance of a point of A to its nearest point of B.
    pub nn_a_to_b: f64,
    /// Share of A's points in each component of B, where B is a mixture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode_weights: Option<Vec<f64>>,
    /// What to keep in mind.
    pub flags: Vec<Flag>,
}

impl Evaluate {
    /// Measures `a` against `b`.
    ///
    /// For finite sets `memorised` compares the distance of A's points to B with that of one half of B to the other half.
    /// `progress` is called at each iteration of each problem behind a distance; the distances that `checkpoint` has are not taken
    /// again.
    ///
    /// # Errors
    /// [`Error`] when the dimensions differ, B cannot serve as a reference, or `progress` says stop.
    pub fn run(
        &self,
        a: &Measure,
        b: &Measure,
        device: &Device,
        progress: Option<Progress<'_>>,
        checkpoint: &mut Checkpoint,
    ) -> Result<EvaluateRecord, Error> {
        let cloud = |measure: &Measure, step| match measure {
            Measure::Finite(cloud) => cloud.clone(),
            _ => measure.sample(self.n, self.seed, Stream::Source, step),
        };
        let (samples, reference) = (cloud(a, 0), cloud(b, 1));
        let ruler = Ruler::watched(&reference, self.seed, device, progress)?;
        let reading = checkpoint.part("reading").once("of a", || ruler.measure(&samples, device))?;
        let halves: Option<(Cloud, Cloud)> = match b {
            Measure::Finite(cloud) => Some(cloud.halves(self.seed)?),
            _ => None,
        };
        let law = halves.as_ref().map_or(Law::Draws(b), |(first, second)| Law::Halves(first, second));
        let noise_floor = ruler.noise_floor(law, samples.len(), device, &mut checkpoint.part("noise floor"))?;
        let nn_a_to_b = median_distance(&samples, &reference, device)?;
        let heldout = halves.map(|(first, second)| median_distance(&second, &first, device)).transpose()?;
        let mode_weights = match b {
            Measure::Law(mixture) if mixture.components().len() > 1 => Some(mode_weights(&samples, mixture)?),
            _ => None,
        };
        let distances = [(reading.divergence, noise_floor.divergence), (reading.w2_squared_exact, noise_floor.w2_squared_exact)];
        Ok(EvaluateRecord {
            n: samples.len(),
            m: reference.len(),
            d: reference.dim(),
            divergence: reading.divergence,
            eps: ruler.eps(),
            w2_squared_exact: reading.w2_squared_exact,
            w2_size: w2_size(&samples, &reference),
            noise_floor,
            variance_ratio: reading.variance_ratio,
            mean_distance: reading.mean_distance,
            nn_a_to_b,
            mode_weights,
            flags: flags(&distances, reading.variance_ratio, heldout.map(|heldout| (nn_a_to_b, heldout))),
        })
    }
}
