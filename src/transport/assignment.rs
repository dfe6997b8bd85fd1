//! Exact optimal transport between two uniform clouds of equal size, as an assignment.
//!
//! ```text
//! W₂² = min over permutations s of (1/n) Σ_i |x_i − y_s(i)|²
//! ```
//!
//! In units of |x−y|², twice the cost c of the rest of the crate. Shortest augmenting paths (Jonker, Volgenant 1987) prove
//! the optimum in O(n³). They are slow when every path is long, as between a blob and a ring, so they are given the reduced costs
//! |x_i − y_j|² − u_i − v_j, whose optimum is the same: v are the prices of an auction with ε-scaling (Bertsekas 1988), u the
//! row minima. A poor v costs time, never exactness.

use crate::measure::Cloud;
use crate::transport::TransportError;

/// The most points an assignment is made for: the costs are n² numbers and the time grows like n³.
pub const LARGEST: usize = 2048;

/// Costs above this are refused: prices add up to n of them.
const LARGEST_COST: f64 = 1e300;
/// The auction's first bid increment is this share of the largest cost, so that no bidding war is long…
const FIRST_INCREMENT: f64 = 0.25;
/// …and its last one this share of the median cost, so that one far point does not leave the prices of the others rough…
const LAST_INCREMENT: f64 = 1e-5;
/// …but not less than this share of the largest cost, where rounding would swallow it.
const LEAST_INCREMENT: f64 = 1e-12;
/// Each round's increment over that of the round before.
const INCREMENT_FACTOR: f64 = 0.2;

/// An optimal one-to-one pairing of two clouds.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The partner of each source point: x_i goes to y at `partner[i]`; a permutation of 0..n.
    pub partner: Vec<usize>,
    /// W₂², the mean of |x_i − y_partner|².
    pub w2_squared: f64,
}

/// The optimal assignment from `source` to `target`, uniform clouds of the same n ≤ [`LARGEST`].
///
/// # Errors
/// [`TransportError`] when dimensions or sizes differ, n is above [`LARGEST`], a cloud has weights, or a squared distance
/// overflows.
pub fn assign(source: &Cloud, target: &Cloud) -> Result<Assignment, TransportError> {
    if source.weights().is_some() || target.weights().is_some() {
        return Err(TransportError::Weighted);
    }
    if source.dim() != target.dim() {
        return Err(TransportError::Dimensions { source_dim: source.dim(), target_dim: target.dim() });
    }
    assign_points(source.points(), target.points(), source.dim())
}

/// W₁, the least mean of |x_i − y_s(i)| over permutations s, of uniform clouds of the same n ≤ [`LARGEST`].
///
/// # Errors
/// [`TransportError`] as for [`assign`].
pub fn w1(source: &Cloud, target: &Cloud) -> Result<f64, TransportError> {
    if source.weights().is_some() || target.weights().is_some() {
        return Err(TransportError::Weighted);
    }
    if source.dim() != target.dim() {
        return Err(TransportError::Dimensions { source_dim: source.dim(), target_dim: target.dim() });
    }
    let (n, m) = (source.len(), target.len());
    if n != m {
        return Err(TransportError::UnequalSizes { n, m });
    }
    if n > LARGEST {
        return Err(TransportError::TooMany { n, limit: LARGEST });
    }
    let cost: Vec<f64> = source.rows().flat_map(|x| target.rows().map(|y| squared_distance(x, y).sqrt())).collect();
    if !cost.iter().all(|&c| c <= LARGEST_COST) {
        return Err(TransportError::Overflow);
    }
    let (_, partner) = lsap::solve(n, n, &reduced(cost.clone(), n), false).map_err(|_| TransportError::Overflow)?;
    Ok(partner.iter().enumerate().map(|(i, j)| cost[i * n + j]).sum::<f64>() / n as f64)
}

