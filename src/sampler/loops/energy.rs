//! Energy Matching on V = −log p of a law.

use std::cell::Cell;

use crate::path::{Level, Schedule};
use crate::sampler::energy_matching::{Force, Normals};
use crate::sampler::loops::{Ensemble, Loop, Looped, Pauses};
use crate::sampler::noise_blocks::NoiseBlocks;
use crate::sampler::{EnergyMatching, RunError};

/// The data themselves.
const DATA: Level = Level { t: 1.0, alpha: 1.0, sigma: 0.0, alpha_dot: 0.0, sigma_dot: 0.0 };
/// h, τ* and ε_max of Energy Matching in the plane.
pub const IN_THE_PLANE: EnergyMatching = EnergyMatching { tau_star: 0.8, epsilon_max: 0.15, step: 0.01 };
/// The same on images.
pub const ON_IMAGES: EnergyMatching = EnergyMatching { tau_star: 1.0, epsilon_max: 0.01, step: 0.01 };
/// The record of steps, evaluations and draws made, and the arrays of the state and of the lengths of paths.
const PROGRESS: &str = "steps, evaluations and draws";
const STATE: &str = "state";
const LENGTHS: &str = "lengths";

/// Energy Matching in the plane: Langevin steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaneDescent {
    /// The sampler.
    pub sampler: EnergyMatching,
    /// Steps.
    pub steps: usize,
    /// Path length after which a particle stops.
    pub length: Option<f64>,
}

/// Energy Matching on images: Heun steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageDescent {
    /// The sampler.
    pub sampler: EnergyMatching,
    /// Steps.
    pub steps: usize,
}

/// The clock and the path of a descent in the plane: [`PlaneDescent`], or a defect of it.
pub trait PlanePath {
    /// The descent.
    fn descent(&self) -> &PlaneDescent;

    /// The time of step `k`.
    fn time(&self, k: usize) -> f64;

    /// How many of `len` coordinates make a path, in dimension `d`.
    fn stride(&self, len: usize, d: usize) -> usize;
}

impl PlanePath for PlaneDescent {
    fn descent(&self) -> &PlaneDescent {
        self
    }

    fn time(&self, k: usize) -> f64 {
        k as f64 * self.sampler.step
    }

    fn stride(&self, _: usize, d: usize) -> usize {
        d
    }
}

impl<P: PlanePath + ?Sized> PlanePath for Box<P> {
    fn descent(&self) -> &PlaneDescent {
        (**self).descent()
    }

    fn time(&self, k: usize) -> f64 {
        (**self).time(k)
    }

    fn stride(&self, len: usize, d: usize) -> usize {
        (**self).stride(len, d)
    }
}

impl Loop for Box<dyn PlanePath> {
    fn start(&self) -> Level {
        Schedule::CondOt.level(0.0)
    }

    fn run(&self, ensemble: Ensemble<'_>, pauses: &mut Pauses<'_>) -> Result<Looped, RunError> {
        let PlaneDescent { sampler, steps, length } = *self.descent();
        let (len, d) = (ensemble.start.len(), ensemble.field.dim());
        let stride = self.stride(len, d).max(1);
        let mut lengths = pauses.part.array(LENGTHS).map_or_else(|| vec![0.0; len / stride], <[f64]>::to_vec);
        descend(steps, &mut lengths, ensemble, pauses, |k, x, lengths, force, normals| {
            let (t, before) = (self.time(k), x.to_vec());
            sampler.langevin_step(x, &|_| t, d, force, normals)?;
            let Some(limit) = length else { return Ok(true) };
            for (length, (x, before)) in lengths.iter_mut().zip(x.chunks_exact_mut(stride).zip(before.chunks_exact(stride))) {
                match *length < limit {
                    true => *length += x.iter().zip(before).map(|(x, b)| (x - b).powi(2)).sum::<f64>().sqrt(),
                    false => x.copy_from_slice(before),
                }
            }
            Ok(lengths.iter().any(|length| *length < limit))
        })
    }
}

impl Loop for ImageDescent {
    fn start(&self) -> Level {
        Schedule::CondOt.level(0.0)
    }

    fn run(&self, ensemble: Ensemble<'_>, pauses: &mut Pauses<'_>) -> Result<Looped, RunError> {
        let Self { sampler, steps } = *self;
        descend(steps, &mut [], ensemble, pauses, |k, x, _, force, normals| {
            sampler.heun_step(x, k as f64 * sampler.step, force, normals)?;
            Ok(true)
        })
    }
}

/// Makes `steps` steps of `step`, each a pause; `lengths` are kept with the state.
fn descend(
    steps: usize,
    lengths: &mut [f64],
    ensemble: Ensemble<'_>,
    pauses: &mut Pauses<'_>,
    step: impl Fn(usize, &mut [f64], &mut [f64], Force<'_, RunError>, Normals<'_, RunError>) -> Result<bool, RunError>,
) -> Result<Looped, RunError> {
    let Ensemble { field, start, noise, device } = ensemble;
    let (field, each, d, len) = (field.prepare(device)?, field.evaluations(DATA), field.dim(), start.len());
    let (first, evaluations, drawn) = pauses.part.record(PROGRESS).unwrap_or((0, 0, 0));
    let mut x = pauses.part.array(STATE).unwrap_or(start).to_vec();
    let (evaluations, mut draws) = (Cell::new(evaluations), NoiseBlocks::after(drawn, noise, d));
    let force = |x: &[f64]| -> Result<Vec<f64>, RunError> {
        evaluations.set(evaluations.get() + each);
        Ok(field.score(DATA, x)?)
    };
    for k in first..steps {
        pauses.pass(k, |part| {
            part.keep_record(PROGRESS, &(k, evaluations.get(), draws.made));
            part.keep_array(STATE, x.clone());
            part.keep_array(LENGTHS, lengths.to_vec());
        })?;
        if !step(k, &mut x, lengths, &force, &mut || draws.take(len))? {
            break;
        }
    }
    Ok(Looped { points: x, nfe: evaluations.get(), tries: Vec::new(), log_p: Vec::new() })
}
