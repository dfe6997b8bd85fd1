//! What `brenier couple` prints.

use brenier::metric::Flag;
use brenier::transport::Outcome;
use serde::Serialize;

use crate::output::{Summary, count, number, seconds};

/// The JSON. Costs and variances are in units of |x−y|².
#[derive(Serialize)]
pub struct Record {
    pub command: &'static str,
    pub version: &'static str,
    pub source: String,
    pub target: String,
    /// Points of one plan.
    pub n: usize,
    pub m: usize,
    pub d: usize,
    pub eps: f64,
    pub pairs: u64,
    pub shards: usize,
    pub shard_rows: usize,
    pub batch: Option<u32>,
    /// Plans solved.
    pub batches: usize,
    pub without_replacement: bool,
    /// Of all plans together.
    pub iterations: usize,
    pub converged: bool,
    /// The worst of all plans.
    pub marginal_error: f64,
    /// Mean |x1 − x0|² of the pairs.
    pub pair_cost: f64,
    /// `pair_cost` over `independent_cost`.
    pub cost_ratio: f64,
    #[serde(flatten)]
    pub straightness: Option<Straightness>,
    /// Points of the target file that are in a pair; null for a law.
    pub targets_used: Option<usize>,
    /// Pairs of the target point that is in most of them; null for a law.
    pub most_uses: Option<u32>,
    pub seconds: f64,
    pub wall_seconds: f64,
    pub device: String,
    pub precision: &'static str,
    pub seed: u32,
    pub flags: Vec<Flag>,
}

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
}

impl Default for Record {
    fn default() -> Self {
        Self {
            command: "couple",
            version: env!("CARGO_PKG_VERSION"),
            source: String::new(),
            target: String::new(),
            n: 0,
            m: 0,
            d: 0,
            eps: 0.0,
            pairs: 0,
            shards: 0,
            shard_rows: 0,
            batch: None,
            batches: 0,
            without_replacement: false,
            iterations: 0,
            converged: true,
            marginal_error: 0.0,
            pair_cost: f64::NAN,
            cost_ratio: f64::NAN,
            straightness: None,
            targets_used: None,
            most_uses: None,
            seconds: 0.0,
            wall_seconds: 0.0,
            device: String::new(),
            precision: "",
            seed: 0,
            flags: Vec::new(),
        }
    }
}

impl Record {
    /// Counts in one more plan.
    pub fn add(&mut self, outcome: &Outcome) {
        self.eps = outcome.eps;
        self.iterations += outcome.iterations;
        self.converged &= outcome.converged;
        self.marginal_error = self.marginal_error.max(outcome.marginal_error);
    }

    /// What a person reads; `given` says whether ε was.
    pub fn summary(&self, given: bool) -> Summary {
        let mut summary = Summary::new(format!("couple {} with {}", self.source, self.target));
        let files = if self.shards == 1 { "one file".into() } else { format!("{} files", count(self.shards)) };
        summary.line("pairs", count(self.pairs as usize), format!("in {files} of at most {}", count(self.shard_rows)));
        let plans = if self.batches == 1 { "one plan".into() } else { format!("{} plans", count(self.batches)) };
        summary.line("points", format!("{} to {}", count(self.n), count(self.m)), format!("in dimension {}, {plans}", self.d));
        summary.line("eps", number(self.eps), if given { "" } else { "0.05 x the mean cost" });
        summary.line(
            "marginal error",
            format!("{:.1e}", self.marginal_error),
            if self.converged { "converged" } else { "not converged" },
        );
        if let Some(straight) = &self.straightness {
            summary.line("renormalised entropy", number(straight.renormalised_entropy), "0 for a map, 1 for independent pairs");
            let than = |other: f64| format!("against {} for independent pairs", number(other));
            summary.line("mean |x1-x0|²", number(self.pair_cost), than(straight.independent_cost));
            let variance = (straight.conditional_variance, straight.conditional_variance_independent);
            summary.line("E Var(x1 | x0)", number(variance.0), than(variance.1));
            summary.line("floor of the CFM loss", number(straight.cfm_loss_floor), than(straight.cfm_loss_floor_independent));
        }
        if let (Some(used), Some(most)) = (self.targets_used, self.most_uses) {
            summary.line("targets used", count(used), format!("the most used one {most} times"));
        }
        summary.line("time", seconds(self.seconds), format!("{} in {}", self.device, self.precision));
        summary
    }
}
