//! The best K steps of a method on a field: dynamic programming over one fine reference run, as OSS has it (Pei, Hu, Gu 2025,
//! "Optimal Stepsize for Diffusion Sampling", algorithm 1), then coordinate descent.
//!
//! Of a run's end points x_K, with X the particles' own end points at 1,024 Heun steps of the same equation, the error is
//!
//! ```text
//! E(t₁, …, t_{K−1}) = √E|x_K − X|²                                                              0 = t₀ < t₁ < … < t_K = 1
//! ```
//!
//! **Dynamic programming.** Let s_0 = 0 < … < s_N = 1 be some times of the reference run, X_j its states there, and S(j ← i) the
//! method's step. z_k(j), the best state at s_j after k steps, and where it came from are
//!
//! ```text
//! z_k(j) = S(j ← i*) z_{k−1}(i*)        i* = argmin_{i<j} E|S(j ← i) z_{k−1}(i) − X_j|²        z_0(0) = X_0
//! ```
//!
//! and the times are read back from z_K(N). A step of one evaluation is p x̂₀ + q ε̂, so that x̂₀ and ε̂ at z_{k−1}(i) give it for all
//! j: 2NK evaluations in all. Keeping one state of each (k, j) is what makes this fast, and not exact: the state nearest to X_j
//! need not be the one that ends nearest to X_N.
//!
//! **Coordinate descent.** Each t_k in turn moves to the best of itself, a share of the way to either neighbour, and the vertex of
//! the parabola of E² through these three. The share is halved once a sweep gains less than a hundredth. It starts from the times of
//! the dynamic programme and from those of grids that are given, so that on the draws it is fitted on no grid does better.
//!
//! The particles are draws of stream 3, so that a comparison can judge the times on draws of its own. Only methods whose step
//! depends on nothing before it can be searched: not multistep ones, nor those that draw noise.

use serde::{Deserialize, Serialize};

use crate::backend::{Device, Noise};
use crate::field::Field;
use crate::measure::Measure;
use crate::path::{Grid, GridError, Level, Schedule, Spacing};
use crate::program::{Op, Program, STATE, Step};
use crate::random::Stream;
use crate::sampler::{CourseError, Heun, Method, Observe, RunError};
use crate::vector::squared_distance;
use crate::watch::{Progress, Watch};

/// Steps of the reference run.
const REFERENCE: usize = 1024;
/// Philox step of the draws.
const STEP: u32 = 1 << 22;
/// Particles that times are fitted on, fewer where they have many coordinates, and those of the dynamic programme.
const PARTICLES: usize = 1024;
const LEAST_PARTICLES: usize = 64;
const COORDINATES: usize = 1 << 16;
const PROGRAMMED: usize = 256;
/// Least number of times that the dynamic programme chooses from, and how many for each step.
const CANDIDATES: usize = 48;
const CANDIDATES_A_STEP: usize = 4;
/// The share of the way to a neighbour that a time moves: at first, and at last.
const WIDEST: f64 = 0.25;
const NARROWEST: f64 = 0.02;
/// The share of the error by which a sweep must lower it to be repeated with moves as wide.
const GAIN: f64 = 0.01;
/// The record of a descent.
const DESCENT: &str = "descent";

/// What times are searched for: a deterministic method of one-step form, the field that it runs on and the schedule.
#[derive(Clone, Copy)]
pub struct Solver<'a> {
    /// The method.
    pub method: &'a dyn Method,
    /// The field.
    pub field: &'a Field,
    /// The schedule.
    pub schedule: &'a Schedule,
    /// Where it is computed.
    pub device: &'a Device,
}

/// A solver and the reference run that its times are fitted to.
pub struct OptimalSteps<'a> {
    solver: Solver<'a>,
    /// Start and end points of the reference run, n × d.
    start: Vec<f64>,
    end: Vec<f64>,
    /// Times s_j that the dynamic programme chooses from, and the states there of the first particles.
    times: Vec<f64>,
    states: Vec<Vec<f64>>,
}

/// A descent under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Descent {
    /// The start that it goes down from.
    start: usize,
    times: Vec<f64>,
    error: f64,
    /// Share of the way to a neighbour.
    share: f64,
    /// The best of the earlier starts.
    best: Option<(Vec<f64>, f64)>,
}

