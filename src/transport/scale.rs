//! The cost that a default ε is a share of: how far apart points lie within the clouds, whatever lies between these.
//!
//! ```text
//! c₀ = ½ (T(x, x′) + T(y, y′))
//! ```
//!
//! T is the mean of the smallest 90 % of c over a seeded sample of pairs of distinct points within one cloud, drawn by weight. A shift
//! of one cloud against the other, which changes no plan, changes no T either; up to 5 % of outliers, which take part in less than
//! 10 % of the pairs, hardly do. Points at equal coordinates are one point of their weights' sum: repeated points have the T of
//! weighted ones.

use std::fmt;

use rayon::prelude::*;

use crate::measure::Cloud;
use crate::random::{Philox, Stream};
use crate::transport::LabelCost;
use crate::transport::cost::GroundCost;

/// Pairs in a sample.
const PAIRS: u32 = 65_536;
/// The share of a sample, its least costs, that T is the mean of.
const KEPT: f64 = 0.9;

/// c₀, and what it is the mean of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostScale {
    /// c₀ in units of c, above zero unless costs are negative.
    pub value: f64,
    /// Where it comes from.
    pub of: ScaleOf,
    /// T of source and target.
    pub within: [f64; 2],
}

impl CostScale {
    /// ε over c₀ of a plan or a map, where nothing says otherwise.
    pub const PLAN: f64 = 0.05;
    /// ε over c₀ of a barycenter.
    pub const BARYCENTER: f64 = 0.01;
    /// ε over c₀ of pairs to train on. Compared with a plan at 0.001 it gives up 1 % (8gaussians) and 4 % (digits) of what a plan can take
    /// off the floor of the CFM loss, where 0.05 gives up 8 % and 54 %; it takes four times as long as 0.05, once for a whole training.
    pub const PAIRS: f64 = 0.005;

    /// c₀ with the costs of classes beside those of the points: their mean over independent pairs above the least of them, which a
    /// plan pays whatever it does.
    pub fn with_classes(self, labels: &LabelCost, source: &Cloud, target: &Cloud) -> Self {
        let least = labels.table.iter().copied().fold(f64::INFINITY, f64::min);
        let classes = labels.mean(source, target) - least;
        let within = self.within.map(|within| if within > 0.0 { within + classes } else { within });
        match self.of {
            _ if !(classes > 0.0 && classes.is_finite()) => self,
            ScaleOf::Nothing => Self { value: classes, of: ScaleOf::Between, within },
            _ => Self { value: self.value + classes, within, ..self },
        }
    }
}

/// Where a [`CostScale`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleOf {
    /// The costs within the clouds.
    Within,
    /// The costs between the clouds: within each there is none above zero.
    Between,
    /// Nothing: no cost is above zero, and every ε has the same plan.
    Nothing,
}

impl fmt::Display for ScaleOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Within => "the mean cost within the clouds",
            Self::Between => "the mean cost between the clouds, as there is none within them",
            Self::Nothing => "1, as all costs are 0",
        })
    }
}

impl GroundCost {
    /// T of `cloud`, in units of c; where the smallest 90 % are all zero the mean of all pairs, and 0 of a single point.
    pub fn within(&self, cloud: &Cloud, seed: u32) -> f64 {
        let places = Places::new(cloud);
        let philox = Philox::new(seed, Stream::Metric);
        let pair = |k: u32| places.pair([philox.uniform(k, 0, 0), philox.uniform(k, 0, 1)]);
        let (mut x, mut y) = (vec![0.0; cloud.dim()], vec![0.0; cloud.dim()]);
        let mut cost = |[i, j]: [usize; 2]| self.between(cloud.row_in(i, &mut x), cloud.row_in(j, &mut y));
        let mut costs: Vec<f64> = (0..PAIRS).filter_map(pair).map(&mut cost).collect();
        if costs.is_empty() {
            return 0.0;
        }
        let mean = |costs: &[f64]| costs.iter().sum::<f64>() / costs.len() as f64;
        let kept = ((KEPT * costs.len() as f64) as usize).max(1);
        costs.select_nth_unstable_by(kept - 1, f64::total_cmp);
        match mean(&costs[..kept]) {
            0.0 => mean(&costs),
            trimmed => trimmed,
        }
    }

    /// c₀ of `source` and `target`: ½ (T + T′); both zero, the mean between the clouds; that zero too, 1.
    pub fn scale(&self, source: &Cloud, target: &Cloud, seed: u32) -> CostScale {
        let of_source = self.within(source, seed);
        let of_target = if source == target { of_source } else { self.within(target, seed) };
        let (mean, within) = (0.5 * of_source + 0.5 * of_target, [of_source, of_target]);
        if mean != 0.0 {
            return CostScale { value: mean, of: ScaleOf::Within, within };
        }
        match self.mean(source, target, seed) {
            0.0 => CostScale { value: 1.0, of: ScaleOf::Nothing, within },
            between => CostScale { value: between, of: ScaleOf::Between, within },
        }
    }
}

