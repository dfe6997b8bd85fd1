//! The best K steps of a method on a field: dynamic programming over one fine reference run, as OSS has it (Pei, Hu, Gu 2025,
//! "Optimal Stepsize for Diffusion Sampling", arXiv 2503.21774), then coordinate descent.
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
//! the parabola of E² through these three. The share is halved once a sweep gains less than a hundredth. On a quarter of the
//! particles it starts from the times of the dynamic programme and from those of each grid that is given, and on all of them from the
//! best of what it found and of the grids, so that on the draws it is fitted on no grid does better.
//!
//! The particles are draws of stream 3, so that a comparison can judge the times on draws of its own. Only methods whose step
//! depends on nothing before it can be searched: not multistep ones, nor those that draw noise.

use serde::{Deserialize, Serialize};

use crate::backend::{Device, Noise};
use crate::checkpoint::Part;
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
/// Particles, fewer where they have many coordinates, and those of the dynamic programme and the first descents.
const PARTICLES: usize = 1024;
const LEAST_PARTICLES: usize = 64;
const COORDINATES: usize = 1 << 16;
const FEW: usize = 256;
/// Least number of times that the dynamic programme chooses from, and how many for each step.
const CANDIDATES: usize = 48;
const CANDIDATES_A_STEP: usize = 4;
/// The share of the way to a neighbour that a time moves, at first and at last: on few particles, and on all.
const ON_FEW: [f64; 2] = [0.25, 0.05];
const ON_ALL: [f64; 2] = [0.1, 0.01];
/// The share of the error by which a sweep must lower it to be repeated with moves as wide.
const GAIN: f64 = 0.01;
/// The record of a search.
const SEARCH: &str = "search";

/// A fine reference run of a field on a schedule, to which the times of methods are fitted.
pub struct OptimalSteps<'a> {
    field: &'a Field,
    schedule: &'a Schedule,
    device: &'a Device,
    /// Start and end points, n × d.
    start: Vec<f64>,
    end: Vec<f64>,
    /// Times s_j that the dynamic programme chooses from, and the states there of the first particles.
    times: Vec<f64>,
    states: Vec<Vec<f64>>,
}

/// A search under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Search {
    /// Times that earlier descents ended in; once there are as many as starts, this one is on all particles.
    ended: Vec<Vec<f64>>,
    times: Vec<f64>,
    error: f64,
    /// Share of the way to a neighbour.
    share: f64,
}

impl<'a> OptimalSteps<'a> {
    /// Numbers that a search of `steps` steps holds at most, in dimension `dim`: the states of the reference run at the times to choose
    /// from, and those after a step of the dynamic programme and before it.
    pub fn numbers(dim: usize, steps: usize) -> usize {
        3 * (half_of_candidates(steps) * 2 + 1) * particles(dim).min(FEW) * dim
    }

    /// Makes the reference run for searches of `steps` steps; its particles are draws of `source` under `seed`, scaled to the
    /// schedule's start. `go_on` is asked after each of its steps.
    ///
    /// # Errors
    /// [`CourseError`] as for [`Program::run`], or [`RunError::Stopped`].
    pub fn of(
        (field, schedule): (&'a Field, &'a Schedule),
        steps: usize,
        source: &Measure,
        seed: u32,
        device: &'a Device,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Self, CourseError> {
        let (d, grid) = (field.dim(), Grid::uniform(schedule, REFERENCE)?);
        let drawn = source.sample(particles(d), seed, Stream::Metric, STEP);
        let start: Vec<f64> = drawn.points().iter().map(|x| grid.start().sigma * x).collect();
        let chosen = candidates(schedule, steps)?;
        let mut states = Vec::with_capacity(chosen.len());
        let mut keep = |step: usize, state: &[f64]| {
            if chosen.binary_search(&step).is_ok() {
                states.push(state[..state.len().min(FEW * d)].to_vec());
            }
            go_on()
        };
        let program = Heun { euler_last: !field.is_regular_at_data() }.program(&grid);
        let end = program.observed(field, &start, Noise::NONE, device, Observe::States(&mut keep))?;
        let times = chosen.into_iter().map(|step| step as f64 / REFERENCE as f64).collect();
        Ok(Self { field, schedule, device, start, end, times, states })
    }

