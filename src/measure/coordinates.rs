//! Coordinates as they were given, in f32 or f64, and shared with whoever owns their memory.

use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

/// Coordinates as a [`Cloud`](crate::measure::Cloud) holds them, row-major n × d.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Given<'a> {
    /// In single precision.
    F32(&'a [f32]),
    /// In double precision.
    F64(&'a [f64]),
}

impl<'a> Given<'a> {
    pub(super) fn len(self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::F64(x) => x.len(),
        }
    }

    /// Where the first coordinate is that is not finite, and its value.
    pub(super) fn not_finite(self) -> Option<(usize, f64)> {
        match self {
            Self::F32(x) => x.iter().position(|x| !x.is_finite()).map(|at| (at, x[at].into())),
            Self::F64(x) => x.iter().position(|x| !x.is_finite()).map(|at| (at, x[at])),
        }
    }

    /// Point `i` of dimension d, in f64: borrowed where that is what is held, else widened into `room`, of length d.
    pub(super) fn row(self, i: usize, room: &'a mut [f64]) -> &'a [f64] {
        let d = room.len();
        match self {
            Self::F64(x) => &x[i * d..][..d],
            Self::F32(x) => {
                room.iter_mut().zip(&x[i * d..][..d]).for_each(|(room, x)| *room = f64::from(*x));
                room
            }
        }
    }

    /// How points `i` and `j` of dimension d compare, coordinate by coordinate.
    pub(super) fn compare(self, i: usize, j: usize, d: usize) -> Ordering {
        fn order<T: PartialOrd>(x: &[T], i: usize, j: usize, d: usize) -> Ordering {
            let pairs = x[i * d..][..d].iter().zip(&x[j * d..][..d]);
            pairs.map(|(x, y)| x.partial_cmp(y)).find_map(|order| order.filter(|order| order.is_ne())).unwrap_or(Ordering::Equal)
        }
        match self {
            Self::F32(x) => order(x, i, j, d),
            Self::F64(x) => order(x, i, j, d),
        }
    }
}

/// Memory that others may own.
type Owner<T> = Arc<dyn AsRef<[T]> + Send + Sync>;

/// Shared coordinates.
#[derive(Clone)]
pub(super) enum Coordinates {
    F32(Arc<Single>),
    F64(Owner<f64>),
}

/// Coordinates in single precision, and a copy in double where one was asked for.
pub(super) struct Single {
    given: Box<dyn AsRef<[f32]> + Send + Sync>,
    widened: OnceLock<Vec<f64>>,
}

impl Coordinates {
    pub fn of_f32(owner: impl AsRef<[f32]> + Send + Sync + 'static) -> Self {
        Self::F32(Arc::new(Single { given: Box::new(owner), widened: OnceLock::new() }))
    }

    pub fn of_f64(owner: impl AsRef<[f64]> + Send + Sync + 'static) -> Self {
        Self::F64(Arc::new(owner))
    }

    pub fn given(&self) -> Given<'_> {
        match self {
            Self::F32(single) => Given::F32((*single.given).as_ref()),
            Self::F64(owner) => Given::F64((**owner).as_ref()),
        }
    }

    /// All of them in f64; those in single precision are widened once.
    pub fn widened(&self) -> &[f64] {
        match self {
            Self::F32(single) => single.widened.get_or_init(|| (*single.given).as_ref().iter().map(|x| f64::from(*x)).collect()),
            Self::F64(owner) => (**owner).as_ref(),
        }
    }

    /// Those of the points at `indices`, in that order and in the same precision.
    pub fn gather(&self, indices: impl Iterator<Item = usize>, d: usize) -> Self {
        match self.given() {
            Given::F32(x) => Self::of_f32(indices.flat_map(|i| &x[i * d..][..d]).copied().collect::<Vec<f32>>()),
            Given::F64(x) => Self::of_f64(indices.flat_map(|i| &x[i * d..][..d]).copied().collect::<Vec<f64>>()),
        }
    }
}

impl PartialEq for Coordinates {
    /// Whether they are the same numbers, in whatever precision.
    fn eq(&self, other: &Self) -> bool {
        match (self.given(), other.given()) {
            (Given::F32(x), Given::F32(y)) => std::ptr::eq(x, y) || x == y,
            (Given::F64(x), Given::F64(y)) => std::ptr::eq(x, y) || x == y,
            (Given::F32(x), Given::F64(y)) | (Given::F64(y), Given::F32(x)) => {
                x.len() == y.len() && x.iter().zip(y).all(|(x, y)| f64::from(*x) == *y)
            }
        }
    }
}
