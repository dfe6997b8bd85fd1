//! The density of a field's marginal: log p_t(x) of α · data + σ · noise.

use std::f64::consts::TAU;

use rayon::prelude::*;

use crate::backend::{Backend, BackendError, Centred, Device, Packed, Rows, Task};
use crate::field::Field;
use crate::measure::Cloud;
use crate::path::Level;

impl Field {
    /// log p(x) at `level` (σ > 0) for each row of `points`; none for a transport field, a network,
    /// classes or guidance, whose marginals have no closed form. Given as code it may lack a constant.
    ///
    /// For a data set `log p(x) = log Σ_j a_j exp(−|x − α y_j|²/2σ²) − (d/2) log 2πσ²`, one soft-min.
    ///
    /// # Errors
    /// [`BackendError`] when memory runs out.
    pub fn log_density(&self, level: Level, points: &Cloud, device: &Device) -> Result<Option<Vec<f64>>, BackendError> {
        match self {
            Self::Mixture(mixture) => {
                let rows: Vec<&[f64]> = points.rows().collect();
                Ok(Some(rows.into_par_iter().map(|x| mixture.log_density(level, x)).collect()))
            }
            Self::DataSet(data) => device.run(LogDensity { data, level, points }).map(Some),
            Self::Given(field) => {
                let rows: Vec<&[f64]> = points.rows().collect();
                Ok(rows.into_par_iter().map(|x| field.log_density(level, x)).collect())
            }
            Self::Transport { .. } | Self::Network(_) | Self::Classes(_) | Self::Guided(_) => Ok(None),
        }
    }
}

struct LogDensity<'a> {
    data: &'a Cloud,
    level: Level,
    points: &'a Cloud,
}

impl Task for LogDensity<'_> {
    type Output = Result<Vec<f64>, BackendError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let Self { data, level: Level { alpha, sigma, .. }, points } = self;
        let (n, d, variance) = (points.len(), data.dim(), sigma * sigma);
        let about = |cloud: &Cloud| Centred::about(cloud.points(), &vec![0.0; d]);
        let (x, y) = (about(points), about(data));
        let log_weight = |(j, half): (usize, &f64)| data.weight(j).ln() - alpha * alpha * half / variance;
        let bias = backend.upload_reals(y.half_squares.iter().enumerate().map(log_weight))?;
        let mut columns = Packed::new(backend, &y.points, d)?;
        columns.pack(backend, alpha / variance, &bias, None)?;
        let on_device = backend.upload_reals(&x.points)?;
        let log_sums = backend.download_reals(&columns.log_sums(backend, Rows { points: &on_device, n, d })?)?;
        let constant = 0.5 * d as f64 * (TAU * variance).ln();
        Ok(log_sums.iter().zip(&x.half_squares).map(|(l, half)| l - half / variance - constant).collect())
    }
}
