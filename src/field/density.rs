//! The density of a field's marginal: log p_t(x) of α · data + σ · noise.

use std::f64::consts::TAU;

use rayon::prelude::*;

use crate::backend::{Backend, BackendError, Columns, Device, Logit, Out, Rows, Scale, Task};
use crate::field::Field;
use crate::measure::Cloud;
use crate::path::Level;

impl Field {
    /// log p(x) at `level` (σ > 0) for each row of `points`; none for a transport field or a network, whose marginals have no
    /// closed form.
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
            Self::Transport { .. } | Self::Network(_) => Ok(None),
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
        let (n, m, d) = (points.len(), data.len(), data.dim());
        let variance = sigma * sigma;
        let half_square = |x: &[f64]| 0.5 * x.iter().map(|x| x * x).sum::<f64>();
        let bias: Vec<f64> =
            data.rows().enumerate().map(|(j, y)| data.weight(j).ln() - alpha * alpha * half_square(y) / variance).collect();
        let (x, y, bias) =
            (backend.upload_reals(points.points())?, backend.upload_reals(data.points())?, backend.upload_reals(&bias)?);
        let (mut packed, mut log_sum) = (backend.zeros(m * (d + 1))?, backend.zeros(n)?);
        backend.pack(Rows { points: &y, n: m, d }, Scale::Uniform(alpha / variance), &bias, None, &mut packed)?;
        let (rows, columns) = (Rows { points: &x, n, d }, Columns { packed: &packed, m, d });
        backend.soft_min(Logit::Product { rows, columns, shift: None }, Out::of(&mut log_sum))?;
        let constant = 0.5 * d as f64 * (TAU * variance).ln();
        let log_sum = backend.download_reals(&log_sum)?;
        Ok(log_sum.iter().zip(points.rows()).map(|(l, x)| l - half_square(x) / variance - constant).collect())
    }
}
