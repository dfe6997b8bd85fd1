//! Gaussian kernel sums over particles: one soft-min pass.
//!
//! ```text
//! L_i = log Σ_j m_j exp(−s_ij)     s_ij = |x_i−y_j|²/2h²     A_i = Σ_j w_ij y_j     w_ij = m_j exp(−s_ij − L_i)
//! ```

use crate::backend::{Backend, BackendError, Columns, Logit, Out, Rows, Scale, Task};
use crate::transport::problem::dot;

/// Points x (n × d) against weighted points y (m × d) with a kernel of width h.
pub(super) struct Kernel<'a> {
    pub rows: &'a [f64],
    pub columns: &'a [f64],
    pub dim: usize,
    /// log m_j.
    pub log_weights: &'a [f64],
    /// h².
    pub width_squared: f64,
}

/// The sums of a [`Kernel`].
pub(super) struct Sums {
    /// L, of length n.
    pub log: Vec<f64>,
    /// A, n × d.
    pub mean: Vec<f64>,
    /// Σ_j w_ij s_ij, of length n.
    pub spread: Vec<f64>,
}

impl Sums {
    /// The mean over the rows of exp(−Σ_j w_ij log w_ij), the number of columns within the kernel's width, for equal m_j.
    pub fn neighbours(&self, columns: usize) -> f64 {
        let of_row = |(log, spread): (&f64, &f64)| columns as f64 * (log + spread).exp();
        self.log.iter().zip(&self.spread).map(of_row).sum::<f64>() / self.log.len() as f64
    }
}

impl Task for Kernel<'_> {
    type Output = Result<Sums, BackendError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let Self { rows, columns, dim: d, log_weights, width_squared } = self;
        let (n, m) = (rows.len() / d, columns.len() / d);
        // Relative to the mean of y, so that an offset of all points costs no digits.
        let centre: Vec<f64> = (0..d).map(|k| columns.iter().skip(k).step_by(d).sum::<f64>() / m as f64).collect();
        let relative = |points: &[f64]| -> Vec<f64> { points.iter().zip(centre.iter().cycle()).map(|(x, c)| x - c).collect() };
        let (x, y) = (relative(rows), relative(columns));
        let half = |points: &[f64]| -> Vec<f64> { points.chunks_exact(d).map(|x| 0.5 * dot(x, x)).collect() };
        let (half_x, half_y) = (half(&x), half(&y));
        let bias: Vec<f64> = log_weights.iter().zip(&half_y).map(|(log, half)| log - half / width_squared).collect();
        let values: Vec<f64> = y.chunks_exact(d).zip(&half_y).flat_map(|(y, half)| y.iter().chain([half])).copied().collect();
        let (points, values, bias) = (backend.upload_reals(&y)?, backend.upload_reals(&values)?, backend.upload_reals(&bias)?);
        let mut packed = backend.zeros(m * (d + 1))?;
        backend.pack(Rows { points: &points, n: m, d }, Scale::Uniform(1.0 / width_squared), &bias, None, &mut packed)?;
        let on_device = backend.upload_reals(&x)?;
        let (mut log, mut mean) = (backend.zeros(n)?, backend.zeros(n * (d + 1))?);
        let columns = Columns { packed: &packed, m, d };
        let logit = Logit::Product { rows: Rows { points: &on_device, n, d }, columns, shift: None };
        backend.soft_min(logit, Out::with_mean(&mut log, &values, d + 1, &mut mean))?;
        let (log, mean) = (backend.download_reals(&log)?, backend.download_reals(&mean)?);
        let rows = || x.chunks_exact(d).zip(&half_x).zip(mean.chunks_exact(d + 1));
        Ok(Sums {
            spread: rows().map(|((x, half), mean)| ((half - dot(x, mean) + mean[d]) / width_squared).max(0.0)).collect(),
            log: log.iter().zip(&half_x).map(|(log, half)| log - half / width_squared).collect(),
            mean: rows().flat_map(|(_, mean)| mean[..d].iter().zip(&centre).map(|(a, c)| a + c)).collect(),
        })
    }
}
