//! Memory of the processor: vectors of the host.

use std::borrow::Borrow;

use bytemuck::Pod;

use crate::backend::cpu::Cpu;
use crate::backend::cpu::lane::Simd;
use crate::backend::{BackendError, Memory};

impl<T: Simd> Memory for Cpu<T> {
    type Real = T;
    type Buf<E: Pod + Send + Sync> = Vec<E>;
    type Recording = ();
    type Streamed = Self;
    const AHEAD: usize = 0;
    /// What is multiplied is single precision either way.
    const HALVES: bool = false;

    fn zeros<E: Pod + Send + Sync>(&self, len: usize) -> Result<Vec<E>, BackendError> {
        Ok(vec![E::zeroed(); len])
    }

    fn upload<E: Pod + Send + Sync>(&self, host: &[E]) -> Result<Vec<E>, BackendError> {
        Ok(host.to_vec())
    }

    fn download<E: Pod + Send + Sync>(&self, buf: &Vec<E>) -> Result<Vec<E>, BackendError> {
        Ok(buf.clone())
    }

    fn upload_reals(&self, host: impl IntoIterator<Item: Borrow<f64>>) -> Result<Vec<T>, BackendError> {
        Ok(host.into_iter().map(|x| T::from_f64(*x.borrow())).collect())
    }

    fn synchronize(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn streamed(&self) -> Result<Option<Self>, BackendError> {
        Ok(None)
    }

    fn repeat(&self, _: &mut (), work: &mut dyn FnMut() -> Result<(), BackendError>) -> Result<(), BackendError> {
        work()
    }
}
