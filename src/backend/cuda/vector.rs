//! Launches `kernels/vector.cu`.

use bytemuck::{Pod, Zeroable};

use crate::backend::BackendError;
use crate::backend::cuda::launcher::{Argument, Shape};
use crate::backend::cuda::{Buffer, Cuda};

/// Registers that one launch can add; a program has at most 8.
const TERMS: usize = 16;

/// `Terms` of the kernel file.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Terms {
    registers: [u64; TERMS],
    factors: [f64; TERMS],
    count: u64,
}

/// `registers[dst] ← Σ coefficient · register`, in the order of the terms.
pub fn combine(cuda: &Cuda, registers: &mut [Buffer<f32>], dst: usize, terms: &[(usize, f64)]) -> Result<(), BackendError> {
    let out = &registers[dst];
    let n = out.len() as u64;
    if terms.len() > TERMS {
        let reason = format!("{} terms are more than the {TERMS} that a launch takes", terms.len());
        return Err(BackendError::Launch { what: "combine".into(), reason });
    }
    let mut sum = Terms { registers: [0; TERMS], factors: [0.0; TERMS], count: terms.len() as u64 };
    for (at, &(register, factor)) in terms.iter().enumerate() {
        (sum.registers[at], sum.factors[at]) = (registers[register].at(), factor);
    }
    cuda.launch("combine", Shape::covering(out.len())?, &[&n, &sum, out])
}

/// `x ← min(max(x, low), high)`.
pub fn clip(cuda: &Cuda, x: &mut Buffer<f32>, low: f64, high: f64) -> Result<(), BackendError> {
    cuda.launch("clip", Shape::covering(x.len())?, &[&(x.len() as u64), &low, &high, x])
}

/// `y ← a x + b y`.
pub fn axpby(cuda: &Cuda, a: f64, x: &Buffer<f32>, b: f64, y: &mut Buffer<f32>) -> Result<(), BackendError> {
    cuda.launch("axpby", Shape::covering(y.len())?, &[&(y.len() as u64), &a, x, &b, y])
}

/// `out_r = points_{index_r}`, rows of length d.
pub fn gather(
    cuda: &Cuda,
    points: &Buffer<f32>,
    d: usize,
    index: &Buffer<u32>,
    out: &mut Buffer<f32>,
) -> Result<(), BackendError> {
    let arguments: [&dyn Argument; 5] = [&(out.len() as u64), &(d as u32), points, index, out];
    cuda.launch("gather", Shape::covering(out.len())?, &arguments)
}
