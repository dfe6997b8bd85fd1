//! How good is cloud A as a sample of B: distances with their noise floor, and the checks that tell whether they mean anything.

use serde::Serialize;

use crate::backend::Device;
use crate::error::Error;
use crate::experiment::judging::{Copied, Judged, Judging};
use crate::measure::{Cloud, Measure};
use crate::metric::{
    Estimate, Flag, Judge, Law, MetricError, NoiseFloor, Ruler, frechet_distance, median_distance, mode_weights, w2_size,
};
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
    /// Neighbours that the balls of precision, recall, density and coverage reach to; none: five, or as many as there are.
    pub k: Option<usize>,
    /// Relabellings behind each p-value; none without.
    pub permutations: u32,
    /// The clouds in a space of features, measured there as well.
    pub features: Option<Features<'a>>,
}

/// Features of the points of both clouds, row by row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Features<'a> {
    /// Of A's points.
    pub a: &'a Cloud,
    /// Of B's points.
    pub b: &'a Cloud,
    /// Of the training set.
    pub train: Option<&'a Cloud>,
}

impl Default for Evaluate<'_> {
    /// 4,096 draws of a law, seed 0, no training set, five neighbours or as many as there are, 499 relabellings, no features.
    fn default() -> Self {
        Self { n: 4096, seed: 0, train: None, k: None, permutations: 499, features: None }
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
    /// Covers the divergence that fresh clouds of these sizes have on average, away from the noise floor.
    pub divergence_interval: [f64; 2],
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
    /// Share of A's points in each component of B, where B is a mixture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode_weights: Option<Vec<f64>>,
    /// Distances and shares with their intervals and p-values; none where a cloud has a single point with mass.
    #[serde(flatten)]
    pub judged: Option<Judged>,
    /// What to keep in mind.
    pub flags: Vec<Flag>,
    /// The same of the features, where they are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Box<FeatureRecord>>,
}

/// What is found of the features.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeatureRecord {
    /// W₂² of the Gaussians with the features' moments; none where a covariance is singular, as it is unless a cloud has more
    /// points than features.
    pub frechet_distance: Option<f64>,
    /// What is said of points.
    #[serde(flatten)]
    pub record: EvaluateRecord,
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
        let features = self.features_of([a, b])?;
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
        let error = {
            let told = watch.not_keeping();
            watch.part("reading").once("error", || ruler.standard_error(&samples, device, told))?
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
        let copied = match (self.train, &halves) {
            (Some(training), _) => Some(Copied { training, heldout: &reference, given: true }),
            (None, Some((training, heldout))) => Some(Copied { training, heldout, given: false }),
            (None, None) => None,
        };
        let judging = Judging { k: self.k, permutations: self.permutations, seed: self.seed };
        let has_pairs = |cloud: &Cloud| (0..cloud.len()).filter(|&i| cloud.weight(i) > 0.0).nth(1).is_some();
        let judged = match has_pairs(&samples) && has_pairs(&reference) {
            true => Some(judging.run([&samples, &reference], copied, device, watch.part("judging"))?),
            false => None,
        };
        let features = match features {
            Some([of_a, of_b]) => {
                let evaluate = Self { train: self.features.and_then(|features| features.train), features: None, ..*self };
                let [a, b] = [&of_a, &of_b].map(|cloud| Measure::Finite(cloud.clone()));
                let record = evaluate.run(&a, &b, device, watch.part("features"))?;
                Some(Box::new(FeatureRecord { frechet_distance: frechet_distance(&of_a, &of_b).ok(), record }))
            }
            None => None,
        };
        Ok(EvaluateRecord {
            n: samples.len(),
            m: reference.len(),
            d: reference.dim(),
            divergence: reading.divergence,
            divergence_interval: Estimate::normal(reading.divergence, error),
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
            judged,
            flags: verdict.flags,
            features,
        })
    }

    /// The features of A and B under the weights of their points.
    fn features_of(&self, points: [&Measure; 2]) -> Result<Option<[Cloud; 2]>, Error> {
        let Some(features) = self.features else { return Ok(None) };
        let weighted = |name: &'static str, cloud: &Cloud, points: &Measure| match points {
            Measure::Finite(points) if points.len() == cloud.len() => match points.weights() {
                Some(weights) => Ok(cloud.clone().with_weights(weights.to_vec())?),
                None => Ok(cloud.clone()),
            },
            Measure::Finite(points) => Err(MetricError::Rows { name, rows: cloud.len(), points: points.len() }.into()),
            _ => Err(Error::from(MetricError::NoRows { name })),
        };
        MetricError::same_dim(features.a.dim(), features.b.dim())?;
        if let (Some(of_train), train) = (features.train, self.train) {
            MetricError::same_dim(of_train.dim(), features.b.dim())?;
            match train {
                Some(train) if train.len() != of_train.len() => {
                    let (rows, points) = (of_train.len(), train.len());
                    return Err(MetricError::Rows { name: "the training set", rows, points }.into());
                }
                _ => {}
            }
        }
        Ok(Some([weighted("A", features.a, points[0])?, weighted("B", features.b, points[1])?]))
    }
}
