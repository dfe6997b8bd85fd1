//! Half-steps by themselves: a marginal of the plan, the update it makes, and means under the plan's rows.

use std::f64::consts::LN_2;

use crate::backend::{Backend, BackendError, Columns, CostMean, HalfColumns, Mean, PairCost, Reals, Rows, Scale};
use crate::transport::problem::{Side, dot};
use crate::transport::sinkhorn::Run;

/// What the rows of a plan say of the columns.
pub struct RowMeans {
    /// log of the first marginal's density.
    pub log_ratio: Vec<f64>,
    /// Σ_j P_ij v_j / Σ_j P_ij, n × p.
    pub values: Vec<f64>,
    /// The same mean of what couples x_i to y_j: their product or −c_ij.
    pub products: Vec<f64>,
}

impl<B: Backend> Run<'_, B> {
    /// log of the second marginal's density with respect to b.
    pub fn second_marginal(&mut self, eps: f64) -> Result<Vec<f64>, BackendError> {
        let Self { backend, x, y, .. } = *self;
        let (phi, psi) = (backend.upload_reals(&self.phi)?, backend.upload_reals(&self.psi)?);
        let half = HalfStep { backend, eps, cost: self.cost.pair_cost(true), rows: y, phi: &psi, columns: x, psi: &phi };
        half.log_marginal(&mut self.packed_x, &mut self.ratio_y)?;
        backend.download_reals(&self.ratio_y)
    }

    /// One update of φ.
    pub fn update_phi(&mut self, eps: f64) -> Result<(), BackendError> {
        let Self { backend, x, y, .. } = *self;
        let (phi, psi) = (backend.upload_reals(&self.phi)?, backend.upload_reals(&self.psi)?);
        let half = HalfStep { backend, eps, cost: self.cost.pair_cost(false), rows: x, phi: &phi, columns: y, psi: &psi };
        half.log_marginal(&mut self.packed_y, &mut self.ratio_x)?;
        let change = self.hold_x.change(eps, &self.phi, &backend.download_reals(&self.ratio_x)?);
        self.phi.iter_mut().zip(change).for_each(|(phi, change)| *phi += change);
        Ok(())
    }

    /// Σ_j P_ij v_j / Σ_j P_ij of `values` v, m × p, and before it the log of the first marginal's density, for a cost that is a
    /// product.
    pub fn row_means(&mut self, eps: f64, values: &[f64], p: usize) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
        let Self { backend, x, y, .. } = *self;
        let (phi, psi) = (backend.upload_reals(&self.phi)?, backend.upload_reals(&self.psi)?);
        let half = HalfStep { backend, eps, cost: None, rows: x, phi: &phi, columns: y, psi: &psi };
        half.means(values, p, &mut self.packed_y, &mut self.ratio_x)
    }

    /// Σ_i P_ij v_i / Σ_i P_ij of `values` v, n × p, and before it the log of the second marginal's density, for a cost that is a
    /// product.
    pub fn column_means(&mut self, eps: f64, values: &[f64], p: usize) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
        let Self { backend, x, y, .. } = *self;
        let (phi, psi) = (backend.upload_reals(&self.phi)?, backend.upload_reals(&self.psi)?);
        let half = HalfStep { backend, eps, cost: None, rows: y, phi: &psi, columns: x, psi: &phi };
        half.means(values, p, &mut self.packed_x, &mut self.ratio_y)
    }

    /// Means under the rows of `values`, m × p, and of what couples the clouds.
    pub fn coupling(&mut self, eps: f64, values: &[f64], p: usize) -> Result<RowMeans, BackendError> {
        let Self { backend, x, y, .. } = *self;
        if let Some(cost) = self.cost.pair_cost(false) {
            let (phi, psi) = (backend.upload_reals(&self.phi)?, backend.upload_reals(&self.psi)?);
            let half = HalfStep { backend, eps, cost: Some(cost), rows: x, phi: &phi, columns: y, psi: &psi };
            return half.cost_means(cost, values, p, &mut self.packed_y, &mut self.ratio_x);
        }
        // The points themselves are the first of the coordinates: they are not taken twice.
        let known = std::ptr::eq(values, &y.centred[..]);
        let width = if known { y.width } else { y.width + p };
        let (log_ratio, means) = match known {
            true => self.row_means(eps, y.coordinates(), width)?,
            false => {
                let rows = y.coordinates().chunks_exact(y.width).zip(values.chunks_exact(p));
                let both: Vec<f64> = rows.flat_map(|(y, v)| y.iter().chain(v).copied()).collect();
                self.row_means(eps, &both, width)?
            }
        };
        let from = if known { 0 } else { y.width };
        let rows = x.coordinates().chunks_exact(x.width).zip(means.chunks_exact(width));
        let products = rows.map(|(x, mean)| dot(x, &mean[..y.width])).collect();
        let values = means.chunks_exact(width).flat_map(|mean| &mean[from..from + p]).copied().collect();
        Ok(RowMeans { log_ratio, values, products })
    }
}

