//! Half-steps by themselves: a marginal of the plan, the update it makes, and means under the plan's rows.

use crate::backend::{Backend, BackendError, Columns, Reals, Scale};
use crate::transport::problem::Side;
use crate::transport::sinkhorn::Run;

impl<B: Backend> Run<'_, B> {
    /// log of the second marginal's density with respect to b.
    pub fn second_marginal(&mut self, eps: f64) -> Result<Vec<f64>, BackendError> {
        let Self { backend, x, y, .. } = *self;
        let (phi, psi) = (backend.upload_reals(&self.phi)?, backend.upload_reals(&self.psi)?);
        log_marginal(backend, eps, (y, &psi), (x, &phi), &mut self.packed_x, &mut self.ratio_y)?;
        backend.download_reals(&self.ratio_y)
    }

    /// One update of φ.
    pub fn update_phi(&mut self, eps: f64) -> Result<(), BackendError> {
        let Self { backend, x, y, .. } = *self;
        let (phi, psi) = (backend.upload_reals(&self.phi)?, backend.upload_reals(&self.psi)?);
        log_marginal(backend, eps, (x, &phi), (y, &psi), &mut self.packed_y, &mut self.ratio_x)?;
        let change = self.hold_x.change(eps, &self.phi, &backend.download_reals(&self.ratio_x)?);
        self.phi.iter_mut().zip(change).for_each(|(phi, change)| *phi += change);
        Ok(())
    }

    /// Σ_j P_ij v_j / Σ_j P_ij of `values` v, m × p, and before it the log of the first marginal's density.
    pub fn row_means(&mut self, eps: f64, values: &[f64], p: usize) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
        let (x, y) = ((self.x, &self.phi[..]), (self.y, &self.psi[..]));
        means(self.backend, eps, x, y, values, p, &mut self.packed_y, &mut self.ratio_x)
    }

    /// Σ_i P_ij v_i / Σ_i P_ij of `values` v, n × p, and before it the log of the second marginal's density.
    pub fn column_means(&mut self, eps: f64, values: &[f64], p: usize) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
        let (x, y) = ((self.x, &self.phi[..]), (self.y, &self.psi[..]));
        means(self.backend, eps, y, x, values, p, &mut self.packed_x, &mut self.ratio_y)
    }
}

/// The log of a marginal's density and the means of values under the plan's rows; each side comes with its potential.
#[allow(clippy::too_many_arguments)]
fn means<B: Backend>(
    backend: &B,
    eps: f64,
    (rows, phi): (&Side<B>, &[f64]),
    (columns, psi): (&Side<B>, &[f64]),
    values: &[f64],
    p: usize,
    packed: &mut Reals<B>,
    ratio: &mut Reals<B>,
) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
    let (phi, psi, values) = (backend.upload_reals(phi)?, backend.upload_reals(psi)?, backend.upload_reals(values)?);
    let scale = Scale::Uniform(1.0 / eps);
    backend.pack(&columns.points, columns.width, scale, &columns.log_weights, Some((&psi, -1.0 / eps)), packed)?;
    let mut mean = backend.zeros(rows.n * p)?;
    let columns = Columns { packed, m: columns.n, d: columns.width };
    let rows = rows.rows();
    backend.soft_mean(rows, columns, Some((&phi, 1.0 / eps)), &values, p, ratio, &mut mean)?;
    Ok((backend.download_reals(ratio)?, backend.download_reals(&mean)?))
}

/// `out_i = log Σ_j b_j exp((x_i·y_j − φ_i − ψ_j)/ε)`, the log of a marginal's density; each side comes with its potential.
pub(super) fn log_marginal<B: Backend>(
    backend: &B,
    eps: f64,
    (rows, phi): (&Side<B>, &Reals<B>),
    (columns, psi): (&Side<B>, &Reals<B>),
    packed: &mut Reals<B>,
    out: &mut Reals<B>,
) -> Result<(), BackendError> {
    let scale = Scale::Uniform(1.0 / eps);
    backend.pack(&columns.points, columns.width, scale, &columns.log_weights, Some((psi, -1.0 / eps)), packed)?;
    let rows = rows.rows();
    let columns = Columns { packed, m: columns.n, d: columns.width };
    backend.soft_min(rows, columns, Some((phi, 1.0 / eps)), out)
}
