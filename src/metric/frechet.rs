//! Fréchet distance: W₂² between the Gaussians of two clouds' moments, on features known as FID (Heusel et al. 2017).

use rayon::prelude::*;

use crate::measure::Cloud;
use crate::metric::MetricError;
use crate::transport::{Gaussian, TransportError};

/// Points summed at a time.
const AT_ONCE: usize = 64;

/// |m₀ − m₁|² + tr(Σ₀ + Σ₁ − 2 (Σ₀^½ Σ₁ Σ₀^½)^½) of the means and covariances, those over n − 1 when weights are uniform.
///
/// ```
/// use brenier::measure::Cloud;
/// use brenier::metric::frechet_distance;
///
/// let (a, b) = (Cloud::new(vec![0.0, 1.0], 1)?, Cloud::new(vec![2.0, 3.0], 1)?);
/// assert!((frechet_distance(&a, &b)? - 4.0).abs() < 1e-9); // a shift by 2
/// # Ok::<(), brenier::Error>(())
/// ```
///
/// # Errors
/// [`MetricError`] when the dimensions differ or a covariance is singular: a cloud needs more points than dimensions.
pub fn frechet_distance(a: &Cloud, b: &Cloud) -> Result<f64, MetricError> {
    MetricError::same_dim(a.dim(), b.dim())?;
    Ok(moments(a)?.w2_squared(&moments(b)?)?)
}

/// The Gaussian with the moments of `cloud`.
fn moments(cloud: &Cloud) -> Result<Gaussian, TransportError> {
    let (d, mean) = (cloud.dim(), cloud.mean());
    let squares: f64 = (0..cloud.len()).map(|i| cloud.weight(i).powi(2)).sum();
    let mut covariance = vec![0.0; d * d];
    // Some points at a time, so that they stay in the cache while each row of the matrix goes through them.
    let rows: Vec<usize> = (0..cloud.len()).collect();
    for some in rows.chunks(AT_ONCE) {
        let offsets: Vec<f64> = some.iter().flat_map(|&i| cloud.row(i).iter().zip(&mean).map(|(x, m)| x - m)).collect();
        covariance.par_chunks_exact_mut(d).enumerate().for_each(|(row, values)| {
            for (&i, offset) in some.iter().zip(offsets.chunks_exact(d)) {
                let scaled = cloud.weight(i) / (1.0 - squares) * offset[row];
                values.iter_mut().zip(offset).for_each(|(value, x)| *value += scaled * x);
            }
        });
    }
    Gaussian::new(mean, &covariance)
}
