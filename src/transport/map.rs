//! The entropic map T_ε(x) = Σ_j w_j y_j, w_j ∝ b_j exp((g_j − ½|x−y_j|²)/ε): the barycentric map, for any point.

use crate::backend::{Backend, BackendError, Columns, Device, Rows, Scale, Task};
use crate::measure::Cloud;
use crate::transport::TransportError;
use crate::transport::problem::{Side, dot};

/// The entropic map of a solved problem (Pooladian & Niles-Weed 2021, eq. 8).
#[derive(Clone, Copy, Debug)]
pub struct EntropicMap<'a> {
    /// Target y, b.
    pub target: &'a Cloud,
    /// Potential g, of length m, in the input coordinates.
    pub g: &'a [f64],
    /// ε in units of c.
    pub eps: f64,
}

impl EntropicMap<'_> {
    /// T_ε of each of `points`, n × d row-major.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ or memory runs out.
    pub fn apply(&self, points: &Cloud, device: &Device) -> Result<Vec<f64>, TransportError> {
        if points.dim() != self.target.dim() {
            return Err(TransportError::Dimensions { source_dim: points.dim(), target_dim: self.target.dim() });
        }
        Ok(device.run(Apply { map: *self, points })?)
    }
}

struct Apply<'a> {
    map: EntropicMap<'a>,
    points: &'a Cloud,
}

impl Task for Apply<'_> {
    type Output = Result<Vec<f64>, BackendError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let EntropicMap { target, g, eps } = self.map;
        let y = Side::new(backend, target)?;
        // Points relative to the mean of y, so that an offset of both clouds costs no digits.
        let x = backend.upload_reals(&self.points.relative_to(&y.mean))?;
        let (n, d) = (self.points.len(), y.d);
        let bias: Vec<f64> = (0..y.n)
            .map(|j| y.mass[j].ln() + (g[j] - 0.5 * dot(&y.centred[j * d..][..d], &y.centred[j * d..][..d])) / eps)
            .collect();
        let bias = backend.upload_reals(&bias)?;
        let mut packed = backend.zeros(y.n * (d + 1))?;
        backend.pack(&y.points, d, Scale::Uniform(1.0 / eps), &bias, None, &mut packed)?;
        let (mut log_sum, mut mean) = (backend.zeros(n)?, backend.zeros(n * d)?);
        let rows = Rows { points: &x, n, d };
        let columns = Columns { packed: &packed, m: y.n, d };
        backend.soft_mean(rows, columns, None, &y.points, d, &mut log_sum, &mut mean)?;
        let mut map = backend.download_reals(&mean)?;
        for row in map.chunks_exact_mut(d) {
            row.iter_mut().zip(&y.mean).for_each(|(t, m)| *t += m);
        }
        Ok(map)
    }
}
