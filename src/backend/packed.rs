//! A cloud as the columns of soft-mins: about a centre, on the device, packed for one logit after another.

use crate::backend::{Backend, BackendError, Columns, Logit, Out, Reals, Rows, Scale};

/// Points about a centre, so that an offset of them all costs no digits.
pub struct Centred {
    /// x − centre, n × d row-major.
    pub points: Vec<f64>,
    /// ½|x − centre|² of each.
    pub half_squares: Vec<f64>,
}

impl Centred {
    /// `points`, n × d row-major, about `centre`, of length d.
    pub fn about(points: &[f64], centre: &[f64]) -> Self {
        let points: Vec<f64> = points.iter().zip(centre.iter().cycle()).map(|(x, c)| x - c).collect();
        let half_square = |x: &[f64]| 0.5 * x.iter().map(|x| x * x).sum::<f64>();
        Self { half_squares: points.chunks_exact(centre.len()).map(half_square).collect(), points }
    }
}

/// Columns y of soft-mins over one cloud: points, and the workspace in which they are packed.
pub struct Packed<B: Backend> {
    points: Reals<B>,
    packed: Reals<B>,
    m: usize,
    d: usize,
}

impl<B: Backend> Packed<B> {
    /// `points`, m × d row-major.
    ///
    /// # Errors
    /// [`BackendError::OutOfMemory`].
    pub fn new(backend: &B, points: &[f64], d: usize) -> Result<Self, BackendError> {
        Self::of(backend, backend.upload_reals(points)?, points.len() / d, d)
    }

    /// m points of dimension d that are on the device.
    ///
    /// # Errors
    /// [`BackendError::OutOfMemory`].
    pub fn of(backend: &B, points: Reals<B>, m: usize, d: usize) -> Result<Self, BackendError> {
        Ok(Self { points, packed: backend.zeros(m * (d + 1))?, m, d })
    }

    /// The points.
    pub fn points(&self) -> &Reals<B> {
        &self.points
    }

    /// Packs them for the logit `h_j + k x_i·y_j` with h = `bias` + factor · `potential`.
    ///
    /// # Errors
    /// [`BackendError::Launch`] when the device fails.
    pub fn pack(
        &mut self,
        backend: &B,
        k: f64,
        bias: &Reals<B>,
        potential: Option<(&Reals<B>, f64)>,
    ) -> Result<(), BackendError> {
        let points = Rows { points: &self.points, n: self.m, d: self.d };
        backend.pack(points, Scale::Uniform(k), bias, potential, &mut self.packed)
    }

    /// The columns as they were last packed.
    pub fn columns(&self) -> Columns<'_, B> {
        Columns { packed: &self.packed, m: self.m, d: self.d }
    }

    /// The log-sum of each row, on the device.
    ///
    /// # Errors
    /// [`BackendError`] when memory runs out or the device fails.
    pub fn log_sums(&self, backend: &B, rows: Rows<'_, B>) -> Result<Reals<B>, BackendError> {
        let mut log_sum = backend.zeros(rows.n)?;
        backend.soft_min(Logit::Product { rows, columns: self.columns(), shift: None }, Out::of(&mut log_sum))?;
        Ok(log_sum)
    }

    /// The log-sum of each row, relative to its shift where there is one, and the mean of `values`, m × p.
    ///
    /// # Errors
    /// [`BackendError`] when memory runs out or the device fails.
    pub fn means(
        &self,
        backend: &B,
        rows: Rows<'_, B>,
        shift: Option<(&Reals<B>, f64)>,
        (values, p): (&Reals<B>, usize),
    ) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
        let (mut log_sum, mut mean) = (backend.zeros(rows.n)?, backend.zeros(rows.n * p)?);
        let logit = Logit::Product { rows, columns: self.columns(), shift };
        backend.soft_min(logit, Out::with_mean(&mut log_sum, values, p, &mut mean))?;
        Ok((backend.download_reals(&log_sum)?, backend.download_reals(&mean)?))
    }
}
