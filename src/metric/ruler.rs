//! The one ruler: every cloud is measured against the same reference in the same units, |x−y|².

use serde::{Deserialize, Serialize};

use crate::backend::Device;
use crate::io::Part;
use crate::measure::{Cloud, Measure};
use crate::metric::wasserstein::LARGEST_SUBSAMPLE;
use crate::metric::{MetricError, mean_distance, variance_ratio, w2_squared_exact};
use crate::random::Stream;
use crate::transport::problem::mean_cost;
use crate::transport::sinkhorn::Progress;
use crate::transport::{Divergence, Problem, Sinkhorn};

/// Distances to one fixed reference cloud B.
#[derive(Clone, Debug)]
pub struct Ruler<'a> {
    reference: &'a Cloud,
    eps: f64,
    seed: u32,
    divergence: Divergence<'a>,
}

/// What the ruler says of a cloud.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// 2 S_ε to the reference, in units of |x−y|², so that it is comparable with W₂².
    pub divergence: f64,
    /// Exact W₂² to the reference on subsamples.
    pub w2_squared_exact: f64,
    /// Total variance over that of the reference.
    pub variance_ratio: f64,
    /// Distance between the means.
    pub mean_distance: f64,
}

/// Distances between two independent clouds of the same law: below them no number means anything. In units of |x−y|².
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseFloor {
    /// Debiased Sinkhorn divergence, 2 S_ε.
    pub divergence: f64,
    /// Exact W₂² on subsamples.
    pub w2_squared_exact: f64,
}

/// ε of the ruler in units of the mean of c of the reference against itself.
const RELATIVE_EPS: f64 = 0.05;
/// Fresh pairs of draws behind the noise floor of a law.
const FLOOR_PAIRS: u32 = 8;
/// First Philox step of the draws behind a noise floor; those before serve subsamples.
const FLOOR_STEP: u32 = 1 << 16;

impl<'a> Ruler<'a> {
    /// A ruler that measures distances to `reference` at ε = 0.05 × mean c of the reference against itself.
    ///
    /// # Errors
    /// [`MetricError`] when all reference points coincide, so that no ε can be chosen, or memory runs out.
    pub fn new(reference: &'a Cloud, seed: u32, device: &Device) -> Result<Self, MetricError> {
        Self::watched(reference, seed, device, None)
    }

    /// [`Ruler::new`], with `progress` called at each iteration of each problem behind a measurement.
    ///
    /// # Errors
    /// As [`Ruler::new`], and [`TransportError::Stopped`](crate::transport::TransportError::Stopped) when `progress` says stop.
    pub fn watched(
        reference: &'a Cloud,
        seed: u32,
        device: &Device,
        progress: Option<Progress<'a>>,
    ) -> Result<Self, MetricError> {
        match mean_cost(reference, reference, seed) {
            0.0 => Err(MetricError::NoSpread),
            mean => Self::at(reference, RELATIVE_EPS * mean, seed, device, progress),
        }
    }

    fn at(
        reference: &'a Cloud,
        eps: f64,
        seed: u32,
        device: &Device,
        progress: Option<Progress<'a>>,
    ) -> Result<Self, MetricError> {
        let problem = Problem::new(reference, reference, eps)?;
        let divergence = Divergence::watched(&problem, Sinkhorn::default(), device, progress)?;
        Ok(Self { reference, eps, seed, divergence })
    }

    /// ε of the divergence, in units of c.
    pub fn eps(&self) -> f64 {
        self.eps
    }

    /// 2 S_ε of `cloud` to the reference, in units of |x−y|².
    ///
    /// # Errors
    /// [`MetricError`] as for [`Ruler::measure`].
    pub fn divergence(&self, cloud: &Cloud, device: &Device) -> Result<f64, MetricError> {
        Ok(2.0 * self.divergence.from(cloud, device)?)
    }

