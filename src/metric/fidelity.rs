//! Precision and recall, density and coverage: how much of A lies where B does, and the reverse.
//!
//! With B_k(y) the closed ball around a point y of a cloud to its k-th nearest other point of that cloud, weights a_i of A and
//! b_j of B,
//!
//! ```text
//! precision = Σ_i a_i 1[x_i ∈ ∪_j B_k(y_j)]            recall   = Σ_j b_j 1[y_j ∈ ∪_i B_k(x_i)]
//! density   = Σ_i a_i #{j : x_i ∈ B_k(y_j)}/k          coverage = Σ_j b_j 1[B_k(y_j) holds some x_i]
//! ```
//!
//! (Kynkäänniemi et al. 2019, eqs. 1 and 2; Naeem et al. 2020, section 3). Between samples of one law density is 1 on average,
//! and coverage 1 − Π_{l<k} (m−1−l)/(n+m−1−l), about 1 − 2^{−k} where n = m; precision and recall are below 1 by what k and the
//! dimension leave out. They see supports and their filling, and no distance: an A just outside of B scores as one far away.
//!
//! Balls are those of the points with mass; weights enter the sums. If weights turn draws of one law into samples of another, a
//! ball of B holds the mass k b_j or so, so that density is 1 there too.
//!
//! One search of neighbours in the pooled points, O((n + m)²), then O((n + m) k) for the value, each half-sample and relabelling.

use serde::{Deserialize, Serialize};

use crate::backend::Device;
use crate::measure::Cloud;
use crate::metric::MetricError;
use crate::metric::neighbours::Neighbours;
use crate::metric::resample::{Estimate, Extreme, Sample, Units, masses, thinned};
use crate::random::{Philox, Stream};
use crate::watch::Watch;

/// Relabelled clouds differ in size by this factor at most; of a larger one a random part is taken.
const UNEVEN: usize = 8;
/// First Philox step of those parts.
const PART_STEP: u32 = (1 << 23) - 7;

/// The four shares, with their intervals and p-values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fidelity {
    /// Share of A in the balls of B.
    pub precision: Estimate,
    /// Share of B in the balls of A.
    pub recall: Estimate,
    /// Balls of B that a point of A is in, over k.
    pub density: Estimate,
    /// Share of B whose balls hold a point of A.
    pub coverage: Estimate,
}

/// Precision, recall, density and coverage of `a` against `b` by balls to the `k`-th neighbour; p-values by `permutations`
/// relabellings, none if there are none: of values as small, and for density in either tail.
///
/// # Errors
/// [`MetricError`] when the dimensions differ, a cloud has no more than k points with mass, memory runs out or the watch says
/// stop.
pub fn fidelity(
    (a, b): (&Cloud, &Cloud),
    k: usize,
    (permutations, seed): (u32, u32),
    device: &Device,
    watch: &Watch<'_>,
) -> Result<Fidelity, MetricError> {
    MetricError::same_dim(a.dim(), b.dim())?;
    let with_mass = |cloud: &Cloud| (0..cloud.len()).filter(|&i| cloud.weight(i) > 0.0).collect::<Vec<_>>();
    let clouds = [a.select(&with_mass(a))?, b.select(&with_mass(b))?];
    if let Some(points) = clouds.iter().map(Cloud::len).find(|points| *points <= k) {
        return Err(MetricError::FewNeighbours { k, points });
    }
    let pool = Pool::new(&clouds, k, device, watch)?;
    let values = pool.shares(&pool.units().labels());
    let halves = if clouds.iter().all(|cloud| cloud.len() / 2 > k) {
        pool.units().half_widths(seed, watch, |labels| pool.shares(labels))?
    } else {
        [f64::NAN; 4]
    };
    let p = if permutations == 0 { [f64::NAN; 4] } else { p_values(&pool, &clouds, (permutations, seed), device, watch)? };
    let estimate = |at: usize, most: f64| Estimate::new(values[at], halves[at], p[at], [0.0, most]);
    Ok(Fidelity {
        precision: estimate(0, 1.0),
        recall: estimate(1, 1.0),
        density: estimate(2, f64::INFINITY),
        coverage: estimate(3, 1.0),
    })
}

