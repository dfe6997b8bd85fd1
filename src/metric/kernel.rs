//! Distances of laws by pairs: maximum mean discrepancy and energy distance.

use rayon::prelude::*;

use crate::measure::Cloud;
use crate::metric::MetricError;
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
/// # Errors
/// [`MetricError::Dimensions`] when the dimensions differ.
pub fn mmd_squared(a: &Cloud, b: &Cloud, bandwidth: f64, estimator: Estimator) -> Result<f64, MetricError> {
    by_pairs(a, b, estimator, |squared| (-0.5 * squared / (bandwidth * bandwidth)).exp())
}

/// The energy distance 2 E|x−y| − E|x−x′| − E|y−y′| (Székely, Rizzo 2013), in units of the coordinates.
///
/// # Errors
/// [`MetricError::Dimensions`] when the dimensions differ.
pub fn energy_distance(a: &Cloud, b: &Cloud, estimator: Estimator) -> Result<f64, MetricError> {
    by_pairs(a, b, estimator, |squared| -squared.sqrt())
}

fn by_pairs(a: &Cloud, b: &Cloud, estimator: Estimator, kernel: impl Fn(f64) -> f64 + Sync) -> Result<f64, MetricError> {
    MetricError::same_dim(a.dim(), b.dim())?;
    let mean = |x: &Cloud, y: &Cloud, same: bool| {
        let skip = |i, j| same && estimator == Estimator::Unbiased && i == j;
        let row = |i: usize| {
            let pairs = (0..y.len()).filter(|&j| !skip(i, j));
            pairs.fold((0.0, 0.0), |(sum, mass), j| {
                (sum + y.weight(j) * kernel(squared_distance(x.row(i), y.row(j))), mass + y.weight(j))
            })
        };
        let rows: Vec<(f64, f64)> = (0..x.len()).into_par_iter().map(row).collect();
        let total = |part: fn(&(f64, f64)) -> f64| rows.iter().enumerate().map(|(i, row)| x.weight(i) * part(row)).sum::<f64>();
        total(|row| row.0) / total(|row| row.1)
    };
    Ok(mean(a, a, true) + mean(b, b, true) - 2.0 * mean(a, b, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_points_have_their_closed_distances() {
        let (a, b) = (Cloud::new(vec![0.0], 1).unwrap(), Cloud::new(vec![3.0], 1).unwrap());
        assert!((energy_distance(&a, &b, Estimator::Biased).unwrap() - 6.0).abs() < 1e-15);
        let mmd = mmd_squared(&a, &b, 2.0, Estimator::Biased).unwrap();
        assert!((mmd - (2.0 - 2.0 * (-9.0f64 / 8.0).exp())).abs() < 1e-15);
        assert_eq!(mmd_squared(&a, &a, 2.0, Estimator::Biased).unwrap(), 0.0);
    }
}
