//! The entropic problem: two clouds, the cost ½|x−y|² and ε, in coordinates where single precision can hold it.

use crate::backend::{Backend, BackendError, Precision, Real, Reals};
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
        Ok(Self { source, target, eps, rho: [None; 2] })
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

    /// The same problem between other clouds of the same dimension.
    pub(crate) fn between<'b>(&self, source: &'b Cloud, target: &'b Cloud) -> Problem<'b> {
        Problem { source, target, eps: self.eps, rho: self.rho }
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
        self.rho[0] == self.rho[1] && (std::ptr::eq(self.source, self.target) || self.source == self.target)
    }

    /// Refuses an ε whose exponents the precision of `B` cannot hold.
    pub(crate) fn check_precision<B: Backend>(&self) -> Result<(), TransportError> {
        let radius = largest_squared_radius(self.source).max(largest_squared_radius(self.target));
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
    /// The factor by which every length here is that of the input.
    pub scale: f64,
    pub mean: Vec<f64>,
    /// x − mean in f64, for results.
    pub centred: Vec<f64>,
    /// Weights a in f64.
    pub mass: Vec<f64>,
    /// x − mean.
    pub points: Reals<B>,
    /// Weights a.
    pub weights: Reals<B>,
    /// log a.
    pub log_weights: Reals<B>,
}

impl<B: Backend> Side<B> {
    /// `cloud` with lengths multiplied by `scale`, a power of two.
    pub fn new(backend: &B, cloud: &Cloud, scale: f64) -> Result<Self, BackendError> {
        let mut mean = cloud.mean();
        let mut centred = cloud.relative_to(&mean);
        mean.iter_mut().chain(&mut centred).for_each(|x| *x *= scale);
        let mass: Vec<f64> = (0..cloud.len()).map(|i| cloud.weight(i)).collect();
        let log: Vec<f64> = mass.iter().map(|a| a.ln()).collect();
        Ok(Self {
            n: cloud.len(),
            d: cloud.dim(),
            scale,
            points: backend.upload_reals(&centred)?,
            weights: backend.upload_reals(&mass)?,
            log_weights: backend.upload_reals(&log)?,
            mean,
            centred,
            mass,
        })
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
