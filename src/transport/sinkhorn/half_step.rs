//! Half-steps by themselves: a marginal of the plan, the update it makes, and means under the plan's rows.

use std::f64::consts::LN_2;
use std::ops::Range;

use crate::backend::{Backend, BackendError, Columns, HalfColumns, Logit, Out, PairCost, Reals, Scale};
use crate::transport::images::Images;
use crate::transport::problem::{OnDevice, Relative, Side};
use crate::transport::sinkhorn::Run;
use crate::transport::values::RowMeans;
use crate::vector::dot;

/// Numbers of means that are taken at a time, unless they are those of so many rows a thread.
const NUMBERS: usize = 1 << 19;
const ROWS: usize = 128;

impl<B: Backend> Run<'_, B> {
    /// log of the second marginal's density with respect to b.
    pub fn second_marginal(&mut self, eps: f64) -> Result<Vec<f64>, BackendError> {
        let Self { backend, x, y, .. } = *self;
        let (phi, psi) = (backend.upload_reals(&self.phi)?, backend.upload_reals(&self.psi)?);
        let half = HalfStep { backend, eps, cost: self.cost.pair_cost(true), rows: &y.points, phi: &psi, columns: x, psi: &phi };
        half.log_marginal(&mut self.packed, &mut self.ratio_y)?;
        backend.download_reals(&self.ratio_y)
    }

    /// One update of ψ.
    pub fn update_psi(&mut self, eps: f64) -> Result<(), BackendError> {
        let log_ratio = self.second_marginal(eps)?;
        let change = self.hold_y.change(eps, &self.psi, &log_ratio);
        self.psi.iter_mut().zip(change).for_each(|(psi, change)| *psi += change);
        Ok(())
    }

    /// One update of φ.
    pub fn update_phi(&mut self, eps: f64) -> Result<(), BackendError> {
        let Self { backend, x, y, .. } = *self;
        let (phi, psi) = (backend.upload_reals(&self.phi)?, backend.upload_reals(&self.psi)?);
        let half = HalfStep { backend, eps, cost: self.cost.pair_cost(false), rows: &x.points, phi: &phi, columns: y, psi: &psi };
        half.log_marginal(&mut self.packed, &mut self.ratio_x)?;
        let change = self.hold_x.change(eps, &self.phi, &backend.download_reals(&self.ratio_x)?);
        self.phi.iter_mut().zip(change).for_each(|(phi, change)| *phi += change);
        Ok(())
    }

    /// Σ_j P_ij v_j / Σ_j P_ij of `values` v, m × p, and before it the log of the first marginal's density, for a cost that is a
    /// product.
    pub fn row_means(&mut self, eps: f64, values: &[f64], p: usize) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
        let Self { backend, x, y, .. } = *self;
        let (phi, psi) = (backend.upload_reals(&self.phi)?, backend.upload_reals(&self.psi)?);
        let half = HalfStep { backend, eps, cost: None, rows: &x.points, phi: &phi, columns: y, psi: &psi };
        half.means(&backend.upload_reals(values)?, p, &mut self.packed, &mut self.ratio_x)
    }

    /// Σ_i P_ij v_i / Σ_i P_ij of `values` v, n × p, and before it the log of the second marginal's density, for a cost that is a
    /// product.
    pub fn column_means(&mut self, eps: f64, values: &[f64], p: usize) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
        let Self { backend, x, y, .. } = *self;
        let (phi, psi) = (backend.upload_reals(&self.phi)?, backend.upload_reals(&self.psi)?);
        let half = HalfStep { backend, eps, cost: None, rows: &y.points, phi: &psi, columns: x, psi: &phi };
        half.means(&backend.upload_reals(values)?, p, &mut self.packed, &mut self.ratio_y)
    }

    /// What the rows say of the columns, and the means of `points`, the target's, which go to `images`; some rows at a time.
    ///
    /// Points that are the first of the coordinates are not taken twice.
    pub fn coupling(&mut self, eps: f64, points: &Relative, images: &mut Images) -> Result<RowMeans, BackendError> {
        let Self { backend, x, y, .. } = *self;
        let cost = self.cost.pair_cost(false);
        let known = cost.is_none() && std::ptr::eq(points, &y.relative);
        let width = if cost.is_none() { y.width } else { 0 };
        let (from, p) = if known { (0, width) } else { (width, width + y.d) };
        let stride = p + 3;
        // A masked point may lie anywhere.
        let of_mass = |value: f64, j: usize| if y.mass[j] > 0.0 { value } else { 0.0 };
        let beside = |j: usize| [y.own[j], self.psi[j], y.mass[j].ln()].map(|value| of_mass(value, j));
        let values = |block: Range<usize>| {
            let coordinates = if width > 0 { y.relative.coordinates(block.clone()) } else { Vec::new() };
            let points = if known { Vec::new() } else { points.points(block.clone()) };
            let row = |(k, j): (usize, usize)| {
                let points = if known { &[][..] } else { &points[k * y.d..][..y.d] };
                coordinates[k * width..][..width].iter().chain(points).copied().chain(beside(j))
            };
            block.enumerate().flat_map(row).collect::<Vec<f64>>()
        };
        let values = backend.upload_reals(y.relative.blocks(0..y.n).flat_map(values))?;
        let psi = backend.upload_reals(&self.psi)?;
        let gap: Vec<f64> = x.mean.iter().zip(&y.mean).map(|(x, y)| x - y).collect();
        let mut all = RowMeans::default();
        // A cost that is given by numbers of points has those of all rows.
        let given = matches!(cost, Some(PairCost::Given(_)));
        let step = if given { x.n } else { (NUMBERS / stride).max(ROWS * rayon::current_num_threads()) };
        for first in (0..x.n).step_by(step) {
            let rows = first..x.n.min(first + step);
            let part = if rows.len() < x.n { Some(x.relative.on_device(backend, rows.clone())?) } else { None };
            let (phi, mut log_ratio) = (&self.phi[rows.clone()], backend.zeros(rows.len())?);
            let rounded = backend.upload_reals(phi)?;
            let half = HalfStep { backend, eps, cost, rows: part.as_ref().unwrap_or(&x.points), phi: &rounded, columns: y, psi: &psi };
            let (packed, out) = (&mut self.packed, &mut log_ratio);
            let (means, found) = match cost {
                Some(cost) => {
                    let [log_ratio, means, costs] = half.cost_means(cost, &values, stride, packed, out)?;
                    let last = means.chunks_exact(stride).map(|mean| (mean[p + 1], mean[p + 2]));
                    let exponents = last.clone().zip(&costs).zip(phi).map(|(((psi, _), cost), phi)| -cost - phi - psi).collect();
                    let log_masses = last.map(|(_, log_mass)| log_mass).collect();
                    (means, RowMeans { log_ratio, costs, exponents, log_masses })
                }
                None => {
                    let (log_ratio, means) = half.means(&values, stride, packed, out)?;
                    let x = &x.relative.coordinates(rows.clone());
                    let of = ProductRows { x, width, ground: &self.hold_x.ground[rows.clone()], phi, gap: &gap };
                    let found = of.means(log_ratio, &means);
                    (means, found)
                }
            };
            means.chunks_exact(stride).zip(rows).for_each(|(mean, i)| images.place(i, &mean[from..from + y.d]));
            all.extend(found);
        }
        Ok(all)
    }
}

