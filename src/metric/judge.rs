//! The judge: what a cloud's numbers say about it, each against what chance does to an independent sample at the same sizes.
//!
//! * `below_floor`: a distance is under half its noise floor and under the 1 % quantile of independent clouds ([`Floor`]) and of
//!   12 splits of both clouds together.
//! * `collapsed`, `inflated`: the ratio of total variances is in the lower or upper 1 % tail: of a law of 999 pairs of fresh samples,
//!   of points of 999 splits of both clouds together.
//! * `memorised`: more points are as near to the training set as the nearest 1 % of held-out points than Fisher's exact test grants;
//!   or the median distance is under half that of held-out points, and the test says so of the share within their median.
//! * `mode_missing`: a mode holds under two thirds of the reference's share and less than Fisher's exact test grants, at 1 % for all
//!   modes together. Modes are the components of a mixture, or 16 clusters of one half of the points, counted in the other.
//!
//! Splits of both clouds together are exchangeable under the null, so its level is exact whatever the tails of the law. They cost
//! O(999 (n + m)); the rest is one pass of nearest neighbours.

use crate::backend::Device;
use crate::measure::{Cloud, Measure};
use crate::metric::modes::Modes;
use crate::metric::nearest::{distances, quantile};
use crate::metric::null::{LEVEL, at_most, ratios, spread, tails};
use crate::metric::{Flag, Floor, Law, MetricError, Reading, Ruler};
use crate::random::Stream;
use crate::watch::Watch;

/// Samples whose median distance to the training set is under this share of that of held-out points were memorised.
const MEMORISED: f64 = 0.5;
/// A mode with less than this share of its mass is missing.
const MISSING: f64 = 2.0 / 3.0;
/// Draws that stand for a law: for its spread at most, at once, and their first Philox step.
const DRAWS: usize = 1 << 16;
const AT_ONCE: usize = 1 << 12;
const DRAW_STEP: u32 = 1 << 20;

/// What clouds are judged by.
#[derive(Clone, Debug)]
pub struct Judge {
    ruler: Ruler,
    floor: Floor,
    /// Ratios of the variances of two samples of a law, sorted; none of points.
    ratios: Option<Vec<f64>>,
    /// Modes, the reference's mass in each, and the effective number of points behind it.
    modes: Option<(Modes, Vec<f64>, f64)>,
    training: Option<Training>,
}

/// A training set, and how far held-out points lie from it.
#[derive(Clone, Debug)]
struct Training {
    points: Cloud,
    heldout: Cloud,
    distances: Vec<f64>,
}

/// What a judge says of a cloud.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Flags, in the order of [`Flag`].
    pub flags: Vec<Flag>,
    /// Median distance of the cloud's points to the training set.
    pub nn_train: Option<f64>,
    /// Share of the cloud's points as near to the training set as the nearest 1 % of held-out points.
    pub memorised_share: Option<f64>,
}

impl Judge {
    /// A judge of clouds with as many points as `like`, against the reference of `ruler`, drawn from `law`.
    pub fn new(ruler: &Ruler, floor: Floor, law: &Law, like: &Cloud) -> Self {
        let (seed, reference) = (ruler.seed, &ruler.reference);
        let mut judge = Self { ruler: ruler.clone(), floor, ratios: None, modes: None, training: None };
        if let Law::Draws(measure) = law {
            let draws = (4 * (like.len() + reference.len())).min(DRAWS);
            let parts = (0..draws.div_ceil(AT_ONCE)).map(|k| DRAW_STEP + k as u32);
            let pool: Vec<f64> =
                parts.flat_map(|step| spread(&measure.sample(AT_ONCE, seed, Stream::Metric, step), seed)).collect();
            let sizes = [like, reference].map(|cloud| cloud.effective_len().round() as usize);
            judge.ratios = Some(ratios(&pool, sizes[0], sizes[1], seed));
            match measure {
                Measure::Law(mixture) if mixture.components().len() > 1 => {
                    judge.modes = Some(counted(Modes::Components(mixture.clone()), reference));
                }
                Measure::Shape(_) => {
                    let drawn = measure.sample(reference.len(), seed, Stream::Metric, DRAW_STEP - 1);
                    judge = judge.with_clusters(&drawn, reference);
                }
                _ => {}
            }
        }
        judge
    }

