//! Operations on particles, each for itself.

use std::ops::Range;

use crate::backend::{BackendError, Dense, Draw, Memory, Noise, Reals, Rows};
use crate::program::{Activation, MixtureProgram};

/// Operations on particles, each for itself.
///
/// Every operation fails with [`BackendError`] when memory runs out or the device fails.
pub trait Particles: Memory {
    /// Standard normals of `noise` for each row and `draw`: n × d.
    fn normals(&self, noise: Noise<'_>, draw: Draw, d: usize, out: &mut Reals<Self>) -> Result<(), BackendError>;

    /// Runs `program.steps[steps]` for every particle, all operations of all steps fused; `registers[r]` is n × d.
    fn interpret(
        &self,
        program: &MixtureProgram,
        steps: Range<usize>,
        noise: Noise<'_>,
        registers: &mut [Reals<Self>],
    ) -> Result<(), BackendError>;

    /// A multilayer perceptron: `out = W_L a(… a(W_1 (s x) + b_1) …) + b_L`, n × outputs of the last layer, with s the `scale`.
    fn perceptron(
        &self,
        rows: Rows<'_, Self>,
        scale: f64,
        layers: &[Dense<'_, Self>],
        activation: Activation,
        out: &mut Reals<Self>,
    ) -> Result<(), BackendError>;

    /// `registers[dst] ← Σ coefficient · register`; `dst` may be among the terms.
    fn combine(&self, registers: &mut [Reals<Self>], dst: usize, terms: &[(usize, f64)]) -> Result<(), BackendError>;

    /// `x ← min(max(x, low), high)`.
    fn clip(&self, x: &mut Reals<Self>, low: f64, high: f64) -> Result<(), BackendError>;

    /// `out_r = points_{index_r}`, rows of length d.
    fn gather(&self, points: &Reals<Self>, d: usize, index: &Self::Buf<u32>, out: &mut Reals<Self>) -> Result<(), BackendError>;
}
