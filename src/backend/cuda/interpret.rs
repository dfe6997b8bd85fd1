//! Launches `kernels/integrate.cu`.

use std::ops::Range;

use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{BackendError, Noise};
use crate::field::MixtureProgram;

/// Runs `program.steps[steps]` for every particle; `registers[r]` is n × d.
pub fn interpret(
    _cuda: &Cuda,
    _program: &MixtureProgram,
    _steps: Range<usize>,
    _noise: Noise<'_>,
    _registers: &mut [Buffer<f32>],
) -> Result<(), BackendError> {
    Err(BackendError::Launch { what: "interpret".into(), reason: "the kernel is on the branch `kernels`".into() })
}