/// Rows and columns of a plan, either way round, each side with its potential.
pub struct HalfStep<'a, B: Backend> {
    pub backend: &'a B,
    pub eps: f64,
    /// The cost where it is no product.
    pub cost: Option<PairCost<'a>>,
    pub rows: &'a Side<B>,
    pub phi: &'a Reals<B>,
    pub columns: &'a Side<B>,
    pub psi: &'a Reals<B>,
}

impl<B: Backend> HalfStep<'_, B> {
    /// Packs the columns: k y, or y itself beside a cost, and log b − ψ/ε.
    fn pack<'b>(&self, packed: &'b mut Reals<B>) -> Result<(Rows<'_, B>, Columns<'b, B>), BackendError> {
        let Self { backend, eps, rows, columns, psi, .. } = *self;
        let k = if self.cost.is_some() { LN_2 } else { 1.0 / eps };
        let (scale, potential) = (Scale::Uniform(k), Some((psi, -1.0 / eps)));
        backend.pack(&columns.points, columns.width, scale, &columns.log_weights, potential, packed)?;
        Ok((rows.rows(), Columns { packed, m: columns.n, d: columns.width }))
    }

    /// Rows and columns in half the memory, where they are stored so.
    fn halves(&self) -> Option<(&B::HalfPoints, HalfColumns<'_, B>)> {
        let Self { eps, rows, columns, psi, .. } = *self;
        let (rows, points) = (rows.half.as_ref()?, columns.half.as_ref()?);
        Some((rows, HalfColumns { points, k: 1.0 / eps, bias: &columns.log_weights, potential: (psi, -1.0 / eps) }))
    }

    /// The shift φ/ε, with which log-sums are the log of a marginal's density.
    fn shift(&self) -> Option<(&Reals<B>, f64)> {
        Some((self.phi, 1.0 / self.eps))
    }

    /// `out_i = log Σ_j b_j exp((x_i·y_j − φ_i − ψ_j)/ε)`, or with −c_ij for the product.
    pub fn log_marginal(&self, packed: &mut Reals<B>, out: &mut Reals<B>) -> Result<(), BackendError> {
        if let Some((rows, columns)) = self.halves() {
            return self.backend.soft_min_half(rows, columns, self.shift(), out, None);
        }
        let (rows, columns) = self.pack(packed)?;
        match self.cost {
            None => self.backend.soft_min(rows, columns, self.shift(), out),
            Some(cost) => self.backend.soft_min_cost(rows, columns, cost, 1.0 / self.eps, self.shift(), out, None),
        }
    }

    /// The log of a marginal's density and the means of values under the plan's rows, of a product.
    fn means(
        &self,
        values: &[f64],
        p: usize,
        packed: &mut Reals<B>,
        out: &mut Reals<B>,
    ) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
        let backend = self.backend;
        let (values, mut mean) = (backend.upload_reals(values)?, backend.zeros(self.rows.n * p)?);
        if let Some((rows, columns)) = self.halves() {
            let mean = Mean { values: &values, p, out: &mut mean };
            backend.soft_min_half(rows, columns, self.shift(), out, Some(mean))?;
        } else {
            let (rows, columns) = self.pack(packed)?;
            backend.soft_mean(rows, columns, self.shift(), &values, p, out, &mut mean)?;
        }
        Ok((backend.download_reals(out)?, backend.download_reals(&mean)?))
    }

    /// [`HalfStep::means`] of a cost that is no product, and the mean of it.
    fn cost_means(
        &self,
        cost: PairCost<'_>,
        values: &[f64],
        p: usize,
        packed: &mut Reals<B>,
        out: &mut Reals<B>,
    ) -> Result<RowMeans, BackendError> {
        let backend = self.backend;
        let (rows, columns) = self.pack(packed)?;
        let values = backend.upload_reals(values)?;
        let (mut means, mut costs) = (backend.zeros(self.rows.n * p)?, backend.zeros(self.rows.n)?);
        let mean = CostMean { values: &values, p, out: &mut means, cost: &mut costs };
        backend.soft_min_cost(rows, columns, cost, 1.0 / self.eps, self.shift(), out, Some(mean))?;
        let products = backend.download_reals(&costs)?.into_iter().map(|cost| -cost).collect();
        Ok(RowMeans { log_ratio: backend.download_reals(out)?, values: backend.download_reals(&means)?, products })
    }
}
