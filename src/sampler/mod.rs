//! Methods: each maps a time grid to a [`Program`], and is one file.
//!
//! A method never sees the particles, a device or a precision, so it works on every field and backend, and two methods are the
//! same when their programs are.
//!
//! ```
//! use brenier::backend::{Device, Noise, Precision};
//! use brenier::field::Field;
//! use brenier::measure::Mixture;
//! use brenier::path::{Grid, Schedule};
//! use brenier::sampler::{Heun, Method, named};
//!
//! assert!(named("dopri5").is_ok() && named("dopri").is_err()); // all methods, by name
//! let grid = Grid::uniform(&Schedule::CondOt, 20)?;
//! let program = Heun { euler_last: false }.program(&grid);
//! let (field, device) = (Field::Mixture(Mixture::standard_normal(1)), Device::cpu(Precision::F64));
//! let end = program.run(&field, &[-1.0, 1.0], Noise::NONE, &device)?;
//! assert!((end[1] - 1.0).abs() < 0.01); // from N(0, 1) to N(0, 1) nothing has to move
//! # Ok::<(), brenier::Error>(())
//! ```

pub mod adaptive;
mod ancestral;
pub mod annealed_langevin;
pub mod arc_length;
pub mod compat;
pub mod course;
pub mod ddim;
pub mod ddpm;
pub mod dpm_2;
pub mod dpm_adaptive;
pub mod dpm_plus_plus;
pub mod dpm_plus_plus_2s;
pub mod dpm_plus_plus_sde;
pub mod dpm_solver;
pub mod edm;
pub mod energy_matching;
pub mod entry;
pub mod euler;
pub mod explicit_score;
pub mod heun;
pub mod likelihood;
pub mod lms;
pub mod loops;
mod noise_blocks;
pub mod optimal_steps;
pub mod predictor_corrector;
pub mod pushforward;
pub mod renoise;
pub mod run;
pub mod runge_kutta;
pub mod start;
pub mod stochastic_interpolant;
pub mod tableau;
pub mod unadjusted_langevin;

use crate::path::{Grid, Spacing};
use crate::program::Program;
use crate::sampler::likelihood::usual_probes;

pub use adaptive::{Adaptive, AdaptiveError, Solution, Tries};
pub use annealed_langevin::AnnealedLangevin;
pub use arc_length::ArcLength;
pub use compat::{
    BatchErrorNorm, BatchMeanNorms, BatchPathLength, COMPATS, ChurnAfterModel, Compat, GibbsClock, HalfCurvature, HalfStep,
    NoisyDdpm, Overshooting, StageTime, StridedDdim, UnknownCompat, UnusedDraws, stale_slope,
};
pub use course::{Course, CourseError, Moves};
pub use ddim::Ddim;
pub use ddpm::{Ddpm, Variance};
pub use dpm_2::Dpm2;
pub use dpm_adaptive::{AdaptiveRun, DpmAdaptive};
pub use dpm_plus_plus::{DpmPlusPlus, SecondOrder};
pub use dpm_plus_plus_2s::DpmPlusPlus2S;
pub use dpm_plus_plus_sde::DpmPlusPlusSde;
pub use dpm_solver::DpmSolver;
pub use edm::{Churn, Edm};
pub use energy_matching::EnergyMatching;
pub use entry::{Choice, Entry, Kind, Levels, Needs, Options, Setting, UnknownMethod, named, names};
pub use euler::Euler;
pub use explicit_score::ExplicitScore;
pub use heun::Heun;
pub use likelihood::{ChangeOfVariables, Likelihood, LogLikelihood};
pub use lms::Lms;
pub use loops::adaptive_flow::{AdaptiveDpm, AdaptiveFlow, LogP};
pub use loops::energy::IN_THE_PLANE;
pub use loops::energy::{ImageDescent, PlaneDescent, PlanePath};
pub use loops::{Ensemble, Loop, Looped, Pauses};
pub use optimal_steps::OptimalSteps;
pub use predictor_corrector::{Corrected, Corrector, Predictor, PredictorCorrector, ReverseSde, Sde};
pub use pushforward::Pushforward;
pub use renoise::Renoise;
pub use run::{Observe, RunError, Underway};
pub use runge_kutta::RungeKutta;
pub use start::{prior_error, start};
pub use stochastic_interpolant::{Diffusion, LastStep, StochasticInterpolant};
pub use tableau::{Pair, Tableau};
pub use unadjusted_langevin::UnadjustedLangevin;

