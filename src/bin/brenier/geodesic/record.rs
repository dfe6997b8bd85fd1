//! What `brenier geodesic` prints.

use brenier::transport::solved::Kind;
use serde::Serialize;

use crate::output::{Summary, count, number};

/// The JSON.
#[derive(Serialize)]
pub struct Record<'a> {
    pub source: &'a str,
    pub target: &'a str,
    pub n: usize,
    pub m: usize,
    pub d: usize,
    /// None of plans without one.
    pub eps: Option<f64>,
    /// Where ε comes from, in words; none where there is none.
    pub eps_origin: Option<String>,
    pub converged: bool,
    /// Of a plan of low rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    pub steps: u32,
    /// |P|, where a marginal is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mass: Option<f64>,
    pub w2_squared: f64,
    pub w2_squared_kind: Kind,
    /// ∫E|v|² dt; null along the random paths of the bridge, like what follows.
    pub action: Option<f64>,
    /// Σ of the root mean squares of the pieces.
    pub length: Option<f64>,
    /// The largest deviation of a piece's length from the mean, as a share of it: 0 at constant speed.
    pub speed_deviation: Option<f64>,
    /// 2 S_ε between the end points and the target, in units of |x−y|².
    pub endpoint_divergence: f64,
    /// Total variance of the end points over that of the target.
    pub variance_ratio: f64,
}

impl Record<'_> {
    /// Whether JSON can hold all values: not the ratio where the target has no variance.
    pub fn is_finite(&self) -> bool {
        [self.w2_squared, self.endpoint_divergence, self.variance_ratio].into_iter().all(f64::is_finite)
    }

    /// What a person reads.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::new(format!("geodesic {} to {}", self.source, self.target));
        summary.line("points", format!("{} to {}", count(self.n), count(self.m)), format!("in dimension {}", self.d));
        let kind = match self.w2_squared_kind {
            Kind::Map => "of the map: the mean of |T(x)-x|²",
            Kind::Entropic => "entropic: the mean square from start to end",
            _ => "exact",
        };
        summary.line("W2²", number(self.w2_squared), kind);
        if let Some(eps) = self.eps {
            summary.line("eps", number(eps), self.eps_origin.as_deref().unwrap_or_default());
        }
        if let Some(rank) = self.rank {
            summary.line("rank", count(rank as usize), "intermediate points that all mass passes through");
        }
        if let Some(mass) = self.mass {
            summary.line("mass moved", number(mass), "of 1; the rest is destroyed and created, and no part of the path");
        }
        if let (Some(action), Some(length), Some(deviation)) = (self.action, self.length, self.speed_deviation) {
            summary.line("action", number(action), "of Benamou and Brenier: the mean of the integral of |v|²");
            let speed = format!("its pieces are equal to {:.0e}: the speed is constant where that is rounding", deviation);
            summary.line("length", number(length), speed);
        }
        let shrunk = if self.variance_ratio < 0.9 { ": the map has shrunk, use a smaller eps" } else { "" };
        let variance = match self.variance_ratio.is_finite() {
            true => format!("variance {:.3} of the target's{shrunk}", self.variance_ratio),
            false => "the target has no variance".into(),
        };
        summary.line("endpoint divergence", number(self.endpoint_divergence), variance);
        summary
    }
}
