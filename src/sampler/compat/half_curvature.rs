//! DPM-Solver++'s third order as published (`compat half_curvature`): φ₃ in place of 2φ₃, so convergent with order 2 only.

use crate::path::Grid;
use crate::program::Program;
use crate::sampler::{DpmPlusPlus, Method};

/// DPM-Solver++ with half of the curvature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HalfCurvature(pub DpmPlusPlus);

impl Method for HalfCurvature {
    fn program(&self, grid: &Grid) -> Program {
        self.0.with_curvature(1.0, grid)
    }

    fn order(&self) -> Option<u32> {
        self.0.order().map(|order| order.min(2))
    }
}
