//! Where the particles of a run start: the prior at the grid's first level.

use std::ops::Range;

use rayon::prelude::*;

use crate::field::Field;
use crate::path::Level;
use crate::random::{Philox, Stream};

/// Start points σ z of `particles`, n × d row-major, with z standard normals of (seed, stream 1, particle) and σ that of `level`.
///
/// Row i is a function of its particle's index alone, so a range is exactly those rows of the whole run. The prior leaves out
/// α · data, which most schedules make small at their start; [`prior_error`] says how small.
pub fn start(level: Level, dim: usize, particles: Range<u32>, seed: u32) -> Vec<f64> {
    let philox = Philox::new(seed, Stream::Source);
    let mut points = vec![0.0; particles.len() * dim];
    points.par_chunks_mut(dim).zip(particles).for_each(|(point, particle)| {
        for (block, four) in point.chunks_mut(4).enumerate() {
            let z = philox.normal_block([particle, 0, 0, block as u32]);
            four.iter_mut().zip(z).for_each(|(x, z)| *x = level.sigma * f64::from(z));
        }
    });
    points
}

/// How far the prior N(0, σ²I) lies from α · data + σ · noise, in units of σ: W₂/√d between Gaussians of the same mean and mean
/// variance,
///
/// ```text
/// √(|αm|²/d + (√(α²v + σ²) − σ)²)/σ
/// ```
///
/// with m the mean of the data and v their variance in a coordinate; 0 and 1 for a network, code or guidance, which do not tell
/// them; of classes the largest. On data N(m, v) the probability-flow ODE carries the first term through, so the samples miss the mean by about as many standard deviations.
pub fn prior_error(field: &Field, level: Level) -> f64 {
    let d = field.dim() as f64;
    let squared = |m: &[f64]| m.iter().map(|m| m * m).sum::<f64>();
    let (mean, variance) = match field {
        Field::Mixture(law) => {
            let mut mean = vec![0.0; law.dim()];
            let mut second = 0.0;
            for c in law.components() {
                mean.iter_mut().zip(&c.mean).for_each(|(sum, m)| *sum += c.weight * m);
                second += c.weight * (squared(&c.mean) + (0..law.dim()).map(|i| c.covariance.value(i)).sum::<f64>());
            }
            let mean = squared(&mean);
            (mean / d, (second - mean).max(0.0) / d)
        }
        Field::DataSet(cloud) | Field::Transport { target: cloud, .. } => (squared(&cloud.mean()) / d, cloud.variance() / d),
        Field::Classes(classes) => return classes.fields().iter().map(|field| prior_error(field, level)).fold(0.0, f64::max),
        Field::Network(_) | Field::Given(_) | Field::Guided(_) => (0.0, 1.0),
    };
    let ratio = level.alpha / level.sigma;
    (ratio * ratio * mean + ((ratio * ratio * variance + 1.0).sqrt() - 1.0).powi(2)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Cloud, Covariance, Mixture, named};
    use crate::path::Schedule;

    #[test]
    fn particles_start_at_sigma_times_the_rows_of_the_normal_source() {
        let level = Schedule::named("ve").unwrap().level(0.0);
        let normal = named("normal:5", None).unwrap().sample(100, 7, Stream::Source, 0);
        let whole = start(level, 5, 0..100, 7);
        assert!(whole.iter().zip(normal.points()).all(|(x, z)| *x == level.sigma * z));
        assert_eq!(start(level, 5, 40..60, 7), whole[200..300]);
    }

    /// N(m, vI) at (α, σ) is N(αm, α²v + σ²): its W₂ from N(0, σ²I) in d = 2, and the same of points with these moments.
    #[test]
    fn the_prior_misses_a_law_by_what_the_level_keeps_of_it() {
        let level = Schedule::parse("linear-vp:1,1").unwrap().level(0.0);
        let law = Mixture::new(vec![1.0], vec![vec![1.0, -2.0]], vec![Covariance::Isotropic(0.25)]).unwrap();
        let spread = (level.alpha.powi(2) * 0.25 + level.sigma.powi(2)).sqrt() - level.sigma;
        let w2_squared = level.alpha.powi(2) * 5.0 + 2.0 * spread.powi(2);
        let expected = (w2_squared / 2.0).sqrt() / level.sigma;
        assert!((prior_error(&Field::Mixture(law), level) - expected).abs() < 1e-14);
        let points = Cloud::new(vec![1.5, -2.0, 0.5, -2.0, 1.0, -1.5, 1.0, -2.5], 2).unwrap(); // total variance 0.25
        let halved = (level.alpha.powi(2) * 0.125 + level.sigma.powi(2)).sqrt() - level.sigma;
        let expected = ((level.alpha.powi(2) * 5.0 + 2.0 * halved.powi(2)) / 2.0).sqrt() / level.sigma;
        assert!((prior_error(&Field::DataSet(points), level) - expected).abs() < 1e-14);
        let pure = Schedule::CondOt.level(0.0);
        assert_eq!(prior_error(&Field::Mixture(Mixture::standard_normal(3)), pure), 0.0);
    }
}
