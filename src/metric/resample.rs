//! What else a statistic of two samples could have been: half-samples give its interval, relabellings its p-value.
//!
//! A unit is a point, or a block of as many points as every other. A half-sample is half of each sample's units, drawn without
//! replacement. For a statistic T whose leading term is linear in the samples (Shao, Wu 1989; Politis, Romano 1994),
//!
//! ```text
//! Var T = f/(1 − f) Var T*        f the share of the units that T* sees, about ½
//! ```
//!
//! and T ± 1.96 √Var T covers the mean of T over fresh samples of the same sizes. Terms of second order count up to threefold, so
//! the interval is too wide where T is near its null; there the p-value serves: by b of P relabellings of the pooled units that
//! are as extreme as T, p = (b + 1)/(P + 1) (Phipson, Smyth 2010). Under the null the units are exchangeable, so P(p ≤ α) ≤ α,
//! with equality at the multiples of 1/(P + 1) unless values tie.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::measure::Cloud;
use crate::metric::MetricError;
use crate::random::{Philox, Stream};
use crate::transport::TransportError;
use crate::watch::{Progress, Watch};

/// Half-samples behind an interval: its width has a standard error of 5 %.
const HALF_SAMPLES: u32 = 200;
/// The standard normal's 97.5 % quantile.
const NORMAL_QUANTILE: f64 = 1.959_963_984_540_054;
/// First Philox steps of half-samples, two each, of relabellings, and of what thins a cloud.
const HALF_STEP: u32 = 1 << 21;
const RELABEL_STEP: u32 = 1 << 22;
const THIN_STEP: u32 = (1 << 23) - 2;
/// Replicates between two looks at the watch.
const AT_ONCE: u32 = 32;
/// Values closer than this share of the largest are equal.
const ROUNDING: f64 = 1e-12;

/// A statistic of two samples with what chance does to it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Its value.
    pub value: f64,
    /// Covers its mean over fresh samples of the same sizes with a chance of about 95 %, away from the null; none where the
    /// samples are too small to be halved.
    pub interval: Option<[f64; 2]>,
    /// The chance, at most, of a value as extreme between two samples of one law; none where it was not asked for, or where
    /// weights leave too few points.
    pub p: Option<f64>,
}

/// Which sample a unit counts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// The first.
    A,
    /// The second.
    B,
    /// Left out.
    Neither,
}

/// Which values are as extreme as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extreme {
    /// Those as small.
    Small,
    /// Those as large.
    Large,
    /// Those as far out, in either tail.
    Both,
}

/// Two samples of `a` and `b` units, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    /// Those of the first.
    pub a: usize,
    /// Those of the second.
    pub b: usize,
}

impl Units {
    /// Fewer than these have no half to speak of.
    const FEWEST: usize = 4;

    /// All units as the samples have them.
    pub fn labels(self) -> Vec<Sample> {
        [vec![Sample::A; self.a], vec![Sample::B; self.b]].concat()
    }

    /// Half the widths of intervals of the K numbers of `statistic`, by half-samples of both; NaN where a sample has too few
    /// units or `statistic` is not finite.
    ///
    /// # Errors
    /// [`TransportError::Stopped`] when the watch says stop.
    pub fn half_widths<const K: usize>(
        self,
        seed: u32,
        watch: &Watch<'_>,
        statistic: impl Fn(&[Sample]) -> [f64; K] + Sync,
    ) -> Result<[f64; K], MetricError> {
        if self.a.min(self.b) < Self::FEWEST {
            return Ok([f64::NAN; K]);
        }
        let philox = Philox::new(seed, Stream::Bootstrap);
        let halves = [self.a / 2, self.b / 2];
        let found = replicates(HALF_SAMPLES, watch, |replicate| {
            let mut labels = vec![Sample::Neither; self.a + self.b];
            let step = HALF_STEP + 2 * replicate;
            philox.permutation(self.a, halves[0], step).into_iter().for_each(|i| labels[i] = Sample::A);
            philox.permutation(self.b, halves[1], step + 1).into_iter().for_each(|j| labels[self.a + j] = Sample::B);
            statistic(&labels)
        })?;
        let share = (halves[0] + halves[1]) as f64 / (self.a + self.b) as f64;
        Ok(std::array::from_fn(|k| {
            let mean = found.iter().map(|values| values[k]).sum::<f64>() / found.len() as f64;
            let squares: f64 = found.iter().map(|values| (values[k] - mean).powi(2)).sum();
            NORMAL_QUANTILE * (share / (1.0 - share) * squares / (found.len() - 1) as f64).sqrt()
        }))
    }

