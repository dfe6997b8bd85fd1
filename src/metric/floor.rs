//! The noise floor: what two independent clouds of one law score at the sizes of a row, and which score is too good for that.
//!
//! Both distances split exactly into that of the means, whose expectation V (1/n + 1/m) is known, V being the law's total
//! variance, and a rest R, so only R is estimated. A law is drawn from afresh, and a set with points enough for both clouds split
//! into them. A set of N points that has fewer is split into halves and quarters, whose rests give the local exponent p of a
//! power of the size:
//!
//! ```text
//! E score(n, m) = V (1/n + 1/m) + ½R(n) + ½R(m)      R(s) = R(N/2) (N/2s)^p      2^p = R(N/4)/R(N/2), 0 ≤ p ≤ 1
//! ```
//!
//! p is 1 for S_ε once ε is above the distance of neighbours (Genevay et al. 2019), and falls with the dimension to 2/d and less
//! for W₂² (Fournier, Guillin 2015). Under weights sizes are Kish's 1/Σ a².

use serde::{Deserialize, Serialize};

use crate::backend::Device;
use crate::measure::{Cloud, CloudError, Measure};
use crate::metric::null::low_quantile;
use crate::metric::wasserstein::{LARGEST_SUBSAMPLE, assigned};
use crate::metric::{MetricError, Reading, Ruler, mean_distance, w2_size};
use crate::random::{Philox, Stream};
use crate::watch::Watch;

/// A score under this share of its noise floor may be too good to be true.
pub const BELOW_FLOOR: f64 = 0.5;
/// Fresh pairs of draws behind the noise floor of a law.
const PAIRS: u32 = 8;
/// First Philox step of the draws behind a noise floor; those before serve subsamples.
const PAIR_STEP: u32 = 1 << 16;
/// Splits of a finite set: at least, at most, and the relative standard error at which they are enough.
const SPLITS: (u32, u32, f64) = (4, 12, 0.04);
/// First Philox step of those splits.
const SPLIT_STEP: u32 = 1 << 17;

/// Name of the readings at the larger of two sizes.
const NEAR: &str = "near";

/// Distances between two independent clouds of the same law: below them no number means anything. In units of |x−y|².
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseFloor {
    /// Debiased Sinkhorn divergence, 2 S_ε.
    pub divergence: f64,
    /// Exact W₂² on subsamples.
    pub w2_squared_exact: f64,
}

/// The scores of two independent clouds of the same law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// Their means.
    pub mean: NoiseFloor,
    /// Scores below which a cloud is closer to the reference than independent ones are: half the mean, or their 1 % quantile
    /// where that is less.
    pub lowest: NoiseFloor,
}

/// What the two clouds of a reading would be drawn from.
#[derive(Clone, Debug)]
pub enum Law {
    /// Something that can be drawn from afresh.
    Draws(Measure),
    /// A finite set.
    Points(Cloud),
}

/// A distance, and the part of it that is the squared distance of the means.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Score {
    total: f64,
    means: f64,
}

/// Two clouds against each other.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Pair {
    divergence: Score,
    /// None where subsamples of these clouds tell nothing that those of larger ones do not.
    exact: Option<Score>,
    /// V, estimated without bias from both.
    variance: f64,
}

/// The scores of one distance, at effective sizes.
struct Scores<'a> {
    of: fn(&Pair) -> Option<Score>,
    near: &'a [Pair],
    near_size: f64,
    far: &'a [Pair],
    far_size: f64,
}

impl Ruler {
    /// What a cloud with as many points and such weights as `like` scores when it and the reference are independent draws of
    /// `law`.
    ///
    /// For a law over 8 fresh pairs of draws, for a finite set over 4 to 12 splits. Readings that `watch` kept are not taken again.
    ///
    /// # Errors
    /// [`MetricError`] as for [`Ruler::measure`], or where a finite set has fewer than two points with mass.
    pub fn noise_floor(&self, law: &Law, like: &Cloud, device: &Device, watch: Watch<'_>) -> Result<Floor, MetricError> {
        match law {
            Law::Draws(measure) => self.floor_of_law(measure, like, device, watch),
            Law::Points(points) => self.floor_of_points(points, like, device, watch),
        }
    }

