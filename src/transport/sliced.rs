//! Sliced W₂: the mean over directions of the exact distance on the line (Rabin, Peyré, Delon, Bernot 2011; Bonneel, Rabin,
//! Peyré, Pfister 2015).
//!
//! ```text
//! SW₂² = E_θ W₂²(θ·x, θ·y),    θ uniform on the unit sphere of R^d
//! ```
//!
//! In units of |x−y|². Between laws that differ by a shift t it is |t|²/d, between N(m₀, s₀²I) and N(m₁, s₁²I) it is
//! |m₀−m₁|²/d + (s₀−s₁)²; always SW₂² ≤ W₂²/d. O((n + m)(d + log(n + m))) a direction, in parallel over directions, and a
//! function of the seed alone.

use rayon::prelude::*;

use crate::measure::Cloud;
use crate::random::{Philox, Stream};
use crate::transport::{LinePlan, TransportError};

/// First Philox step of the directions; those before serve subsamples and noise floors.
const DIRECTION_STEP: u32 = 1 << 24;

/// A Monte-Carlo estimate of SW₂².
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlicedDistance {
    /// The mean over directions, in units of |x−y|².
    pub w2_squared: f64,
    /// Its standard error from the spread over directions: 0 on a line, infinite for one direction elsewhere.
    pub standard_error: f64,
    /// Number of directions.
    pub directions: usize,
}

/// The sliced distance between two clouds of any sizes and weights over `directions` random directions.
///
/// # Errors
/// [`TransportError`] when the dimensions differ, there is no direction, or a squared distance overflows.
pub fn sliced_w2(source: &Cloud, target: &Cloud, directions: usize, seed: u32) -> Result<SlicedDistance, TransportError> {
    if source.dim() != target.dim() {
        return Err(TransportError::Dimensions { source_dim: source.dim(), target_dim: target.dim() });
    }
    if directions == 0 {
        return Err(TransportError::NoDirections);
    }
    // All directions of a line are the same.
    let needed = if source.dim() == 1 { 1 } else { directions };
    // Relative to one origin, so that an offset of both costs no digits.
    let origin = source.mean();
    let (x, y) = (source.relative_to(&origin), target.relative_to(&origin));
    let philox = Philox::new(seed, Stream::Metric);
    let along = |k: usize| -> Result<f64, TransportError> {
        let direction = direction(&philox, k as u32, source.dim());
        let from = projected(source, &x, &direction)?;
        Ok(LinePlan::new(&from, &projected(target, &y, &direction)?)?.w2_squared)
    };
    let values: Vec<f64> = (0..needed).into_par_iter().map(along).collect::<Result<_, _>>()?;
    let count = needed as f64;
    let mean = values.iter().sum::<f64>() / count;
    let spread = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let standard_error = match needed {
        _ if source.dim() == 1 => 0.0,
        1 => f64::INFINITY,
        _ => (spread / (count - 1.0) / count).sqrt(),
    };
    if !mean.is_finite() {
        return Err(TransportError::Overflow);
    }
    Ok(SlicedDistance { w2_squared: mean, standard_error, directions: needed })
}

/// Direction `k`: normals, scaled to length one.
fn direction(philox: &Philox, k: u32, dim: usize) -> Vec<f64> {
    let mut z = vec![0.0f32; dim];
    philox.normals(k, DIRECTION_STEP, 0, &mut z);
    let length = z.iter().map(|&z| f64::from(z).powi(2)).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    z.iter().map(|&z| f64::from(z) / length).collect()
}

/// The cloud of θ·x with the weights of `cloud`.
fn projected(cloud: &Cloud, points: &[f64], direction: &[f64]) -> Result<Cloud, TransportError> {
    let along = |x: &[f64]| x.iter().zip(direction).map(|(x, t)| x * t).sum::<f64>();
    let line = points.chunks_exact(direction.len()).map(along).collect();
    let line = Cloud::new(line, 1).map_err(|_| TransportError::Overflow)?;
    match cloud.weights() {
        None => Ok(line),
        Some(weights) => line.with_weights(weights.to_vec()).map_err(|_| TransportError::Overflow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normals(n: usize, deviation: f64, offset: f64, dim: usize, step: u32) -> Cloud {
        let philox = Philox::new(9, Stream::Source);
        let mut z = vec![0.0f32; dim];
        let point = |i: usize| {
            philox.normals(i as u32, step, 0, &mut z);
            z.iter().map(|&z| offset + deviation * f64::from(z)).collect::<Vec<f64>>()
        };
        Cloud::new((0..n).flat_map(point).collect(), dim).unwrap()
    }

    #[test]
    fn a_translation_scores_its_square_over_the_dimension() {
        let x = normals(200, 1.0, 0.0, 3, 0);
        let y = Cloud::new(x.points().iter().map(|p| p + 2.0).collect(), 3).unwrap();
        let sliced = sliced_w2(&x, &y, 2000, 0).unwrap();
        // 12/3; the spread of 12 cos² about it is known, and so is the error of 2,000 directions.
        let error = (144.0f64 * (1.0 / 5.0 - 1.0 / 9.0) / 2000.0).sqrt();
        assert!((sliced.w2_squared - 4.0).abs() < 4.0 * error, "{sliced:?}");
        assert!((sliced.standard_error / error - 1.0).abs() < 0.1, "{sliced:?} for {error}");
    }

    #[test]
    fn isotropic_gaussians_score_their_closed_form() {
        let (x, y) = (normals(20_000, 1.0, 0.0, 4, 0), normals(15_000, 2.0, 1.0, 4, 1));
        let sliced = sliced_w2(&x, &y, 200, 0).unwrap();
        // |m|²/d + (s₀−s₁)² = 2. Moments of 15,000 draws are good to 2 %, directions to their own error.
        assert!((sliced.w2_squared - 2.0).abs() < 0.04 + 4.0 * sliced.standard_error, "{sliced:?}");
    }

    #[test]
    fn it_is_a_function_of_the_seed_and_zero_between_equal_clouds() {
        let (x, y) = (normals(300, 1.0, 1e4, 2, 0), normals(200, 1.5, 1e4, 2, 1));
        assert_eq!(sliced_w2(&x, &y, 50, 3), sliced_w2(&x, &y, 50, 3));
        assert_ne!(sliced_w2(&x, &y, 50, 3), sliced_w2(&x, &y, 50, 4));
        assert_eq!(sliced_w2(&x, &x, 50, 0).unwrap().w2_squared, 0.0);
        assert_eq!(sliced_w2(&x, &y, 0, 0), Err(TransportError::NoDirections));
    }

    #[test]
    fn on_a_line_it_is_the_exact_distance() {
        let (x, y) = (normals(300, 1.0, 0.0, 1, 0), normals(200, 1.5, 1.0, 1, 1));
        let sliced = sliced_w2(&x, &y, 50, 0).unwrap();
        let exact = LinePlan::new(&x, &y).unwrap().w2_squared;
        assert!((sliced.w2_squared - exact).abs() < 1e-13 && sliced.standard_error == 0.0);
    }
}
