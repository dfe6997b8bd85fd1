//! Memory of a GPU.

use bytemuck::Pod;

use crate::backend::cpu::Cpu;
use crate::backend::cuda::scratch::Scratch;
use crate::backend::cuda::{Buffer, Cuda, Recording};
use crate::backend::streamed::streamed;
use crate::backend::{BackendError, Memory};

impl Memory for Cuda {
    type Real = f32;
    type Buf<T: Pod + Send + Sync> = Buffer<T>;
    type Recording = Recording;
    type Streamed = Cpu<f32>;
    const AHEAD: usize = 1;
    const HALVES: bool = true;

    fn zeros<T: Pod + Send + Sync>(&self, len: usize) -> Result<Buffer<T>, BackendError> {
        let mut buffer = self.room(len)?;
        buffer.clear()?;
        Ok(buffer)
    }

    fn upload<T: Pod + Send + Sync>(&self, host: &[T]) -> Result<Buffer<T>, BackendError> {
        let mut buffer = self.room(host.len())?;
        buffer.write(host)?;
        Ok(buffer)
    }

    fn download<T: Pod + Send + Sync>(&self, buf: &Buffer<T>) -> Result<Vec<T>, BackendError> {
        buf.read(buf.len())
    }

    fn synchronize(&self) -> Result<(), BackendError> {
        self.launcher.synchronize()
    }

    fn streamed(&self) -> Result<Option<Cpu<f32>>, BackendError> {
        Scratch::release(self)?;
        Ok(Some(streamed(self.clone())))
    }

    fn repeat(&self, recording: &mut Recording, work: &mut dyn FnMut() -> Result<(), BackendError>) -> Result<(), BackendError> {
        recording.run(self, work)
    }
}
