//! The entropic problem: two clouds, a cost and ε.

mod relative;
mod side;

use std::borrow::Cow;
use std::sync::Arc;

use rayon::prelude::*;

use crate::backend::{Backend, BackendError, Cost, PairCost, Precision, Real, Storage};
use crate::measure::Cloud;
use crate::transport::TransportError;
use crate::transport::cost::{GroundCost, Streamed};
use crate::transport::scale::{CostScale, ScaleOf};
use crate::vector::dot;
pub(crate) use relative::{OnDevice, Relative};
use side::scale_about;
pub(crate) use side::{Side, scale};

/// OT_ε(a, b) = min ⟨P, c⟩ + ε KL(P ‖ a⊗b) over plans P with marginals a and b, c(x, y) = ½|x−y|² unless another is given; a
/// marginal that is not held adds ρ KL(P₁ ‖ a) instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    source: Cloud,
    target: Cloud,
    eps: f64,
    rho: [Option<f64>; 2],
    cost: GroundCost,
    /// What exponents are made of is at most this: the largest squared radius, or of other costs a bound of the cost.
    reach: f64,
    labels: Option<LabelCost>,
    storage: Storage,
}

/// A cost of classes, added to that of the points: c(x_i, y_j) = ½|x_i−y_j|² + W(label of x_i, label of y_j), as the distances
/// between classes of Alvarez-Melis, Fusi 2020 (OTDD, eq. 6).
#[derive(Clone, Debug, PartialEq)]
pub struct LabelCost {
    /// Row of the table for each source point, of length n.
    pub source: Arc<[u32]>,
    /// Column of the table for each target point, of length m.
    pub target: Arc<[u32]>,
    /// W in units of c, row-major.
    pub table: Arc<[f64]>,
    /// Columns of the table.
    pub columns: usize,
}

impl LabelCost {
    /// Refuses labels of other numbers of points than `n` and `m`, or beyond the table, and a table that is not finite.
    pub(super) fn check(&self, n: usize, m: usize) -> Result<(), TransportError> {
        let within = |labels: &[u32], classes: usize| labels.iter().all(|&label| (label as usize) < classes);
        let (rows, columns) = (self.table.len() / self.columns.max(1), self.columns);
        let fits = (self.source.len(), self.target.len()) == (n, m)
            && rows * columns == self.table.len()
            && within(&self.source, rows)
            && within(&self.target, columns)
            && self.table.iter().all(|w| w.is_finite());
        if fits { Ok(()) } else { Err(TransportError::Labels { n, m, rows, columns }) }
    }

    /// W of source point i and target point j, whose labels are within the table.
    pub(super) fn between(&self, i: usize, j: usize) -> f64 {
        self.table[self.source[i] as usize * self.columns + self.target[j] as usize]
    }

    /// Its mean Σ_ij a_i b_j W over independent pairs, in units of c; a label beyond the table costs nothing.
    pub fn mean(&self, source: &Cloud, target: &Cloud) -> f64 {
        let [rows, to] = self.masses(source, target);
        self.rows().zip(&rows).map(|(row, mass)| mass * dot(row, &to)).sum()
    }

    /// √Σ_ij a_i b_j (W − its means over rows and over columns + its mean)²: how far W tells pairs apart, beyond what it says of either
    /// end alone, in units of c.
    pub(super) fn spread(&self, source: &Cloud, target: &Cloud) -> f64 {
        let [rows, to] = self.masses(source, target);
        let of_rows: Vec<f64> = self.rows().map(|row| dot(row, &to)).collect();
        let of_column = |l: usize| self.rows().zip(&rows).map(|(row, mass)| mass * row[l]).sum::<f64>();
        let of_columns: Vec<f64> = (0..to.len()).map(of_column).collect();
        let mean = dot(&rows, &of_rows);
        let square = |row: &[f64], of_row: f64| {
            let entries = row.iter().zip(&of_columns).zip(&to);
            entries.map(|((w, of_column), mass)| mass * (w - of_row - of_column + mean).powi(2)).sum::<f64>()
        };
        self.rows().zip(&of_rows).zip(&rows).map(|((row, of_row), mass)| mass * square(row, *of_row)).sum::<f64>().sqrt()
    }

    fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.table.chunks_exact(self.columns.max(1))
    }

    /// The mass of each class of the source and of the target.
    fn masses(&self, source: &Cloud, target: &Cloud) -> [Vec<f64>; 2] {
        let masses = |cloud: &Cloud, labels: &[u32], classes: usize| {
            let mut masses = vec![0.0; classes];
            for (i, label) in labels.iter().enumerate().take(cloud.len()) {
                masses.get_mut(*label as usize).into_iter().for_each(|mass| *mass += cloud.weight(i));
            }
            masses
        };
        let columns = self.columns.max(1);
        [masses(source, &self.source, self.table.len() / columns), masses(target, &self.target, columns)]
    }
}

/// The class costs of the pairs of a plan, seen from one of its ends.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassCosts {
    pub(super) labels: LabelCost,
    /// Whether rows are points of the target.
    pub(super) back: bool,
}

impl ClassCosts {
    /// Those of the way back.
    pub(super) fn reversed(self) -> Self {
        Self { back: !self.back, ..self }
    }

    /// W of row i and column j.
    pub(super) fn between(&self, i: usize, j: usize) -> f64 {
        let (source, target) = if self.back { (j, i) } else { (i, j) };
        self.labels.between(source, target)
    }
}

/// Rounding errors of the exponent that are still accepted: the plan is off by at most this share.
const ACCEPTED: f64 = 0.1;
/// The share of a cloud's mass that may lie far from the rest: outliers.
const OUTLYING: f64 = 0.05;
/// Their squared distance over that within which the rest lies, from which on they are dealt with apart.
const FAR: f64 = 100.0;
/// Rounding errors of ε over the costs that are still accepted: values are off by at most this share.
const HIDDEN: f64 = 1e-3;
/// Rounding errors of costs over ρ that are still accepted.
const DROWNED: f64 = 1e-2;

impl Problem {
    /// The problem of moving `source` to `target` at `eps`, in units of c.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ or ε is not positive.
    pub fn new(source: &Cloud, target: &Cloud, eps: f64) -> Result<Self, TransportError> {
        if source.dim() != target.dim() {
            return Err(TransportError::Dimensions { source_dim: source.dim(), target_dim: target.dim() });
        }
        if !(eps > 0.0 && eps.is_finite()) {
            return Err(TransportError::Eps { eps });
        }
        let cost = GroundCost::Known(Cost::HalfSquaredEuclidean);
        let (source, target, storage) = (source.clone(), target.clone(), Storage::Full);
        Self { source, target, eps, rho: [None; 2], cost: cost.clone(), reach: 0.0, labels: None, storage }.under(cost)
    }

    /// The same problem at another ε.
    ///
    /// # Errors
    /// [`TransportError::Eps`] when it is not positive.
    pub fn with_eps(self, eps: f64) -> Result<Self, TransportError> {
        if eps > 0.0 && eps.is_finite() { Ok(Self { eps, ..self }) } else { Err(TransportError::Eps { eps }) }
    }

    /// The problem with another cost of the points; ε, ρ, potentials and values are in its units.
    ///
    /// # Errors
    /// [`TransportError::Power`] unless the p of [`Cost::Lp`] is finite and at least 1.
    pub fn with_cost(self, cost: Cost) -> Result<Self, TransportError> {
        self.under(GroundCost::Known(cost))
    }

    /// The problem with a function of x and y as cost of the points, which may be negative and need not be symmetric.
    ///
    /// It is evaluated on the processor alone, in parallel over the points. Where the costs of all pairs fit 500 MB they are kept;
    /// beyond, every iteration evaluates all n·m pairs again, in memory of O(n + m), which is slow: a cost that [`Cost`] has is better
    /// given by its name.
    ///
    /// # Errors
    /// [`TransportError::Cost`] when a pair has a cost that is not finite.
    pub fn with_cost_function(
        self,
        cost: impl Fn(&[f64], &[f64]) -> f64 + Send + Sync + 'static,
    ) -> Result<Self, TransportError> {
        self.under(GroundCost::given(cost))
    }