/// A sampling method.
pub trait Method {
    /// The steps along `grid`.
    fn program(&self, grid: &Grid) -> Program;

    /// Order of convergence in the step to the flow of the probability-flow ODE; `None` when the method draws noise.
    fn order(&self) -> Option<u32>;

    /// What a user should know of a run along `grid`, in a sentence.
    fn advice(&self, _grid: &Grid) -> Option<String> {
        None
    }
}

impl<M: Method + ?Sized> Method for Box<M> {
    fn program(&self, grid: &Grid) -> Program {
        (**self).program(grid)
    }

    fn order(&self) -> Option<u32> {
        (**self).order()
    }

    fn advice(&self, grid: &Grid) -> Option<String> {
        (**self).advice(grid)
    }
}

/// What Energy Matching needs of a field, and what to take for points.
const LAW: (&str, &str) = ("the field", "pf-heun, or a pc method");
/// Step of `langevin` over the law's least variance: a bias of 5 %.
const STEP_OF_VARIANCE: f64 = 0.1;
/// The usual tolerance of a Runge–Kutta pair, and signal-to-noise ratio of a corrector (Song et al. 2021).
const TOLERANCE: f64 = 1e-5;
const SNR: f64 = 0.16;

/// All named methods. `pf-*` and `fm-*` are the same two methods on different schedules.
pub const METHODS: &[Entry] = &[
    Entry::program(
        "ddpm",
        "ancestral sampling with the posterior's variance (Ho et al. 2020); stochastic",
        "linear-vp",
        |setting| {
            let ddpm = Ddpm { variance: Variance::Posterior };
            Ok(if setting.has(Compat::DDPM_NOISE_AT_LAST_STEP) { Box::new(NoisyDdpm(ddpm)) } else { Box::new(ddpm) })
        },
    )
    .with(&[Compat::DDPM_NOISE_AT_LAST_STEP]),
    Entry::program(
        "ddim",
        "steps along the model's own noise (Song, Meng, Ermon 2021); order 1, stochastic with --eta",
        "linear-vp",
        |setting| {
            let (ddim, schedule) = (Ddim { eta: setting.eta() }, setting.schedule.clone());
            Ok(if setting.has(Compat::DDIM_PREV_STEP) { Box::new(StridedDdim { ddim, schedule }) } else { Box::new(ddim) })
        },
    )
    .taking(&[Choice::Eta])
    .with(&[Compat::DDIM_PREV_STEP]),
    Entry::program("pf-euler", "Euler steps of the probability-flow ODE (Song et al. 2021); order 1", "linear-vp", |_| {
        Ok(Box::new(Euler))
    }),
    Entry::program("pf-heun", "Heun steps of the probability-flow ODE; order 2, two evaluations a step", "linear-vp", heun),
    Entry::program(
        "annealed-langevin",
        "Langevin steps at falling noise levels (NCSN: Song, Ermon 2019, 2020); stochastic",
        "ve",
        |setting| {
            let annealed = AnnealedLangevin { updates: setting.updates, step: None };
            Ok(if setting.has(Compat::HALF_STEP_LANGEVIN) { Box::new(HalfStep(annealed)) } else { Box::new(annealed) })
        },
    )
    .at(Levels::Ladder)
    .from_anywhere()
    .with(&[Compat::HALF_STEP_LANGEVIN]),
    Entry::program("fm-euler", "Euler steps of the flow-matching ODE (Lipman et al. 2023); order 1", "condot", |_| {
        Ok(Box::new(Euler))
    })
    .with(&[Compat::DOUBLE_SHIFT]),
    Entry::program("fm-heun", "Heun steps of the flow-matching ODE; order 2, two evaluations a step", "condot", heun)
        .with(&[Compat::DOUBLE_SHIFT]),
    Entry::program(
        "euler-ancestral",
        "Euler steps in sigma/alpha with noise put back, DDIM with eta = 1; stochastic",
        "linear-vp",
        |_| Ok(Box::new(Ddim { eta: 1.0 })),
    ),
    Entry::program("dpmpp-2m", "DPM-Solver++(2M) (Lu et al. 2023); order 2, one evaluation a step", "linear-vp", |_| {
        Ok(Box::new(DpmPlusPlus::ode(2)))
    })
    .at(Levels::Spaced(Spacing::Balanced)),
    Entry::program("dpmpp-3m", "DPM-Solver++(3M) (Lu et al. 2023); order 3, one evaluation a step", "linear-vp", |setting| {
        let third = DpmPlusPlus::ode(3);
        Ok(if setting.has(Compat::HALF_CURVATURE) { Box::new(HalfCurvature(third)) } else { Box::new(third) })
    })
    .at(Levels::Spaced(Spacing::Balanced))
    .with(&[Compat::HALF_CURVATURE]),
    Entry::program(
        "dpmpp-2m-sde",
        "SDE-DPM-Solver++(2M) (Lu et al. 2023); stochastic, one evaluation a step",
        "linear-vp",
        |_| Ok(Box::new(DpmPlusPlus { eta: 1.0, ..DpmPlusPlus::ode(2) })),
    ),
    Entry::program("dpmpp-sde", "single-step SDE-DPM-Solver++; stochastic, two evaluations a step", "linear-vp", |_| {
        Ok(Box::new(DpmPlusPlusSde { eta: 1.0, noise: 1.0, r: 0.5 }))
    }),
    Entry::program(
        "dpmpp-2s",
        "DPM-Solver++(2S) (Lu et al. 2023); order 2, two evaluations a step, ancestral with --eta",
        "linear-vp",
        |setting| Ok(Box::new(DpmPlusPlus2S { eta: setting.eta(), noise: 1.0 })),
    )
    .at(Levels::Spaced(Spacing::Balanced))
    .taking(&[Choice::Eta]),
    Entry::program(
        "dpm-2",
        "DPM-Solver-2 (Lu et al. 2022); order 2, two evaluations a step, ancestral with --eta",
        "linear-vp",
        |setting| Ok(Box::new(Dpm2 { eta: setting.eta(), noise: 1.0 })),
    )
    .at(Levels::Spaced(Spacing::Balanced))
    .taking(&[Choice::Eta]),
    Entry::program("lms", "linear multistep in sigma/alpha; order 4, one evaluation a step", "linear-vp", |_| {
        Ok(Box::new(Lms { order: 4 }))
    })
    .at(Levels::Spaced(Spacing::Balanced)),
    Entry::program(
        "edm-euler",
        "Euler steps in sigma; order 1, stochastic with --churn, best with --grid karras",
        "ve",
        |setting| edm(false, setting),
    )
    .at(Levels::ToData)
    .taking(&[Choice::Churn])
    .with(&[Compat::CHURN_AFTER_MODEL, Compat::IDDPM_GRID_FLOAT32, Compat::UNUSED_DRAWS]),
    Entry::program(
        "edm-heun",
        "Heun steps in sigma (Karras et al. 2022); order 2, stochastic with --churn, two evaluations a \
            step, best with --grid karras",
        "ve",
        |setting| edm(true, setting),
    )
    .at(Levels::ToData)
    .taking(&[Choice::Churn])
    .with(&[Compat::CHURN_AFTER_MODEL, Compat::IDDPM_GRID_FLOAT32, Compat::UNUSED_DRAWS]),
    Entry::program(
        "fm-midpoint",
        "midpoint steps of the flow-matching ODE; order 2, two evaluations a step",
        "condot",
        |setting| runge_kutta(Tableau::MIDPOINT, setting),
    ),
    Entry::program(
        "fm-heun3",
        "Heun's third-order steps of the flow-matching ODE; three evaluations a step",
        "condot",
        |setting| runge_kutta(Tableau::HEUN_3, setting),
    ),
    Entry::program("fm-rk4", "3/8-rule steps of the flow-matching ODE; order 4, four evaluations a step", "condot", |setting| {
        runge_kutta(Tableau::RK_4, setting)
    }),
    Entry::program(
        "sit-euler",
        "Euler-Maruyama on the path's SDE with noise level sigma (Ma et al. 2024); stochastic",
        "condot",
        |_| Ok(Box::new(interpolant(false))),
    ),
    Entry::program(
        "sit-heun",
        "Heun steps of the path's SDE with noise level sigma; stochastic, two evaluations a step",
        "condot",
        |setting| {
            let sit = interpolant(true);
            Ok(if setting.has(Compat::STAGE_TIME) { Box::new(StageTime(sit)) } else { Box::new(sit) })
        },
    )
    .with(&[Compat::STAGE_TIME]),
    Entry::program(
        "langevin",
        "unadjusted Langevin on a law from N(0, I), in steps of --step; stochastic",
        "condot",
        |setting| {
            let tau = match setting.options.step {
                Some(step) => step,
                None => STEP_OF_VARIANCE * setting.law()?.least_variance(),
            };
            settles(tau, setting)?;
            Ok(Box::new(UnadjustedLangevin { tau }))
        },
    )
    .taking(&[Choice::Step])
    .from_anywhere()
    .of_law("the score", "annealed-langevin"),
    Entry::looped("dopri5", "Dormand-Prince 5(4), steps by --tol for each particle", |setting| {
        adaptive_flow(Pair::DOPRI_5, setting)
    })
    .on("condot")
    .taking(&[Choice::Tolerance, Choice::LogP])
    .on_processor()
    .with(&[Compat::BATCH_ERROR_NORM, Compat::OVERSHOOT_AND_INTERPOLATE]),
    Entry::looped("bosh3", "Bogacki-Shampine 3(2), steps by --tol for each particle", |setting| {
        adaptive_flow(Pair::BOSH_3, setting)
    })
    .on("condot")
    .taking(&[Choice::Tolerance, Choice::LogP])
    .on_processor()
    .with(&[Compat::BATCH_ERROR_NORM, Compat::OVERSHOOT_AND_INTERPOLATE]),
    Entry::looped("dopri8", "Dormand-Prince 8(7), steps by --tol for each particle", |setting| {
        adaptive_flow(Pair::DOPRI_8, setting)
    })
    .on("condot")
    .taking(&[Choice::Tolerance, Choice::LogP])
    .on_processor()
    .with(&[Compat::BATCH_ERROR_NORM, Compat::OVERSHOOT_AND_INTERPOLATE]),
    Entry::looped("adaptive-heun", "Heun 2(1), steps by --tol for each particle", |setting| {
        adaptive_flow(Pair::ADAPTIVE_HEUN, setting)
    })
    .on("condot")
    .taking(&[Choice::Tolerance, Choice::LogP])
    .on_processor()
    .with(&[Compat::BATCH_ERROR_NORM, Compat::OVERSHOOT_AND_INTERPOLATE, Compat::STALE_SLOPE]),
    Entry::looped(
        "dpm-adaptive",
        "adaptive DPM-Solver (Lu et al. 2022) for each particle, down to the schedule's last noise",
        |setting| {
            let usual = DpmAdaptive::default();
            let (rtol, atol) = setting.options.tolerance.map_or((usual.rtol, usual.atol), |tolerance| (tolerance, tolerance));
            let solver = DpmAdaptive { rtol, atol, ..usual };
            let flow = AdaptiveDpm { solver, schedule: setting.schedule.clone(), ticks: setting.steps() };
            Ok(if setting.has(Compat::BATCH_ERROR_NORM) { Box::new(BatchErrorNorm(flow)) } else { Box::new(flow) })
        },
    )
    .on("ve")
    .taking(&[Choice::Tolerance])
    .on_processor()
    .with(&[Compat::BATCH_ERROR_NORM]),
    Entry::looped("pc-ve", "predictor-corrector (Song et al. 2021), variance exploding from 50 to 0.01; stochastic", |setting| {
        predictor_corrector(Sde::Ve(0.01, 50.0), 1e-5, setting)
    })
    .taking(&[Choice::Snr, Choice::ProbabilityFlow])
    .with(&[Compat::BATCH_MEAN_NORMS, Compat::UNUSED_DRAWS]),
    Entry::looped("pc-vp", "predictor-corrector, variance preserving with beta from 0.1 to 20; stochastic", |setting| {
        predictor_corrector(Sde::Vp(0.1, 20.0), 1e-3, setting)
    })
    .taking(&[Choice::Snr, Choice::ProbabilityFlow])
    .with(&[Compat::BATCH_MEAN_NORMS, Compat::UNUSED_DRAWS]),
    Entry::looped("pc-subvp", "predictor-corrector, sub-variance-preserving with beta from 0.1 to 20; stochastic", |setting| {
        predictor_corrector(Sde::SubVp(0.1, 20.0), 1e-3, setting)
    })
    .taking(&[Choice::Snr, Choice::ProbabilityFlow])
    .with(&[Compat::BATCH_MEAN_NORMS, Compat::UNUSED_DRAWS]),
    Entry::looped(
        "energy-matching",
        "Energy Matching on V = -log p in the plane (Balcerak et al. 2025): steps of 0.01, noise from t \
            = 0.8 to 0.15; stochastic",
        |setting| energy_matching(true, setting),
    )
    .taking(&[Choice::Length])
    .of_law(LAW.0, LAW.1)
    .with(&[Compat::BATCH_PATH_LENGTH, Compat::GIBBS_CLOCK]),
    Entry::looped(
        "energy-matching-image",
        "Energy Matching as for images: Heun steps of 0.01, noise 0.01 from t = 1 on; stochastic",
        |setting| energy_matching(false, setting),
    )
    .of_law(LAW.0, LAW.1),
];

