//! wip
use crate::backend::Noise;
use crate::backend::cpu::lane::{Isa, Simd};
use crate::field::MixtureProgram;
pub fn interpret<T: Simd>(
    _isa: Isa,
    _program: &MixtureProgram,
    _steps: std::ops::Range<usize>,
    _noise: Noise<'_>,
    _registers: &mut [Vec<T>],
) {
}
