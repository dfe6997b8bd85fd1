//! The entropic problem: two clouds, the cost ½|x−y|² and ε, in coordinates where single precision can hold it.

use crate::backend::{Backend, BackendError, Precision, Real, Reals, Rows};
use crate::measure::Cloud;
use crate::random::{Philox, Stream};
use crate::transport::TransportError;

/// OT_ε(a, b) = min ⟨P, c⟩ + ε KL(P ‖ a⊗b) over plans P with marginals a and b, c(x, y) = ½|x−y|²; a marginal that is not held
/// adds ρ KL(P₁ ‖ a) instead.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    source: &'a Cloud,
    target: &'a Cloud,
    eps: f64,
    rho: [Option<f64>; 2],
    labels: Option<LabelCost<'a>>,
}

/// A cost of classes, added to that of the points: c(x_i, y_j) = ½|x_i−y_j|² + W(label of x_i, label of y_j), as the distances
/// between classes of Alvarez-Melis, Fusi 2020 (OTDD, eq. 6).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelCost<'a> {
    /// Row of the table for each source point, of length n.
    pub source: &'a [u32],
    /// Column of the table for each target point, of length m.
    pub target: &'a [u32],
    /// W in units of c, row-major.
    pub table: &'a [f64],
    /// Columns of the table.
    pub columns: usize,
}

/// Rounding errors of the exponent that are still accepted: the plan is off by at most this share.
const ACCEPTED: f64 = 0.1;

impl<'a> Problem<'a> {
    /// The problem of moving `source` to `target` at `eps`, in units of c.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ or ε is not positive.
    pub fn new(source: &'a Cloud, target: &'a Cloud, eps: f64) -> Result<Self, TransportError> {
        if source.dim() != target.dim() {
            return Err(TransportError::Dimensions { source_dim: source.dim(), target_dim: target.dim() });
        }
        if !(eps > 0.0 && eps.is_finite()) {
            return Err(TransportError::Eps { eps });
        }
        Ok(Self { source, target, eps, rho: [None; 2], labels: None })
    }

    /// The problem with free marginals: the first costs ρ₁ KL(P₁ ‖ a), the second ρ₂ KL(P₂ ‖ b), in units of c, where given;
    /// KL(p ‖ a) = Σ p log(p/a) − p + a. None holds a marginal exactly: both None is balanced, one None semi-unbalanced.
    ///
    /// # Errors
    /// [`TransportError::Rho`] unless each ρ is finite and above zero.
    pub fn with_rho(self, source: Option<f64>, target: Option<f64>) -> Result<Self, TransportError> {
        match [source, target].into_iter().flatten().find(|rho| !(*rho > 0.0 && rho.is_finite())) {
            Some(rho) => Err(TransportError::Rho { rho }),
            None => Ok(Self { rho: [source, target], ..self }),
        }
    }

    /// The problem with a cost of classes added to that of the points.
    ///
    /// # Errors
    /// [`TransportError::Labels`] unless each point has a label within the table and the table is finite.
    pub fn with_labels(self, labels: LabelCost<'a>) -> Result<Self, TransportError> {
        let LabelCost { source, target, table, columns } = labels;
        let within = |labels: &[u32], classes: usize| labels.iter().all(|&label| (label as usize) < classes);
        let rows = table.len() / columns.max(1);
        let fits = (source.len(), target.len()) == (self.source.len(), self.target.len())
            && rows * columns == table.len()
            && within(source, rows)
            && within(target, columns)
            && table.iter().all(|w| w.is_finite());
        match fits {
            true => Ok(Self { labels: Some(labels), ..self }),
            false => Err(TransportError::Labels { n: self.source.len(), m: self.target.len(), rows, columns }),
        }
    }

    /// The cost of classes, if there is one.
    pub fn labels(&self) -> Option<LabelCost<'a>> {
        self.labels
    }

    /// Both clouds on a device, in the problem's own unit of length.
    ///
    /// W is a product too: of its row for the source's label, with a minus, and the unit vector of the target's. These join the
    /// coordinates on the device, so that class costs are as fast as points of so many dimensions more.
    pub(crate) fn sides<B: Backend>(&self, backend: &B) -> Result<(Side<B>, Side<B>), BackendError> {
        let scale = scale(self.source, self.target);
        let extra = self.labels.map(|LabelCost { source, target, table, columns }| {
            let row = |label: &u32| table[*label as usize * columns..][..columns].iter().map(|w| -w * scale * scale);
            let unit = |label: &u32| {
                let label = *label as usize;
                (0..columns).map(move |k| if k == label { 1.0 } else { 0.0 })
            };
            (source.iter().flat_map(row).collect::<Vec<_>>(), target.iter().flat_map(unit).collect::<Vec<_>>())
        });
        let (of_source, of_target) = extra.as_ref().map_or((&[][..], &[][..]), |(x, y)| (x, y));
        Ok((Side::with(backend, self.source, scale, of_source)?, Side::with(backend, self.target, scale, of_target)?))
    }

    /// The cloud that is moved: x, a.
    pub fn source(&self) -> &'a Cloud {
        self.source
    }

    /// Where it is moved to: y, b.
    pub fn target(&self) -> &'a Cloud {
        self.target
    }

    /// ε in units of c.
    pub fn eps(&self) -> f64 {
        self.eps
    }

    /// ρ of the first and the second marginal in units of c; none where it is held exactly.
    pub fn rho(&self) -> [Option<f64>; 2] {
        self.rho
    }

    /// Whether source and target are the same measure, held alike: then f = g.
    pub(crate) fn is_symmetric(&self) -> bool {
        self.rho[0] == self.rho[1]
            && self.labels.is_none()
            && (std::ptr::eq(self.source, self.target) || self.source == self.target)
    }

    /// Refuses an ε whose exponents the precision of `B` cannot hold.
    pub(crate) fn check_precision<B: Backend>(&self) -> Result<(), TransportError> {
        let class = self.labels.map_or(0.0, |labels| labels.table.iter().fold(0.0, |largest: f64, w| largest.max(w.abs())));
        let radius = largest_squared_radius(self.source).max(largest_squared_radius(self.target)) + class;
        let rounding = B::Real::ROUNDING;
        let smallest = radius * rounding / ACCEPTED;
        if self.eps < smallest {
            let precision = if rounding > 1e-10 { Precision::F32 } else { Precision::F64 };
            return Err(TransportError::EpsTooSmall { eps: self.eps, precision: precision.name(), radius, rounding, smallest });
        }
        Ok(())
    }
}