/// The rows of a plan whose cost is a product, about the means.
pub struct ProductRows<'a> {
    /// All coordinates, n × width; the point's own are the first.
    pub x: &'a [f64],
    pub width: usize,
    /// φ at f = 0.
    pub ground: &'a [f64],
    pub phi: &'a [f64],
    /// Mean x − mean y.
    pub gap: &'a [f64],
}

impl ProductRows<'_> {
    /// From `means` of the columns' coordinates, maybe of more, and at the end of own, ψ and log b.
    ///
    /// The cost is own(x) + own(y) − x·y + Δ·(x − y) + ½|Δ|² with Δ = mean x − mean y. Its mean under a row has that row's weights in
    /// every term, so that an error of the weights is one of the plan and is not multiplied by |x|².
    pub fn means(&self, log_ratio: Vec<f64>, means: &[f64]) -> RowMeans {
        let (gap, width) = (self.gap, self.width);
        let stride = means.len() / log_ratio.len();
        let [own, psi, log_mass] = [3, 2, 1].map(|from_last| stride - from_last);
        let rows = || self.x.chunks_exact(width).zip(means.chunks_exact(stride)).enumerate();
        // A cost of classes may be negative, |x−y|² is not, whatever rounding leaves of it.
        let least = if width == gap.len() { 0.0 } else { f64::NEG_INFINITY };
        let cost = |(i, (x, mean)): (usize, (&[f64], &[f64]))| {
            let back = 0.25 * dot(gap, gap) - dot(gap, &mean[..gap.len()]);
            let cost = self.ground[i] + mean[own] + back - dot(x, &mean[..width]);
            if cost < least { least } else { cost }
        };
        let exponent = |(i, (x, mean)): (usize, (&[f64], &[f64]))| dot(x, &mean[..width]) - self.phi[i] - mean[psi];
        RowMeans {
            costs: rows().map(cost).collect(),
            exponents: rows().map(exponent).collect(),
            log_masses: rows().map(|(_, (_, mean))| mean[log_mass]).collect(),
            log_ratio,
        }
    }
}

