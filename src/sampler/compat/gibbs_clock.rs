//! Energy Matching's clock in the plane as the share of steps made, not the time elapsed (`compat gibbs_clock`).

use crate::sampler::loops::energy::{PlaneDescent, PlanePath};

/// A descent in the plane on the clock of its steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GibbsClock<P>(pub P);

impl<P: PlanePath> PlanePath for GibbsClock<P> {
    fn descent(&self) -> &PlaneDescent {
        self.0.descent()
    }

    fn time(&self, k: usize) -> f64 {
        (k + 1) as f64 / self.descent().steps as f64
    }

    fn stride(&self, len: usize, d: usize) -> usize {
        self.0.stride(len, d)
    }
}
