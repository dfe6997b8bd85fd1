//! Log likelihood by the change of variables along the probability-flow ODE (Chen et al. 2018; Song et al. 2021, eq. 39).
//!
//! ```text
//! d(x, l)/dt = (v, div v), from (x₁, 0) at t = 1 back to t = 0        log p₁(x₁) = log N(x(0); 0, σ₀²I) + l(0)
//! ```
//!
//! with v = α̇ x̂₀ + σ̇ ε̂ and its divergence exact, or Hutchinson's estimate with probes that stay the same for the whole run, so that
//! the right-hand side stays a function of (x, t). With k probes l is a vector, an unbiased estimate each, since l is linear
//! in the divergence. [`ChangeOfVariables`] is the system of one point, for
//! any solver: [`Adaptive`] or [`Tableau::integrate`](crate::sampler::Tableau::integrate); [`Likelihood`] solves it for each of many.
//!
//! Where the field has no noise at the data (it predicts x̂₀), the points are taken to be at t = 1 − 1e-4: p is then that of data with
//! so much noise.

use std::f64::consts::TAU;

use rayon::prelude::*;

use crate::field::{Field, FieldError};
use crate::measure::Cloud;
use crate::path::{Level, Schedule};
use crate::random::{Philox, Stream};
use crate::sampler::loops::adaptive_flow::end_of_flow;
use crate::sampler::{Adaptive, RunError};
use crate::vector::{dot, mean_with_error};
use crate::watch::{Progress, Watch};

/// The system (x, l) of one point under a field on a schedule.
///
/// ```
/// use brenier::field::Field;
/// use brenier::measure::Mixture;
/// use brenier::path::Schedule;
/// use brenier::sampler::ChangeOfVariables;
///
/// let (field, schedule) = (Field::from(Mixture::standard_normal(1)), Schedule::CondOt);
/// let system = ChangeOfVariables { field: &field, schedule: &schedule, particle: 0, probes: &[] };
/// let at_the_noise = system.start(&[0.0]); // no change of x = 0, and none of the volume before the first step
/// assert_eq!(system.log_likelihood(&at_the_noise), [-0.5 * std::f64::consts::TAU.ln()]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ChangeOfVariables<'a> {
    /// The field.
    pub field: &'a Field,
    /// The path; its first level is noise.
    pub schedule: &'a Schedule,
    /// The number of the point, by which a field may look up its condition.
    pub particle: usize,
    /// Hutchinson's probes, k × d of ±1; none for the exact divergence.
    pub probes: &'a [f64],
}

impl ChangeOfVariables<'_> {
    /// Components of l: one for each probe, or one.
    pub fn estimates(&self) -> usize {
        (self.probes.len() / self.field.dim()).max(1)
    }

    /// The system's slope at `t`, for x and then l.
    ///
    /// # Errors
    /// As [`Field::at`].
    pub fn slope(&self, t: f64, state: &[f64]) -> Result<Vec<f64>, FieldError> {
        let (level, x) = (self.schedule.level(t), &state[..self.field.dim()]);
        let of = (level.alpha_dot, level.sigma_dot);
        if self.probes.is_empty() {
            let (mut slope, divergence) = self.field.with_divergence(level, of, self.particle, x)?;
            slope.push(divergence);
            return Ok(slope);
        }
        let (mut slope, products) = self.field.with_derivatives(level, of, self.particle, x, self.probes)?;
        let forms = self.probes.chunks_exact(x.len()).zip(products.chunks_exact(x.len()));
        slope.extend(forms.map(|(v, product)| dot(v, product)));
        Ok(slope)
    }

    /// The state that belongs to the point `x` at the data: l = 0.
    pub fn start(&self, x: &[f64]) -> Vec<f64> {
        x.iter().copied().chain(std::iter::repeat_n(0.0, self.estimates())).collect()
    }

    /// log p₁ by each component of l, from the state at the noise.
    pub fn log_likelihood(&self, end: &[f64]) -> Vec<f64> {
        let (x, l) = end.split_at(self.field.dim());
        let normal = log_prior(self.schedule.level(0.0), x);
        l.iter().map(|l| normal + l).collect()
    }
}

/// log N(x; 0, σ²I), of the prior at `level`.
pub(super) fn log_prior(level: Level, x: &[f64]) -> f64 {
    let variance = level.sigma.powi(2);
    -0.5 * (dot(x, x) / variance + x.len() as f64 * (TAU * variance).ln())
}

/// Probes of each point, so many that the estimate is worth its time where the exact divergence would take more derivatives than
/// [`LARGEST_EXACT`]; else none.
pub fn usual_probes(field: &Field) -> usize {
    if matches!(field, Field::Mixture(_)) || field.dim() <= LARGEST_EXACT { 0 } else { PROBES }
}

