//! Clouds that the device's memory does not hold: they stay with the host, whose [`Cpu`](crate::backend::cpu::Cpu) does all but the
//! soft-min. That goes through the device, tile of pairs by tile, and the results of a row's tiles are merged as the processor
//! merges its parts of columns.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::backend::cpu::{Assistant, Mean, Pairs, merge};
use crate::backend::cuda::Cuda;
use crate::backend::{BackendError, Columns, Logit, Memory, Out, Pairs as _, Rows};

/// Rows and columns of the smallest tile.
const LEAST: usize = 256;

/// A device that is shown one tile at a time.
#[derive(Debug)]
pub struct Streamed {
    cuda: Cuda,
    /// Rows and columns of a tile: halved until one fits.
    tile: AtomicUsize,
}

impl Streamed {
    pub fn new(cuda: Cuda) -> Self {
        Self { cuda, tile: AtomicUsize::new(1 << 30) }
    }

    /// Log-sums, relative to the shift, and means of all rows, `tile` rows and columns at a time.
    fn pass(&self, tile: usize, pairs: &Pairs<'_, f32>, out: &mut [f32], mean: &mut Mean<'_, f32>) -> Result<(), BackendError> {
        let (cuda, d, p) = (&self.cuda, pairs.d, mean.p);
        for (slab, out) in out.chunks_mut(tile).enumerate() {
            let (first, n) = (slab * tile, out.len());
            let x = cuda.upload(&pairs.x[first * d..][..n * d])?;
            let shift = pairs.shift.map(|(shift, factor)| Ok((cuda.upload(&shift[first..][..n])?, factor))).transpose()?;
            let shift = shift.as_ref().map(|(shift, factor)| (shift, *factor));
            let mut parts = Vec::new();
            for (k, columns) in pairs.y.chunks(tile * (d + 1)).enumerate() {
                let (packed, m) = (cuda.upload(columns)?, columns.len() / (d + 1));
                let (rows, columns) = (Rows { points: &x, n, d }, Columns { packed: &packed, m, d });
                let (mut log_sums, mut means) = (cuda.room(n)?, cuda.room(n * p)?);
                let values = cuda.upload(&mean.values[k * tile * p..][..m * p])?;
                let wanted = if p == 0 { Out::of(&mut log_sums) } else { Out::with_mean(&mut log_sums, &values, p, &mut means) };
                cuda.soft_min(Logit::Product { rows, columns, shift }, wanted)?;
                parts.push((cuda.download(&log_sums)?, cuda.download(&means)?));
            }
            merge(&parts, p, out, &mut mean.out[first * p..][..n * p], |_| true, |_| 0.0);
        }
        Ok(())
    }
}

impl Assistant<f32> for Streamed {
    fn soft_min(&self, pairs: Pairs<'_, f32>, out: &mut [f32], mean: Option<Mean<'_, f32>>) -> Result<(), BackendError> {
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
