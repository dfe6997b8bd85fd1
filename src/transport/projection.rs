//! Principal components of a cloud, for costs of few dimensions: pairs keep all of theirs.
//!
//! The components are the eigenvectors of the k largest eigenvalues of Σ = Σ_j b_j (y_j − ȳ)(y_j − ȳ)ᵀ. Σ is never formed: subspace
//! iteration V ← orth(Σ V) on a few vectors more than are asked for, each product a pass over the points, and the eigenvectors of
//! VᵀΣV at the end (Halko, Martinsson, Tropp 2011, algorithm 4.4 and section 5.3).

use std::sync::Arc;

use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;

use crate::measure::Cloud;
use crate::random::{Philox, Stream};
use crate::transport::TransportError;

/// Vectors beyond those asked for.
const OVERSAMPLED: usize = 16;
/// Passes at most, and the relative change of the variance kept at which no more are made.
const PASSES: usize = 12;
const SETTLED: f64 = 1e-4;
/// Points of a block, and sums of blocks that are added in order.
const BLOCK: usize = 256;
const SUMS: usize = 16;

/// The map x ↦ Vᵀ(x − ȳ) onto k principal components.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    mean: Arc<[f64]>,
    /// V, d × k, its columns by falling variance.
    components: Arc<DMatrix<f64>>,
    /// The share of Σ_j b_j |y_j − ȳ|² that the components keep.
    pub variance_kept: f64,
}

impl Projection {
    /// That onto the first `k` principal components of `cloud`; `seed` draws the vectors that the iteration begins with.
    ///
    /// # Errors
    /// [`TransportError::Components`] unless k is from 1 to d, [`TransportError::OnePlace`] when the cloud does not vary.
    pub fn principal(cloud: &Cloud, k: usize, seed: u32) -> Result<Self, TransportError> {
        let d = cloud.dim();
        if k == 0 || k > d {
            return Err(TransportError::Components { k, d });
        }
        let (mean, variance) = (cloud.mean(), cloud.variance());
        if variance <= 0.0 {
            return Err(TransportError::OnePlace);
        }
        let width = (k + OVERSAMPLED).min(d);
        let philox = Philox::new(seed, Stream::Split);
        let normal = |i: usize, j: usize| f64::from(philox.normal_block([i as u32, j as u32, 0, 0])[0]);
        let mut vectors = DMatrix::from_fn(d, width, normal).qr().q();
        let mut kept = 0.0;
        let mut found = (vectors.clone(), kept);
        for _ in 0..PASSES {
            let image = covariance_times(cloud, &mean, &vectors);
            let eigen = SymmetricEigen::new(vectors.tr_mul(&image));
            let mut order: Vec<usize> = (0..width).collect();
            order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
            let largest = eigen.eigenvectors.select_columns(&order[..k]);
            let now = order[..k].iter().map(|&j| eigen.eigenvalues[j]).sum::<f64>() / variance;
            found = (&vectors * largest, now.clamp(0.0, 1.0));
            if (now - kept).abs() <= SETTLED * now {
                break;
            }
            kept = now;
            vectors = image.qr().q();
        }
        Ok(Self { mean: mean.into(), components: Arc::new(found.0), variance_kept: found.1 })
    }

    /// Components k.
    pub fn components(&self) -> usize {
        self.components.ncols()
    }

    /// V, d × k.
    pub(crate) fn matrix(&self) -> &DMatrix<f64> {
        &self.components
    }

    /// Dimension d of what is projected.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// The components of `cloud`, of dimension d, under its weights.
    ///
    /// # Errors
    /// [`TransportError::Dimensions`] when the cloud has another dimension.
    pub fn apply(&self, cloud: &Cloud) -> Result<Cloud, TransportError> {
        let (d, k) = (self.dim(), self.components());
        if cloud.dim() != d {
            return Err(TransportError::Dimensions { source_dim: cloud.dim(), target_dim: d });
        }
        let starts: Vec<usize> = (0..cloud.len()).step_by(BLOCK).collect();
        let of_block = |&start: &usize| self.components.tr_mul(&block(cloud, &self.mean, start)).as_slice().to_vec();
        let blocks: Vec<Vec<f64>> = starts.par_iter().map(of_block).collect();
        let projected = Cloud::new(blocks.concat(), k)?;
        Ok(match cloud.weights() {
            Some(weights) => projected.with_weights(weights.to_vec())?,
            None => projected,
        })
    }
}

