//! Semidiscrete couplings: a potential that is fitted once pairs any fresh draw of a law with a point of the data.
//!
//! Between a law μ with a density and points y_j of masses b_j the optimal plan under ½|x−y|² is a map, constant on Laguerre cells:
//!
//! ```text
//! T(x) = y_j    with  j = argmin_j ½|x − y_j|² − g_j = argmax_j x·y_j + g_j − ½|y_j|²
//! ```
//!
//! where g maximises E_μ min_j (½|x − y_j|² − g_j) + Σ_j b_j g_j, so that cell j has the mass b_j; a constant added to g changes
//! nothing. [`Ascent`] fits g on fresh draws, as flow matching with semidiscrete couplings does (arXiv 2509.25519).
//!
//! The look-up is a nearest neighbour in one dimension more, which makes it exact (Bachrach et al. 2014, theorem 1):
//!
//! ```text
//! ½|x − y_j|² − g_j + max g = ½|(x, 0) − (y_j, s_j)|²        s_j = √(2 (max g − g_j))
//! ```
//!
//! g is rounded so that every s_j is a number of single precision: what is looked up is g itself on every device.

mod ascent;

use rayon::prelude::*;

pub use ascent::{Ascent, Fit};

use crate::backend::{Backend, BackendError, Device, Storage, Task};
use crate::measure::Cloud;
use crate::transport::map::check_potential;
use crate::transport::problem::{Relative, scale};
use crate::transport::{Projection, TransportError};

/// Rows that are looked up at a time.
const ROWS: usize = 4096;

/// A potential g over the points of a target, and what pairs by it.
#[derive(Clone, Debug)]
pub struct Semidiscrete {
    cells: Cells,
    /// s of each cell, numbers of single precision.
    heights: Vec<f64>,
    projection: Option<Projection>,
}

impl Semidiscrete {
    /// The coupling by the potential `g` of the points of `target`, under the cost of their `projection` where there is one.
    ///
    /// # Errors
    /// [`TransportError::Potential`] when g is not one finite number a point, [`TransportError::OnePlace`] when no two points differ.
    pub fn new(target: &Cloud, g: &[f64], projection: Option<Projection>) -> Result<Self, TransportError> {
        check_potential(g, target.len())?;
        let cells = Cells::of(target, projection.as_ref())?;
        let of_cells: Vec<f64> = cells.first.iter().map(|&j| g[j as usize]).collect();
        Ok(Self::of_cells(cells, &of_cells, projection))
    }

    fn of_cells(cells: Cells, g: &[f64], projection: Option<Projection>) -> Self {
        let largest = g.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let heights = g.iter().map(|g| f64::from((2.0 * (largest - g)).sqrt() as f32)).collect();
        Self { cells, heights, projection }
    }

    /// The potential g of each point of the target in units of ½|x−y|², its largest value 0. Points at one place share a cell and
    /// its g; a point without mass has none, and the least g of all stands in its place.
    pub fn potential(&self) -> Vec<f64> {
        let of_cell = |height: &f64| -0.5 * height * height;
        let least = self.heights.iter().map(of_cell).fold(0.0, f64::min);
        self.cells.of_point.iter().map(|cell| cell.map_or(least, |cell| of_cell(&self.heights[cell as usize]))).collect()
    }

    /// The partner in the target of each of `points`: the first of those at one place.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ or memory runs out.
    pub fn pair(&self, points: &Cloud, device: &Device) -> Result<Vec<u32>, TransportError> {
        let dim = self.projection.as_ref().map_or(self.cells.points.dim(), Projection::dim);
        if points.dim() != dim {
            return Err(TransportError::Dimensions { source_dim: points.dim(), target_dim: dim });
        }
        let points = self.projection.as_ref().map_or(Ok(points.clone()), |projection| projection.apply(points))?;
        let found = device.run(LookUp { coupling: self, points: &points })?;
        Ok(found.into_iter().map(|cell| self.cells.first[cell as usize]).collect())
    }
}

/// The places of a target that have mass.
#[derive(Clone, Debug)]
struct Cells {
    /// A point at each place, with the mass that lies there; in the coordinates of the cost.
    points: Cloud,
    /// The number of the first point of the target at each place.
    first: Vec<u32>,
    /// The cell of each point of the target; none without mass.
    of_point: Vec<Option<u32>>,
}

impl Cells {
    fn of(target: &Cloud, projection: Option<&Projection>) -> Result<Self, TransportError> {
        let mut order: Vec<usize> = (0..target.len()).filter(|&j| target.weight(j) > 0.0).collect();
        order.par_sort_by(|&i, &j| target.compare(i, j).then(i.cmp(&j)));
        let mut places: Vec<&[usize]> = order.chunk_by(|&i, &j| target.compare(i, j).is_eq()).collect();
        places.sort_unstable_by_key(|place| place[0]);
        if places.len() < 2 {
            return Err(TransportError::OnePlace);
        }
        let mut of_point = vec![None; target.len()];
        for (cell, place) in places.iter().enumerate() {
            place.iter().for_each(|&j| of_point[j] = Some(cell as u32));
        }
        let points = if places.len() == target.len() {
            target.clone()
        } else {
            let first: Vec<usize> = places.iter().map(|place| place[0]).collect();
            let masses = places.iter().map(|place| place.iter().map(|&j| target.weight(j)).sum()).collect();
            target.uniform_at(&first).with_weights(masses)?
        };
        let points = projection.map_or(Ok(points.clone()), |projection| projection.apply(&points))?;
        Ok(Self { points, first: places.iter().map(|place| place[0] as u32).collect(), of_point })
    }
}

struct LookUp<'a> {
    coupling: &'a Semidiscrete,
    points: &'a Cloud,
}

impl Task for LookUp<'_> {
    type Output = Result<Vec<u32>, BackendError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let (cells, x) = (&self.coupling.cells.points, self.points);
        let (origin, scale) = (cells.mean(), scale(x, cells));
        let heights: Vec<f64> = self.coupling.heights.iter().map(|height| height * scale).collect();
        let lifted = Relative::new(cells, origin.clone(), scale).stored(Storage::Full, &heights);
        let y = lifted.on_device(backend, 0..cells.len())?.reals;
        let rows = Relative::new(x, origin, scale).stored(Storage::Full, &vec![0.0; x.len()]);
        let mut found = Vec::with_capacity(x.len());
        for first in (0..x.len()).step_by(ROWS) {
            let here = rows.on_device(backend, first..x.len().min(first + ROWS))?;
            let mut index = backend.zeros(here.n)?;
            backend.nearest(here.rows(), &y, &mut index)?;
            found.extend(backend.download(&index)?);
        }
        Ok(found)
    }
}
