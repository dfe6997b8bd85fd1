//! What chance alone does: the null distributions behind the flags.

use rayon::prelude::*;

use crate::measure::Cloud;
use crate::random::{Philox, Stream};

/// Level of every flag: the chance that it is raised on an independent sample of the same law.
pub const LEVEL: f64 = 0.01;
/// The standard normal's quantile at that level.
const NORMAL_QUANTILE: f64 = -2.326_347_874_040_841;
/// Splits behind the null of a ratio of variances.
const SPLITS: u32 = 999;
/// First Philox step of those splits.
const SPLIT_STEP: u32 = 1 << 18;

/// The 1 % quantile of the law that `scores` are drawn from over its mean, by the gamma law of their relative variance v
/// (distances between clouds of one law are sums of weighted chi-squares): (1 − v/9 + z √v/3)³ (Wilson, Hilferty 1931).
pub fn low_quantile(scores: &[f64]) -> f64 {
    let n = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / n;
    let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    let relative = variance / (mean * mean);
    (1.0 - relative / 9.0 + NORMAL_QUANTILE * relative.sqrt() / 3.0).max(0.0).powi(3)
}

/// The chance of at most `found` marked balls in `draws` without replacement from `all`, `marked` of them: the hypergeometric law
/// of Fisher's exact test.
pub fn at_most(found: usize, draws: usize, marked: usize, all: usize) -> f64 {
    let (least, most) = ((draws + marked).saturating_sub(all), draws.min(marked));
    // log of each chance over that of the first; p(h+1)/p(h) = (K−h)(D−h)/((h+1)(N−K−D+h+1)).
    let mut logs = vec![0.0];
    for h in least..most {
        let (up, down) = ((marked - h) as f64 * (draws - h) as f64, (h + 1) as f64 * (all + h + 1 - marked - draws) as f64);
        logs.push(logs[h - least] + (up / down).ln());
    }
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let chances: Vec<f64> = logs.iter().map(|log| (log - largest).exp()).collect();
    let below = if found < least { 0 } else { (found - least + 1).min(chances.len()) };
    chances[..below].iter().sum::<f64>() / chances.iter().sum::<f64>()
}

/// |x − mean|² of the points of `cloud`; of as many draws by weight as it has effective points where it has weights.
pub fn spread(cloud: &Cloud, seed: u32) -> Vec<f64> {
    let mean = cloud.mean();
    let squared = |x: &[f64]| x.iter().zip(&mean).map(|(x, m)| (x - m).powi(2)).sum::<f64>();
    match cloud.weights() {
        None => cloud.rows().map(squared).collect(),
        Some(_) => {
            let size = cloud.effective_len().round() as usize;
            cloud.resample(size, seed, Stream::Metric, SPLIT_STEP - 1).rows().map(squared).collect()
        }
    }
}

/// Ratios of the mean of `n` of the numbers `pool` to that of `m`, sorted: of disjoint random parts where the pool has just n +
/// m, else of independent draws from it.
pub fn ratios(pool: &[f64], n: usize, m: usize, seed: u32) -> Vec<f64> {
    let philox = Philox::new(seed, Stream::Metric);
    let total: f64 = pool.iter().sum();
    let ratio = |split: u32| {
        let (first, second) = if pool.len() == n + m {
            let few: f64 = philox.permutation(n + m, n.min(m), SPLIT_STEP + split).into_iter().map(|i| pool[i]).sum();
            if n <= m { (few, total - few) } else { (total - few, few) }
        } else {
            let sum = |size: usize, draw: u32| {
                let at = |i: usize| (philox.uniform(i as u32, SPLIT_STEP + split, draw) * pool.len() as f64) as usize;
                (0..size).map(|i| pool[at(i)]).sum::<f64>()
            };
            (sum(n, 1), sum(m, 2))
        };
        first / n as f64 / (second / m as f64)
    };
    let mut ratios: Vec<f64> = (0..SPLITS).into_par_iter().map(ratio).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    ratios
}

/// The chances, by the sorted draws `null`, of a number as small as `found` and of one as large; itself counts as one of them.
pub fn tails(null: &[f64], found: f64) -> (f64, f64) {
    let all = (null.len() + 1) as f64;
    let (low, high) = (null.partition_point(|x| *x <= found), null.partition_point(|x| *x < found));
    ((low + 1) as f64 / all, (null.len() - high + 1) as f64 / all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three of five balls are marked and two are drawn: no, one and two marked in 1, 6 and 3 of 10 cases.
    #[test]
    fn the_hypergeometric_law_counts_the_cases() {
        for (found, chance) in [(0, 0.1), (1, 0.7), (2, 1.0), (9, 1.0)] {
            assert!((at_most(found, 2, 3, 5) - chance).abs() < 1e-15);
        }
        // Four draws from five cannot leave out two marked balls.
        assert_eq!(at_most(1, 4, 3, 5), 0.0);
        // log-chances down to e^{−700} and beyond.
        assert!(at_most(0, 2000, 2000, 4000) < 1e-300 && (at_most(1000, 2000, 2000, 4000) - 0.5).abs() < 0.02);
    }

    /// The gamma law of shape 3 has its 1 % quantile at 0.436/3 of its mean; Wilson and Hilferty are 6 % below at that shape.
    #[test]
    fn the_low_quantile_is_that_of_the_gamma_law() {
        let deviation = (1.0f64 / 3.0).sqrt();
        let scores: Vec<f64> = [-1.0, 1.0].iter().map(|sign| 1.0 + sign * deviation / 2f64.sqrt()).collect();
        assert!((low_quantile(&scores) / (0.436 / 3.0) - 1.0).abs() < 0.07, "{}", low_quantile(&scores));
        assert_eq!(low_quantile(&[2.0, 2.0, 2.0]), 1.0);
    }

    #[test]
    fn the_tails_of_a_number_count_itself() {
        let null = [1.0, 2.0, 3.0];
        assert_eq!(tails(&null, 0.5), (0.25, 1.0));
        assert_eq!(tails(&null, 2.0), (0.75, 0.75));
        assert_eq!(tails(&null, 4.0), (1.0, 0.25));
    }

    /// Var log ratio = (κ)(1/n + 1/m) with κ = Var r/(E r)², 1 for the squared radii of a plane's normals.
    #[test]
    fn ratios_of_variances_spread_as_their_sizes_say() {
        let philox = Philox::new(0, Stream::Source);
        let pool: Vec<f64> = (0..20_000).map(|i| -(1.0 - philox.uniform(i, 0, 0)).ln()).collect();
        for (pool, n, m) in [(&pool[..], 400, 600), (&pool[..1000], 400, 600)] {
            let logs: Vec<f64> = ratios(pool, n, m, 0).iter().map(|ratio| ratio.ln()).collect();
            let variance = logs.iter().map(|log| log * log).sum::<f64>() / logs.len() as f64;
            let expected = 1.0 / 400.0 + 1.0 / 600.0;
            // Of 999 draws to 4.5 %, the pool's own κ to 10 %.
            assert!((variance / expected - 1.0).abs() < 0.25, "{variance} for {expected}");
        }
    }
}
