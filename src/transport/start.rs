//! Where to start when nothing better is known: the potentials of the Gaussians with the clouds' means and covariances, in
//! closed form, or those of a subsample.
//!
//! Between Gaussians φ(x) = ½ xᵀS x with S the slope of the entropic map ([`Gaussian::entropic_plan`]), because ∇φ is that map.

use nalgebra::DMatrix;

use crate::backend::{Backend, Device};
use crate::random::Stream;
use crate::transport::gaussian::Gaussian;
use crate::transport::problem::{Problem, Side};
use crate::transport::sinkhorn::{Potentials, Progress, Sinkhorn};
use crate::transport::{Conditional, Plan, TransportError};

/// Above this dimension covariances are taken as diagonal: their eigenvectors would cost as much as an iteration.
const FULL: usize = 128;
/// Added to the covariances, relative to their mean eigenvalue, so that a cloud in a subspace has an inverse.
const FLOOR: f64 = 1e-9;

/// φ of the Gaussian problem in centred coordinates; none when a cloud is a single point.
pub(super) fn gaussian<B: Backend>(x: &Side<B>, y: &Side<B>, eps: f64) -> Option<Vec<f64>> {
    let points = matrix(x);
    let images = if x.d <= FULL {
        let source = Gaussian::new(vec![0.0; x.d], covariance(x)?.as_slice()).ok()?;
        let target = Gaussian::new(vec![0.0; x.d], covariance(y)?.as_slice()).ok()?;
        DMatrix::from_column_slice(x.d, x.d, source.entropic_plan(&target, eps).ok()?.map.matrix()) * &points
    } else {
        let (source, target) = (covariance(x)?.diagonal(), covariance(y)?.diagonal());
        // The slope ½(D − ε)/σ² with D² = 4σ²τ² + ε², coordinate by coordinate.
        let slope = source.zip_map(&target, |s, t| 2.0 * t / ((4.0 * s * t + eps * eps).sqrt() + eps));
        DMatrix::from_diagonal(&slope) * &points
    };
    Some(points.column_iter().zip(images.column_iter()).map(|(x, image)| 0.5 * x.dot(&image)).collect())
}

/// The points relative to their mean, one a column.
fn matrix<B: Backend>(side: &Side<B>) -> DMatrix<f64> {
    DMatrix::from_column_slice(side.d, side.n, &side.centred)
}

/// Σ_i a_i x_i x_iᵀ, or its diagonal in high dimension.
fn covariance<B: Backend>(side: &Side<B>) -> Option<DMatrix<f64>> {
    let points = matrix(side);
    let mut weighted = points.clone();
    weighted.column_iter_mut().zip(&side.mass).for_each(|(mut x, &mass)| x *= mass);
    let mut covariance = match side.d <= FULL {
        true => points * weighted.transpose(),
        false => DMatrix::from_diagonal(&points.component_mul(&weighted).column_sum()),
    };
    let floor = FLOOR * covariance.trace() / side.d as f64;
    (0..side.d).for_each(|k| covariance[(k, k)] += floor);
    (floor > 0.0).then_some(covariance)
}

/// The potentials of a seeded subsample of `n` points a cloud, extended to all points: f by a soft c-transform, g = 0, which the
/// solver's first update replaces. Class costs are left out: they are the solver's to bring in.
///
/// # Errors
/// [`TransportError`] as for [`Sinkhorn::solve`].
pub fn subsample(
    problem: &Problem<'_>,
    n: usize,
    seed: u32,
    solver: Sinkhorn,
    device: &Device,
    progress: Option<Progress<'_>>,
) -> Result<Potentials, TransportError> {
    let x = problem.source().resample(n, seed, Stream::Split, 0);
    let y = problem.target().resample(n, seed, Stream::Split, 1);
    let small = problem.between(&x, &y)?;
    let outcome = solver.solve(&small, device, None, progress)?;
    let law = Conditional { source: None, ..Plan::new(&small, &outcome.potentials)?.partners() };
    Ok(Potentials { f: law.potential(problem.source(), device)?, g: vec![0.0; problem.target().len()] })
}
