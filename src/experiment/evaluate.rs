//! How good is cloud A as a sample of B: distances with their noise floor, and the checks that tell whether they mean anything.

use serde::Serialize;

use crate::backend::Device;
use crate::error::Error;
use crate::experiment::judging::{Judged, Judging};
use crate::measure::{Cloud, Measure};
use crate::metric::{Flag, Judge, Law, NoiseFloor, Ruler, median_distance, mode_weights, w2_size};
use crate::random::Stream;
use crate::watch::Watch;

/// An evaluation: seeds and sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluate<'a> {
    /// Draws that stand for a law or a shape.
    pub n: usize,
    /// Seed of draws, splits and subsamples.
    pub seed: u32,
    /// What A may have been copied from; none: one half of a finite B, the other being held out.
    pub train: Option<&'a Cloud>,
    /// Relabellings behind each p-value; none without.
    pub permutations: u32,
}

impl Default for Evaluate<'_> {
    /// 4,096 draws of a law, seed 0, no training set, 499 relabellings.
    fn default() -> Self {
        Self { n: 4096, seed: 0, train: None, permutations: 499 }
    }
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
    /// Median distance of a point of A to the training set, where one is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nn_train: Option<f64>,
    /// Median distance of a point of B to the training set, where one is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nn_heldout: Option<f64>,
    /// Share of A's points as near to the training set, or to one half of B, as the nearest 1 % of held-out points; about 0.01
    /// where nothing was copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memorised_share: Option<f64>,
    /// Share of A's points in each component of B, where B is a mixture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode_weights: Option<Vec<f64>>,
    /// Distances and shares with their intervals and p-values.
    #[serde(flatten)]
    pub judged: Judged,
    /// What to keep in mind.
    pub flags: Vec<Flag>,
}

impl Evaluate<'_> {
    /// Measures `a` against `b`.
    ///
    /// `memorised` compares the distances of A's points to the training set with those of B's. Without a training set a finite B
    /// is the one that A may have copied: the distances to one half of B, of A's points and of the other half. `watch` is
    /// told of each iteration of each problem behind a distance; the distances it kept are not taken again.
    ///
    /// # Errors
    /// [`Error`] when the dimensions differ, B cannot serve as a reference, or the watch says stop.
    pub fn run(&self, a: &Measure, b: &Measure, device: &Device, mut watch: Watch<'_>) -> Result<EvaluateRecord, Error> {
        let cloud = |measure: &Measure, step| match measure {
            Measure::Finite(cloud) => cloud.clone(),
            _ => measure.sample(self.n, self.seed, Stream::Source, step),
        };
        let (samples, reference) = (cloud(a, 0), cloud(b, 1));
        let ruler = Ruler::watched(&reference, self.seed, device, watch.not_keeping())?;
        let reading = {
            let told = watch.not_keeping();
            watch.part("reading").once("of a", || ruler.measure_watched(&samples, device, told))?
        };
        let halves: Option<(Cloud, Cloud)> = match b {
            Measure::Finite(cloud) => Some(cloud.halves(self.seed)?),
            _ => None,
        };
        let law = halves.as_ref().map_or(Law::Draws(b.clone()), |_| Law::Points(reference.clone()));
        let floor = ruler.noise_floor(&law, &samples, device, watch.part("noise floor"))?;
        let mut judge = Judge::new(&ruler, floor, &law, &samples);
        if let Some((first, second)) = &halves {
            judge = judge.with_clusters(first, second);
        }
        judge = match (self.train, &halves) {
            (Some(train), _) => judge.with_training(train, &reference, device)?,
            (None, Some((first, second))) => judge.with_training(first, second, device)?,
            (None, None) => judge,
        };
        let verdict = judge.judge_watched(&samples, &reading, device, watch.not_keeping())?;
        let nn_a_to_b = median_distance(&samples, &reference, device)?;
        let mode_weights = match b {
            Measure::Law(mixture) if mixture.components().len() > 1 => Some(mode_weights(&samples, mixture)?),
            _ => None,
        };
        let judging = Judging { permutations: self.permutations, seed: self.seed };
        let judged = judging.run(&samples, &reference, device, watch.part("judging"))?;
        Ok(EvaluateRecord {
            n: samples.len(),
            m: reference.len(),
            d: reference.dim(),
            divergence: reading.divergence,
            eps: ruler.eps(),
            w2_squared_exact: reading.w2_squared_exact,
            w2_size: w2_size(&samples, &reference),
            noise_floor: floor.mean,
            variance_ratio: reading.variance_ratio,
            mean_distance: reading.mean_distance,
            nn_a_to_b,
            mode_weights,
            nn_train: self.train.and(verdict.nn_train),
            nn_heldout: self.train.and(judge.nn_heldout()),
            memorised_share: verdict.memorised_share,
            judged,
            flags: verdict.flags,
        })
    }
}
