//! What a plan is worth for training: its entropy, and how straight the paths of its pairs are.

use brenier::backend::Device;
use brenier::measure::Cloud;
use brenier::metric::cfm_loss_floor;
use brenier::metric::flag::{INDEPENDENT, MAP_COLLAPSED};
use brenier::random::{Philox, Stream};
use brenier::transport::pairs::Pairs;
use brenier::transport::{Outcome, Plan, Problem};
use serde::Serialize;

use crate::Failure;

/// Pairs that the floor of the loss is estimated on.
const FLOOR_PAIRS: usize = 8192;

/// What the first plan is worth for training, beside independent pairs.
#[derive(Serialize)]
pub struct Straightness {
    /// −Σ P log P, in nats.
    pub entropy: f64,
    /// 0 for a map, 1 for independent pairs.
    pub renormalised_entropy: f64,
    /// E|x1 − x0|² of independent pairs.
    pub independent_cost: f64,
    /// E Var(x1 | x0).
    pub conditional_variance: f64,
    /// Var(x1).
    pub conditional_variance_independent: f64,
    /// ∫E|u − E[u | x_t]|² dt.
    pub cfm_loss_floor: f64,
    pub cfm_loss_floor_independent: f64,
    /// The share of the target's variance that the map of the plan keeps.
    #[serde(skip)]
    pub variance_kept: f64,
}

impl Straightness {
    /// Whether the pairs are next to independent.
    pub fn is_collapsed(&self) -> bool {
        self.variance_kept < MAP_COLLAPSED || self.renormalised_entropy > INDEPENDENT
    }

    /// Of the pairs `drawn` from the plan of `outcome`.
    pub fn new(problem: &Problem<'_>, outcome: &Outcome, drawn: &Pairs, device: &Device, seed: u32) -> Result<Self, Failure> {
        let (x, y) = (problem.source(), problem.target());
        let entropy = Plan::new(problem, &outcome.potentials)?.entropy(device)?;
        let (mean, d) = (y.mean(), y.dim());
        let square = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
        let explained: f64 = outcome.map.chunks_exact(d).enumerate().map(|(i, t)| x.weight(i) * square(t, &mean)).sum();
        let used = drawn.source.len().min(FLOOR_PAIRS);
        let gather = |cloud: &Cloud, index: &mut dyn Iterator<Item = usize>| -> Vec<f64> {
            index.take(used).flat_map(|i| cloud.row(i)).copied().collect()
        };
        let x0 = gather(x, &mut drawn.source.iter().map(|&i| i as usize));
        let x1 = gather(y, &mut drawn.target.iter().map(|&j| j as usize));
        let (philox, quantiles) = (Philox::new(seed, Stream::Metric), y.inverse_cdf());
        let independent = gather(y, &mut (0..used as u32).map(|k| quantiles.index(philox.uniform(k, 1, 0))));
        let floor = |x1: &[f64]| if used < 2 { Ok(f64::NAN) } else { cfm_loss_floor(&x0, x1, d, device) };
        Ok(Self {
            entropy: entropy.joint,
            renormalised_entropy: entropy.renormalised(),
            independent_cost: square(&x.mean(), &mean) + x.variance() + y.variance(),
            variance_kept: outcome.variance_kept(problem),
            conditional_variance: (y.variance() - explained).max(0.0),
            conditional_variance_independent: y.variance(),
            cfm_loss_floor: floor(&x1)?,
            cfm_loss_floor_independent: floor(&independent)?,
        })
    }
}
