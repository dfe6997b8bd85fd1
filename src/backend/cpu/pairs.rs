//! Pairs on the processor.

mod metric;
mod nearest;
pub(super) mod pair_sum;
mod sample_plan;
mod shares;
pub(super) mod soft_min;
mod soft_min_cost;
mod soft_min_self;
pub(super) mod sweep;
mod tiles;
mod top_k;

use half::{bf16, f16};

use crate::backend::cpu::lane::Simd;
use crate::backend::cpu::pairs::soft_min::Pairs as Product;
use crate::backend::cpu::particles::vector;
use crate::backend::cpu::{Cpu, Scores};
use crate::backend::{
    BackendError, Blend, Columns, Draws, HalfPoints, Logit, Mean, Out, PairCost, PairKernel, Pairs, Rows, Scale, Shares,
    Stations, Sweep, Weighted,
};

impl<T: Simd> Pairs for Cpu<T> {
    fn soft_min(&self, logit: Logit<'_, Self>, out: Out<'_, Self>) -> Result<(), BackendError> {
        let Out { log_sum, mut mean } = out;
        match logit {
            Logit::Product { rows, columns, shift } => self.product(of(rows, columns, shift), log_sum, mean.as_mut())?,
            Logit::Half { rows, columns, shift } => {
                let (d, x, y) = (rows.d, reals(rows), reals(columns.points));
                let (g, c) = columns.potential;
                let mut packed = vec![T::zeroed(); columns.points.n * (d + 1)];
                let points = Rows { points: &y, n: columns.points.n, d };
                soft_min::pack(points, Scale::Uniform(columns.k), columns.bias, Some((g, c)), &mut packed);
                let pairs = Product { x: &x, y: &packed, d, shift: shift.map(|(s, c)| (s.as_slice(), c)) };
                self.product(pairs, log_sum, mean.as_mut())?;
            }
            Logit::Cost { rows, columns, cost, k, shift, mean: costs } => {
                let wanted = soft_min_cost::Wanted { mean: mean.as_mut().map(behind), costs: costs.map(Vec::as_mut_slice) };
                soft_min_cost::soft_min_cost(self.isa, of(rows, columns, shift), (cost, k), log_sum, wanted);
            }
            Logit::Tiles { rows, columns, list, eps, packed } => {
                let packed = &mut packed[..columns.n * (columns.d + 1)];
                tiles::pack(columns, eps, packed);
                tiles::soft_min(self.isa, tiles::Pairs { rows, columns, packed, list, eps }, log_sum, mean.as_mut().map(behind));
            }
            Logit::Symmetric(mut cloud) => {
                // A shift far from the answer: the running maximum needs both directions; so do means and an assistant.
                let once = mean.is_none() && self.assistant.is_none();
                if !once || !soft_min_self::soft_min_self(self.isa, &mut cloud, log_sum) {
                    return self.soft_min(cloud.packed(self)?, Out { log_sum, mean });
                }
            }
        }
        if let Some(Mean { out, blend: Some(Blend { s, t, with }), .. }) = mean {
            vector::blend(s, t, with, out);
        }
        Ok(())
    }

    fn sample_plan(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        shift: (&Vec<T>, f64),
        draws: Draws<'_, Self>,
        index: &mut Vec<u32>,
    ) -> Result<(), BackendError> {
        sample_plan::sample_plan(self.isa, of(rows, columns, Some(shift)), draws.first, draws.quantiles, index);
        Ok(())
    }

    fn top_k(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        k: usize,
        index: &mut Vec<u32>,
        logit: &mut Vec<T>,
    ) -> Result<(), BackendError> {
        top_k::top_k(self.isa, of(rows, columns, None), k, index, logit);
        Ok(())
    }

    fn nearest(&self, rows: Rows<'_, Self>, points: &Vec<T>, index: &mut Vec<u32>) -> Result<(), BackendError> {
        nearest::nearest(self.isa, rows.points, points, rows.d, index);
        Ok(())
    }

    fn pair_sum(&self, x: Weighted<'_, Self>, y: Weighted<'_, Self>, kernel: PairKernel) -> Result<f64, BackendError> {
        Ok(pair_sum::pair_sum(x, y, kernel))
    }

    fn share(
        &self,
        points: &Vec<f64>,
        masses: &Vec<f64>,
        stations: Stations<'_, Self>,
        out: Shares<'_, Self>,
    ) -> Result<(), BackendError> {
        let stations = shares::Stations { slopes: stations.slopes, levels: stations.levels };
        match out {
            Shares::Each(shares) => shares::shares(self.isa, points, stations, shares),
            Shares::Sums { moments, overlaps } => {
                let found = shares::sums(self.isa, (points, masses), stations);
                moments.copy_from_slice(&found.moments);
                overlaps.copy_from_slice(&found.overlaps);
            }
        }
        Ok(())
    }

    fn scores(
        &self,
        rows: Rows<'_, Self>,
        columns: Rows<'_, Self>,
        cost: Option<PairCost<'_>>,
    ) -> Result<Option<Scores<T>>, BackendError> {
        // What an assistant is there for is larger than any matrix.
        if self.assistant.is_some() {
            return Ok(None);
        }
        Ok(match cost {
            None => Scores::of_products(rows, columns),
            Some(PairCost::Euclidean) => Scores::of_norms(self.isa, rows, columns, 2.0),
            Some(PairCost::Lp(p)) => Scores::of_norms(self.isa, rows, columns, p),
            Some(PairCost::Given(cost)) => Scores::of_function(rows.n, columns.n, cost),
        })
    }

    fn sweep(
        &self,
        scores: &mut Scores<T>,
        sweep: &Sweep<'_, Self>,
        log_sum: &mut Vec<T>,
        log_ratio: &mut Vec<T>,
    ) -> Result<bool, BackendError> {
        Ok(scores.sweep(self.isa, sweep, log_sum, log_ratio))
    }
}

impl<T: Simd> Cpu<T> {
    /// The soft-min of products, by the assistant where there is one.
    fn product(&self, pairs: Product<'_, T>, log_sum: &mut [T], mean: Option<&mut Mean<'_, Self>>) -> Result<(), BackendError> {
        let mean = mean.map(behind);
        match &self.assistant {
            Some(assistant) => assistant.soft_min(pairs, log_sum, mean),
            None => {
                soft_min::soft_min(self.isa, pairs, log_sum, mean);
                Ok(())
            }
        }
    }
}

/// The pairs of rows and packed columns.
fn of<'a, T: Simd>(rows: Rows<'a, Cpu<T>>, columns: Columns<'a, Cpu<T>>, shift: Option<(&'a Vec<T>, f64)>) -> Product<'a, T> {
    let y = &columns.packed[..columns.m * (columns.d + 1)];
    Product { x: rows.points, y, d: rows.d, shift: shift.map(|(s, c)| (s.as_slice(), c)) }
}

/// A mean as the kernels take it, without what is made of it.
fn behind<'a, T: Simd>(mean: &'a mut Mean<'_, Cpu<T>>) -> soft_min::Mean<'a, T> {
    soft_min::Mean { values: mean.values, p: mean.p, out: mean.out }
}

/// The points as reals, exactly.
fn reals<T: Simd>(points: &HalfPoints<Cpu<T>>) -> Vec<T> {
    let real = |bits: u16| if points.bf16 { bf16::from_bits(bits).to_f64() } else { f16::from_bits(bits).to_f64() };
    points.bits.iter().map(|&bits| T::from_f64(real(bits))).collect()
}
