//! Known defects of published codes, reproduced only where they are named: wrappers of our methods, which do not know of them.

mod batch_error_norm;
mod batch_mean_norms;
mod batch_path_length;
mod churn_after_model;
mod gibbs_clock;
mod half_curvature;
mod half_step;
mod noisy_ddpm;
mod overshooting;
mod stage_time;
mod stale_slope;
mod strided_ddim;
mod unused_draws;

use thiserror::Error;

use crate::names::nearest;
use crate::sampler::METHODS;

pub use batch_error_norm::BatchErrorNorm;
pub use batch_mean_norms::BatchMeanNorms;
pub use batch_path_length::BatchPathLength;
pub use churn_after_model::ChurnAfterModel;
pub use gibbs_clock::GibbsClock;
pub use half_curvature::HalfCurvature;
pub use half_step::HalfStep;
pub use noisy_ddpm::NoisyDdpm;
pub use overshooting::Overshooting;
pub use stage_time::StageTime;
pub use stale_slope::stale_slope;
pub use strided_ddim::StridedDdim;
pub use unused_draws::UnusedDraws;

/// A defect by its name: one row of [`COMPATS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compat {
    /// Its name.
    pub name: &'static str,
    /// What the published code does.
    pub about: &'static str,
    /// The published codes that do it.
    pub peer: &'static str,
}

impl Compat {
    /// One error and one step for the whole batch.
    pub const BATCH_ERROR_NORM: Self = Self {
        name: "batch_error_norm",
        about: "one error and one step for the whole batch",
        peer: "torchdiffeq 0.2.5, k-diffusion",
    };
    /// The corrector's step from norms averaged over the batch.
    pub const BATCH_MEAN_NORMS: Self = Self {
        name: "batch_mean_norms",
        about: "the corrector's step from norms averaged over the batch",
        peer: "score_sde_pytorch, diffusers",
    };
    /// Energy Matching's stop by the path length of the whole batch.
    pub const BATCH_PATH_LENGTH: Self = Self {
        name: "batch_path_length",
        about: "with --length, the norm of the whole batch is summed and all particles stop at once",
        peer: "EnergyMatching",
    };
    /// The model evaluated before the churn's noise is added.
    pub const CHURN_AFTER_MODEL: Self =
        Self { name: "churn_after_model", about: "the model evaluated before the churn's noise is added", peer: "diffusers" };
    /// DDIM to the entry ⌊T/n⌋ below, not to the next of the grid.
    pub const DDIM_PREV_STEP: Self = Self {
        name: "ddim_prev_step",
        about: "on a table, to the entry T/n below and not to the next of the grid",
        peer: "diffusers",
    };
    /// DDPM's noise also in the last step.
    pub const DDPM_NOISE_AT_LAST_STEP: Self =
        Self { name: "ddpm_noise_at_last_step", about: "noise also in the last step", peer: "diffusers" };
    /// Levels of a flow shifted twice at their low end.
    pub const DOUBLE_SHIFT: Self = Self {
        name: "double_shift",
        about: "with --shift, the last level is shifted before the grid is made and again with it",
        peer: "diffusers",
    };
    /// Energy Matching's clock of the plane: the share of steps made, not the time elapsed.
    pub const GIBBS_CLOCK: Self = Self {
        name: "gibbs_clock",
        about: "the clock is the share of steps made and not the time elapsed",
        peer: "EnergyMatching",
    };
    /// The third order of DPM-Solver++ with half its curvature.
    pub const HALF_CURVATURE: Self =
        Self { name: "half_curvature", about: "half of the curvature, so order 2", peer: "diffusers, k-diffusion" };
    /// Annealed Langevin with the formula of one paper and the step of the other.
    pub const HALF_STEP_LANGEVIN: Self = Self {
        name: "half_step_langevin",
        about: "NCSNv2's step a in NCSN's formula, a/2 and sqrt(a) for a and sqrt(2a): half of the step",
        peer: "diffusers",
    };
    /// iDDPM's levels from ratios in single precision.
    pub const IDDPM_GRID_FLOAT32: Self = Self {
        name: "iddpm_grid_float32",
        about: "with --grid iddpm, the ratios of the table are rounded to single precision: the last level is off by 5e-4",
        peer: "NVlabs/edm",
    };
    /// Steps past the end, read off by interpolation.
    pub const OVERSHOOT_AND_INTERPOLATE: Self =
        Self { name: "overshoot_and_interpolate", about: "steps past the end and interpolates back", peer: "torchdiffeq 0.2.5" };
    /// Both stages of Heun at the later time.
    pub const STAGE_TIME: Self =
        Self { name: "stage_time", about: "both stages of Heun at the later time: order 1", peer: "stochastic-interpolants" };
    /// The slope at the predictor as the next first slope.
    pub const STALE_SLOPE: Self = Self {
        name: "stale_slope",
        about: "the slope at the predictor serves as the first slope of the next step",
        peer: "torchdiffeq 0.2.5",
    };
    /// Noise that is drawn and multiplied by zero.
    pub const UNUSED_DRAWS: Self = Self {
        name: "unused_draws",
        about: "a block of noise is drawn also where it is multiplied by zero; shows with --noise",
        peer: "NVlabs/edm, score_sde_pytorch",
    };

    /// The names of the methods that have it.
    pub fn methods(self) -> impl Iterator<Item = &'static str> {
        METHODS.iter().filter(move |entry| entry.defects.contains(&self)).map(|entry| entry.name)
    }

    /// The row of [`COMPATS`] called `name`.
    ///
    /// # Errors
    /// [`UnknownCompat`] with the nearest known name.
    pub fn named(name: &str) -> Result<Self, UnknownCompat> {
        let unknown = || UnknownCompat { name: name.to_owned(), nearest: nearest(name, known()) };
        COMPATS.iter().find(|compat| compat.name == name).copied().ok_or_else(unknown)
    }
}

/// All known defects.
pub const COMPATS: &[Compat] = &[
    Compat::BATCH_ERROR_NORM,
    Compat::BATCH_MEAN_NORMS,
    Compat::BATCH_PATH_LENGTH,
    Compat::CHURN_AFTER_MODEL,
    Compat::DDIM_PREV_STEP,
    Compat::DDPM_NOISE_AT_LAST_STEP,
    Compat::DOUBLE_SHIFT,
    Compat::GIBBS_CLOCK,
    Compat::HALF_CURVATURE,
    Compat::HALF_STEP_LANGEVIN,
    Compat::IDDPM_GRID_FLOAT32,
    Compat::OVERSHOOT_AND_INTERPOLATE,
    Compat::STAGE_TIME,
    Compat::STALE_SLOPE,
    Compat::UNUSED_DRAWS,
];

fn known() -> impl Iterator<Item = &'static str> {
    COMPATS.iter().map(|compat| compat.name)
}

/// A defect's name that is not known.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("unknown compat {name:?}; did you mean {nearest:?}? known: {}", known().collect::<Vec<_>>().join(", "))]
pub struct UnknownCompat {
    /// The name asked for.
    pub name: String,
    /// The nearest known name.
    pub nearest: &'static str,
}
