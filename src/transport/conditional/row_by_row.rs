//! The law under a cost that is not a product, or has classes: row by row on the processor in f64, in memory of O(m) a thread.

use rayon::prelude::*;

use crate::measure::Cloud;
use crate::transport::conditional::{Conditional, Draws, Partners};

impl Conditional {
    /// What `of_row` makes of each point's number, log Σ_j b_j exp((g_j − c(x, y_j))/ε) and probabilities p_j(x).
    fn each_row<R: Send>(&self, points: &Cloud, of_row: impl Fn(usize, f64, &[f64]) -> R + Sync) -> Vec<R> {
        let Self { target, g, eps, cost, classes, .. } = self;
        let (x, y, d) = (points.points(), target.points(), target.dim());
        let log_weights: Vec<f64> = (0..target.len()).map(|j| target.weight(j).ln()).collect();
        let logit = |i: usize, j: usize| {
            let of_classes = classes.as_ref().map_or(0.0, |classes| classes.between(i, j));
            log_weights[j] + (g[j] - cost.between(&x[i * d..][..d], &y[j * d..][..d]) - of_classes) / eps
        };
        let row = |law: &mut Vec<f64>, i: usize| {
            law.clear();
            law.extend((0..target.len()).map(|j| logit(i, j)));
            let top = law.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            law.iter_mut().for_each(|logit| *logit = (*logit - top).exp());
            let sum: f64 = law.iter().sum();
            law.iter_mut().for_each(|p| *p /= sum);
            of_row(i, top + sum.ln(), law)
        };
        (0..points.len()).into_par_iter().map_init(Vec::new, row).collect()
    }

    /// log Σ_j b_j exp((g_j − c(x, y_j))/ε) of each point.
    pub(super) fn row_log_sum(&self, points: &Cloud) -> Vec<f64> {
        self.each_row(points, |_, log_sum, _| log_sum)
    }

    /// The same, relative to −f/ε where f is known, and the mean of `values`, m × p.
    pub(super) fn row_mean(&self, points: &Cloud, values: &[f64], p: usize) -> (Vec<f64>, Vec<f64>) {
        let f = self.f.as_deref();
        let rows = self.each_row(points, |i, log_sum, law| {
            let mut mean = vec![0.0; p];
            for (weight, value) in law.iter().zip(values.chunks_exact(p)) {
                mean.iter_mut().zip(value).for_each(|(mean, v)| *mean += weight * v);
            }
            (log_sum + f.map_or(0.0, |f| f[i] / self.eps), mean)
        });
        let (log_sums, means): (Vec<f64>, Vec<Vec<f64>>) = rows.into_iter().unzip();
        (log_sums, means.concat())
    }

    /// [`Conditional::draw`].
    pub(super) fn row_draws(&self, points: &Cloud, draws: Draws<'_>) -> Vec<u32> {
        let rows = self.each_row(points, |i, _, law| {
            let quantiles = &draws.quantiles[draws.first[i] as usize..draws.first[i + 1] as usize];
            let running: Vec<f64> = law
                .iter()
                .scan(0.0, |sum, p| {
                    *sum += p;
                    Some(*sum)
                })
                .collect();
            let total = running[running.len() - 1];
            let index = |quantile: &f64| running.partition_point(|sum| *sum <= quantile * total) as u32;
            quantiles.iter().map(index).collect::<Vec<u32>>()
        });
        rows.concat()
    }

    /// [`Conditional::top`] of k ≤ m.
    pub(super) fn row_top(&self, points: &Cloud, k: usize) -> Partners {
        Partners::of_rows(k, self.each_row(points, |_, _, law| likeliest(law, k)))
    }

    /// [`Conditional::entropy`].
    pub(super) fn row_entropy(&self, points: &Cloud) -> Vec<f64> {
        self.each_row(points, |_, _, law| law.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum())
    }
}

/// The `k` likeliest of the points of a law, likeliest first, and their probabilities.
pub(in crate::transport) fn likeliest(law: &[f64], k: usize) -> (Vec<u32>, Vec<f64>) {
    let mut order: Vec<u32> = (0..law.len() as u32).collect();
    let likelier = |a: &u32, b: &u32| law[*b as usize].total_cmp(&law[*a as usize]).then(a.cmp(b));
    order.select_nth_unstable_by(k - 1, likelier);
    order.truncate(k);
    order.sort_unstable_by(likelier);
    let probability = order.iter().map(|&j| law[j as usize]).collect();
    (order, probability)
}

impl Partners {
    /// Those of the rows.
    pub(in crate::transport) fn of_rows(k: usize, rows: Vec<(Vec<u32>, Vec<f64>)>) -> Self {
        let (index, probability): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        Self { k, index: index.concat(), probability: probability.concat() }
    }
}
