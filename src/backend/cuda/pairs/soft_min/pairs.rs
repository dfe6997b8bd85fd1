//! What a soft-min pairs, as it is stored, and how vectors become parts for the tensor cores.

use crate::backend::cuda::Cuda;
use crate::backend::cuda::launcher::{Argument, Pointer, Shape};
use crate::backend::cuda::pairs::soft_min::{Kernels, offset};
use crate::backend::{BackendError, Columns, HalfColumns, HalfPoints, LARGEST_BIAS, Rows};

/// What is paired with what.
pub enum Pairs<'a> {
    Full(Rows<'a, Cuda>, Columns<'a, Cuda>),
    Half(&'a HalfPoints<Cuda>, HalfColumns<'a, Cuda>),
}

impl Pairs<'_> {
    /// n and m.
    pub fn sizes(&self) -> (usize, usize) {
        match self {
            Self::Full(rows, columns) => (rows.n, columns.m),
            Self::Half(rows, columns) => (rows.n, columns.points.n),
        }
    }

    /// The kernels for means of `p` values, and how many values they take in one pass.
    pub(super) fn kernels(&self, p: usize) -> (Kernels, usize) {
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

    /// Splits the columns, with their biases behind the scales.
    pub fn split_columns(&self, cuda: &Cuda, parts: Parts) -> Result<(), BackendError> {
        let at = self.at(0).1;
        match self {
            Self::Full(_, columns) => {
                let (m, d) = (columns.m, columns.d);
                split_reals(cuda, Vectors { at, count: m, d, stride: d + 1 }, parts)
            }
            Self::Half(_, HalfColumns { points, k, bias, potential: (potential, c) }) => {
                let given: [&dyn Argument; 5] = [k, *bias, c, *potential, &LARGEST_BIAS];
                split_halves(cuda, Vectors { at, count: points.n, d: points.d, stride: points.d }, points.bf16, parts, given)
            }
        }
    }

    /// Splits `count` rows from `first` on.
    pub fn split_rows(&self, cuda: &Cuda, first: usize, count: usize, parts: Parts) -> Result<(), BackendError> {
        let vectors = |d: usize| Vectors { at: self.at(first).0, count, d, stride: d };
        match self {
            Self::Full(rows, _) => split_reals(cuda, vectors(rows.d), parts),
            Self::Half(rows, _) => {
                split_halves(cuda, vectors(rows.d), rows.bf16, parts, [&1.0f64, &0u64, &0.0f64, &0u64, &0.0f64])
            }
        }
    }
}

/// `count` vectors of d numbers at an address, `stride` numbers apart.
struct Vectors {
    at: Pointer,
    count: usize,
    d: usize,
    stride: usize,
}

/// Where the parts of vectors go, their coordinates `padded` to whole products, and their scales behind them.
#[derive(Clone, Copy)]
pub struct Parts {
    pub at: Pointer,
    pub padded: usize,
}

/// Splits vectors of reals in two parts each.
fn split_reals(cuda: &Cuda, vectors: Vectors, parts: Parts) -> Result<(), BackendError> {
    let Vectors { at, count, d, stride } = vectors;
    let (scales, shape) = (parts.scales(count, 2), Shape::covering(32 * count)?);
    let [count, d, stride, padded] = [count, d, stride, parts.padded].map(|size| size as i32);
    cuda.launch("soft_min_split", shape, &[&at, &count, &d, &stride, &padded, &parts.at, &scales])
}

/// Makes vectors in half precision one part each; `given` are factor, bias, potential with its factor, and bound of columns.
fn split_halves(cuda: &Cuda, vectors: Vectors, bf16: bool, parts: Parts, given: [&dyn Argument; 5]) -> Result<(), BackendError> {
    let Vectors { at, count, d, .. } = vectors;
    let (scales, bf16, shape) = (parts.scales(count, 1), i32::from(bf16), Shape::covering(32 * count)?);
    let [count, d, padded] = [count, d, parts.padded].map(|size| size as i32);
    let points: [&dyn Argument; 7] = [&at, &bf16, &count, &d, &padded, &parts.at, &scales];
    cuda.launch("soft_min_split_half", shape, &[&points[..], &given].concat())
}

impl Parts {
    /// Where the scales of `count` vectors of so many parts are.
    pub fn scales(self, count: usize, parts: usize) -> Pointer {
        self.at + (2 * parts * count * self.padded) as Pointer
    }
}
