//! Nearest neighbours: how far a cloud lies from a set of points, and whether it merely repeats them.

use crate::backend::{Backend, BackendError, Device, Rows, Task};
use crate::measure::Cloud;
use crate::metric::MetricError;

/// For each point of `cloud` the index of its nearest point of `reference` and the distance |x−y| to it.
///
/// # Errors
/// [`MetricError`] when the dimensions differ or memory runs out.
pub fn nearest(cloud: &Cloud, reference: &Cloud, device: &Device) -> Result<Vec<(usize, f64)>, MetricError> {
    MetricError::same_dim(cloud.dim(), reference.dim())?;
    let index = device.run(Nearest { cloud, reference })?;
    let distance = |i: usize, j: usize| {
        let pairs = cloud.row(i).iter().zip(reference.row(j));
        pairs.map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt()
    };
    Ok(index.into_iter().enumerate().map(|(i, j)| (j as usize, distance(i, j as usize))).collect())
}

/// More than the rounding errors of half the weights' sum.
const ROUNDING: f64 = 1e-9;

/// The distance |x−y| of each point x of `cloud` from the point y of `reference` nearest to it; points without mass are none.
///
/// # Errors
/// [`MetricError`] when the dimensions differ or memory runs out.
pub fn distances(cloud: &Cloud, reference: &Cloud, device: &Device) -> Result<Vec<f64>, MetricError> {
    let with_mass: Vec<usize> = (0..reference.len()).filter(|&j| reference.weight(j) > 0.0).collect();
    let found = nearest(cloud, &reference.uniform_at(&with_mass), device)?;
    Ok(found.into_iter().map(|(_, distance)| distance).collect())
}

/// The quantile `share` of `values` at the points of `cloud`, under its weights: the least value that more than that share does
/// not exceed.
pub fn quantile(values: &[f64], cloud: &Cloud, share: f64) -> f64 {
    let mut sorted: Vec<(f64, f64)> = values.iter().enumerate().map(|(i, value)| (*value, cloud.weight(i))).collect();
    sorted.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
    let mut below = 0.0;
    let found = sorted.iter().find(|(_, mass)| {
        below += mass;
        below > share + ROUNDING
    });
    found.map_or(f64::NAN, |(value, _)| *value)
}

/// The median of |x−y| under `cloud`, with y the point of `reference` nearest to x; points without mass are none.
///
/// # Errors
/// [`MetricError`] when the dimensions differ or memory runs out.
pub fn median_distance(cloud: &Cloud, reference: &Cloud, device: &Device) -> Result<f64, MetricError> {
    Ok(quantile(&distances(cloud, reference, device)?, cloud, 0.5))
}

struct Nearest<'a> {
    cloud: &'a Cloud,
    reference: &'a Cloud,
}

impl Task for Nearest<'_> {
    type Output = Result<Vec<u32>, BackendError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        // Relative to one of the points, so that an offset of both clouds costs no digits.
        let origin = self.reference.row(0);
        let x = backend.upload_reals(self.cloud.relative_to(origin))?;
        let y = backend.upload_reals(self.reference.relative_to(origin))?;
        let mut index = backend.zeros(self.cloud.len())?;
        backend.nearest(Rows { points: &x, n: self.cloud.len(), d: self.cloud.dim() }, &y, &mut index)?;
        backend.download(&index)
    }
}
