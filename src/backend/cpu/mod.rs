//! The processor: threads by rayon over rows, lanes by the widest instruction set found at run time.
//!
//! Rows lie in the lanes, so a row's sums run over the columns in one fixed order on every instruction set, and no row
//! depends on its neighbours or on the number of threads.

mod anderson;
mod assistant;
mod cost_matrix;
mod gemm;
mod interpret;
mod lane;
mod metric;
mod nearest;
mod normals;
mod pairs;
mod perceptron;
mod potential;
mod sample_plan;
mod shares;
mod soft_min;
mod soft_min_cost;
mod soft_min_self;
mod sweep;
mod tiles;
mod top_k;
mod vector;

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use half::f16;

use crate::backend::{
    Anderson, Backend, BackendError, Columns, Cost, CostMean, Damping, Dense, HalfColumns, Mean, Noise, PairCost, PairKernel,
    Rows, Scale, Storage, Sweep, Ticket, TileList, Tiles,
};
use crate::program::Activation;
use crate::program::MixtureProgram;

pub use assistant::Assistant;
pub use lane::Isa;
use lane::Simd;
pub(crate) use pairs::pair_cost;
pub(crate) use shares::{Stations, shares, sums};
pub use soft_min::Pairs;
#[cfg(feature = "cuda")]
pub(super) use soft_min::merge;

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
    pub fn assisted(assistant: Arc<dyn Assistant<T>>) -> Self {
        Self { isa: Isa::detect(), assistant: Some(assistant) }
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

impl<T: Simd> Backend for Cpu<T> {
    type Real = T;
    type Buf<E: Pod + Send + Sync> = Vec<E>;
    type Recording = ();
    type Streamed = Self;
    /// What is multiplied is single precision either way.
    type HalfPoints = Infallible;
    type Scores = sweep::Scores<T>;
    const AHEAD: usize = 0;

    fn zeros<E: Pod + Send + Sync>(&self, len: usize) -> Result<Vec<E>, BackendError> {
        Ok(vec![E::zeroed(); len])
    }

    fn upload<E: Pod + Send + Sync>(&self, host: &[E]) -> Result<Vec<E>, BackendError> {
        Ok(host.to_vec())
    }

    fn download<E: Pod + Send + Sync>(&self, buf: &Vec<E>) -> Result<Vec<E>, BackendError> {
        Ok(buf.clone())
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

    fn pack(
        &self,
        points: &Vec<T>,
        d: usize,
        scale: Scale<'_, Self>,
        bias: &Vec<T>,
        potential: Option<(&Vec<T>, f64)>,
        out: &mut Vec<T>,
    ) -> Result<(), BackendError> {
        let per_column = match scale {
            Scale::Uniform(k) => soft_min::Factor::Uniform(k),
            Scale::PerColumn(k) => soft_min::Factor::PerColumn(k),
        };
        soft_min::pack(points, d, per_column, bias, potential.map(|(g, c)| (g.as_slice(), c)), out);
        Ok(())
    }

    fn soft_min(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        shift: Option<(&Vec<T>, f64)>,
        out: &mut Vec<T>,
    ) -> Result<(), BackendError> {
        let pairs =
            soft_min::Pairs { x: rows.points, y: columns.packed, d: rows.d, shift: shift.map(|(s, c)| (s.as_slice(), c)) };
        match &self.assistant {
            Some(assistant) => assistant.soft_mean(pairs, &[], 0, out, &mut [])?,
            None => soft_min::soft_min(self.isa, pairs, out, None),
        }
        Ok(())
    }

    fn soft_mean(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        shift: Option<(&Vec<T>, f64)>,
        values: &Vec<T>,
        p: usize,
        out: &mut Vec<T>,
        mean: &mut Vec<T>,
    ) -> Result<(), BackendError> {
        let pairs =
            soft_min::Pairs { x: rows.points, y: columns.packed, d: rows.d, shift: shift.map(|(s, c)| (s.as_slice(), c)) };
        match &self.assistant {
            Some(assistant) => assistant.soft_mean(pairs, values, p, out, mean)?,
            None => soft_min::soft_min(self.isa, pairs, out, Some(soft_min::Mean { values, p, out: mean })),
        }
        Ok(())
    }

    fn halve(&self, _points: &[f64], _d: usize, _storage: Storage) -> Result<Option<Infallible>, BackendError> {
        Ok(None)
    }

    fn soft_min_half(
        &self,
        rows: &Infallible,
        _columns: HalfColumns<'_, Self>,
        _shift: Option<(&Vec<T>, f64)>,
        _out: &mut Vec<T>,
        _mean: Option<Mean<'_, Self>>,
    ) -> Result<(), BackendError> {
        match *rows {}
    }

    fn sample_plan(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        shift: (&Vec<T>, f64),
        first: &Vec<u32>,
        quantiles: &Vec<f64>,
        index: &mut Vec<u32>,
    ) -> Result<(), BackendError> {
        let pairs = soft_min::Pairs { x: rows.points, y: columns.packed, d: rows.d, shift: Some((shift.0, shift.1)) };
        sample_plan::sample_plan(self.isa, pairs, first, quantiles, index);
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
        let pairs = soft_min::Pairs { x: rows.points, y: columns.packed, d: rows.d, shift: None };
        top_k::top_k(self.isa, pairs, k, index, logit);
        Ok(())
    }

    fn scores(
        &self,
        rows: Rows<'_, Self>,
        columns: Rows<'_, Self>,
        cost: Option<PairCost<'_>>,
    ) -> Result<Option<sweep::Scores<T>>, BackendError> {
        // What an assistant is there for is larger than any matrix.
        if self.assistant.is_some() {
            return Ok(None);
        }
        let (x, y, sizes) = (rows.points, columns.points, (rows.n, columns.n, rows.d));
        Ok(match cost {
            None => sweep::Scores::of_products(x, y, sizes),
            Some(PairCost::Euclidean) => sweep::Scores::of_costs(self.isa, x, y, sizes, Cost::Euclidean),
            Some(PairCost::Lp(p)) => sweep::Scores::of_costs(self.isa, x, y, sizes, Cost::Lp(p)),
            Some(PairCost::Given(cost)) => sweep::Scores::of_function(rows.n, columns.n, cost),
        })
    }

    fn sweep(
        &self,
        scores: &mut sweep::Scores<T>,
        sweep: &Sweep<'_, Self>,
        log_sum: &mut Vec<T>,
        log_ratio: &mut Vec<T>,
    ) -> Result<bool, BackendError> {
        Ok(scores.sweep(self.isa, sweep, log_sum, log_ratio))
    }

    fn soft_min_tiles(
        &self,
        rows: &Tiles<'_, Self>,
        columns: &Tiles<'_, Self>,
        list: &TileList<'_, Self>,
        eps: f64,
        packed: &mut Vec<T>,
        out: &mut Vec<T>,
        mean: Option<Mean<'_, Self>>,
    ) -> Result<(), BackendError> {
        let packed = &mut packed[..columns.n * (columns.d + 1)];
        tiles::pack(columns, eps, packed);
        tiles::soft_min(self.isa, tiles::Pairs { rows, columns, packed, list, eps }, out, mean);
        Ok(())
    }

    fn soft_min_self(
        &self,
        rows: Rows<'_, Self>,
        k: f64,
        weights: (&Vec<T>, &Vec<T>),
        shift: (&Vec<T>, f64),
        packed: &mut Vec<T>,
        out: &mut Vec<T>,
    ) -> Result<(), BackendError> {
        let (d, (potential, factor)) = (rows.d, shift);
        if self.assistant.is_none() {
            soft_min_self::soft_min_self(self.isa, rows.points, d, k, weights.0, (potential, factor), packed, out);
            if out.iter().all(|sum| sum.to_f64().is_finite()) {
                return Ok(());
            }
        }
        // A shift far from the answer: the running maximum needs both directions; so does an assistant.
        self.pack(rows.points, d, Scale::Uniform(k), weights.1, Some((potential, -factor)), packed)?;
        self.soft_min(rows, Columns { packed, m: out.len(), d }, Some(shift), out)
    }

    fn soft_min_cost(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        cost: PairCost<'_>,
        k: f64,
        shift: Option<(&Vec<T>, f64)>,
        out: &mut Vec<T>,
        mean: Option<CostMean<'_, Self>>,
    ) -> Result<(), BackendError> {
        let pairs =
            soft_min::Pairs { x: rows.points, y: columns.packed, d: rows.d, shift: shift.map(|(s, c)| (s.as_slice(), c)) };
        let mean = mean.map(|CostMean { values, p, out, cost }| soft_min_cost::Mean { values, p, out, cost });
        soft_min_cost::soft_min_cost(self.isa, pairs, cost, k, out, mean);
        Ok(())
    }

    fn nearest(&self, rows: Rows<'_, Self>, points: &Vec<T>, index: &mut Vec<u32>) -> Result<(), BackendError> {
        nearest::nearest(self.isa, rows.points, points, rows.d, index);
        Ok(())
    }

    fn cost_matrix(&self, rows: Rows<'_, Self>, points: &Vec<T>, cost: Cost, out: &mut Vec<T>) -> Result<(), BackendError> {
        cost_matrix::cost_matrix(self.isa, (rows.points, points), rows.d, cost, (out, points.len() / rows.d), |c| c);
        Ok(())
    }

    fn cost_matrix_half(
        &self,
        rows: Rows<'_, Self>,
        points: &Vec<T>,
        cost: Cost,
        out: &mut Vec<f16>,
    ) -> Result<(), BackendError> {
        let round = |c: T| f16::from_f64(c.to_f64());
        cost_matrix::cost_matrix(self.isa, (rows.points, points), rows.d, cost, (out, points.len() / rows.d), round);
        Ok(())
    }

    fn pair_sum(
        &self,
        rows: Rows<'_, Self>,
        a: &Vec<T>,
        points: &Vec<T>,
        b: &Vec<T>,
        kernel: PairKernel,
    ) -> Result<f64, BackendError> {
        Ok(pairs::pair_sum(rows.points, a, points, b, rows.d, kernel))
    }

    fn normals(
        &self,
        noise: Noise<'_>,
        step: u32,
        draw: u32,
        call: usize,
        d: usize,
        out: &mut Vec<T>,
    ) -> Result<(), BackendError> {
        normals::fill(self.isa, noise, step, draw, call, d, out);
        Ok(())
    }

    fn interpret(
        &self,
        program: &MixtureProgram,
        steps: Range<usize>,
        noise: Noise<'_>,
        registers: &mut [Vec<T>],
    ) -> Result<(), BackendError> {
        interpret::interpret(self.isa, program, steps, noise, registers);
        Ok(())
    }

    fn perceptron(
        &self,
        rows: Rows<'_, Self>,
        scale: f64,
        layers: &[Dense<'_, Self>],
        activation: Activation,
        out: &mut Vec<T>,
    ) -> Result<(), BackendError> {
        let layers: Vec<_> = layers.iter().map(|layer| perceptron::Layer { weight: layer.weight, bias: layer.bias }).collect();
        perceptron::perceptron(self.isa, rows.points, rows.d, scale, &layers, activation, out);
        Ok(())
    }

    fn combine(&self, registers: &mut [Vec<T>], dst: usize, terms: &[(usize, f64)]) -> Result<(), BackendError> {
        vector::combine(registers, dst, terms);
        Ok(())
    }

    fn clip(&self, x: &mut Vec<T>, low: f64, high: f64) -> Result<(), BackendError> {
        vector::clip(x, low, high);
        Ok(())
    }

    fn axpby(&self, a: f64, x: &Vec<T>, b: f64, y: &mut Vec<T>) -> Result<(), BackendError> {
        vector::axpby(a, x, b, y);
        Ok(())
    }

    fn dot(&self, x: &Vec<T>, y: &Vec<T>) -> Result<Ticket, BackendError> {
        Ok(Ticket::known(vector::sum(x.len(), |i| x[i].to_f64() * y[i].to_f64())))
    }

    fn max_difference(&self, x: &Vec<T>, y: &Vec<T>) -> Result<Ticket, BackendError> {
        Ok(Ticket::known(vector::max_difference(x, y)))
    }

    fn marginal_error(&self, a: &Vec<T>, log_ratio: &Vec<T>) -> Result<Ticket, BackendError> {
        Ok(Ticket::known(vector::sum(a.len(), |i| a[i].to_f64() * log_ratio[i].to_f64().exp_m1().abs())))
    }

    fn largest_change(&self, mass: &Vec<f64>, change: &Vec<f64>) -> Result<Ticket, BackendError> {
        Ok(Ticket::known(potential::largest_change(mass, change)))
    }

    fn largest_fall(&self, before: &Vec<f64>, after: &Vec<f64>) -> Result<Ticket, BackendError> {
        Ok(Ticket::known(potential::largest_fall(before, after)))
    }

    fn round(&self, x: &Vec<f64>, out: &mut Vec<T>) -> Result<(), BackendError> {
        potential::round(x, out);
        Ok(())
    }

    fn relax(
        &self,
        log_ratio: &Vec<T>,
        eps: f64,
        damping: Option<Damping<'_, Self>>,
        share: f64,
        potential: &Vec<f64>,
        change: &mut Vec<f64>,
    ) -> Result<(), BackendError> {
        let damping = damping.map(|damping| (damping.omega, damping.ground.as_slice()));
        potential::relax(log_ratio, eps, damping, share, potential, change);
        Ok(())
    }

    fn advance(&self, change: &Vec<f64>, potential: &mut Vec<f64>) -> Result<(), BackendError> {
        potential::advance(change, potential);
        Ok(())
    }

    fn accelerate(
        &self,
        memory: &mut Anderson<Self>,
        mass: &Vec<f64>,
        residual: &Vec<f64>,
        point: &mut Vec<f64>,
    ) -> Result<(), BackendError> {
        anderson::accelerate(memory, mass, residual, point);
        Ok(())
    }

    fn gather(&self, points: &Vec<T>, d: usize, index: &Vec<u32>, out: &mut Vec<T>) -> Result<(), BackendError> {
        vector::gather(points, d, index, out);
        Ok(())
    }
}
