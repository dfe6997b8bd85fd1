//! A weighted point cloud: Σ_i a_i δ_{x_i}.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::measure::Given;
use crate::measure::coordinates::Coordinates;
use crate::random::{Philox, Stream};

/// A finite measure of mass one, Σ_i a_i δ_{x_i}: n points of R^d, row-major in f32 or f64, and weights a (uniform when absent).
///
/// A clone shares points and weights: it takes no memory and no time, so that whatever works on a cloud can own it. The points may
/// lie in memory that something else owns, such as a mapped file ([`Cloud::of_f32`], [`Cloud::of_f64`]).
///
/// ```
/// use brenier::measure::Cloud;
///
/// let square = Cloud::new(vec![0.0, 0.0, 2.0, 0.0, 2.0, 2.0, 0.0, 2.0], 2)?; // four points of R²
/// assert_eq!((square.len(), square.dim()), (4, 2));
/// assert_eq!((square.mean(), square.variance()), (vec![1.0, 1.0], 2.0));
/// # Ok::<(), brenier::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Cloud {
    points: Coordinates,
    n: usize,
    dim: usize,
    weights: Option<Arc<Vec<f64>>>,
    /// Extents of a point that is an array of its own.
    shape: Option<Arc<[usize]>>,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dim, weights, .. } = self;
        f.debug_struct("Cloud").field("points", &self.given()).field("dim", dim).field("weights", weights).finish()
    }
}

/// Why numbers do not make a cloud.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum CloudError {
    /// No points, or points with no coordinates.
    #[error("the cloud is empty: {rows} points of dimension {dim}; at least one point with one coordinate is needed")]
    Empty {
        /// Number of points found.
        rows: usize,
        /// Coordinates a point.
        dim: usize,
    },
    /// The coordinates do not fill whole rows.
    #[error("{len} coordinates do not fill rows of {dim}")]
    Ragged {
        /// Number of coordinates found.
        len: usize,
        /// Coordinates a point.
        dim: usize,
    },
    /// A coordinate is NaN or infinite.
    #[error("row {row}, column {column} is {value}; every coordinate must be a finite number: remove or repair that row")]
    NotFinite {
        /// Row of the coordinate, from 0.
        row: usize,
        /// Column of the coordinate, from 0.
        column: usize,
        /// The value found.
        value: f64,
    },
    /// The number of weights differs from the number of points.
    #[error("{weights} weights for {points} points; give one weight a point")]
    WeightCount {
        /// Number of weights found.
        weights: usize,
        /// Number of points.
        points: usize,
    },
    /// A weight is negative, NaN or infinite.
    #[error("weight {row} is {value}; weights must be finite and not negative")]
    BadWeight {
        /// Row of the weight, from 0.
        row: usize,
        /// The value found.
        value: f64,
    },
    /// The weights add up to nothing.
    #[error("the weights add up to zero; at least one must be positive")]
    NoMass,
    /// Too few points to make two clouds.
    #[error("a cloud of one point cannot be split in halves; at least two points are needed")]
    Single,
}

impl Cloud {
    /// A cloud of coordinates that are finite and fill whole rows by construction: draws and embedded data.
    pub(super) fn of_known(points: Vec<f64>, dim: usize) -> Self {
        debug_assert!(!points.is_empty() && points.len().is_multiple_of(dim) && points.iter().all(|x| x.is_finite()));
        Self::uniform(Coordinates::of_f64(points), dim)
    }

    /// A cloud with uniform weights of coordinates that fill whole rows.
    fn uniform(points: Coordinates, dim: usize) -> Self {
        Self { n: points.given().len() / dim, points, dim, weights: None, shape: None }
    }

    /// A cloud with uniform weights from row-major `points` (n × `dim`).
    ///
    /// # Errors
    /// [`CloudError`] when there is no point, the rows are ragged, or a coordinate is not finite.
    pub fn new(points: Vec<f64>, dim: usize) -> Result<Self, CloudError> {
        Self::of_f64(points, dim)
    }

