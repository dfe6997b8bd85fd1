//! The seam: the domain operations that every device implements, and the one run-time choice of device.
//!
//! Each operation has an equation and a test. Outputs are passed in, so that an operation allocates nothing of its own size.
//! A buffer belongs to one backend by its type: a CPU buffer handed to a CUDA operation does not compile.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;

use bytemuck::Pod;
use half::f16;
use thiserror::Error;

use crate::field::MixtureProgram;
use crate::field::network::Activation;
use crate::random::Philox;

pub use device::{Chip, CudaAbsence, Device, DeviceError, Gpu, Precision, Task};

/// The floating-point type of a backend.
pub trait Real: Pod + Send + Sync + PartialOrd + std::fmt::Debug + 'static {
    /// Half the spacing of numbers at one: the largest relative rounding error.
    const ROUNDING: f64;
    /// The nearest number of this type.
    fn from_f64(x: f64) -> Self;
    /// The number in f64, exactly.
    fn to_f64(self) -> f64;
}

impl Real for f32 {
    const ROUNDING: f64 = 0.5 * f32::EPSILON as f64;
    fn from_f64(x: f64) -> Self {
        x as f32
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    const ROUNDING: f64 = 0.5 * f64::EPSILON;
    fn from_f64(x: f64) -> Self {
        x
    }
    fn to_f64(self) -> f64 {
        self
    }
}

/// Why a backend could not do what it was asked.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum BackendError {
    /// Not enough memory.
    #[error("{what} needs {needed} bytes and {free} are free; use fewer points")]
    OutOfMemory {
        /// What was to be allocated.
        what: &'static str,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// An operation that the CUDA backend does not have.
    #[error("the CUDA backend cannot {what} yet; use --device cpu")]
    Unsupported {
        /// What it cannot do.
        what: &'static str,
    },
    /// The device failed.
    #[error("{what} failed on the GPU: {reason}")]
    Launch {
        /// The kernel, or the call to the driver.
        what: String,
        /// What the device says.
        reason: String,
    },
}

/// Largest magnitude of a packed bias: log of a zero weight is as good as this, and differences stay finite.
const LARGEST_BIAS: f64 = 1e36;

/// A buffer of reals of backend `B`.
pub type Reals<B> = <B as Backend>::Buf<<B as Backend>::Real>;

/// Row points x: n × d, row-major.
pub struct Rows<'a, B: Backend + ?Sized> {
    /// The coordinates.
    pub points: &'a Reals<B>,
    /// Number of rows n.
    pub n: usize,
    /// Dimension d.
    pub d: usize,
}

/// Column points packed by [`Backend::pack`]: m × (d + 1).
pub struct Columns<'a, B: Backend + ?Sized> {
    /// (k_j y_j, h_j) a column, in units of log 2.
    pub packed: &'a Reals<B>,
    /// Number of columns m.
    pub m: usize,
    /// Dimension d.
    pub d: usize,
}

/// Points of a tile: [`Backend::soft_min_tiles`] keeps or skips pairs of tiles whole.
pub const TILE: usize = 32;

/// One cloud of a tiled soft-min: [`TILE`] consecutive points a tile, which lie close together.
///
/// Each tile has a frame, an affine function that is near the potential on it: at offset δ from the centre the potential is
/// level + slope·δ + rest. Only offsets, rests and one number a pair of tiles meet in an exponent, so that no digits are lost
/// however small ε is against the extent of the cloud.
pub struct Tiles<'a, B: Backend + ?Sized> {
    /// Coordinates, n × d row-major.
    pub points: &'a B::Buf<f64>,
    /// Potential φ or ψ, of length n.
    pub potential: &'a B::Buf<f64>,
    /// log a or log b, of length n; read of columns only.
    pub log_weights: &'a B::Buf<f64>,
    /// (centre, slope, level) a tile: ⌈n/TILE⌉ × (2d + 1).
    pub frames: &'a B::Buf<f64>,
    /// Number of points n.
    pub n: usize,
    /// Dimension d ≤ 4.
    pub d: usize,
}

