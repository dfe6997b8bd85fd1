//! Where to start when nothing better is known: the potentials of the Gaussians with the clouds' means and covariances, in
//! closed form, or those of a subsample.
//!
//! Between Gaussians φ(x) = ½ xᵀS x with S the slope of the entropic map ([`Gaussian::entropic_plan`]), because ∇φ is that map.

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use crate::backend::{Backend, Device};
use crate::random::Stream;
use crate::transport::TransportError;
use crate::transport::gaussian::Gaussian;
use crate::transport::problem::{Problem, Side};
use crate::transport::solver::{Potentials, Sinkhorn};
use crate::watch::Watch;

/// Above this dimension covariances are taken as diagonal: their eigenvectors would cost as much as an iteration.
const FULL: usize = 128;
/// Points of a block, whose sums are added in order.
const BLOCK: usize = 256;
/// Added to the covariances, relative to their mean eigenvalue, so that a cloud in a subspace has an inverse.
const FLOOR: f64 = 1e-9;

/// φ of the Gaussian problem in centred coordinates; none when a cloud is a single point.
pub(super) fn gaussian<B: Backend>(x: &Side<B>, y: &Side<B>, eps: f64) -> Option<Vec<f64>> {
    if x.d > FULL {
        // The slope ½(D − ε)/σ² with D² = 4σ²τ² + ε², coordinate by coordinate.
        let slope = variances(x)?.zip_map(&variances(y)?, |s, t| 2.0 * t / ((4.0 * s * t + eps * eps).sqrt() + eps));
        return Some(convex(x, |points: &DMatrix<f64>| {
            DMatrix::from_fn(points.nrows(), points.ncols(), |k, i| slope[k] * points[(k, i)])
        }));
    }
    let source = Gaussian::new(vec![0.0; x.d], covariance(x)?.as_slice()).ok()?;
    let target = Gaussian::new(vec![0.0; x.d], covariance(y)?.as_slice()).ok()?;
    let slope = source.entropic_plan(&target, eps).ok()?.map.matrix;
    Some(convex(x, |points| &slope * points))
}

/// ½ x·S x of each point, from S x of some points at once.
fn convex<B: Backend>(x: &Side<B>, slope: impl Fn(&DMatrix<f64>) -> DMatrix<f64> + Sync) -> Vec<f64> {
    let of_block = |(points, _): (DMatrix<f64>, _)| {
        let images = slope(&points);
        points.column_iter().zip(images.column_iter()).map(|(x, image)| 0.5 * x.dot(&image)).collect::<Vec<f64>>()
    };
    blocks(x).flat_map_iter(of_block).collect()
}

/// The points relative to their mean, one a column, and their masses, as many at a time as stay in the cache.
fn blocks<B: Backend>(side: &Side<B>) -> impl IndexedParallelIterator<Item = (DMatrix<f64>, &[f64])> {
    let points = |(block, mass): (usize, _)| {
        let rows = block * BLOCK..side.n.min((block + 1) * BLOCK);
        (DMatrix::from_vec(side.d, rows.len(), side.relative.points(rows)), mass)
    };
    side.mass.par_chunks(BLOCK).enumerate().map(points)
}

/// Σ_i a_i x_i x_iᵀ.
fn covariance<B: Backend>(side: &Side<B>) -> Option<DMatrix<f64>> {
    let of_block = |(points, mass): (DMatrix<f64>, &[f64])| {
        let mut weighted = points.clone();
        weighted.column_iter_mut().zip(mass).for_each(|(mut x, &mass)| x *= mass);
        points * weighted.transpose()
    };
    let of_blocks: Vec<DMatrix<f64>> = blocks(side).map(of_block).collect();
    let mut covariance: DMatrix<f64> = of_blocks.into_iter().sum();
    let floor = FLOOR * covariance.trace() / side.d as f64;
    (0..side.d).for_each(|k| covariance[(k, k)] += floor);
    (floor > 0.0).then_some(covariance)
}

/// Its diagonal.
fn variances<B: Backend>(side: &Side<B>) -> Option<DVector<f64>> {
    let of_block = |(points, mass): (DMatrix<f64>, &[f64])| points.map(|x| x * x) * DVector::from_column_slice(mass);
    let of_blocks: Vec<DVector<f64>> = blocks(side).map(of_block).collect();
    let variances: DVector<f64> = of_blocks.into_iter().sum();
    let floor = FLOOR * variances.mean();
    (floor > 0.0).then(|| variances.add_scalar(floor))
}

/// The potentials of a seeded subsample of `n` points a cloud, extended to all points: f by a soft c-transform, g = 0, which the
/// solver's first update replaces. Class costs are left out: they are the solver's to bring in.
///
/// # Errors
/// [`TransportError`] as for [`Sinkhorn::solve`].
pub fn subsample(
    problem: &Problem,
    n: usize,
    seed: u32,
    solver: Sinkhorn,
    device: &Device,
    watch: Watch<'_>,
) -> Result<Potentials, TransportError> {
    let x = problem.source().resample(n, seed, Stream::Split, 0);
    let y = problem.target().resample(n, seed, Stream::Split, 1);
    let small = problem.between(&x, &y)?;
    let outcome = solver.solve_watched(&small, None, device, watch)?;
    let law = outcome.plan().partners();
    Ok(Potentials { f: law.potential(problem.source(), device)?, g: vec![0.0; problem.target().len()] })
}