/// A method of the table as a setting makes it, or why there is none.
type Made = Result<Box<dyn Method>, RunError>;
type MadeLoop = Result<Box<dyn Loop>, RunError>;

fn heun(setting: &Setting<'_>) -> Made {
    Ok(Box::new(Heun { euler_last: setting.euler_last() }))
}

fn edm(second_order: bool, setting: &Setting<'_>) -> Made {
    let edm = Edm { second_order, churn: setting.options.churn.unwrap_or(Churn::NONE) };
    let made: Box<dyn Method> =
        if setting.has(Compat::CHURN_AFTER_MODEL) { Box::new(ChurnAfterModel(edm)) } else { Box::new(edm) };
    Ok(if setting.has(Compat::UNUSED_DRAWS) { Box::new(UnusedDraws(made)) } else { made })
}

fn runge_kutta(tableau: Tableau, setting: &Setting<'_>) -> Made {
    Ok(Box::new(RungeKutta { tableau, schedule: setting.schedule.clone(), euler_last: setting.euler_last() }))
}

fn interpolant(heun: bool) -> StochasticInterpolant {
    StochasticInterpolant { diffusion: Diffusion::Sigma(1.0), heun, last: LastStep::Mean }
}

fn adaptive_flow(pair: Pair, setting: &Setting<'_>) -> MadeLoop {
    let pair = if setting.has(Compat::STALE_SLOPE) { stale_slope(pair) } else { pair };
    let method = Adaptive::new(pair, setting.options.tolerance.unwrap_or(TOLERANCE));
    let bound = if setting.has(Compat::OVERSHOOT_AND_INTERPOLATE) { f64::INFINITY } else { 1.0 };
    let log_p = setting.options.log_p.then(|| LogP { probes: usual_probes(setting.field), seed: setting.options.seed });
    let flow = AdaptiveFlow { method, bound, schedule: setting.schedule.clone(), ticks: setting.steps(), log_p };
    Ok(if setting.has(Compat::BATCH_ERROR_NORM) { Box::new(BatchErrorNorm(flow)) } else { Box::new(flow) })
}

