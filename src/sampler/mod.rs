//! Methods: each maps a time grid to a [`Program`], and is one file.
//!
//! A method never sees the particles, a device or a precision, so it works on every field and backend, and two methods are the
//! same when their programs are.

pub mod adaptive;
mod ancestral;
pub mod annealed_langevin;
pub mod compat;
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
pub mod euler;
pub mod heun;
pub mod likelihood;
pub mod lms;
pub mod looped;
mod noise_blocks;
pub mod pair;
pub mod predictor_corrector;
pub mod renoise;
pub mod run;
pub mod runge_kutta;
pub mod start;
pub mod stochastic_interpolant;
pub mod unadjusted_langevin;

use thiserror::Error;

use crate::names::nearest;
use crate::path::{Grid, Schedule, Spacing};
use crate::program::Program;

pub use adaptive::{Adaptive, AdaptiveError, Solution};
pub use annealed_langevin::AnnealedLangevin;
pub use compat::{COMPATS, Compat, UnknownCompat};
pub use ddim::{Ddim, StridedDdim};
pub use ddpm::{Ddpm, NoisyDdpm, Variance};
pub use dpm_2::Dpm2;
pub use dpm_adaptive::{AdaptiveRun, DpmAdaptive};
pub use dpm_plus_plus::{DpmPlusPlus, SecondOrder};
pub use dpm_plus_plus_2s::DpmPlusPlus2S;
pub use dpm_plus_plus_sde::DpmPlusPlusSde;
pub use dpm_solver::DpmSolver;
pub use edm::{Churn, Edm};
pub use energy_matching::EnergyMatching;
pub use euler::Euler;
pub use heun::Heun;
pub use likelihood::ChangeOfVariables;
pub use lms::Lms;
pub use looped::{LOOPS, Loop, LoopOptions, Looped};
pub use pair::Pair;
pub use predictor_corrector::{Corrected, Corrector, Predictor, PredictorCorrector, Sde};
pub use renoise::Renoise;
pub use run::{Observe, RunError, Underway};
pub use runge_kutta::{RungeKutta, Tableau};
pub use start::{prior_error, start};
pub use stochastic_interpolant::{Diffusion, LastStep, StochasticInterpolant};
pub use unadjusted_langevin::UnadjustedLangevin;

/// A sampling method.
pub trait Method {
    /// The steps along `grid`.
    fn program(&self, grid: &Grid) -> Program;

    /// Order of convergence in the step to the flow of the probability-flow ODE; `None` when the method draws noise.
    fn order(&self) -> Option<u32>;
}

/// A method by its name: one row of [`METHODS`].
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// Name of the schedule it runs on unless told otherwise.
    pub schedule: &'static str,
    /// Where its levels lie unless told otherwise: its order is that on this grid.
    pub grid: Spacing,
    /// The method with the given options; those that it does not have are ignored.
    pub make: fn(&Options) -> Box<dyn Method>,
}

/// The options of all named methods.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The schedule that the grid lies on, for methods that step between its levels.
    pub schedule: Schedule,
    /// η of [`Ddim`].
    pub eta: f64,
    /// Updates a level of [`AnnealedLangevin`].
    pub updates: usize,
    /// Whether [`Heun`] and [`RungeKutta`] end with an Euler step: the field knows only x̂₀ at σ = 0.
    pub euler_last: bool,
    /// Churn of [`Edm`].
    pub churn: Churn,
    /// τ of [`UnadjustedLangevin`].
    pub step: f64,
    /// Defects of published codes to reproduce.
    pub compat: Vec<Compat>,
}

impl Default for Options {
    fn default() -> Self {
        let (schedule, compat) = (Schedule::CondOt, Vec::new());
        Self { schedule, eta: 0.0, updates: 5, euler_last: false, churn: Churn::NONE, step: 0.01, compat }
    }
}

