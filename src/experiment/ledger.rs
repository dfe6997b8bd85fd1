//! The ledger of a deterministic path (maths §2a): action = W₂² + coupling gap + straightness.

use crate::backend::Device;
use crate::error::Error;
use crate::experiment::record::Ledger;
use crate::field::{Field, FieldError};
use crate::measure::{Cloud, Measure};
use crate::metric::paired_cost;
use crate::path::{Level, Schedule};
use crate::random::Stream;
use crate::vector::mean_with_error;

/// A path from `start` to `end` with the action of each particle.
pub struct Path<'a> {
    /// Name of the path.
    pub name: &'a str,
    /// Where the particles start.
    pub start: &'a Cloud,
    /// Where they end, row by row.
    pub end: &'a Cloud,
    /// ∫|v|² dt of each particle.
    pub action: &'a [f64],
}

/// An estimate with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
}

/// The ledger of `path`. With an independent estimate of the action the residual says whether the two agree; without one it
/// is zero by algebra, and only the three parts are news.
///
/// # Errors
/// [`Error`] when the points cannot be compared.
pub fn ledger(path: &Path<'_>, regression: Option<Estimate>, seed: u32) -> Result<Ledger, Error> {
    let paired = paired_cost(path.start, path.end, seed)?;
    let actions: Vec<f64> = paired.rows.iter().map(|&row| path.action[row]).collect();
    let (action, error) = mean_with_error(&actions);
    // Both are at least zero (Jensen's inequality; the best pairing), but for rounding.
    let straightness = (action - paired.own_cost).max(0.0);
    let coupling_gap = (paired.own_cost - paired.w2_squared).max(0.0);
    let sum = paired.w2_squared + coupling_gap + straightness;
    let (residual, standard_error) = match regression {
        None => (action - sum, 0.0),
        Some(estimate) => (estimate.value - sum, estimate.standard_error.hypot(error)),
    };
    Ok(Ledger {
        path: path.name.into(),
        action,
        w2_squared: paired.w2_squared,
        coupling_gap,
        straightness,
        action_from_regression: regression.map(|estimate| estimate.value),
        residual,
        standard_error,
        closes: residual.abs() <= 3.0 * standard_error + 1e-9 * action.abs(),
    })
}

/// Levels of the quadrature in time, and samples at each.
const LEVELS: usize = 128;
const SAMPLES: usize = 128;
/// First Philox step of these draws.
const STEP: u32 = 1 << 20;

/// The action up to time `end` from the regression that defines the field: with u = α̇ data + σ̇ noise and v = E[u | x_t],
/// E|u|² − E|u − v|² = E[2 u·v − |v|²], over fresh pairs (data, noise) of the independent coupling.
///
/// # Errors
/// [`FieldError`] when the field cannot be evaluated.
pub fn action_from_regression(
    field: &Field,
    data: &Measure,
    schedule: &Schedule,
    end: f64,
    seed: u32,
    device: &Device,
) -> Result<Estimate, FieldError> {
    let field = field.prepare(device)?;
    let d = field.dim();
    let (mut value, mut variance) = (0.0, 0.0);
    let normal = Measure::Law(crate::measure::Mixture::standard_normal(d));
    for k in 0..LEVELS {
        let level @ Level { alpha, sigma, alpha_dot, sigma_dot, .. } = schedule.level((k as f64 + 0.5) / LEVELS as f64 * end);
        let draw = |measure: &Measure, which| measure.sample(SAMPLES, seed, Stream::Metric, STEP + 2 * k as u32 + which);
        let (data, noise) = (draw(data, 0), draw(&normal, 1));
        let mixed = |a: f64, b: f64| -> Vec<f64> {
            data.points().iter().zip(noise.points()).map(|(data, noise)| a * data + b * noise).collect()
        };
        let (x, u) = (mixed(alpha, sigma), mixed(alpha_dot, sigma_dot));
        let v = field.evaluate(level, (alpha_dot, sigma_dot), &x)?;
        let terms: Vec<f64> = u
            .chunks_exact(d)
            .zip(v.chunks_exact(d))
            .map(|(u, v)| u.iter().zip(v).map(|(u, v)| 2.0 * u * v - v * v).sum())
            .collect();
        let width = end / LEVELS as f64;
        let (mean, error) = mean_with_error(&terms);
        value += width * mean;
        variance += (width * error).powi(2);
    }
    Ok(Estimate { value, standard_error: variance.sqrt() })
}
