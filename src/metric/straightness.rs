//! How well pairs determine a flow: the smallest loss that conditional flow matching can reach on them.
//!
//! With u = x₁ − x₀ on the line x_t = (1−t)x₀ + t x₁, the loss is at least ∫E|u − E[u | x_t]|² dt = coupling cost − action: zero
//! where no two lines cross, and then one Euler step is enough; (π/2)ab for independent pairs of N(0, a²) and N(0, b²).

use crate::backend::Device;
use crate::measure::Cloud;
use crate::metric::{MetricError, nearest};

/// Times at which the conditional variance is taken: midpoints of equal pieces of [0, 1].
const TIMES: usize = 8;

/// The floor of the loss on the pairs (x0, x1), n × d each and in random order, in units of |x−y|².
///
/// Half of the pairs look for their nearest neighbour at x_t among the other half: ½E|u − u′|² is the conditional variance, plus what
/// the mean velocity changes over the distance between neighbours. So it errs upwards; with few pairs in many dimensions by much.
///
/// # Errors
/// [`MetricError::Unpaired`] when there are not two pairs of points in the same number, [`MetricError`] when memory runs out.
pub fn cfm_loss_floor(x0: &[f64], x1: &[f64], d: usize, device: &Device) -> Result<f64, MetricError> {
    let half = x0.len() / d / 2;
    let unpaired = MetricError::Unpaired { start: x0.len() / d, end: x1.len() / d };
    if half == 0 || x0.len() != x1.len() {
        return Err(unpaired);
    }
    let u: Vec<f64> = x0.iter().zip(x1).map(|(x0, x1)| x1 - x0).collect();
    let mut floor = 0.0;
    for k in 0..TIMES {
        let t = (k as f64 + 0.5) / TIMES as f64;
        let at: Vec<f64> = x0.iter().zip(&u).map(|(x0, u)| x0 + t * u).collect();
        let cloud = |points: &[f64]| Cloud::new(points.to_vec(), d).map_err(|_| unpaired.clone());
        let (here, there) = (cloud(&at[..half * d])?, cloud(&at[half * d..])?);
        for (i, (j, _)) in nearest(&here, &there, device)?.into_iter().enumerate() {
            let others = u[(half + j) * d..][..d].iter();
            floor += u[i * d..][..d].iter().zip(others).map(|(u, v)| 0.5 * (u - v).powi(2)).sum::<f64>();
        }
    }
    Ok(floor / (half * TIMES) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precision;
    use crate::random::{Philox, Stream};
    use std::f64::consts::FRAC_PI_2;

    /// The closed form of the head of this file; a sum of 4,096 × 8 half squares of variance about 2 that are not independent over
    /// time has a standard error of about 2 %.
    #[test]
    fn the_floor_of_independent_gaussians_is_half_pi_ab_and_that_of_a_monotone_map_is_zero() {
        let (n, a, b) = (8192, 0.7, 1.9);
        let mut z = vec![0f32; 2 * n];
        Philox::new(0, Stream::Metric).normals(0, 0, 0, &mut z);
        let x0: Vec<f64> = z[..n].iter().map(|&z| a * f64::from(z)).collect();
        let x1: Vec<f64> = z[n..].iter().map(|&z| b * f64::from(z)).collect();
        let device = Device::cpu(Precision::F64);
        let floor = cfm_loss_floor(&x0, &x1, 1, &device).unwrap();
        assert!((floor / (FRAC_PI_2 * a * b) - 1.0).abs() < 0.06, "{floor}");
        let straight: Vec<f64> = x0.iter().map(|x| b / a * x).collect();
        // Neighbours among 4,096 are 1e-3 apart, and the velocity is a smooth function of the place.
        assert!(cfm_loss_floor(&x0, &straight, 1, &device).unwrap() < 1e-3);
    }
}
