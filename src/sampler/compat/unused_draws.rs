//! Noise drawn in every step, also where it would be multiplied by zero (`compat unused_draws`): given noise is used up faster.

use crate::backend::Noise;
use crate::field::Prepared;
use crate::path::Grid;
use crate::program::{Op, Program, Step};
use crate::sampler::noise_blocks::NoiseBlocks;
use crate::sampler::predictor_corrector::{Corrected, PredictorCorrector, ReverseSde};
use crate::sampler::{Method, RunError};

/// A method or predictor–corrector sampler whose steps draw noise into register 1, in every step.
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

impl<S: ReverseSde> ReverseSde for UnusedDraws<S> {
    fn sampler(&self) -> &PredictorCorrector {
        self.0.sampler()
    }

    fn step(&self, field: &Prepared, run: &mut Corrected, noise: Noise<'_>) -> Result<(), RunError> {
        let all = run.draws + self.sampler().most_draws();
        self.0.step(field, run, noise)?;
        let mut draws = NoiseBlocks::after(run.draws, noise, field.dim());
        while draws.made < all {
            draws.take(run.state.len())?;
        }
        run.draws = draws.made;
        Ok(())
    }
}
