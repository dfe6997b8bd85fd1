//! DDPM as its published code ends (`compat ddpm_noise_at_last_step`).

use crate::path::{Grid, Level};
use crate::program::{Program, Step};
use crate::sampler::ddpm::forward_variance;
use crate::sampler::{Ddpm, Method, Variance};

/// DDPM with noise also in the step to the data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoisyDdpm(pub Ddpm);

/// The least variance of the published code.
const VARIANCE_FLOOR: f64 = 1e-20;

impl NoisyDdpm {
    /// The step to the data as the published code makes it on grids whose last entry is above the table's first: with noise, of
    /// variance at least `floor`.
    pub fn last_step(&self, from: Level, to: Level, floor: f64) -> Step {
        let variance = match self.0.variance {
            Variance::Forward => forward_variance(from, to),
            other => other.between(from, to),
        };
        self.0.mean(from, to).add_noise(variance.max(floor).sqrt())
    }
}

impl Method for NoisyDdpm {
    fn program(&self, grid: &Grid) -> Program {
        let step = |(from, to): (Level, Level)| match to.sigma {
            0.0 => self.last_step(from, to, VARIANCE_FLOOR),
            _ => self.0.step(from, to),
        };
        grid.steps().map(step).collect()
    }

    fn order(&self) -> Option<u32> {
        None
    }
}
