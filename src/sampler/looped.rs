//! Methods by name that look at the particles to choose their steps, or keep a clock of their own, and so are no programs.

mod by_error;
mod energy;

use crate::backend::{Device, Noise};
use crate::checkpoint::{Checkpoint, Part};
use crate::field::Field;
use crate::path::{Level, Schedule};
use crate::sampler::{Compat, Corrected, Corrector, Pair, Predictor, PredictorCorrector, RunError, Sde};

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
    /// Whether the predictor takes the step of the probability-flow ODE.
    pub probability_flow: bool,
    /// Path length after which a particle of Energy Matching in the plane stops.
    pub length: Option<f64>,
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

/// The data themselves.
const DATA: Level = Level { t: 1.0, alpha: 1.0, sigma: 0.0, alpha_dot: 0.0, sigma_dot: 0.0 };

impl Loop {
    /// The level whose noise the particles start from: that of the schedule, of the method's own SDE, or N(0, I).
    pub fn start(&self, schedule: &Schedule) -> Level {
        match self.kind {
            Kind::Adaptive(_) | Kind::DpmAdaptive => schedule.level(0.0),
            Kind::PredictorCorrector(sde, _) => sde.level(1.0),
            Kind::EnergyMatching(_) => Schedule::CondOt.level(0.0),
        }
    }

    /// Whether it runs on the processor in f64, whatever the device: methods that choose their steps by an error do.
    pub fn is_for_the_processor(&self) -> bool {
        matches!(self.kind, Kind::Adaptive(_) | Kind::DpmAdaptive)
    }

    /// Moves the particles from `start`, n × d, what is in `checkpoint` not again; `go_on` is told of progress now and then and
    /// says whether to: if not, `checkpoint` has what was done.
    ///
    /// # Errors
    /// [`RunError`] when sizes disagree, the method needs a law and the field is that of points, or `go_on` says stop.
    #[allow(clippy::too_many_arguments)]
    pub fn run(
        &self,
        field: &Field,
        start: &[f64],
        noise: Noise<'_>,
        options: &LoopOptions,
        device: &Device,
        checkpoint: &mut Checkpoint,
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
        let mut pauses = Pauses { part: checkpoint.part("loop"), go_on };
        match self.kind {
            Kind::Adaptive(pair) => by_error::runge_kutta(pair, law()?, start, options, &mut pauses),
            Kind::DpmAdaptive => by_error::dpm_solver(law()?, start, options, &mut pauses),
            Kind::PredictorCorrector(sde, end) => {
                if options.steps < sde.least_levels() {
                    return Err(RunError::TooFewLevels { method: self.name, levels: options.steps, least: sde.least_levels() });
                }
                let of_sub_vp = matches!(sde, Sde::SubVp(..));
                let batch_norms = options.compat.contains(&Compat::BATCH_MEAN_NORMS);
                let sampler = PredictorCorrector {
                    sde,
                    levels: options.steps,
                    end,
                    predictor: if of_sub_vp { Predictor::EulerMaruyama } else { Predictor::ReverseDiffusion },
                    corrector: if batch_norms { Corrector::BatchNorms(options.snr) } else { Corrector::Langevin(options.snr) },
                    corrections: 1,
                    probability_flow: options.probability_flow,
                    unused_draws: options.compat.contains(&Compat::UNUSED_DRAWS),
                };
                let mut run = Corrected::kept(&pauses.part).unwrap_or_else(|| Corrected::from(start));
                while run.made < sampler.levels {
                    pauses.pass(run.made, |part| run.keep(part))?;
                    sampler.step(field, &mut run, noise, device)?;
                }
                Ok(Looped { points: run.mean, nfe: run.nfe })
            }
            Kind::EnergyMatching(plane) => {
                energy::check(self.name, plane, law()?)?;
                energy::run(plane, (field, start), noise, options, device, &mut pauses)
            }
        }
    }
}

/// Points of a run from which it can go on.
struct Pauses<'a> {
    part: Part<'a>,
    go_on: &'a mut dyn FnMut(usize) -> bool,
}

impl Pauses<'_> {
    /// Tells that `made` steps are made; `keep` keeps the state where it has to be.
    fn pass(&mut self, made: usize, keep: impl FnOnce(&mut Part<'_>)) -> Result<(), RunError> {
        let go_on = (self.go_on)(made);
        if self.part.pass(go_on, keep) { Ok(()) } else { Err(RunError::Stopped { steps: made }) }
    }
}
