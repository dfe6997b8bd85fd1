//! The seam: the domain operations that every device implements, and the one run-time choice of device.
//!
//! Each operation has an equation and a test. Outputs are passed in, so that an operation allocates nothing of its own size.
//! A buffer belongs to one backend by its type: a CPU buffer handed to a CUDA operation does not compile.

mod anderson;
mod cost;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
mod error;
mod half_points;
mod memory;
mod operand;
mod packed;
mod pairs;
mod partial;
mod particles;
mod potentials;
mod real;
mod soft_min;
#[cfg(feature = "cuda")]
mod streamed;
mod ticket;

pub use anderson::Anderson;
pub use cost::{Cost, PairCost};
pub use cpu::Scores;
pub use device::{Chip, CudaAbsence, Device, DeviceError, Gpu, Precision, Task};
pub use error::BackendError;
pub use half_points::{HalfPoints, Storage};
pub use memory::{Memory, Reals};
pub use operand::{
    Columns, Damping, Dense, Draw, Draws, Half, HalfColumns, Noise, PairKernel, Rows, Scale, Shares, Stations, Sweep, TILE,
    TileList, Tiles, Update, Weighted,
};
pub use packed::{Centred, Packed};
pub use pairs::Pairs;
pub use partial::{Partial, merge};
pub use particles::Particles;
pub use potentials::Potentials;
pub use real::Real;
pub use soft_min::{Blend, Logit, Mean, Out, Symmetric};
pub use ticket::Ticket;

/// Largest magnitude of a packed bias: log of a zero weight is as good as this, and differences stay finite.
const LARGEST_BIAS: f64 = 1e36;

/// A device: the sum of its operations.
///
/// Reductions run in an order that is a function of the sizes alone, so a result repeats bit for bit on one device whatever
/// the number of threads, and row i of a result does not depend on the other rows.
pub trait Backend: Memory + Pairs + Particles + Potentials {}

impl<B: Memory + Pairs + Particles + Potentials> Backend for B {}
