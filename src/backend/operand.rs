//! What the operations of the seam are given: points, columns, tiles, layers, and the kinds of cost and kernel.

use half::{bf16, f16};

use crate::backend::{Backend, Reals};
use crate::random::Philox;

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

/// How the points of a cloud are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Storage {
    /// In the precision of the arithmetic.
    #[default]
    Full,
    /// IEEE half precision, 11 bits.
    ///
    /// Down to 6e-8 in absolute terms.
    F16,
    /// The upper half of an f32, 8 bits.
    Bf16,
}

impl Storage {
    /// `x` as it is stored.
    pub fn round(self, x: f64) -> f64 {
        match self {
            Self::Full => x,
            Self::F16 => f16::from_f64(x).to_f64(),
            Self::Bf16 => bf16::from_f64(x).to_f64(),
        }
    }
}

/// Column points in half the memory: what [`Backend::soft_min_half`] makes of them is that of columns packed with factor k and
/// log-weights bias + factor · potential.
pub struct HalfColumns<'a, B: Backend + ?Sized> {
    /// y, m × d.
    pub points: &'a B::HalfPoints,
    /// Factor k of the products.
    pub k: f64,
    /// Of length m.
    pub bias: &'a Reals<B>,
    /// Of length m, and its factor.
    pub potential: (&'a Reals<B>, f64),
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

/// The weighted mean to take in the same pass as a soft-min: `mean_i = Σ_j w_ij v_j`.
pub struct Mean<'a, B: Backend + ?Sized> {
    /// Values v, m × p.
    pub values: &'a Reals<B>,
    /// Numbers a value.
    pub p: usize,
    /// Where the means go, n × p.
    pub out: &'a mut Reals<B>,
}

/// A marginal in a Sinkhorn iteration, of length n.
pub struct Half<'a, B: Backend + ?Sized> {
    /// Potential p, before the iteration.
    pub potential: &'a Reals<B>,
    /// Weights of the points, not their logarithms.
    pub weights: &'a Reals<B>,
}

/// A Sinkhorn iteration over kept scores: what [`Backend::sweep`] renews the potential of the rows from.
pub struct Sweep<'a, B: Backend + ?Sized> {
    /// Factor of scores and potentials, 1/ε.
    pub k: f64,
    /// The side whose potential is renewed.
    pub rows: Half<'a, B>,
    /// The side whose marginal is asked for.
    pub columns: Half<'a, B>,
    /// How the rows' update is held back, if it is.
    pub damping: Option<Damping<'a, B>>,
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

/// How an update of a potential is held back: [`Backend::relax`].
pub struct Damping<'a, B: Backend + ?Sized> {
    /// The share ω of the whole update.
    pub omega: f64,
    /// What the potential is drawn to.
    pub ground: &'a B::Buf<f64>,
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

/// A cost that [`Backend::soft_min_cost`] streams: those that are no product of coordinates.
#[derive(Clone, Copy)]
pub enum PairCost<'a> {
    /// |x−y|.
    Euclidean,
    /// (Σ_k |x_k − y_k|^p)^(1/p) for p ≥ 1.
    Lp(f64),
    /// Any c_ij, by the numbers of row and column; on the processor only.
    Given(&'a (dyn Fn(usize, usize) -> f64 + Sync)),
}

/// The means to take in the same pass as [`Backend::soft_min_cost`].
pub struct CostMean<'a, B: Backend + ?Sized> {
    /// Values v, m × p.
    pub values: &'a Reals<B>,
    /// Numbers a value, 0 when only the costs are asked for.
    pub p: usize,
    /// Where `mean_i = Σ_j w_ij v_j` goes, n × p.
    pub out: &'a mut Reals<B>,
    /// Where `Σ_j w_ij c_ij` goes, of length n.
    pub cost: &'a mut Reals<B>,
}

/// A kernel of [`Backend::pair_sum`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PairKernel {
    /// |x−y|.
    Distance,
    /// exp(−|x−y|²/(2b²)) with bandwidth b.
    Gaussian(f64),
}