/// All named methods. `pf-*` and `fm-*` are the same two methods on different schedules; `annealed-langevin` is at its best on
/// the grid of [`AnnealedLangevin::of_length`].
pub const METHODS: [Entry; 23] = [
    Entry {
        name: "ddpm",
        about: "ancestral sampling with the posterior's variance (Ho et al. 2020); stochastic",
        schedule: "linear-vp",
        grid: Spacing::Trailing,
        make: |options| {
            let ddpm = Ddpm { variance: Variance::Posterior };
            let noisy = options.compat.contains(&Compat::DDPM_NOISE_AT_LAST_STEP);
            if noisy { Box::new(NoisyDdpm(ddpm)) } else { Box::new(ddpm) }
        },
    },
    Entry {
        name: "ddim",
        about: "steps along the model's own noise (Song, Meng, Ermon 2021); order 1, stochastic with --eta",
        schedule: "linear-vp",
        grid: Spacing::Trailing,
        make: |options| {
            let ddim = Ddim { eta: options.eta };
            let strided = options.compat.contains(&Compat::DDIM_PREV_STEP);
            if strided { Box::new(StridedDdim { ddim, schedule: options.schedule.clone() }) } else { Box::new(ddim) }
        },
    },
    Entry {
        name: "pf-euler",
        about: "Euler steps of the probability-flow ODE (Song et al. 2021); order 1",
        schedule: "linear-vp",
        grid: Spacing::Trailing,
        make: |_| Box::new(Euler),
    },
    Entry {
        name: "pf-heun",
        about: "Heun steps of the probability-flow ODE; order 2, two evaluations a step",
        schedule: "linear-vp",
        grid: Spacing::Trailing,
        make: |options| Box::new(Heun { euler_last: options.euler_last }),
    },
    Entry {
        name: "annealed-langevin",
        about: "Langevin steps at falling noise levels (NCSN: Song, Ermon 2019, 2020); stochastic",
        schedule: "ve",
        grid: Spacing::Trailing,
        make: |options| {
            let half_step = options.compat.contains(&Compat::HALF_STEP_LANGEVIN);
            Box::new(AnnealedLangevin { updates: options.updates, step: None, half_step })
        },
    },
    Entry {
        name: "fm-euler",
        about: "Euler steps of the flow-matching ODE (Lipman et al. 2023); order 1",
        schedule: "condot",
        grid: Spacing::Trailing,
        make: |_| Box::new(Euler),
    },
    Entry {
        name: "fm-heun",
        about: "Heun steps of the flow-matching ODE; order 2, two evaluations a step",
        schedule: "condot",
        grid: Spacing::Trailing,
        make: |options| Box::new(Heun { euler_last: options.euler_last }),
    },
    Entry {
        name: "euler-ancestral",
        about: "Euler steps in sigma/alpha with noise put back, DDIM with eta = 1; stochastic",
        schedule: "linear-vp",
        grid: Spacing::Trailing,
        make: |_| Box::new(Ddim { eta: 1.0 }),
    },
    Entry {
        name: "dpmpp-2m",
        about: "DPM-Solver++(2M) (Lu et al. 2023); order 2, one evaluation a step",
        schedule: "linear-vp",
        grid: Spacing::Balanced,
        make: |_| Box::new(DpmPlusPlus::ode(2)),
    },
    Entry {
        name: "dpmpp-3m",
        about: "DPM-Solver++(3M) (Lu et al. 2023); order 3, one evaluation a step",
        schedule: "linear-vp",
        grid: Spacing::Balanced,
        make: |options| {
            let half_curvature = options.compat.contains(&Compat::HALF_CURVATURE);
            Box::new(DpmPlusPlus { half_curvature, ..DpmPlusPlus::ode(3) })
        },
    },
    Entry {
        name: "dpmpp-2m-sde",
        about: "SDE-DPM-Solver++(2M) (Lu et al. 2023); stochastic, one evaluation a step",
        schedule: "linear-vp",
        grid: Spacing::Trailing,
        make: |_| Box::new(DpmPlusPlus { eta: 1.0, ..DpmPlusPlus::ode(2) }),
    },
    Entry {
        name: "dpmpp-sde",
        about: "single-step SDE-DPM-Solver++; stochastic, two evaluations a step",
        schedule: "linear-vp",
        grid: Spacing::Trailing,
        make: |_| Box::new(DpmPlusPlusSde { eta: 1.0, noise: 1.0, r: 0.5 }),
    },
    Entry {
        name: "dpmpp-2s",
        about: "DPM-Solver++(2S) (Lu et al. 2023); order 2, two evaluations a step, ancestral with --eta",
        schedule: "linear-vp",
        grid: Spacing::Balanced,
        make: |options| Box::new(DpmPlusPlus2S { eta: options.eta, noise: 1.0 }),
    },
    Entry {
        name: "dpm-2",
        about: "DPM-Solver-2 (Lu et al. 2022); order 2, two evaluations a step, ancestral with --eta",
        schedule: "linear-vp",
        grid: Spacing::Balanced,
        make: |options| Box::new(Dpm2 { eta: options.eta, noise: 1.0 }),
    },
    Entry {
        name: "lms",
        about: "linear multistep in sigma/alpha; order 4, one evaluation a step",
        schedule: "linear-vp",
        grid: Spacing::Balanced,
        make: |_| Box::new(Lms { order: 4 }),
    },
    Entry {
        name: "edm-heun",
        about: "Heun steps in sigma (Karras et al. 2022); order 2, stochastic with --churn, two evaluations a step, best with --grid karras",
        schedule: "ve",
        grid: Spacing::Trailing,
        make: |options| edm(true, options),
    },
    Entry {
        name: "edm-euler",
        about: "Euler steps in sigma; order 1, stochastic with --churn, best with --grid karras",
        schedule: "ve",
        grid: Spacing::Trailing,
        make: |options| edm(false, options),
    },
    Entry {
        name: "fm-midpoint",
        about: "midpoint steps of the flow-matching ODE; order 2, two evaluations a step",
        schedule: "condot",
        grid: Spacing::Trailing,
        make: |options| runge_kutta(Tableau::MIDPOINT, options),
    },
    Entry {
        name: "fm-heun3",
        about: "Heun's third-order steps of the flow-matching ODE; three evaluations a step",
        schedule: "condot",
        grid: Spacing::Trailing,
        make: |options| runge_kutta(Tableau::HEUN_3, options),
    },
    Entry {
        name: "fm-rk4",
        about: "3/8-rule steps of the flow-matching ODE; order 4, four evaluations a step",
        schedule: "condot",
        grid: Spacing::Trailing,
        make: |options| runge_kutta(Tableau::RK_4, options),
    },
    Entry {
        name: "sit-euler",
        about: "Euler-Maruyama on the path's SDE with noise level sigma (Ma et al. 2024); stochastic",
        schedule: "condot",
        grid: Spacing::Trailing,
        make: |_| {
            let (diffusion, last) = (Diffusion::Sigma(1.0), LastStep::Mean);
            Box::new(StochasticInterpolant { diffusion, heun: false, last, stage_time: false })
        },
    },
    Entry {
        name: "sit-heun",
        about: "Heun steps of the path's SDE with noise level sigma; stochastic, two evaluations a step",
        schedule: "condot",
        grid: Spacing::Trailing,
        make: |options| {
            let (diffusion, last) = (Diffusion::Sigma(1.0), LastStep::Mean);
            let stage_time = options.compat.contains(&Compat::STAGE_TIME);
            Box::new(StochasticInterpolant { diffusion, heun: true, last, stage_time })
        },
    },
    Entry {
        name: "langevin",
        about: "unadjusted Langevin on a law from N(0, I), in steps of --step; stochastic",
        schedule: "condot",
        grid: Spacing::Trailing,
        make: |options| Box::new(UnadjustedLangevin { tau: options.step }),
    },
];