/// Hutchinson's `count` probes of a particle, each of `dim` random signs.
pub(super) fn probes(seed: u32, particle: usize, count: usize, dim: usize) -> Vec<f64> {
    let philox = Philox::new(seed, Stream::Metric);
    (0..count * dim).map(|i| if philox.uniform(particle as u32, 0, i as u32) < 0.5 { -1.0 } else { 1.0 }).collect()
}

/// Log likelihoods of many points, each with steps of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Likelihood {
    /// The solver. Its tolerance is that of the whole run where the field computes in double precision, else of each step.
    pub method: Adaptive,
    /// The path.
    pub schedule: Schedule,
    /// Probes of each point; none for the exact divergence, which takes d derivatives where the field is not a law.
    pub probes: usize,
    /// Seed of the probes.
    pub seed: u32,
}

/// The log likelihood of each point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogLikelihood {
    /// log p(x), in nats.
    pub values: Vec<f64>,
    /// Standard error of each by its probes; empty where the divergence is exact, not a number of one probe.
    pub errors: Vec<f64>,
    /// Evaluations of v and its divergence, the mean over the points.
    pub nfe: usize,
}

/// Derivatives that the exact divergence may take at each evaluation.
pub const LARGEST_EXACT: usize = 64;
const PROBES: usize = 8;
/// Points between two looks at whether to go on.
const BLOCK: usize = 64;
const VALUES: &str = "log likelihoods";
const ERRORS: &str = "their errors";
const EVALUATIONS: &str = "evaluations";

impl Likelihood {
    /// The log likelihood of `points` under the flow of `field`. What `watch` keeps of an earlier run is not done again.
    ///
    /// # Errors
    /// [`RunError::NeedsLaw`] for the field of points, whose law at the data has no density; [`RunError`] when the dimensions differ, a
    /// step cannot be made or the watch says stop.
    pub fn of(&self, points: &Cloud, field: &Field, mut watch: Watch<'_>) -> Result<LogLikelihood, RunError> {
        let (n, d) = (points.len(), field.dim());
        if points.dim() != d {
            return Err(RunError::Dimension { start: n * points.dim(), field: d });
        }
        if !field.has_density() {
            return Err(RunError::NeedsLaw { method: "a likelihood", what: "the density", instead: "a trained model" });
        }
        let kept = |name| watch.array(name).unwrap_or_default().to_vec();
        let (mut values, mut errors): (Vec<f64>, Vec<f64>) = (kept(VALUES), kept(ERRORS));
        let mut evaluations: usize = watch.record(EVALUATIONS).unwrap_or(0);
        while values.len() < n {
            let done = values.len();
            let go_on = watch.tell(Progress { done, of: Some(n), ..Progress::default() });
            let go_on = watch.pass(go_on, |part| {
                part.keep_array(VALUES, values.clone());
                part.keep_array(ERRORS, errors.clone());
                part.keep_record(EVALUATIONS, &evaluations);
            });
            if !go_on {
                return Err(RunError::Stopped { steps: done });
            }
            let block = done..n.min(done + BLOCK);
            let found = block.into_par_iter().map(|i| self.of_one(i, points, field)).collect::<Result<Vec<_>, RunError>>()?;
            for (estimates, made) in found {
                let (value, error) = mean_with_error(&estimates);
                values.push(value);
                errors.extend((self.probes > 0).then_some(error));
                evaluations += made;
            }
        }
        Ok(LogLikelihood { values, errors, nfe: evaluations.div_ceil(n) })
    }

    /// The estimates of one point, and the evaluations that they took.
    fn of_one(&self, particle: usize, points: &Cloud, field: &Field) -> Result<(Vec<f64>, usize), RunError> {
        let d = field.dim();
        let probes = probes(self.seed, particle, self.probes, d);
        let system = ChangeOfVariables { field, schedule: &self.schedule, particle, probes: &probes };
        let mut failed = None;
        let mut slope = |t: f64, state: &[f64]| {
            system.slope(t, state).unwrap_or_else(|error| {
                failed.get_or_insert(error);
                vec![f64::NAN; state.len()] // which no step can be made from
            })
        };
        let mut room = vec![0.0; d];
        let (times, start) = ([end_of_flow(field, &self.schedule), 0.0], system.start(points.row_in(particle, &mut room)));
        let parts = [d, system.estimates()];
        let solved = if field.rounding() > f64::EPSILON {
            self.method.integrate(&mut slope, &times, &start, &parts)
        } else {
            self.method.settled(times[1], &mut slope, &times, &start, &parts)
        };
        if let Some(error) = failed {
            return Err(error.into());
        }
        let solved = solved?;
        let end = solved.states.last().map(|end| system.log_likelihood(end));
        Ok((end.unwrap_or_default(), solved.evaluated.len()))
    }
}
