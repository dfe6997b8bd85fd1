//! Adaptive steps past the last time, read off by interpolation (`compat overshoot_and_interpolate`): the field is then evaluated
//! outside of the interval.

use crate::sampler::adaptive::Slope;
use crate::sampler::{Adaptive, AdaptiveError, Solution};

/// An adaptive method whose steps nothing bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overshooting(pub Adaptive);

impl Overshooting {
    /// As [`Adaptive::particles`].
    ///
    /// # Errors
    /// [`AdaptiveError`] of the first particle that fails.
    pub fn particles(
        &self,
        slope: impl Fn(f64, &[f64]) -> Vec<f64> + Sync,
        times: &[f64],
        start: &[f64],
        dim: usize,
    ) -> Result<Solution, AdaptiveError> {
        self.0.particles_before(beyond(times), slope, times, start, dim)
    }

    /// As [`Adaptive::integrate`].
    ///
    /// # Errors
    /// [`AdaptiveError`].
    pub fn integrate(&self, slope: Slope<'_>, times: &[f64], start: &[f64], parts: &[usize]) -> Result<Solution, AdaptiveError> {
        self.0.integrate_before(beyond(times), slope, times, start, parts)
    }
}

/// Infinitely far in the direction of `times`.
fn beyond(times: &[f64]) -> f64 {
    match *times {
        [first, .., last] => (last - first).signum() * f64::INFINITY,
        _ => f64::INFINITY,
    }
}
