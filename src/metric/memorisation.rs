//! Copies of training points: the share of samples that lie closer to the training set than held-out points do, and authenticity.
//!
//! With δ(x) the distance of x to the training set, the memorised share is the mass of samples whose δ is at most the 1 %
//! quantile of δ over held-out points, and so about 1 % where nothing was copied. A sample x is authentic if its nearest training
//! point t has a training point nearer to it than x (Alaa, van Breugel, Saveliev, van der Schaar 2022):
//!
//! ```text
//! |t − x| > min_{t′ ≠ t} |t − t′|        t = argmin_t |t − x|
//! ```
//!
//! Training points at equal coordinates are one, so that a copy of a point that is there twice is not authentic. A fresh sample x
//! fails to be authentic exactly where x and t are each other's nearest neighbours. Of points without structure that has the
//! chance V(d)/U(d), the volume of a unit ball over that of the union of two whose centres are at distance one (Cox 1981), so
//! authenticity is 1 − V/U: 1/3 on a line, 0.3785 in the plane, and ½ as d → ∞. A copy is never authentic, so a lower share says
//! that points were copied. Neither number sees how good the samples are.

use serde::{Deserialize, Serialize};

use crate::backend::Device;
use crate::measure::Cloud;
use crate::metric::MetricError;
use crate::metric::nearest::nearest;
use crate::metric::neighbours::{nearest_others, places};
use crate::metric::null::LEVEL;
use crate::metric::resample::{Estimate, Extreme, Sample, Units, masses, thinned_rows};
use crate::watch::Watch;

/// More than the rounding errors of a sum of weights.
const ROUNDING: f64 = 1e-9;

/// How much of a cloud was copied from a training set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memorisation {
    /// Mass of the samples as near to the training set as the nearest 1 % of held-out points.
    pub share: Estimate,
    /// Mass of the samples that are authentic.
    pub authenticity: Estimate,
    /// That of the held-out points.
    pub authenticity_heldout: f64,
}

/// How much of `samples` was copied from `training`, by what `heldout` points of the same law do; p-values by `permutations`
/// relabellings of samples and held-out points, of a share as large and of an authenticity as small.
///
/// # Errors
/// [`MetricError`] when the dimensions differ, all training points lie in one place, memory runs out or the watch says stop.
pub fn memorisation(
    [samples, heldout, training]: [&Cloud; 3],
    (permutations, seed): (u32, u32),
    device: &Device,
    watch: &Watch<'_>,
) -> Result<Memorisation, MetricError> {
    let found = Found::new([samples, heldout], training, device, watch)?;
    let units = Units { a: samples.len(), b: heldout.len() };
    let values = found.shares(&units.labels());
    let halves = units.half_widths(seed, watch, |labels| found.shares(labels))?;
    let rows = [thinned_rows(samples, seed, 0), thinned_rows(heldout, seed, 1)];
    let p = if permutations == 0 || rows.iter().any(Vec::is_empty) {
        [f64::NAN; 2]
    } else {
        let units = Units { a: rows[0].len(), b: rows[1].len() };
        let chosen = [&rows[0][..], &rows[1].iter().map(|j| samples.len() + j).collect::<Vec<_>>()].concat();
        let equal = found.equal_at(&chosen);
        units.p_values((permutations, seed), [Extreme::Large, Extreme::Small], watch, |labels| equal.shares(labels))?
    };
    let estimate = |k: usize| Estimate::new(values[k], halves[k], p[k], [0.0, 1.0]);
    let swapped: Vec<Sample> = [vec![Sample::B; samples.len()], vec![Sample::A; heldout.len()]].concat();
    Ok(Memorisation { share: estimate(0), authenticity: estimate(1), authenticity_heldout: found.shares(&swapped)[1] })
}

/// Points of two clouds, those of the first in front, and how they lie to the training set.
struct Found {
    distances: Vec<f64>,
    authentic: Vec<bool>,
    weights: Vec<f64>,
    /// The points from the nearest to the training set on.
    order: Vec<usize>,
}

impl Found {
    fn new(clouds: [&Cloud; 2], training: &Cloud, device: &Device, watch: &Watch<'_>) -> Result<Self, MetricError> {
        let with_mass: Vec<usize> = (0..training.len()).filter(|&t| training.weight(t) > 0.0).collect();
        let training = training.uniform_at(&with_mass);
        let distinct = training.uniform_at(&places(&training).1);
        if distinct.len() < 2 {
            return Err(MetricError::OnePlace);
        }
        let apart = nearest_others(&distinct, device, watch)?;
        let mut found = Self { distances: Vec::new(), authentic: Vec::new(), weights: Vec::new(), order: Vec::new() };
        for cloud in clouds {
            let near = nearest(cloud, &distinct, device)?;
            found.authentic.extend(near.iter().map(|(t, distance)| *distance > apart[*t]));
            found.distances.extend(near.iter().map(|(_, distance)| distance));
            found.weights.extend(masses(cloud));
        }
        Ok(found.ordered())
    }

    fn ordered(mut self) -> Self {
        self.order = (0..self.distances.len()).collect();
        self.order.sort_by(|&i, &j| self.distances[i].total_cmp(&self.distances[j]));
        self
    }

