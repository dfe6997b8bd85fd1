//! What `brenier transport` prints.

use brenier::transport::solved::{Entropic, Kind};
use brenier::transport::{ClosedForm, SlicedDistance};
use serde::Serialize;

use super::applied::Carried;
use crate::output::{Summary, count, maybe, number};

/// The sliced distance, in units of |x-y|²; no error from one direction.
#[derive(Serialize)]
pub struct Sliced {
    pub w2_squared: f64,
    pub standard_error: Option<f64>,
    pub directions: usize,
}

impl From<SlicedDistance> for Sliced {
    fn from(sliced: SlicedDistance) -> Self {
        let SlicedDistance { w2_squared, standard_error, directions } = sliced;
        Self { w2_squared, standard_error: Some(standard_error).filter(|error| error.is_finite()), directions }
    }
}

/// The JSON, key by key as interface.md names them.
#[derive(Serialize)]
pub struct Record<'a> {
    pub source: &'a str,
    pub target: &'a str,
    pub n: Option<usize>,
    pub m: Option<usize>,
    pub d: usize,
    pub eps: f64,
    /// Where ε comes from, in words; none without one.
    pub eps_origin: Option<String>,
    pub iterations: usize,
    pub converged: bool,
    pub marginal_error: f64,
    pub transport_cost: Option<f64>,
    pub cost: String,
    /// Of the cost |x-y|²/2 alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub w2_squared: Option<f64>,
    pub w2_squared_kind: Kind,
    pub dual: Option<f64>,
    pub regularised_cost: Option<f64>,
    #[serde(flatten)]
    pub entropic: Option<Entropic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub divergence: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sliced: Option<Sliced>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_form: Option<ClosedForm>,
    #[serde(flatten)]
    pub carried: Carried,
}

impl Record<'_> {
    /// Whether JSON can hold all values.
    pub fn is_finite(&self) -> bool {
        let always = [self.eps, self.marginal_error];
        let sometimes = [self.w2_squared, self.transport_cost, self.dual, self.regularised_cost, self.divergence];
        always.into_iter().chain(sometimes.into_iter().flatten()).all(f64::is_finite)
    }

    /// What a person reads.
    pub fn summary(&self) -> Summary {
        let origin = self.eps_origin.as_deref().unwrap_or_default();
        let mut summary = Summary::new(format!("transport {} to {}", self.source, self.target));
        let space = format!("in dimension {}", self.d);
        match (self.n, self.m) {
            (Some(n), Some(m)) => summary.line("points", format!("{} to {}", count(n), count(m)), space),
            _ => summary.line("laws", "Gaussian", space),
        }
        match self.w2_squared_kind {
            Kind::ClosedForm => summary.line("eps", number(self.eps), origin),
            Kind::Exact | Kind::Map => self.unregularised(&mut summary, "exact"),
            Kind::UpperBound => self.unregularised(&mut summary, "of a plan that is not proved optimal: an upper bound"),
            Kind::LowRank => {
                let rank = self.rank.unwrap_or_default();
                summary.line("W2²", maybe(self.w2_squared), format!("of a plan of rank {rank}: an upper bound"));
                summary.line("iterations", count(self.iterations), self.converged());
            }
            Kind::Entropic => self.entropic(&mut summary, "entropic"),
            Kind::Debiased => self.entropic(&mut summary, "debiased"),
        }
        if let Some(Sliced { w2_squared, standard_error, directions }) = &self.sliced {
            let error = standard_error.map_or(String::new(), |error| format!("± {} ", number(error)));
            summary.line("sliced W2²", number(*w2_squared), format!("{error}over {} directions", count(*directions)));
        }
        if let Some(closed) = &self.closed_form {
            summary.line("closed form W2²", number(closed.w2_squared), "of the two Gaussians themselves");
            let mut more = |name, value: Option<f64>, remark| {
                if let Some(value) = value {
                    summary.line(name, number(value), remark);
                }
            };
            more("closed form cost", closed.transport_cost, "<P, c> at eps");
            more("closed form OT_eps", closed.regularised_cost, "in units of |x-y|²/2");
            more("closed form S_eps", closed.divergence, "in units of |x-y|²/2");
            more("closed form mass", closed.mass, "of 1 is moved");
        }
        self.carried.tell(&mut summary);
        summary
    }

    fn converged(&self) -> &'static str {
        if self.converged { "converged" } else { "not converged" }
    }

    /// W₂², or the cost where that is another.
    fn unregularised(&self, summary: &mut Summary, how: &str) {
        match self.w2_squared {
            Some(w2_squared) => summary.line("W2²", number(w2_squared), how),
            None => {
                summary.line("transport cost", maybe(self.transport_cost), format!("<P, c> with c = {}, {how}", self.cost));
            }
        }
    }

    /// What only an entropic plan has to say.
    fn entropic(&self, summary: &mut Summary, kind: &str) {
        let unit = if self.w2_squared.is_some() { "|x-y|²/2" } else { &self.cost };
        if let Some(w2_squared) = self.w2_squared {
            summary.line("W2²", number(w2_squared), kind);
        }
        summary.line("eps", number(self.eps), self.eps_origin.as_deref().unwrap_or_default());
        if let Some(divergence) = self.divergence {
            summary.line("divergence", number(divergence), format!("S_eps, in units of {unit}"));
        }
        summary.line("transport cost", maybe(self.transport_cost), format!("<P, c> with c = {unit}"));
        summary.line("regularised cost", maybe(self.regularised_cost), "OT_eps");
        summary.line("dual", maybe(self.dual), "meets the regularised cost as the marginal error goes to 0");
        if let Some(plan) = &self.entropic {
            if let Some(error) = plan.storage_error {
                summary.line("points moved", number(error), "by their storage, RMS: W2 is off by no more");
            }
            if plan.rho_source.or(plan.rho_target).is_some() {
                summary.line("mass moved", number(plan.mass), "of 1; the rest is destroyed and created");
            }
            summary.line("entropy", number(plan.entropy), format!("the plan is spread over {} pairs", number(plan.pairs())));
        }
        summary.line("marginal error", format!("{:.1e}", self.marginal_error), self.converged());
        summary.line("iterations", count(self.iterations), "");
    }
}
