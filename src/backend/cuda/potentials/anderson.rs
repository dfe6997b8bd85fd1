//! Launches `kernels/anderson.cu`.

use crate::backend::BackendError;
use crate::backend::anderson::{Anderson, GROWTH, MEMORY, RIDGE};
use crate::backend::cuda::launcher::{Argument, Shape, blocks};
use crate::backend::cuda::{Buffer, Cuda};

/// Points a block takes the products of.
const BLOCK: usize = 1024;
/// Products: of the new difference and of the residual with each difference, and ‖R‖².
const PRODUCTS: usize = 2 * MEMORY + 1;

/// Moves `point`, whose residual is `residual`, to the next one.
pub fn accelerate(
    cuda: &Cuda,
    memory: &mut Anderson<Cuda>,
    mass: &Buffer<f64>,
    residual: &Buffer<f64>,
    point: &mut Buffer<f64>,
) -> Result<(), BackendError> {
    let Anderson { steps, changes, points, state } = memory;
    let (n, parts) = (mass.len() as u64, blocks(mass.len(), BLOCK)?);
    let partials = cuda.scratch(PRODUCTS * parts as usize * size_of::<f64>())?;
    let block = |count: u32| Shape { grid: [count, 1, 1], block: [256, 1, 1], shared: 0 };
    let of_products: [&dyn Argument; 9] = [&n, mass, point, residual, steps, changes, points, state, &*partials];
    cuda.launch("anderson_products", block(parts), &of_products)?;
    cuda.launch("anderson_solve", block(1), &[&u64::from(parts), &*partials, &GROWTH, &RIDGE, state])?;
    cuda.launch("anderson_step", Shape::covering(mass.len())?, &[&n, point, residual, steps, changes, points, state])
}
