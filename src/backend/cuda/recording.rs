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
    /// Does `work`, from the second time on from the record.
    pub fn run(&mut self, cuda: &Cuda, work: &mut dyn FnMut() -> Result<(), BackendError>) -> Result<(), BackendError> {
        if matches!(self, Self::Warm) {
            let scratch = cuda.scratch(0)?.shared();
            // Another thread may have outgrown the working memory meanwhile.
            *self = match cuda.launcher.record(work)? {
                Some(recorded) if Arc::ptr_eq(&scratch, &cuda.scratch(0)?.shared()) => Self::Graph(recorded, scratch),
                _ => Self::Plain,
            };
        }
        match self {
            Self::Graph(recorded, _) => {
                // No operation of another thread is half submitted while this one uses the working memory.
                let _own = cuda.scratch(0)?;
                recorded.replay()
            }
            Self::Unknown => {
                *self = Self::Warm;
                work()
            }
            Self::Warm | Self::Plain => work(),
        }
    }
}
