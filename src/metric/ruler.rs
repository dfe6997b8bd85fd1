//! The one ruler: every cloud is measured against the same reference in the same units, |x−y|².

use serde::{Deserialize, Serialize};

use crate::backend::Device;
use crate::measure::Cloud;
use crate::metric::{MetricError, mean_distance, variance_ratio, w2_squared_exact};
use crate::transport::problem::mean_cost;
use crate::transport::{Divergence, Problem, Sinkhorn};
use crate::watch::Watch;

/// Distances to one fixed reference cloud B.
#[derive(Clone, Debug)]
pub struct Ruler {
    pub(super) reference: Cloud,
    eps: f64,
    pub(super) seed: u32,
    divergence: Divergence,
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

/// ε of the ruler in units of the mean of c of the reference against itself.
const RELATIVE_EPS: f64 = 0.05;

impl Ruler {
    /// A ruler that measures distances to `reference` at ε = 0.05 × mean c of the reference against itself.
    ///
    /// # Errors
    /// [`MetricError`] when all reference points coincide, so that no ε can be chosen, or memory runs out.
    pub fn new(reference: &Cloud, seed: u32, device: &Device) -> Result<Self, MetricError> {
        Self::watched(reference, seed, device, Watch::default())
    }

    /// [`Ruler::new`], with `watch` told of each iteration.
    ///
    /// # Errors
    /// As [`Ruler::new`], and [`TransportError::Stopped`](crate::transport::TransportError::Stopped) when the watch says stop.
    pub fn watched(reference: &Cloud, seed: u32, device: &Device, watch: Watch<'_>) -> Result<Self, MetricError> {
        match mean_cost(reference, reference, seed) {
            0.0 => Err(MetricError::NoSpread),
            mean => Self::at(reference, RELATIVE_EPS * mean, seed, device, watch),
        }
    }

    fn at(reference: &Cloud, eps: f64, seed: u32, device: &Device, watch: Watch<'_>) -> Result<Self, MetricError> {
        let problem = Problem::new(reference, reference, eps)?;
        let divergence = Divergence::like_watched(&problem, Sinkhorn::default(), device, watch)?;
        Ok(Self { reference: reference.clone(), eps, seed, divergence })
    }

    /// A ruler of the same ε to another `reference`.
    pub(super) fn against(&self, reference: &Cloud, device: &Device, watch: Watch<'_>) -> Result<Ruler, MetricError> {
        Ruler::at(reference, self.eps, self.seed, device, watch)
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
        self.divergence_watched(cloud, device, Watch::default())
    }

    /// [`Ruler::divergence`], with `watch` told of each iteration.
    ///
    /// # Errors
    /// As [`Ruler::divergence`], and when the watch says stop.
    pub fn divergence_watched(&self, cloud: &Cloud, device: &Device, watch: Watch<'_>) -> Result<f64, MetricError> {
        Ok(2.0 * self.divergence.from_watched(cloud, device, watch)?)
    }

    /// The standard error of [`Ruler::divergence`] over fresh clouds of the same sizes, by its first variations u = f − p in the
    /// weights of both clouds (del Barrio et al. 2023, theorem 3.4; Goldfeld et al. 2024):
    ///
    /// ```text
    /// Var 2S_ε = 4 Σ_i a_i² (u_i − ū)² + 4 Σ_j b_j² (v_j − v̄)²
    /// ```
    ///
    /// Between clouds of one law the variations vanish with 1/√n, and so the divergence is not normal about its mean there.
    ///
    /// # Errors
    /// As [`Ruler::divergence_watched`].
    pub fn standard_error(&self, cloud: &Cloud, device: &Device, watch: Watch<'_>) -> Result<f64, MetricError> {
        let variance = |cloud: &Cloud, variation: &[f64]| -> f64 {
            let mean: f64 = variation.iter().enumerate().map(|(i, u)| cloud.weight(i) * u).sum();
            variation.iter().enumerate().map(|(i, u)| (cloud.weight(i) * (u - mean)).powi(2)).sum()
        };
        let [own, others] = self.divergence.variations_watched(cloud, device, watch)?;
        Ok(2.0 * (variance(cloud, &own) + variance(&self.reference, &others)).sqrt())
    }

    /// Measures `cloud`.
    ///
    /// # Errors
    /// [`MetricError`] when the dimensions differ or a distance is too large for the precision.
    pub fn measure(&self, cloud: &Cloud, device: &Device) -> Result<Reading, MetricError> {
        self.measure_watched(cloud, device, Watch::default())
    }

    /// [`Ruler::measure`], with `watch` told of each iteration.
    ///
    /// # Errors
    /// As [`Ruler::measure`], and when the watch says stop.
    pub fn measure_watched(&self, cloud: &Cloud, device: &Device, watch: Watch<'_>) -> Result<Reading, MetricError> {
        Ok(Reading {
            divergence: self.divergence_watched(cloud, device, watch)?,
            w2_squared_exact: w2_squared_exact(cloud, &self.reference, self.seed)?,
            variance_ratio: variance_ratio(cloud, &self.reference)?,
            mean_distance: mean_distance(cloud, &self.reference)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precision;
    use crate::measure::Mixture;
    use crate::random::Stream;

    /// The mean over 200 other pairs; each of 100 intervals of 1.96 errors covers it in 90 to 98 %, to two binomial deviations
    /// (4).
    #[test]
    fn the_standard_error_is_that_over_fresh_clouds() {
        let (device, normal) = (Device::cpu(Precision::F32), Mixture::standard_normal(2));
        let pair = |seed: u32| {
            let [a, b] = [(60, 0), (80, 1)].map(|(n, step)| normal.sample(n, seed, Stream::Source, step));
            (Cloud::new(a.points().iter().map(|x| 1.3 * x + 0.5).collect(), 2).unwrap(), b)
        };
        let ruler = |b: &Cloud, seed: u32| Ruler::at(b, 0.1, seed, &device, Watch::default()).unwrap();
        let of = |seed: u32| {
            let (a, b) = pair(seed);
            ruler(&b, seed).divergence(&a, &device).unwrap()
        };
        let mean = (1000..1200).map(of).sum::<f64>() / 200.0;
        let covers = |seed: &u32| {
            let (a, b) = pair(*seed);
            let error = ruler(&b, *seed).standard_error(&a, &device, Watch::default()).unwrap();
            (of(*seed) - mean).abs() < 1.96 * error
        };
        let covered = (0..100).filter(covers).count();
        assert!((86..=100).contains(&covered), "{covered} of 100");
    }
}