    /// A cloud with uniform weights from row-major points (n × `dim`) in double precision, which stay where they are: `owner` is
    /// whatever holds their memory, is kept alive as long as any clone of the cloud, and must return the same slice every time.
    ///
    /// # Errors
    /// As [`Cloud::new`].
    pub fn of_f64(owner: impl AsRef<[f64]> + Send + Sync + 'static, dim: usize) -> Result<Self, CloudError> {
        Self::of(Coordinates::of_f64(owner), dim)
    }

    /// [`Cloud::of_f64`] from points in single precision. Solvers take them from where they are; [`Cloud::points`] and what
    /// else gives slices in double precision makes a copy, once.
    ///
    /// ```
    /// use brenier::measure::{Cloud, Given};
    ///
    /// let cloud = Cloud::of_f32(vec![0.5f32, 1.5], 1)?;
    /// assert_eq!(cloud.given(), Given::F32(&[0.5, 1.5]));
    /// assert_eq!(cloud, Cloud::new(vec![0.5, 1.5], 1)?);
    /// # Ok::<(), brenier::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Cloud::new`].
    pub fn of_f32(owner: impl AsRef<[f32]> + Send + Sync + 'static, dim: usize) -> Result<Self, CloudError> {
        Self::of(Coordinates::of_f32(owner), dim)
    }

    fn of(points: Coordinates, dim: usize) -> Result<Self, CloudError> {
        let given = points.given();
        let len = given.len();
        if dim == 0 || len == 0 {
            return Err(CloudError::Empty { rows: len.checked_div(dim).unwrap_or(0), dim });
        }
        if !len.is_multiple_of(dim) {
            return Err(CloudError::Ragged { len, dim });
        }
        if let Some((at, value)) = given.not_finite() {
            return Err(CloudError::NotFinite { row: at / dim, column: at % dim, value });
        }
        Ok(Self::uniform(points, dim))
    }