    /// With the modes of `points`, and of `counted`, an independent part of the same set, the share of each.
    pub fn with_clusters(self, points: &Cloud, counted_in: &Cloud) -> Self {
        let modes = Modes::of_points(points, self.ruler.seed).map(|modes| counted(modes, counted_in));
        Self { modes, ..self }
    }

    /// With a training set, and points of the same law that were held out.
    ///
    /// # Errors
    /// [`MetricError`] when the dimensions differ or memory runs out.
    pub fn with_training(self, points: &Cloud, heldout: &Cloud, device: &Device) -> Result<Self, MetricError> {
        let distances = distances(heldout, points, device)?;
        let (points, heldout) = (points.clone(), heldout.clone());
        Ok(Self { training: Some(Training { points, heldout, distances }), ..self })
    }

    /// Median distance of a held-out point to the training set.
    pub fn nn_heldout(&self) -> Option<f64> {
        self.training.as_ref().map(|training| quantile(&training.distances, &training.heldout, 0.5))
    }

    /// Judges `cloud`, of which the ruler says `reading`. A number that is not finite sets [`Flag::NotFinite`] and is not judged.
    ///
    /// # Errors
    /// [`MetricError`] when the dimensions differ or memory runs out.
    pub fn judge(&self, cloud: &Cloud, reading: &Reading, device: &Device) -> Result<Verdict, MetricError> {
        self.judge_watched(cloud, reading, device, Watch::default())
    }

    /// [`Judge::judge`], with `watch` told of each iteration.
    ///
    /// # Errors
    /// As [`Judge::judge`], and when the watch says stop.
    pub fn judge_watched(
        &self,
        cloud: &Cloud,
        reading: &Reading,
        device: &Device,
        watch: Watch<'_>,
    ) -> Result<Verdict, MetricError> {
        let mean = self.floor.mean;
        let (smaller, larger) = self.variance_tails(cloud, reading.variance_ratio);
        let (nn_train, memorised_share, memorised) = match &self.training {
            Some(training) => {
                let (nn_train, share, memorised) = training.judge(cloud, device)?;
                (Some(nn_train), Some(share), memorised)
            }
            None => (None, None, false),
        };
        let numbers =
            [mean.divergence, mean.w2_squared_exact, reading.divergence, reading.w2_squared_exact, reading.variance_ratio];
        let raised = [
            (Flag::BelowFloor, self.ruler.too_close(cloud, reading, &self.floor, device, watch)?),
            (Flag::Collapsed, smaller <= LEVEL),
            (Flag::Inflated, larger <= LEVEL),
            (Flag::Memorised, memorised),
            (Flag::ModeMissing, self.misses_a_mode(cloud)),
            (Flag::NotFinite, !numbers.into_iter().chain(nn_train).all(f64::is_finite)),
        ];
        let flags = raised.into_iter().filter_map(|(flag, set)| set.then_some(flag)).collect();
        Ok(Verdict { flags, nn_train, memorised_share })
    }

    /// The chances of a ratio of total variances as small as `found` and of one as large.
    fn variance_tails(&self, cloud: &Cloud, found: f64) -> (f64, f64) {
        if !found.is_finite() {
            return (1.0, 1.0);
        }
        if let Some(ratios) = &self.ratios {
            return tails(ratios, found);
        }
        let seed = self.ruler.seed;
        let [own, reference] = [cloud, &self.ruler.reference].map(|cloud| spread(cloud, seed));
        tails(&ratios(&[&own[..], &reference].concat(), own.len(), reference.len(), seed), found)
    }

