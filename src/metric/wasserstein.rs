//! Exact W₂² by assignment, on subsamples small enough for one.

use rayon::prelude::*;

use crate::measure::Cloud;
use crate::metric::MetricError;
use crate::random::{Philox, Stream};
use crate::transport::assign;
use crate::vector::squared_distance;

/// The largest subsample an exact distance is computed on.
pub const LARGEST_SUBSAMPLE: usize = 1024;
/// Subsamples averaged over.
pub const DRAWS: u32 = 3;

/// The size min(n, m, 1024) of the subsamples that stand for `a` and `b`.
pub fn w2_size(a: &Cloud, b: &Cloud) -> usize {
    a.len().min(b.len()).min(LARGEST_SUBSAMPLE)
}

/// W₂² between `a` and `b` in units of |x−y|²: the mean of [`DRAWS`] exact assignments between subsamples of [`w2_size`] points.
///
/// A uniform cloud is drawn from without replacement, a weighted one with replacement and its weights. The draws are a function of
/// `seed` and the cloud's size alone. Subsamples of the same law do not come out at zero: compare with the noise floor.
///
/// # Errors
/// [`MetricError`] when the dimensions differ or a squared distance overflows.
pub fn w2_squared_exact(a: &Cloud, b: &Cloud, seed: u32) -> Result<f64, MetricError> {
    MetricError::same_dim(a.dim(), b.dim())?;
    let size = w2_size(a, b);
    let one = |draw: u32| Ok::<_, MetricError>(assigned(a, b, size, seed, draw)?.0);
    let whole = |cloud: &Cloud| cloud.len() == size && cloud.weights().is_none();
    if whole(a) && whole(b) {
        return one(0); // every draw is the same two sets
    }
    let draws: Vec<f64> = (0..DRAWS).into_par_iter().map(one).collect::<Result<_, _>>()?;
    Ok(draws.iter().sum::<f64>() / f64::from(DRAWS))
}

/// W₂² between the subsamples of `size` points of draw `draw`, and the part of it that is the squared distance of their means.
pub(super) fn assigned(a: &Cloud, b: &Cloud, size: usize, seed: u32, draw: u32) -> Result<(f64, f64), MetricError> {
    let x = a.uniform_at(&subsample(a, size, seed, 2 * draw));
    let y = b.uniform_at(&subsample(b, size, seed, 2 * draw + 1));
    Ok((assign(&x, &y)?.w2_squared, squared_distance(&x.mean(), &y.mean())))
}

/// What a flow pays to move its particles from start to end, and what the best pairing of the same points would.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedCost {
    /// Rows of the pairs used, at most 1,024 of them.
    pub rows: Vec<usize>,
    /// E|Z₁−Z₀|² over those pairs.
    pub own_cost: f64,
    /// Exact W₂² between the start and the end points of those pairs; `own_cost` − `w2_squared` ≥ 0 is the coupling gap.
    pub w2_squared: f64,
}

/// The two costs of the ledger, in units of |x−y|², on one seeded subsample of the pairs (Z₀, Z₁) = (`start`, `end`), row by row.
///
/// # Errors
/// [`MetricError`] when the dimensions differ, the rows do not pair up, or a squared distance overflows.
pub fn paired_cost(start: &Cloud, end: &Cloud, seed: u32) -> Result<PairedCost, MetricError> {
    MetricError::same_dim(start.dim(), end.dim())?;
    if start.len() != end.len() || start.weights().is_some() || end.weights().is_some() {
        return Err(MetricError::Unpaired { start: start.len(), end: end.len() });
    }
    let chosen = subsample(start, w2_size(start, end), seed, 0);
    let own: f64 = chosen.iter().map(|&i| squared_distance(start.row(i), end.row(i))).sum();
    let w2_squared = assign(&start.uniform_at(&chosen), &end.uniform_at(&chosen))?.w2_squared;
    Ok(PairedCost { own_cost: own / chosen.len() as f64, rows: chosen, w2_squared })
}

