//! The exact field of a Gaussian mixture, folded for the fused interpreter.

use crate::sampler::program::Op;

/// A program whose evaluations carry the mixture's coefficients, computed in f64 on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct MixtureProgram {
    /// Dimension d.
    pub dim: usize,
    /// Number of registers used.
    pub registers: usize,
    /// Steps in order.
    pub steps: Vec<MixtureStep>,
}

/// One step of a [`MixtureProgram`].
#[derive(Clone, Debug, PartialEq)]
pub struct MixtureStep {
    /// Operations in order.
    pub ops: Vec<Op>,
}
