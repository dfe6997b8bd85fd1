//! Methods that choose their steps by an error, each particle for itself.
//!
//! Each particle has levels of its own, so the field is asked point by point, in f64 on the processor.

use std::sync::OnceLock;

use rayon::prelude::*;

use crate::backend::Noise;
use crate::field::{Field, FieldError};
use crate::path::{Level, Schedule};
use crate::sampler::likelihood::{log_prior, probes};
use crate::sampler::loops::{Ensemble, Loop, Looped, Pauses};
use crate::sampler::{Adaptive, ChangeOfVariables, DpmAdaptive, RunError, Tries};
use crate::vector::mean_with_error;

/// Particles between two looks at whether to go on.
const BLOCK: usize = 1024;
/// The record of the evaluations made so far, and the array of the end points.
pub(in crate::sampler) const EVALUATIONS: &str = "evaluations";
const ENDS: &str = "ends";
/// The array of the steps accepted and rejected, two numbers a particle.
const TRIES: &str = "tries";
/// The array of the log densities and their errors.
const LOG_P: &str = "log densities";

/// Where the flow of a field that is singular at the data ends: the last step from here goes along x̂₀, which is all but constant
/// there.
const LAST: f64 = 1.0 - 1e-4;
/// The same on a schedule whose velocity alone is infinite at the data, σ ∝ √(1 − t) for the variance-preserving ones: x̂₀ is then off
/// by a share of σ², here 1e-8.
const BEFORE_DATA: f64 = 1.0 - 1e-8;

/// Runge–Kutta along the probability flow.
#[derive(Clone, Debug, PartialEq)]
pub struct AdaptiveFlow {
    /// The method, its tolerance that of the whole run.
    pub method: Adaptive,
    /// The time that no step passes: 1, that of the data.
    pub bound: f64,
    /// The schedule.
    pub schedule: Schedule,
    /// In how many parts progress is told.
    pub ticks: usize,
    /// How the log densities of the end points are found, where they are asked for: along with the points.
    pub log_p: Option<LogP>,
}

/// How log densities are found on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogP {
    /// Hutchinson's probes of each particle; 0 for the exact divergence.
    pub probes: usize,
    /// Seed of the probes.
    pub seed: u32,
}

/// Adaptive DPM-Solver in σ/α.
#[derive(Clone, Debug, PartialEq)]
pub struct AdaptiveDpm {
    /// The solver.
    pub solver: DpmAdaptive,
    /// The schedule.
    pub schedule: Schedule,
    /// In how many parts progress is told.
    pub ticks: usize,
}

/// A field asked point by point. Its first error is kept; what it gives then is not a number, which stops any method.
pub(in crate::sampler) struct Asked<'a> {
    field: &'a Field,
    failed: OnceLock<FieldError>,
}

impl<'a> Asked<'a> {
    pub fn new(field: &'a Field) -> Self {
        Self { field, failed: OnceLock::new() }
    }

    /// Evaluations of models for each particle at `level`.
    pub fn evaluations(&self, level: Level) -> usize {
        self.field.evaluations(level)
    }

    /// p x̂₀ + q ε̂ at the particles x from `first` on.
    pub fn at(&self, level: Level, of: (f64, f64), first: usize, x: &[f64]) -> Vec<f64> {
        let one = |(i, x): (usize, &[f64])| self.numbers(self.field.at(level, of, first + i, x), x.len());
        x.chunks_exact(self.field.dim()).enumerate().flat_map(one).collect()
    }

    /// The `count` numbers of an `answer`.
    fn numbers(&self, answer: Result<Vec<f64>, FieldError>, count: usize) -> Vec<f64> {
        answer.unwrap_or_else(|error| {
            let _ = self.failed.set(error); // the first one tells
            vec![f64::NAN; count]
        })
    }

    /// `result`, or why the field has none.
    ///
    /// # Errors
    /// That of the field before that of `result`.
    pub fn checked<T>(&self, result: Result<T, RunError>) -> Result<T, RunError> {
        match self.failed.get() {
            Some(error) => Err(error.clone().into()),
            None => result,
        }
    }
}

/// The time at which the flow of `field` ends: where the field or the schedule is singular at the data, a little before them.
pub(in crate::sampler) fn end_of_flow(field: &Field, schedule: &Schedule) -> f64 {
    let data = schedule.level(1.0);
    match (data.sigma > 0.0, field.is_regular_at_data()) {
        (true, _) => 1.0,
        (false, false) => LAST,
        (false, true) if data.sigma_dot.is_finite() => 1.0,
        (false, true) => BEFORE_DATA,
    }
}

