//! Energy Matching on V = −log p of a law.

use std::cell::Cell;

use crate::path::{Level, Schedule};
use crate::sampler::loops::{Ensemble, Loop, Looped, Pauses};
use crate::sampler::noise_blocks::NoiseBlocks;
use crate::sampler::{Compat, EnergyMatching, RunError};

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

/// Energy Matching on a law.
#[derive(Clone, Debug, PartialEq)]
pub struct EnergyDescent {
    /// The sampler.
    pub sampler: EnergyMatching,
    /// The steps for the plane; else those for images.
    pub plane: bool,
    /// Steps.
    pub steps: usize,
    /// Path length after which a particle in the plane stops.
    pub length: Option<f64>,
    /// Defects to reproduce.
    pub compat: Vec<Compat>,
}

impl Loop for EnergyDescent {
    fn start(&self) -> Level {
        Schedule::CondOt.level(0.0)
    }

    fn run(&self, ensemble: Ensemble<'_>, pauses: &mut Pauses<'_>) -> Result<Looped, RunError> {
        let Ensemble { field, start, noise, device } = ensemble;
        let Self { sampler, plane, steps, length, .. } = *self;
        let (field, d, len) = (field.prepare(device)?, field.dim(), start.len());
        let (first, evaluations, drawn) = pauses.part.record(PROGRESS).unwrap_or((0, 0, 0));
        let mut x = pauses.part.array(STATE).unwrap_or(start).to_vec();
        // A path is that of each particle or, as published, of all of them as one vector.
        let stride = if self.compat.contains(&Compat::BATCH_PATH_LENGTH) { len } else { d };
        let mut lengths = pauses.part.array(LENGTHS).map_or_else(|| vec![0.0; len / stride], <[f64]>::to_vec);
        let (evaluations, mut draws) = (Cell::new(evaluations), NoiseBlocks::after(drawn, noise, d));
        let force = |x: &[f64]| -> Result<Vec<f64>, RunError> {
            evaluations.set(evaluations.get() + 1);
            Ok(field.score(DATA, x)?)
        };
        for k in first..steps {
            pauses.pass(k, |part| {
                part.keep_record(PROGRESS, &(k, evaluations.get(), draws.made));
                part.keep_array(STATE, x.clone());
                part.keep_array(LENGTHS, lengths.clone());
            })?;
            let mut normals = || draws.take(len);
            let elapsed = k as f64 * sampler.step;
            if !plane {
                sampler.heun_step(&mut x, elapsed, &force, &mut normals)?;
                continue;
            }
            let gibbs = self.compat.contains(&Compat::GIBBS_CLOCK);
            let t = if gibbs { (k + 1) as f64 / steps as f64 } else { elapsed };
            let before = x.clone();
            sampler.langevin_step(&mut x, &|_| t, d, &force, &mut normals)?;
            let Some(limit) = length else { continue };
            for (length, (x, before)) in lengths.iter_mut().zip(x.chunks_exact_mut(stride).zip(before.chunks_exact(stride))) {
                match *length < limit {
                    true => *length += x.iter().zip(before).map(|(x, b)| (x - b).powi(2)).sum::<f64>().sqrt(),
                    false => x.copy_from_slice(before),
                }
            }
            if lengths.iter().all(|length| *length >= limit) {
                break;
            }
        }
        Ok(Looped { points: x, nfe: evaluations.get() })
    }
}
