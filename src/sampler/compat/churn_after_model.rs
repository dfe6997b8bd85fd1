//! EDM's Euler steps with the field evaluated before the churn, at the level without it, as diffusers has them
//! (`compat churn_after_model`): the noise then misses its correction.

use crate::path::{Grid, Level};
use crate::program::{Op, Program, STATE, Step};
use crate::sampler::{Edm, Method};

/// EDM's sampler with Euler steps, churned after the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChurnAfterModel(pub Edm);

impl Method for ChurnAfterModel {
    fn program(&self, grid: &Grid) -> Program {
        let n = grid.levels().len() - 1;
        let step = |(from, to): (Level, Level)| {
            let (noisy, added) = self.0.churned(from, n);
            if from.alpha == 0.0 {
                return Step::default().add_noise(added).then(Edm::euler(noisy, to));
            }
            let (scale, slope) = Edm::factors(from, noisy, to);
            Step::default()
                .then(Op::Evaluate { level: from, src: STATE, p: 0.0, q: 1.0, dst: 2 })
                .add_noise(added)
                .then(Op::Combine { dst: STATE, terms: vec![(STATE, scale), (2, slope)] })
        };
        grid.steps().map(step).collect()
    }

    fn order(&self) -> Option<u32> {
        Edm { second_order: false, ..self.0 }.order()
    }

    fn advice(&self, grid: &Grid) -> Option<String> {
        self.0.advice(grid)
    }
}
