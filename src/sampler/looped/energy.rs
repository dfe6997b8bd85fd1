//! Energy Matching on V = −log p of a law.

use std::cell::Cell;

use crate::backend::{Device, Noise};
use crate::field::Field;
use crate::measure::Mixture;
use crate::sampler::looped::{DATA, LoopOptions, Looped, Pauses};
use crate::sampler::noise_blocks::NoiseBlocks;
use crate::sampler::unadjusted_langevin::settles;
use crate::sampler::{Compat, EnergyMatching, RunError};

/// h, τ* and ε_max of Energy Matching in the plane and on images.
const IN_THE_PLANE: EnergyMatching = EnergyMatching { tau_star: 0.8, epsilon_max: 0.15, step: 0.01 };
const ON_IMAGES: EnergyMatching = EnergyMatching { tau_star: 1.0, epsilon_max: 0.01, step: 0.01 };
/// The record of steps, evaluations and draws made, and the arrays of the state and of the lengths of paths.
const PROGRESS: &str = "steps, evaluations and draws";
const STATE: &str = "state";
const LENGTHS: &str = "lengths";

/// Refuses a law whose narrowest mode the steps of `method` cannot settle in.
pub fn check(method: &'static str, plane: bool, law: &Mixture) -> Result<(), RunError> {
    settles(method, if plane { IN_THE_PLANE } else { ON_IMAGES }.step, law)
}

/// Moves the particles by the steps for the plane, or else those for images.
pub fn run(
    plane: bool,
    (field, start): (&Field, &[f64]),
    noise: Noise<'_>,
    options: &LoopOptions,
    device: &Device,
    pauses: &mut Pauses<'_>,
) -> Result<Looped, RunError> {
    let sampler = if plane { IN_THE_PLANE } else { ON_IMAGES };
    let (field, len) = (field.prepare(device)?, start.len());
    let d = field.dim();
    let (first, evaluations, drawn) = pauses.part.record(PROGRESS).unwrap_or((0, 0, 0));
    let mut x = pauses.part.array(STATE).unwrap_or(start).to_vec();
    // A path is that of each particle or, as published, of all of them as one vector.
    let stride = if options.compat.contains(&Compat::BATCH_PATH_LENGTH) { len } else { d };
    let mut lengths = pauses.part.array(LENGTHS).map_or_else(|| vec![0.0; len / stride], <[f64]>::to_vec);
    let (evaluations, mut draws) = (Cell::new(evaluations), NoiseBlocks::after(drawn, noise, d));
    let force = |x: &[f64]| -> Result<Vec<f64>, RunError> {
        evaluations.set(evaluations.get() + 1);
        Ok(field.score(DATA, x)?)
    };
    for k in first..options.steps {
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
        let gibbs = options.compat.contains(&Compat::GIBBS_CLOCK);
        let t = if gibbs { (k + 1) as f64 / options.steps as f64 } else { elapsed };
        let before = x.clone();
        sampler.langevin_step(&mut x, &|_| t, d, &force, &mut normals)?;
        let Some(limit) = options.length else { continue };
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