fn predictor_corrector(sde: Sde, end: f64, setting: &Setting<'_>) -> MadeLoop {
    let (levels, least, snr) = (setting.steps(), sde.least_levels(), setting.options.snr.unwrap_or(SNR));
    if levels < least {
        return Err(RunError::TooFewLevels { method: setting.entry.name, levels, least });
    }
    let of_sub_vp = matches!(sde, Sde::SubVp(..));
    let sampler = PredictorCorrector {
        sde,
        levels,
        end,
        predictor: if of_sub_vp { Predictor::EulerMaruyama } else { Predictor::ReverseDiffusion },
        corrector: Corrector::Langevin(snr),
        corrections: 1,
        probability_flow: setting.options.probability_flow,
    };
    let made: Box<dyn ReverseSde> =
        if setting.has(Compat::BATCH_MEAN_NORMS) { Box::new(BatchMeanNorms(sampler)) } else { Box::new(sampler) };
    let made: Box<dyn ReverseSde> = if setting.has(Compat::UNUSED_DRAWS) { Box::new(UnusedDraws(made)) } else { made };
    Ok(Box::new(made))
}

/// Refuses steps that do not settle in the narrowest mode, where it is known how narrow that is.
fn settles(step: f64, setting: &Setting<'_>) -> Result<(), RunError> {
    setting.field.law().map_or(Ok(()), |law| unadjusted_langevin::settles(setting.entry.name, step, law))
}

fn energy_matching(plane: bool, setting: &Setting<'_>) -> MadeLoop {
    let sampler = if plane { loops::energy::IN_THE_PLANE } else { loops::energy::ON_IMAGES };
    settles(sampler.step, setting)?;
    let steps = setting.steps();
    if !plane {
        return Ok(Box::new(ImageDescent { sampler, steps }));
    }
    let mut made: Box<dyn PlanePath> = Box::new(PlaneDescent { sampler, steps, length: setting.options.length });
    if setting.has(Compat::GIBBS_CLOCK) {
        made = Box::new(GibbsClock(made));
    }
    if setting.has(Compat::BATCH_PATH_LENGTH) {
        made = Box::new(BatchPathLength(made));
    }
    Ok(Box::new(made))
}
