//! Pairs drawn from a plan of any solver, by systematic sampling: with one uniform U, pair k lies at the quantile (k + U)/N of the plan's
//! mass, source by source, and comes in a random order. So a source is drawn N times its mass, and an entry of an exact plan N times its
//! own, up to less than one.

use crate::backend::Device;
use crate::random::{Philox, Stream};
use crate::transport::{AnyPlan, Draws, Pairs, TransportError};

impl AnyPlan {
    /// A partner in the target for each point of the source, drawn from P_ij / Σ_k P_ik: one uniform number a row, of (`seed`, stream
    /// 2, row). A point without mass has any partner.
    ///
    /// # Errors
    /// [`TransportError`] when memory runs out.
    pub fn draw_partners(&self, seed: u32, device: &Device) -> Result<Vec<u32>, TransportError> {
        let (n, philox) = (self.lengths()[0] as u32, Philox::new(seed, Stream::Noise));
        let quantiles: Vec<f64> = (0..n).map(|i| philox.uniform(i, 0, 0)).collect();
        self.partners_at(&(0..=n).collect::<Vec<u32>>(), &quantiles, device)
    }

    /// `total` pairs drawn from the plan; `step` tells streams of the same seed apart.
    ///
    /// # Errors
    /// [`TransportError`] when memory runs out.
    pub fn draw_pairs(&self, total: u32, (seed, step): (u32, u32), device: &Device) -> Result<Pairs, TransportError> {
        let philox = Philox::new(seed, Stream::Split);
        let offset = philox.uniform(0, step, u32::MAX);
        let masses = self.row_mass(device)?;
        let whole: f64 = masses.iter().sum();
        let last = masses.iter().rposition(|mass| *mass > 0.0).unwrap_or(0);
        let (mut first, mut sources, mut quantiles) = (vec![0], Vec::new(), Vec::new());
        let mut below = 0.0;
        for (i, mass) in masses.iter().enumerate() {
            while sources.len() < total as usize {
                let at = whole * (sources.len() as f64 + offset) / f64::from(total) - below;
                // The last source with mass has whatever rounding leaves.
                if i != last && at >= *mass {
                    break;
                }
                sources.push(i as u32);
                quantiles.push((at / mass).clamp(0.0, 1.0));
            }
            below += mass;
            first.push(sources.len() as u32);
        }
        let targets = self.partners_at(&first, &quantiles, device)?;
        let place = |k: u32| philox.shuffled(k.into(), total.into(), step) as usize;
        let (source, target) = (0..total).map(|k| (sources[place(k)], targets[place(k)])).unzip();
        Ok(Pairs { source, target })
    }

    /// The partners of each source, `first[i]` to `first[i + 1]` of all, at these quantiles of its law.
    fn partners_at(&self, first: &[u32], quantiles: &[f64], device: &Device) -> Result<Vec<u32>, TransportError> {
        let in_rows = |partner: &mut dyn FnMut(usize, f64) -> u32| {
            let rows = first.windows(2).enumerate();
            rows.flat_map(|(i, ends)| (ends[0]..ends[1]).map(move |k| (i, k)))
                .map(|(i, k)| partner(i, quantiles[k as usize]))
                .collect()
        };
        Ok(match self {
            Self::Entropic(plan) => return plan.partners_of_source().draw(plan.source(), Draws { first, quantiles }, device),
            Self::Sparse { entries, n, .. } => {
                let mut rows = vec![(Vec::new(), Vec::new()); *n];
                for entry in entries {
                    rows[entry.source].0.push(entry.mass);
                    rows[entry.source].1.push(entry.target as u32);
                }
                in_rows(&mut |i, quantile| {
                    let (masses, targets) = &rows[i];
                    targets.get(quantile_of(masses, quantile).0).copied().unwrap_or(0)
                })
            }
            Self::LowRank { q, r, g } => {
                let rank = g.len();
                let columns: Vec<Vec<f64>> = (0..rank).map(|k| r.iter().skip(k).step_by(rank).copied().collect()).collect();
                in_rows(&mut |i, quantile| {
                    let (station, rest) = quantile_of(&q[i * rank..][..rank], quantile);
                    quantile_of(&columns[station], rest).0 as u32
                })
            }
        })
    }
}

