//! Exact optimal transport between two uniform clouds of equal size, as an assignment.
//!
//! ```text
//! W₂² = min over permutations s of (1/n) Σ_i |x_i − y_s(i)|²
//! ```
//!
//! In units of |x−y|², twice the cost c of the rest of the crate. Every basic plan between equal masses is a permutation
//! (Birkhoff), so the network simplex of [`exact`] gives one.

use crate::measure::Cloud;
use crate::transport::TransportError;
use crate::transport::exact::{self, Ground};
use crate::vector::squared_distance;

/// An optimal one-to-one pairing of two clouds.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The partner of each source point: x_i goes to y at `partner[i]`; a permutation of 0..n.
    pub partner: Vec<usize>,
    /// W₂², the mean of |x_i − y_partner|².
    pub w2_squared: f64,
    /// No permutation has a mean of |x_i − y_s(i)|² that is less by more: rounding, unless scales are mixed over many decades.
    pub gap: f64,
}

/// The optimal assignment from `source` to `target`, uniform clouds of the same n ≤ [`LARGEST`](exact::LARGEST).
///
/// ```
/// use brenier::measure::Cloud;
///
/// let (x, y) = (Cloud::new(vec![0.0, 1.0, 2.0], 1)?, Cloud::new(vec![2.5, 0.5, 1.5], 1)?);
/// assert_eq!(brenier::transport::assign(&x, &y)?.partner, [1, 2, 0]);
/// # Ok::<(), brenier::Error>(())
/// ```
///
/// # Errors
/// [`TransportError`] when dimensions or sizes differ, there are too many points, a cloud has weights, or a squared distance
/// overflows.
pub fn assign(source: &Cloud, target: &Cloud) -> Result<Assignment, TransportError> {
    let (partner, gap) = partners(source, target, Ground::HalfSquare)?;
    let total: f64 = source.rows().zip(&partner).map(|(x, &j)| squared_distance(x, target.row(j))).sum();
    Ok(Assignment { w2_squared: total / source.len() as f64, partner, gap: 2.0 * gap })
}

/// W₁, the least mean of |x_i − y_s(i)| over permutations s, of uniform clouds of the same n ≤ [`LARGEST`](exact::LARGEST).
///
/// # Errors
/// [`TransportError`] as for [`assign`].
pub fn w1(source: &Cloud, target: &Cloud) -> Result<f64, TransportError> {
    let (partner, _) = partners(source, target, Ground::Distance)?;
    let total: f64 = source.rows().zip(&partner).map(|(x, &j)| squared_distance(x, target.row(j)).sqrt()).sum();
    Ok(total / source.len() as f64)
}