    /// The best `steps` + 1 times from 0 to 1 that are found for `method`, from the dynamic programme and from each of `grids` of so
    /// many steps. A search that `watch` kept goes on where it was left.
    ///
    /// # Errors
    /// [`CourseError`] as for [`Program::run`], or [`RunError::Stopped`] when the watch says stop.
    pub fn best(
        &self,
        method: &dyn Method,
        steps: usize,
        grids: &[Vec<f64>],
        mut watch: Watch<'_>,
    ) -> Result<Vec<f64>, CourseError> {
        let (few, all) = (self.fit(method, FEW), self.fit(method, PARTICLES));
        let begin = |ended: Vec<Vec<f64>>| {
            let (fit, share) = if ended.len() > grids.len() { (&all, ON_ALL) } else { (&few, ON_FEW) };
            let times = match ended.len() {
                0 => self.programmed(method, steps)?,
                first if first <= grids.len() => grids[first - 1].clone(),
                _ => all.least(ended.iter().chain(grids))?,
            };
            Ok::<_, CourseError>(Search { error: fit.error(&times)?, times, share: share[0], ended })
        };
        let mut search = match watch.record(SEARCH) {
            Some(kept) => kept,
            None => begin(Vec::new())?,
        };
        loop {
            let is_last = search.ended.len() > grids.len();
            let (fit, least) = if is_last { (&all, ON_ALL[1]) } else { (&few, ON_FEW[1]) };
            while search.share > least {
                let stage = format!("descent {} of {}", search.ended.len() + 1, grids.len() + 2);
                let now = Progress { stage: &stage, value: Some(search.error), ..Progress::default() };
                let go_on = watch.tell(now);
                if !watch.pass(go_on, |part: &mut Part<'_>| part.keep_record(SEARCH, &search)) {
                    return Err(RunError::Stopped { steps: search.ended.len() }.into());
                }
                let before = search.error;
                (search.times, search.error) = fit.sweep(search.times, before, search.share)?;
                if search.error > (1.0 - GAIN) * before {
                    search.share *= 0.5;
                }
            }
            if is_last {
                return Ok(search.times);
            }
            search.ended.push(search.times);
            search = begin(search.ended)?;
        }
    }

    /// E of a run of `method` at `times`, on all particles of the search.
    ///
    /// # Errors
    /// [`CourseError`] as for [`Program::run`], or for times that are none of a grid.
    pub fn error(&self, method: &dyn Method, times: &[f64]) -> Result<f64, CourseError> {
        self.fit(method, PARTICLES).error(times)
    }

    /// The times of the dynamic programme.
    ///
    /// # Errors
    /// [`CourseError`] as for [`Program::run`].
    pub fn programmed(&self, method: &dyn Method, steps: usize) -> Result<Vec<f64>, CourseError> {
        let (fit, last) = (self.fit(method, FEW), self.times.len() - 1);
        let levels: Vec<Level> = self.times.iter().map(|&t| self.schedule.level(t)).collect();
        let mut states: Vec<Option<Vec<f64>>> = vec![None; levels.len()];
        states[0] = Some(self.states[0].clone());
        let mut origins = Vec::with_capacity(steps);
        for step in 1..=steps {
            // The steps that remain take a time each, and the last one ends at the last.
            let reached = if step == steps { last..last + 1 } else { step..last + 1 - (steps - step) };
            let mut best: Vec<Option<(f64, usize, Vec<f64>)>> = vec![None; levels.len()];
            for (i, state) in states.iter().enumerate().filter_map(|(i, state)| Some((i, state.as_ref()?))) {
                let mut from = Origin { fit: &fit, level: levels[i], state, parts: None };
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

    /// The fit of a method on the first `particles`, or all where there are fewer.
    fn fit<'s>(&'s self, method: &'s dyn Method, particles: usize) -> Fit<'s> {
        Fit { of: self, method, numbers: self.start.len().min(particles * self.field.dim()) }
    }
}

/// A method on some of the particles.
struct Fit<'a> {
    of: &'a OptimalSteps<'a>,
    method: &'a dyn Method,
    /// Coordinates of the particles.
    numbers: usize,
}

impl Fit<'_> {
    /// E of a run at `times`.
    fn error(&self, times: &[f64]) -> Result<f64, CourseError> {
        self.error_from(&self.of.start[..self.numbers], times)
    }

    /// E of a run that is at `state` at the first of `times`.
    fn error_from(&self, state: &[f64], times: &[f64]) -> Result<f64, CourseError> {
        let end = self.run(state, times)?;
        let squares = squared_distance(&end, &self.of.end[..self.numbers]);
        Ok((squares * self.of.field.dim() as f64 / self.numbers as f64).sqrt())
    }

    /// Those with the least error; of times that all give none, the first.
    fn least<'t>(&self, all: impl Iterator<Item = &'t Vec<f64>>) -> Result<Vec<f64>, CourseError> {
        let errors: Vec<(f64, &Vec<f64>)> =
            all.map(|times| Ok((self.error(times)?, times))).collect::<Result<_, CourseError>>()?;
        let least = errors.into_iter().min_by(|a, b| a.0.total_cmp(&b.0));
        Ok(least.map_or_else(Vec::new, |(_, times)| times.clone()))
    }

