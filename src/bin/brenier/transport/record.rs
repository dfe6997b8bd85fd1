//! What `brenier transport` prints.

use brenier::metric::Flag;
use brenier::transport::{ClosedForm, SlicedDistance};
use brenier::watch::Residual;
use serde::Serialize;

use crate::output::{Summary, count, maybe, number, seconds};

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
    pub command: &'static str,
    pub version: &'static str,
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
    pub w2_squared_kind: &'static str,
    pub dual: Option<f64>,
    pub regularised_cost: Option<f64>,
    #[serde(flatten)]
    pub entropic: Option<Diagnostics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub divergence: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sliced: Option<Sliced>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_form: Option<ClosedForm>,
    pub seconds: f64,
    pub wall_seconds: f64,
    pub device: &'a str,
    pub precision: &'static str,
    pub seed: u32,
    pub flags: Vec<Flag>,
}

/// What only an entropic plan has.
#[derive(Serialize)]
pub struct Diagnostics {
    pub gap: f64,
    pub entropy: f64,
    pub mass: f64,
    pub skipped_mass_bound: f64,
    /// How far storing moves the points, a bound of what it does to W2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_error: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rho_source: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rho_target: Option<f64>,
    pub verdict: String,
    pub residuals: Vec<Residual>,
}

impl Record<'_> {
    /// Flags the values that JSON cannot hold; whether there are any.
    pub fn flag_not_finite(&mut self) -> bool {
        let always = [self.eps, self.marginal_error];
        let sometimes = [self.w2_squared, self.transport_cost, self.dual, self.regularised_cost, self.divergence];
        let finite = always.into_iter().chain(sometimes.into_iter().flatten()).all(f64::is_finite);
        if !finite {
            self.flags.push(Flag::NotFinite);
        }
        !finite
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
        if self.w2_squared_kind == "closed_form" {
            summary.line("eps", number(self.eps), origin);
        } else if self.w2_squared_kind == "exact" {
            summary.line("W2²", maybe(self.w2_squared), "exact");
        } else if self.w2_squared_kind == "upper_bound" {
            summary.line("W2²", maybe(self.w2_squared), "of a plan that is not proved optimal: an upper bound");
        } else if let Some(rank) = self.rank {
            summary.line("W2²", maybe(self.w2_squared), format!("of a plan of rank {rank}: an upper bound"));
            summary.line("iterations", count(self.iterations), if self.converged { "converged" } else { "not converged" });
        } else {
            let unit = if self.w2_squared.is_some() { "|x-y|²/2" } else { &self.cost };
            if let Some(w2_squared) = self.w2_squared {
                summary.line("W2²", number(w2_squared), self.w2_squared_kind);
            }
            summary.line("eps", number(self.eps), origin);
            if let Some(divergence) = self.divergence {
                summary.line("divergence", number(divergence), format!("S_eps, in units of {unit}"));
            }
            summary.line("transport cost", maybe(self.transport_cost), format!("<P, c> with c = {unit}"));
            summary.line("regularised cost", maybe(self.regularised_cost), "OT_eps");
            summary.line("dual", maybe(self.dual), "meets the regularised cost as the marginal error goes to 0");
            if let Some(Diagnostics { entropy, mass, rho_source, rho_target, storage_error, .. }) = &self.entropic {
                if let Some(error) = storage_error {
                    summary.line("points moved", number(*error), "by their storage, RMS: W2 is off by no more");
                }
                if rho_source.or(*rho_target).is_some() {
                    summary.line("mass moved", number(*mass), "of 1; the rest is destroyed and created");
                }
                // Of the plan as a law of mass one.
                let pairs = (entropy / mass + mass.ln()).exp();
                summary.line("entropy", number(*entropy), format!("the plan is spread over {} pairs", number(pairs)));
            }
            summary.line(
                "marginal error",
                format!("{:.1e}", self.marginal_error),
                if self.converged { "converged" } else { "not converged" },
            );
            summary.line("iterations", count(self.iterations), "");
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
        summary.line("time", seconds(self.seconds), format!("{} in {}", self.device, self.precision));
        summary
    }
}
