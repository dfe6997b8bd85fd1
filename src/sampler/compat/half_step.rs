//! Annealed Langevin with the formula of one paper and the step of the other (`compat half_step_langevin`): NCSNv2's a in NCSN's
//! formula, which is half of the step.

use crate::path::Grid;
use crate::program::Program;
use crate::sampler::{AnnealedLangevin, Method};

/// Annealed Langevin with half of its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HalfStep(pub AnnealedLangevin);

impl HalfStep {
    fn halved(&self, grid: &Grid) -> AnnealedLangevin {
        AnnealedLangevin { step: self.0.last_step(grid).map(|step| 0.5 * step), ..self.0 }
    }
}

impl Method for HalfStep {
    fn program(&self, grid: &Grid) -> Program {
        self.halved(grid).program(grid)
    }

    fn order(&self) -> Option<u32> {
        self.0.order()
    }

    fn advice(&self, grid: &Grid) -> Option<String> {
        self.halved(grid).advice(grid)
    }
}