/// Rows and columns of a plan, either way round, each side with its potential.
pub struct HalfStep<'a, B: Backend> {
    pub backend: &'a B,
    pub eps: f64,
    /// The cost where it is not a product.
    pub cost: Option<PairCost<'a>>,
    pub rows: &'a OnDevice<B>,
    pub phi: &'a Reals<B>,
    pub columns: &'a Side<B>,
    pub psi: &'a Reals<B>,
}

impl<B: Backend> HalfStep<'_, B> {
    /// The logit of products, relative to φ/ε, with which log-sums are the log of a marginal's density; the columns are packed unless
    /// they are stored in half the memory.
    fn product<'b>(&'b self, packed: &'b mut Reals<B>) -> Result<Logit<'b, B>, BackendError> {
        let Self { eps, rows, columns, psi, .. } = *self;
        let (k, shift) = (1.0 / eps, Some((self.phi, 1.0 / eps)));
        if let (Some(rows), Some(points)) = (&rows.half, &columns.points.half) {
            let columns = HalfColumns { points, k, bias: &columns.log_weights, potential: (psi, -k) };
            return Ok(Logit::Half { rows, columns, shift });
        }
        Ok(Logit::Product { rows: rows.rows(), columns: self.pack(k, packed)?, shift })
    }

    /// The logit of a `cost`, relative to φ/ε; its means go to `mean`.
    fn of_cost<'b>(
        &'b self,
        cost: PairCost<'b>,
        packed: &'b mut Reals<B>,
        mean: Option<&'b mut Reals<B>>,
    ) -> Result<Logit<'b, B>, BackendError> {
        let (k, columns) = (1.0 / self.eps, self.pack(LN_2, packed)?);
        Ok(Logit::Cost { rows: self.rows.rows(), columns, cost, k, shift: Some((self.phi, k)), mean })
    }

    /// Packs the columns: k y and log b − ψ/ε.
    fn pack<'b>(&self, k: f64, packed: &'b mut Reals<B>) -> Result<Columns<'b, B>, BackendError> {
        let Self { backend, eps, columns, psi, .. } = *self;
        backend.pack(columns.points.rows(), Scale::Uniform(k), &columns.log_weights, Some((psi, -1.0 / eps)), packed)?;
        Ok(Columns { packed, m: columns.n, d: columns.width })
    }

    /// `out_i = log Σ_j b_j exp((x_i·y_j − φ_i − ψ_j)/ε)`, or with −c_ij for the product.
    pub fn log_marginal(&self, packed: &mut Reals<B>, out: &mut Reals<B>) -> Result<(), BackendError> {
        let logit = match self.cost {
            None => self.product(packed)?,
            Some(cost) => self.of_cost(cost, packed, None)?,
        };
        self.backend.soft_min(logit, Out::of(out))
    }

    /// The log of a marginal's density and the means of values under the plan's rows, of a product.
    fn means(
        &self,
        values: &Reals<B>,
        p: usize,
        packed: &mut Reals<B>,
        out: &mut Reals<B>,
    ) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
        let backend = self.backend;
        let mut mean = backend.zeros(self.rows.n * p)?;
        backend.soft_min(self.product(packed)?, Out::with_mean(out, values, p, &mut mean))?;
        Ok((backend.download_reals(out)?, backend.download_reals(&mean)?))
    }

    /// [`HalfStep::means`] of a cost that is not a product, and third its mean.
    fn cost_means(
        &self,
        cost: PairCost<'_>,
        values: &Reals<B>,
        p: usize,
        packed: &mut Reals<B>,
        out: &mut Reals<B>,
    ) -> Result<[Vec<f64>; 3], BackendError> {
        let backend = self.backend;
        let (mut means, mut costs) = (backend.zeros(self.rows.n * p)?, backend.zeros(self.rows.n)?);
        backend.soft_min(self.of_cost(cost, packed, Some(&mut costs))?, Out::with_mean(out, values, p, &mut means))?;
        Ok([backend.download_reals(out)?, backend.download_reals(&means)?, backend.download_reals(&costs)?])
    }
}
