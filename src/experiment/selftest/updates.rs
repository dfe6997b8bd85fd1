//! What an iteration does to potentials, and an iteration that is repeated from a record.

use crate::backend::{Anderson, Backend, BackendError, Damping, Update};
use crate::experiment::selftest::inputs::normals;

/// A potential after one damped update.
pub fn relax<B: Backend>(backend: &B, count: usize) -> Result<Vec<f64>, BackendError> {
    let (log_ratio, ground) = (backend.upload_reals(normals(count, 1))?, backend.upload(&normals(count, 3))?);
    let (mut potential, mut change) = (backend.upload(&normals(count, 2))?, backend.zeros(count)?);
    let update = Update { eps: 0.1, share: 0.5, damping: Some(Damping { omega: 0.3, ground: &ground }) };
    backend.relax(&log_ratio, update, &potential, &mut change)?;
    backend.advance(&change, &mut potential)?;
    backend.synchronize()?;
    backend.download(&potential)
}

/// A potential after four iterations of one update by itself, rounded to the device's reals: run once, recorded, and replayed.
pub fn repeat<B: Backend>(backend: &B, count: usize) -> Result<Vec<f64>, BackendError> {
    let mut potential = backend.upload(&normals(count, 2))?;
    let (mut change, mut rounded) = (backend.zeros(count)?, backend.zeros(count)?);
    let mut recording = B::Recording::default();
    for _ in 0..4 {
        backend.repeat(&mut recording, &mut || {
            backend.round(&potential, &mut rounded)?;
            backend.relax(&rounded, Update { eps: 0.25, share: -1.0, damping: None }, &potential, &mut change)?;
            backend.advance(&change, &mut potential)
        })?;
    }
    backend.download(&potential)
}

/// A point after three accelerated steps of a linear iteration with three rates.
pub fn accelerate<B: Backend>(backend: &B, count: usize) -> Result<Vec<f64>, BackendError> {
    let (mut memory, mass) = (Anderson::new(backend, count)?, backend.upload(&vec![1.0; count])?);
    let mut point = backend.upload(&normals(count, 1))?;
    for _ in 0..3 {
        let rates = [0.99, 0.9, 0.1].into_iter().cycle();
        let residual: Vec<f64> = backend.download(&point)?.iter().zip(rates).map(|(x, rate)| (rate - 1.0) * (x - 1.0)).collect();
        backend.accelerate(&mut memory, &mass, &backend.upload(&residual)?, &mut point)?;
    }
    backend.download(&point)
}
