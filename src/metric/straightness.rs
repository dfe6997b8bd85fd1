//! How well pairs determine a flow: the smallest loss that conditional flow matching can reach on them.
//!
//! With u = x₁ − x₀ on the line x_t = (1−t)x₀ + t x₁, the loss is at least ∫E|u − E[u | x_t]|² dt = coupling cost − action: zero
//! where no two lines cross, and then one Euler step is enough; (π/2)ab a dimension for independent pairs of N(0, a²) and N(0, b²).
//!
//! Of n pairs the floor is that of the law they are drawn from. At each of some times two things take from u what x_t tells of it:
//!
//! 1. A linear fit: of u on the first principal components of the points, and on the rest of x_t by one number. What is
//!    left is r, of variance V, with the degrees of freedom that the fit took given back.
//! 2. Differences of neighbours. As a function of the distance, γ(δ²) = ½E|r − r′|² rises from the floor at 0, the nugget of geostatistics,
//!    to V among pairs by chance. Nearest neighbours, whose squared distance is the share ρ of what it is by chance, and chance are
//!    two points of it, and the straight line through them meets 0 at
//!
//! ```text
//! (γ(ρ) − ρ V)/(1 − ρ)
//! ```
//!
//! In few dimensions ρ is next to 0 and the fit does nothing; in many, where no neighbour is near, the fit does it all. A Gaussian field
//! of isotropic rest is exact in any dimension. Among pairs whose rest is not, and none of which are near, the line may meet 0 too high
//! (γ is concave) or too low (γ and the distance are of different coordinates); below 0 it is not told.

use nalgebra::{Cholesky, DMatrix};

use crate::backend::Device;
use crate::measure::Cloud;
use crate::metric::{MetricError, nearest};
use crate::transport::Projection;
use crate::vector::{mean_with_error, squared_distance};

/// Times at which the conditional variance is taken: midpoints of equal pieces of [0, 1].
const TIMES: usize = 8;
/// Components of the linear fit at most, and pairs that each of them needs.
const COMPONENTS: usize = 64;
const PAIRS: usize = 16;
/// Groups of pairs whose floors tell the standard error.
const GROUPS: usize = 16;
/// The standard error, as a share of E|u − E u|², above which the pairs do not tell.
const TOLD: f64 = 0.05;

/// The floor of the loss, in units of |x−y|².
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossFloor {
    /// ∫E|u − E[u | x_t]|² dt; none where the pairs do not tell it.
    pub value: Option<f64>,
    /// Its standard error, of groups of pairs.
    pub standard_error: f64,
    /// ρ, averaged over the times. Above about a half, no pair has a near neighbour, and the value is the linear fit's.
    pub distance: f64,
}

/// The floor of the loss on the pairs (x0, x1), n × d each and in random order.
///
/// # Errors
/// [`MetricError::Unpaired`] when there are not two pairs of points in the same number, [`MetricError`] when memory runs out.
pub fn cfm_loss_floor(x0: &[f64], x1: &[f64], d: usize, device: &Device) -> Result<LossFloor, MetricError> {
    let n = x0.len() / d;
    let unpaired = MetricError::Unpaired { start: n, end: x1.len() / d };
    if n < 2 || x0.len() != x1.len() {
        return Err(unpaired);
    }
    let cloud = |points: &[f64]| Cloud::new(points.to_vec(), d).map_err(|_| unpaired.clone());
    let components = COMPONENTS.min(d).min(n / PAIRS);
    let axes = Projection::principal(&cloud(&[x0, x1].concat())?, components, 0).ok();
    let u: Vec<f64> = x0.iter().zip(x1).map(|(x0, x1)| x1 - x0).collect();
    let (half, groups) = (n / 2, GROUPS.min(n / 2));
    let (mut floors, mut distance, mut spread) = (vec![0.0; groups], 0.0, 0.0);
    for k in 0..TIMES {
        let t = (k as f64 + 0.5) / TIMES as f64;
        let at: Vec<f64> = x0.iter().zip(&u).map(|(x0, u)| x0 + t * u).collect();
        let (here, there) = (cloud(&at[..half * d])?, cloud(&at[half * d..])?);
        let neighbours = nearest(&here, &there, device)?;
        let chance = 2.0 * cloud(&at)?.variance();
        let rest = Rest::of(at, &u, d, axes.as_ref());
        for (g, floor) in floors.iter_mut().enumerate() {
            let rows = g * half / groups..(g + 1) * half / groups;
            let count = rows.len() as f64;
            let apart = |i: usize| rest.gamma(i, half + neighbours[i].0);
            let gamma = rows.clone().map(apart).sum::<f64>() / count;
            let near = rows.map(|i| neighbours[i].1.powi(2)).sum::<f64>() / count;
            // All points at one place: every pair is a neighbour.
            let share = if chance > 0.0 { near / chance } else { 0.0 };
            *floor += (gamma - share * rest.variance) / (1.0 - share) / TIMES as f64;
            distance += share / (groups * TIMES) as f64;
        }
        spread = rest.spread;
    }
    let (value, standard_error) = mean_with_error(&floors);
    let is_near = distance < 1.0;
    Ok(LossFloor { value: told(value, standard_error, spread).filter(|_| is_near), standard_error, distance })
}

