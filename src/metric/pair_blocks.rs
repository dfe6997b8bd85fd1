//! Energy distance and MMD² of two clouds by sums over pairs of blocks of their points: one pass over all pairs gives the value,
//! and from the sums between blocks its half-samples and relabellings at the full sizes.
//!
//! A cloud is shuffled and cut into blocks of s points, as many in both, s being the least that leaves at most 64 of them; the
//! rest of each cloud counts for the value alone. With the sums S_gh = Σ a_i a_j k(x_i, x_j) over i ∈ g, j ∈ h, masses W_g = Σ
//! a_i and squares Q_g = Σ a_i², a set of blocks has
//!
//! ```text
//! E k(x, x′) = (Σ_gh S_gh − k(0) Σ_g Q_g) / (W² − Σ_g Q_g)        W = Σ_g W_g
//! ```
//!
//! without the pairs of a point with itself, so that both distances are zero on average between samples of one law (U-statistics:
//! Gretton et al. 2012, eq. 3; Székely, Rizzo 2013). O((n + m)²/2) evaluations of each kernel, and memory for the sums of some
//! 100 pieces.

use crate::backend::{Backend, Device, PairKernel, Task};
use crate::measure::Cloud;
use crate::metric::kernel::Side;
use crate::metric::resample::{Estimate, Extreme, Sample, Units, thinned};
use crate::metric::{MetricError, median_of_pairs};
use crate::random::{Philox, Stream};
use crate::transport::TransportError;
use crate::watch::{Progress, Watch};

/// Blocks of both clouds together, at most, and of each, at least where it has as many points.
const BLOCKS: usize = 64;
const FEWEST: usize = 8;
/// Philox step of the shuffles.
const SHUFFLE_STEP: u32 = (1 << 23) - 4;

/// Energy distance and MMD² with their intervals and p-values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairDistances {
    /// 2 E|x−y| − E|x−x′| − E|y−y′|, in units of the coordinates; may be negative.
    pub energy: Estimate,
    /// E k(x, x′) + E k(y, y′) − 2 E k(x, y) of the Gaussian kernel; may be negative.
    pub mmd_squared: Estimate,
    /// Bandwidth b of k = exp(−|x−y|²/2b²): the median |y−y′| of the second cloud.
    pub bandwidth: f64,
}

/// Energy distance and MMD² between `a` and `b`, without bias; p-values by `permutations` relabellings, none if there are none.
///
/// Weights count. The p-values of weighted clouds are those of unweighted samples that each point joins with the chance a_i/max
/// a.
///
/// # Errors
/// [`MetricError`] when the dimensions differ, a cloud has a single point with mass, all of `b` lies in one place, or the watch
/// says stop.
pub fn pair_distances(
    (a, b): (&Cloud, &Cloud),
    (permutations, seed): (u32, u32),
    device: &Device,
    mut watch: Watch<'_>,
) -> Result<PairDistances, MetricError> {
    MetricError::same_dim(a.dim(), b.dim())?;
    let bandwidth = median_of_pairs(b, seed);
    if bandwidth == 0.0 {
        return Err(MetricError::NoSpread);
    }
    let sums = Sums::new([a, b], bandwidth, seed, device, watch.part("all"))?;
    let values = sums.whole();
    let halves = sums.units.half_widths(seed, &watch, |labels| sums.distances(labels, false))?;
    let relabelled = |sums: &Sums, watch: &Watch<'_>| {
        let statistic = |labels: &[Sample]| sums.distances(labels, false);
        sums.units.p_values((permutations, seed), [Extreme::Large; 2], watch, statistic)
    };
    let equal = [thinned(a, seed, 0), thinned(b, seed, 1)];
    let p = if permutations == 0 || equal.iter().any(|cloud| cloud.len() < 2) {
        [f64::NAN; 2]
    } else if a.weights().is_some() || b.weights().is_some() {
        relabelled(&Sums::new(equal.each_ref(), bandwidth, seed, device, watch.part("thinned"))?, &watch)?
    } else {
        relabelled(&sums, &watch)?
    };
    let estimate = |k: usize| Estimate::new(values[k], halves[k], p[k], [f64::NEG_INFINITY, f64::INFINITY]);
    Ok(PairDistances { energy: estimate(0), mmd_squared: estimate(1), bandwidth })
}