    fn floor_of_law(&self, law: &Measure, like: &Cloud, device: &Device, mut watch: Watch<'_>) -> Result<Floor, MetricError> {
        let sizes = [like.effective_len().round() as usize, self.reference.len()];
        let mut pairs = Vec::new();
        for pair in 0..PAIRS {
            let told = watch.not_keeping();
            pairs.push(watch.once(&pair.to_string(), || {
                let draw = |k: usize| law.sample(sizes[k], self.seed, Stream::Metric, PAIR_STEP + 2 * pair + k as u32);
                self.pair(&draw(0), &draw(1), Some(w2_size(like, &self.reference)), device, &told)
            })?);
        }
        Ok(Self::direct(&pairs, sizes))
    }

    fn floor_of_points(&self, points: &Cloud, like: &Cloud, device: &Device, mut watch: Watch<'_>) -> Result<Floor, MetricError> {
        let reference = &self.reference;
        let with_mass: Vec<usize> = (0..points.len()).filter(|&i| points.weight(i) > 0.0).collect();
        let (all, half, quarter) = (with_mass.len(), with_mass.len() / 2, with_mass.len() / 4);
        if half == 0 {
            return Err(CloudError::Single.into());
        }
        let uniform = [points, like, reference].iter().all(|cloud| cloud.weights().is_none());
        let enough = uniform && all >= like.len() + reference.len();
        let sizes = if enough { [like.len(), reference.len()] } else { [half; 2] };
        let drawn = w2_size(like, reference);
        let subsamples_suffice = points.weights().is_none() && half >= drawn;
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for split in 0..SPLITS.1 {
            let order = Philox::new(self.seed, Stream::Metric).permutation(all, all, SPLIT_STEP + split);
            let mut reading = |name: &str, from: usize, [n, m]: [usize; 2]| {
                let drawn = (name == NEAR || !subsamples_suffice).then_some(drawn.min(n).min(m));
                let told = watch.not_keeping();
                watch.once(&format!("{name} {split}"), || {
                    let part = |from: usize, size: usize| {
                        points.select(&order[from..from + size].iter().map(|&i| with_mass[i]).collect::<Vec<_>>())
                    };
                    self.pair(&part(from, n)?, &part(from + n, m)?, drawn, device, &told)
                })
            };
            near.push(reading(NEAR, 0, sizes)?);
            if !enough && quarter > 0 {
                far.push(reading("far", 0, [quarter; 2])?);
                far.push(reading("farther", 2 * quarter, [quarter; 2])?);
            }
            if split + 1 >= SPLITS.0 && settled(&near) {
                break;
            }
        }
        if enough {
            return Ok(Self::direct(&near, sizes));
        }
        let effective = points.effective_len();
        // Drawing `drawn` points by weight adds their own noise to the cloud's; without weights they are a cloud of that size.
        let subsample = |cloud: &Cloud, size: f64, drawn: usize| match cloud.weights() {
            None => drawn as f64,
            Some(_) => 1.0 / (1.0 / drawn as f64 + 1.0 / size),
        };
        let level = |share: f64, size: usize| (share * effective, subsample(points, share * effective, drawn.min(size)));
        let ((near_size, near_drawn), (far_size, far_drawn)) = (level(0.5, half), level(0.25, quarter.max(1)));
        let ends = [like, reference];
        let (near, far) = (&near[..], &far[..]);
        let divergence = Scores { of: |pair| Some(pair.divergence), near, near_size, far, far_size };
        let exact = Scores { of: |pair| pair.exact, near, near_size: near_drawn, far, far_size: far_drawn };
        Ok(floor(
            divergence.extrapolated(ends.map(Cloud::effective_len)),
            exact.extrapolated(ends.map(|cloud| subsample(cloud, cloud.effective_len(), drawn))),
        ))
    }

