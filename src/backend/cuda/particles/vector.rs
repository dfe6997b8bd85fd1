//! Launches `kernels/vector.cu`.

use bytemuck::{Pod, Zeroable};

use crate::backend::cuda::launcher::{Argument, Shape};
use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{BackendError, Blend, Mean};

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
    let terms: Vec<_> = terms.iter().map(|&(register, factor)| (&registers[register], factor)).collect();
    sum(cuda, &terms, &registers[dst])
}

/// The mean as it is to be blended, if it is.
pub fn blend(cuda: &Cuda, mean: Mean<'_, Cuda>) -> Result<(), BackendError> {
    let Mean { out, blend: Some(Blend { s, t, with }), .. } = mean else { return Ok(()) };
    sum(cuda, &[(&*out, s), (with, t)], out)
}

/// `out ← Σ coefficient · term`; `out` may be among the terms.
fn sum(cuda: &Cuda, terms: &[(&Buffer<f32>, f64)], out: &Buffer<f32>) -> Result<(), BackendError> {
    let n = out.len() as u64;
    if terms.len() > TERMS {
        let reason = format!("{} terms are more than the {TERMS} that a launch takes", terms.len());
        return Err(BackendError::Launch { what: "combine".into(), reason });
    }
    let mut sum = Terms { registers: [0; TERMS], factors: [0.0; TERMS], count: terms.len() as u64 };
    for (at, &(term, factor)) in terms.iter().enumerate() {
        (sum.registers[at], sum.factors[at]) = (term.at(), factor);
    }
    cuda.launch("combine", Shape::covering(out.len())?, &[&n, &sum, out])
}

/// `x ← min(max(x, low), high)`.
pub fn clip(cuda: &Cuda, x: &mut Buffer<f32>, low: f64, high: f64) -> Result<(), BackendError> {
    cuda.launch("clip", Shape::covering(x.len())?, &[&(x.len() as u64), &low, &high, x])
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