impl<'a> OptimalSteps<'a> {
    /// Makes the reference run for `steps` steps of `solver`; its particles are draws of `source` under `seed`, scaled to the
    /// schedule's start. `go_on` is asked after each step.
    ///
    /// # Errors
    /// [`CourseError`] as for [`Program::run`], or [`RunError::Stopped`].
    pub fn new(
        solver: Solver<'a>,
        steps: usize,
        source: &Measure,
        seed: u32,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Self, CourseError> {
        let Solver { field, schedule, device, .. } = solver;
        let (d, grid) = (field.dim(), Grid::uniform(schedule, REFERENCE)?);
        let n = (COORDINATES / d).clamp(LEAST_PARTICLES, PARTICLES);
        let drawn = source.sample(n, seed, Stream::Metric, STEP);
        let start: Vec<f64> = drawn.points().iter().map(|x| grid.start().sigma * x).collect();
        let chosen = candidates(schedule, steps)?;
        let mut states = Vec::with_capacity(chosen.len());
        let mut keep = |step: usize, state: &[f64]| {
            if chosen.binary_search(&step).is_ok() {
                states.push(state[..state.len().min(PROGRAMMED * d)].to_vec());
            }
            go_on()
        };
        let program = Heun { euler_last: !field.is_regular_at_data() }.program(&grid);
        let end = program.observed(field, &start, Noise::NONE, device, Observe::States(&mut keep))?;
        let times = chosen.into_iter().map(|step| step as f64 / REFERENCE as f64).collect();
        Ok(Self { solver, start, end, times, states })
    }

    /// The best `steps` + 1 times from 0 to 1 that are found, from the dynamic programme and from each of `grids` of so many steps.
    /// A search that `watch` kept goes on where it was left.
    ///
    /// # Errors
    /// [`CourseError`] as for [`Program::run`], or [`RunError::Stopped`] when the watch says stop.
    pub fn best(&self, steps: usize, grids: &[Vec<f64>], mut watch: Watch<'_>) -> Result<Vec<f64>, CourseError> {
        let begin = |start: usize, best: Option<(Vec<f64>, f64)>| {
            let times = match start.checked_sub(1) {
                Some(grid) => grids[grid].clone(),
                None => self.programmed(steps)?,
            };
            let error = self.error(&times)?;
            Ok::<_, CourseError>(Descent { start, times, error, share: WIDEST, best })
        };
        let mut descent = match watch.record(DESCENT) {
            Some(kept) => kept,
            None => begin(0, None)?,
        };
        loop {
            while descent.share >= NARROWEST {
                let (value, grid) = (Some(descent.error), descent.start + 1);
                let stage = format!("descent {grid} of {}", grids.len() + 1);
                let go_on = watch.tell(Progress { stage: &stage, value, ..Progress::default() });
                let keep = |part: &mut crate::checkpoint::Part<'_>| part.keep_record(DESCENT, &descent);
                if !watch.pass(go_on, keep) {
                    return Err(RunError::Stopped { steps: 0 }.into());
                }
                let before = descent.error;
                (descent.times, descent.error) = self.sweep(descent.times, before, descent.share)?;
                if descent.error > (1.0 - GAIN) * before {
                    descent.share *= 0.5;
                }
            }
            let Descent { start, times, error, best, .. } = descent;
            let best = best.filter(|(_, least)| *least <= error).unwrap_or((times, error));
            if start == grids.len() {
                return Ok(best.0);
            }
            descent = begin(start + 1, Some(best))?;
        }
    }

    /// E of a run at `times`, on the particles of the search.
    ///
    /// # Errors
    /// [`CourseError`] as for [`Program::run`], or for times that are none of a grid.
    pub fn error(&self, times: &[f64]) -> Result<f64, CourseError> {
        self.error_from(&self.start, times)
    }

    /// E of a run that is at `state` at the first of `times`.
    fn error_from(&self, state: &[f64], times: &[f64]) -> Result<f64, CourseError> {
        let end = self.solver.run(state, times)?;
        let n = self.end.len() / self.solver.field.dim();
        Ok((squared_distance(&end, &self.end) / n as f64).sqrt())
    }

    /// Moves each of `times`, whose error is known, where it is least with the others held.
    fn sweep(&self, mut times: Vec<f64>, mut error: f64, share: f64) -> Result<(Vec<f64>, f64), CourseError> {
        let mut state = self.start.clone();
        for k in 1..times.len() - 1 {
            let (from, here, to) = (times[k - 1], times[k], times[k + 1]);
            let mut rest = times[k - 1..].to_vec();
            let mut at = |t: f64| {
                rest[1] = t;
                self.error_from(&state, &rest)
            };
            let (left, right) = (here - share * (here - from), here + share * (to - here));
            let tried = [(left, at(left)?), (here, error), (right, at(right)?)];
            let vertex = vertex(tried.map(|(t, e)| (t, e * e)));
            let inside = |t: &f64| (from + NARROWEST * (here - from)..to - NARROWEST * (to - here)).contains(t);
            let vertex = vertex.filter(inside).map(|t| Ok::<_, CourseError>((t, at(t)?))).transpose()?;
            for (t, e) in tried.into_iter().chain(vertex) {
                if e < error {
                    (times[k], error) = (t, e);
                }
            }
            state = self.solver.run(&state, &times[k - 1..=k])?;
        }
        Ok((times, error))
    }

    /// The times of the dynamic programme.
    ///
    /// # Errors
    /// [`CourseError`] as for [`Program::run`].
    pub fn programmed(&self, steps: usize) -> Result<Vec<f64>, CourseError> {
        let last = self.times.len() - 1;
        let levels: Vec<Level> = self.times.iter().map(|&t| self.solver.schedule.level(t)).collect();
        let mut states: Vec<Option<Vec<f64>>> = vec![None; levels.len()];
        states[0] = Some(self.states[0].clone());
        let mut origins = Vec::with_capacity(steps);
        for step in 1..=steps {
            // The steps that remain take a time each, and the last one ends at the last.
            let reached = if step == steps { last..last + 1 } else { step..last + 1 - (steps - step) };
            let mut best: Vec<Option<(f64, usize, Vec<f64>)>> = vec![None; levels.len()];
            for (i, state) in states.iter().enumerate().filter_map(|(i, state)| Some((i, state.as_ref()?))) {
                let mut from = Origin { solver: &self.solver, level: levels[i], state, parts: None };
                for j in reached.clone().filter(|j| *j > i) {
                    let there = from.to(levels[j])?;
                    let distance = squared_distance(&there, &self.states[j]);
                    if best[j].as_ref().is_none_or(|(least, ..)| distance < *least) {
                        best[j] = Some((distance, i, there));
                    }
                }
            }
            origins.push(best.iter().map(|found| found.as_ref().map_or(0, |(_, i, _)| *i)).collect::<Vec<usize>>());
            states = best.into_iter().map(|found| found.map(|(.., state)| state)).collect();
        }
        let mut times = vec![1.0];
        let mut at = last;
        for origins in origins.iter().rev() {
            at = origins[at];
            times.push(self.times[at]);
        }
        times.reverse();
        Ok(times)
    }
}

impl Solver<'_> {
    /// Where particles that are at `state` at the first of `times` end.
    fn run(&self, state: &[f64], times: &[f64]) -> Result<Vec<f64>, CourseError> {
        self.end(&self.method.program(&Grid::at(self.schedule, times)?), state)
    }