    /// The points `rows`, of equal weights.
    fn equal_at(&self, rows: &[usize]) -> Self {
        let distances = rows.iter().map(|&i| self.distances[i]).collect();
        let authentic = rows.iter().map(|&i| self.authentic[i]).collect();
        Self { distances, authentic, weights: vec![1.0; rows.len()], order: Vec::new() }.ordered()
    }

    /// The memorised share and the authenticity of the points labelled A, held-out being those labelled B.
    fn shares(&self, labels: &[Sample]) -> [f64; 2] {
        let mass = |of: Sample| labels.iter().zip(&self.weights).filter(|(label, _)| **label == of).map(|(_, w)| w).sum::<f64>();
        let (all_a, all_b) = (mass(Sample::A), mass(Sample::B));
        let (mut near_a, mut near_b) = (0.0, 0.0);
        for equally_near in self.order.chunk_by(|&i, &j| self.distances[i] == self.distances[j]) {
            let of =
                |sample: Sample| -> f64 { equally_near.iter().filter(|&&i| labels[i] == sample).map(|&i| self.weights[i]).sum() };
            near_a += of(Sample::A);
            near_b += of(Sample::B);
            if near_b > (LEVEL + ROUNDING) * all_b {
                break;
            }
        }
        let authentic = (0..labels.len()).filter(|&i| labels[i] == Sample::A && self.authentic[i]);
        [near_a / all_a, authentic.map(|i| self.weights[i]).sum::<f64>() / all_a]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precision;
    use crate::random::{Philox, Stream};

    fn uniforms(n: usize, d: usize, seed: u32) -> Cloud {
        let philox = Philox::new(seed, Stream::Source);
        Cloud::new((0..n * d).map(|i| philox.uniform(i as u32, 0, 0)).collect(), d).unwrap()
    }

    fn of(clouds: [&Cloud; 3], permutations: u32) -> Memorisation {
        memorisation(clouds, (permutations, 0), &Device::cpu(Precision::F32), &Watch::default()).unwrap()
    }

    /// 1 − V/U: 1 − 2/3 on a line, 1 − 1/(4/3 + √3/2π) in the plane, 1 − 16/27 in space; 3,000 samples have a deviation of 0.009,
    /// and edges of the cube less.
    #[test]
    fn authenticity_of_fresh_samples_is_the_chance_not_to_be_each_others_nearest() {
        let plane = 1.0 - 1.0 / (4.0 / 3.0 + 3f64.sqrt() / (2.0 * std::f64::consts::PI));
        for (d, expected) in [(1, 1.0 / 3.0), (2, plane), (3, 11.0 / 27.0)] {
            let [samples, heldout, training] = [0, 1, 2].map(|seed| uniforms(3000, d, seed));
            let found = of([&samples, &heldout, &training], 99);
            assert!((found.authenticity.value - expected).abs() < 0.035, "d = {d}: {found:?} for {expected}");
            assert!((found.authenticity_heldout - expected).abs() < 0.035, "d = {d}: {found:?} for {expected}");
            assert!(
                found.share.value < 0.03 && found.share.p.unwrap() > 0.02 && found.authenticity.p.unwrap() > 0.02,
                "{found:?}"
            );
        }
    }

    /// Three tenths are copies, of points that the training set has twice: those are not authentic, and of the rest as many as
    /// ever.
    #[test]
    fn copies_of_repeated_training_points_are_memorised_and_not_authentic() {
        let (n, copies) = (1000, 300);
        let [fresh, heldout, training] = [0, 1, 2].map(|seed| uniforms(n, 2, seed));
        let twice = Cloud::new([training.points(), training.points()].concat(), 2).unwrap();
        let copied = Cloud::new([&training.points()[..2 * copies], &fresh.points()[2 * copies..]].concat(), 2).unwrap();
        let found = of([&copied, &heldout, &twice], 199);
        assert!((found.share.value - 0.307).abs() < 0.02, "{found:?}");
        assert!((found.authenticity.value - 0.7 * 0.3785).abs() < 0.05, "{found:?}");
        assert_eq!((found.share.p, found.authenticity.p), (Some(0.005), Some(0.005)));
        let [low, high] = found.share.interval.unwrap();
        // Which of a thousand samples are copies is binomial: ± 1.96 √(0.3·0.7/1000) = 0.028.
        assert!((high - low) / 2.0 > 0.02 && (high - low) / 2.0 < 0.04, "{found:?}");
        let doubled = heldout.clone().with_weights(vec![2.0; n]).unwrap();
        assert_eq!(of([&copied, &doubled, &training], 0).share.value, found.share.value);
    }

    #[test]
    fn a_training_set_in_one_place_is_refused() {
        let (samples, one) = (uniforms(9, 2, 0), Cloud::new(vec![0.5; 8], 2).unwrap());
        let refused = memorisation([&samples, &samples, &one], (0, 0), &Device::cpu(Precision::F32), &Watch::default());
        assert_eq!(refused, Err(MetricError::OnePlace));
    }
}