/// The column tiles that each row tile keeps.
pub struct TileList<'a, B: Backend + ?Sized> {
    /// Row tile r keeps `runs[starts[r]..starts[r + 1]]`.
    pub starts: &'a B::Buf<u32>,
    /// Column tiles from the first number up to, not including, the second.
    pub runs: &'a B::Buf<[u32; 2]>,
}

/// The weighted mean to take in the same pass as a tiled soft-min: `mean_i = Σ_j w_ij v_j`.
pub struct TileMean<'a, B: Backend + ?Sized> {
    /// Values v, m × p.
    pub values: &'a Reals<B>,
    /// Numbers a value.
    pub p: usize,
    /// Where the means go, n × p.
    pub out: &'a mut Reals<B>,
}

/// One layer W x + b of [`Backend::perceptron`].
pub struct Dense<'a, B: Backend + ?Sized> {
    /// W, outputs × inputs, row-major.
    pub weight: &'a Reals<B>,
    /// b, of length outputs.
    pub bias: &'a Reals<B>,
}

/// Factor k of the product x_i · y_j.
pub enum Scale<'a, B: Backend + ?Sized> {
    /// One k for all columns.
    Uniform(f64),
    /// k_j for column j, of length m.
    PerColumn(&'a Reals<B>),
}

/// Where the normals of a run come from.
#[derive(Clone, Copy, Debug)]
pub enum Noise<'a> {
    /// Philox at (first + row, step, draw).
    Counter {
        /// The keyed generator.
        philox: Philox,
        /// Index of the first particle within the whole run.
        first: u32,
    },
    /// Given numbers, draws × n × d, used in call order.
    Given(&'a [f64]),
}

/// The cost of a pair in [`Backend::cost_matrix`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cost {
    /// ½|x−y|².
    HalfSquaredEuclidean,
    /// |x−y|.
    Euclidean,
    /// (Σ_k |x_k − y_k|^p)^(1/p) for p ≥ 1.
    Lp(f64),
    /// 1 − x·y / (|x||y|); 1 where a point is zero.
    Cosine,
}

/// A kernel of [`Backend::pair_sum`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PairKernel {
    /// |x−y|.
    Distance,
    /// exp(−|x−y|²/(2b²)) with bandwidth b.
    Gaussian(f64),
}

/// The domain operations of a device.
///
/// Reductions run in an order that is a function of the sizes alone, so a result repeats bit for bit on one device whatever
/// the number of threads, and row i of a result does not depend on the other rows.
pub trait Backend: Send + Sync {
    /// f32 or f64.
    type Real: Real;
    /// Memory of the device: reals, labels, lists.
    type Buf<T: Pod + Send + Sync>: Send + Sync;
    /// Whether [`Backend::soft_min_tiles`] is there.
    const TILES: bool = false;

    /// A buffer of `len` zeros.
    fn zeros<T: Pod + Send + Sync>(&self, len: usize) -> Result<Self::Buf<T>, BackendError>;
    /// A copy of `host`.
    fn upload<T: Pod + Send + Sync>(&self, host: &[T]) -> Result<Self::Buf<T>, BackendError>;
    /// A copy on the host.
    fn download<T: Pod + Send + Sync>(&self, buf: &Self::Buf<T>) -> Result<Vec<T>, BackendError>;

    /// Waits until every operation so far is done; what a clock needs, and nothing else does.
    fn synchronize(&self) -> Result<(), BackendError>;

    /// A copy of `host`, rounded to [`Backend::Real`].
    fn upload_reals(&self, host: &[f64]) -> Result<Reals<Self>, BackendError> {
        let rounded: Vec<Self::Real> = host.iter().map(|&x| Self::Real::from_f64(x)).collect();
        self.upload(&rounded)
    }

    /// A copy on the host in f64.
    fn download_reals(&self, buf: &Reals<Self>) -> Result<Vec<f64>, BackendError> {
        Ok(self.download(buf)?.into_iter().map(Real::to_f64).collect())
    }

