//! What the operations of the seam are given: points, columns, tiles, layers, and the kinds of cost and kernel.

use crate::backend::{HalfPoints, Memory, Reals};
use crate::random::Philox;

/// Row points x: n × d, row-major.
pub struct Rows<'a, B: Memory> {
    /// The coordinates.
    pub points: &'a Reals<B>,
    /// Number of rows n.
    pub n: usize,
    /// Dimension d.
    pub d: usize,
}

impl<B: Memory> Clone for Rows<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Memory> Copy for Rows<'_, B> {}

/// Column points packed by [`Potentials::pack`](crate::backend::Potentials::pack): m × (d + 1), in a buffer of at least that
/// many numbers.
pub struct Columns<'a, B: Memory> {
    /// (k_j y_j, h_j) a column, in units of log 2.
    pub packed: &'a Reals<B>,
    /// Number of columns m.
    pub m: usize,
    /// Dimension d.
    pub d: usize,
}

impl<B: Memory> Clone for Columns<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Memory> Copy for Columns<'_, B> {}

/// Points with weights, for [`Pairs::pair_sum`](crate::backend::Pairs::pair_sum).
pub struct Weighted<'a, B: Memory> {
    /// The points.
    pub points: Rows<'a, B>,
    /// A number a point.
    pub weights: &'a Reals<B>,
}

/// The draws of [`Pairs::sample_plan`](crate::backend::Pairs::sample_plan).
pub struct Draws<'a, B: Memory> {
    /// Row i has the draws `first[i]..first[i + 1]`: of length n + 1.
    pub first: &'a B::Buf<u32>,
    /// A number of [0, 1) a draw.
    pub quantiles: &'a B::Buf<f64>,
}

/// Column points in half the memory: their logits are those of columns packed with factor k and log-weights
/// bias + factor · potential.
pub struct HalfColumns<'a, B: Memory> {
    /// y, m × d.
    pub points: &'a HalfPoints<B>,
    /// Factor k of the products.
    pub k: f64,
    /// Of length m.
    pub bias: &'a Reals<B>,
    /// Of length m, and its factor.
    pub potential: (&'a Reals<B>, f64),
}

/// Points of a tile: [`Logit::Tiles`](crate::backend::Logit::Tiles) keeps or skips pairs of tiles whole.
pub const TILE: usize = 32;

/// One cloud of a tiled soft-min: [`TILE`] consecutive points a tile, which lie close together.
///
/// Each tile has a frame, an affine function that is near the potential on it: at offset δ from the centre the potential is
/// level + slope·δ + rest. Only offsets, rests and one number a pair of tiles meet in an exponent, so that no digits are lost
/// however small ε is against the extent of the cloud.
pub struct Tiles<'a, B: Memory> {
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
pub struct TileList<'a, B: Memory> {
    /// Row tile r keeps `runs[starts[r]..starts[r + 1]]`.
    pub starts: &'a B::Buf<u32>,
    /// Column tiles from the first number up to, not including, the second.
    pub runs: &'a B::Buf<[u32; 2]>,
}

/// A marginal in a Sinkhorn iteration, of length n.
pub struct Half<'a, B: Memory> {
    /// Potential p, before the iteration.
    pub potential: &'a Reals<B>,
    /// Weights of the points, not their logarithms.
    pub weights: &'a Reals<B>,
}

/// A Sinkhorn iteration over kept scores: what [`Pairs::sweep`](crate::backend::Pairs::sweep) renews the potential of the rows from.
pub struct Sweep<'a, B: Memory> {
    /// Factor of scores and potentials, 1/ε.
    pub k: f64,
    /// The side whose potential is renewed.
    pub rows: Half<'a, B>,
    /// The side whose marginal is asked for.
    pub columns: Half<'a, B>,
    /// How the rows' update is held back, if it is.
    pub damping: Option<Damping<'a, B>>,
}

/// Stations of [`Pairs::share`](crate::backend::Pairs::share).
pub struct Stations<'a, B: Memory> {
    /// z, r × d row-major.
    pub slopes: &'a B::Buf<f64>,
    /// β, of length r.
    pub levels: &'a B::Buf<f64>,
}

/// What is wanted of the shares q of n points in r stations.
pub enum Shares<'a, B: Memory> {
    /// They themselves, n × r row-major.
    Each(&'a mut B::Buf<f64>),
    /// Sums over the points.
    Sums {
        /// Σ_i a_i q_ik x_i, r × d row-major.
        moments: &'a mut B::Buf<f64>,
        /// Σ_i a_i q_ik q_il, r × r: rows add up to Σ_i a_i q_ik.
        overlaps: &'a mut B::Buf<f64>,
    },
}

/// One layer W x + b of [`Particles::perceptron`](crate::backend::Particles::perceptron).
pub struct Dense<'a, B: Memory> {
    /// W, outputs × inputs, row-major.
    pub weight: &'a Reals<B>,
    /// b, of length outputs.
    pub bias: &'a Reals<B>,
}

/// Factor k of the product x_i · y_j.
pub enum Scale<'a, B: Memory> {
    /// One k for all columns.
    Uniform(f64),
    /// k_j for column j, of length m.
    PerColumn(&'a Reals<B>),
}

/// An update of a potential: [`Potentials::relax`](crate::backend::Potentials::relax).
pub struct Update<'a, B: Memory> {
    /// ε.
    pub eps: f64,
    /// How much of it is made.
    pub share: f64,
    /// How it is held back, if it is.
    pub damping: Option<Damping<'a, B>>,
}

/// How an update of a potential is held back.
pub struct Damping<'a, B: Memory> {
    /// The share ω of the whole update.
    pub omega: f64,
    /// What the potential is drawn to.
    pub ground: &'a B::Buf<f64>,
}

/// Which draw of normals it is.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// Step of the program.
    pub step: u32,
    /// Number within the step.
    pub number: u32,
    /// Number in the whole run.
    pub call: usize,
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

impl Noise<'_> {
    /// None: of a run that draws no noise.
    pub const NONE: Self = Self::Given(&[]);
}

/// A kernel of [`Pairs::pair_sum`](crate::backend::Pairs::pair_sum).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PairKernel {
    /// |x−y|.
    Distance,
    /// exp(−|x−y|²/(2b²)) with bandwidth b.
    Gaussian(f64),
}
