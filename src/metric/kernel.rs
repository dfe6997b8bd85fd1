//! Distances of laws by pairs: maximum mean discrepancy and energy distance.

use crate::backend::{Backend, BackendError, Device, PairKernel, Real, Reals, Task, Weighted};
use crate::measure::Cloud;
use crate::metric::MetricError;
use crate::random::{Philox, Stream};
use crate::transport::problem::{OnDevice, Relative};
use crate::vector::squared_distance;

/// Which pairs of a cloud with itself count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimator {
    /// All, a point with itself included: never negative, biased upwards.
    Biased,
    /// All but those: of mean zero between samples of one law, so it may be negative.
    Unbiased,
}

/// MMD² = E k(x, x′) + E k(y, y′) − 2 E k(x, y) with k = exp(−|x−y|²/2b²), b = `bandwidth` (Gretton et al. 2012, lemma 6).
/// Weights count; takes O(nm) time.
///
/// ```
/// use brenier::backend::{Device, Precision};
/// use brenier::measure::Cloud;
/// use brenier::metric::{Estimator, energy_distance, mmd_squared};
///
/// let (a, b, device) = (Cloud::new(vec![0.0], 1)?, Cloud::new(vec![3.0], 1)?, Device::cpu(Precision::F64));
/// let mmd = mmd_squared(&a, &b, 1.0, Estimator::Biased, &device)?;
/// assert!((mmd - (2.0 - 2.0 * f64::exp(-4.5))).abs() < 1e-9);
/// assert!((energy_distance(&a, &b, Estimator::Biased, &device)? - 6.0).abs() < 1e-9);
/// # Ok::<(), brenier::Error>(())
/// ```
///
/// # Errors
/// [`MetricError::Dimensions`] when the dimensions differ, [`MetricError::Backend`] when the device fails.
pub fn mmd_squared(a: &Cloud, b: &Cloud, bandwidth: f64, estimator: Estimator, device: &Device) -> Result<f64, MetricError> {
    by_pairs([a, b], PairKernel::Gaussian(bandwidth), estimator, device)
}

/// The energy distance 2 E|x−y| − E|x−x′| − E|y−y′| (Székely, Rizzo 2013), in units of the coordinates.
///
/// # Errors
/// As [`mmd_squared`].
pub fn energy_distance(a: &Cloud, b: &Cloud, estimator: Estimator, device: &Device) -> Result<f64, MetricError> {
    Ok(-by_pairs([a, b], PairKernel::Distance, estimator, device)?)
}

fn by_pairs(clouds: [&Cloud; 2], kernel: PairKernel, estimator: Estimator, device: &Device) -> Result<f64, MetricError> {
    MetricError::same_dim(clouds[0].dim(), clouds[1].dim())?;
    Ok(device.run(ByPairs { clouds, kernel, estimator })?)
}

struct ByPairs<'a> {
    clouds: [&'a Cloud; 2],
    kernel: PairKernel,
    estimator: Estimator,
}

/// Pairs whose distances have the median.
const MEDIAN_PAIRS: u32 = 1 << 14;
/// Philox step of those pairs.
const MEDIAN_STEP: u32 = (1 << 23) - 5;

/// The median distance |x−x′| of 16,384 pairs of points of `cloud` at different places, drawn by weight; 0 if there are none. As the
/// bandwidth of a Gaussian kernel it is the median heuristic (Gretton et al. 2012, section 8).
pub fn median_of_pairs(cloud: &Cloud, seed: u32) -> f64 {
    let (philox, inverse) = (Philox::new(seed, Stream::Metric), cloud.inverse_cdf());
    let (mut x, mut y) = (vec![0.0; cloud.dim()], vec![0.0; cloud.dim()]);
    let mut distance = |pair: u32| {
        let [i, j] = [0, 1].map(|draw| inverse.index(philox.uniform(pair, MEDIAN_STEP, draw)));
        squared_distance(cloud.row_in(i, &mut x), cloud.row_in(j, &mut y)).sqrt()
    };
    let mut distances: Vec<f64> = (0..MEDIAN_PAIRS).map(&mut distance).filter(|distance| *distance > 0.0).collect();
    if distances.is_empty() {
        return 0.0;
    }
    let middle = distances.len() / 2;
    *distances.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// Points about the mean of the first cloud, and their weights.
pub(super) struct Side<B: Backend> {
    points: OnDevice<B>,
    weights: Reals<B>,
    /// Σ_i a_i and Σ_i a_i², of the weights as the device has them.
    pub mass: f64,
    pub squares: f64,
}

impl<B: Backend> Side<B> {
    /// The points `rows` of `cloud`.
    pub fn of_rows(backend: &B, cloud: &Cloud, rows: &[usize], centre: &[f64]) -> Result<Self, BackendError> {
        Self::weighing(backend, &cloud.uniform_at(rows), centre, |k| cloud.len() as f64 * cloud.weight(rows[k]))
    }

    fn new(backend: &B, cloud: &Cloud, centre: &[f64]) -> Result<Self, BackendError> {
        // Equal weights are one: no rounding.
        Self::weighing(backend, cloud, centre, |i| cloud.len() as f64 * cloud.weight(i))
    }

    fn weighing(backend: &B, cloud: &Cloud, centre: &[f64], weight: impl Fn(usize) -> f64) -> Result<Self, BackendError> {
        let n = cloud.len();
        let weights: Vec<f64> = (0..n).map(|i| B::Real::from_f64(weight(i)).to_f64()).collect();
        Ok(Self {
            points: Relative::new(cloud, centre.to_vec(), 1.0).on_device(backend, 0..n)?,
            mass: weights.iter().sum(),
            squares: weights.iter().map(|a| a * a).sum(),
            weights: backend.upload_reals(&weights)?,
        })
    }

    pub fn weighted(&self) -> Weighted<'_, B> {
        Weighted { points: self.points.rows(), weights: &self.weights }
    }
}

impl Task for ByPairs<'_> {
    type Output = Result<f64, BackendError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let Self { clouds, kernel, estimator } = self;
        let centre = clouds[0].mean();
        let (x, y) = (Side::new(backend, clouds[0], &centre)?, Side::new(backend, clouds[1], &centre)?);
        // k(x, x), what a point and itself have.
        let own = match kernel {
            PairKernel::Distance => 0.0,
            PairKernel::Gaussian(_) => 1.0,
        };
        let within = |side: &Side<B>| -> Result<f64, BackendError> {
            let (sum, mass) = (backend.pair_sum(side.weighted(), side.weighted(), kernel)?, side.mass * side.mass);
            Ok(match estimator {
                Estimator::Biased => sum / mass,
                Estimator::Unbiased => (sum - own * side.squares) / (mass - side.squares),
            })
        };
        let across = backend.pair_sum(x.weighted(), y.weighted(), kernel)? / (x.mass * y.mass);
        Ok(within(&x)? + within(&y)? - 2.0 * across)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precision;

    #[test]
    fn two_points_have_their_closed_distances() {
        let device = Device::cpu(Precision::F64);
        let (a, b) = (Cloud::new(vec![0.0], 1).unwrap(), Cloud::new(vec![3.0], 1).unwrap());
        assert!((energy_distance(&a, &b, Estimator::Biased, &device).unwrap() - 6.0).abs() < 1e-15);
        let mmd = mmd_squared(&a, &b, 2.0, Estimator::Biased, &device).unwrap();
        assert!((mmd - (2.0 - 2.0 * (-9.0f64 / 8.0).exp())).abs() < 1e-15);
        assert_eq!(mmd_squared(&a, &a, 2.0, Estimator::Biased, &device).unwrap(), 0.0);
    }
}
