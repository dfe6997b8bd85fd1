//! Half-steps by themselves: a marginal of the plan, the update it makes, and means under the plan's rows.

use std::f64::consts::LN_2;

use crate::backend::{Backend, BackendError, Columns, HalfColumns, Logit, Out, PairCost, Reals, Scale};
use crate::transport::problem::{OnDevice, Side};
use crate::transport::sinkhorn::Run;

impl<B: Backend> Run<'_, B> {
    /// log of the second marginal's density with respect to b.
    pub fn second_marginal(&mut self, eps: f64) -> Result<Vec<f64>, BackendError> {
        let Self { backend, ref x, ref y, .. } = *self;
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
        let Self { backend, ref x, ref y, .. } = *self;
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
        let Self { backend, ref x, ref y, .. } = *self;
        let (phi, psi) = (backend.upload_reals(&self.phi)?, backend.upload_reals(&self.psi)?);
        let half = HalfStep { backend, eps, cost: None, rows: &x.points, phi: &phi, columns: y, psi: &psi };
        half.means(values, p, &mut self.packed, &mut self.ratio_x)
    }

    /// Σ_i P_ij v_i / Σ_i P_ij of `values` v, n × p, and before it the log of the second marginal's density, for a cost that is a
    /// product.
    pub fn column_means(&mut self, eps: f64, values: &[f64], p: usize) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
        let Self { backend, ref x, ref y, .. } = *self;
        let (phi, psi) = (backend.upload_reals(&self.phi)?, backend.upload_reals(&self.psi)?);
        let half = HalfStep { backend, eps, cost: None, rows: &y.points, phi: &psi, columns: x, psi: &phi };
        half.means(values, p, &mut self.packed, &mut self.ratio_y)
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

    /// The logit of a `cost`, relative to φ/ε.
    fn of_cost<'b>(&'b self, cost: PairCost<'b>, packed: &'b mut Reals<B>) -> Result<Logit<'b, B>, BackendError> {
        let (k, columns) = (1.0 / self.eps, self.pack(LN_2, packed)?);
        Ok(Logit::Cost { rows: self.rows.rows(), columns, cost, k, shift: Some((self.phi, k)), mean: None })
    }

    /// Packs the columns: k y and log b − ψ/ε.
    fn pack<'b>(&self, k: f64, packed: &'b mut Reals<B>) -> Result<Columns<'b, B>, BackendError> {
        let Self { backend, eps, columns, psi, .. } = *self;
        backend.pack(columns.points.rows(), Scale::Uniform(k), &columns.log_weights, Some((psi, -1.0 / eps)), packed)?;
        Ok(Columns { packed, m: columns.n, d: columns.points.width })
    }

    /// `out_i = log Σ_j b_j exp((x_i·y_j − φ_i − ψ_j)/ε)`, or with −c_ij for the product.
    pub fn log_marginal(&self, packed: &mut Reals<B>, out: &mut Reals<B>) -> Result<(), BackendError> {
        let logit = match self.cost {
            None => self.product(packed)?,
            Some(cost) => self.of_cost(cost, packed)?,
        };
        self.backend.soft_min(logit, Out::of(out))
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
        backend.soft_min(self.product(packed)?, Out::with_mean(out, &values, p, &mut mean))?;
        Ok((backend.download_reals(out)?, backend.download_reals(&mean)?))
    }
}
