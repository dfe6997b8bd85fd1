//! First and second moments: the checks that need no pairs.

use crate::measure::Cloud;
use crate::metric::MetricError;

/// The distance |mean(a) − mean(b)|, in units of the coordinates.
///
/// # Errors
/// [`MetricError::Dimensions`] when the dimensions differ.
pub fn mean_distance(a: &Cloud, b: &Cloud) -> Result<f64, MetricError> {
    MetricError::same_dim(a.dim(), b.dim())?;
    Ok(a.mean().iter().zip(b.mean()).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt())
}

/// The ratio of total variances Σ a_i|x_i − mean|² of `samples` over `reference`: under one where the cloud has shrunk.
/// Not finite where the reference is a single point.
///
/// # Errors
/// [`MetricError::Dimensions`] when the dimensions differ.
pub fn variance_ratio(samples: &Cloud, reference: &Cloud) -> Result<f64, MetricError> {
    MetricError::same_dim(samples.dim(), reference.dim())?;
    Ok(samples.variance() / reference.variance())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaled_and_shifted_cloud_shows_its_scale_and_shift() {
        let cloud = Cloud::new(vec![0.0, 1.0, 2.0, -3.0, 4.0, 0.5], 2).unwrap();
        let moved = Cloud::new(cloud.rows().flat_map(|x| [2.0 * x[0] + 1.0, 2.0 * x[1]]).collect(), 2).unwrap();
        assert!((variance_ratio(&moved, &cloud).unwrap() - 4.0).abs() < 1e-14);
        // The mean (2, −½) goes to (5, −1).
        assert!((mean_distance(&moved, &cloud).unwrap() - 9.25f64.sqrt()).abs() < 1e-14);
        let line = Cloud::new(vec![0.0, 1.0], 1).unwrap();
        assert_eq!(mean_distance(&cloud, &line), Err(MetricError::Dimensions { left: 2, right: 1 }));
    }
}
