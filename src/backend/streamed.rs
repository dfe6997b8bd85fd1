//! Clouds that a device's memory does not hold: they stay with the host, whose [`Cpu`] does all but the soft-min. That goes through
//! the device, tile of pairs by tile, and the partial results of a row's tiles are merged.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::backend::cpu::{Assistant, Cpu, Mean, Product, Simd};
use crate::backend::partial::{Partial, merge};
use crate::backend::{Backend, BackendError, Columns, Logit, Rows};

/// Rows and columns of the smallest tile.
const LEAST: usize = 256;

/// The processor, with `device` for its soft-mins.
pub fn streamed<B: Backend<Real: Simd> + 'static>(device: B) -> Cpu<B::Real> {
    Cpu::assisted(Arc::new(Streamed { device, tile: AtomicUsize::new(1 << 30) }))
}

/// A device that is shown one tile at a time.
struct Streamed<B> {
    device: B,
    /// Rows and columns of a tile: halved until one fits.
    tile: AtomicUsize,
}

impl<B> fmt::Debug for Streamed<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamed").field("tile", &self.tile).finish_non_exhaustive()
    }
}

impl<B: Backend> Streamed<B> {
    /// Log-sums, relative to the shift, and means of all rows, `tile` rows and columns at a time.
    fn pass(
        &self,
        tile: usize,
        pairs: &Product<'_, B::Real>,
        out: &mut [B::Real],
        mean: &mut Mean<'_, B::Real>,
    ) -> Result<(), BackendError> {
        let (device, d, p) = (&self.device, pairs.d, mean.p);
        for (slab, out) in out.chunks_mut(tile).enumerate() {
            let (first, n) = (slab * tile, out.len());
            let x = device.upload(&pairs.x[first * d..][..n * d])?;
            let shift = pairs.shift.map(|(shift, factor)| Ok((device.upload(&shift[first..][..n])?, factor))).transpose()?;
            let shift = shift.as_ref().map(|(shift, factor)| (shift, *factor));
            let mut parts = Vec::new();
            for (k, columns) in pairs.y.chunks(tile * (d + 1)).enumerate() {
                let (packed, m) = (device.upload(columns)?, columns.len() / (d + 1));
                let values = device.upload(&mean.values[k * tile * p..][..m * p])?;
                let (rows, columns) = (Rows { points: &x, n, d }, Columns { packed: &packed, m, d });
                let logit = Logit::Product { rows, columns, shift };
                parts.push(Partial::of(device, logit, n, (p > 0).then_some((&values, p)))?);
            }
            merge(&parts, out, &mut mean.out[first * p..][..n * p], |_| true, |_| 0.0);
        }
        Ok(())
    }
}

impl<B: Backend> Assistant<B::Real> for Streamed<B> {
    fn soft_min(
        &self,
        pairs: Product<'_, B::Real>,
        out: &mut [B::Real],
        mean: Option<Mean<'_, B::Real>>,
    ) -> Result<(), BackendError> {
        let mut mean = mean.unwrap_or(Mean { values: &[], p: 0, out: &mut [] });
        let largest = out.len().max(pairs.y.len() / (pairs.d + 1)).next_power_of_two();
        let mut tile = self.tile.load(Ordering::Relaxed).min(largest);
        loop {
            match self.pass(tile, &pairs, out, &mut mean) {
                Err(BackendError::OutOfMemory { .. }) if tile > LEAST => tile /= 2,
                Ok(()) => {
                    self.tile.store(tile, Ordering::Relaxed);
                    return Ok(());
                }
                failed => return failed,
            }
        }
    }
}