impl AdaptiveFlow {
    /// The velocity α̇ x̂₀ + σ̇ ε̂ at (t, x) of the particles from `first` on.
    pub(in crate::sampler) fn velocity(&self, asked: &Asked<'_>, first: usize, t: f64, x: &[f64]) -> Vec<f64> {
        let level = self.schedule.level(t);
        asked.at(level, (level.alpha_dot, level.sigma_dot), first, x)
    }

    /// Evaluations of models for each particle at `t`.
    pub(in crate::sampler) fn evaluations(&self, asked: &Asked<'_>, t: f64) -> usize {
        asked.evaluations(self.schedule.level(t))
    }

    /// Those of [`AdaptiveFlow::finish`].
    pub(in crate::sampler) fn evaluations_after(&self, asked: &Asked<'_>, end: f64) -> usize {
        if end == 1.0 { 0 } else { self.evaluations(asked, end) }
    }

    /// [`end_of_flow`].
    pub(in crate::sampler) fn end(&self, field: &Field) -> f64 {
        end_of_flow(field, &self.schedule)
    }

    /// What remains from the `end` of the flow on: a step along x̂₀ and ε̂ to the last level.
    pub(in crate::sampler) fn finish(&self, asked: &Asked<'_>, end: f64, first: usize, x: Vec<f64>) -> Vec<f64> {
        let data = self.schedule.level(1.0);
        if end == 1.0 { x } else { asked.at(self.schedule.level(end), (data.alpha, data.sigma), first, &x) }
    }
}

impl Loop for AdaptiveFlow {
    fn start(&self) -> Level {
        self.schedule.level(0.0)
    }

    fn run(&self, ensemble: Ensemble<'_>, pauses: &mut Pauses<'_>) -> Result<Looped, RunError> {
        let Ensemble { field, noise, .. } = ensemble;
        let (asked, end, d) = (Asked::new(field), self.end(field), field.dim());
        if self.log_p.is_some() && !field.has_density() {
            return Err(RunError::NeedsLaw { method: "a density of samples", what: "the density", instead: "a trained model" });
        }
        let bound = if end == 1.0 { self.bound } else { end };
        let of_whole_run = if let Noise::Counter { first, .. } = noise { first as usize } else { 0 };
        by_blocks(&ensemble, self.ticks, pauses, |first, block| {
            let one = |(i, x): (usize, &[f64])| {
                let particle = first + i;
                let signs = |of: LogP| probes(of.seed, of_whole_run + particle, of.probes, d);
                let signs = self.log_p.map_or_else(Vec::new, signs);
                let system = ChangeOfVariables { field, schedule: &self.schedule, particle, probes: &signs };
                let estimates = if self.log_p.is_some() { system.estimates() } else { 0 };
                let mut slope = |t: f64, state: &[f64]| match self.log_p {
                    None => self.velocity(&asked, particle, t, state),
                    Some(_) => asked.numbers(system.slope(t, state), state.len()),
                };
                let (start, parts) = ([x, &vec![0.0; estimates]].concat(), [d, estimates]);
                let parts = if estimates > 0 { &parts[..] } else { &parts[..1] };
                let solution = self.method.settled(bound, &mut slope, &[0.0, end], &start, parts)?;
                let mut state = solution.states.into_iter().next_back().unwrap_or_default();
                let prior = log_prior(self.start(), x);
                let estimates: Vec<f64> = state.drain(d..).map(|l| prior - l).collect();
                let log_p = self.log_p.map(|_| mean_with_error(&estimates).into());
                let made = solution.evaluated.iter().map(|t| self.evaluations(&asked, *t)).sum::<usize>();
                let nfe = made + self.evaluations_after(&asked, end);
                Ok(Moved { end: self.finish(&asked, end, particle, state), nfe, tries: solution.tries, log_p })
            };
            asked.checked(block.par_chunks(d).enumerate().map(one).collect())
        })
    }
}

impl AdaptiveDpm {
    /// The first and the last level. The run is one of y = x/α in σ/α, so a schedule that meets the data is left a little before.
    ///
    /// # Errors
    /// [`RunError::PureNoise`], where σ/α is infinite.
    pub(in crate::sampler) fn ends(&self) -> Result<[Level; 2], RunError> {
        let (first, last) = (self.schedule.level(0.0), self.schedule.level(1.0));
        if first.alpha == 0.0 {
            return Err(RunError::PureNoise);
        }
        Ok([first, if last.sigma > 0.0 { last } else { self.schedule.level(0.999) }])
    }