/// Sums over the pairs of pieces.
struct Sums {
    /// The blocks, with which the pieces begin.
    units: Units,
    /// Which cloud a piece is of, and its Σ a and Σ a².
    pieces: Vec<(Sample, f64, f64)>,
    /// Σ a_i a_j |x_i − x_j| and Σ a_i a_j k(x_i, x_j), pieces × pieces.
    of: [Vec<f64>; 2],
}

impl Sums {
    fn new(clouds: [&Cloud; 2], bandwidth: f64, seed: u32, device: &Device, watch: Watch<'_>) -> Result<Self, MetricError> {
        let [n, m] = clouds.map(Cloud::len);
        let size = (n + m).div_ceil(BLOCKS).min(n.min(m) / FEWEST).max(1);
        // The larger of two clouds of very different sizes has what the smaller leaves.
        let few = (n.min(m) / size).min(BLOCKS - FEWEST);
        let blocks = |n: usize| (n / size).min(BLOCKS - few);
        let units = Units { a: blocks(n), b: blocks(m) };
        let philox = Philox::new(seed, Stream::Bootstrap);
        let mut cut = Vec::new();
        let mut rests = Vec::new();
        for (k, (cloud, (sample, blocks))) in clouds.into_iter().zip([(Sample::A, units.a), (Sample::B, units.b)]).enumerate() {
            let order = philox.permutation(cloud.len(), cloud.len(), SHUFFLE_STEP + k as u32);
            let (taken, rest) = order.split_at(blocks * size);
            cut.extend(taken.chunks(size).map(|rows| (sample, rows.to_vec())));
            rests.extend(rest.chunks((n + m).div_ceil(BLOCKS)).map(|rows| (sample, rows.to_vec())));
        }
        cut.extend(rests);
        let (pieces, of) = device.run(Pass { clouds, cut, bandwidth, watch })?;
        let sums = Self { units, pieces, of };
        let single = |sample: Sample| {
            let own = sums.pieces.iter().filter(|(of, ..)| *of == sample);
            let (mass, squares) = own.fold((0.0, 0.0), |(mass, squares), (_, w, q)| (mass + w, squares + q));
            mass * mass <= squares * (1.0 + f64::EPSILON)
        };
        if single(Sample::A) || single(Sample::B) {
            return Err(MetricError::Single);
        }
        Ok(sums)
    }

    /// Both distances between all points.
    fn whole(&self) -> [f64; 2] {
        self.distances(&self.units.labels(), true)
    }

    /// Both distances between the blocks labelled A and those labelled B, with the rests if asked.
    fn distances(&self, labels: &[Sample], rests: bool) -> [f64; 2] {
        let own = |(k, piece): (usize, &(Sample, f64, f64))| match labels.get(k) {
            Some(label) => *label,
            None if rests => piece.0,
            None => Sample::Neither,
        };
        let labels: Vec<Sample> = self.pieces.iter().enumerate().map(own).collect();
        let [a, b] =
            [Sample::A, Sample::B].map(|sample| -> Vec<usize> { (0..labels.len()).filter(|&k| labels[k] == sample).collect() });
        let moments = |set: &[usize]| set.iter().fold((0.0, 0.0), |(w, q), &k| (w + self.pieces[k].1, q + self.pieces[k].2));
        let ((mass_a, squares_a), (mass_b, squares_b)) = (moments(&a), moments(&b));
        let total = |sums: &[f64], rows: &[usize], columns: &[usize]| -> f64 {
            let row = |g: &usize| -> f64 { columns.iter().map(|h| sums[g * labels.len() + h]).sum() };
            rows.iter().map(row).sum()
        };
        let distance = |k: usize, own: f64| {
            let sums = &self.of[k];
            let within =
                |set: &[usize], mass: f64, squares: f64| (total(sums, set, set) - own * squares) / (mass * mass - squares);
            within(&a, mass_a, squares_a) + within(&b, mass_b, squares_b) - 2.0 * total(sums, &a, &b) / (mass_a * mass_b)
        };
        [-distance(0, 0.0), distance(1, 1.0)]
    }
}