    /// Whether `cloud`, of which the ruler says `reading`, is closer to the reference than independent clouds are: under the floor's
    /// lowest scores, and under the 1 % quantile of splits of both clouds together. The latter take longer than the reading, so they
    /// are made only where a score is that low; they know of outliers that only one of the clouds has, as splits of one set cannot.
    ///
    /// # Errors
    /// [`MetricError`] as for [`Ruler::measure`].
    pub(super) fn too_close(
        &self,
        cloud: &Cloud,
        reading: &Reading,
        floor: &Floor,
        device: &Device,
        watch: Watch<'_>,
    ) -> Result<bool, MetricError> {
        let low = [reading.divergence < floor.lowest.divergence, reading.w2_squared_exact < floor.lowest.w2_squared_exact];
        let uniform = cloud.weights().is_none() && self.reference.weights().is_none();
        if low == [false; 2] || !uniform {
            return Ok(low != [false; 2]);
        }
        let (n, drawn) = (cloud.len(), w2_size(cloud, &self.reference));
        let both = Cloud::new([cloud.points(), self.reference.points()].concat(), cloud.dim())?;
        let split = |split: u32| {
            let philox = Philox::new(self.seed, Stream::Metric);
            let order = philox.permutation(both.len(), both.len(), SPLIT_STEP + SPLITS.1 + split);
            self.pair(&both.uniform_at(&order[..n]), &both.uniform_at(&order[n..]), Some(drawn), device, &watch)
        };
        let pairs = (0..SPLITS.1).map(split).collect::<Result<Vec<_>, _>>()?;
        let below = |score: f64, of: fn(&Pair) -> Option<Score>| {
            let totals: Vec<f64> = pairs.iter().filter_map(of).map(|score| score.total).collect();
            score < mean(&totals) * low_quantile(&totals)
        };
        Ok((low[0] && below(reading.divergence, |pair| Some(pair.divergence)))
            || (low[1] && below(reading.w2_squared_exact, |pair| pair.exact)))
    }

    /// The floor from readings at the very `sizes`.
    fn direct(pairs: &[Pair], sizes: [usize; 2]) -> Floor {
        let scores = |of| Scores { of, near: pairs, near_size: 1.0, far: &[], far_size: 1.0 };
        let drawn = sizes[0].min(sizes[1]).min(LARGEST_SUBSAMPLE) as f64;
        floor(scores(|pair| Some(pair.divergence)).at(sizes.map(|size| size as f64)), scores(|pair| pair.exact).at([drawn; 2]))
    }

    /// Reads two clouds, of which `drawn` points each for the exact distance.
    fn pair(
        &self,
        first: &Cloud,
        second: &Cloud,
        drawn: Option<usize>,
        device: &Device,
        watch: &Watch<'_>,
    ) -> Result<Pair, MetricError> {
        let exact = |drawn: usize| {
            let (total, means) = assigned(first, second, drawn.min(first.len()).min(second.len()), self.seed, 0)?;
            Ok::<_, MetricError>(Score { total, means })
        };
        let variance = [first, second].map(|cloud| cloud.variance() / (1.0 - 1.0 / cloud.effective_len()).max(f64::EPSILON));
        Ok(Pair {
            divergence: Score {
                total: self.against(second, device, watch.not_keeping())?.divergence_watched(
                    first,
                    device,
                    watch.not_keeping(),
                )?,
                means: mean_distance(first, second)?.powi(2),
            },
            exact: drawn.map(exact).transpose()?,
            variance: 0.5 * (variance[0] + variance[1]),
        })
    }
}

/// The mean of a distance and the score that is too good, from both.
fn floor((divergence, low_divergence): (f64, f64), (exact, low_exact): (f64, f64)) -> Floor {
    Floor {
        mean: NoiseFloor { divergence, w2_squared_exact: exact },
        lowest: NoiseFloor { divergence: low_divergence, w2_squared_exact: low_exact },
    }
}

impl Scores<'_> {
    fn rest(&self, pairs: &[Pair]) -> f64 {
        mean(&rests(pairs, self.of))
    }

    /// The expected score at `sizes` and the one that is too good, from readings at those sizes.
    fn at(&self, sizes: [f64; 2]) -> (f64, f64) {
        self.with_rest(sizes, self.rest(self.near))
    }

    /// The same, from readings at smaller sizes.
    fn extrapolated(&self, sizes: [f64; 2]) -> (f64, f64) {
        let (near, far) = (self.rest(self.near), self.rest(self.far));
        let exponent = (far / near).ln() / (self.near_size / self.far_size).ln();
        let exponent = if exponent.is_finite() { exponent.clamp(0.0, 1.0) } else { 1.0 };
        let rest = |size: f64| near * (self.near_size / size).powf(exponent);
        self.with_rest(sizes, 0.5 * (rest(sizes[0]) + rest(sizes[1])))
    }

    fn with_rest(&self, sizes: [f64; 2], rest: f64) -> (f64, f64) {
        let variance = mean(&self.near.iter().map(|pair| pair.variance).collect::<Vec<_>>());
        let expected = variance * (1.0 / sizes[0] + 1.0 / sizes[1]) + rest;
        let totals: Vec<f64> = self.near.iter().filter_map(self.of).map(|score| score.total).collect();
        (expected, expected * low_quantile(&totals).min(BELOW_FLOOR))
    }
}