    /// Whether a mode of the reference has too few of the cloud's points.
    fn misses_a_mode(&self, cloud: &Cloud) -> bool {
        let Some((modes, expected, size)) = &self.modes else { return false };
        let shares = modes.shares(cloud);
        let (n, m) = (cloud.effective_len(), *size);
        let count = |share: f64, size: f64| (share * size).round() as usize;
        let missing = |(found, expected): (&f64, &f64)| {
            let (own, others) = (count(*found, n), count(*expected, m));
            let chance = at_most(own, own + others, count(1.0, n), count(1.0, n) + count(1.0, m));
            *found < MISSING * expected && chance * (shares.len() as f64) < LEVEL
        };
        shares.iter().zip(expected).any(missing)
    }
}

/// `modes` with the mass of `reference` in each.
fn counted(modes: Modes, reference: &Cloud) -> (Modes, Vec<f64>, f64) {
    let shares = modes.shares(reference);
    (modes, shares, reference.effective_len())
}

impl Training {
    /// The median distance of `cloud` to the training set, the share of it that is as near as the nearest 1 % of held-out points,
    /// and whether either is more than chance explains.
    fn judge(&self, cloud: &Cloud, device: &Device) -> Result<(f64, f64, bool), MetricError> {
        let own = distances(cloud, &self.points, device)?;
        let [n, m] = [cloud, &self.heldout].map(|cloud| cloud.effective_len().round());
        // The share of the cloud within the held-out points' quantile `level`, and the chance of as many.
        let within = |level: f64| {
            let near = quantile(&self.distances, &self.heldout, level);
            let share = |distances: &[f64], cloud: &Cloud| -> f64 {
                // An empty sum is −0.
                (0..distances.len()).filter(|&i| distances[i] <= near).map(|i| cloud.weight(i)).fold(0.0, |sum, a| sum + a)
            };
            let (found, expected) = (share(&own, cloud), share(&self.distances, &self.heldout));
            let (copies, others) = ((found * n).round() as usize, (expected * m).round() as usize);
            (found, at_most(others, copies + others, m as usize, (n + m) as usize))
        };
        let [median, heldout] = [(&own, cloud), (&self.distances, &self.heldout)].map(|(all, cloud)| quantile(all, cloud, 0.5));
        let ((share, chance), (_, of_median)) = (within(LEVEL), within(0.5));
        Ok((median, share, chance < LEVEL || (median < MEMORISED * heldout && of_median < LEVEL)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precision;
    use crate::measure::named;
    use crate::metric::{NoiseFloor, mean_distance, variance_ratio};
    use crate::random::Philox;

    fn device() -> Device {
        Device::cpu(Precision::F32)
    }

    /// Normals, or numbers of Student's law of three degrees of freedom.
    fn points(n: usize, d: usize, heavy: bool, seed: u32, step: u32) -> Cloud {
        let philox = Philox::new(seed, Stream::Source);
        let draw = |i: usize| {
            let [z, a, b, c] = philox.normal_block([(i / d) as u32, step, 0, (i % d) as u32]).map(f64::from);
            if heavy { z / ((a * a + b * b + c * c) / 3.0).sqrt() } else { z }
        };
        Cloud::new((0..n * d).map(draw).collect(), d).unwrap()
    }

    /// The flags of `cloud` against `reference`, of points or of a law; distances are not judged.
    fn flags(cloud: &Cloud, reference: &Cloud, law: Option<&Measure>, train: Option<&Cloud>, seed: u32) -> Vec<Flag> {
        let nothing = NoiseFloor { divergence: 0.0, w2_squared_exact: 0.0 };
        let floor = Floor { mean: nothing, lowest: nothing };
        let ruler = Ruler::new(reference, seed, &device()).unwrap();
        let halves = reference.halves(seed).unwrap();
        let mut judge = match law {
            Some(law) => Judge::new(&ruler, floor, &Law::Draws(law.clone()), cloud),
            None => Judge::new(&ruler, floor, &Law::Points(reference.clone()), cloud).with_clusters(&halves.0, &halves.1),
        };
        judge = match train {
            Some(train) => judge.with_training(train, reference, &device()).unwrap(),
            None => judge.with_training(&halves.0, &halves.1, &device()).unwrap(),
        };
        let reading = Reading {
            divergence: 0.0,
            w2_squared_exact: 0.0,
            variance_ratio: variance_ratio(cloud, reference).unwrap(),
            mean_distance: mean_distance(cloud, reference).unwrap(),
        };
        judge.judge(cloud, &reading, &device()).unwrap().flags
    }

    /// At a level of 1 % more than 5 of 100 come up once in 2,000.
    #[test]
    fn an_independent_sample_is_rarely_flagged_in_one_dimension_or_with_heavy_tails() {
        for (d, heavy) in [(1, false), (1, true), (8, true)] {
            let all: Vec<Flag> = (0..100)
                .flat_map(|seed| flags(&points(120, d, heavy, seed, 0), &points(150, d, heavy, seed, 1), None, None, seed))
                .collect();
            for flag in [Flag::Collapsed, Flag::Inflated, Flag::Memorised, Flag::ModeMissing] {
                let raised = all.iter().filter(|found| **found == flag).count();
                assert!(raised <= 5, "{flag:?} on {raised} of 100, d = {d}, heavy tails {heavy}");
            }
        }
    }

    #[test]
    fn an_independent_sample_of_a_law_is_rarely_flagged() {
        let law = named("8gaussians", None).unwrap();
        let all: Vec<Flag> = (0..50)
            .flat_map(|seed| {
                let [a, b] = [0, 1].map(|step| law.sample(200, seed, Stream::Source, step));
                flags(&a, &b, Some(&law), None, seed)
            })
            .collect();
        for flag in [Flag::Collapsed, Flag::Inflated, Flag::Memorised, Flag::ModeMissing] {
            assert!(all.iter().filter(|found| **found == flag).count() <= 3, "{flag:?}: {all:?}");
        }
    }

    #[test]
    fn fifteen_per_cent_of_lost_variance_and_thirty_of_copies_are_flagged_in_two_dimensions_and_in_64() {
        let n = 2048;
        for d in [2, 64] {
            let [a, b, train] = [0, 1, 2].map(|step| points(n, d, false, 7, step));
            let scaled = |by: f64| Cloud::new(a.points().iter().map(|x| by.sqrt() * x).collect(), d).unwrap();
            assert!(flags(&scaled(0.85), &b, None, None, 7).contains(&Flag::Collapsed), "d = {d}");
            assert!(flags(&scaled(1.0 / 0.85), &b, None, None, 7).contains(&Flag::Inflated), "d = {d}");
            let copies: Vec<f64> =
                train.points()[..n * 3 / 10 * d].iter().chain(&a.points()[n * 3 / 10 * d..]).copied().collect();
            assert!(flags(&Cloud::new(copies, d).unwrap(), &b, None, Some(&train), 7).contains(&Flag::Memorised), "d = {d}");
            assert!(!flags(&a, &b, None, Some(&train), 7).contains(&Flag::Memorised), "d = {d}");
        }
    }

    /// By its known components, and by clusters of points alone.
    #[test]
    fn one_lost_mode_of_eight_is_missing() {
        let (n, law) = (2048, named("8gaussians", None).unwrap());
        let [a, b] = [0, 1].map(|step| law.sample(n, 3, Stream::Source, step));
        // Eight modes on a circle: the one at the far right is lost.
        let rest: Vec<usize> = (0..n).filter(|&i| !at_right(a.row(i))).collect();
        assert!(rest.len() < n * 9 / 10);
        let lost = a.select(&rest).unwrap();
        for law in [Some(&law), None] {
            assert!(flags(&lost, &b, law, None, 3).contains(&Flag::ModeMissing));
            assert!(!flags(&a, &b, law, None, 3).contains(&Flag::ModeMissing));
        }
    }

    /// Within the eighth of the plane around the positive first axis.
    fn at_right(x: &[f64]) -> bool {
        x[1].atan2(x[0]).abs() < std::f64::consts::FRAC_PI_8
    }
}