    /// The same points under `weights` (length n), scaled to add up to one.
    ///
    /// # Errors
    /// [`CloudError`] when the count differs from n, a weight is negative or not finite, or all are zero.
    pub fn with_weights(mut self, weights: Vec<f64>) -> Result<Self, CloudError> {
        if weights.len() != self.len() {
            return Err(CloudError::WeightCount { weights: weights.len(), points: self.len() });
        }
        if let Some(row) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
            return Err(CloudError::BadWeight { row, value: weights[row] });
        }
        // Scaled by the largest first, so that neither huge nor tiny weights overflow the sum.
        let largest = weights.iter().copied().fold(0.0, f64::max);
        if largest == 0.0 {
            return Err(CloudError::NoMass);
        }
        let total: f64 = weights.iter().map(|w| w / largest).sum();
        self.weights = Some(Arc::new(weights.iter().map(|w| w / largest / total).collect()));
        Ok(self)
    }

    /// The same points, each an array of extents `shape`, whose product is d.
    pub(crate) fn with_shape(self, shape: &[usize]) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), self.dim);
        Self { shape: Some(shape.into()), ..self }
    }

    /// The extents of a point: channels × height × width of a picture, where the file that it came from says so, else d alone.
    pub fn shape(&self) -> Vec<usize> {
        self.shape.as_ref().map_or(vec![self.dim], |shape| shape.to_vec())
    }

    /// Other points, row-major n × d, under the same weights.
    ///
    /// # Errors
    /// [`CloudError`] when the count differs from n, or a coordinate is not finite.
    pub fn with_points(&self, points: Vec<f64>) -> Result<Self, CloudError> {
        if points.len() != self.given().len() {
            return Err(CloudError::Ragged { len: points.len(), dim: self.dim });
        }
        Ok(Self { weights: self.weights.clone(), ..Self::new(points, self.dim)? })
    }

    /// The points x/|x| under the same weights; a point at zero stays there.
    pub fn directions(&self) -> Self {
        let mut directions = Vec::with_capacity(self.given().len());
        self.each(|_, x| {
            // Scaled by the largest coordinate first, so that squares neither over- nor underflow.
            let largest = x.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
            let scaled: Vec<f64> = x.iter().map(|x| if largest > 0.0 { x / largest } else { 0.0 }).collect();
            let length = scaled.iter().map(|x| x * x).sum::<f64>().sqrt().max(1.0);
            directions.extend(scaled.into_iter().map(|x| x / length));
        });
        Self { points: Coordinates::of_f64(directions), ..self.clone() }
    }

    /// Number of points n.
    #[allow(clippy::len_without_is_empty)] // a cloud is never empty
    pub fn len(&self) -> usize {
        self.n
    }

    /// Dimension d.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// All coordinates as they were given, row-major n × d.
    pub fn given(&self) -> Given<'_> {
        self.points.given()
    }

    /// All coordinates in f64, row-major n × d. A cloud of f32 makes a copy when it is first asked for, and keeps it.
    pub fn points(&self) -> &[f64] {
        self.points.widened()
    }

    /// Point `i` of [`Cloud::points`], of length d.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.points()[i * self.dim..(i + 1) * self.dim]
    }

    /// All of [`Cloud::points`] in order, each of length d.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.points().chunks_exact(self.dim)
    }

    /// Point `i` in f64, with `room`, of length d, as scratch where the cloud holds f32.
    pub fn row_in<'a>(&'a self, i: usize, room: &'a mut [f64]) -> &'a [f64] {
        self.given().row(i, room)
    }

    /// Calls `to` with the index and the coordinates (in f64) of each point, in order.
    pub(crate) fn each(&self, mut to: impl FnMut(usize, &[f64])) {
        let (given, mut room) = (self.given(), vec![0.0; self.dim]);
        (0..self.len()).for_each(|i| to(i, given.row(i, &mut room)));
    }

    /// The largest value of `of`, or 0, over the points that have mass: others are masked, wherever they lie.
    pub(crate) fn largest(&self, of: impl Fn(&[f64]) -> f64) -> f64 {
        let mut largest = 0.0f64;
        self.each(|i, x| {
            if self.weight(i) > 0.0 {
                largest = largest.max(of(x));
            }
        });
        largest
    }

    /// How points `i` and `j` compare, coordinate by coordinate.
    pub(crate) fn compare(&self, i: usize, j: usize) -> Ordering {
        self.given().compare(i, j, self.dim)
    }

    /// The weights when they are not uniform; they add up to one.
    pub fn weights(&self) -> Option<&[f64]> {
        self.weights.as_ref().map(|weights| &weights[..])
    }

    /// Weight a_i of point `i`.
    pub fn weight(&self, i: usize) -> f64 {
        self.weights.as_ref().map_or_else(|| 1.0 / self.n as f64, |w| w[i])
    }

    /// Kish's effective number of points, 1/Σ a_i²: n where weights are uniform.
    pub fn effective_len(&self) -> f64 {
        self.weights.as_ref().map_or(self.len() as f64, |weights| 1.0 / weights.iter().map(|w| w * w).sum::<f64>())
    }

    /// The mean Σ_i a_i x_i, of length d.
    pub fn mean(&self) -> Vec<f64> {
        // About the first point with mass, so that an offset far from the origin costs no digits.
        let mut room = vec![0.0; self.dim];
        let first = self.row_in((0..self.len()).find(|&i| self.weight(i) > 0.0).unwrap_or(0), &mut room);
        let mut shift = vec![0.0; self.dim];
        self.each(|i, row| {
            let a = self.weight(i);
            for ((s, x), x0) in shift.iter_mut().zip(row).zip(first) {
                *s += a * (x - x0);
            }
        });
        shift.iter().zip(first).map(|(s, x0)| s + x0).collect()
    }

    /// The coordinates minus `origin`, row-major n × d.
    pub fn relative_to(&self, origin: &[f64]) -> Vec<f64> {
        let mut relative = Vec::with_capacity(self.given().len());
        self.each(|_, row| relative.extend(row.iter().zip(origin).map(|(x, o)| x - o)));
        relative
    }

    /// The total variance Σ_i a_i |x_i − mean|².
    pub fn variance(&self) -> f64 {
        let (mean, mut variance) = (self.mean(), 0.0);
        self.each(|i, x| variance += self.weight(i) * squared(x, &mean));
        variance
    }

    /// The largest distance |x − mean|; no two points are farther apart than twice as much.
    pub fn radius(&self) -> f64 {
        let (mean, mut largest) = (self.mean(), 0.0f64);
        self.each(|_, x| largest = largest.max(squared(x, &mean)));
        largest.sqrt()
    }

    /// The quantiles of the weights: what turns uniform numbers into draws of points.
    pub fn inverse_cdf(&self) -> InverseCdf {
        let mut total = 0.0;
        let cumulative = self.weights().unwrap_or_default().iter().map(|w| {
            total += w;
            total
        });
        InverseCdf { n: self.len(), cumulative: cumulative.collect() }
    }

    /// The points at `indices`, in that order, with their weights rescaled to mass one.
    ///
    /// # Errors
    /// [`CloudError`] when no index is given or the selected weights are all zero.
    pub fn select(&self, indices: &[usize]) -> Result<Self, CloudError> {
        let cloud = Self::of(self.points.gather(indices.iter().copied(), self.dim), self.dim)?;
        let cloud = Self { shape: self.shape.clone(), ..cloud };
        match &self.weights {
            None => Ok(cloud),
            Some(w) => cloud.with_weights(indices.iter().map(|&i| w[i]).collect()),
        }
    }

    /// The points at `indices`, at least one, in that order and of equal weights: draws that the weights have already chosen.
    pub(crate) fn uniform_at(&self, indices: &[usize]) -> Self {
        Self::uniform(self.points.gather(indices.iter().copied(), self.dim), self.dim)
    }

    /// Two halves A and B of ⌈n/2⌉ and ⌊n/2⌋ points, a uniformly random split by `seed` (stream 0); each has mass one.
    ///
    /// # Errors
    /// [`CloudError`] when there is one point only, or a half has no mass.
    pub fn halves(&self, seed: u32) -> Result<(Self, Self), CloudError> {
        if self.len() < 2 {
            return Err(CloudError::Single);
        }
        let (a, b) = self.rows_of_halves(seed);
        Ok((self.select(&a)?, self.select(&b)?))
    }

    /// Which points the halves by `seed` have, in their order.
    pub fn rows_of_halves(&self, seed: u32) -> (Vec<usize>, Vec<usize>) {
        let n = self.len();
        let mut a = Philox::new(seed, Stream::Split).permutation(n, n, 0);
        let b = a.split_off(n.div_ceil(2));
        (a, b)
    }

    /// `n` independent draws from Σ_i a_i δ_{x_i}, with replacement, a function of (seed, stream, step, row) alone.
    pub fn resample(&self, n: usize, seed: u32, stream: Stream, step: u32) -> Self {
        Self::uniform(self.points.gather(self.draws(n, seed, stream, step).into_iter(), self.dim), self.dim)
    }

    /// Which points [`resample`](Self::resample) draws.
    pub fn draws(&self, n: usize, seed: u32, stream: Stream, step: u32) -> Vec<usize> {
        let (philox, inverse) = (Philox::new(seed, stream), self.inverse_cdf());
        (0..n).map(|i| inverse.index(philox.uniform(i as u32, step, 1))).collect()
    }
}