/// The optimal assignment between row-major points of dimension `dim`.
pub(crate) fn assign_points(source: &[f64], target: &[f64], dim: usize) -> Result<Assignment, TransportError> {
    let (n, m) = (source.len() / dim, target.len() / dim);
    if n != m {
        return Err(TransportError::UnequalSizes { n, m });
    }
    if n > LARGEST {
        return Err(TransportError::TooMany { n, limit: LARGEST });
    }
    let columns = || target.chunks_exact(dim);
    let cost: Vec<f64> = source.chunks_exact(dim).flat_map(|x| columns().map(move |y| squared_distance(x, y))).collect();
    if !cost.iter().all(|&c| c <= LARGEST_COST) {
        return Err(TransportError::Overflow);
    }
    // Finite costs of a square problem always have an optimum, so this never fails.
    let (_, partner) = lsap::solve(n, n, &reduced(cost, n), false).map_err(|_| TransportError::Overflow)?;
    let pairs = source.chunks_exact(dim).zip(&partner);
    let total: f64 = pairs.map(|(x, &j)| squared_distance(x, &target[j * dim..(j + 1) * dim])).sum();
    Ok(Assignment { partner, w2_squared: total / n as f64 })
}

/// |x−y|², in eight running sums so that it vectorises.
pub(crate) fn squared_distance(x: &[f64], y: &[f64]) -> f64 {
    let (x_blocks, x_rest) = x.as_chunks::<8>();
    let (y_blocks, y_rest) = y.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in x_blocks.iter().zip(y_blocks) {
        for (sum, (p, q)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += (p - q) * (p - q);
        }
    }
    let rest: f64 = x_rest.iter().zip(y_rest).map(|(p, q)| (p - q) * (p - q)).sum();
    sums.iter().sum::<f64>() + rest
}

/// The costs minus u_i + v_j, all ≥ 0, with v the prices of rounds of auction at falling increments.
fn reduced(mut cost: Vec<f64>, n: usize) -> Vec<f64> {
    let largest = cost.iter().copied().fold(0.0, f64::max);
    // Of n costs spread over all rows and columns; their exact median would cost more than it saves.
    let mut some: Vec<f64> = cost.iter().copied().step_by(n + 3).collect();
    let middle = some.len() / 2;
    let (_, median, _) = some.select_nth_unstable_by(middle, f64::total_cmp);
    let last = (LAST_INCREMENT * *median).max(LEAST_INCREMENT * largest);
    let mut price = vec![0.0; n];
    let mut increment = FIRST_INCREMENT * largest;
    while increment > last {
        auction(&cost, &mut price, increment);
        increment *= INCREMENT_FACTOR;
    }
    for row in cost.chunks_exact_mut(n) {
        row.iter_mut().zip(&price).for_each(|(c, v)| *c -= v);
        let least = row.iter().copied().fold(f64::INFINITY, f64::min);
        row.iter_mut().for_each(|c| *c -= least);
    }
    cost
}

/// One round of auction: every row without a column bids for its best one, c_ij − v_j least, and lowers v_j by its lead over the
/// second best plus `increment`, until all have one. Afterwards each row holds a column within `increment` of its best.
fn auction(cost: &[f64], price: &mut [f64], increment: f64) {
    let n = price.len();
    let mut holder = vec![None; n];
    let mut waiting: Vec<usize> = (0..n).rev().collect();
    while let Some(i) = waiting.pop() {
        let (mut best, mut second, mut chosen) = (f64::INFINITY, f64::INFINITY, 0);
        for (j, (c, v)) in cost[i * n..(i + 1) * n].iter().zip(&*price).enumerate() {
            let value = c - v;
            if value < best {
                (best, second, chosen) = (value, best, j);
            } else if value < second {
                second = value;
            }
        }
        let lead = if second.is_finite() { second - best } else { 0.0 };
        price[chosen] -= lead + increment;
        waiting.extend(holder[chosen].replace(i));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Philox, Stream};

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
        assert_eq!(assign(&cloud(2049, 1), &cloud(2049, 1)), Err(TransportError::TooMany { n: 2049, limit: 2048 }));
        let weighted = cloud(3, 1).with_weights(vec![1.0; 3]).unwrap();
        assert_eq!(assign(&weighted, &cloud(3, 1)), Err(TransportError::Weighted));
        let far = Cloud::new(vec![-1e200, 1e200], 1).unwrap();
        assert_eq!(assign(&far, &cloud(2, 1)), Err(TransportError::Overflow));
    }
}