/// The index at which `masses` reach the share `quantile` of their sum, and how far into its own mass that is.
fn quantile_of(masses: &[f64], quantile: f64) -> (usize, f64) {
    let mut left = quantile * masses.iter().sum::<f64>();
    let mut found = (0, 0.0);
    for (j, mass) in masses.iter().enumerate().filter(|(_, mass)| **mass > 0.0) {
        found = (j, (left / mass).clamp(0.0, 1.0));
        if left < *mass {
            break;
        }
        left -= mass;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precision;
    use crate::measure::{Cloud, named};
    use crate::transport::{ExactPlan, LowRank, Problem, Sinkhorn, Solved};

    /// Shares of pairs drawn from the plans of all solvers, and the plans themselves, n × m.
    fn drawn(total: u32) -> Vec<(Vec<f64>, Vec<f64>)> {
        let device = Device::cpu(Precision::F64);
        let weights = |n: usize| (0..n).map(|i| 1.0 + (i % 3) as f64).collect();
        let cloud =
            |name: &str, n, step| named(name, None).unwrap().sample(n, 0, Stream::Source, step).with_weights(weights(n)).unwrap();
        let (x, y): (Cloud, Cloud) = (cloud("moons", 12, 0), cloud("8gaussians", 9, 1));
        let outcome = Sinkhorn { tol: 1e-9, ..Sinkhorn::default() }.solve(&Problem::new(&x, &y, 1.0).unwrap(), &device).unwrap();
        let solved = [
            Solved::entropic(outcome, None),
            Solved::from(ExactPlan::new(&x, &y).unwrap()),
            Solved::from(LowRank::new(3).solve(&x, &y).unwrap()),
        ];
        let shares = |plan: AnyPlan| {
            let pairs = plan.draw_pairs(total, (7, 0), &device).unwrap();
            let mut shares = vec![0.0; 12 * 9];
            for (i, j) in pairs.source.iter().zip(&pairs.target) {
                shares[*i as usize * 9 + *j as usize] += 1.0 / f64::from(total);
            }
            (shares, plan.dense())
        };
        solved.into_iter().map(|solved| shares(solved.plan.unwrap())).collect()
    }

    #[test]
    fn pairs_follow_the_plan_and_each_source_is_drawn_by_its_mass() {
        let total = 20_000;
        for (shares, plan) in drawn(total) {
            for (drawn, plan) in shares.chunks(9).zip(plan.chunks(9)) {
                let off = drawn.iter().sum::<f64>() - plan.iter().sum::<f64>();
                assert!(off.abs() <= 1.5 / f64::from(total), "a source is off by {off}");
            }
            // Systematic: a source's entries are off by one pair each where they lie side by side, by two levels of it through stations.
            let off = shares.iter().zip(&plan).fold(0.0, |off: f64, (drawn, plan)| off.max((drawn - plan).abs()));
            assert!(off <= 4.0 / f64::from(total), "an entry is off by {off}");
        }
    }

    #[test]
    fn the_order_of_pairs_is_random() {
        let device = Device::cpu(Precision::F64);
        let x = named("moons", None).unwrap().sample(500, 0, Stream::Source, 0);
        let plan = Solved::from(ExactPlan::new(&x, &x).unwrap()).plan.unwrap();
        let pairs = plan.draw_pairs(500, (0, 0), &device).unwrap();
        assert_eq!(pairs.source, pairs.target, "a cloud goes to itself");
        let rises = pairs.source.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((200..300).contains(&rises), "{rises}"); // 250 ± 6.5
        let mut sorted = pairs.source;
        sorted.sort_unstable();
        assert!(sorted.iter().enumerate().all(|(k, i)| k as u32 == *i), "each once");
    }
}
