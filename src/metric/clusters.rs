//! k-means: the modes of points whose law is not known (Lloyd 1982, from the seeds of Arthur and Vassilvitskii 2007).

use rayon::prelude::*;

use crate::measure::Cloud;
use crate::random::{Philox, Stream};
use crate::vector::squared_distance;

/// Points that clusters are found from, at most.
const FITTED: usize = 4096;
/// Starts, of which the one with the least sum of squares counts, and steps of each.
const STARTS: u32 = 8;
const STEPS: usize = 30;
/// Philox step of the draws.
const STEP: u32 = 1 << 19;

/// Centres of `k` clusters of `cloud`, k × d: a local minimum of Σ_i a_i min_j |x_i − c_j|².
pub fn centres(cloud: &Cloud, k: usize, seed: u32) -> Vec<f64> {
    let philox = Philox::new(seed, Stream::Metric);
    let fitted = match cloud.weights() {
        None => cloud.uniform_at(&philox.permutation(cloud.len(), FITTED, STEP)),
        Some(_) => cloud.resample(cloud.len().min(FITTED), seed, Stream::Metric, STEP),
    };
    let starts: Vec<(f64, Vec<f64>)> = (0..STARTS).into_par_iter().map(|start| descend(&fitted, k, philox, start)).collect();
    starts.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, centres)| centres).unwrap_or_default()
}

/// The centre nearest to each point of `cloud`, with the squared distance to it.
pub fn nearest_centres<'a>(cloud: &'a Cloud, centres: &'a [f64]) -> impl ExactSizeIterator<Item = (usize, f64)> + 'a {
    cloud.rows().map(|x| {
        let distances = centres.chunks_exact(x.len()).map(|centre| squared_distance(x, centre)).enumerate();
        distances.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, f64::NAN))
    })
}

fn descend(cloud: &Cloud, k: usize, philox: Philox, start: u32) -> (f64, Vec<f64>) {
    let (n, d) = (cloud.len(), cloud.dim());
    // Each seed is drawn in proportion to the squared distance from those before.
    let mut distances = vec![1.0; n];
    let mut centres = Vec::with_capacity(k * d);
    for seed in 0..k {
        let mut left = philox.uniform(seed as u32, STEP + 1 + start, 0) * distances.iter().sum::<f64>();
        let chosen = distances.iter().position(|distance| {
            left -= distance;
            left < 0.0
        });
        let chosen = cloud.row(chosen.unwrap_or(n - 1));
        centres.extend_from_slice(chosen);
        for (distance, x) in distances.iter_mut().zip(cloud.rows()) {
            let new = squared_distance(x, chosen);
            *distance = if seed == 0 { new } else { distance.min(new) };
        }
    }
    let mut squares = f64::INFINITY;
    for _ in 0..STEPS {
        let (mut sums, mut counts, mut total) = (vec![0.0; k * d], vec![0.0; k], 0.0);
        for (x, (own, distance)) in cloud.rows().zip(nearest_centres(cloud, &centres)) {
            sums[own * d..][..d].iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
            counts[own] += 1.0;
            total += distance;
        }
        if total >= squares {
            break;
        }
        squares = total;
        for (own, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            centres[own * d..][..d].iter_mut().zip(&sums[own * d..][..d]).for_each(|(centre, sum)| *centre = sum / count);
        }
    }
    (squares, centres)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::named;

    #[test]
    fn eight_gaussians_have_their_means_for_centres() {
        let law = named("8gaussians", None).unwrap();
        let found = centres(&law.sample(4000, 0, Stream::Source, 0), 8, 0);
        let crate::measure::Measure::Law(mixture) = &law else { panic!("8gaussians is a law") };
        for component in mixture.components() {
            let nearest = found.chunks_exact(2).map(|centre| squared_distance(centre, &component.mean)).fold(f64::MAX, f64::min);
            // Ten standard errors of the mean of 500 points in each coordinate.
            assert!(nearest < 100.0 * 2.0 * component.covariance.value(0) / 500.0, "{nearest}");
        }
    }
}
