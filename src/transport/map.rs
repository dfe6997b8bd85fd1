//! The entropic map T_ε(x) = Σ_j w_j y_j, w_j ∝ b_j exp((g_j − ½|x−y_j|²)/ε): the barycentric map, for any point.

use std::sync::Arc;

use crate::backend::{Backend, BackendError, Device, Packed, Task};
use crate::measure::Cloud;
use crate::transport::TransportError;
use crate::transport::problem::{Problem, Relative, scale};
use crate::vector::dot;

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
        check_potential(&self.g, self.target.len())
    }
}

/// Refuses a potential `g` that is not `m` finite numbers.
pub(super) fn check_potential(g: &[f64], m: usize) -> Result<(), TransportError> {
    let found = g.iter().filter(|g| g.is_finite()).count();
    if (m, m) == (g.len(), found) { Ok(()) } else { Err(TransportError::Potential { m, found }) }
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
        let (n, d, eps) = (self.points.len(), target.dim(), eps * scale * scale);
        // Relative to the mean of y, so that an offset of both clouds costs no digits.
        let mean = target.mean();
        let [x, y] = [self.points, target].map(|cloud| Relative::new(cloud, mean.clone(), scale));
        let half_squares = |relative: &Relative| {
            let mut halves = Vec::with_capacity(relative.len());
            relative.each(0..relative.len(), |_, x| halves.push(0.5 * dot(x, x)));
            halves
        };
        let log_weight = |(j, half): (usize, f64)| target.weight(j).ln() + (scale * scale * g[j] - half) / eps;
        let bias = backend.upload_reals(half_squares(&y).into_iter().enumerate().map(log_weight))?;
        let mut columns = Packed::of(backend, y.on_device(backend, 0..target.len())?.reals, target.len(), d)?;
        columns.pack(backend, 1.0 / eps, &bias, None)?;
        let on_device = x.on_device(backend, 0..n)?;
        let rows = on_device.rows();
        if self.mean {
            let (_, mut map) = columns.means(backend, rows, None, (columns.points(), d))?;
            for row in map.chunks_exact_mut(d) {
                row.iter_mut().zip(&mean).for_each(|(t, m)| *t = (*t + m * scale) / scale);
            }
            return Ok((Vec::new(), map));
        }
        let log_sums = backend.download_reals(&columns.log_sums(backend, rows)?)?;
        let potential = |(log, half): (&f64, &f64)| (half - eps * log) / (scale * scale);
        Ok((log_sums.iter().zip(&half_squares(&x)).map(potential).collect(), Vec::new()))
    }
}