    /// The problem with `cost` as cost of the points.
    pub(super) fn under(self, cost: GroundCost) -> Result<Self, TransportError> {
        let farthest = |cloud: &Cloud, from: &[f64]| cloud.largest(|x| cost.between(x, from));
        let reach = match cost {
            GroundCost::Known(Cost::HalfSquaredEuclidean) => {
                largest_squared_radius(&self.source).max(largest_squared_radius(&self.target))
            }
            GroundCost::Known(Cost::Cosine) => 1.0,
            GroundCost::Known(Cost::Lp(p)) if !(p >= 1.0 && p.is_finite()) => return Err(TransportError::Power { p }),
            // A norm obeys the triangle inequality.
            GroundCost::Known(_) => {
                let origin = self.source.mean();
                farthest(&self.source, &origin) + farthest(&self.target, &origin)
            }
            GroundCost::Given(_) | GroundCost::Reversed(_) => self.largest_cost(&cost)?,
        };
        Self { cost, reach, ..self }.storable()
    }

    /// max |c_ij|, if all are finite.
    fn largest_cost(&self, cost: &GroundCost) -> Result<f64, TransportError> {
        let (x, d) = (self.source.points(), self.source.dim());
        let row = |i: usize| {
            let costs = self.target.rows().map(|y| cost.between(&x[i * d..][..d], y));
            costs.enumerate().try_fold(0.0, |largest: f64, (j, value)| match value.is_finite() {
                true => Ok(largest.max(value.abs())),
                false => Err(TransportError::Cost { i, j, value }),
            })
        };
        (0..self.source.len()).into_par_iter().map(row).try_reduce(|| 0.0, |a, b| Ok(a.max(b)))
    }

    /// The same problem between other clouds, without classes.
    ///
    /// # Errors
    /// As [`Problem::new`], and [`TransportError::Cost`].
    pub fn between(&self, source: &Cloud, target: &Cloud) -> Result<Self, TransportError> {
        Self { rho: self.rho, storage: self.storage, ..Self::new(source, target, self.eps)? }.under(self.cost.clone())
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
    pub fn with_labels(self, labels: LabelCost) -> Result<Self, TransportError> {
        labels.check(self.source.len(), self.target.len())?;
        Self { labels: Some(labels), ..self }.storable()
    }

    /// The problem between the clouds as `storage` holds their points: relative to their mean and scaled to (−1, 1), each
    /// coordinate is rounded to half precision, and what is solved is the problem of the rounded points, in all other numbers
    /// to the precision of the device. On a GPU such points take half the memory and a third of the products.
    ///
    /// # Errors
    /// [`TransportError::Storage`] for a cost that is not a product of coordinates, and with a cost of classes.
    pub fn stored_in(self, storage: Storage) -> Result<Self, TransportError> {
        Self { storage, ..self }.storable()
    }

    /// The problem, if its points can be stored as it says.
    fn storable(self) -> Result<Self, TransportError> {
        let products = self.labels.is_none() && matches!(self.streamed(), Streamed::Product);
        if self.storage == Storage::Full || products { Ok(self) } else { Err(TransportError::Storage) }
    }

    /// How far storing moves the points, √Σ_i a_i |x_i − stored x_i|² of the source and of the target together: W₂ between the
    /// clouds as stored is off by no more.
    pub fn storage_error(&self) -> f64 {
        let (source, target) = match self.cost.is_half_squared() {
            true => (Cow::Borrowed(&self.source), Cow::Borrowed(&self.target)),
            false => (Cow::Owned(self.source.directions()), Cow::Owned(self.target.directions())),
        };
        let scale = scale(&source, &target);
        let moved = |cloud: &Cloud| {
            let off = |x: f64| self.storage.round(scale * x) / scale - x;
            let (mean, mut sum) = (cloud.mean(), 0.0);
            cloud.each(|i, x| {
                sum += cloud.weight(i) * x.iter().zip(&mean).map(|(x, m)| off(x - m).powi(2)).sum::<f64>();
            });
            sum.sqrt()
        };
        moved(&source) + moved(&target)
    }

    /// How the points are stored.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// The cost of the points.
    pub fn cost(&self) -> &GroundCost {
        &self.cost
    }

    /// The mean of the cost of the points over a seeded sample of pairs.
    pub fn mean_cost(&self, seed: u32) -> f64 {
        self.cost.mean(&self.source, &self.target, seed)
    }

    /// The cost of the points where the solver streams it, and of the classes with it where they cannot be coordinates.
    pub(super) fn streamed(&self) -> Streamed<'_> {
        match (&self.cost, &self.labels) {
            (GroundCost::Known(Cost::HalfSquaredEuclidean | Cost::Cosine), _) => return Streamed::Product,
            (GroundCost::Known(Cost::Euclidean), None) => return Streamed::Norm(PairCost::Euclidean),
            (GroundCost::Known(Cost::Lp(p)), None) => return Streamed::Norm(PairCost::Lp(*p)),
            _ => {}
        }
        let (x, y, d) = (self.source.points(), self.target.points(), self.source.dim());
        let points = move |i: usize, j: usize| self.cost.between(&x[i * d..][..d], &y[j * d..][..d]);
        match &self.labels {
            None => Streamed::given(points),
            Some(classes) => Streamed::given(move |i, j| points(i, j) + classes.between(i, j)),
        }
    }