/// One pass over the pairs of all pieces, each a cloud and rows of it.
struct Pass<'a, 'w> {
    clouds: [&'a Cloud; 2],
    cut: Vec<(Sample, Vec<usize>)>,
    bandwidth: f64,
    watch: Watch<'w>,
}

impl Task for Pass<'_, '_> {
    type Output = Result<(Vec<(Sample, f64, f64)>, [Vec<f64>; 2]), MetricError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let Self { clouds, cut, bandwidth, mut watch } = self;
        let centre = clouds[0].mean();
        let of = |sample: Sample| clouds[usize::from(sample == Sample::B)];
        let side = |(sample, rows): &(Sample, Vec<usize>)| Side::<B>::of_rows(backend, of(*sample), rows, &centre);
        let sides = cut.iter().map(side).collect::<Result<Vec<_>, _>>()?;
        let pieces = sides.len();
        let mut sums = [vec![0.0; pieces * pieces], vec![0.0; pieces * pieces]];
        for g in 0..pieces {
            if !watch.tell(Progress { done: g, of: Some(pieces), ..Progress::default() }) {
                return Err(TransportError::Stopped { iterations: g }.into());
            }
            let row = watch.once(&g.to_string(), || {
                let mut row = Vec::with_capacity(2 * (pieces - g));
                for other in &sides[g..] {
                    for kernel in [PairKernel::Distance, PairKernel::Gaussian(bandwidth)] {
                        row.push(backend.pair_sum(sides[g].weighted(), other.weighted(), kernel)?);
                    }
                }
                Ok::<_, MetricError>(row)
            })?;
            for (h, pair) in (g..pieces).zip(row.chunks_exact(2)) {
                for (sums, sum) in sums.iter_mut().zip(pair) {
                    (sums[g * pieces + h], sums[h * pieces + g]) = (*sum, *sum);
                }
            }
        }
        let masses = cut.iter().zip(&sides).map(|((sample, _), side)| (*sample, side.mass, side.squares));
        Ok((masses.collect(), sums))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precision;
    use crate::metric::{Estimator, energy_distance, mmd_squared};

    fn normals(n: usize, shift: f64, scale: f64, d: usize, seed: u32) -> Cloud {
        let philox = Philox::new(seed, Stream::Source);
        let mut z = vec![0.0f32; d];
        let point = |i: usize| {
            philox.normals(i as u32, 0, 0, &mut z);
            z.iter().map(|&z| scale * f64::from(z) + shift).collect::<Vec<_>>()
        };
        Cloud::new((0..n).flat_map(point).collect(), d).unwrap()
    }

    fn distances(a: &Cloud, b: &Cloud, permutations: u32, seed: u32) -> PairDistances {
        pair_distances((a, b), (permutations, seed), &Device::cpu(Precision::F32), Watch::default()).unwrap()
    }

    /// E k of the Gaussian kernel at bandwidth b between N(0, s²I) and N(m, t²I): (b²/(b²+s²+t²))^{d/2} exp(−|m|²/2(b²+s²+t²)).
    fn kernel_mean(bandwidth: f64, variances: f64, squared_shift: f64, d: usize) -> f64 {
        let total = bandwidth * bandwidth + variances;
        (bandwidth * bandwidth / total).powi(d as i32).sqrt() * (-0.5 * squared_shift / total).exp()
    }

    /// The blocks and their rest have all pairs; weights that are whole numbers of points too.
    #[test]
    fn the_value_is_that_of_the_sums_over_all_pairs() {
        let device = Device::cpu(Precision::F64);
        for (n, m) in [(300, 211), (20, 900), (5, 7), (2, 2)] {
            let a = normals(n, 0.3, 1.0, 2, 0).with_weights((0..n).map(|i| (i % 3 + 1) as f64).collect()).unwrap();
            let b = normals(m, 0.0, 1.5, 2, 1);
            let found = pair_distances((&a, &b), (0, 0), &device, Watch::default()).unwrap();
            let energy = energy_distance(&a, &b, Estimator::Unbiased, &device).unwrap();
            let mmd = mmd_squared(&a, &b, found.bandwidth, Estimator::Unbiased, &device).unwrap();
            assert!((found.energy.value - energy).abs() < 1e-12 && (found.mmd_squared.value - mmd).abs() < 1e-12);
            assert_eq!(found.energy.interval.is_some(), n.min(m) >= 4);
            assert_eq!(found.energy.p, None);
        }
    }

