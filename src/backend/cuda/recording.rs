//! Operations that are run again and again, as one graph where the launcher can record them.

use std::sync::Arc;

use crate::backend::BackendError;
use crate::backend::cuda::launcher::Recorded;
use crate::backend::cuda::{Buffer, Cuda};

/// A run of operations that comes again, as it is known so far.
#[derive(Default)]
pub enum Recording {
    /// Not run yet.
    #[default]
    Unknown,
    /// Run once: kernels are loaded, and working memory has grown to what it takes.
    Warm,
    /// Recorded, with the working memory whose address is in the record.
    Graph(Box<dyn Recorded>, Arc<Buffer<u64>>),
    /// Not to be recorded.
    Plain,
}

impl Recording {
    /// Does `work`, from the third time on from the record.
    pub fn run(&mut self, cuda: &Cuda, work: &mut dyn FnMut() -> Result<(), BackendError>) -> Result<(), BackendError> {
        if matches!(self, Self::Warm) {
            *self = match cuda.launcher.record(work)? {
                Some(recorded) => Self::Graph(recorded, cuda.scratch(0)?.shared()),
                None => Self::Plain,
            };
        }
        match self {
            Self::Graph(recorded, _) => recorded.replay(),
            Self::Unknown => {
                *self = Self::Warm;
                work()
            }
            Self::Warm | Self::Plain => work(),
        }
    }
}
