//! Points of a cloud in half the memory.

use half::{bf16, f16};

use crate::backend::{BackendError, Memory};

/// How the points of a cloud are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Storage {
    /// In the precision of the arithmetic.
    #[default]
    Full,
    /// IEEE half precision, 11 bits.
    ///
    /// Down to 6e-8 in absolute terms.
    F16,
    /// The upper half of an f32, 8 bits.
    Bf16,
}

impl Storage {
    /// `x` as it is stored.
    pub fn round(self, x: f64) -> f64 {
        match self {
            Self::Full => x,
            Self::F16 => f16::from_f64(x).to_f64(),
            Self::Bf16 => bf16::from_f64(x).to_f64(),
        }
    }
}

/// Points in half precision, f16 or bf16.
pub struct HalfPoints<B: Memory> {
    /// Their bits, n × d row-major.
    pub(super) bits: B::Buf<u16>,
    /// Number of points n.
    pub(super) n: usize,
    /// Dimension d.
    pub(super) d: usize,
    /// Whether they are upper halves of f32, else IEEE halves.
    pub(super) bf16: bool,
}

impl<B: Memory> HalfPoints<B> {
    /// `points`, n × d and representable in `storage`; none where that is full.
    ///
    /// # Errors
    /// [`BackendError`] when memory runs out.
    pub fn new(backend: &B, points: &[f64], d: usize, storage: Storage) -> Result<Option<Self>, BackendError> {
        let bits: Vec<u16> = match storage {
            Storage::Full => return Ok(None),
            Storage::F16 => points.iter().map(|&x| f16::from_f64(x).to_bits()).collect(),
            Storage::Bf16 => points.iter().map(|&x| bf16::from_f64(x).to_bits()).collect(),
        };
        Ok(Some(Self { bits: backend.upload(&bits)?, n: points.len() / d, d, bf16: storage == Storage::Bf16 }))
    }
}
