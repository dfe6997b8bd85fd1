//! What a soft-min pairs, as it is stored, and how vectors become parts for the tensor cores.

use crate::backend::cuda::launcher::{Argument, Pointer, Shape};
use crate::backend::cuda::soft_min::{Kernels, offset};
use crate::backend::cuda::{Cuda, HalfPoints};
use crate::backend::{BackendError, Columns, HalfColumns, LARGEST_BIAS, Rows};

/// What is paired with what.
pub enum Pairs<'a> {
    Full(Rows<'a, Cuda>, Columns<'a, Cuda>),
    Half(&'a HalfPoints, HalfColumns<'a, Cuda>),
}

impl Pairs<'_> {
    /// n and m.
    pub fn sizes(&self) -> (usize, usize) {
        match self {
            Self::Full(rows, columns) => (rows.n, columns.m),
            Self::Half(rows, columns) => (rows.len(), columns.points.len()),
        }
    }

    /// The kernels for means of `p` values, and how many values they take in one pass.
    pub fn kernels(&self, p: usize) -> (Kernels, usize) {
        match self {
            Self::Full(rows, _) => Kernels::of(rows.d, p),
            Self::Half(rows, _) => Kernels::tensor(rows.d, p, 1),
        }
    }

    /// The addresses of row `first` and of the columns.
    pub fn at(&self, first: usize) -> (Pointer, Pointer) {
        match self {
            Self::Full(rows, columns) => (offset(rows.points.at(), first * rows.d), columns.packed.at()),
            Self::Half(rows, columns) => (rows.bits.at() + (2 * first * rows.d) as Pointer, columns.points.bits.at()),
        }
    }

    /// Splits the columns to `to`, with their scales and biases behind.
    pub fn split_columns(&self, cuda: &Cuda, padded: usize, to: Pointer) -> Result<(), BackendError> {
        match self {
            Self::Full(_, columns) => {
                let (m, d) = (columns.m, columns.d);
                split_reals(cuda, self.at(0).1, (m, d, d + 1), padded, to)
            }
            Self::Half(_, HalfColumns { points, k, bias, potential: (potential, c) }) => {
                let given: [&dyn Argument; 5] = [k, *bias, c, *potential, &LARGEST_BIAS];
                split_halves(cuda, self.at(0).1, points, points.len(), padded, to, given)
            }
        }
    }

    /// Splits `count` rows from `first` on to `to`, with their scales behind.
    pub fn split_rows(&self, cuda: &Cuda, first: usize, count: usize, padded: usize, to: Pointer) -> Result<(), BackendError> {
        match self {
            Self::Full(rows, _) => split_reals(cuda, self.at(first).0, (count, rows.d, rows.d), padded, to),
            Self::Half(rows, _) => {
                split_halves(cuda, self.at(first).0, rows, count, padded, to, [&1.0f64, &0u64, &0.0f64, &0u64, &0.0f64])
            }
        }
    }
}

/// Splits `count` vectors of d numbers, `stride` apart, in two parts at `to`, with their scales behind.
fn split_reals(
    cuda: &Cuda,
    from: Pointer,
    (count, d, stride): (usize, usize, usize),
    padded: usize,
    to: Pointer,
) -> Result<(), BackendError> {
    let scales = scales(to, count, padded, 2);
    let shape = Shape::covering(32 * count)?;
    let [count, d, stride, padded] = [count, d, stride, padded].map(|size| size as i32);
    cuda.launch("soft_min_split", shape, &[&from, &count, &d, &stride, &padded, &to, &scales])
}

/// Makes `count` vectors `at` an address among `points` one part each at `to`, with their scales behind; `given` are factor, bias,
/// potential with its factor, and bound of columns.
fn split_halves(
    cuda: &Cuda,
    at: Pointer,
    points: &HalfPoints,
    count: usize,
    padded: usize,
    to: Pointer,
    given: [&dyn Argument; 5],
) -> Result<(), BackendError> {
    let (scales, bf16, shape) = (scales(to, count, padded, 1), i32::from(points.bf16), Shape::covering(32 * count)?);
    let [count, d, padded] = [count, points.d, padded].map(|size| size as i32);
    let points: [&dyn Argument; 7] = [&at, &bf16, &count, &d, &padded, &to, &scales];
    cuda.launch("soft_min_split_half", shape, &[&points[..], &given].concat())
}

/// Where the scales of `count` vectors of so many parts are.
pub fn scales(halves: Pointer, count: usize, padded: usize, parts: usize) -> Pointer {
    halves + (2 * parts * count * padded) as Pointer
}
