//! The entropic map T_ε(x) = Σ_j w_j y_j, w_j ∝ b_j exp((g_j − ½|x−y_j|²)/ε): the barycentric map, for any point.

use std::sync::Arc;

use crate::backend::{Backend, BackendError, Columns, Device, Reals, Rows, Scale, Task};
use crate::measure::Cloud;
use crate::transport::TransportError;
use crate::transport::problem::{Problem, Side, dot, scale};

/// The entropic map of a solved problem (Pooladian & Niles-Weed 2021, eq. 8).
#[derive(Clone, Debug)]
pub struct EntropicMap {
    /// Target y, b.
    pub target: Cloud,
    /// Potential g, of length m, in the input coordinates.
    pub g: Arc<[f64]>,
    /// ε in units of c.
    pub eps: f64,
}

impl EntropicMap {
    /// T_ε of each of `points`, n × d row-major.
    ///
    /// # Errors
    /// [`TransportError`] when the dimensions differ, g or ε are not those of a problem with this target, or memory runs out.
    pub fn apply(&self, points: &Cloud, device: &Device) -> Result<Vec<f64>, TransportError> {
        self.check(points)?;
        Ok(device.run(Apply { map: self, points, mean: true })?.1)
    }

    /// The potential that belongs to g at each of `points`, f(x) = −ε log Σ_j b_j exp((g_j − ½|x−y_j|²)/ε), of length n.
    ///
    /// # Errors
    /// As [`EntropicMap::apply`].
    pub fn potential(&self, points: &Cloud, device: &Device) -> Result<Vec<f64>, TransportError> {
        self.check(points)?;
        Ok(device.run(Apply { map: self, points, mean: false })?.0)
    }

    fn check(&self, points: &Cloud) -> Result<(), TransportError> {
        // Dimensions and ε are judged as those of a problem between the points and the target.
        Problem::new(points, &self.target, self.eps)?;
        let (m, found) = (self.target.len(), self.g.iter().filter(|g| g.is_finite()).count());
        if (m, m) == (self.g.len(), found) { Ok(()) } else { Err(TransportError::Potential { m, found }) }
    }
}

struct Apply<'a> {
    map: &'a EntropicMap,
    points: &'a Cloud,
    /// Whether T_ε is wanted, not the potential.
    mean: bool,
}

impl Task for Apply<'_> {
    /// The potential or the map; the other is empty.
    type Output = Result<(Vec<f64>, Vec<f64>), BackendError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let EntropicMap { target, g, eps } = self.map;
        let eps = *eps;
        let scale = scale(target, self.points);
        let y = Side::new(backend, target, scale)?;
        let eps = eps * scale * scale;
        // Points relative to the mean of y, so that an offset of both clouds costs no digits.
        let origin: Vec<f64> = y.mean.iter().map(|m| m / scale).collect();
        let points: Vec<f64> = self.points.relative_to(&origin).iter().map(|x| x * scale).collect();
        let (n, d) = (self.points.len(), y.d);
        let bias: Vec<f64> = (0..y.n).map(|j| y.mass[j].ln() + (scale * scale * g[j] - y.own[j]) / eps).collect();
        let (x, bias) = (backend.upload_reals(&points)?, backend.upload_reals(&bias)?);
        let mut packed: Reals<B> = backend.zeros(y.n * (d + 1))?;
        backend.pack(&y.points, d, Scale::Uniform(1.0 / eps), &bias, None, &mut packed)?;
        let mut log_sum = backend.zeros(n)?;
        let rows = Rows { points: &x, n, d };
        let columns = Columns { packed: &packed, m: y.n, d };
        if self.mean {
            let mut mean = backend.zeros(n * d)?;
            backend.soft_mean(rows, columns, None, &y.points, d, &mut log_sum, &mut mean)?;
            let mut map = backend.download_reals(&mean)?;
            for row in map.chunks_exact_mut(d) {
                row.iter_mut().zip(&y.mean).for_each(|(t, m)| *t = (*t + m) / scale);
            }
            return Ok((Vec::new(), map));
        }
        backend.soft_min(rows, columns, None, &mut log_sum)?;
        let log_sum = backend.download_reals(&log_sum)?;
        let half = points.chunks_exact(d).map(|x| 0.5 * dot(x, x));
        Ok((log_sum.iter().zip(half).map(|(log, half)| (half - eps * log) / (scale * scale)).collect(), Vec::new()))
    }
}
