//! What a network may predict, and each prediction from each other.
//!
//! At a level, x = α x̂₀ + σ ε̂, and every prediction is a combination y = p x̂₀ + q ε̂:
//!
//! ```text
//! denoised x̂₀ (1, 0)    noise ε̂ (0, 1)    v = α ε̂ − σ x̂₀    score = −ε̂/σ    velocity = α̇ x̂₀ + σ̇ ε̂
//! ```
//!
//! (v: Salimans, Ho 2022, §4; velocity: Lipman et al. 2023, eq. 15, in our clock.) So x and one prediction give any other by
//! solving two equations, wherever their determinant α q − σ p is not zero.

use thiserror::Error;

use crate::names::nearest;
use crate::path::Level;

/// A quantity that describes a field at a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// The denoised point x̂₀ = E[data | x].
    Denoised,
    /// The noise ε̂ = E[noise | x].
    Noise,
    /// v = α ε̂ − σ x̂₀.
    V,
    /// The score ∇log p(x) = −ε̂/σ.
    Score,
    /// The velocity α̇ x̂₀ + σ̇ ε̂ of the probability-flow ODE.
    Velocity,
}

/// A prediction that does not determine another at a level.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error(
    "{from:?} and x do not determine {to:?} at alpha = {alpha}, sigma = {sigma}; leave the end of the path out of the grid, or predict {to:?}"
)]
pub struct ConversionError {
    /// The prediction known.
    pub from: Prediction,
    /// The prediction asked for.
    pub to: Prediction,
    /// α of the level.
    pub alpha: f64,
    /// σ of the level.
    pub sigma: f64,
}

/// The names of predictions.
pub const PREDICTIONS: [(&str, Prediction); 5] = [
    ("eps", Prediction::Noise),
    ("x0", Prediction::Denoised),
    ("v", Prediction::V),
    ("velocity", Prediction::Velocity),
    ("score", Prediction::Score),
];

/// A prediction that is not known.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("there is no prediction \"{name}\"; did you mean \"{nearest}\"? known: {}", PREDICTIONS.map(|(name, _)| name).join(", "))]
pub struct PredictionError {
    /// The name asked for.
    pub name: String,
    /// The nearest known name.
    pub nearest: &'static str,
}

impl Prediction {
    /// The prediction of one of the names [`PREDICTIONS`].
    ///
    /// # Errors
    /// [`PredictionError`] with the nearest known name.
    pub fn named(name: &str) -> Result<Self, PredictionError> {
        let found = PREDICTIONS.iter().find(|(known, _)| *known == name).map(|(_, prediction)| *prediction);
        found.ok_or_else(|| PredictionError { name: name.into(), nearest: nearest(name, PREDICTIONS.map(|(name, _)| name)) })
    }

    /// (p, q) of the prediction p x̂₀ + q ε̂ at `level`; not finite where it is not defined: the score at σ = 0, and the velocity
    /// where σ̇ is infinite.
    pub fn coefficients(self, level: Level) -> (f64, f64) {
        match self {
            Self::Denoised => (1.0, 0.0),
            Self::Noise => (0.0, 1.0),
            Self::V => (-level.sigma, level.alpha),
            Self::Score => (0.0, -1.0 / level.sigma),
            Self::Velocity => (level.alpha_dot, level.sigma_dot),
        }
    }
}

/// (a, b) such that `to` = a x + b `from` at `level`.
///
/// The limits that exist are given: x̂₀ from v or ε̂ at σ = 0, ε̂ from v or x̂₀ at α = 0, score from ε̂ at α = 0.
///
/// # Errors
/// [`ConversionError`] where x and `from` say nothing about `to`: ε̂ from x̂₀ at σ = 0, x̂₀ from ε̂ at α = 0, and what is not
/// finite.
pub fn convert(from: Prediction, to: Prediction, level: Level) -> Result<(f64, f64), ConversionError> {
    if from == to {
        return Ok((0.0, 1.0));
    }
    let Level { alpha, sigma, .. } = level;
    combination(from, to.coefficients(level), level).ok_or(ConversionError { from, to, alpha, sigma })
}

/// (a, b) such that p x̂₀ + q ε̂ = a x + b `from` at `level`, for `to` = (p, q); none where x and `from` do not determine it.
pub fn combination(from: Prediction, to: (f64, f64), level: Level) -> Option<(f64, f64)> {
    let Level { alpha, sigma, .. } = level;
    let ((p, q), (p_to, q_to)) = (from.coefficients(level), to);
    let of_x = p_to * q - q_to * p;
    let (a, b) = if of_x == 0.0 {
        (0.0, if q != 0.0 { q_to / q } else { p_to / p }) // proportional: x is not needed
    } else {
        let determinant = alpha * q - sigma * p;
        (of_x / determinant, (q_to * alpha - p_to * sigma) / determinant)
    };
    (a.is_finite() && b.is_finite()).then_some((a, b))
}
