//! Launches `kernels/potential.cu`.

use crate::backend::cuda::launcher::{Argument, Shape};
use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{BackendError, Damping};

/// `out_i = x_i` in f32.
pub fn round(cuda: &Cuda, x: &Buffer<f64>, out: &mut Buffer<f32>) -> Result<(), BackendError> {
    cuda.launch("round_potential", Shape::covering(out.len())?, &[&(out.len() as u64), x, out])
}

/// `change = share (ω ε log_ratio + (1 − ω)(ground − potential))`.
pub fn relax(
    cuda: &Cuda,
    log_ratio: &Buffer<f32>,
    eps: f64,
    damping: Option<Damping<'_, Cuda>>,
    share: f64,
    potential: &Buffer<f64>,
    change: &mut Buffer<f64>,
) -> Result<(), BackendError> {
    let none = 0u64;
    let (omega, ground): (f64, &dyn Argument) = match damping {
        Some(Damping { omega, ground }) => (omega, ground),
        None => (1.0, &none),
    };
    let n = change.len() as u64;
    let arguments: [&dyn Argument; 8] = [&n, log_ratio, &eps, &omega, ground, &share, potential, change];
    cuda.launch("relax", Shape::covering(change.len())?, &arguments)
}

/// `potential ← potential + change`.
pub fn advance(cuda: &Cuda, change: &Buffer<f64>, potential: &mut Buffer<f64>) -> Result<(), BackendError> {
    cuda.launch("advance", Shape::covering(potential.len())?, &[&(potential.len() as u64), change, potential])
}
