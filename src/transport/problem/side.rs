//! One end of a problem on a device, in coordinates where single precision can hold it.

use crate::backend::{Backend, BackendError, Real, Reals, Storage};
use crate::measure::Cloud;
use crate::transport::problem::{OnDevice, Relative};
use crate::vector::dot;

/// [`scale_about`] the means.
pub(crate) fn scale(source: &Cloud, target: &Cloud) -> f64 {
    scale_about([(source, &source.mean()), (target, &target.mean())])
}

/// The power of two that brings the largest coordinate of a point with mass about the origins into [½, 1): no digit changes, and
/// squares neither over- nor underflow in single precision.
pub(super) fn scale_about(ends: [(&Cloud, &[f64]); 2]) -> f64 {
    let extent = |(cloud, origin): (&Cloud, &[f64])| {
        let of_row = |row: &[f64]| row.iter().zip(origin).fold(0.0, |largest: f64, (x, o)| largest.max((x - o).abs()));
        cloud.largest(of_row)
    };
    let largest = ends.map(extent).into_iter().fold(0.0, f64::max);
    if largest > 0.0 && largest.is_finite() { 2f64.powi(-(largest.log2().floor() as i32) - 1) } else { 1.0 }
}

/// One cloud on a device, in coordinates relative to an origin.
///
/// Where the cost is a product, each cloud has its own mean for origin: only x·y couples the clouds, everything else is a function
/// of x or of y alone and is restored in f64. Other costs are of differences, and both clouds have one origin. So points far from
/// the origin cost no digits.
pub(crate) struct Side<B: Backend> {
    pub n: usize,
    pub d: usize,
    /// The factor by which every cost here is that of the input.
    pub unit: f64,
    /// The origin, scaled.
    pub mean: Vec<f64>,
    /// x − origin in f64, formed where results need it.
    pub relative: Relative,
    /// What the cost has of each point alone: ½|x|² where it is a product.
    pub own: Vec<f64>,
    /// Weights a in f64.
    pub mass: Vec<f64>,
    /// x − origin as the device holds it, and the coordinates of a class cost.
    pub points: OnDevice<B>,
    /// Weights a.
    pub weights: Reals<B>,
    /// log a.
    pub log_weights: Reals<B>,
}

impl<B: Backend> Side<B> {
    /// `cloud` with lengths multiplied by `scale`, a power of two, under the cost ½|x−y|², with as many `extra` coordinates for each
    /// point, which are taken as they are, and everything rounded to what `storage` can hold.
    pub fn with(backend: &B, cloud: &Cloud, scale: f64, extra: &[f64], storage: Storage) -> Result<Self, BackendError> {
        let mut side = Self::about(backend, cloud, cloud.mean(), scale, extra, storage)?;
        side.unit = scale * scale;
        let Self { relative, own, .. } = &mut side;
        relative.each(0..cloud.len(), |i, x| own[i] = 0.5 * dot(x, x));
        Ok(side)
    }

    /// [`Side::with`] of a cloud of directions under the cost 1 − x̂·ŷ = ½|x̂−ŷ|², to which a point at zero adds ½.
    pub fn of_directions(
        backend: &B,
        directions: &Cloud,
        scale: f64,
        extra: &[f64],
        storage: Storage,
    ) -> Result<Self, BackendError> {
        let mut side = Self::with(backend, directions, scale, extra, storage)?;
        for (own, x) in side.own.iter_mut().zip(directions.rows()) {
            if x.iter().all(|x| *x == 0.0) {
                *own += 0.5 * side.unit;
            }
        }
        Ok(side)
    }

    /// `cloud` relative to `origin`, under a cost that has nothing of a point alone and grows as lengths do.
    pub fn about(
        backend: &B,
        cloud: &Cloud,
        origin: Vec<f64>,
        scale: f64,
        extra: &[f64],
        storage: Storage,
    ) -> Result<Self, BackendError> {
        let mean = origin.iter().map(|x| x * scale).collect();
        let mass: Vec<f64> = (0..cloud.len()).map(|i| cloud.weight(i)).collect();
        let relative = Relative::new(cloud, origin, scale).stored(storage, extra);
        Ok(Self {
            n: cloud.len(),
            d: cloud.dim(),
            unit: scale,
            own: vec![0.0; cloud.len()],
            points: relative.on_device(backend, 0..cloud.len())?,
            weights: backend.upload_reals(&mass)?,
            log_weights: backend.upload_reals(mass.iter().map(|a| a.ln()))?,
            mean,
            relative,
            mass,
        })
    }

    /// The rounding error of the products x·y with `other`, of points that have mass; over ε, that of the exponents.
    pub fn rounding(&self, other: &Self) -> f64 {
        let with_mass =
            |side: &Self| side.own.iter().zip(&side.mass).filter(|(_, a)| **a > 0.0).map(|(own, _)| *own).fold(0.0, f64::max);
        2.0 * with_mass(self).max(with_mass(other)) * B::Real::ROUNDING
    }
}