/// The floor that is told of an estimate, in units of the spread of u: none where its error is large, and where it is below 0 by more
/// than that, since no law has such a floor: the straight line through neighbours and chance then does not meet it.
fn told(value: f64, standard_error: f64, spread: f64) -> Option<f64> {
    let is_possible = value >= -f64::max(4.0 * standard_error, 1e-3 * spread);
    (is_possible && standard_error <= TOLD * spread).then_some(value.max(0.0))
}

/// What a linear fit leaves of u.
struct Rest {
    /// r, a pair a column.
    residual: DMatrix<f64>,
    /// The components of x_t, a pair a column, of unit second moments: products of them are leverages.
    along: Option<DMatrix<f64>>,
    /// E|r|², with the degrees of freedom that the fit took given back.
    variance: f64,
    /// E|u − E u|².
    spread: f64,
}

impl Rest {
    fn of(at: Vec<f64>, u: &[f64], d: usize, axes: Option<&Projection>) -> Self {
        let n = u.len() / d;
        let centred = |x: Vec<f64>| {
            let mut x = DMatrix::from_vec(d, n, x);
            let mean = x.column_mean();
            x.column_iter_mut().for_each(|mut column| column -= &mean);
            x
        };
        let (mut x, mut residual) = (centred(at), centred(u.to_vec()));
        let spread = residual.norm_squared() / n as f64;
        let mut scores = None;
        if let Some(axes) = axes.map(Projection::matrix) {
            let mut along = axes.tr_mul(&x);
            x -= axes * &along;
            if let Some(gram) = Cholesky::new(&along * along.transpose()) {
                gram.l().solve_lower_triangular_mut(&mut along);
                residual -= (&residual * along.transpose()) * &along;
                scores = Some(along);
            }
        }
        let square = x.norm_squared();
        // What rounding leaves beside all components is nothing to fit.
        if square > 1e-20 * spread * n as f64 {
            let slope = residual.dot(&x) / square;
            residual -= x * slope;
        }
        let taken = 1 + scores.as_ref().map_or(0, DMatrix::nrows);
        let variance = residual.norm_squared() / n.saturating_sub(taken).max(1) as f64;
        Self { residual, along: scores, variance, spread }
    }

