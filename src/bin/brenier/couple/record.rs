//! What `brenier couple` prints.

use brenier::transport::Outcome;
use serde::Serialize;

use super::project::Projected;
use super::straightness::Straightness;
use crate::output::{Summary, count, counted, number};
use crate::solver::Chosen;

/// The JSON. Costs and variances are in units of |x−y|².
#[derive(Serialize)]
pub struct Record<'a> {
    pub source: &'a str,
    pub target: &'a str,
    /// Points of one plan.
    pub n: usize,
    pub m: usize,
    pub d: usize,
    pub eps: f64,
    /// Where ε comes from, in words.
    pub eps_origin: String,
    pub pairs: u64,
    pub shards: usize,
    pub shard_rows: usize,
    pub batch: Option<u32>,
    /// Plans solved.
    pub batches: u32,
    pub without_replacement: bool,
    /// Of all plans together.
    pub iterations: usize,
    pub converged: bool,
    /// The worst of all plans.
    pub marginal_error: f64,
    /// |P| of the first plan, where a marginal is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mass: Option<f64>,
    /// Mean |x1 − x0|² of the pairs.
    pub pair_cost: f64,
    /// `pair_cost` over `independent_cost`.
    pub cost_ratio: f64,
    #[serde(flatten)]
    pub straightness: Straightness,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projection: Option<Projected>,
    /// With classes or conditions: how much the first plan saves of E|x1 − x0|², over what a plan that ignores them saves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain_kept: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<OfClass>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition_weight: Option<f64>,
    /// E|c0 − c1|² of the first plan over that of independent conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition_mismatch: Option<f64>,
    /// Points of the target file that are in a pair; null for a law.
    pub targets_used: Option<usize>,
    /// Pairs of the target point that is in most of them; null for a law.
    pub most_uses: Option<u32>,
}

/// The pairs of one class.
#[derive(Serialize)]
pub struct OfClass {
    pub label: u32,
    pub pairs: u64,
    /// |mean x0 of the pairs − mean of the source|, and what this is of as many independent draws of the source, in mean square.
    pub source_mean_shift: f64,
    pub shift_by_chance: f64,
}

/// All plans together.
pub struct Plans {
    /// That of the first plan, kept for all.
    pub eps: Chosen,
    pub iterations: usize,
    pub converged: bool,
    /// The worst of all.
    pub marginal_error: f64,
    /// |P| of the first.
    pub mass: Option<f64>,
}

impl Plans {
    /// No plan yet.
    pub fn at(eps: Chosen) -> Self {
        Self { eps, iterations: 0, converged: true, marginal_error: 0.0, mass: None }
    }

    /// Counts in one more plan.
    pub fn add(&mut self, outcome: &Outcome) {
        self.iterations += outcome.iterations;
        self.converged &= outcome.converged;
        self.marginal_error = self.marginal_error.max(outcome.marginal_error);
        self.mass.get_or_insert(outcome.mass);
    }
}

impl Record<'_> {
    /// Whether JSON can hold all values: not the ratio where nothing has to move.
    pub fn is_finite(&self) -> bool {
        [self.pair_cost, self.cost_ratio].into_iter().all(f64::is_finite)
    }

    /// What a person reads.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::new(format!("couple {} with {}", self.source, self.target));
        let files = if self.shards == 1 { "one file".into() } else { format!("{} files", count(self.shards)) };
        summary.line("pairs", count(self.pairs as usize), format!("in {files} of at most {}", count(self.shard_rows)));
        let plans = if self.batches == 1 { "one plan".into() } else { format!("{} plans", count(self.batches as usize)) };
        summary.line("points", format!("{} to {}", count(self.n), count(self.m)), format!("in dimension {}, {plans}", self.d));
        summary.line("eps", number(self.eps), &*self.eps_origin);
        summary.line(
            "marginal error",
            format!("{:.1e}", self.marginal_error),
            if self.converged { "converged" } else { "not converged" },
        );
        if let Some(mass) = self.mass {
            summary.line(
                "mass moved",
                number(mass),
                "of 1; the rest is destroyed and created, and pairs are drawn of what is moved",
            );
        }
        if let Some(projection) = &self.projection {
            projection.line(&mut summary);
        }
        let straight = &self.straightness;
        summary.line("renormalised entropy", number(straight.renormalised_entropy), "0 for a map, 1 for independent pairs");
        let than = |other: f64| format!("against {} for independent pairs", number(other));
        summary.line("mean |x1-x0|²", number(self.pair_cost), than(straight.independent_cost));
        let variance = (straight.conditional_variance, straight.conditional_variance_independent);
        summary.line("E Var(x1 | x0)", number(variance.0), than(variance.1));
        if let Some(kept) = self.gain_kept {
            let of = if self.classes.is_some() { "classes" } else { "conditions" };
            summary.line("gain kept", number(kept), format!("of what a plan that ignores the {of} saves of |x1-x0|²"));
        }
        if let Some(classes) = &self.classes {
            let worst = classes.iter().max_by(|a, b| a.source_mean_shift.total_cmp(&b.source_mean_shift));
            if let Some(worst) = worst {
                let (label, chance) = (worst.label, number(worst.shift_by_chance));
                let remark = format!("at most, in class {label} of {}; {chance} by chance", classes.len());
                summary.line("shift of x0's mean", number(worst.source_mean_shift), remark);
            }
        }
        if let Some((weight, mismatch)) = self.condition_weight.zip(self.condition_mismatch) {
            let remark = format!("pairs differ in them by {} of what independent ones do, in mean square", number(mismatch));
            summary.line("weight of conditions", number(weight), remark);
        }
        straight.floor.line(&mut summary);
        if let (Some(used), Some(most)) = (self.targets_used, self.most_uses) {
            summary.line("targets used", count(used), format!("the most used one {}", counted(most as usize, "time")));
        }
        summary
    }
}