/// The permutation of least cost, and by how much another may cost less.
fn partners(source: &Cloud, target: &Cloud, ground: Ground) -> Result<(Vec<usize>, f64), TransportError> {
    if source.weights().is_some() || target.weights().is_some() {
        return Err(TransportError::Weighted);
    }
    let (n, m) = (source.len(), target.len());
    if source.dim() == target.dim() && n != m {
        return Err(TransportError::UnequalSizes { n, m });
    }
    let optimum = exact::solve(source, target, ground)?;
    Ok((optimum.entries.iter().map(|entry| entry.target).collect(), optimum.gap))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Philox, Stream};

    fn assign_points(x: &[f64], y: &[f64], dim: usize) -> Result<Assignment, TransportError> {
        let cloud = |points: &[f64]| Cloud::new(points.to_vec(), dim).unwrap();
        assign(&cloud(x), &cloud(y))
    }

    fn uniforms(n: usize, dim: usize, step: u32) -> Vec<f64> {
        let philox = Philox::new(1, Stream::Metric);
        (0..n * dim).map(|i| philox.uniform(i as u32, step, 0)).collect()
    }

    /// Every permutation of 0..n, by Heap's algorithm.
    fn permutations(n: usize) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..n).collect();
        let mut counts = vec![0; n];
        let mut all = vec![order.clone()];
        let mut i = 0;
        while i < n {
            if counts[i] < i {
                order.swap(if i % 2 == 0 { 0 } else { counts[i] }, i);
                all.push(order.clone());
                counts[i] += 1;
                i = 0;
            } else {
                counts[i] = 0;
                i += 1;
            }
        }
        all
    }

    fn is_permutation(partner: &[usize]) -> bool {
        let mut sorted = partner.to_vec();
        sorted.sort_unstable();
        sorted.into_iter().eq(0..partner.len())
    }

    #[test]
    fn no_permutation_of_six_points_is_cheaper() {
        for trial in 0..20 {
            let (x, y) = (uniforms(6, 3, 2 * trial), uniforms(6, 3, 2 * trial + 1));
            let cost =
                |p: &Vec<usize>| (0..6).map(|i| squared_distance(&x[3 * i..3 * i + 3], &y[3 * p[i]..3 * p[i] + 3])).sum::<f64>();
            let least = permutations(6).iter().map(cost).fold(f64::INFINITY, f64::min) / 6.0;
            assert!((assign_points(&x, &y, 3).unwrap().w2_squared - least).abs() < 1e-15);
        }
    }

    /// A solver with an absolute tolerance fails this one.
    #[test]
    fn the_partner_does_not_depend_on_the_unit_of_length() {
        let (x, y) = (uniforms(200, 2, 0), uniforms(200, 2, 1));
        let whole = assign_points(&x, &y, 2).unwrap();
        for scale in [2f64.powi(-60), 2f64.powi(60)] {
            let scaled = |v: &[f64]| v.iter().map(|c| c * scale).collect::<Vec<_>>();
            let other = assign_points(&scaled(&x), &scaled(&y), 2).unwrap();
            assert_eq!(other.partner, whole.partner);
            assert_eq!(other.w2_squared, whole.w2_squared * scale * scale);
        }
    }

    #[test]
    fn ties_duplicates_and_equal_costs_are_assigned_one_to_one() {
        let n = 60;
        let steps = |k: usize, height: f64| (0..n).flat_map(|i| [(i % k) as f64, height]).collect::<Vec<_>>();
        let (same, apart) = (
            assign_points(&steps(1, 0.0), &steps(1, 3.0), 2).unwrap(),
            assign_points(&steps(4, 0.0), &steps(4, 0.0), 2).unwrap(),
        );
        assert!(is_permutation(&same.partner) && is_permutation(&apart.partner));
        assert_eq!((same.w2_squared, apart.w2_squared), (9.0, 0.0));
        // Twelve points on each of 0…4 against twenty on each of 0…2: the quantile coupling costs 23/15.
        let uneven = assign_points(&steps(5, 0.0), &steps(3, 0.0), 2).unwrap();
        assert!(is_permutation(&uneven.partner));
        assert!((uneven.w2_squared - 23.0 / 15.0).abs() < 1e-14, "{}", uneven.w2_squared);
    }

    #[test]
    fn a_translation_is_its_own_optimal_map() {
        let x = uniforms(300, 4, 0);
        let y: Vec<f64> = x.iter().map(|c| c + 7.0).collect();
        let moved = assign_points(&x, &y, 4).unwrap();
        assert!(moved.partner.iter().copied().eq(0..300));
        assert!((moved.w2_squared - 4.0 * 49.0).abs() < 1e-12);
    }

    #[test]
    fn clouds_that_cannot_be_paired_are_refused() {
        let cloud = |n: usize, dim: usize| Cloud::new(vec![0.5; n * dim], dim).unwrap();
        assert_eq!(assign(&cloud(3, 1), &cloud(4, 1)), Err(TransportError::UnequalSizes { n: 3, m: 4 }));
        assert_eq!(assign(&cloud(3, 1), &cloud(3, 2)), Err(TransportError::Dimensions { source_dim: 1, target_dim: 2 }));
        assert_eq!(assign(&cloud(5001, 1), &cloud(5001, 1)), Err(TransportError::TooMany { n: 5001, limit: 5000 }));
        let weighted = cloud(3, 1).with_weights(vec![1.0; 3]).unwrap();
        assert_eq!(assign(&weighted, &cloud(3, 1)), Err(TransportError::Weighted));
        let far = Cloud::new(vec![-1e200, 1e200], 1).unwrap();
        assert_eq!(assign(&far, &cloud(2, 1)), Err(TransportError::Overflow));
    }
}
