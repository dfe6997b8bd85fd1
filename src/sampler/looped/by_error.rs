//! Methods that choose their steps by an error, each particle for itself or, as published, all as one system.

use std::cell::Cell;

use rayon::prelude::*;

use crate::measure::Mixture;
use crate::path::Level;
use crate::sampler::adaptive::March;
use crate::sampler::looped::{DATA, LoopOptions, Looped, Pauses};
use crate::sampler::{Adaptive, AdaptiveRun, Compat, DpmAdaptive, Pair, RunError};

/// Particles between two looks at whether to go on.
const BLOCK: usize = 1024;
/// The record of the evaluations made so far, and the array of the end points.
const EVALUATIONS: &str = "evaluations";
const ENDS: &str = "ends";

/// Runge-Kutta along the probability flow.
pub fn runge_kutta(
    pair: Pair,
    law: &Mixture,
    start: &[f64],
    options: &LoopOptions,
    pauses: &mut Pauses<'_>,
) -> Result<Looped, RunError> {
    let (d, has) = (law.dim(), |compat| options.compat.contains(&compat));
    let method = Adaptive {
        overshoot: has(Compat::OVERSHOOT_AND_INTERPOLATE),
        stale_slope: has(Compat::STALE_SLOPE),
        ..Adaptive::new(pair, options.tolerance.unwrap_or(1e-5))
    };
    let velocity = |t: f64, x: &[f64]| -> Vec<f64> {
        let level = options.schedule.level(t);
        x.chunks_exact(d).flat_map(|x| law.evaluate(level, level.alpha_dot, level.sigma_dot, x)).collect()
    };
    if !has(Compat::BATCH_ERROR_NORM) {
        return by_blocks(start, d, options.steps, pauses, |block| {
            let solution = method.to_tolerance(velocity, &[0.0, 1.0], block, d)?;
            Ok((solution.states.into_iter().next_back().unwrap_or_default(), solution.evaluated.len()))
        });
    }
    let (nfe, parts) = (Cell::new(pauses.part.record(EVALUATIONS).unwrap_or(0)), [start.len()]);
    let mut slope = |t: f64, x: &[f64]| {
        nfe.set(nfe.get() + 1);
        velocity(t, x)
    };
    let mut march = March::kept(&pauses.part).unwrap_or_else(|| method.begin(&mut slope, [0.0, 1.0], start, &parts));
    while !march.has_passed(1.0) {
        pauses.pass((march.time() * options.steps as f64) as usize, |part| {
            part.keep_record(EVALUATIONS, &nfe.get());
            march.keep(part);
        })?;
        method.step(&mut march, &mut slope, &parts)?;
    }
    Ok(Looped { nfe: nfe.get(), points: march.at(1.0) })
}

/// DPM-Solver in σ/α.
pub fn dpm_solver(law: &Mixture, start: &[f64], options: &LoopOptions, pauses: &mut Pauses<'_>) -> Result<Looped, RunError> {
    let (d, usual) = (law.dim(), DpmAdaptive::default());
    let (rtol, atol) = options.tolerance.map_or((usual.rtol, usual.atol), |tol| (tol, tol));
    let solver = DpmAdaptive { rtol, atol, ..usual };
    // The run is one of y = x/α in σ/α; a schedule that meets the data or pure noise is left a little before.
    let (first, last) = (options.schedule.level(0.0), options.schedule.level(1.0));
    let last = if last.sigma > 0.0 { last } else { options.schedule.level(0.999) };
    if first.alpha == 0.0 {
        return Err(RunError::PureNoise);
    }
    let noise = |q: f64, y: &[f64]| -> Vec<f64> {
        let level = Level { alpha: 1.0, sigma: q, ..DATA };
        y.chunks_exact(d).flat_map(|y| law.noise(level, y)).collect()
    };
    let scaled = |by: f64, x: &[f64]| x.iter().map(|x| by * x).collect::<Vec<f64>>();
    let from = |x: &[f64]| x.iter().map(|x| x / first.alpha).collect::<Vec<f64>>();
    if !options.compat.contains(&Compat::BATCH_ERROR_NORM) {
        return by_blocks(start, d, options.steps, pauses, |block| {
            let one = |x: &[f64]| solver.run(&mut { noise }, &from(x), first.ratio(), last.ratio());
            let runs: Vec<AdaptiveRun> = block.par_chunks(d).map(one).collect();
            let ends = runs.iter().flat_map(|run| scaled(last.alpha, &run.state)).collect();
            Ok((ends, runs.iter().map(|run| run.nfe).sum()))
        });
    }
    let mut run = AdaptiveRun::kept(&pauses.part).unwrap_or_else(|| solver.begin(&from(start), first.ratio()));
    loop {
        pauses.pass(run.accepted.min(options.steps), |part| run.keep(part))?;
        if !solver.step(&mut { noise }, &mut run, last.ratio()) {
            return Ok(Looped { points: scaled(last.alpha, &run.state), nfe: run.nfe });
        }
    }
}

/// Moves the particles block by block; `ends` gives the end points of some and the evaluations made for all of them.
fn by_blocks(
    start: &[f64],
    d: usize,
    steps: usize,
    pauses: &mut Pauses<'_>,
    ends: impl Fn(&[f64]) -> Result<(Vec<f64>, usize), RunError>,
) -> Result<Looped, RunError> {
    let mut points = pauses.part.array(ENDS).unwrap_or_default().to_vec();
    let mut evaluations = pauses.part.record(EVALUATIONS).unwrap_or(0);
    while points.len() < start.len() {
        pauses.pass(steps * points.len() / start.len(), |part| {
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
