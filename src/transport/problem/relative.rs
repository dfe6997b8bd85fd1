//! A cloud relative to an origin. It is formed a few points at a time, so that nobody holds a copy of it in f64.

use std::ops::Range;

use crate::backend::{Backend, BackendError, HalfPoints, Reals, Rows, Storage};
use crate::measure::Cloud;

/// Numbers formed at a time.
const BLOCK: usize = 1 << 14;

/// Points (x − origin) · scale, and coordinates beside them that are taken as they are.
pub(crate) struct Relative {
    cloud: Cloud,
    origin: Vec<f64>,
    /// A power of two.
    scale: f64,
    /// What the coordinates are rounded to.
    storage: Storage,
    /// As many more coordinates for each point.
    extra: Vec<f64>,
}

/// Points on a device.
pub(crate) struct OnDevice<B: Backend> {
    pub n: usize,
    pub width: usize,
    /// All coordinates, n × width; none where they are stored in half.
    pub reals: Reals<B>,
    /// They in half the memory, where the problem asks for it and the device has a use for it.
    pub half: Option<HalfPoints<B>>,
}

impl<B: Backend> OnDevice<B> {
    pub fn rows(&self) -> Rows<'_, B> {
        Rows { points: &self.reals, n: self.n, d: self.width }
    }
}

impl Relative {
    pub fn new(cloud: &Cloud, origin: Vec<f64>, scale: f64) -> Self {
        Self { cloud: cloud.clone(), origin, scale, storage: Storage::Full, extra: Vec::new() }
    }

    /// The points as `storage` can hold them, with `extra` coordinates.
    pub fn stored(self, storage: Storage, extra: &[f64]) -> Self {
        Self { storage, extra: extra.to_vec(), ..self }
    }

    /// The origin in the units of the input, and the factor of lengths.
    pub fn origin(&self) -> (&[f64], f64) {
        (&self.origin, self.scale)
    }

    pub fn len(&self) -> usize {
        self.cloud.len()
    }

    pub fn dim(&self) -> usize {
        self.cloud.dim()
    }

    /// Coordinates a point, the extra ones counted.
    pub fn width(&self) -> usize {
        self.dim() + self.extra.len() / self.len()
    }

    /// Shows `to` the points `rows`, without their extra coordinates, each with its number.
    pub fn each(&self, rows: Range<usize>, mut to: impl FnMut(usize, &[f64])) {
        let (mut room, mut relative) = (vec![0.0; self.dim()], vec![0.0; self.dim()]);
        for i in rows {
            let x = self.cloud.row_in(i, &mut room);
            for ((relative, x), origin) in relative.iter_mut().zip(x).zip(&self.origin) {
                *relative = self.storage.round((x - origin) * self.scale);
            }
            to(i, &relative);
        }
    }

    /// The points `rows`, row-major, without their extra coordinates.
    pub fn points(&self, rows: Range<usize>) -> Vec<f64> {
        let mut points = Vec::with_capacity(rows.len() * self.dim());
        self.each(rows, |_, x| points.extend_from_slice(x));
        points
    }

    /// All coordinates of the points `rows`, row-major.
    pub fn coordinates(&self, rows: Range<usize>) -> Vec<f64> {
        let more = self.width() - self.dim();
        let mut all = Vec::with_capacity(rows.len() * self.width());
        self.each(rows, |i, x| {
            all.extend_from_slice(x);
            all.extend_from_slice(&self.extra[i * more..][..more]);
        });
        all
    }

    /// Their numbers, a few at a time.
    pub fn blocks(&self, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let (step, end) = (BLOCK.div_ceil(self.width()), rows.end);
        rows.step_by(step).map(move |first| first..end.min(first + step))
    }

    /// The points `rows` on a device.
    pub fn on_device<B: Backend>(&self, backend: &B, rows: Range<usize>) -> Result<OnDevice<B>, BackendError> {
        let (n, width) = (rows.len(), self.width());
        let half = match self.storage {
            Storage::Full => None,
            storage if B::HALVES => HalfPoints::new(backend, &self.coordinates(rows.clone()), width, storage)?,
            _ => None,
        };
        let rows = if half.is_some() { 0..0 } else { rows };
        let reals = backend.upload_reals(self.blocks(rows).flat_map(|block| self.coordinates(block)))?;
        Ok(OnDevice { n, width, reals, half })
    }
}
