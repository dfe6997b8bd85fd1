//! Methods that choose their steps by an error, each particle for itself, along the flow of a law.

use rayon::prelude::*;

use crate::field::Field;
use crate::measure::Mixture;
use crate::path::{Level, Schedule};
use crate::sampler::loops::{Ensemble, Loop, Looped, Pauses};
use crate::sampler::{Adaptive, AdaptiveRun, DpmAdaptive, RunError};

/// Particles between two looks at whether to go on.
const BLOCK: usize = 1024;
/// The record of the evaluations made so far, and the array of the end points.
pub(in crate::sampler) const EVALUATIONS: &str = "evaluations";
const ENDS: &str = "ends";

/// What such a method needs, and what to take for points.
pub(in crate::sampler) const LAW: (&str, &str) = ("the field", "pf-heun, or a pc method");

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

impl AdaptiveFlow {
    /// The velocity α̇ x̂₀ + σ̇ ε̂ of `field` at (t, x), of as many particles as x has.
    pub(in crate::sampler) fn velocity<'a>(
        &'a self,
        field: &'a Field,
    ) -> Result<impl Fn(f64, &[f64]) -> Vec<f64> + Sync + 'a, RunError> {
        let law = law(field)?;
        Ok(move |t: f64, x: &[f64]| {
            let level = self.schedule.level(t);
            x.chunks_exact(law.dim()).flat_map(|x| law.evaluate(level, level.alpha_dot, level.sigma_dot, x)).collect()
        })
    }
}

impl Loop for AdaptiveFlow {
    fn start(&self) -> Level {
        self.schedule.level(0.0)
    }

    fn run(&self, ensemble: Ensemble<'_>, pauses: &mut Pauses<'_>) -> Result<Looped, RunError> {
        let velocity = self.velocity(ensemble.field)?;
        by_blocks(&ensemble, self.ticks, pauses, |block| {
            let solution = self.method.to_tolerance_before(self.bound, &velocity, &[0.0, 1.0], block, ensemble.field.dim())?;
            Ok((solution.states.into_iter().next_back().unwrap_or_default(), solution.evaluated.len()))
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
}

impl Loop for AdaptiveDpm {
    fn start(&self) -> Level {
        self.schedule.level(0.0)
    }

    fn run(&self, ensemble: Ensemble<'_>, pauses: &mut Pauses<'_>) -> Result<Looped, RunError> {
        let ([first, last], noise, d) = (self.ends()?, noise(ensemble.field)?, ensemble.field.dim());
        by_blocks(&ensemble, self.ticks, pauses, |block| {
            let one = |x: &[f64]| self.solver.run(&mut { &noise }, &from_level(x, first), first.ratio(), last.ratio());
            let runs: Vec<AdaptiveRun> = block.par_chunks(d).map(one).collect();
            let ends = runs.iter().flat_map(|run| to_level(&run.state, last)).collect();
            Ok((ends, runs.iter().map(|run| run.nfe).sum()))
        })
    }
}

/// ε̂ of `field` at (q, y), y = x/α of as many particles as y has.
pub(in crate::sampler) fn noise(field: &Field) -> Result<impl Fn(f64, &[f64]) -> Vec<f64> + Sync + '_, RunError> {
    let law = law(field)?;
    Ok(move |q: f64, y: &[f64]| {
        let level = Level { t: 1.0, alpha: 1.0, sigma: q, alpha_dot: 0.0, sigma_dot: 0.0 };
        y.chunks_exact(law.dim()).flat_map(|y| law.noise(level, y)).collect()
    })
}

/// y = x/α.
pub(in crate::sampler) fn from_level(x: &[f64], level: Level) -> Vec<f64> {
    x.iter().map(|x| x / level.alpha).collect()
}

/// x = αy.
pub(in crate::sampler) fn to_level(y: &[f64], level: Level) -> Vec<f64> {
    y.iter().map(|y| level.alpha * y).collect()
}

fn law(field: &Field) -> Result<&Mixture, RunError> {
    let (what, instead) = LAW;
    match field {
        Field::Mixture(law) => Ok(law),
        _ => Err(RunError::NeedsLaw { method: "a method with adaptive steps", what, instead }),
    }
}

/// Moves the particles block by block; `ends` gives the end points of some and the evaluations made for all of them.
fn by_blocks(
    ensemble: &Ensemble<'_>,
    ticks: usize,
    pauses: &mut Pauses<'_>,
    ends: impl Fn(&[f64]) -> Result<(Vec<f64>, usize), RunError>,
) -> Result<Looped, RunError> {
    let (start, d) = (ensemble.start, ensemble.field.dim());
    let mut points = pauses.part.array(ENDS).unwrap_or_default().to_vec();
    let mut evaluations = pauses.part.record(EVALUATIONS).unwrap_or(0);
    while points.len() < start.len() {
        pauses.pass(ticks * points.len() / start.len(), |part| {
            part.keep_array(ENDS, points.clone());
            part.keep_record(EVALUATIONS, &evaluations);
        })?;
        let to = start.len().min(points.len() + BLOCK * d);
        let (moved, made) = ends(&start[points.len()..to])?;
        points.extend(moved);
        evaluations += made;
    }
    Ok(Looped { points, nfe: evaluations.div_ceil((start.len() / d).max(1)) })
}
