//! Exact optimal transport on the line: the quantile coupling of two weighted clouds of any sizes.
//!
//! ```text
//! W_p^p = ∫₀¹ |F⁻¹(q) − G⁻¹(q)|^p dq
//! ```
//!
//! The monotone plan is optimal for every convex cost at once (Santambrogio 2015, theorem 2.9), here W₁ for |x−y| and W₂² for
//! |x−y|². Sorting dominates: O((n + m) log(n + m)), at most n + m − 1 pairs. Masses are whole numbers of units, so shares that are
//! equal in both clouds end at the same level, and no rounding of a sum moves mass to a far point.
//!
//! Its pairs are a staircase through the matrix of all pairs, and φ = ½x² − f, ψ = ½y² − g with φ_i + ψ_j = x_i y_j on every stair
//! are convex functions with the slopes T(x) and T⁻¹(y), so that φ_i + ψ_j ≥ x_i y_j everywhere: f and g are optimal.

use crate::measure::Cloud;
use crate::transport::exact::{NEGLIGIBLE, in_input_coordinates, units};
use crate::transport::{PlanEntry, Potentials, TransportError};

/// The monotone plan between two clouds on the line.
#[derive(Clone, Debug, PartialEq)]
pub struct LinePlan {
    /// The plan in order of x and of y.
    pub pairs: Vec<PlanEntry>,
    /// W₁ = Σ P_ij |x_i − y_j|.
    pub w1: f64,
    /// W₂² = Σ P_ij |x_i − y_j|².
    pub w2_squared: f64,
    /// The barycentric map Σ_j P_ij y_j / a_i, in the order of the source; a point without mass goes to the target at its quantile.
    pub map: Vec<f64>,
    /// f and g for c = ½|x−y|², with f_i + g_j ≤ c_ij, and equality on the pairs of the plan, up to rounding; Σ_j b_j g_j = 0.
    pub potentials: Potentials,
}

impl LinePlan {
    /// The optimal plan from `source` to `target`, both of dimension one.
    ///
    /// # Errors
    /// [`TransportError::NotALine`] when a cloud has another dimension.
    pub fn new(source: &Cloud, target: &Cloud) -> Result<Self, TransportError> {
        if let Some(dim) = [source.dim(), target.dim()].into_iter().find(|&dim| dim != 1) {
            return Err(TransportError::NotALine { dim });
        }
        let (a, b) = units(source, target);
        let (from, to) = (Quantiles::new(source, &a), Quantiles::new(target, &b));
        let (n, last) = (source.len(), target.len() - 1);
        let potentials = potentials((source, &from), (target, &to));
        let total = from.levels[n - 1] as f64;
        let mut plan = Self { pairs: Vec::with_capacity(n + last), w1: 0.0, w2_squared: 0.0, map: vec![0.0; n], potentials };
        let (mut i, mut j, mut level, mut start) = (0, 0, 0, 0);
        while i < n {
            let (row, column) = (from.order[i], to.order[j]);
            let (x, y) = (source.points()[row], target.points()[column]);
            let (until, target_until) = (from.levels[i], to.levels[j]);
            let reached = until.min(target_until);
            let units = reached - level;
            let mass = units as f64 / total;
            if units as f64 > NEGLIGIBLE * a[row].min(b[column]) as f64 {
                plan.pairs.push(PlanEntry { source: row, target: column, mass });
                plan.w1 += mass * (x - y).abs();
                plan.w2_squared += mass * (x - y).powi(2);
            }
            plan.map[row] += if until > start { units as f64 / (until - start) as f64 * y } else { y };
            level = reached;
            if until == reached {
                (i, start) = (i + 1, reached);
            }
            if target_until == reached && j < last {
                j += 1;
            }
        }
        Ok(plan)
    }
}

/// Walks down the stairs: one point on, at the slope that its partner is.
fn potentials((source, from): (&Cloud, &Quantiles), (target, to): (&Cloud, &Quantiles)) -> Potentials {
    let (origin, target_origin) = (source.mean(), target.mean());
    let (x, y) = (source.relative_to(&origin), target.relative_to(&target_origin));
    let (mut f, mut g) = (vec![0.0; x.len()], vec![0.0; y.len()]);
    let (mut i, mut j) = (0, 0);
    let (mut phi, mut psi) = (0.0, x[from.order[0]] * y[to.order[0]]);
    loop {
        let (row, column) = (from.order[i], to.order[j]);
        (f[row], g[column]) = (0.5 * x[row] * x[row] - phi, 0.5 * y[column] * y[column] - psi);
        let (last_row, last_column) = (i + 1 == x.len(), j + 1 == y.len());
        if last_row && last_column {
            break;
        }
        if last_column || (!last_row && from.levels[i] <= to.levels[j]) {
            i += 1;
            phi += (x[from.order[i]] - x[row]) * y[column];
        } else {
            j += 1;
            psi += (y[to.order[j]] - y[column]) * x[row];
        }
    }
    in_input_coordinates(Potentials { f, g }, (&x, &y), (&origin, &target_origin), target)
}

/// The points of a cloud in increasing order, and the units of mass up to and including each.
struct Quantiles {
    order: Vec<usize>,
    levels: Vec<i64>,
}

