//! Energy Matching's stop by the path length of the whole batch (`compat batch_path_length`): all particles stop at once.

use crate::sampler::loops::energy::{PlaneDescent, PlanePath};

/// A descent in the plane whose path is that of all particles as one vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchPathLength<P>(pub P);

impl<P: PlanePath> PlanePath for BatchPathLength<P> {
    fn descent(&self) -> &PlaneDescent {
        self.0.descent()
    }

    fn time(&self, k: usize) -> f64 {
        self.0.time(k)
    }

    fn stride(&self, len: usize, _: usize) -> usize {
        len
    }
}