/// The power of two that brings the largest coordinate about the means into [½, 1): no digit changes, and squares neither over-
/// nor underflow in single precision.
pub(crate) fn scale(source: &Cloud, target: &Cloud) -> f64 {
    let extent = |cloud: &Cloud| cloud.relative_to(&cloud.mean()).into_iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    let largest = extent(source).max(extent(target));
    if largest > 0.0 && largest.is_finite() { 2f64.powi(-(largest.log2().floor() as i32) - 1) } else { 1.0 }
}

fn largest_squared_radius(cloud: &Cloud) -> f64 {
    let mean = cloud.mean();
    let squared = |row: &[f64]| row.iter().zip(&mean).map(|(x, m)| (x - m).powi(2)).sum::<f64>();
    cloud.rows().map(squared).fold(0.0, f64::max)
}

/// The mean of c(x, y) = ½|x−y|² over a seeded sample of 65,536 independent pairs; the usual yardstick for ε.
pub fn mean_cost(source: &Cloud, target: &Cloud, seed: u32) -> f64 {
    const PAIRS: u32 = 65_536;
    let philox = Philox::new(seed, Stream::Metric);
    let (draw_x, draw_y) = (source.inverse_cdf(), target.inverse_cdf());
    let cost = |pair: u32| {
        let x = source.row(draw_x.index(philox.uniform(pair, 0, 0)));
        let y = target.row(draw_y.index(philox.uniform(pair, 0, 1)));
        0.5 * x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>()
    };
    (0..PAIRS).map(cost).sum::<f64>() / f64::from(PAIRS)
}

/// One cloud on a device, in coordinates relative to its own mean.
///
/// Only the product x·y of the cost couples the clouds; everything else is a function of x or of y alone and is restored in
/// f64. So points far from the origin cost no digits.
pub(crate) struct Side<B: Backend> {
    pub n: usize,
    pub d: usize,
    /// Coordinates on the device: d, and those of a class cost.
    pub width: usize,
    /// The factor by which every length here is that of the input.
    pub scale: f64,
    pub mean: Vec<f64>,
    /// x − mean in f64, for results.
    pub centred: Vec<f64>,
    /// Weights a in f64.
    pub mass: Vec<f64>,
    /// All coordinates where there are more than d, n × width.
    extended: Option<Vec<f64>>,
    /// All coordinates, n × width.
    pub points: Reals<B>,
    /// Weights a.
    pub weights: Reals<B>,
    /// log a.
    pub log_weights: Reals<B>,
}

impl<B: Backend> Side<B> {
    /// `cloud` with lengths multiplied by `scale`, a power of two.
    pub fn new(backend: &B, cloud: &Cloud, scale: f64) -> Result<Self, BackendError> {
        Self::with(backend, cloud, scale, &[])
    }

    /// [`Side::new`] with as many `extra` coordinates for each point, which are taken as they are.
    fn with(backend: &B, cloud: &Cloud, scale: f64, extra: &[f64]) -> Result<Self, BackendError> {
        let mut mean = cloud.mean();
        let mut centred = cloud.relative_to(&mean);
        mean.iter_mut().chain(&mut centred).for_each(|x| *x *= scale);
        let mass: Vec<f64> = (0..cloud.len()).map(|i| cloud.weight(i)).collect();
        let more = extra.len() / cloud.len();
        let extended = (more > 0).then(|| {
            let rows = centred.chunks_exact(cloud.dim()).zip(extra.chunks_exact(more));
            rows.flat_map(|(x, extra)| x.iter().chain(extra).copied()).collect::<Vec<f64>>()
        });
        let log: Vec<f64> = mass.iter().map(|a| a.ln()).collect();
        Ok(Self {
            n: cloud.len(),
            d: cloud.dim(),
            width: cloud.dim() + more,
            scale,
            points: backend.upload_reals(extended.as_ref().unwrap_or(&centred))?,
            weights: backend.upload_reals(&mass)?,
            log_weights: backend.upload_reals(&log)?,
            mean,
            centred,
            extended,
            mass,
        })
    }

    /// The points on the device.
    pub fn rows(&self) -> Rows<'_, B> {
        Rows { points: &self.points, n: self.n, d: self.width }
    }

    /// All coordinates in f64, n × width.
    pub fn coordinates(&self) -> &[f64] {
        self.extended.as_ref().unwrap_or(&self.centred)
    }

    /// ½|x − mean|² of each point.
    pub fn half_squares(&self) -> Vec<f64> {
        self.centred.chunks_exact(self.d).map(|x| 0.5 * dot(x, x)).collect()
    }

    /// The rounding error of the products x·y with `other`; over ε, that of the exponents.
    pub fn rounding(&self, other: &Self) -> f64 {
        let largest = self.half_squares().into_iter().chain(other.half_squares()).fold(0.0, f64::max);
        2.0 * largest * B::Real::ROUNDING
    }
}

/// x·y.
pub(crate) fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}
