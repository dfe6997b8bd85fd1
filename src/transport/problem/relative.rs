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
    /// The same points in half precision, where the problem asks for it and the device can use them.
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

    /// Coordinates per point, including the extra ones.
    pub fn width(&self) -> usize {
        self.dim() + self.extra.len() / self.len()
    }

    /// Calls `to` with the index and the coordinates, without the extra ones, of each of the points `rows`.
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

    /// What `of` makes of `rows`, some of about [`BLOCK`] numbers at a time: `width` numbers a row.
    pub fn numbers(rows: Range<usize>, width: usize, of: impl FnMut(Range<usize>) -> Vec<f64>) -> impl Iterator<Item = f64> {
        let (step, end, left) = (BLOCK.div_ceil(width), rows.end, rows.len() * width);
        Counted { numbers: rows.step_by(step).map(move |first| first..end.min(first + step)).flat_map(of), left }
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
        let reals = backend.upload_reals(Self::numbers(rows, width, |block| self.coordinates(block)))?;
        Ok(OnDevice { n, width, reals, half })
    }
}

/// Numbers that say how many are left, as a flat map cannot: the buffer for them is made once.
struct Counted<I> {
    numbers: I,
    left: usize,
}

impl<I: Iterator<Item = f64>> Iterator for Counted<I> {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        self.left = self.left.saturating_sub(1);
        self.numbers.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}
