//! What the rows of a plan say of its columns, some rows at a time.

use std::f64::consts::LN_2;
use std::ops::Range;

use crate::backend::{Backend, BackendError, Columns, HalfColumns, Logit, Out, PairCost, Scale};
use crate::transport::images::Images;
use crate::transport::problem::Relative;
use crate::transport::sinkhorn::Run;
use crate::transport::values::RowMeans;
use crate::vector::dot;

/// Numbers of means that are taken at a time, or of as many rows as an eighth of the columns.
const NUMBERS: usize = 1 << 17;
/// Rows that a thread takes at a time in a soft-min on the processor.
const ROWS: usize = 64;

impl<B: Backend> Run<'_, B> {
    /// Means under the rows of what the values of the plan are made of, and of the target's points, which go to `images`. These are
    /// the `points` where they are others than the first of the coordinates, which are taken anyway.
    ///
    /// Ends the run: once the columns are packed the points are freed, as nothing else needs them.
    pub fn coupling(&mut self, points: Option<&Relative>, images: &mut Images) -> Result<RowMeans, BackendError> {
        let (backend, k) = (self.backend, 1.0 / self.eps);
        let psi = backend.upload_reals(&self.psi)?;
        if self.y.points.half.is_none() {
            let factor = if self.cost.pair_cost(false).is_some() { LN_2 } else { k };
            let potential = Some((&psi, -k));
            backend.pack(self.y.points.rows(), Scale::Uniform(factor), &self.y.log_weights, potential, &mut self.packed)?;
        }
        (self.x.points.reals, self.x.points.half, self.y.points.reals) = (backend.zeros(0)?, None, backend.zeros(0)?);

        let (x, y, cost) = (&self.x, &self.y, self.cost.pair_cost(false));
        let width = if cost.is_none() { y.points.width } else { 0 };
        let (from, p) = points.map_or((0, width), |_| (width, width + y.d));
        let stride = p + 3;
        let values = backend.upload_reals(Relative::numbers(0..y.n, stride, |block| self.values(points, width, block)))?;
        let columns = Columns { packed: &self.packed, m: y.n, d: y.points.width };
        let gap: Vec<f64> = x.mean.iter().zip(&y.mean).map(|(x, y)| x - y).collect();
        let mut all = RowMeans::default();
        // A cost that is given by the numbers of points is that of all rows.
        let given = matches!(cost, Some(PairCost::Given(_)));
        // Few passes over the columns, whose threads all have whole tasks, beside means that are small next to the values.
        let round = ROWS * rayon::current_num_threads();
        let step = if given { x.n } else { (NUMBERS / stride).max(y.n.div_ceil(8)).next_multiple_of(round) };
        for first in (0..x.n).step_by(step) {
            let rows = first..x.n.min(first + step);
            let (n, phi) = (rows.len(), &self.phi[rows.clone()]);
            let rounded = backend.upload_reals(phi)?;
            let (mut log_ratio, mut costs) = (backend.zeros(n)?, backend.zeros(if cost.is_some() { n } else { 0 })?);
            // Rows and means leave the device before what is made of them here.
            let means = {
                let part = x.relative.on_device(backend, rows.clone())?;
                let (shift, mut means) = (Some((&rounded, k)), backend.zeros(n * stride)?);
                let logit = match (cost, &part.half, &y.points.half) {
                    (Some(cost), ..) => Logit::Cost { rows: part.rows(), columns, cost, k, shift, mean: Some(&mut costs) },
                    (None, Some(rows), Some(points)) => Logit::Half {
                        rows,
                        columns: HalfColumns { points, k, bias: &y.log_weights, potential: (&psi, -k) },
                        shift,
                    },
                    (None, ..) => Logit::Product { rows: part.rows(), columns, shift },
                };
                backend.soft_min(logit, Out::with_mean(&mut log_ratio, &values, stride, &mut means))?;
                backend.download_reals(&means)?
            };
            let log_ratio = backend.download_reals(&log_ratio)?;
            means.chunks_exact(stride).zip(rows.clone()).for_each(|(mean, i)| images.place(i, &mean[from..from + y.d]));
            all.extend(match cost {
                Some(_) => of_costs(log_ratio, &means, backend.download_reals(&costs)?, phi),
                None => {
                    let (x, ground) = (&x.relative.coordinates(rows.clone())[..], &self.hold_x.ground[rows]);
                    ProductRows { x, width, ground, phi, gap: &gap }.means(log_ratio, &means)
                }
            });
        }
        Ok(all)
    }

    /// What means are taken of, of the columns `block`: the first `width` coordinates, other `points`, and own, ψ and log b.
    fn values(&self, points: Option<&Relative>, width: usize, block: Range<usize>) -> Vec<f64> {
        let y = &self.y;
        let coordinates = if width > 0 { y.relative.coordinates(block.clone()) } else { Vec::new() };
        let (d, points) = points.map_or((0, Vec::new()), |points| (y.d, points.points(block.clone())));
        let mut values = Vec::with_capacity(block.len() * (width + d + 3));
        for (k, j) in block.enumerate() {
            values.extend_from_slice(&coordinates[k * width..][..width]);
            values.extend_from_slice(&points[k * d..][..d]);
            // A masked point may lie anywhere.
            let beside = [y.own[j], self.psi[j], y.mass[j].ln()];
            values.extend(if y.mass[j] > 0.0 { beside } else { [0.0; 3] });
        }
        values
    }
}

/// From the mean cost of each row and `means` that end in own, ψ and log b.
fn of_costs(log_ratio: Vec<f64>, means: &[f64], costs: Vec<f64>, phi: &[f64]) -> RowMeans {
    let rows = means.chunks_exact(means.len() / phi.len());
    let exponent = |((mean, cost), phi): ((&[f64], &f64), &f64)| -cost - phi - mean[mean.len() - 2];
    RowMeans {
        exponents: rows.clone().zip(&costs).zip(phi).map(exponent).collect(),
        log_masses: rows.map(|mean| mean[mean.len() - 1]).collect(),
        log_ratio,
        costs,
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
