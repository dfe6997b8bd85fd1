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