    /// The p-values of the K numbers of `statistic`, each extreme in its own way, by `count` relabellings.
    ///
    /// # Errors
    /// [`TransportError::Stopped`] when the watch says stop.
    pub fn p_values<const K: usize>(
        self,
        (count, seed): (u32, u32),
        extremes: [Extreme; K],
        watch: &Watch<'_>,
        statistic: impl Fn(&[Sample]) -> [f64; K] + Sync,
    ) -> Result<[f64; K], MetricError> {
        let (philox, units) = (Philox::new(seed, Stream::Bootstrap), self.a + self.b);
        let observed = statistic(&self.labels());
        let found = replicates(count, watch, |replicate| {
            let mut labels = vec![Sample::B; units];
            // The smaller sample is drawn.
            let (few, label) = if self.a <= self.b { (self.a, Sample::A) } else { (self.b, Sample::B) };
            if label == Sample::B {
                labels.fill(Sample::A);
            }
            philox.permutation(units, few, RELABEL_STEP + replicate).into_iter().for_each(|i| labels[i] = label);
            statistic(&labels)
        })?;
        Ok(std::array::from_fn(|k| {
            let values: Vec<f64> = found.iter().map(|values| values[k]).collect();
            p_value(observed[k], &values, extremes[k])
        }))
    }
}

/// (b + 1)/(P + 1) of the P `values`; NaN where a number is.
fn p_value(observed: f64, values: &[f64], extreme: Extreme) -> f64 {
    let largest = values.iter().fold(observed.abs(), |largest: f64, value| largest.max(value.abs()));
    if values.iter().chain([&observed]).any(|value| !value.is_finite()) {
        return f64::NAN;
    }
    let (slack, all) = (ROUNDING * largest, (values.len() + 1) as f64);
    let tail = |sign: f64| {
        let as_far = values.iter().filter(|value| sign * (**value - observed) >= -slack).count();
        (as_far + 1) as f64 / all
    };
    match extreme {
        Extreme::Small => tail(-1.0),
        Extreme::Large => tail(1.0),
        Extreme::Both => (2.0 * tail(-1.0).min(tail(1.0))).min(1.0),
    }
}

/// What `of` gives for each replicate, in order, a few at a time.
fn replicates<T: Send>(count: u32, watch: &Watch<'_>, of: impl Fn(u32) -> T + Sync) -> Result<Vec<T>, MetricError> {
    let mut found = Vec::with_capacity(count as usize);
    for first in (0..count).step_by(AT_ONCE as usize) {
        if !watch.tell(Progress::of_steps(found.len())) {
            return Err(TransportError::Stopped { iterations: found.len() }.into());
        }
        found.par_extend((first..count.min(first + AT_ONCE)).into_par_iter().map(&of));
    }
    Ok(found)
}

impl Estimate {
    /// The interval about a distance, which is not negative, of standard error `error`.
    pub fn normal(value: f64, error: f64) -> [f64; 2] {
        [(value - NORMAL_QUANTILE * error).max(0.0), value + NORMAL_QUANTILE * error]
    }

    /// `value` ± `half_width`, cut to where such a value can lie; what is NaN is none.
    pub(crate) fn new(value: f64, half_width: f64, p: f64, [low, high]: [f64; 2]) -> Self {
        let interval = half_width.is_finite().then(|| [(value - half_width).max(low), (value + half_width).min(high)]);
        Self { value, interval, p: p.is_finite().then_some(p) }
    }
}

/// n a_i of each point of `cloud`: exactly 1 without weights, so that sums of them are exact and tie.
pub(crate) fn masses(cloud: &Cloud) -> impl Iterator<Item = f64> + '_ {
    let n = cloud.len() as f64;
    (0..cloud.len()).map(move |i| cloud.weights().map_or(1.0, |weights| n * weights[i]))
}

/// Points of equal weights of the law that `cloud` stands for: each is kept with the chance a_i/max a, so that none is drawn
/// twice, as relabelling asks for. A cloud without weights is its own.
pub(crate) fn thinned(cloud: &Cloud, seed: u32, side: u32) -> Cloud {
    if cloud.weights().is_none() { cloud.clone() } else { cloud.uniform_at(&thinned_rows(cloud, seed, side)) }
}

