//! The seam: the domain operations that every device implements, and the one run-time choice of device.
//!
//! Each operation has an equation and a test. Outputs are passed in, so that an operation allocates nothing of its own size.
//! A buffer belongs to one backend by its type: a CPU buffer handed to a CUDA operation does not compile.

mod anderson;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
mod error;
mod operand;
mod real;
mod ticket;

use bytemuck::Pod;
use half::f16;

use crate::program::Activation;
use crate::program::MixtureProgram;

pub use anderson::Anderson;
pub use device::{Chip, CudaAbsence, Device, DeviceError, Gpu, Precision, Task};
pub use error::BackendError;
pub use operand::{
    Columns, Cost, CostMean, Damping, Dense, Half, HalfColumns, Mean, Noise, PairCost, PairKernel, Rows, Scale, Storage, Sweep,
    TILE, TileList, Tiles,
};
pub use real::Real;
pub use ticket::Ticket;

/// Largest magnitude of a packed bias: log of a zero weight is as good as this, and differences stay finite.
const LARGEST_BIAS: f64 = 1e36;

/// A buffer of reals of backend `B`.
pub type Reals<B> = <B as Backend>::Buf<<B as Backend>::Real>;

/// The domain operations of a device.
///
/// Reductions run in an order that is a function of the sizes alone, so a result repeats bit for bit on one device whatever
/// the number of threads, and row i of a result does not depend on the other rows.
pub trait Backend: Clone + Send + Sync + 'static {
    /// f32 or f64.
    type Real: Real;
    /// Memory of the device: reals, labels, lists.
    type Buf<T: Pod + Send + Sync>: Send + Sync;
    /// Operations that were recorded to be run again: [`Backend::repeat`].
    type Recording: Default + Send;
    /// This device for clouds that its memory does not hold: [`Backend::streamed`].
    type Streamed: Backend;
    /// Points of a cloud in half the memory; uninhabited where their products would be no faster.
    type HalfPoints: Send + Sync;
    /// Products x_i·y_j of all pairs of two clouds, or −c_ij, kept; uninhabited where recomputing them is faster than reading them.
    type Scores: Send + Sync;
    /// Iterations that a loop submits before it reads the number it may stop by; 0 where numbers are there at once.
    const AHEAD: usize;

    /// A buffer of `len` zeros.
    fn zeros<T: Pod + Send + Sync>(&self, len: usize) -> Result<Self::Buf<T>, BackendError>;
    /// A copy of `host`.
    fn upload<T: Pod + Send + Sync>(&self, host: &[T]) -> Result<Self::Buf<T>, BackendError>;
    /// A copy on the host.
    fn download<T: Pod + Send + Sync>(&self, buf: &Self::Buf<T>) -> Result<Vec<T>, BackendError>;

    /// Waits until every operation so far is done; what a clock needs, and nothing else does.
    fn synchronize(&self) -> Result<(), BackendError>;

    /// A backend whose buffers the host holds and whose soft-mins go through this device in tiles that fit; none where memory is
    /// the host's anyway.
    fn streamed(&self) -> Result<Option<Self::Streamed>, BackendError>;

    /// Does `work`, whose operations must be the same on the same buffers each time: a device may record them and run them again
    /// from the record. What they depend on beyond the sizes must lie in buffers.
    fn repeat(
        &self,
        recording: &mut Self::Recording,
        work: &mut dyn FnMut() -> Result<(), BackendError>,
    ) -> Result<(), BackendError>;

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

    /// `points`, n × d and representable in `storage`, in half the memory; none where storage is full, or of no use to the device,
    /// which then takes them as reals.
    fn halve(&self, points: &[f64], d: usize, storage: Storage) -> Result<Option<Self::HalfPoints>, BackendError>;

    /// [`Backend::soft_min`] of points in half the memory, whose products are exact, and the mean behind it where asked.
    fn soft_min_half(
        &self,
        rows: &Self::HalfPoints,
        columns: HalfColumns<'_, Self>,
        shift: Option<(&Reals<Self>, f64)>,
        out: &mut Reals<Self>,
        mean: Option<Mean<'_, Self>>,
    ) -> Result<(), BackendError>;

    /// What a denoiser makes of [`Backend::soft_mean`] in one pass over the rows: `out_i = s Σ_j w_ij v_j + t x_i`, n × d, without a
    /// shift; `log_sum` is workspace of length n.
    fn soft_blend(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        values: &Reals<Self>,
        (s, t): (f64, f64),
        log_sum: &mut Reals<Self>,
        out: &mut Reals<Self>,
    ) -> Result<(), BackendError> {
        let (x, d) = (rows.points, rows.d);
        self.soft_mean(rows, columns, None, values, d, log_sum, out)?;
        self.axpby(t, x, s, out)
    }

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

    /// The scores of `rows` against `columns`, products or of a cost, where keeping them pays and memory allows it.
    fn scores(
        &self,
        rows: Rows<'_, Self>,
        columns: Rows<'_, Self>,
        cost: Option<PairCost<'_>>,
    ) -> Result<Option<Self::Scores>, BackendError>;

    /// Both half-steps of a Sinkhorn iteration in one pass over kept scores s, with the potentials p of rows and q of columns, and
    /// their weights b and a:
    ///
    /// ```text
    /// log_sum_i   = log Σ_j a_j exp(k (s_ij − p_i − q_j))                              length n
    /// log_ratio_j = log Σ_i b_i exp(k (s_ij − p_i − change_i − q_j))                   length m
    /// change_i    = ω log_sum_i / k + (1 − ω)(ground_i − p_i)                          ω = 1 without damping
    /// ```
    ///
    /// Returns false, and nothing of use, where the potentials are so far from the answer that a sum over- or underflows: soft-mins
    /// have to bring them nearer.
    fn sweep(
        &self,
        scores: &mut Self::Scores,
        sweep: &Sweep<'_, Self>,
        log_sum: &mut Reals<Self>,
        log_ratio: &mut Reals<Self>,
    ) -> Result<bool, BackendError>;

    /// The soft-min over kept pairs of tiles: `out_i = log Σ_j b_j exp((x_i·y_j − φ_i − ψ_j)/ε)`, length n, j in the tiles that
    /// the tile of i keeps; the mean behind it where asked. `packed` is workspace of m × (d + 1) or more.
    #[allow(clippy::too_many_arguments)]
    fn soft_min_tiles(
        &self,
        rows: &Tiles<'_, Self>,
        columns: &Tiles<'_, Self>,
        list: &TileList<'_, Self>,
        eps: f64,
        packed: &mut Reals<Self>,
        out: &mut Reals<Self>,
        mean: Option<Mean<'_, Self>>,
    ) -> Result<(), BackendError>;

    /// The soft-min over a cost that is no product: `out_i = log Σ_j exp(h_j − k c(x_i, y_j) − shift_i)`, length n, and where asked
    /// the means behind it. `columns` are packed with scale [`LN_2`](std::f64::consts::LN_2), so that they hold y_j itself beside
    /// log₂e h_j.
    #[allow(clippy::too_many_arguments)]
    fn soft_min_cost(
        &self,
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        cost: PairCost<'_>,
        k: f64,
        shift: Option<(&Reals<Self>, f64)>,
        out: &mut Reals<Self>,
        mean: Option<CostMean<'_, Self>>,
    ) -> Result<(), BackendError>;

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
        rows: Rows<'_, Self>,
        scale: f64,
        layers: &[Dense<'_, Self>],
        activation: Activation,
        out: &mut Reals<Self>,
    ) -> Result<(), BackendError>;

    /// `registers[dst] ← Σ coefficient · register`; `dst` may be among the terms.
    fn combine(&self, registers: &mut [Reals<Self>], dst: usize, terms: &[(usize, f64)]) -> Result<(), BackendError>;

    /// `x ← min(max(x, low), high)`.
    fn clip(&self, x: &mut Reals<Self>, low: f64, high: f64) -> Result<(), BackendError>;

    /// `y ← a x + b y`.
    fn axpby(&self, a: f64, x: &Reals<Self>, b: f64, y: &mut Reals<Self>) -> Result<(), BackendError>;

    /// `Σ_i x_i y_i`, accumulated in f64.
    fn dot(&self, x: &Reals<Self>, y: &Reals<Self>) -> Result<Ticket, BackendError>;

    /// `max_i |x_i − y_i|`, NaN if any difference is.
    fn max_difference(&self, x: &Reals<Self>, y: &Reals<Self>) -> Result<Ticket, BackendError>;

    /// `Σ_i a_i |exp(log_ratio_i) − 1|`: the L1 error of a marginal whose density with respect to a is exp(log_ratio).
    fn marginal_error(&self, a: &Reals<Self>, log_ratio: &Reals<Self>) -> Result<Ticket, BackendError>;

    /// `max_i |change_i|` over the points with mass, NaN if any of them is.
    fn largest_change(&self, mass: &Self::Buf<f64>, change: &Self::Buf<f64>) -> Result<Ticket, BackendError>;

    /// `max(0, max_i (before_i − after_i))`, NaN if any difference is.
    fn largest_fall(&self, before: &Self::Buf<f64>, after: &Self::Buf<f64>) -> Result<Ticket, BackendError>;

    /// `out_i = x_i`, rounded to [`Backend::Real`].
    fn round(&self, x: &Self::Buf<f64>, out: &mut Reals<Self>) -> Result<(), BackendError>;

    /// What an update would change of a potential: `change = share (ω ε log_ratio + (1 − ω)(ground − potential))`, in f64; ω = 1
    /// without damping.
    #[allow(clippy::too_many_arguments)]
    fn relax(
        &self,
        log_ratio: &Reals<Self>,
        eps: f64,
        damping: Option<Damping<'_, Self>>,
        share: f64,
        potential: &Self::Buf<f64>,
        change: &mut Self::Buf<f64>,
    ) -> Result<(), BackendError>;

    /// `potential ← potential + change`, in f64.
    fn advance(&self, change: &Self::Buf<f64>, potential: &mut Self::Buf<f64>) -> Result<(), BackendError>;

    /// Moves `point`, whose residual is `residual`, to the next one by [`Anderson`]'s step in the norm of `mass`.
    fn accelerate(
        &self,
        memory: &mut Anderson<Self>,
        mass: &Self::Buf<f64>,
        residual: &Self::Buf<f64>,
        point: &mut Self::Buf<f64>,
    ) -> Result<(), BackendError>;

    /// `out_r = points_{index_r}`, rows of length d.
    fn gather(&self, points: &Reals<Self>, d: usize, index: &Self::Buf<u32>, out: &mut Reals<Self>) -> Result<(), BackendError>;
}
