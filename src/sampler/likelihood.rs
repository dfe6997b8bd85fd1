//! Log likelihood by the change of variables along the probability-flow ODE (Chen et al. 2018; Song et al. 2021, eq. 39).
//!
//! ```text
//! d(x, l)/dt = (v, div v), from (x₁, 0) at t = 1 back to t = 0        log p₁(x₁) = log N(x(0); 0, I) + l(0)
//! ```
//!
//! with v = α̇ x̂₀ + σ̇ ε̂ and its divergence exact, or Hutchinson's estimate with one probe for the whole run, so that the
//! right-hand side stays a function of (x, t). Any solver of systems takes it: [`Adaptive`](crate::sampler::Adaptive) or
//! [`Tableau::integrate`](crate::sampler::Tableau::integrate).

use std::f64::consts::TAU;

use crate::measure::Mixture;
use crate::path::Schedule;

/// The system (x, l) of a mixture on a schedule.
///
/// ```
/// use brenier::measure::Mixture;
/// use brenier::path::Schedule;
/// use brenier::sampler::ChangeOfVariables;
///
/// let (mixture, schedule) = (Mixture::standard_normal(1), Schedule::CondOt);
/// let system = ChangeOfVariables { mixture: &mixture, schedule: &schedule, probe: None };
/// let at_the_noise = system.start(&[0.0]); // no change of x = 0, and none of the volume before the first step
/// assert_eq!(system.log_likelihood(&at_the_noise), [-0.5 * std::f64::consts::TAU.ln()]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ChangeOfVariables<'a> {
    /// The law.
    pub mixture: &'a Mixture,
    /// The path; its first level must be pure noise of variance one.
    pub schedule: &'a Schedule,
    /// Hutchinson's probes, n × d of ±1; none for the exact divergence.
    pub probe: Option<&'a [f64]>,
}

impl ChangeOfVariables<'_> {
    /// The system's slopes at `t`, for n particles laid out as all x, n × d, and then all l.
    pub fn slope(&self, t: f64, state: &[f64]) -> Vec<f64> {
        let (level, d) = (self.schedule.level(t), self.mixture.dim());
        let n = state.len() / (d + 1);
        let (p, q) = (level.alpha_dot, level.sigma_dot);
        let points = state[..n * d].chunks_exact(d);
        let divergence = |(i, x): (usize, &[f64])| match self.probe {
            None => self.mixture.divergence(level, p, q, x),
            Some(probe) => self.mixture.jacobian_form(level, p, q, x, &probe[i * d..(i + 1) * d]),
        };
        let mut slope: Vec<f64> = points.clone().flat_map(|x| self.mixture.evaluate(level, p, q, x)).collect();
        slope.extend(points.enumerate().map(divergence));
        slope
    }

    /// The state that belongs to `points`, n × d, at the data: l = 0.
    pub fn start(&self, points: &[f64]) -> Vec<f64> {
        let n = points.len() / self.mixture.dim();
        points.iter().copied().chain(std::iter::repeat_n(0.0, n)).collect()
    }

    /// log p₁ of each particle from the state at the noise.
    pub fn log_likelihood(&self, end: &[f64]) -> Vec<f64> {
        let d = self.mixture.dim();
        let n = end.len() / (d + 1);
        let normal = |x: &[f64]| -0.5 * (x.iter().map(|x| x * x).sum::<f64>() + d as f64 * TAU.ln());
        end[..n * d].chunks_exact(d).zip(&end[n * d..]).map(|(x, l)| normal(x) + l).collect()
    }
}
