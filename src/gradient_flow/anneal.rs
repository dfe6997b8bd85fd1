//! A law by way of the law with noise: where the noise joins its modes, mass moves between them.

use crate::gradient_flow::FlowError;
use crate::measure::Mixture;
use crate::path::Level;
use crate::sampler::unadjusted_langevin::DATA;

/// Noise σ that falls geometrically over the first steps of a descent, to none after them. It leaves every component its share, so
/// that mode weights found at a large σ are those of the law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Anneal {
    /// σ at first.
    pub first: f64,
    /// Steps over which it falls.
    steps: usize,
    /// The least variance of the law.
    least: f64,
}

/// What a step descends to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stage {
    /// The law's noise.
    pub level: Level,
    /// The least variance with the noise over that without: what lengths squared and times are multiplied by.
    pub widening: f64,
}

/// The last σ over the least deviation of the law: there one law is all but the other.
const LAST_NOISE: f64 = 0.1;

impl Stage {
    /// The law itself.
    pub const LAW: Self = Self { level: DATA, widening: 1.0 };
}

impl Anneal {
    /// # Errors
    /// [`FlowError::Noise`] for a σ that is not finite or not positive.
    pub fn new(first: f64, steps: usize, law: &Mixture) -> Result<Self, FlowError> {
        if !(first.is_finite() && first > 0.0) {
            return Err(FlowError::Noise { sigma: first });
        }
        Ok(Self { first, steps, least: law.least_variance() })
    }

    /// The stage of step `k`.
    pub fn stage(anneal: Option<Self>, k: usize) -> Stage {
        match anneal {
            Some(Self { first, steps, least }) if k < steps => {
                let last = first.min(LAST_NOISE * least.sqrt());
                let sigma = first * (last / first).powf(k as f64 / steps as f64);
                Stage { level: Level { sigma, ..DATA }, widening: 1.0 + sigma * sigma / least }
            }
            _ => Stage::LAW,
        }
    }
}