    /// Packs columns for the soft-min: `out_j = log₂e · (k_j y_j, bias_j + factor · potential_j)`, m × (d + 1).
    #[allow(clippy::too_many_arguments)]
    fn pack(
        &self,
        points: &Reals<Self>,
        d: usize,
        scale: Scale<'_, Self>,
        bias: &Reals<Self>,
        potential: Option<(&Reals<Self>, f64)>,
        out: &mut Reals<Self>,
    ) -> Result<(), BackendError>;

    /// The streaming soft-min: `out_i = log Σ_j exp(h_j + k_j x_i·y_j − shift_i)`, length n, with the shift a factor times
    /// a buffer.
    ///
    /// A shift near the answer saves the running maximum; a row whose sum over- or underflows is run again with it.
    fn soft_min(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        shift: Option<(&Reals<Self>, f64)>,
        out: &mut Reals<Self>,
    ) -> Result<(), BackendError>;

    /// The soft-min and the weighted mean behind it: `mean_i = Σ_j w_ij v_j`, n × p, with w_ij the softmax over j.
    #[allow(clippy::too_many_arguments)]
    fn soft_mean(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        shift: Option<(&Reals<Self>, f64)>,
        values: &Reals<Self>,
        p: usize,
        out: &mut Reals<Self>,
        mean: &mut Reals<Self>,
    ) -> Result<(), BackendError>;

    /// Draws from the softmax of each row by inverse CDF: `index_r = min {j : Σ_{j′≤j} w_ij′ > quantiles_r}` for
    /// r ∈ first_i..first_{i+1}, one number of [0, 1) a draw; `first` has length n + 1.
    ///
    /// A shift near the row's log-sum makes it one pass over the columns, however many draws a row has.
    fn sample_plan(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        shift: (&Reals<Self>, f64),
        first: &Self::Buf<u32>,
        quantiles: &Self::Buf<f64>,
        index: &mut Self::Buf<u32>,
    ) -> Result<(), BackendError>;

    /// The `k` ≤ m columns of largest `logit_ij = h_j + k_j x_i·y_j` of each row in falling order, n × k; of equals the lowest index
    /// first.
    fn top_k(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        k: usize,
        index: &mut Self::Buf<u32>,
        logit: &mut Reals<Self>,
    ) -> Result<(), BackendError>;

    /// The soft-min of a cloud with itself: `out_i = log Σ_j a_j exp(k x_i·x_j − s_i − s_j)`, length n, with s a factor times a
    /// buffer; `weights` are a and log a, `packed` is workspace of n × (d + 1).
    ///
    /// A backend may use that the exponents are symmetric and visit each pair once; this visits it twice.
    fn soft_min_self(
        &self,
        rows: Rows<'_, Self>,
        k: f64,
        weights: (&Reals<Self>, &Reals<Self>),
        shift: (&Reals<Self>, f64),
        packed: &mut Reals<Self>,
        out: &mut Reals<Self>,
    ) -> Result<(), BackendError> {
        let (potential, factor) = shift;
        self.pack(rows.points, rows.d, Scale::Uniform(k), weights.1, Some((potential, -factor)), packed)?;
        let columns = Columns { packed, m: rows.n, d: rows.d };
        self.soft_min(rows, columns, Some(shift), out)
    }

    /// The soft-min over kept pairs of tiles: `out_i = log Σ_j b_j exp((x_i·y_j − φ_i − ψ_j)/ε)`, length n, j in the tiles that
    /// the tile of i keeps; the mean behind it where asked. `packed` is workspace of m × (d + 1) or more.
    #[allow(clippy::too_many_arguments)]
    fn soft_min_tiles(
        &self,
        _rows: &Tiles<'_, Self>,
        _columns: &Tiles<'_, Self>,
        _list: &TileList<'_, Self>,
        _eps: f64,
        _packed: &mut Reals<Self>,
        _out: &mut Reals<Self>,
        _mean: Option<TileMean<'_, Self>>,
    ) -> Result<(), BackendError> {
        Err(BackendError::Unsupported { what: "solve by tiles" })
    }

