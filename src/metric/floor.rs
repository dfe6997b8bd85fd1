//! The noise floor: what two independent clouds of one law score at the sizes of a row, and which score is too good for that.
//!
//! Both distances split exactly into that of the means, whose expectation V (1/n + 1/m) is known, V being the law's total variance,
//! and a rest R, so only R is estimated. A law is drawn from afresh, and a set with points enough for both clouds split into them.
//! A set of N points that has fewer is split into halves and quarters, whose rests give the local exponent p of a power of the size:
//!
//! ```text
//! E score(n, m) = V (1/n + 1/m) + ½R(n) + ½R(m)      R(s) = R(N/2) (N/2s)^p      2^p = R(N/4)/R(N/2), 0 ≤ p ≤ 1
//! ```
//!
//! p is 1 for S_ε once ε is above the distance of neighbours (Genevay et al. 2019), and falls with the dimension to 2/d and less for W₂²
//! (Fournier, Guillin 2015). Under weights sizes are Kish's 1/Σ a².

use serde::{Deserialize, Serialize};

use crate::backend::Device;
use crate::io::Part;
use crate::measure::{Cloud, CloudError, Measure};
use crate::metric::null::low_quantile;
use crate::metric::wasserstein::{LARGEST_SUBSAMPLE, assigned};
use crate::metric::{MetricError, Ruler, mean_distance, w2_size};
use crate::random::{Philox, Stream};

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
    /// Scores below which a cloud is closer to the reference than independent ones are: half the mean, or their 1 % quantile where
    /// that is less.
    pub lowest: NoiseFloor,
}

/// What the two clouds of a reading would be drawn from.
#[derive(Clone, Copy, Debug)]
pub enum Law<'a> {
    /// Something that can be drawn from afresh.
    Draws(&'a Measure),
    /// A finite set.
    Points(&'a Cloud),
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
    exact: Score,
    /// V, estimated without bias from both.
    variance: f64,
}

/// The scores of one distance, at effective sizes.
struct Scores<'a> {
    of: fn(&Pair) -> Score,
    near: &'a [Pair],
    near_size: f64,
    far: &'a [Pair],
    far_size: f64,
}

impl Ruler<'_> {
    /// What a cloud with as many points and such weights as `like` scores when it and the reference are independent draws of `law`.
    ///
    /// For a law over 8 fresh pairs of draws, for a finite set over 4 to 12 splits. Readings that `kept` has are not taken again.
    ///
    /// # Errors
    /// [`MetricError`] as for [`Ruler::measure`], or where a finite set has fewer than two points with mass.
    pub fn noise_floor(&self, law: Law<'_>, like: &Cloud, device: &Device, kept: &mut Part<'_>) -> Result<Floor, MetricError> {
        match law {
            Law::Draws(measure) => self.floor_of_law(measure, like, device, kept),
            Law::Points(points) => self.floor_of_points(points, like, device, kept),
        }
    }

    fn floor_of_law(&self, law: &Measure, like: &Cloud, device: &Device, kept: &mut Part<'_>) -> Result<Floor, MetricError> {
        let sizes = [like.effective_len().round() as usize, self.reference.len()];
        let mut pairs = Vec::new();
        for pair in 0..PAIRS {
            pairs.push(kept.once(&pair.to_string(), || {
                let draw = |k: usize| law.sample(sizes[k], self.seed, Stream::Metric, PAIR_STEP + 2 * pair + k as u32);
                self.pair(&draw(0), &draw(1), w2_size(like, self.reference), device)
            })?);
        }
        Ok(Self::direct(&pairs, sizes))
    }

    fn floor_of_points(&self, points: &Cloud, like: &Cloud, device: &Device, kept: &mut Part<'_>) -> Result<Floor, MetricError> {
        let reference = self.reference;
        let with_mass: Vec<usize> = (0..points.len()).filter(|&i| points.weight(i) > 0.0).collect();
        let (all, half, quarter) = (with_mass.len(), with_mass.len() / 2, with_mass.len() / 4);
        if half == 0 {
            return Err(CloudError::Single.into());
        }
        let uniform = [points, like, reference].iter().all(|cloud| cloud.weights().is_none());
        let enough = uniform && all >= like.len() + reference.len();
        let sizes = if enough { [like.len(), reference.len()] } else { [half; 2] };
        let drawn = w2_size(like, reference);
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for split in 0..SPLITS.1 {
            let order = Philox::new(self.seed, Stream::Metric).permutation(all, all, SPLIT_STEP + split);
            let mut reading = |name: &str, from: usize, [n, m]: [usize; 2]| {
                kept.once(&format!("{name} {split}"), || {
                    let part = |from: usize, size: usize| {
                        points.select(&order[from..from + size].iter().map(|&i| with_mass[i]).collect::<Vec<_>>())
                    };
                    self.pair(&part(from, n)?, &part(from + n, m)?, drawn.min(n).min(m), device)
                })
            };
            near.push(reading("near", 0, sizes)?);
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
        let divergence = Scores { of: |pair| pair.divergence, near, near_size, far, far_size };
        let exact = Scores { of: |pair| pair.exact, near, near_size: near_drawn, far, far_size: far_drawn };
        Ok(floor(
            divergence.extrapolated(ends.map(Cloud::effective_len)),
            exact.extrapolated(ends.map(|cloud| subsample(cloud, cloud.effective_len(), drawn))),
        ))
    }

    /// The floor from readings at the very `sizes`.
    fn direct(pairs: &[Pair], sizes: [usize; 2]) -> Floor {
        let scores = |of| Scores { of, near: pairs, near_size: 1.0, far: &[], far_size: 1.0 };
        let drawn = sizes[0].min(sizes[1]).min(LARGEST_SUBSAMPLE) as f64;
        floor(scores(|pair| pair.divergence).at(sizes.map(|size| size as f64)), scores(|pair| pair.exact).at([drawn; 2]))
    }

    fn pair(&self, first: &Cloud, second: &Cloud, drawn: usize, device: &Device) -> Result<Pair, MetricError> {
        let drawn = drawn.min(first.len()).min(second.len());
        let variance = [first, second].map(|cloud| cloud.variance() / (1.0 - 1.0 / cloud.effective_len()).max(f64::EPSILON));
        let (w2_squared, means) = assigned(first, second, drawn, self.seed, 0)?;
        Ok(Pair {
            divergence: Score {
                total: self.against(second, device)?.divergence(first, device)?,
                means: mean_distance(first, second)?.powi(2),
            },
            exact: Score { total: w2_squared, means },
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
        mean(pairs.iter().map(|pair| (self.of)(pair).total - (self.of)(pair).means))
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
        let variance = mean(self.near.iter().map(|pair| pair.variance));
        let expected = variance * (1.0 / sizes[0] + 1.0 / sizes[1]) + rest;
        let totals: Vec<f64> = self.near.iter().map(|pair| (self.of)(pair).total).collect();
        (expected, expected * low_quantile(&totals).min(BELOW_FLOOR))
    }
}

/// Whether the rests of both distances are known well enough.
fn settled(pairs: &[Pair]) -> bool {
    let known = |of: fn(&Pair) -> Score| {
        let rests: Vec<f64> = pairs.iter().map(|pair| of(pair).total - of(pair).means).collect();
        let (centre, n) = (mean(rests.iter().copied()), rests.len() as f64);
        let variance = rests.iter().map(|rest| (rest - centre).powi(2)).sum::<f64>() / (n - 1.0);
        (variance / n).sqrt() <= SPLITS.2 * centre.abs()
    };
    known(|pair| pair.divergence) && known(|pair| pair.exact)
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}