/// The rows of [`thinned`].
pub(crate) fn thinned_rows(cloud: &Cloud, seed: u32, side: u32) -> Vec<usize> {
    let Some(weights) = cloud.weights() else { return (0..cloud.len()).collect() };
    let (philox, largest) = (Philox::new(seed, Stream::Bootstrap), weights.iter().copied().fold(0.0, f64::max));
    let kept = |i: &usize| philox.uniform(*i as u32, THIN_STEP + side, 0) * largest < weights[*i];
    (0..cloud.len()).filter(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_difference(points: &[f64]) -> impl Fn(&[Sample]) -> [f64; 1] + Sync + '_ {
        |labels| {
            let mean = |of: Sample| {
                let chosen = points.iter().zip(labels).filter(|(_, label)| **label == of).map(|(x, _)| x);
                chosen.clone().sum::<f64>() / chosen.count() as f64
            };
            [mean(Sample::A) - mean(Sample::B)]
        }
    }

    fn uniforms(n: usize, seed: u32) -> Vec<f64> {
        let philox = Philox::new(seed, Stream::Source);
        (0..n).map(|i| philox.uniform(i as u32, 0, 0)).collect()
    }

    /// Var(x̄ − ȳ) = s²/n + s²/m; 200 replicates know it to 5 %, and 400 points s² to 5 %.
    #[test]
    fn half_samples_give_a_mean_its_standard_error() {
        for (a, b) in [(100, 300), (201, 199)] {
            let points = uniforms(a + b, 1);
            let [half] = Units { a, b }.half_widths(0, &Watch::default(), mean_difference(&points)).unwrap();
            let expected = NORMAL_QUANTILE * ((1.0 / a as f64 + 1.0 / b as f64) / 12.0).sqrt();
            assert!((half / expected - 1.0).abs() < 0.2, "{half} for {expected}");
        }
        let [none] = Units { a: 3, b: 9 }.half_widths(0, &Watch::default(), mean_difference(&uniforms(12, 0))).unwrap();
        assert!(none.is_nan());
    }

    /// Of 400 samples from one law p ≤ α in 400 α, give or take three binomial standard deviations.
    #[test]
    fn p_values_are_uniform_between_samples_of_one_law() {
        for extreme in [Extreme::Small, Extreme::Large, Extreme::Both] {
            let of = |seed: u32| {
                let points = uniforms(30, seed);
                let statistic = mean_difference(&points);
                Units { a: 12, b: 18 }.p_values((99, seed), [extreme], &Watch::default(), statistic).unwrap()[0]
            };
            let found: Vec<f64> = (0..400).map(of).collect();
            for level in [0.1, 0.3, 0.5, 0.8] {
                let below = found.iter().filter(|p| **p <= level + 1e-9).count() as f64;
                let deviation = (400.0 * level * (1.0 - level)).sqrt();
                assert!((below - 400.0 * level).abs() < 3.0 * deviation, "{below} of 400 at {level}, {extreme:?}");
            }
        }
    }

    #[test]
    fn values_that_tie_count_against_the_alternative() {
        let statistic = |_: &[Sample]| [1.0];
        for extreme in [Extreme::Small, Extreme::Large, Extreme::Both] {
            assert_eq!(Units { a: 5, b: 5 }.p_values((19, 0), [extreme], &Watch::default(), statistic).unwrap(), [1.0]);
        }
        assert_eq!(p_value(3.0, &[1.0, 2.0, 3.0], Extreme::Large), 0.5);
        assert_eq!(p_value(4.0, &[1.0, 2.0, 3.0], Extreme::Large), 0.25);
        assert_eq!(p_value(0.0, &[1.0, 2.0, 3.0], Extreme::Both), 0.5);
    }

    /// The mean of what is left is the weighted one: 1/3 of the points are kept, 4,000 of them, of deviation ½.
    #[test]
    fn a_thinned_cloud_has_the_law_that_the_weights_say() {
        let points: Vec<f64> = (0..8000).map(|i| f64::from(i % 2)).collect();
        let weights = points.iter().map(|x| 1.0 + 3.0 * x).collect();
        let cloud = Cloud::new(points, 1).unwrap().with_weights(weights).unwrap();
        let thinned = thinned(&cloud, 0, 0);
        assert!(thinned.weights().is_none() && (thinned.len() as f64 / 5000.0 - 1.0).abs() < 0.05, "{}", thinned.len());
        assert!((thinned.mean()[0] - 0.8).abs() < 0.03, "{:?}", thinned.mean());
    }
}
