//! Pairs drawn from an entropic plan: a partner y_j of x_i with probability P_ij / a_i.

use rayon::prelude::*;

use crate::measure::Cloud;
use crate::random::{Philox, Stream};
use crate::transport::problem::dot;

/// For each point of `source` the index of a partner in `target`, drawn from P_ij ∝ b_j exp((g_j − ½|x_i−y_j|²)/ε): one uniform
/// number a row, of (`seed`, stream 2, row). `g` has length m.
pub fn draw_pairs(source: &Cloud, target: &Cloud, g: &[f64], eps: f64, seed: u32) -> Vec<usize> {
    let philox = Philox::new(seed, Stream::Noise);
    // Relative to the mean of y, so that an offset of both clouds costs no digits.
    let (mean, d) = (target.mean(), target.dim());
    let (x, y) = (source.relative_to(&mean), target.relative_to(&mean));
    let rows = y.chunks_exact(d).enumerate();
    let bias: Vec<f64> = rows.map(|(j, y)| target.weight(j).ln() + (g[j] - 0.5 * dot(y, y)) / eps).collect();
    let draw = |(i, x): (usize, &[f64])| {
        let logits: Vec<f64> = y.chunks_exact(d).zip(&bias).map(|(y, bias)| bias + dot(x, y) / eps).collect();
        let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = logits.iter().map(|logit| (logit - top).exp()).collect();
        let mut left = philox.uniform(i as u32, 0, 0) * weights.iter().sum::<f64>();
        let chosen = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        // Rounding may leave a remainder: the likeliest partner, then.
        chosen.unwrap_or_else(|| logits.iter().position(|logit| *logit == top).unwrap_or(0))
    };
    x.par_chunks_exact(d).enumerate().map(draw).collect()
}
