//! DDIM as its published code steps (`compat ddim_prev_step`).

use crate::path::table::strided_steps;
use crate::path::{Grid, Schedule};
use crate::program::Program;
use crate::sampler::{Ddim, Method};

/// DDIM to the entry ⌊T/n⌋ below on a table, and not to the next of the grid. Off tables it is [`Ddim`].
#[derive(Clone, Debug, PartialEq)]
pub struct StridedDdim {
    /// The method.
    pub ddim: Ddim,
    /// The schedule that the grid lies on.
    pub schedule: Schedule,
}

impl Method for StridedDdim {
    fn program(&self, grid: &Grid) -> Program {
        let Schedule::Table(table) = &self.schedule else { return self.ddim.program(grid) };
        let size = table.entries();
        let entries: Vec<f64> = grid.steps().map(|(from, _)| ((1.0 - from.t) * size as f64).round() - 1.0).collect();
        let steps = strided_steps(&self.schedule, size, &entries, true);
        steps.into_iter().map(|(from, to)| self.ddim.step(from, to)).collect()
    }

    fn order(&self) -> Option<u32> {
        self.ddim.order()
    }
}
