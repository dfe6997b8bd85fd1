//! What a plan is worth for training: its entropy, and how straight the paths of its pairs are.

use brenier::backend::Device;
use brenier::metric::cfm_loss_floor;
use brenier::metric::flag::{INDEPENDENT, MAP_COLLAPSED};
use brenier::transport::Outcome;
use serde::Serialize;

use super::batch::End;
use crate::Failure;

/// Pairs that the floor of the loss is estimated on.
const FLOOR_PAIRS: usize = 8192;

/// What the plans are worth for training, compared with independent pairs.
#[derive(Serialize)]
pub struct Straightness {
    /// −Σ P log P of the first plan, in nats.
    pub entropy: f64,
    /// 0 for a map, 1 for independent pairs.
    pub renormalised_entropy: f64,
    /// E|x1 − x0|² of independent pairs.
    pub independent_cost: f64,
    /// E Var(x1 | x0) given the points of a plan, the mean of all plans.
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
}

/// What is gathered of the plans and pairs as they come.
#[derive(Default)]
pub struct Gathered {
    entropy: Option<(f64, f64)>,
    plans: f64,
    conditional_variance: f64,
    variance_kept: f64,
    /// The first pairs, n × d each.
    x0: Vec<f64>,
    x1: Vec<f64>,
}

impl Gathered {
    /// Takes in the plan of `outcome`.
    pub fn plan(&mut self, outcome: &Outcome, device: &Device) -> Result<(), Failure> {
        if self.entropy.is_none() {
            let entropy = outcome.plan().entropy(device)?;
            self.entropy = Some((entropy.joint, entropy.renormalised()));
        }
        self.plans += 1.0;
        self.conditional_variance += (outcome.conditional_variance() - self.conditional_variance) / self.plans;
        self.variance_kept += (outcome.variance_kept() - self.variance_kept) / self.plans;
        Ok(())
    }

    /// Takes in a pair.
    pub fn pair(&mut self, x0: &[f64], x1: &[f64]) {
        if self.x0.len() < FLOOR_PAIRS * x0.len() {
            self.x0.extend_from_slice(x0);
            self.x1.extend_from_slice(x1);
        }
    }

    /// What all of them are worth.
    pub fn finish(&self, source: &End, target: &End, device: &Device, seed: u32) -> Result<Straightness, Failure> {
        let d = target.dim();
        let pairs = self.x0.len() / d;
        let floor = |x1: &[f64]| if pairs < 2 { Ok(f64::NAN) } else { cfm_loss_floor(&self.x0, x1, d, device) };
        let (entropy, renormalised_entropy) = self.entropy.unwrap_or((f64::NAN, f64::NAN));
        Ok(Straightness {
            entropy,
            renormalised_entropy,
            independent_cost: source.moments().independent_cost(target.moments()),
            conditional_variance: self.conditional_variance,
            variance_kept: self.variance_kept,
            conditional_variance_independent: target.moments().variance(),
            cfm_loss_floor: floor(&self.x1)?,
            cfm_loss_floor_independent: floor(&target.independent(pairs, seed))?,
        })
    }
}