    /// The interval covers the closed form in 90 to 98 %, that is in 90 to 98 of 100 pairs of clouds, to two binomial deviations
    /// (4).
    #[test]
    fn intervals_cover_the_closed_forms_between_gaussians() {
        let (d, shift, scale) = (2, 0.4, 1.3);
        let squared_shift = d as f64 * shift * shift;
        // E|z| of z ~ N(m, v) on the line.
        let line = |v: f64, m: f64| {
            let deviation = v.sqrt();
            let erf = |x: f64| 1.0 - 2.0 * upper_tail(x * std::f64::consts::SQRT_2);
            deviation * (2.0 / std::f64::consts::PI).sqrt() * (-m * m / (2.0 * v)).exp() + m * erf(m / (2.0 * v).sqrt())
        };
        let energy = 2.0 * line(1.0 + scale * scale, shift) - line(2.0, 0.0) - line(2.0 * scale * scale, 0.0);
        let (mut covered, mut mean) = ([0, 0], 0.0);
        for seed in 0..100 {
            let (a, b) = (normals(150, shift, scale, 1, 2 * seed), normals(200, 0.0, 1.0, 1, 2 * seed + 1));
            let found = distances(&a, &b, 0, seed).energy;
            mean += found.value / 100.0;
            covered[0] += usize::from(found.interval.is_some_and(|[low, high]| (low..=high).contains(&energy)));
            let (a, b) = (normals(150, shift, scale, d, 2 * seed), normals(200, 0.0, 1.0, d, 2 * seed + 1));
            let found = distances(&a, &b, 0, seed);
            let of = |variances, squared| kernel_mean(found.bandwidth, variances, squared, d);
            let mmd = of(2.0 * scale * scale, 0.0) + of(2.0, 0.0) - 2.0 * of(1.0 + scale * scale, squared_shift);
            covered[1] += usize::from(found.mmd_squared.interval.is_some_and(|[low, high]| (low..=high).contains(&mmd)));
        }
        // Its standard deviation is about 0.03 for each pair of clouds.
        assert!((mean - energy).abs() < 0.012, "{mean} for {energy}");
        assert!(covered.iter().all(|covered| (86..=100).contains(covered)), "{covered:?} of 100");
    }

    /// P(Z > x) of the standard normal by Simpson's rule on 400 intervals up to x + 10.
    fn upper_tail(x: f64) -> f64 {
        let (h, density) = (10.0 / 400.0, |z: f64| (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt());
        let weight = |k: usize| {
            if k == 0 || k == 400 {
                1.0
            } else if k % 2 == 1 {
                4.0
            } else {
                2.0
            }
        };
        (0..=400).map(|k| weight(k) * density(x + k as f64 * h)).sum::<f64>() * h / 3.0
    }

    /// Of 100 pairs of samples p ≤ α in 100 α, to three binomial deviations, also where blocks have two points and a cloud has
    /// weights.
    #[test]
    fn p_values_are_uniform_between_samples_of_one_law() {
        for weighted in [false, true] {
            let mut found = Vec::new();
            for seed in 0..100 {
                let (a, b) = (normals(90, 0.0, 1.0, 2, 2 * seed), normals(60, 0.0, 1.0, 2, 2 * seed + 1));
                // Draws of N(0, I) weighed to N(0.3, I).
                let weights = a.rows().map(|x| (0.3 * (x[0] + x[1])).exp()).collect();
                let (a, b) =
                    if weighted { (a.with_weights(weights).unwrap(), normals(60, 0.3, 1.0, 2, 2 * seed + 1)) } else { (a, b) };
                let distances = distances(&a, &b, 99, seed);
                found.push([distances.energy.p.unwrap(), distances.mmd_squared.p.unwrap()]);
            }
            for (k, level) in [(0, 0.1), (0, 0.5), (1, 0.1), (1, 0.5)] {
                let below = found.iter().filter(|p| p[k] <= level + 1e-9).count() as f64;
                let deviation = (100.0f64 * level * (1.0 - level)).sqrt();
                assert!((below - 100.0 * level).abs() < 3.0 * deviation, "{below} of 100 at {level}, weighted {weighted}");
            }
        }
    }

    #[test]
    fn a_difference_has_a_small_p_value_and_one_point_is_refused() {
        let found = distances(&normals(400, 0.0, 1.0, 2, 0), &normals(50, 0.8, 1.0, 2, 1), 199, 0);
        assert_eq!((found.energy.p, found.mmd_squared.p), (Some(0.005), Some(0.005)));
        let (one, b) = (normals(1, 0.0, 1.0, 2, 0), normals(9, 0.0, 1.0, 2, 1));
        let refused = pair_distances((&one, &b), (0, 0), &Device::cpu(Precision::F32), Watch::default());
        assert_eq!(refused, Err(MetricError::Single));
    }
}
