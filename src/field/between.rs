//! The exact field of independent pairs whose noise is any Gaussian: x_t = α data + σ noise, noise ~ N(m, C), data of a mixture.
//!
//! ```text
//! y = R⁻¹(x − σ m) with R = C^{1/2}:      y = α R⁻¹ data + σ z,  z ~ N(0, I)
//! x̂₀ = R ŷ₀(y),   ε̂ = m + R ẑ(y)
//! ```
//!
//! so the field of the mixture R⁻¹ data, which is one too, gives it. It runs on the processor in f64.

use rayon::prelude::*;

use crate::field::mixture::along;
use crate::field::{Batch, Field, HostField};
use crate::measure::{Component, Covariance, Mixture, MixtureError};
use crate::path::Prediction;

/// Points that a thread takes at a time.
const ROWS: usize = 64;

struct Between {
    noise: Component,
    /// R⁻¹ data.
    white: Mixture,
}

impl Field {
    /// The field between the Gaussian `noise` and `data` in independent pairs.
    ///
    /// # Errors
    /// [`MixtureError`] if `noise` is not a valid component, if its dimension is not that of `data`, and if it is so
    /// ill-conditioned that the whitened data have no positive-definite covariance in double precision.
    pub fn between(noise: &Component, data: &Mixture) -> Result<Self, MixtureError> {
        let d = data.dim();
        let found = Mixture::new(vec![1.0], vec![noise.mean.clone()], vec![noise.covariance.clone()])?.dim();
        if found != d {
            return Err(MixtureError::Dimension { component: 0, found, expected: d });
        }
        let whiten = |v: &[f64]| along(&noise.covariance, v, |variance| variance.sqrt().recip());
        let covariance = |(component, of): (usize, &Covariance)| {
            if let (Covariance::Isotropic(noise), Covariance::Isotropic(data)) = (&noise.covariance, of) {
                return Ok(Covariance::Isotropic(data / noise));
            }
            let mut matrix = vec![0.0; d * d];
            for k in 0..d {
                let axis: Vec<f64> = (0..d).map(|row| of.vector(row, k, d)).collect();
                let axis = whiten(&axis);
                for (entry, (x, y)) in matrix.iter_mut().zip(axis.iter().flat_map(|x| axis.iter().map(move |y| (x, y)))) {
                    *entry += of.value(k) * x * y;
                }
            }
            Covariance::from_matrix(&matrix, d).map_err(|smallest| MixtureError::Covariance { component, smallest })
        };
        let parts = data.components();
        let covariances = parts.iter().map(|part| &part.covariance).enumerate().map(covariance).collect::<Result<_, _>>()?;
        let means = parts.iter().map(|part| whiten(&part.mean)).collect();
        let white = Mixture::new(parts.iter().map(|part| part.weight).collect(), means, covariances)?;
        Ok(Self::given(Between { noise: noise.clone(), white }))
    }
}

impl HostField for Between {
    fn dim(&self) -> usize {
        self.white.dim()
    }

    /// αε̂ − σx̂₀, with x, determines both ends of the path.
    fn prediction(&self) -> Prediction {
        Prediction::V
    }

    fn predict(&self, batch: Batch<'_>, out: &mut [f64]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (d, level, Self { noise, white }) = (self.dim(), batch.level, self);
        out.par_chunks_mut(d).zip(batch.points.par_chunks(d)).with_min_len(ROWS).for_each(|(out, x)| {
            let shifted: Vec<f64> = x.iter().zip(&noise.mean).map(|(x, m)| x - level.sigma * m).collect();
            let y = along(&noise.covariance, &shifted, |variance| variance.sqrt().recip());
            let v = along(&noise.covariance, &white.evaluate(level, -level.sigma, level.alpha, &y), f64::sqrt);
            out.iter_mut().zip(v).zip(&noise.mean).for_each(|((out, v), m)| *out = v + level.alpha * m);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_that_does_not_fit_the_data_is_refused() {
        let data = Mixture::standard_normal(2);
        let refused = |mean: Vec<f64>, covariance: Covariance| {
            Field::between(&Component { weight: 1.0, mean, covariance }, &data).expect_err("it does not fit")
        };
        let full = Covariance::Full { values: vec![1.0; 3], vectors: vec![1.0; 9] };
        let dimension = |found, expected| MixtureError::Dimension { component: 0, found, expected };
        assert_eq!(refused(vec![0.0; 3], Covariance::Isotropic(1.0)), dimension(3, 2));
        assert_eq!(refused(vec![0.0; 3], full.clone()), dimension(3, 2));
        assert_eq!(refused(vec![0.0; 2], full), dimension(3, 2));
        assert_eq!(refused(vec![f64::NAN; 2], Covariance::Isotropic(1.0)), MixtureError::Mean { component: 0 });
    }
}
