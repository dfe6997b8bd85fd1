//! Points in half precision, f16 or bf16, as `soft_min_split_half` of `kernels/softmin_tensor.cu` reads them.

use half::{bf16, f16};

use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{Backend, BackendError, Storage};

/// n × d numbers of 16 bits.
pub struct HalfPoints {
    pub(super) bits: Buffer<u16>,
    pub(super) d: usize,
    /// Whether they are upper halves of f32, else IEEE halves.
    pub(super) bf16: bool,
}

impl HalfPoints {
    /// `points`, n × d, in `storage`; none where that is no half.
    pub(super) fn new(cuda: &Cuda, points: &[f64], d: usize, storage: Storage) -> Result<Option<Self>, BackendError> {
        let bits: Vec<u16> = match storage {
            Storage::Full => return Ok(None),
            Storage::F16 => points.iter().map(|&x| f16::from_f64(x).to_bits()).collect(),
            Storage::Bf16 => points.iter().map(|&x| bf16::from_f64(x).to_bits()).collect(),
        };
        Ok(Some(Self { bits: cuda.upload(&bits)?, d, bf16: storage == Storage::Bf16 }))
    }

    /// Number of points n.
    pub(super) fn len(&self) -> usize {
        self.bits.len() / self.d
    }
}
