//! Methods by name that look at the particles to choose their steps, or keep a clock of their own, and so are no programs.

use std::cell::Cell;

use rayon::prelude::*;

use crate::backend::{Device, Noise};
use crate::field::Field;
use crate::measure::Mixture;
use crate::path::{Level, Schedule};
use crate::sampler::draws::Draws;
use crate::sampler::{
    Adaptive, Compat, Corrector, DpmAdaptive, EnergyMatching, Pair, Predictor, PredictorCorrector, RunError, Sde,
};

/// A method by its name: one row of [`LOOPS`].
#[derive(Clone, Copy, Debug)]
pub struct Loop {
    /// Its name.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// Name of the schedule it runs on unless told otherwise; none where it has its own.
    pub schedule: Option<&'static str>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Adaptive(Pair),
    DpmAdaptive,
    PredictorCorrector(Sde, f64),
    /// In the plane; else on images.
    EnergyMatching(bool),
}

/// The options of all loops.
#[derive(Clone, Debug)]
pub struct LoopOptions {
    /// The schedule, for methods that take one.
    pub schedule: Schedule,
    /// Levels or steps, of methods that do not choose them.
    pub steps: usize,
    /// Relative and absolute tolerance of the adaptive methods; none: 1e-5, and DPM-Solver's own.
    pub tolerance: Option<f64>,
    /// Signal-to-noise ratio of the corrector.
    pub snr: f64,
    /// Defects to reproduce.
    pub compat: Vec<Compat>,
}

/// Where a loop ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Looped {
    /// The end points, n × d.
    pub points: Vec<f64>,
    /// Evaluations of the field, the mean over the particles.
    pub nfe: usize,
}

/// All named loops.
pub const LOOPS: [Loop; 10] = [
    Loop {
        name: "dopri5",
        about: "Dormand-Prince 5(4), steps by --tol for each particle; a law's field only",
        schedule: Some("condot"),
        kind: Kind::Adaptive(Pair::DOPRI_5),
    },
    Loop {
        name: "bosh3",
        about: "Bogacki-Shampine 3(2), steps by --tol for each particle; a law's field only",
        schedule: Some("condot"),
        kind: Kind::Adaptive(Pair::BOSH_3),
    },
    Loop {
        name: "dopri8",
        about: "Dormand-Prince 8(7), steps by --tol for each particle; a law's field only",
        schedule: Some("condot"),
        kind: Kind::Adaptive(Pair::DOPRI_8),
    },
    Loop {
        name: "adaptive-heun",
        about: "Heun 2(1), steps by --tol for each particle; a law's field only",
        schedule: Some("condot"),
        kind: Kind::Adaptive(Pair::ADAPTIVE_HEUN),
    },
    Loop {
        name: "dpm-adaptive",
        about: "adaptive DPM-Solver (Lu et al. 2022) for each particle, down to the schedule's last noise; a law's field only",
        schedule: Some("ve"),
        kind: Kind::DpmAdaptive,
    },
    Loop {
        name: "pc-ve",
        about: "predictor-corrector (Song et al. 2021), variance exploding from 50 to 0.01; stochastic",
        schedule: None,
        kind: Kind::PredictorCorrector(Sde::Ve(0.01, 50.0), 1e-5),
    },
    Loop {
        name: "pc-vp",
        about: "predictor-corrector, variance preserving with beta from 0.1 to 20; stochastic",
        schedule: None,
        kind: Kind::PredictorCorrector(Sde::Vp(0.1, 20.0), 1e-3),
    },
    Loop {
        name: "pc-subvp",
        about: "predictor-corrector, sub-variance-preserving with beta from 0.1 to 20; stochastic",
        schedule: None,
        kind: Kind::PredictorCorrector(Sde::SubVp(0.1, 20.0), 1e-3),
    },
    Loop {
        name: "energy-matching",
        about: "Energy Matching on V = -log p in the plane (Balcerak et al. 2025): steps of 0.01, noise from t = 0.8 to 0.15; stochastic",
        schedule: None,
        kind: Kind::EnergyMatching(true),
    },
    Loop {
        name: "energy-matching-image",
        about: "Energy Matching as for images: Heun steps of 0.01, noise 0.01 from t = 1 on; stochastic",
        schedule: None,
        kind: Kind::EnergyMatching(false),
    },
];