/// The points of a block about `mean`, one a column.
fn block(cloud: &Cloud, mean: &[f64], start: usize) -> DMatrix<f64> {
    let (d, end) = (cloud.dim(), cloud.len().min(start + BLOCK));
    let mut room = vec![0.0; d];
    let mut points = DMatrix::zeros(d, end - start);
    for (mut column, i) in points.column_iter_mut().zip(start..end) {
        let relative = cloud.row_in(i, &mut room).iter().zip(mean).map(|(x, mean)| x - mean);
        column.iter_mut().zip(relative).for_each(|(to, x)| *to = x);
    }
    points
}

/// Σ V, in one pass over the points.
fn covariance_times(cloud: &Cloud, mean: &[f64], vectors: &DMatrix<f64>) -> DMatrix<f64> {
    let starts: Vec<usize> = (0..cloud.len()).step_by(BLOCK).collect();
    let of_part = |starts: &[usize]| {
        let mut sum = DMatrix::zeros(vectors.nrows(), vectors.ncols());
        for &start in starts {
            let points = block(cloud, mean, start);
            let mut along = points.tr_mul(vectors);
            along.row_iter_mut().enumerate().for_each(|(i, mut row)| row *= cloud.weight(start + i));
            sum.gemm(1.0, &points, &along, 1.0);
        }
        sum
    };
    let parts: Vec<DMatrix<f64>> = starts.par_chunks(starts.len().div_ceil(SUMS)).map(of_part).collect();
    parts.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Normals with standard deviations √λ along turned axes.
    fn spread(n: usize, variances: &[f64]) -> (Cloud, DMatrix<f64>) {
        let d = variances.len();
        let philox = Philox::new(1, Stream::Source);
        let normal = |i: usize, j: usize| f64::from(philox.normal_block([i as u32, j as u32, 1, 0])[0]);
        let axes = DMatrix::from_fn(d, d, |i, j| normal(n + i, j)).qr().q();
        let points = (0..n).flat_map(|i| {
            let along = nalgebra::DVector::from_fn(d, |j, _| variances[j].sqrt() * normal(i, j) + 3.0);
            (&axes * along).as_slice().to_vec()
        });
        (Cloud::new(points.collect(), d).unwrap(), axes)
    }

    /// The first components span the axes of largest variance, and keep their share of it: sampling errors of covariances are n^-1/2.
    #[test]
    fn principal_components_are_the_axes_of_largest_variance() {
        let variances: Vec<f64> = (0..40).map(|j| if j < 3 { [9.0, 4.0, 2.0][j] } else { 0.01 }).collect();
        let (cloud, axes) = spread(4000, &variances);
        let projection = Projection::principal(&cloud, 3, 0).unwrap();
        let share = 15.0 / (15.0 + 0.37);
        assert!((projection.variance_kept - share).abs() < 2e-3, "{}", projection.variance_kept);
        for j in 0..3 {
            let cosine = projection.components.column(j).dot(&axes.column(j)).abs();
            assert!(cosine > 0.995, "{j}: {cosine}");
        }
        let projected = projection.apply(&cloud).unwrap();
        assert!((projected.variance() / cloud.variance() - projection.variance_kept).abs() < 1e-9);
        assert!(projected.mean().iter().all(|mean| mean.abs() < 1e-9));
    }

    /// A cloud whose weights are whole numbers is that of its points repeated.
    #[test]
    fn weights_count_as_repetitions() {
        let (cloud, _) = spread(50, &[3.0, 1.0, 0.5, 0.2]);
        let often: Vec<usize> = (0..50).flat_map(|i| vec![i; 1 + i % 3]).collect();
        let weighted = cloud.clone().with_weights((0..50).map(|i| 1.0 + (i % 3) as f64).collect()).unwrap();
        let [weighted, repeated] =
            [weighted, cloud.select(&often).unwrap()].map(|cloud| Projection::principal(&cloud, 2, 0).unwrap().variance_kept);
        assert!((weighted - repeated).abs() < 1e-12);
    }

    /// All components keep all distances.
    #[test]
    fn all_components_are_a_rotation() {
        let (cloud, _) = spread(30, &[3.0, 1.0, 0.5]);
        let projection = Projection::principal(&cloud, 3, 0).unwrap();
        assert!((projection.variance_kept - 1.0).abs() < 1e-12);
        let projected = projection.apply(&cloud).unwrap();
        let apart = |cloud: &Cloud| crate::vector::squared_distance(cloud.row(0), cloud.row(7));
        assert!((apart(&projected) - apart(&cloud)).abs() < 1e-10);
    }
}