/// The p-values, of clouds without weights and of sizes that are not too uneven.
fn p_values(
    pool: &Pool,
    clouds: &[Cloud; 2],
    (permutations, seed): (u32, u32),
    device: &Device,
    watch: &Watch<'_>,
) -> Result<[f64; 4], MetricError> {
    let extremes = [Extreme::Small, Extreme::Small, Extreme::Both, Extreme::Small];
    let relabelled = |pool: &Pool| pool.units().p_values((permutations, seed), extremes, watch, |labels| pool.shares(labels));
    let equal = [thinned(&clouds[0], seed, 0), thinned(&clouds[1], seed, 1)];
    let most = UNEVEN * equal[0].len().min(equal[1].len());
    if equal.iter().any(|cloud| cloud.len() <= pool.k) {
        return Ok([f64::NAN; 4]);
    }
    if clouds.iter().all(|cloud| cloud.weights().is_none() && cloud.len() <= most) {
        return relabelled(pool);
    }
    let philox = Philox::new(seed, Stream::Bootstrap);
    let part = |cloud: &Cloud| cloud.uniform_at(&philox.permutation(cloud.len(), cloud.len().min(most), PART_STEP));
    relabelled(&Pool::new(&equal.each_ref().map(part), pool.k, device, watch)?)
}

/// Two clouds and their neighbours.
struct Pool {
    neighbours: Neighbours,
    k: usize,
    sizes: [usize; 2],
    /// n a_i of each point, those of A first: exactly 1 without weights.
    weights: Vec<f64>,
}

impl Pool {
    fn new(clouds: &[Cloud; 2], k: usize, device: &Device, watch: &Watch<'_>) -> Result<Self, MetricError> {
        Ok(Self {
            neighbours: Neighbours::new([&clouds[0], &clouds[1]], k, device, watch)?,
            k,
            sizes: [clouds[0].len(), clouds[1].len()],
            weights: clouds.iter().flat_map(masses).collect(),
        })
    }

    fn units(&self) -> Units {
        Units { a: self.sizes[0], b: self.sizes[1] }
    }