/// Particles between two looks at whether to go on.
const BLOCK: usize = 4096;
/// h, τ* and ε_max of Energy Matching in the plane and on images.
const IN_THE_PLANE: EnergyMatching = EnergyMatching { tau_star: 0.8, epsilon_max: 0.15, step: 0.01 };
const ON_IMAGES: EnergyMatching = EnergyMatching { tau_star: 1.0, epsilon_max: 0.01, step: 0.01 };
/// The data themselves.
const DATA: Level = Level { t: 1.0, alpha: 1.0, sigma: 0.0, alpha_dot: 0.0, sigma_dot: 0.0 };

impl Loop {
    /// The row of [`LOOPS`] called `name`.
    pub fn named(name: &str) -> Option<Self> {
        LOOPS.into_iter().find(|entry| entry.name == name)
    }

    /// The level whose noise the particles start from: that of the schedule, of the method's own SDE, or N(0, I).
    pub fn start(&self, schedule: &Schedule) -> Level {
        match self.kind {
            Kind::Adaptive(_) | Kind::DpmAdaptive => schedule.level(0.0),
            Kind::PredictorCorrector(sde, _) => sde.level(1.0),
            Kind::EnergyMatching(_) => Schedule::CondOt.level(0.0),
        }
    }

    /// Moves the particles from `start`, n × d; `go_on` is told of progress now and then and says whether to.
    ///
    /// # Errors
    /// [`RunError`] when sizes disagree, the method needs a law and the field is that of points, or `go_on` says stop.
    pub fn run(
        &self,
        field: &Field,
        start: &[f64],
        noise: Noise<'_>,
        options: &LoopOptions,
        device: &Device,
        go_on: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Looped, RunError> {
        let d = field.dim();
        if !start.len().is_multiple_of(d) {
            return Err(RunError::Dimension { start: start.len(), field: d });
        }
        let law = || match field {
            Field::Mixture(mixture) => Ok(mixture),
            _ => Err(RunError::NeedsLaw { method: self.name }),
        };
        match self.kind {
            Kind::Adaptive(pair) => adaptive(pair, law()?, start, options, go_on),
            Kind::DpmAdaptive => dpm_adaptive(law()?, start, options, go_on),
            Kind::PredictorCorrector(sde, end) => {
                let of_sub_vp = matches!(sde, Sde::SubVp(..));
                let sampler = PredictorCorrector {
                    sde,
                    levels: options.steps,
                    end,
                    predictor: if of_sub_vp { Predictor::EulerMaruyama } else { Predictor::ReverseDiffusion },
                    corrector: Corrector::Langevin(options.snr),
                    corrections: 1,
                    probability_flow: false,
                    batch_norms: options.compat.contains(&Compat::BATCH_MEAN_NORMS),
                    unused_draws: false,
                };
                let mut made = 0;
                let mut watch = |_: &[f64]| {
                    made += 1;
                    go_on(made)
                };
                let run = sampler.run(field, start, noise, device, &mut watch)?;
                Ok(Looped { points: run.mean, nfe: run.nfe })
            }
            Kind::EnergyMatching(plane) => {
                law()?; // the score of points at no noise is none
                energy_matching(plane, field, start, noise, options, device, go_on)
            }
        }
    }
}

fn adaptive(
    pair: Pair,
    law: &Mixture,
    start: &[f64],
    options: &LoopOptions,
    go_on: &mut dyn FnMut(usize) -> bool,
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
    let (times, n) = ([0.0, 1.0], start.len() / d);
    if has(Compat::BATCH_ERROR_NORM) {
        let solution = method.integrate(&mut |t, x| velocity(t, x), &times, start, &[start.len()])?;
        return Ok(Looped { nfe: solution.evaluated.len(), points: solution.states.into_iter().next_back().unwrap_or_default() });
    }
    let (mut points, mut evaluations) = (Vec::with_capacity(start.len()), 0);
    for block in start.chunks(BLOCK * d) {
        if !go_on(options.steps * points.len() / start.len()) {
            return Err(RunError::Stopped { steps: 0 });
        }
        let solution = method.to_tolerance(velocity, &times, block, d)?;
        evaluations += solution.evaluated.len();
        points.extend(solution.states.into_iter().next_back().unwrap_or_default());
    }
    Ok(Looped { points, nfe: evaluations.div_ceil(n.max(1)) })
}

fn dpm_adaptive(
    law: &Mixture,
    start: &[f64],
    options: &LoopOptions,
    go_on: &mut dyn FnMut(usize) -> bool,
) -> Result<Looped, RunError> {
    let (d, usual) = (law.dim(), DpmAdaptive::default());
    let (rtol, atol) = options.tolerance.map_or((usual.rtol, usual.atol), |tol| (tol, tol));
    let solver = DpmAdaptive { rtol, atol, ..usual };
    // The run is one of y = x/α in σ/α; a schedule that meets the data or pure noise is left a little before.
    let (first, last) = (options.schedule.level(0.0), options.schedule.level(1.0));
    let last = if last.sigma > 0.0 { last } else { options.schedule.level(0.999) };
    if first.alpha == 0.0 {
        return Err(RunError::PureNoise);
    }
    let one = |x: &[f64]| {
        let mut noise = |q: f64, y: &[f64]| -> Vec<f64> {
            let level = Level { alpha: 1.0, sigma: q, ..DATA };
            y.chunks_exact(d).flat_map(|y| law.noise(level, y)).collect()
        };
        let y: Vec<f64> = x.iter().map(|x| x / first.alpha).collect();
        solver.run(&mut noise, &y, first.ratio(), last.ratio())
    };
    let (mut points, mut evaluations, whole) =
        (Vec::with_capacity(start.len()), 0, options.compat.contains(&Compat::BATCH_ERROR_NORM));
    let particle = if whole { start.len().max(d) } else { d };
    for block in start.chunks(if whole { particle } else { BLOCK * d }) {
        if !go_on(options.steps * points.len() / start.len()) {
            return Err(RunError::Stopped { steps: 0 });
        }
        for run in block.par_chunks(particle).map(one).collect::<Vec<_>>() {
            evaluations += run.nfe * particle / d;
            points.extend(run.state.into_iter().map(|y| last.alpha * y));
        }
    }
    Ok(Looped { points, nfe: evaluations.div_ceil((start.len() / d).max(1)) })
}

fn energy_matching(
    plane: bool,
    field: &Field,
    start: &[f64],
    noise: Noise<'_>,
    options: &LoopOptions,
    device: &Device,
    go_on: &mut dyn FnMut(usize) -> bool,
) -> Result<Looped, RunError> {
    let sampler = if plane { IN_THE_PLANE } else { ON_IMAGES };
    let (d, len, mut x, evaluations) = (field.dim(), start.len(), start.to_vec(), Cell::new(0));
    let mut draws = Draws::new(noise, d);
    let force = |x: &[f64]| {
        evaluations.set(evaluations.get() + 1);
        field.score(DATA, x, device)
    };
    let mut normals = || draws.take(len);
    for k in 0..options.steps {
        if !go_on(k) {
            return Err(RunError::Stopped { steps: k });
        }
        let elapsed = k as f64 * sampler.step;
        if !plane {
            sampler.heun_step(&mut x, elapsed, &force, &mut normals)?;
            continue;
        }
        let gibbs = options.compat.contains(&Compat::GIBBS_CLOCK);
        let t = if gibbs { (k + 1) as f64 / options.steps as f64 } else { elapsed };
        sampler.langevin_step(&mut x, &|_| t, d, &force, &mut normals)?;
    }
    Ok(Looped { points: x, nfe: evaluations.get() })
}
