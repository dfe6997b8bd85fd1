//! The processor: threads by rayon over rows, lanes by the widest instruction set found at run time.
//!
//! Rows lie in the lanes, so a row's sums run over the columns in one fixed order on every instruction set, and no row
//! depends on its neighbours or on the number of threads.

mod assistant;
pub mod gemm;
pub(crate) mod lane;
mod memory;
mod pairs;
mod particles;
mod potentials;
pub mod tape;

use std::sync::Arc;

#[cfg(feature = "cuda")]
pub(super) use assistant::Assistant;
#[cfg(not(feature = "cuda"))]
use assistant::Assistant;
pub use lane::{Isa, Simd};
#[cfg(feature = "cuda")]
pub(super) use pairs::soft_min::{Mean, Pairs as Product};
pub use pairs::sweep::Scores;

/// The processor in precision `T`.
#[derive(Clone, Debug)]
pub struct Cpu<T> {
    isa: Isa,
    assistant: Option<Arc<dyn Assistant<T>>>,
}

impl<T> Default for Cpu<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Cpu<T> {
    /// The processor with the widest instruction set it has.
    pub fn new() -> Self {
        Self::with(Isa::detect())
    }

    /// The processor restricted to `isa`; for tests and measurements.
    ///
    /// # Panics
    /// When the processor has no such instruction set; [`Isa::is_available`] tells.
    pub fn with(isa: Isa) -> Self {
        assert!(isa.is_available(), "this processor has no {isa:?}");
        Self { isa, assistant: None }
    }

    /// The processor with an `assistant` for dense soft-mins.
    #[cfg(feature = "cuda")]
    pub(super) fn assisted(assistant: Arc<dyn Assistant<T>>) -> Self {
        Self { isa: Isa::detect(), assistant: Some(assistant) }
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}
