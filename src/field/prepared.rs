//! A field made ready on a device, to be asked many times.

use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::{Backend, Device, Reals, Task};
use crate::field::evaluate::{Evaluate, Evaluation};
use crate::field::{Field, FieldError};
use crate::path::{Level, Prediction};

/// A field on a device: its data, means and weights are uploaded once, when [`Field::prepare`] makes it.
///
/// It is cheap to clone, and may be asked from several threads, which then wait for each other.
#[derive(Clone)]
pub struct Prepared {
    dim: usize,
    there: Arc<Mutex<dyn Ask>>,
}

/// What a field on a device answers, whatever the device.
trait Ask: Send {
    /// p x̂₀ + q ε̂ at `points`, n × d.
    fn ask(&mut self, level: Level, of: (f64, f64), points: &[f64]) -> Result<Vec<f64>, FieldError>;
}

impl Field {
    /// The field on `device`, ready to be evaluated at any number of levels and points.
    ///
    /// # Errors
    /// [`FieldError`] when the field is not complete or memory runs out.
    pub fn prepare(&self, device: &Device) -> Result<Prepared, FieldError> {
        device.run(Prepare(self))
    }

    /// [`Prepared::score`] at one level alone; to ask more often, [`Field::prepare`] once.
    ///
    /// # Errors
    /// [`FieldError`] when sizes disagree or the device fails.
    pub fn score(&self, level: Level, points: &[f64], device: &Device) -> Result<Vec<f64>, FieldError> {
        self.prepare(device)?.score(level, points)
    }
}

impl Prepared {
    /// Dimension d.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// p x̂₀ + q ε̂ at `level` and each of `points`, n × d row-major, with `of` = (p, q).
    ///
    /// # Errors
    /// [`FieldError`] when the points have another dimension, the level does not determine the answer or the device fails.
    pub fn evaluate(&self, level: Level, of: (f64, f64), points: &[f64]) -> Result<Vec<f64>, FieldError> {
        if !points.len().is_multiple_of(self.dim) {
            return Err(FieldError::Dimension { found: points.len(), dim: self.dim });
        }
        self.there.lock().unwrap_or_else(PoisonError::into_inner).ask(level, of, points)
    }

    /// The `prediction` at `level` for each of `points`, n × d.
    ///
    /// # Errors
    /// As [`Prepared::evaluate`].
    pub fn predict(&self, prediction: Prediction, level: Level, points: &[f64]) -> Result<Vec<f64>, FieldError> {
        self.evaluate(level, prediction.coefficients(level), points)
    }

    /// The score ∇log p = −ε̂/σ at `level` for each of `points`, n × d; of a law with a density also at σ = 0.
    ///
    /// # Errors
    /// As [`Prepared::evaluate`].
    pub fn score(&self, level: Level, points: &[f64]) -> Result<Vec<f64>, FieldError> {
        self.predict(Prediction::Score, level.with_score(), points)
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("dim", &self.dim).finish_non_exhaustive()
    }
}

struct Prepare<'a>(&'a Field);

impl Task for Prepare<'_> {
    type Output = Result<Prepared, FieldError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let there = There { backend: backend.clone(), field: self.0.on(backend)?, dim: self.0.dim(), work: None };
        Ok(Prepared { dim: self.0.dim(), there: Arc::new(Mutex::new(there)) })
    }
}

struct There<B: Backend> {
    backend: B,
    field: Box<dyn Evaluate<B>>,
    dim: usize,
    /// Workspace of the last number of points.
    work: Option<(usize, Reals<B>)>,
}

impl<B: Backend> Ask for There<B> {
    fn ask(&mut self, level: Level, of: (f64, f64), points: &[f64]) -> Result<Vec<f64>, FieldError> {
        let Self { backend, field, dim, work } = self;
        let n = points.len() / *dim;
        let workspace = match work.take() {
            Some((len, work)) if len == points.len() => work,
            _ => backend.zeros(points.len())?,
        };
        let mut registers = [backend.upload_reals(points)?, workspace];
        field.evaluate(backend, Evaluation { level, of, n, src: 0, dst: 0 }, &mut registers)?;
        let [answer, workspace] = registers;
        *work = Some((points.len(), workspace));
        Ok(backend.download_reals(&answer)?)
    }
}
