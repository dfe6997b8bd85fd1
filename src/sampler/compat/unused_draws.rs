//! Noise drawn in every step, also where it would be multiplied by zero (`compat unused_draws`): given noise is then used up faster.

use crate::path::Grid;
use crate::program::{Op, Program, Step};
use crate::sampler::Method;

/// A method whose steps draw noise into register 1, in every step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnusedDraws<M>(pub M);

impl<M: Method> Method for UnusedDraws<M> {
    fn program(&self, grid: &Grid) -> Program {
        let draws = |step: &Step| step.ops.iter().any(|op| matches!(op, Op::Draw { .. }));
        let step = |step: Step| match draws(&step) {
            true => step,
            false => Step { ops: [vec![Op::Draw { dst: 1, draw: 0 }], step.ops].concat() },
        };
        self.0.program(grid).steps.into_iter().map(step).collect()
    }

    fn order(&self) -> Option<u32> {
        self.0.order()
    }

    fn advice(&self, grid: &Grid) -> Option<String> {
        self.0.advice(grid)
    }
}
