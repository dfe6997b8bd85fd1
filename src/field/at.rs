//! A field at one point, in f64 on the processor: for methods in which each particle has levels of its own.

use crate::field::given;
use crate::field::{Batch, Field, FieldError};
use crate::measure::Cloud;
use crate::path::Level;

impl Field {
    /// p x̂₀ + q ε̂ at `level` and the point `x` of `particle`, with `of` = (p, q).
    ///
    /// # Errors
    /// [`FieldError`] where the level does not determine the answer.
    pub fn at(&self, level: Level, of: (f64, f64), particle: usize, x: &[f64]) -> Result<Vec<f64>, FieldError> {
        let (p, q) = of;
        let Level { alpha, sigma, .. } = level;
        match self {
            Self::Mixture(mixture) => Ok(mixture.evaluate(level, p, q, x)),
            Self::DataSet(cloud) => {
                let distance = |y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - alpha * y).powi(2)).sum::<f64>();
                let logit = |j: usize, y: &[f64]| cloud.weight(j).ln() - distance(y) / (2.0 * sigma * sigma);
                of_points(cloud, level, of, x, logit)
            }
            Self::Transport { target, g, .. } if g.len() != target.len() => {
                Err(FieldError::Potential { found: g.len(), needed: target.len() })
            }
            Self::Transport { target, g, eps } => {
                let distance = |y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
                let logit = |j: usize, y: &[f64]| target.weight(j).ln() + g[j] / eps - distance(y) / (2.0 * eps * sigma);
                of_points(target, level, of, x, logit)
            }
            Self::Network(network) => Ok(network.pass(level, of, (particle, x), &[])?.0),
            Self::Given(field) => given::evaluate(&**field, Batch { level, points: x, first: particle }, of),
            Self::Classes(classes) => classes.of(particle).at(level, of, particle, x),
            Self::Guided(guided) => {
                let mut sum = vec![0.0; x.len()];
                for (weight, part) in guided.acting(level) {
                    let part = part.at(level, of, particle, x)?;
                    sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += weight * part);
                }
                Ok(sum)
            }
        }
    }
}

/// p A + q (x − α A)/σ with A the mean of the points of `cloud` under the softmax of `logit`; at σ = 0 the nearest of them.
fn of_points(
    cloud: &Cloud,
    level: Level,
    (p, q): (f64, f64),
    x: &[f64],
    logit: impl Fn(usize, &[f64]) -> f64,
) -> Result<Vec<f64>, FieldError> {
    let Level { alpha, sigma, .. } = level;
    if sigma == 0.0 {
        if q != 0.0 {
            return Err(FieldError::NoiseAtData);
        }
        let distance = |y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
        let present = cloud.rows().enumerate().filter(|(j, _)| cloud.weight(*j) > 0.0).map(|(_, y)| y);
        let nearest = present.min_by(|y, z| distance(y).total_cmp(&distance(z)));
        return Ok(nearest.unwrap_or(x).iter().map(|y| p * y).collect());
    }
    let logits: Vec<f64> = cloud.rows().enumerate().map(|(j, y)| logit(j, y)).collect();
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (mut mean, mut total) = (vec![0.0; x.len()], 0.0);
    for (y, logit) in cloud.rows().zip(&logits) {
        let share = (logit - top).exp();
        total += share;
        mean.iter_mut().zip(y).for_each(|(mean, y)| *mean += share * y);
    }
    let (of_mean, of_x) = (p - q * alpha / sigma, q / sigma);
    Ok(mean.iter().zip(x).map(|(mean, x)| of_mean * (mean / total) + of_x * x).collect())
}
