//! Stochastic Heun with both stages at the later time, as published (`compat stage_time`): order 1 in the drift.

use crate::path::Grid;
use crate::program::Program;
use crate::sampler::{Method, StochasticInterpolant};

/// The sampler of stochastic interpolants with its first stage at t′ too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageTime(pub StochasticInterpolant);

impl Method for StageTime {
    fn program(&self, grid: &Grid) -> Program {
        self.0.with_first_stage(|_, to| to, grid)
    }

    fn order(&self) -> Option<u32> {
        self.0.order()
    }
}