fn edm(second_order: bool, options: &Options) -> Box<dyn Method> {
    let churn_after_model = options.compat.contains(&Compat::CHURN_AFTER_MODEL);
    let unused_draws = options.compat.contains(&Compat::UNUSED_DRAWS);
    Box::new(Edm { second_order, churn: options.churn, churn_after_model, unused_draws })
}

fn runge_kutta(tableau: Tableau, options: &Options) -> Box<dyn Method> {
    Box::new(RungeKutta { tableau, schedule: options.schedule.clone(), euler_last: options.euler_last })
}

/// A named method: a program, or a loop of its own.
#[derive(Clone, Copy, Debug)]
pub enum Named {
    /// A row of [`METHODS`].
    Method(&'static Entry),
    /// A row of [`LOOPS`].
    Loop(&'static Loop),
}

/// The names of all methods, those of [`METHODS`] first.
pub fn names() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|entry| entry.name).chain(LOOPS.iter().map(|entry| entry.name))
}

/// A method's name that is not known.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("there is no method {name:?}; did you mean {nearest:?}? known: {}", names().collect::<Vec<_>>().join(", "))]
pub struct UnknownMethod {
    /// The name asked for.
    pub name: String,
    /// The nearest known name.
    pub nearest: &'static str,
}

/// The method called `name`, a row of [`METHODS`] or of [`LOOPS`].
///
/// # Errors
/// [`UnknownMethod`] with the nearest known name.
pub fn named(name: &str) -> Result<Named, UnknownMethod> {
    let method = METHODS.iter().find(|entry| entry.name == name).map(Named::Method);
    let looped = || LOOPS.iter().find(|entry| entry.name == name).map(Named::Loop);
    let unknown = || UnknownMethod { name: name.to_owned(), nearest: nearest(name, names()) };
    method.or_else(looped).ok_or_else(unknown)
}
