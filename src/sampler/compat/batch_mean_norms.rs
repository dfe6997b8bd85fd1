//! The corrector's step from norms averaged over all particles (`compat batch_mean_norms`): a particle's path then depends on the
//! others.

use crate::backend::Noise;
use crate::field::Prepared;
use crate::sampler::RunError;
use crate::sampler::predictor_corrector::{Corrected, PredictorCorrector, ReverseSde};

/// A predictor–corrector sampler with corrector steps e = 2a (snr ⟨|z|⟩/⟨|s|⟩)².
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchMeanNorms(pub PredictorCorrector);

impl ReverseSde for BatchMeanNorms {
    fn sampler(&self) -> &PredictorCorrector {
        &self.0
    }

    fn step(&self, field: &Prepared, run: &mut Corrected, noise: Noise<'_>) -> Result<(), RunError> {
        let d = field.dim();
        self.0.step_by(&|snr, _, score, z| snr * total_norm(z, d) / total_norm(score, d), field, run, noise)
    }
}

/// Σ |v_i| over the rows of `v`, n × d.
fn total_norm(v: &[f64], d: usize) -> f64 {
    v.chunks_exact(d).map(|row| row.iter().map(|x| x * x).sum::<f64>().sqrt()).sum()
}