    /// ½|r_i − r_j|², of which the fit took the share ½h_ii + ½h_jj − h_ij, h being its hat matrix.
    fn gamma(&self, i: usize, j: usize) -> f64 {
        fn row(of: &DMatrix<f64>, i: usize) -> &[f64] {
            &of.as_slice()[i * of.nrows()..][..of.nrows()]
        }
        let half = |of: &DMatrix<f64>| 0.5 * squared_distance(row(of, i), row(of, j));
        half(&self.residual) / (1.0 - self.along.as_ref().map_or(0.0, half)).max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precision;
    use crate::random::{Philox, Stream};
    use std::f64::consts::FRAC_PI_2;

    /// 2 n normals of dimension d, the two ends.
    fn normals(n: usize, d: usize) -> [Vec<f64>; 2] {
        let end = |side: u32| {
            let mut row = vec![0f32; d];
            let mut of = |i: usize| {
                Philox::new(0, Stream::Metric).normals(i as u32, side, 0, &mut row);
                row.iter().map(|z| f64::from(*z)).collect::<Vec<f64>>()
            };
            (0..n).flat_map(&mut of).collect()
        };
        [end(0), end(1)]
    }

    fn floor(x0: &[f64], x1: &[f64], d: usize) -> LossFloor {
        cfm_loss_floor(x0, x1, d, &Device::cpu(Precision::F32)).unwrap()
    }

    /// The closed form of the head of this file, and 0 for a linear map, in every dimension; four standard errors, and what the
    /// midpoint rule and the choice of neighbours are off by, a hundredth and a half.
    #[test]
    fn the_floor_of_independent_gaussians_is_half_pi_ab_and_that_of_a_linear_map_is_zero() {
        let (a, b) = (0.7, 1.3);
        for (d, n) in [(1, 4096), (2, 4096), (64, 4096), (784, 1024)] {
            let [x0, x1] = normals(n, d).map(|z| z.iter().map(|z| a * z).collect::<Vec<f64>>());
            let x1: Vec<f64> = x1.iter().map(|x| b / a * x).collect();
            let (found, truth) = (floor(&x0, &x1, d), FRAC_PI_2 * a * b * d as f64);
            let value = found.value.unwrap();
            assert!((value - truth).abs() < 4.0 * found.standard_error + 0.015 * truth, "{d}: {found:?} {truth}");
            assert!(found.standard_error < 0.05 * truth, "{d}: {found:?}");
            let mapped: Vec<f64> = x0.iter().map(|x| b / a * x).collect();
            assert!(floor(&x0, &mapped, d).value.unwrap() < 1e-3 * truth, "{d}");
        }
    }

    /// Coordinates of unequal variance, as pictures have: ∫ab/((1−t)²a² + t²b²) dt is π/2 for each of them, so the floor is
    /// (π/2) Σ a b_k. The linear fit has the first components only; the rest errs upwards, by an eighth in a trial.
    #[test]
    fn the_floor_is_right_where_variances_fall_by_a_power() {
        let (n, d) = (2048, 300);
        let scale: Vec<f64> = (0..d).map(|k| 6.0 * (1.0 + k as f64).powf(-0.8)).collect();
        let [x0, z] = normals(n, d);
        let x1: Vec<f64> = z.iter().zip(scale.iter().cycle()).map(|(z, s)| z * s).collect();
        let (found, truth) = (floor(&x0, &x1, d), FRAC_PI_2 * scale.iter().sum::<f64>());
        let value = found.value.unwrap();
        assert!((-0.03..0.2).contains(&(value / truth - 1.0)), "{found:?} {truth}");
        // Sharper pairs have a lower floor: the map x ↦ scale x has none.
        let mapped: Vec<f64> = x0.iter().zip(scale.iter().cycle()).map(|(x, s)| x * s).collect();
        let halfway: Vec<f64> = mapped.iter().zip(&x1).map(|(map, other)| 0.8 * map + 0.6 * other).collect();
        let (halfway, mapped) = (floor(&x0, &halfway, d).value.unwrap(), floor(&x0, &mapped, d).value.unwrap());
        assert!(mapped < 0.5 * halfway && halfway < 0.5 * value, "{mapped} {halfway} {value}");
    }

    /// A monotone map that is not linear has lines that do not cross: neighbours see that in few dimensions.
    #[test]
    fn the_floor_of_a_monotone_map_is_zero_where_neighbours_are_near() {
        let [x0, x1] = normals(4096, 2);
        let mapped: Vec<f64> = x0.iter().map(|x| 2.0 * x + (2.0 * x).sin() * 0.9).collect();
        let (found, chance) = (floor(&x0, &mapped, 2), floor(&x0, &x1, 2));
        assert!(found.value.unwrap() < 0.01 * chance.value.unwrap() && found.distance < 0.01, "{found:?}");
    }

    #[test]
    fn what_few_pairs_cannot_tell_is_not_told() {
        assert_eq!((told(-0.5, 0.2, 100.0), told(-5.0, 1.0, 100.0), told(1.0, 6.0, 100.0)), (Some(0.0), None, None));
        let [x0, x1] = normals(6, 784);
        assert_eq!(floor(&x0, &x1, 784).value, None);
        assert!(cfm_loss_floor(&[0.0], &[1.0], 1, &Device::cpu(Precision::F64)).is_err());
    }
}