    /// Moves each of `times`, whose error is known, where it is least with the others held.
    fn sweep(&self, mut times: Vec<f64>, mut error: f64, share: f64) -> Result<(Vec<f64>, f64), CourseError> {
        let mut state = self.of.start[..self.numbers].to_vec();
        for k in 1..times.len() - 1 {
            let (from, here, to) = (times[k - 1], times[k], times[k + 1]);
            let mut rest = times[k - 1..].to_vec();
            let mut at = |t: f64| {
                rest[1] = t;
                self.error_from(&state, &rest)
            };
            let (left, right) = (here - share * (here - from), here + share * (to - here));
            let tried = [(left, at(left)?), (here, error), (right, at(right)?)];
            let inside = |t: &f64| *t > from + 0.5 * (left - from) && *t < to - 0.5 * (to - right);
            let vertex = vertex(tried.map(|(t, e)| (t, e * e))).filter(inside);
            let vertex = vertex.map(|t| Ok::<_, CourseError>((t, at(t)?))).transpose()?;
            for (t, e) in tried.into_iter().chain(vertex) {
                if e < error {
                    (times[k], error) = (t, e);
                }
            }
            state = self.run(&state, &times[k - 1..=k])?;
        }
        Ok((times, error))
    }

    /// Where particles that are at `state` at the first of `times` end.
    fn run(&self, state: &[f64], times: &[f64]) -> Result<Vec<f64>, CourseError> {
        self.end(&self.method.program(&Grid::at(self.of.schedule, times)?), state)
    }

    /// Where `program` takes particles from `state`.
    fn end(&self, program: &Program, state: &[f64]) -> Result<Vec<f64>, CourseError> {
        Ok(program.run(self.of.field, state, Noise::NONE, self.of.device)?)
    }
}

/// Where steps begin.
struct Origin<'a> {
    fit: &'a Fit<'a>,
    level: Level,
    state: &'a [f64],
    /// x̂₀ and ε̂, once a step has asked for them.
    parts: Option<[Vec<f64>; 2]>,
}

impl Origin<'_> {
    /// The state after the step to `level`.
    fn to(&mut self, level: Level) -> Result<Vec<f64>, CourseError> {
        let Self { fit, level: from, state, .. } = *self;
        let program = fit.method.program(&Grid::from_levels(vec![from, level])?);
        let [Step { ops }] = &program.steps[..] else { return fit.end(&program, state) };
        let [Op::Evaluate { src: STATE, dst: STATE, p, q, .. }] = ops[..] else { return fit.end(&program, state) };
        let part = |p, q| fit.end(&[Step::evaluate(from, p, q)].into_iter().collect(), state);
        let [denoised, noise] = match &mut self.parts {
            Some(parts) => parts,
            none => none.insert([part(1.0, 0.0)?, part(0.0, 1.0)?]),
        };
        Ok(denoised.iter().zip(noise).map(|(x, e)| p * x + q * *e).collect())
    }
}

/// Particles of a search in dimension `dim`.
fn particles(dim: usize) -> usize {
    (COORDINATES / dim).clamp(LEAST_PARTICLES, PARTICLES)
}

/// Half the times that the dynamic programme chooses from.
fn half_of_candidates(steps: usize) -> usize {
    CANDIDATES.max(CANDIDATES_A_STEP * steps) / 2
}

/// Steps of the reference run after which the dynamic programme may choose a time: half of them equally far apart in time, half as
/// on a balanced grid, which is dense at both ends.
fn candidates(schedule: &Schedule, steps: usize) -> Result<Vec<usize>, GridError> {
    let half = half_of_candidates(steps);
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
