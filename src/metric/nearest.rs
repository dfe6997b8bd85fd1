//! Nearest neighbours: how far a cloud lies from a set of points, and whether it merely repeats them.

use crate::backend::{Backend, BackendError, Device, Task};
use crate::measure::Cloud;
use crate::metric::MetricError;
use crate::transport::problem::Relative;

/// For each point of `cloud` the index of its nearest point of `reference` and the distance |x−y| to it.
///
/// # Errors
/// [`MetricError`] when the dimensions differ or memory runs out.
pub fn nearest(cloud: &Cloud, reference: &Cloud, device: &Device) -> Result<Vec<(usize, f64)>, MetricError> {
    MetricError::same_dim(cloud.dim(), reference.dim())?;
    let index = device.run(Nearest { cloud, reference })?;
    let (mut x, mut y) = (vec![0.0; cloud.dim()], vec![0.0; cloud.dim()]);
    let mut distance = |i: usize, j: usize| {
        let pairs = cloud.row_in(i, &mut x).iter().zip(reference.row_in(j, &mut y));
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
        let mut origin = vec![0.0; self.cloud.dim()];
        let origin = self.reference.row_in(0, &mut origin);
        let about = |cloud: &Cloud| Relative::new(cloud, origin.to_vec(), 1.0).on_device(backend, 0..cloud.len());
        let (x, y) = (about(self.cloud)?, about(self.reference)?);
        let mut index = backend.zeros(self.cloud.len())?;
        backend.nearest(x.rows(), &y.reals, &mut index)?;
        backend.download(&index)
    }
}
