//! Launches `kernels/reduce.cu`.

use crate::backend::cuda::launcher::{Shape, blocks};
use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{BackendError, Ticket};

/// Numbers a block reduces.
const BLOCK: usize = 4096;

/// The reductions of two vectors.
#[derive(Clone, Copy)]
pub enum Reduction {
    /// Σ a |exp(r) − 1|.
    MarginalError,
    /// max |y| where x > 0, of f64.
    LargestChange,
    /// max (x − y), at least 0, of f64.
    LargestFall,
}

/// The reduction of `x` and `y`, of equal length.
pub fn reduce<T>(cuda: &Cuda, reduction: Reduction, x: &Buffer<T>, y: &Buffer<T>) -> Result<Ticket, BackendError> {
    let (kernel, total) = match reduction {
        Reduction::MarginalError => ("marginal_error", "total_sum"),
        Reduction::LargestChange => ("largest_change", "total_maximum"),
        Reduction::LargestFall => ("largest_fall", "total_maximum"),
    };
    let partials = blocks(x.len(), BLOCK)?;
    if partials == 0 {
        return Ok(Ticket::known(0.0));
    }
    let scratch = cuda.scratch((partials as usize + 1) * size_of::<f64>())?;
    let shape = Shape { grid: [partials, 1, 1], block: [256, 1, 1], shared: 0 };
    let (n, out) = (x.len() as u64, scratch.at() + size_of::<f64>() as u64);
    cuda.launch(kernel, shape, &[&n, x, y, &out])?;
    finish(cuda, total, &scratch, partials)
}

/// The total by kernel `total` of the `partials` numbers that lie in `scratch` behind its first, where the total goes.
pub fn finish(cuda: &Cuda, total: &str, scratch: &Buffer<u64>, partials: u32) -> Result<Ticket, BackendError> {
    let shape = Shape { grid: [1; 3], block: [256, 1, 1], shared: 0 };
    let from = scratch.at() + size_of::<f64>() as u64;
    cuda.launch(total, shape, &[&u64::from(partials), &from, scratch])?;
    cuda.launcher().read_later(scratch.at())
}