    /// Where `program` takes particles from `state`.
    fn end(&self, program: &Program, state: &[f64]) -> Result<Vec<f64>, CourseError> {
        Ok(program.run(self.field, state, Noise::NONE, self.device)?)
    }

    /// p x̂₀ + q ε̂ at `state`.
    fn evaluate(&self, level: Level, (p, q): (f64, f64), state: &[f64]) -> Result<Vec<f64>, RunError> {
        let program: Program = [Step::evaluate(level, p, q)].into_iter().collect();
        program.run(self.field, state, Noise::NONE, self.device)
    }
}

/// Where steps begin.
struct Origin<'a> {
    solver: &'a Solver<'a>,
    level: Level,
    state: &'a [f64],
    /// x̂₀ and ε̂, once a step has asked for them.
    parts: Option<[Vec<f64>; 2]>,
}

impl Origin<'_> {
    /// The state after the step to `level`.
    fn to(&mut self, level: Level) -> Result<Vec<f64>, CourseError> {
        let Self { solver, level: from, state, .. } = *self;
        let program = solver.method.program(&Grid::from_levels(vec![from, level])?);
        let [Step { ops }] = &program.steps[..] else { return solver.end(&program, state) };
        let [Op::Evaluate { src: STATE, dst: STATE, p, q, .. }] = ops[..] else { return solver.end(&program, state) };
        let [denoised, noise] = match &mut self.parts {
            Some(parts) => parts,
            none => none.insert([solver.evaluate(from, (1.0, 0.0), state)?, solver.evaluate(from, (0.0, 1.0), state)?]),
        };
        Ok(denoised.iter().zip(noise).map(|(x, e)| p * x + q * *e).collect())
    }
}

/// Steps of the reference run after which the dynamic programme may choose a time: half of them equally far apart in time, half as
/// on a balanced grid, which is dense at both ends.
fn candidates(schedule: &Schedule, steps: usize) -> Result<Vec<usize>, GridError> {
    let half = CANDIDATES.max(CANDIDATES_A_STEP * steps) / 2;
    let balanced = Grid::spaced(schedule, half, Spacing::Balanced)?;
    let near = |level: &Level| (level.t * REFERENCE as f64).round() as usize;
    let mut chosen: Vec<usize> = (0..=half).map(|i| i * REFERENCE / half).chain(balanced.levels().iter().map(near)).collect();
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen)
}

/// Where the parabola through three points is least; none where it is not convex.
fn vertex([(a, ya), (b, yb), (c, yc)]: [(f64, f64); 3]) -> Option<f64> {
    let (before, after) = ((yb - ya) / (b - a), (yc - yb) / (c - b));
    let curvature = (after - before) / (c - a);
    (curvature > 0.0).then(|| 0.5 * (a + b - before / curvature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parabola_is_least_at_its_vertex() {
        let of = |x: f64| (x, 3.0 * (x - 0.7).powi(2) + 1.0);
        assert!((vertex([of(-1.0), of(0.1), of(0.4)]).unwrap() - 0.7).abs() < 1e-12);
        assert_eq!(vertex([(0.0, 1.0), (1.0, 2.0), (2.0, 1.0)]), None);
    }
}