/// Whether the rests of both distances are known well enough.
fn settled(pairs: &[Pair]) -> bool {
    let known = |rests: &[f64]| {
        let (centre, n) = (mean(rests), rests.len() as f64);
        let variance = rests.iter().map(|rest| (rest - centre).powi(2)).sum::<f64>() / (n - 1.0);
        (variance / n).sqrt() <= SPLITS.2 * centre.abs()
    };
    known(&rests(pairs, |pair| Some(pair.divergence))) && known(&rests(pairs, |pair| pair.exact))
}

/// What each distance of `pairs` has beyond that of the means.
fn rests(pairs: &[Pair], of: fn(&Pair) -> Option<Score>) -> Vec<f64> {
    pairs.iter().filter_map(of).map(|score| score.total - score.means).collect()
}

/// The mean; NaN of nothing.
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precision;
    use crate::measure::Mixture;

    /// Scores of independent normals over their floors, mean and standard error: (divergence, exact).
    fn scores(d: usize, (n, m): (usize, usize), seeds: u32, law: bool) -> [(f64, f64); 2] {
        let (device, normal) = (Device::cpu(Precision::F32), Measure::Law(Mixture::standard_normal(d)));
        let one = |seed: u32| {
            let [a, b] = [(n, 0), (m, 1)].map(|(size, step)| normal.sample(size, seed, Stream::Source, step));
            let ruler = Ruler::new(&b, seed, &device).unwrap();
            let law = if law { Law::Draws(normal.clone()) } else { Law::Points(b.clone()) };
            let floor = ruler.noise_floor(&law, &a, &device, Watch::default()).unwrap().mean;
            let reading = ruler.measure(&a, &device).unwrap();
            [reading.divergence / floor.divergence, reading.w2_squared_exact / floor.w2_squared_exact]
        };
        let found: Vec<[f64; 2]> = (0..seeds).map(one).collect();
        [0, 1].map(|k| {
            let ratios: Vec<f64> = found.iter().map(|ratios| ratios[k]).collect();
            let centre = mean(&ratios);
            let squares: f64 = ratios.iter().map(|ratio| (ratio - centre).powi(2)).sum();
            (centre, (squares / (f64::from(seeds) * f64::from(seeds - 1))).sqrt())
        })
    }

    #[test]
    fn independent_clouds_score_their_floor_whatever_dimension_and_sizes() {
        for (d, sizes, seeds) in
            [(1, (150, 150), 40), (2, (100, 300), 30), (5, (200, 200), 16), (32, (200, 200), 4), (32, (100, 300), 4)]
        {
            for (mean, error) in scores(d, sizes, seeds, false) {
                assert!((mean - 1.0).abs() < 0.05 + 3.0 * error, "d = {d}, {sizes:?}: {mean} ± {error}");
            }
        }
        for (d, sizes, seeds) in [(1, (100, 200), 40), (16, (200, 100), 4)] {
            for (mean, error) in scores(d, sizes, seeds, true) {
                assert!((mean - 1.0).abs() < 0.05 + 3.0 * error, "law, d = {d}, {sizes:?}: {mean} ± {error}");
            }
        }
    }

    /// Where a set holds both clouds no size is carried on, and where it holds two subsamples their distance is none of their
    /// clouds'.
    #[test]
    fn the_floor_of_the_exact_distance_is_that_of_its_subsamples_whatever_the_clouds() {
        let device = Device::cpu(Precision::F32);
        let set = Measure::Law(Mixture::standard_normal(2)).sample(2400, 0, Stream::Source, 0);
        let (first, second) = set.halves(0).unwrap();
        let ruler = Ruler::new(&second, 0, &device).unwrap();
        let [all, most] = [1200, 1100].map(|n| {
            let like = first.select(&(0..n).collect::<Vec<_>>()).unwrap();
            ruler.noise_floor(&Law::Points(set.clone()), &like, &device, Watch::default()).unwrap().mean
        });
        // Subsamples of 1,024 in both; the splits leave 4 % of noise in each, of which most is common.
        assert!((all.w2_squared_exact / most.w2_squared_exact - 1.0).abs() < 0.15, "{all:?} {most:?}");
    }
}
