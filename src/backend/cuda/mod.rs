//! NVIDIA GPUs: the kernels of `kernels/`, one launcher file a kernel file, over the [`Launcher`] of a driver or an emulator.
//!
//! Arithmetic is in single precision, sums are in double. Every launch is a function of the sizes alone, so a result repeats bit
//! for bit on one device.

mod anderson;
mod buffer;
mod cost;
mod draws;
mod driver;
mod half_points;
mod interpret;
pub mod launcher;
mod modules;
mod nearest;
mod normals;
mod nvrtc;
mod pack;
mod pair_sum;
mod perceptron;
mod potential;
mod recording;
mod reduce;
mod scratch;
mod soft_min;
mod soft_min_cost;
mod streamed;
mod tiles;
mod vector;

use std::convert::Infallible;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytemuck::Pod;
use half::f16;

use crate::backend::cpu::Cpu;
use crate::backend::{
    Anderson, Backend, BackendError, Columns, Cost, CostMean, CudaAbsence, Damping, Dense, HalfColumns, Mean, Noise, PairCost,
    PairKernel, Rows, Scale, Storage, Sweep, Ticket, TileList, Tiles,
};
use crate::program::Activation;
use crate::program::MixtureProgram;

pub use buffer::Buffer;
pub use driver::Driver;
pub(super) use driver::{architectures, gpus};
pub use half_points::HalfPoints;
pub use launcher::Launcher;
use launcher::{Argument, Shape};
pub use recording::Recording;
use reduce::Reduction;
use scratch::Scratch;
use streamed::Streamed;

/// A GPU in single precision.
#[derive(Clone)]
pub struct Cuda {
    name: String,
    launcher: Arc<dyn Launcher>,
    scratch: Arc<Mutex<Arc<Buffer<u64>>>>,
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cuda").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Cuda {
    /// GPU number `ordinal`.
    ///
    /// # Errors
    /// [`CudaAbsence`] when it cannot be used.
    pub fn open(ordinal: usize) -> Result<Self, CudaAbsence> {
        let driver = Arc::new(Driver::open(ordinal)?);
        Self::over(driver, format!("cuda:{ordinal}"))
            .map_err(|why| CudaAbsence::Failed { call: "the first buffer".into(), reason: why.to_string() })
    }

    /// The backend over `launcher`, called `name` where results are printed.
    ///
    /// # Errors
    /// [`BackendError`] when the device has no memory at all.
    pub fn over(launcher: Arc<dyn Launcher>, name: String) -> Result<Self, BackendError> {
        let scratch = Arc::new(Mutex::new(Arc::new(Buffer::new(launcher.clone(), 0)?)));
        Ok(Self { name, launcher, scratch })
    }

    /// Name of the device.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device's memory and kernels.
    pub fn launcher(&self) -> &dyn Launcher {
        &*self.launcher
    }

    /// Submits `kernel`.
    fn launch(&self, kernel: &str, shape: Shape, arguments: &[&dyn Argument]) -> Result<(), BackendError> {
        if shape.grid.contains(&0) {
            return Ok(());
        }
        let mut params: Vec<_> = arguments.iter().map(|argument| argument.address()).collect();
        // SAFETY: each launcher file passes what its kernel file declares; the conformance suite runs every one of them.
        unsafe { self.launcher.launch(kernel, shape.grid, shape.block, shape.shared, &mut params) }
    }

    /// A buffer whose contents are not defined yet.
    fn room<T: Pod>(&self, len: usize) -> Result<Buffer<T>, BackendError> {
        Buffer::new(self.launcher.clone(), len)
    }

    /// Working memory of at least `bytes` bytes, kept from one operation to the next. It is free again for the next operation
    /// when the guard is dropped, because operations take effect in the order they are submitted.
    fn scratch(&self, bytes: usize) -> Result<Scratch<'_>, BackendError> {
        Scratch::of(self, bytes)
    }
}

/// How many splits of how many columns, whole tiles of 64, give some 512 blocks beside `tiles` tiles of rows: four for each
/// multiprocessor of the largest devices. For operations whose result does not depend on the splits, or that are sums in double.
fn split_columns(tiles: u32, m: usize) -> (u32, u64) {
    let wanted = 512usize.div_ceil(tiles.max(1) as usize).clamp(1, m.div_ceil(64).max(1));
    let columns = m.div_ceil(wanted).next_multiple_of(64).max(64);
    (m.div_ceil(columns) as u32, columns as u64)
}