    /// ε̂ at (q, y), y = x/α of the particles from `first` on; adds the evaluations of models for each particle to `made`.
    pub(in crate::sampler) fn noise(&self, asked: &Asked<'_>, first: usize, (q, y): (f64, &[f64]), made: &mut usize) -> Vec<f64> {
        let [noisiest, cleanest] = [0.0, 1.0].map(|t| self.schedule.level(t).ratio());
        let t = self.schedule.time(q.clamp(cleanest, noisiest)).unwrap_or(1.0); // q is beyond its ends by a rounding at most
        let level = Level { t, alpha: 1.0, sigma: q, alpha_dot: 0.0, sigma_dot: 0.0 };
        *made += asked.evaluations(level);
        asked.at(level, (0.0, 1.0), first, y)
    }
}

impl Loop for AdaptiveDpm {
    fn start(&self) -> Level {
        self.schedule.level(0.0)
    }

    fn run(&self, ensemble: Ensemble<'_>, pauses: &mut Pauses<'_>) -> Result<Looped, RunError> {
        let ([from, last], asked, d) = (self.ends()?, Asked::new(ensemble.field), ensemble.field.dim());
        by_blocks(&ensemble, self.ticks, pauses, |first, block| {
            let one = |(i, x): (usize, &[f64])| {
                let mut made = 0;
                let mut noise = |q: f64, y: &[f64]| self.noise(&asked, first + i, (q, y), &mut made);
                let run = self.solver.run(&mut noise, &from_level(x, from), from.ratio(), last.ratio());
                let run = run.arrived_at(last.ratio())?;
                Ok(Moved { end: to_level(&run.state, last), nfe: made, tries: run.tries(), log_p: None })
            };
            asked.checked(block.par_chunks(d).enumerate().map(one).collect())
        })
    }
}

/// y = x/α.
pub(in crate::sampler) fn from_level(x: &[f64], level: Level) -> Vec<f64> {
    x.iter().map(|x| x / level.alpha).collect()
}

/// x = αy.
pub(in crate::sampler) fn to_level(y: &[f64], level: Level) -> Vec<f64> {
    y.iter().map(|y| level.alpha * y).collect()
}

/// A particle at its end.
struct Moved {
    end: Vec<f64>,
    nfe: usize,
    tries: Tries,
    /// As in [`Looped`].
    log_p: Option<[f64; 2]>,
}

/// Moves the particles block by block; `ends` moves some, the index of the first of them being known.
fn by_blocks(
    ensemble: &Ensemble<'_>,
    ticks: usize,
    pauses: &mut Pauses<'_>,
    ends: impl Fn(usize, &[f64]) -> Result<Vec<Moved>, RunError>,
) -> Result<Looped, RunError> {
    let (start, d) = (ensemble.start, ensemble.field.dim());
    let mut points = pauses.part.array(ENDS).unwrap_or_default().to_vec();
    let mut evaluations = pauses.part.record(EVALUATIONS).unwrap_or(0);
    let mut tries = pauses.part.array(TRIES).unwrap_or_default().to_vec();
    let mut log_p: Vec<f64> = pauses.part.array(LOG_P).unwrap_or_default().to_vec();
    while points.len() < start.len() {
        pauses.pass(ticks * points.len() / start.len(), |part| {
            part.keep_array(ENDS, points.clone());
            part.keep_record(EVALUATIONS, &evaluations);
            part.keep_array(TRIES, tries.clone());
            part.keep_array(LOG_P, log_p.clone());
        })?;
        let to = start.len().min(points.len() + BLOCK * d);
        for Moved { end, nfe, tries: tried, log_p: density } in ends(points.len() / d, &start[points.len()..to])? {
            points.extend(end);
            evaluations += nfe;
            log_p.extend(density.into_iter().flatten());
            tries.extend([tried.accepted as f64, tried.rejected as f64]);
        }
    }
    let tries = tries.as_chunks().0.iter();
    let tries = tries.map(|&[accepted, rejected]| Tries { accepted: accepted as usize, rejected: rejected as usize });
    let nfe = evaluations.div_ceil((start.len() / d).max(1));
    Ok(Looped { points, nfe, tries: tries.collect(), log_p: log_p.as_chunks().0.to_vec() })
}