/// The places at which a cloud has mass, in the order of their coordinates.
struct Places {
    /// A point at each.
    point: Vec<usize>,
    /// Their masses, added up.
    cumulative: Vec<f64>,
    /// The quantiles of (mass at the place) × (mass elsewhere): the law of one of two points at different places.
    apart: Vec<f64>,
}

impl Places {
    fn new(cloud: &Cloud) -> Self {
        let order = |i: &usize, j: &usize| cloud.compare(*i, *j);
        let mut points: Vec<usize> = (0..cloud.len()).filter(|&i| cloud.weight(i) > 0.0).collect();
        points.par_sort_by(order);
        let places: Vec<(usize, f64)> = points
            .chunk_by(|i, j| order(i, j).is_eq())
            .map(|place| (place[0], place.iter().map(|&i| cloud.weight(i)).sum()))
            .collect();
        let total: f64 = places.iter().map(|(_, mass)| mass).sum();
        let sums = |masses: &mut dyn Iterator<Item = f64>| {
            let sum = |sum: &mut f64, mass: f64| {
                *sum += mass;
                Some(*sum)
            };
            masses.scan(0.0, sum).collect::<Vec<f64>>()
        };
        Self {
            cumulative: sums(&mut places.iter().map(|(_, mass)| *mass)),
            apart: sums(&mut places.iter().map(|(_, mass)| mass * (total - mass).max(0.0))),
            point: places.into_iter().map(|(point, _)| point).collect(),
        }
    }

