//! `--project`: a cost of few dimensions, while pairs keep all of theirs.

use std::str::FromStr;

use brenier::measure::Cloud;
use brenier::transport::{Projection, TransportError};
use serde::{Deserialize, Serialize};

use crate::output::{Summary, counted, number};

/// What the cost is computed on.
#[derive(Clone, Copy)]
pub struct Project {
    /// Principal components.
    k: usize,
}

impl FromStr for Project {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let k = text.strip_prefix("pca:").and_then(|k| k.parse().ok()).filter(|k| *k > 0);
        k.map(|k| Self { k }).ok_or_else(|| format!("{text:?} is not pca:K with a number K of components, such as pca:64"))
    }
}

impl Project {
    /// Dimensions of the cost.
    pub fn dim(self) -> usize {
        self.k
    }

    /// The principal components of `cloud`.
    pub fn of(self, cloud: &Cloud, seed: u32) -> Result<Projection, TransportError> {
        Projection::principal(cloud, self.k, seed)
    }
}

/// What the record says of it.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Projected {
    pub k: usize,
    /// The share of the target's variance that the components keep.
    pub variance_kept: f64,
}

impl Projected {
    pub fn of(projection: &Projection) -> Self {
        Self { k: projection.components(), variance_kept: projection.variance_kept }
    }

    /// The line of a summary.
    pub fn line(&self, summary: &mut Summary) {
        let kept = format!("of the target's variance, in {}", counted(self.k, "principal component"));
        summary.line("cost on", number(self.variance_kept), kept);
    }
}