    /// Measures `cloud`.
    ///
    /// # Errors
    /// [`MetricError`] when the dimensions differ or a distance is too large for the precision.
    pub fn measure(&self, cloud: &Cloud, device: &Device) -> Result<Reading, MetricError> {
        Ok(Reading {
            divergence: self.divergence(cloud, device)?,
            w2_squared_exact: w2_squared_exact(cloud, self.reference, self.seed)?,
            variance_ratio: variance_ratio(cloud, self.reference)?,
            mean_distance: mean_distance(cloud, self.reference)?,
        })
    }

    /// What two independent clouds of n and m points of the same law score on this ruler; below it no number means anything.
    ///
    /// For a law the mean over 8 fresh pairs of draws. For a finite set half against half, scaled to the sizes n and m by
    /// (1/n + 1/m)/(1/n₁ + 1/n₂), for the exact W₂² with the sizes of its subsamples. Readings that `kept` has are not taken again.
    ///
    /// # Errors
    /// [`MetricError`] as for [`Ruler::measure`].
    pub fn noise_floor(&self, law: Law<'_>, n: usize, device: &Device, kept: &mut Part<'_>) -> Result<NoiseFloor, MetricError> {
        let mut reading = |number: u32, first: &Cloud, second: &Cloud| {
            kept.once(&number.to_string(), || {
                Ruler::at(second, self.eps, self.seed, device, self.divergence.progress())?.measure(first, device)
            })
        };
        let m = self.reference.len();
        match law {
            Law::Halves(first, second) => {
                let reading = reading(0, first, second)?;
                let inverse = |a: usize, b: usize| 1.0 / a as f64 + 1.0 / b as f64;
                let scale = inverse(n, m) / inverse(first.len(), second.len());
                let size = |a: usize, b: usize| a.min(b).min(LARGEST_SUBSAMPLE) as f64;
                let exact = size(first.len(), second.len()) / size(n, m);
                Ok(NoiseFloor { divergence: scale * reading.divergence, w2_squared_exact: exact * reading.w2_squared_exact })
            }
            Law::Draws(measure) => {
                let mut floor = NoiseFloor { divergence: 0.0, w2_squared_exact: 0.0 };
                for pair in 0..FLOOR_PAIRS {
                    let draw = |size, k| measure.sample(size, self.seed, Stream::Metric, FLOOR_STEP + 2 * pair + k);
                    let (first, second) = (draw(n, 0), draw(m, 1));
                    let reading = reading(pair, &first, &second)?;
                    floor.divergence += reading.divergence / f64::from(FLOOR_PAIRS);
                    floor.w2_squared_exact += reading.w2_squared_exact / f64::from(FLOOR_PAIRS);
                }
                Ok(floor)
            }
        }
    }
}

/// What the reference of a ruler was drawn from.
#[derive(Clone, Copy, Debug)]
pub enum Law<'a> {
    /// Something that can be drawn from afresh.
    Draws(&'a Measure),
    /// A finite set, as two disjoint halves.
    Halves(&'a Cloud, &'a Cloud),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precision;
    use crate::io::Checkpoint;

    #[test]
    fn the_floor_of_the_exact_distance_is_that_of_its_subsamples_whatever_the_clouds() {
        let device = Device::cpu(Precision::F32);
        let (first, second) =
            Measure::Law(crate::measure::Mixture::standard_normal(2)).sample(5000, 0, Stream::Source, 0).halves(0).unwrap();
        let ruler = Ruler::new(&second, 0, &device).unwrap();
        let [all, fewer, few] = [2500, 1250, 512].map(|n| {
            let mut nowhere = Checkpoint::none();
            ruler.noise_floor(Law::Halves(&first, &second), n, &device, &mut nowhere.part("")).unwrap()
        });
        assert_eq!(all.w2_squared_exact, fewer.w2_squared_exact); // subsamples of 1,024 in both
        assert_eq!(2.0 * all.w2_squared_exact, few.w2_squared_exact);
        assert!((fewer.divergence / all.divergence - 1.5).abs() < 1e-12);
    }
}