    /// The cost of classes, if there is one.
    pub fn labels(&self) -> Option<&LabelCost> {
        self.labels.as_ref()
    }

    /// Both clouds on a device, in the problem's own unit of length.
    ///
    /// W is a product too: of its row for the source's label, with a minus, and the unit vector of the target's. These join the
    /// coordinates on the device, so that class costs are as fast as points of so many dimensions more.
    pub(crate) fn sides<B: Backend>(&self, backend: &B) -> Result<(Side<B>, Side<B>), BackendError> {
        match self.streamed() {
            Streamed::Product if self.cost.is_half_squared() => {
                self.product_sides(backend, (&self.source, &self.target), Side::with)
            }
            Streamed::Product => {
                let (source, target) = (self.source.directions(), self.target.directions());
                self.product_sides(backend, (&source, &target), Side::of_directions)
            }
            Streamed::Norm(_) => {
                let origin: Vec<f64> = self.source.mean().iter().zip(self.target.mean()).map(|(x, y)| 0.5 * (x + y)).collect();
                let scale = scale_about([(&self.source, &origin), (&self.target, &origin)]);
                let side = |cloud| Side::about(backend, cloud, origin.clone(), scale, &[], Storage::Full);
                Ok((side(&self.source)?, side(&self.target)?))
            }
            // Only the numbers of the points meet on the device.
            Streamed::Given(_) => {
                let side = |cloud: &Cloud| Side::about(backend, cloud, vec![0.0; cloud.dim()], 1.0, &[], Storage::Full);
                Ok((side(&self.source)?, side(&self.target)?))
            }
        }
    }

    /// [`Problem::sides`] where the cost is a product of coordinates, with those of the classes.
    fn product_sides<B: Backend>(
        &self,
        backend: &B,
        (source, target): (&Cloud, &Cloud),
        side: impl Fn(&B, &Cloud, f64, &[f64], Storage) -> Result<Side<B>, BackendError>,
    ) -> Result<(Side<B>, Side<B>), BackendError> {
        let scale = scale(source, target);
        let extra = self.labels.as_ref().map(|LabelCost { source, target, table, columns }| {
            let columns = *columns;
            let row = |label: &u32| table[*label as usize * columns..][..columns].iter().map(|w| -w * scale * scale);
            let unit = |label: &u32| {
                let label = *label as usize;
                (0..columns).map(move |k| if k == label { 1.0 } else { 0.0 })
            };
            (source.iter().flat_map(row).collect::<Vec<_>>(), target.iter().flat_map(unit).collect::<Vec<_>>())
        });
        let (of_source, of_target) = extra.as_ref().map_or((&[][..], &[][..]), |(x, y)| (x, y));
        let side = |cloud, extra| side(backend, cloud, scale, extra, self.storage);
        Ok((side(source, of_source)?, side(target, of_target)?))
    }

    /// The cloud that is moved: x, a.
    pub fn source(&self) -> &Cloud {
        &self.source
    }

    /// Where it is moved to: y, b.
    pub fn target(&self) -> &Cloud {
        &self.target
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
            && matches!(self.cost, GroundCost::Known(_))
            && self.source == self.target
    }

    /// The rounding error of the exponents times ε, in the unit of `x`.
    pub(crate) fn rounding<B: Backend>(&self, x: &Side<B>, y: &Side<B>) -> f64 {
        match self.streamed() {
            Streamed::Product => x.rounding(y),
            _ => x.unit * self.reach * B::Real::ROUNDING,
        }
    }