impl Quantiles {
    fn new(cloud: &Cloud, mass: &[i64]) -> Self {
        let mut order: Vec<usize> = (0..cloud.len()).collect();
        order.sort_by(|&i, &j| cloud.points()[i].total_cmp(&cloud.points()[j]));
        let mut sum = 0;
        let add = |&i: &usize| {
            sum += mass[i];
            sum
        };
        let levels = order.iter().map(add).collect();
        Self { order, levels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cloud(points: &[f64], weights: &[f64]) -> Cloud {
        Cloud::new(points.to_vec(), 1).unwrap().with_weights(weights.to_vec()).unwrap()
    }

    #[test]
    fn a_plan_between_weighted_clouds_has_their_marginals() {
        let (a, b) = ([0.1, 0.0, 0.4, 0.2, 0.3], [0.25, 0.5, 0.0, 0.25]);
        let source = cloud(&[3.0, -5.0, -1.0, 0.5, 2.0], &a);
        let target = cloud(&[1.0, 4.0, 0.0, -2.0], &b);
        let plan = LinePlan::new(&source, &target).unwrap();
        let (mut rows, mut columns) = ([0.0; 5], [0.0; 4]);
        for pair in &plan.pairs {
            rows[pair.source] += pair.mass;
            columns[pair.target] += pair.mass;
        }
        // Masses are differences of sums, each within a few units in the last place of one.
        assert!(rows.iter().zip(a).all(|(x, y)| (x - y).abs() < 1e-15));
        assert!(columns.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-15));
        assert!(plan.pairs.len() < a.len() + b.len());
        // By hand, in order: -1 takes .25 of -2 and .15 of 1; .5 takes .1 of 1 … the rest of the mass in the same manner.
        let by_hand = [(-1.0, -2.0, 0.25), (-1.0, 1.0, 0.15), (0.5, 1.0, 0.1), (0.5, 4.0, 0.1), (2.0, 4.0, 0.3), (3.0, 4.0, 0.1)];
        let w2: f64 = by_hand.iter().map(|(x, y, p): &(f64, f64, f64)| p * (x - y).powi(2)).sum();
        let w1: f64 = by_hand.iter().map(|(x, y, p): &(f64, f64, f64)| p * (x - y).abs()).sum();
        assert!((plan.w2_squared - w2).abs() < 1e-14 && (plan.w1 - w1).abs() < 1e-14);
        // The point without mass sits at quantile 0, whose target is the least with mass.
        let map = [4.0, -2.0, (0.25 * -2.0 + 0.15) / 0.4, 2.5, 4.0];
        assert!(plan.map.iter().zip(map).all(|(x, y)| (x - y).abs() < 1e-14), "{:?}", plan.map);
    }

    #[test]
    fn splitting_every_point_in_three_changes_nothing() {
        let points = [0.3, -1.2, 5.0, 2.2, 2.2];
        let thrice: Vec<f64> = points.iter().flat_map(|&x| [x; 3]).collect();
        let (one, three) = (Cloud::new(points.to_vec(), 1).unwrap(), Cloud::new(thrice, 1).unwrap());
        let plan = LinePlan::new(&one, &three).unwrap();
        assert_eq!((plan.w1, plan.w2_squared), (0.0, 0.0));
        assert_eq!(plan.pairs.len(), 15);
        assert!(plan.map.iter().zip(points).all(|(x, y)| (x - y).abs() < 1e-15));
    }

    /// f_i + g_j ≤ ½(x_i − y_j)² for all pairs, with equality where mass moves: ties, repeated points, weights of zero, and an offset.
    #[test]
    fn the_potentials_are_feasible_and_complementary() {
        let weights = [0.1, 0.0, 0.4, 0.2, 0.3, 0.0];
        for offset in [0.0, 1e4] {
            let at = |points: &[f64]| points.iter().map(|x| x + offset).collect::<Vec<f64>>();
            let source = cloud(&at(&[3.0, -5.0, -1.0, 0.5, 2.0, 9.0]), &weights);
            let targets = [
                cloud(&at(&[1.0, 4.0, 0.0, -2.0, 7.0]), &[0.25, 0.5, 0.0, 0.25, 0.0]),
                cloud(&[3.0, -5.0, -1.0, 0.5, 2.0, 9.0], &weights),
                cloud(&at(&[2.0, 2.0, -1.0, 2.0]), &[0.2, 0.3, 0.4, 0.1]),
                cloud(&at(&[0.5]), &[1.0]),
            ];
            for target in &targets {
                let plan = LinePlan::new(&source, target).unwrap();
                let Potentials { f, g } = &plan.potentials;
                let distance = |i: usize, j: usize| (source.points()[i] - target.points()[j]).abs();
                let slack = |i: usize, j: usize| 0.5 * distance(i, j).powi(2) - f[i] - g[j];
                // A dozen terms of the size of the costs, and of coordinates that are rounded about their means.
                let farthest =
                    (0..6).flat_map(|i| (0..target.len()).map(move |j| (i, j))).map(|(i, j)| distance(i, j)).fold(0.0, f64::max);
                let rounding = 32.0 * f64::EPSILON * farthest * (farthest + offset);
                assert!((0..6).all(|i| (0..target.len()).all(|j| slack(i, j) > -rounding)));
                assert!(plan.pairs.iter().all(|pair| slack(pair.source, pair.target).abs() < rounding));
                let dual: f64 = f.iter().zip(weights).map(|(f, a)| f * a).sum();
                let gauge: f64 = g.iter().enumerate().map(|(j, g)| target.weight(j) * g).sum();
                assert!((dual - 0.5 * plan.w2_squared).abs() < rounding && gauge.abs() < rounding);
            }
        }
    }

    #[test]
    fn points_of_the_plane_are_refused() {
        let plane = Cloud::new(vec![0.0, 1.0], 2).unwrap();
        let line = Cloud::new(vec![0.0], 1).unwrap();
        assert_eq!(LinePlan::new(&line, &plane), Err(TransportError::NotALine { dim: 2 }));
    }
}