/// `size` rows of `cloud` for draw `step`: a permutation's start when uniform, independent draws by weight otherwise.
fn subsample(cloud: &Cloud, size: usize, seed: u32, step: u32) -> Vec<usize> {
    let philox = Philox::new(seed, Stream::Metric);
    if cloud.weights().is_none() {
        return philox.permutation(cloud.len(), size, step);
    }
    let inverse = cloud.inverse_cdf();
    (0..size).map(|i| inverse.index(philox.uniform(i as u32, step, 0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normals(n: usize, dim: usize, stream: Stream) -> Cloud {
        let philox = Philox::new(5, stream);
        let mut z = vec![0.0f32; dim];
        let draw = |i: usize| {
            philox.normals(i as u32, 0, 0, &mut z);
            z.iter().map(|&z| f64::from(z)).collect::<Vec<_>>()
        };
        Cloud::new((0..n).flat_map(draw).collect(), dim).unwrap()
    }

    #[test]
    fn a_small_cloud_is_at_no_distance_from_itself() {
        let cloud = normals(300, 3, Stream::Source);
        assert_eq!(w2_squared_exact(&cloud, &cloud, 0), Ok(0.0));
    }

    /// The mean of every subsample moves by the shift, so W₂² exceeds |shift|² by a noise that falls with the size.
    #[test]
    fn a_shifted_cloud_is_at_its_shift() {
        let (a, b) = (normals(3000, 2, Stream::Source), normals(2500, 2, Stream::Noise));
        let shifted = Cloud::new(b.points().iter().map(|x| x + 10.0).collect(), 2).unwrap();
        assert_eq!(w2_size(&a, &shifted), 1024);
        let w2 = w2_squared_exact(&a, &shifted, 0).unwrap();
        // Standard error of 200 from the means: 2·|shift|·√(2/1024/3) = .72.
        assert!((w2 - 200.0).abs() < 3.0, "{w2}");
        assert_eq!(w2, w2_squared_exact(&a, &shifted, 0).unwrap());
        assert_ne!(w2, w2_squared_exact(&a, &shifted, 1).unwrap());
    }

    /// Points 0 and 1 with masses ¾ and ¼ against ¼ and ¾: half the mass moves by one.
    #[test]
    fn weights_decide_which_points_are_drawn() {
        let two: Vec<f64> = (0..2000).map(|i| f64::from(i % 2)).collect();
        let weighted = |heavy: usize| {
            let weights = (0..2000).map(|i| if i % 2 == heavy { 3.0 } else { 1.0 }).collect();
            Cloud::new(two.clone(), 1).unwrap().with_weights(weights).unwrap()
        };
        let w2 = w2_squared_exact(&weighted(0), &weighted(1), 0).unwrap();
        // Standard error √(2·(3/16)/1024/3) = .011.
        assert!((w2 - 0.5).abs() < 0.04, "{w2}");
        let mut none = vec![0.0; 2000];
        none[7] = 1.0;
        let point = Cloud::new(two, 1).unwrap().with_weights(none).unwrap();
        assert!(subsample(&point, 50, 0, 0).iter().all(|&i| i == 7));
    }

    #[test]
    fn reversing_the_pairs_of_a_line_opens_a_coupling_gap() {
        let line = Cloud::new((0..400).map(f64::from).collect(), 1).unwrap();
        let shifted = Cloud::new((0..400).map(|i| f64::from(i) + 2.0).collect(), 1).unwrap();
        let straight = paired_cost(&line, &shifted, 0).unwrap();
        assert_eq!((straight.own_cost, straight.w2_squared, straight.rows.len()), (4.0, 4.0, 400));
        let reversed = Cloud::new((0..400).rev().map(f64::from).collect(), 1).unwrap();
        let crossed = paired_cost(&line, &reversed, 0).unwrap();
        // Mean of (399 − 2i)² over i is (400² − 1)/3.
        assert!((crossed.own_cost - (400f64.powi(2) - 1.0) / 3.0).abs() < 1e-9 && crossed.w2_squared == 0.0);
        assert!(matches!(
            paired_cost(&line, &normals(3, 1, Stream::Source), 0),
            Err(MetricError::Unpaired { start: 400, end: 3 })
        ));
    }
}