/// |x − m|².
fn squared(x: &[f64], mean: &[f64]) -> f64 {
    x.iter().zip(mean).map(|(x, m)| (x - m).powi(2)).sum()
}

/// Draws of point indices by weight, from uniform numbers.
#[derive(Clone, Debug)]
pub struct InverseCdf {
    n: usize,
    /// Empty when the weights are uniform.
    cumulative: Vec<f64>,
}

impl InverseCdf {
    /// The point at quantile `u` ∈ [0, 1).
    pub fn index(&self, u: f64) -> usize {
        let index = match self.cumulative.last() {
            None => (u * self.n as f64) as usize,
            Some(total) => self.cumulative.partition_point(|c| *c <= u * total),
        };
        index.min(self.n - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_a_far_cloud_keeps_its_digits() {
        let cloud = Cloud::new(vec![1e8 + 0.25, 1e8 + 0.75], 1).unwrap();
        assert_eq!(cloud.mean(), [1e8 + 0.5]);
        assert_eq!(cloud.variance(), 0.0625);
    }

    #[test]
    fn a_clone_shares_points_and_weights() {
        let cloud = Cloud::new(vec![0.0, 1.0], 1).unwrap().with_weights(vec![1.0, 3.0]).unwrap();
        let clone = cloud.clone();
        assert!(std::ptr::eq(clone.points(), cloud.points()));
        assert!(std::ptr::eq(clone.weights().unwrap(), cloud.weights().unwrap()));
        assert_eq!(clone, cloud);
    }

    #[test]
    fn the_radius_is_the_distance_of_the_farthest_point_from_the_mean() {
        let cloud = Cloud::new(vec![1.0, -2.0, 5.0, 4.0], 1).unwrap();
        assert_eq!(cloud.radius(), 4.0);
    }

    #[test]
    fn weights_add_up_to_one_whatever_their_scale() {
        for scale in [1e-300, 1.0, 1e300] {
            let cloud = Cloud::new(vec![0.0, 1.0], 1).unwrap().with_weights(vec![scale, 3.0 * scale]).unwrap();
            assert_eq!(cloud.weights().unwrap(), [0.25, 0.75]);
        }
    }

    #[test]
    fn halves_are_a_partition_that_the_seed_alone_chooses() {
        let cloud = Cloud::new((0..7).map(f64::from).collect(), 1).unwrap();
        let (a, b) = cloud.halves(3).unwrap();
        assert_eq!((a.len(), b.len()), (4, 3));
        let mut all = [a.points(), b.points()].concat();
        all.sort_by(f64::total_cmp);
        assert_eq!(all, cloud.points());
        assert_eq!(cloud.halves(3).unwrap(), (a.clone(), b));
        assert_ne!(cloud.halves(4).unwrap().0, a);
        assert_eq!(Cloud::new(vec![1.0], 1).unwrap().halves(0), Err(CloudError::Single));
    }

    #[test]
    fn halves_of_a_weighted_cloud_keep_the_ratios_of_the_weights() {
        let cloud = Cloud::new((1..=6).map(f64::from).collect(), 1).unwrap();
        let (a, b) = cloud.clone().with_weights(cloud.points().to_vec()).unwrap().halves(0).unwrap();
        for half in [a, b] {
            let total: f64 = half.points().iter().sum();
            for (w, x) in half.weights().unwrap().iter().zip(half.points()) {
                assert!((w - x / total).abs() < 1e-15); // a few roundings of numbers below one
            }
        }
    }

    #[test]
    fn resampling_follows_the_weights() {
        let cloud = Cloud::new(vec![0.0, 1.0, 2.0], 1).unwrap().with_weights(vec![0.0, 3.0, 1.0]).unwrap();
        let n = 40_000;
        let draws = cloud.resample(n, 1, Stream::Metric, 0);
        assert!(draws.points().iter().all(|&x| x > 0.0));
        let ones = draws.points().iter().filter(|&&x| x == 1.0).count() as f64 / n as f64;
        assert!((ones - 0.75).abs() < 4.0 * (0.75 * 0.25 / n as f64).sqrt()); // four standard errors
    }

    #[test]
    fn bad_numbers_are_named_by_row_and_column() {
        let error = Cloud::new(vec![0.0, 1.0, f64::NAN, 2.0], 2).unwrap_err();
        assert!(matches!(error, CloudError::NotFinite { row: 1, column: 0, .. }));
        assert_eq!(Cloud::new(vec![], 3), Err(CloudError::Empty { rows: 0, dim: 3 }));
        let cloud = Cloud::new(vec![0.0, 1.0], 1).unwrap();
        assert_eq!(cloud.clone().with_weights(vec![0.0, 0.0]), Err(CloudError::NoMass));
        assert!(matches!(cloud.with_weights(vec![1.0, -1.0]), Err(CloudError::BadWeight { row: 1, .. })));
    }
}
