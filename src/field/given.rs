//! A field given as Rust code: a model of one's own.
//!
//! Its code runs on the processor in f64; points come from the device of the run and go back there, so any method runs on it.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::backend::{Backend, Reals};
use crate::field::evaluate::{Evaluate, Evaluation};
use crate::field::network::LevelError;
use crate::field::{Field, FieldError};
use crate::path::{Level, Prediction, Schedule, combination};

/// A field by its prediction: of x̂₀, ε̂, v, the velocity or the score, for a batch of points at a level.
///
/// The first of them is enough, since x = α x̂₀ + σ ε̂ gives the others.
///
/// ```
/// use brenier::field::{Batch, Field, HostField};
///
/// /// All data at one point: x̂₀ is that point.
/// struct Point([f64; 2]);
///
/// impl HostField for Point {
///     fn dim(&self) -> usize {
///         2
///     }
///
///     fn predict(&self, batch: Batch<'_>, out: &mut [f64]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///         for out in out.chunks_exact_mut(2) {
///             out.copy_from_slice(&self.0);
///         }
///         Ok(())
///     }
/// }
///
/// assert_eq!(Field::given(Point([1.0, 2.0])).dim(), 2);
/// ```
pub trait HostField: Send + Sync {
    /// Dimension d of the points.
    fn dim(&self) -> usize;

    /// The extents of a point, whose product is d: channels × height × width of a picture.
    fn shape(&self) -> Vec<usize> {
        vec![self.dim()]
    }

    /// What [`HostField::predict`] gives: x̂₀ unless said otherwise.
    fn prediction(&self) -> Prediction {
        Prediction::Denoised
    }

    /// The schedule that it was made for, if it knows the levels of one alone. At a level of another schedule it is then asked at
    /// the level of its own with the same σ/α, about points scaled to it: only σ/α matters to x̂₀ and ε̂.
    fn schedule(&self) -> Option<&Schedule> {
        None
    }

    /// Writes the prediction for each point of `batch` to `out`, n × d row-major.
    ///
    /// # Errors
    /// Any error ends the run, which passes it on as [`FieldError::Given`].
    fn predict(&self, batch: Batch<'_>, out: &mut [f64]) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// Whether ε̂ is known at σ = 0 too, so that a last step of second order may end there: not where x̂₀ is predicted.
    fn is_regular_at_data(&self) -> bool {
        self.prediction() != Prediction::Denoised
    }

    /// The relative error of its predictions by rounding, by which differences between points are told from it.
    fn rounding(&self) -> f64 {
        f64::EPSILON
    }

    /// log p(x) at `level` for one point, up to a constant; none where it is not known.
    fn log_density(&self, _level: Level, _x: &[f64]) -> Option<f64> {
        None
    }
}

/// Points at one level.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The level.
    pub level: Level,
    /// The points, n × d row-major.
    pub points: &'a [f64],
    /// The particle of the run that the first point is, counted from the first that the run was given; the others follow it. By it
    /// a field may look up a condition for each particle ([`Conditions`](crate::field::Conditions)).
    pub first: usize,
}

impl Field {
    /// The field whose predictions `code` makes.
    pub fn given(code: impl HostField + 'static) -> Self {
        Self::Given(Arc::new(code))
    }
}

impl fmt::Debug for dyn HostField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a field in dimension {} that predicts {:?}", self.dim(), self.prediction())
    }
}

/// p x̂₀ + q ε̂ of `field` for each point of `batch`.
pub(super) fn evaluate(field: &dyn HostField, batch: Batch<'_>, of: (f64, f64)) -> Result<Vec<f64>, FieldError> {
    let (prediction, asked) = (field.prediction(), batch.level);
    let (level, shift) = field.schedule().map_or(Ok((asked, 1.0)), |own| own.same_noise(asked)).map_err(LevelError::from)?;
    // A score has a limit at the data that ε̂ = −σ · score does not carry.
    let read = if prediction == Prediction::Score { level.with_score() } else { level };
    let undetermined = LevelError::Undetermined { prediction, alpha: asked.alpha, sigma: asked.sigma };
    let (of_x, of_prediction) = combination(prediction, of, read).ok_or(undetermined)?;
    let mut out = vec![0.0; batch.points.len()];
    let scaled: Vec<f64>;
    let points = if shift == 1.0 {
        batch.points
    } else {
        scaled = batch.points.iter().map(|x| shift * x).collect();
        &scaled
    };
    field.predict(Batch { level, points, ..batch }, &mut out).map_err(|error| FieldError::Given(error.to_string()))?;
    for (out, x) in out.iter_mut().zip(points) {
        *out = of_x * x + of_prediction * *out;
    }
    Ok(out)
}

/// A field given as code, asked from a device.
pub(super) struct Host(pub Arc<dyn HostField>);

impl<B: Backend> Evaluate<B> for Host {
    fn evaluate(&mut self, backend: &B, evaluation: Evaluation, registers: &mut [Reals<B>]) -> Result<(), FieldError> {
        let Evaluation { level, of, src, dst, .. } = evaluation;
        let points = backend.download_reals(&registers[src])?;
        let answer = evaluate(&*self.0, Batch { level, points: &points, first: 0 }, of)?;
        registers[dst] = backend.upload_reals(&answer)?;
        Ok(())
    }
}