impl Backend for Cuda {
    type Real = f32;
    type Buf<T: Pod + Send + Sync> = Buffer<T>;
    type Recording = Recording;
    type Streamed = Cpu<f32>;
    const AHEAD: usize = 1;
    type HalfPoints = HalfPoints;
    /// Tensor cores find 64 products sooner than the memory delivers one.
    type Scores = Infallible;

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
        Ok(Some(Cpu::assisted(Arc::new(Streamed::new(self.clone())))))
    }

    fn repeat(&self, recording: &mut Recording, work: &mut dyn FnMut() -> Result<(), BackendError>) -> Result<(), BackendError> {
        recording.run(self, work)
    }

    fn pack(
        &self,
        points: &Buffer<f32>,
        d: usize,
        scale: Scale<'_, Self>,
        bias: &Buffer<f32>,
        potential: Option<(&Buffer<f32>, f64)>,
        out: &mut Buffer<f32>,
    ) -> Result<(), BackendError> {
        pack::pack(self, points, d, scale, bias, potential, out)
    }

    fn soft_min(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        shift: Option<(&Buffer<f32>, f64)>,
        out: &mut Buffer<f32>,
    ) -> Result<(), BackendError> {
        soft_min::soft_min(self, rows, columns, shift, out, None)
    }

    fn soft_mean(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        shift: Option<(&Buffer<f32>, f64)>,
        values: &Buffer<f32>,
        p: usize,
        out: &mut Buffer<f32>,
        mean: &mut Buffer<f32>,
    ) -> Result<(), BackendError> {
        soft_min::soft_min(self, rows, columns, shift, out, Some(Mean { values, p, out: mean }))
    }

    fn soft_blend(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        values: &Buffer<f32>,
        shares: (f64, f64),
        log_sum: &mut Buffer<f32>,
        out: &mut Buffer<f32>,
    ) -> Result<(), BackendError> {
        soft_min::soft_blend(self, rows, columns, values, shares, log_sum, out)
    }

    fn halve(&self, points: &[f64], d: usize, storage: Storage) -> Result<Option<HalfPoints>, BackendError> {
        HalfPoints::new(self, points, d, storage)
    }

    fn soft_min_half(
        &self,
        rows: &HalfPoints,
        columns: HalfColumns<'_, Self>,
        shift: Option<(&Buffer<f32>, f64)>,
        out: &mut Buffer<f32>,
        mean: Option<Mean<'_, Self>>,
    ) -> Result<(), BackendError> {
        soft_min::soft_min_half(self, rows, columns, shift, out, mean)
    }

    fn sample_plan(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        shift: (&Buffer<f32>, f64),
        first: &Buffer<u32>,
        quantiles: &Buffer<f64>,
        index: &mut Buffer<u32>,
    ) -> Result<(), BackendError> {
        draws::sample_plan(self, rows, columns, shift, first, quantiles, index)
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

    fn soft_min_tiles(
        &self,
        rows: &Tiles<'_, Self>,
        columns: &Tiles<'_, Self>,
        list: &TileList<'_, Self>,
        eps: f64,
        packed: &mut Buffer<f32>,
        out: &mut Buffer<f32>,
        mean: Option<Mean<'_, Self>>,
    ) -> Result<(), BackendError> {
        tiles::soft_min(self, (rows, columns), list, eps, packed, out, mean)
    }

    fn scores(
        &self,
        _rows: Rows<'_, Self>,
        _columns: Rows<'_, Self>,
        _cost: Option<PairCost<'_>>,
    ) -> Result<Option<Infallible>, BackendError> {
        Ok(None)
    }

    fn sweep(
        &self,
        scores: &mut Infallible,
        _sweep: &Sweep<'_, Self>,
        _log_sum: &mut Buffer<f32>,
        _log_ratio: &mut Buffer<f32>,
    ) -> Result<bool, BackendError> {
        match *scores {}
    }

    fn soft_min_cost(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        cost: PairCost<'_>,
        k: f64,
        shift: Option<(&Buffer<f32>, f64)>,
        out: &mut Buffer<f32>,
        mean: Option<CostMean<'_, Self>>,
    ) -> Result<(), BackendError> {
        soft_min_cost::soft_min_cost(self, rows, columns, cost, k, shift, out, mean)
    }

    fn nearest(&self, rows: Rows<'_, Self>, points: &Buffer<f32>, index: &mut Buffer<u32>) -> Result<(), BackendError> {
        nearest::nearest(self, rows, points, index)
    }

    fn cost_matrix(
        &self,
        rows: Rows<'_, Self>,
        points: &Buffer<f32>,
        cost: Cost,
        out: &mut Buffer<f32>,
    ) -> Result<(), BackendError> {
        cost::cost_matrix(self, rows, points, cost, out)
    }

    fn cost_matrix_half(
        &self,
        rows: Rows<'_, Self>,
        points: &Buffer<f32>,
        cost: Cost,
        out: &mut Buffer<f16>,
    ) -> Result<(), BackendError> {
        cost::cost_matrix(self, rows, points, cost, out)
    }

    fn pair_sum(
        &self,
        rows: Rows<'_, Self>,
        a: &Buffer<f32>,
        points: &Buffer<f32>,
        b: &Buffer<f32>,
        kernel: PairKernel,
    ) -> Result<f64, BackendError> {
        pair_sum::pair_sum(self, rows, a, points, b, kernel)
    }

    fn normals(
        &self,
        noise: Noise<'_>,
        step: u32,
        draw: u32,
        call: usize,
        d: usize,
        out: &mut Buffer<f32>,
    ) -> Result<(), BackendError> {
        normals::fill(self, noise, step, draw, call, d, out)
    }

    fn interpret(
        &self,
        program: &MixtureProgram,
        steps: Range<usize>,
        noise: Noise<'_>,
        registers: &mut [Buffer<f32>],
    ) -> Result<(), BackendError> {
        interpret::interpret(self, program, steps, noise, registers)
    }

    fn perceptron(
        &self,
        rows: Rows<'_, Self>,
        scale: f64,
        layers: &[Dense<'_, Self>],
        activation: Activation,
        out: &mut Buffer<f32>,
    ) -> Result<(), BackendError> {
        perceptron::perceptron(self, rows, scale, layers, activation, out)
    }

    fn combine(&self, registers: &mut [Buffer<f32>], dst: usize, terms: &[(usize, f64)]) -> Result<(), BackendError> {
        vector::combine(self, registers, dst, terms)
    }

    fn clip(&self, x: &mut Buffer<f32>, low: f64, high: f64) -> Result<(), BackendError> {
        vector::clip(self, x, low, high)
    }

    fn axpby(&self, a: f64, x: &Buffer<f32>, b: f64, y: &mut Buffer<f32>) -> Result<(), BackendError> {
        vector::axpby(self, a, x, b, y)
    }

    fn dot(&self, x: &Buffer<f32>, y: &Buffer<f32>) -> Result<Ticket, BackendError> {
        reduce::reduce(self, Reduction::Dot, x, y)
    }

    fn max_difference(&self, x: &Buffer<f32>, y: &Buffer<f32>) -> Result<Ticket, BackendError> {
        reduce::reduce(self, Reduction::MaxDifference, x, y)
    }

    fn marginal_error(&self, a: &Buffer<f32>, log_ratio: &Buffer<f32>) -> Result<Ticket, BackendError> {
        reduce::reduce(self, Reduction::MarginalError, a, log_ratio)
    }

    fn largest_change(&self, mass: &Buffer<f64>, change: &Buffer<f64>) -> Result<Ticket, BackendError> {
        reduce::reduce(self, Reduction::LargestChange, mass, change)
    }

    fn largest_fall(&self, before: &Buffer<f64>, after: &Buffer<f64>) -> Result<Ticket, BackendError> {
        reduce::reduce(self, Reduction::LargestFall, before, after)
    }

    fn round(&self, x: &Buffer<f64>, out: &mut Buffer<f32>) -> Result<(), BackendError> {
        potential::round(self, x, out)
    }

    fn relax(
        &self,
        log_ratio: &Buffer<f32>,
        eps: f64,
        damping: Option<Damping<'_, Self>>,
        share: f64,
        potential: &Buffer<f64>,
        change: &mut Buffer<f64>,
    ) -> Result<(), BackendError> {
        potential::relax(self, log_ratio, eps, damping, share, potential, change)
    }

    fn advance(&self, change: &Buffer<f64>, potential: &mut Buffer<f64>) -> Result<(), BackendError> {
        potential::advance(self, change, potential)
    }

    fn accelerate(
        &self,
        memory: &mut Anderson<Self>,
        mass: &Buffer<f64>,
        residual: &Buffer<f64>,
        point: &mut Buffer<f64>,
    ) -> Result<(), BackendError> {
        anderson::accelerate(self, memory, mass, residual, point)
    }

    fn gather(&self, points: &Buffer<f32>, d: usize, index: &Buffer<u32>, out: &mut Buffer<f32>) -> Result<(), BackendError> {
        vector::gather(self, points, d, index, out)
    }
}
