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

/// The median of |x−y| over the points x of `cloud`, with y the point of `reference` nearest to x.
///
/// # Errors
/// [`MetricError`] when the dimensions differ or memory runs out.
pub fn median_distance(cloud: &Cloud, reference: &Cloud, device: &Device) -> Result<f64, MetricError> {
    let mut distances: Vec<f64> = nearest(cloud, reference, device)?.into_iter().map(|(_, distance)| distance).collect();
    let middle = distances.len() / 2;
    Ok(*distances.select_nth_unstable_by(middle, f64::total_cmp).1)
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
        let x = backend.upload_reals(&self.cloud.relative_to(origin))?;
        let y = backend.upload_reals(&self.reference.relative_to(origin))?;
        let mut index = backend.zeros(self.cloud.len())?;
        backend.nearest(Rows { points: &x, n: self.cloud.len(), d: self.cloud.dim() }, &y, &mut index)?;
        backend.download(&index)
    }
}
