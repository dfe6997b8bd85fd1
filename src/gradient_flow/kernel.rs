//! Gaussian kernel sums over particles: one soft-min pass.
//!
//! ```text
//! L_i = log Σ_j m_j exp(−s_ij)     s_ij = |x_i−y_j|²/2h²     A_i = Σ_j w_ij y_j     w_ij = m_j exp(−s_ij − L_i)
//! ```

use crate::backend::{Backend, BackendError, Centred, Packed, Rows, Task};
use crate::vector::dot;

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
        let (x, y) = (Centred::about(rows, &centre), Centred::about(columns, &centre));
        let bias: Vec<f64> = log_weights.iter().zip(&y.half_squares).map(|(log, half)| log - half / width_squared).collect();
        let of_y = y.points.chunks_exact(d).zip(&y.half_squares);
        let values: Vec<f64> = of_y.flat_map(|(y, half)| y.iter().chain([half])).copied().collect();
        let (values, bias, on_device) =
            (backend.upload_reals(&values)?, backend.upload_reals(&bias)?, backend.upload_reals(&x.points)?);
        let mut columns = Packed::new(backend, &y.points, d)?;
        columns.pack(backend, 1.0 / width_squared, &bias, None)?;
        let (log, mean) = columns.means(backend, Rows { points: &on_device, n, d }, None, (&values, d + 1))?;
        let rows = || x.points.chunks_exact(d).zip(&x.half_squares).zip(mean.chunks_exact(d + 1));
        Ok(Sums {
            spread: rows().map(|((x, half), mean)| ((half - dot(x, mean) + mean[d]) / width_squared).max(0.0)).collect(),
            log: log.iter().zip(&x.half_squares).map(|(log, half)| log - half / width_squared).collect(),
            mean: rows().flat_map(|(_, mean)| mean[..d].iter().zip(&centre).map(|(a, c)| a + c)).collect(),
        })
    }
}
