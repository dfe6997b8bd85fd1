//! Pairs on a GPU. It keeps no scores: tensor cores find 64 products sooner than the memory delivers one.

mod draws;
mod nearest;
mod pair_sum;
pub(super) mod soft_min;
mod soft_min_cost;
mod tiles;

use crate::backend::cuda::particles::vector;
use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{BackendError, Columns, Draws, Logit, Out, PairKernel, Pairs, Rows, Weighted};

impl Pairs for Cuda {
    fn soft_min(&self, logit: Logit<'_, Self>, out: Out<'_, Self>) -> Result<(), BackendError> {
        match logit {
            Logit::Product { rows, columns, shift } => soft_min::soft_min(self, soft_min::Pairs::Full(rows, columns), shift, out),
            Logit::Half { rows, columns, shift } => soft_min::soft_min(self, soft_min::Pairs::Half(rows, columns), shift, out),
            Logit::Cost { rows, columns, cost, k, shift, mean } => {
                soft_min_cost::soft_min_cost(self, soft_min_cost::Costs { rows, columns, cost, k, shift }, out, mean)
            }
            Logit::Tiles { rows, columns, list, eps, packed } => {
                let Out { log_sum, mut mean } = out;
                tiles::soft_min(self, tiles::Kept { rows, columns, list, eps }, packed, log_sum, mean.as_mut())?;
                mean.map_or(Ok(()), |mean| vector::blend(self, mean))
            }
            Logit::Symmetric(cloud) => self.soft_min(cloud.packed(self)?, out),
        }
    }

    fn sample_plan(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        shift: (&Buffer<f32>, f64),
        draws: Draws<'_, Self>,
        index: &mut Buffer<u32>,
    ) -> Result<(), BackendError> {
        draws::sample_plan(self, soft_min::Product { rows, columns, shift }, draws, index)
    }

    fn top_k(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        k: usize,
        index: &mut Buffer<u32>,
        logit: &mut Buffer<f32>,
    ) -> Result<(), BackendError> {
        draws::top_k(self, rows, columns, k, index, logit)
    }

    fn nearest(&self, rows: Rows<'_, Self>, points: &Buffer<f32>, index: &mut Buffer<u32>) -> Result<(), BackendError> {
        nearest::nearest(self, rows, points, index)
    }

    fn pair_sum(&self, x: Weighted<'_, Self>, y: Weighted<'_, Self>, kernel: PairKernel) -> Result<f64, BackendError> {
        pair_sum::pair_sum(self, x, y, kernel)
    }
}
