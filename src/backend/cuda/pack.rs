//! Launches `kernels/pack.cu`.

use crate::backend::cuda::launcher::{Argument, Shape};
use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{BackendError, LARGEST_BIAS, Scale};

/// `out_j = log₂e (k_j y_j, bias_j + c · potential_j)`.
pub fn pack(
    cuda: &Cuda,
    points: &Buffer<f32>,
    d: usize,
    scale: Scale<'_, Cuda>,
    bias: &Buffer<f32>,
    potential: Option<(&Buffer<f32>, f64)>,
    out: &mut Buffer<f32>,
) -> Result<(), BackendError> {
    let none = 0u64;
    let (factor, factors): (f64, &dyn Argument) = match scale {
        Scale::Uniform(k) => (k, &none),
        Scale::PerColumn(k) => (0.0, k),
    };
    let (c, potential): (f64, &dyn Argument) = match potential {
        Some((potential, c)) => (c, potential),
        None => (0.0, &none),
    };
    let (m, d) = (bias.len() as u64, d as u32);
    let arguments: [&dyn Argument; 10] = [&m, &d, points, &factor, factors, bias, &c, potential, &LARGEST_BIAS, out];
    cuda.launch("pack", Shape::covering(out.len())?, &arguments)
}