    /// Refuses an ε beside which the precision of `B` cannot tell costs from one another, and a ρ beside which f64 cannot: potentials of
    /// its size are differences of costs.
    pub(crate) fn check_extremes<B: Backend>(&self) -> Result<(), TransportError> {
        let apart = match self.cost.is_half_squared() {
            true => self.source.mean().iter().zip(self.target.mean()).map(|(x, y)| 0.5 * (x - y).powi(2)).sum(),
            false => 0.0,
        };
        let (cost, rounding) = (self.reach + apart, B::Real::ROUNDING);
        let (largest, smallest) = (HIDDEN * cost / rounding, cost * f64::ROUNDING / DROWNED);
        // Self-terms are judged with the problem they belong to.
        if self.eps > largest && cost > 0.0 && !self.is_symmetric() {
            return Err(TransportError::EpsTooLarge { eps: self.eps, precision: precision::<B>().name(), cost, largest });
        }
        match self.rho.into_iter().flatten().find(|rho| *rho < smallest) {
            Some(rho) => Err(TransportError::RhoTooSmall { rho, cost, smallest }),
            None => Ok(()),
        }
    }

    /// Whether the exponents of `B` are rounded by more than `share`, and outliers alone are why: about the medians all but 5 % of each
    /// cloud lie within a tenth of the radius, and their exponents `B` can hold.
    pub(crate) fn is_outlying<B: Backend>(&self, share: f64) -> bool {
        if !self.cost.is_half_squared() || self.labels.is_some() || self.reach * B::Real::ROUNDING <= share * self.eps {
            return false;
        }
        let within = |cloud: &Cloud| squared_radius_within(cloud, 1.0 - OUTLYING);
        let near = within(&self.source).max(within(&self.target));
        near * FAR <= self.reach && near * B::Real::ROUNDING <= ACCEPTED * self.eps
    }

    /// Refuses an ε whose exponents the precision of `B` cannot hold.
    pub(crate) fn check_precision<B: Backend>(&self) -> Result<(), TransportError> {
        let class =
            self.labels.as_ref().map_or(0.0, |labels| labels.table.iter().fold(0.0, |largest: f64, w| largest.max(w.abs())));
        let (reach, rounding) = (self.reach + class, B::Real::ROUNDING);
        let smallest = reach * rounding / ACCEPTED;
        if self.eps < smallest {
            let precision = precision::<B>().name();
            let what = if self.cost.is_half_squared() { "squared radius about the mean" } else { "cost" };
            return Err(TransportError::EpsTooSmall { eps: self.eps, precision, what, reach, rounding, smallest });
        }
        Ok(())
    }
}

/// The precision of `B`.
pub(super) fn precision<B: Backend>() -> Precision {
    if B::Real::ROUNDING > f64::ROUNDING { Precision::F32 } else { Precision::F64 }
}

fn largest_squared_radius(cloud: &Cloud) -> f64 {
    let mean = cloud.mean();
    cloud.largest(|x| x.iter().zip(&mean).map(|(x, m)| (x - m).powi(2)).sum())
}

/// The squared radius about the median of each coordinate within which `share` of the mass lies.
fn squared_radius_within(cloud: &Cloud, share: f64) -> f64 {
    let quantile = |mut values: Vec<(f64, f64)>, share: f64| {
        values.sort_unstable_by(|(x, _), (y, _)| x.total_cmp(y));
        let mut mass = 0.0;
        let reached = |(_, weight): &&(f64, f64)| {
            mass += weight;
            mass >= share
        };
        values.iter().find(reached).or(values.last()).map_or(0.0, |(value, _)| *value)
    };
    let weighted = |value: &dyn Fn(&[f64]) -> f64| {
        let mut values = Vec::with_capacity(cloud.len());
        cloud.each(|i, x| values.push((value(x), cloud.weight(i))));
        values
    };
    let centre: Vec<f64> = (0..cloud.dim()).map(|k| quantile(weighted(&|x| x[k]), 0.5)).collect();
    let squared = |x: &[f64]| x.iter().zip(&centre).map(|(x, c)| (x - c).powi(2)).sum::<f64>();
    quantile(weighted(&squared), share)
}

/// c₀ of ½|x−y|², the usual yardstick for ε: the trimmed mean of it within the clouds ([`GroundCost::scale`]); 0 where no two points
/// differ.
pub fn mean_cost(source: &Cloud, target: &Cloud, seed: u32) -> f64 {
    match GroundCost::Known(Cost::HalfSquaredEuclidean).scale(source, target, seed) {
        CostScale { of: ScaleOf::Nothing, .. } => 0.0,
        CostScale { value, .. } => value,
    }
}