    /// Precision, recall, density and coverage of the points labelled A against those labelled B; NaN where one has too few.
    fn shares(&self, labels: &[Sample]) -> [f64; 4] {
        let places = self.neighbours.places();
        let mut counts = [vec![0u32; places], vec![0; places]];
        let mut masses = [vec![0.0; places], vec![0.0; places]];
        for (point, label) in labels.iter().enumerate() {
            let side = match label {
                Sample::A => 0,
                Sample::B => 1,
                Sample::Neither => continue,
            };
            counts[side][self.neighbours.place[point]] += 1;
            masses[side][self.neighbours.place[point]] += self.weights[point];
        }
        let mut balls = vec![0u32; places]; // of B, that a place is in
        let mut recalled = vec![false; places];
        let mut covered = 0.0;
        for place in 0..places {
            let (of_a, of_b) = (counts[0][place], counts[1][place]);
            let mut enough = true;
            if of_b > 0 {
                let mut holds = false;
                enough &= self.neighbours.ball(place, self.k, &counts[1], |inside| {
                    balls[inside] += of_b;
                    holds |= counts[0][inside] > 0;
                });
                covered += if holds { masses[1][place] } else { 0.0 };
            }
            if of_a > 0 {
                enough &= self.neighbours.ball(place, self.k, &counts[0], |inside| recalled[inside] = true);
            }
            if !enough {
                return [f64::NAN; 4];
            }
        }
        let [all_a, all_b] = [0, 1].map(|side| masses[side].iter().sum::<f64>());
        let sum = |side: usize, of: &dyn Fn(usize) -> f64| (0..places).map(|place| masses[side][place] * of(place)).sum::<f64>();
        [
            sum(0, &|place| f64::from(u8::from(balls[place] > 0))) / all_a,
            sum(1, &|place| f64::from(u8::from(recalled[place]))) / all_b,
            sum(0, &|place| f64::from(balls[place])) / (self.k as f64 * all_a),
            covered / all_b,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precision;

    fn uniforms(n: usize, from: f64, d: usize, seed: u32) -> Cloud {
        let philox = Philox::new(seed, Stream::Source);
        Cloud::new((0..n * d).map(|i| from + philox.uniform(i as u32, 0, 0)).collect(), d).unwrap()
    }

    fn of(a: &Cloud, b: &Cloud, k: usize, permutations: u32, seed: u32) -> Fidelity {
        fidelity((a, b), k, (permutations, seed), &Device::cpu(Precision::F32), &Watch::default()).unwrap()
    }

    /// By the definition, over all pairs.
    fn by_hand(a: &Cloud, b: &Cloud, k: usize) -> [f64; 4] {
        let squared = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
        let radii = |cloud: &Cloud| -> Vec<f64> {
            let of = |i: usize| {
                let mut all: Vec<f64> =
                    (0..cloud.len()).filter(|&j| j != i).map(|j| squared(cloud.row(i), cloud.row(j))).collect();
                all.sort_by(f64::total_cmp);
                all[k - 1]
            };
            (0..cloud.len()).map(of).collect()
        };
        let (of_a, of_b) = (radii(a), radii(b));
        let inside = |i: usize, j: usize, radii: &[f64], at: usize| squared(a.row(i), b.row(j)) <= radii[at];
        let (n, m) = (0..a.len(), 0..b.len());
        let mass = |cloud: &Cloud, chosen: &mut dyn Iterator<Item = (usize, f64)>| -> f64 {
            chosen.map(|(i, value)| cloud.weight(i) * value).sum()
        };
        let count = |i: usize| m.clone().filter(|&j| inside(i, j, &of_b, j)).count();
        [
            mass(a, &mut n.clone().map(|i| (i, f64::from(u8::from(count(i) > 0))))),
            mass(b, &mut m.clone().map(|j| (j, f64::from(u8::from(n.clone().any(|i| inside(i, j, &of_a, i))))))),
            mass(a, &mut n.clone().map(|i| (i, count(i) as f64 / k as f64))),
            mass(b, &mut m.clone().map(|j| (j, f64::from(u8::from(n.clone().any(|i| inside(i, j, &of_b, j))))))),
        ]
    }

    /// Also of weights, of points that coincide within and between the clouds, of points on a grid, whose distances tie, of sizes
    /// that differ, and of clusters so far apart that f32 cannot tell neighbours by products.
    #[test]
    fn the_four_shares_are_those_of_the_definition() {
        let twice = |cloud: &Cloud| Cloud::new([cloud.points(), &cloud.points()[..40]].concat(), cloud.dim()).unwrap();
        let rounded = |cloud: &Cloud| Cloud::new(cloud.points().iter().map(|x| (5.0 * x).round()).collect(), 2).unwrap();
        let far = |cloud: &Cloud| {
            let moved = cloud.points().iter().enumerate().map(|(i, x)| if i % 4 < 2 { x + 1e5 } else { *x });
            Cloud::new(moved.collect(), 2).unwrap()
        };
        let (a, b) = (uniforms(150, 0.3, 2, 0), uniforms(220, 0.0, 2, 1));
        let weighted =
            |cloud: &Cloud| cloud.clone().with_weights((0..cloud.len()).map(|i| (i % 4 + 1) as f64).collect()).unwrap();
        let cases = [
            (a.clone(), b.clone()),
            (twice(&a), Cloud::new([a.points(), b.points()].concat(), 2).unwrap()),
            (rounded(&a), rounded(&b)),
            (far(&a), far(&b)),
            (uniforms(9, 0.3, 2, 3), uniforms(900, 0.0, 2, 4)),
            (weighted(&a), weighted(&b)),
            (uniforms(60, 0.1, 40, 5), uniforms(50, 0.0, 40, 6)),
        ];
        for (case, (a, b)) in cases.iter().enumerate() {
            for k in [1, 5] {
                let found = of(a, b, k, 0, 0);
                let found = [found.precision, found.recall, found.density, found.coverage].map(|estimate| estimate.value);
                let expected = by_hand(a, b, k);
                let close = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12);
                assert!(close, "case {case}, k = {k}: {found:?} for {expected:?}");
            }
        }
    }

    #[test]
    fn equal_supports_score_one_disjoint_ones_zero_and_half_a_support_half_the_recall() {
        let (a, b) = (uniforms(800, 0.0, 1, 0), uniforms(800, 0.0, 1, 1));
        let same = of(&a, &a, 5, 0, 0);
        assert_eq!([same.precision.value, same.recall.value, same.coverage.value], [1.0; 3]);
        let apart = of(&uniforms(800, 9.0, 1, 0), &b, 5, 99, 0);
        assert_eq!([apart.precision, apart.recall, apart.density, apart.coverage].map(|share| share.value), [0.0; 4]);
        assert_eq!((apart.precision.p, apart.coverage.p), (Some(0.01), Some(0.01)));
        // A has the lower half of the interval: an outer half of one ball at the cut is all the rest that it recalls.
        let half = Cloud::new(a.points().iter().map(|x| 0.5 * x).collect(), 1).unwrap();
        let found = of(&half, &b, 5, 99, 0);
        assert!(found.precision.value > 0.98 && (found.recall.value - 0.5).abs() < 0.05, "{found:?}");
        assert!((found.coverage.value - 0.5).abs() < 0.05 && found.recall.p == Some(0.01), "{found:?}");
        // A point of A is in as many balls of B as a point of B.
        assert!((found.density.value - 1.0).abs() < 0.1, "{found:?}");
    }

    /// Over 60 pairs of samples of one law, each with a standard deviation of 0.03 or so.
    #[test]
    fn density_is_one_and_coverage_its_closed_form_between_samples_of_one_law() {
        let (n, m, k, pairs) = (120, 180, 3, 60);
        let expected = 1.0 - (0..k).map(|l| (m - 1 - l) as f64 / (n + m - 1 - l) as f64).product::<f64>();
        let mut mean = [0.0; 2];
        for seed in 0..pairs {
            let found = of(&uniforms(n, 0.0, 2, 2 * seed), &uniforms(m, 0.0, 2, 2 * seed + 1), k, 0, seed);
            mean[0] += found.density.value / f64::from(pairs);
            mean[1] += found.coverage.value / f64::from(pairs);
        }
        assert!((mean[0] - 1.0).abs() < 0.03 && (mean[1] - expected).abs() < 0.015, "{mean:?} for {expected}");
    }

    /// The mean over 300 other pairs of the same sizes; each of 100 intervals covers it in 90 to 98 %, to two binomial deviations
    /// (4).
    #[test]
    fn intervals_cover_what_fresh_clouds_have_on_average() {
        let pair = |seed: u32| (uniforms(150, 0.25, 2, 2 * seed), uniforms(200, 0.0, 2, 2 * seed + 1));
        let shares = |found: Fidelity| [found.precision, found.recall, found.density, found.coverage];
        let mut mean = [0.0; 4];
        for seed in 0..300 {
            let (a, b) = pair(1000 + seed);
            let pool = Pool::new(&[a, b], 5, &Device::cpu(Precision::F32), &Watch::default()).unwrap();
            let values = pool.shares(&pool.units().labels());
            mean.iter_mut().zip(values).for_each(|(mean, value)| *mean += value / 300.0);
        }
        let mut covered = [0; 4];
        for seed in 0..100 {
            let (a, b) = pair(seed);
            for ((covered, share), mean) in covered.iter_mut().zip(shares(of(&a, &b, 5, 0, seed))).zip(mean) {
                *covered += usize::from(share.interval.is_some_and(|[low, high]| (low..=high).contains(&mean)));
            }
        }
        assert!(covered.iter().all(|covered| (86..=100).contains(covered)), "{covered:?} of 100");
    }

    /// Of 200 pairs of samples p ≤ α in 200 α at most, to three binomial deviations, and of the density, which hardly ties, in as
    /// many.
    #[test]
    fn p_values_are_uniform_between_samples_of_one_law() {
        for heavy in [false, true] {
            let mut found = Vec::new();
            for seed in 0..200 {
                let (a, b) = (uniforms(60, 0.0, 2, 2 * seed), uniforms(45, 0.0, 2, 2 * seed + 1));
                // Uniform draws weighed to the density 2x₀.
                let weights = a.rows().map(|x| x[0]).collect();
                let a = if heavy { a.with_weights(weights).unwrap() } else { a };
                let tilted = b.rows().flat_map(|x| [x[0].sqrt(), x[1]]).collect();
                let b = if heavy { Cloud::new(tilted, 2).unwrap() } else { b };
                let found_here = of(&a, &b, 3, 59, seed);
                let all = [found_here.precision, found_here.recall, found_here.density, found_here.coverage];
                found.push(all.map(|share| share.p.unwrap()));
            }
            for (share, level) in (0..4).flat_map(|share| [(share, 0.1), (share, 0.5)]) {
                let below = found.iter().filter(|p| p[share] <= level + 1e-9).count() as f64;
                let deviation = (200.0f64 * level * (1.0 - level)).sqrt();
                let excess = (below - 200.0 * level) / deviation;
                assert!(excess < 3.0 && (share != 2 || excess > -3.0), "{below} of 200 at {level}, share {share}, {heavy}");
            }
        }
    }

    #[test]
    fn too_few_points_are_refused() {
        let (a, b) = (uniforms(5, 0.0, 2, 0), uniforms(9, 0.0, 2, 1));
        let refused = fidelity((&a, &b), 5, (0, 0), &Device::cpu(Precision::F32), &Watch::default());
        assert_eq!(refused, Err(MetricError::FewNeighbours { k: 5, points: 5 }));
    }
}