    /// The nearest column of each row, the limit of the soft-min at infinite scale: `index_i = argmin_j |x_i − y_j|²`.
    /// `points` are the columns, m × d, unpacked; of equal distances the lowest index wins.
    fn nearest(&self, rows: Rows<'_, Self>, points: &Reals<Self>, index: &mut Self::Buf<u32>) -> Result<(), BackendError>;

    /// The matrix `out_ij = c(x_i, y_j)`, n × m row-major.
    fn cost_matrix(
        &self,
        rows: Rows<'_, Self>,
        points: &Reals<Self>,
        cost: Cost,
        out: &mut Reals<Self>,
    ) -> Result<(), BackendError>;

    /// [`Backend::cost_matrix`] rounded to half precision: half the memory; infinite above 65,504.
    fn cost_matrix_half(
        &self,
        rows: Rows<'_, Self>,
        points: &Reals<Self>,
        cost: Cost,
        out: &mut Self::Buf<f16>,
    ) -> Result<(), BackendError>;

    /// `Σ_ij a_i b_j k(x_i, y_j)`, accumulated in f64.
    fn pair_sum(
        &self,
        rows: Rows<'_, Self>,
        a: &Reals<Self>,
        points: &Reals<Self>,
        b: &Reals<Self>,
        kernel: PairKernel,
    ) -> Result<f64, BackendError>;

    /// Standard normals of `noise` for (row, step, draw): n × d. `call` is the number of the draw in the whole run.
    fn normals(
        &self,
        noise: Noise<'_>,
        step: u32,
        draw: u32,
        call: usize,
        d: usize,
        out: &mut Reals<Self>,
    ) -> Result<(), BackendError>;

    /// Runs `program.steps[steps]` for every particle, all operations of all steps fused; `registers[r]` is n × d.
    fn interpret(
        &self,
        program: &MixtureProgram,
        steps: std::ops::Range<usize>,
        noise: Noise<'_>,
        registers: &mut [Reals<Self>],
    ) -> Result<(), BackendError>;

    /// A multilayer perceptron: `out = W_L a(… a(W_1 (s x) + b_1) …) + b_L`, n × outputs of the last layer, with s the `scale`.
    fn perceptron(
        &self,
        _rows: Rows<'_, Self>,
        _scale: f64,
        _layers: &[Dense<'_, Self>],
        _activation: Activation,
        _out: &mut Reals<Self>,
    ) -> Result<(), BackendError> {
        Err(BackendError::Unsupported { what: "evaluate networks" })
    }

    /// `registers[dst] ← Σ coefficient · register`; `dst` may be among the terms.
    fn combine(&self, registers: &mut [Reals<Self>], dst: usize, terms: &[(usize, f64)]) -> Result<(), BackendError>;

    /// `x ← min(max(x, low), high)`.
    fn clip(&self, x: &mut Reals<Self>, low: f64, high: f64) -> Result<(), BackendError>;

    /// `y ← a x + b y`.
    fn axpby(&self, a: f64, x: &Reals<Self>, b: f64, y: &mut Reals<Self>) -> Result<(), BackendError>;

    /// `Σ_i x_i y_i`, accumulated in f64.
    fn dot(&self, x: &Reals<Self>, y: &Reals<Self>) -> Result<f64, BackendError>;

    /// `max_i |x_i − y_i|`.
    fn max_difference(&self, x: &Reals<Self>, y: &Reals<Self>) -> Result<f64, BackendError>;

    /// `Σ_i a_i |exp(log_ratio_i) − 1|`: the L1 error of a marginal whose density with respect to a is exp(log_ratio).
    fn marginal_error(&self, a: &Reals<Self>, log_ratio: &Reals<Self>) -> Result<f64, BackendError>;

    /// `out_r = points_{index_r}`, rows of length d.
    fn gather(&self, points: &Reals<Self>, d: usize, index: &Self::Buf<u32>, out: &mut Reals<Self>) -> Result<(), BackendError>;
}