    /// Two points at different places, by their masses, at `quantiles`; none where there is one place.
    fn pair(&self, [first, second]: [f64; 2]) -> Option<[usize; 2]> {
        let last = self.point.len().checked_sub(1).filter(|last| *last > 0)?;
        let place = |sums: &[f64], at: f64| sums.partition_point(|sum| *sum <= at).min(last);
        let i = place(&self.apart, first * self.apart[last]);
        // The second avoids the first's share of the masses.
        let before = if i == 0 { 0.0 } else { self.cumulative[i - 1] };
        let at = second * (self.cumulative[last] - (self.cumulative[i] - before));
        let j =
            if at < before { place(&self.cumulative, at) } else { place(&self.cumulative, at + (self.cumulative[i] - before)) };
        // Rounding may leave the second on the edge of the first.
        let j = if j != i {
            j
        } else if i == last {
            i - 1
        } else {
            i + 1
        };
        Some([self.point[i], self.point[j]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Cost;

    const C: GroundCost = GroundCost::Known(Cost::HalfSquaredEuclidean);

    /// n points of N(0, I) in dimension d.
    fn normals(n: usize, d: usize, step: u32) -> Vec<f64> {
        let philox = Philox::new(0, Stream::Source);
        let mut row = vec![0f32; d];
        let point = |i: usize| {
            philox.normals(i as u32, step, 0, &mut row);
            row.iter().map(|x| f64::from(*x)).collect::<Vec<_>>()
        };
        (0..n).flat_map(point).collect()
    }

    fn cloud(points: Vec<f64>, d: usize) -> Cloud {
        Cloud::new(points, d).unwrap()
    }

    fn assert_near(found: f64, expected: f64, share: f64) {
        assert!((found / expected - 1.0).abs() < share, "{found} for {expected}");
    }

    /// In the plane ½|x−x′|² of normals is exponential of mean 2, whose smallest 90 % have the mean 2 (1 − 0.1 (1 + ln 10)/0.9 …):
    /// ∫₀^q t e^{−t} dt/0.9 with e^{−q} = 0.1, times 2.
    #[test]
    fn t_of_normals_in_the_plane_is_the_trimmed_mean_of_an_exponential() {
        let trimmed = (1.0 - 0.1 * (1.0 + 10f64.ln())) / 0.9;
        assert_near(C.within(&cloud(normals(4000, 2, 0), 2), 0), 2.0 * trimmed, 0.03); // the points vary by 1/√4000 a coordinate
    }

    #[test]
    fn a_shift_of_a_cloud_changes_nothing() {
        let (x, y) = (normals(400, 3, 0), normals(300, 3, 1));
        let at = |shift: f64| C.scale(&cloud(x.clone(), 3), &cloud(y.iter().map(|y| y + shift).collect(), 3), 0);
        let here = at(0.0);
        assert_eq!(here.of, ScaleOf::Within);
        for shift in [30.0, -1e6] {
            assert_near(at(shift).value, here.value, 1e-9); // coordinates of 1e6 have rounding errors of 1e-10
        }
    }

    #[test]
    fn one_in_twenty_outliers_changes_little() {
        let clean = C.within(&cloud(normals(1000, 2, 0), 2), 0);
        for far in [1e2, 1e4, 1e6] {
            let mut points = normals(1000, 2, 0);
            points[..100].iter_mut().for_each(|x| *x += far);
            // What is kept of the clean pairs is 0.9 of 0.9025 of all, so next to none of them are trimmed.
            let found = C.within(&cloud(points, 2), 0);
            assert!(found > clean && found < 1.4 * clean, "{found} beside {clean}");
        }
    }

    #[test]
    fn weights_and_repeated_points_have_the_same_scale_in_any_order() {
        let points = normals(50, 2, 0);
        let times: Vec<usize> = (0..50).map(|i| 1 + i % 4 + if i == 7 { 100 } else { 0 }).collect();
        let weighted = cloud(points.clone(), 2).with_weights(times.iter().map(|&k| k as f64).collect()).unwrap();
        let repeat = |i: usize| std::iter::repeat_n(&points[2 * i..2 * i + 2], times[i]);
        let repeated: Vec<&[f64]> = (0..50).flat_map(repeat).collect();
        let backwards = repeated.iter().rev().copied();
        let [t, u, v] = [weighted, cloud(repeated.concat(), 2), cloud(backwards.collect::<Vec<_>>().concat(), 2)]
            .map(|cloud| C.within(&cloud, 0));
        // Sums of weights round in another order, so that a draw at an edge may fall to its neighbour.
        assert_near(u, t, 1e-3);
        assert_near(v, t, 1e-3);
    }

    /// Two clusters of 50 and 50, three of 75, 15 and 10 % at distance 10: pairs of different clusters are 50 % and 40.5 %, of which
    /// all but 10 % of the sample stay.
    #[test]
    fn clusters_count_the_pairs_between_them_that_are_not_trimmed() {
        let sizes: [&[usize]; 2] = [&[500, 500], &[750, 150, 100]];
        for sizes in sizes {
            let mut points = normals(1000, 2, 0).iter().map(|x| 0.01 * x).collect::<Vec<_>>();
            let labels = sizes.iter().enumerate().flat_map(|(k, &n)| std::iter::repeat_n(k, n));
            for (point, label) in points.chunks_exact_mut(2).zip(labels) {
                // The corners of an equilateral triangle of side 10.
                let corner = [[0.0, 0.0], [10.0, 0.0], [5.0, 75f64.sqrt()]][label];
                point.iter_mut().zip(corner).for_each(|(x, c)| *x += c);
            }
            let apart = 1.0 - sizes.iter().map(|&n| (n as f64 / 1000.0).powi(2)).sum::<f64>();
            let distinct = apart / (1.0 - 1e-3);
            assert_near(C.within(&cloud(points, 2), 0), 50.0 * (distinct - 0.1) / 0.9, 0.02);
        }
    }

    #[test]
    fn one_hot_points_are_at_distance_one_of_each_other() {
        let d = 10;
        let hot: Vec<f64> = (0..200).flat_map(|i| (0..d).map(move |k| if k == i % d { 1.0 } else { 0.0 })).collect();
        assert_eq!(C.within(&cloud(hot, d), 0), 1.0);
    }

    /// Where the smallest nine tenths are zero, T is the mean of all: under a cost that does not see most differences.
    #[test]
    fn a_trimmed_mean_of_zero_is_replaced_by_the_whole() {
        let jump = |x: &[f64], y: &[f64]| if (x[0] < 0.0) == (y[0] < 0.0) { 0.0 } else { 3.0 };
        let points: Vec<f64> = (-1..99).map(f64::from).collect();
        assert_near(GroundCost::given(jump).within(&cloud(points, 1), 0), 3.0 * 0.02, 0.1); // 1,300 such pairs: 3 %
    }

    #[test]
    fn clouds_of_one_place_are_measured_by_what_lies_between_them() {
        let one = cloud(vec![1.0, 2.0], 2);
        let three = cloud([1.0, 2.0].repeat(3), 2);
        let other = cloud(vec![1.0, 5.0], 2);
        assert_eq!(C.scale(&one, &three, 0), CostScale { value: 1.0, of: ScaleOf::Nothing, within: [0.0; 2] });
        assert_near(C.scale(&three, &other, 0).value, 4.5, 1e-12);
        assert_eq!(C.scale(&three, &other, 0).of, ScaleOf::Between);
        // One spread end is enough, and counts half.
        let pair = cloud(vec![0.0, 0.0, 4.0, 0.0], 2);
        assert_eq!(C.scale(&pair, &one, 0), CostScale { value: 4.0, of: ScaleOf::Within, within: [8.0, 0.0] });
        // A point without mass does not count as a place.
        assert_eq!(C.within(&pair.with_weights(vec![1.0, 0.0]).unwrap(), 0), 0.0);
    }
}
