//! A potential as a field: its score at the data, −∇V, and no other level.

use std::error::Error;
use std::sync::Arc;

use crate::field::{Batch, Field, HostField};
use crate::measure::Mixture;
use crate::path::{Level, Prediction};

/// V of a law π ∝ e^{−V}, in nats and up to a constant: what Langevin methods descend.
pub trait Potential: Send + Sync {
    /// Dimension d.
    fn dim(&self) -> usize;

    /// V(x).
    fn value(&self, x: &[f64]) -> f64;

    /// Writes ∇V(x) to `out`.
    fn gradient(&self, x: &[f64], out: &mut [f64]);

    /// Writes ∇V at each of `points`, n × d, to `out`.
    fn gradients(&self, points: &[f64], out: &mut [f64]) {
        let d = self.dim();
        points.chunks_exact(d).zip(out.chunks_exact_mut(d)).for_each(|(x, out)| self.gradient(x, out));
    }
}

/// V = −log p of the law itself, the constant included.
impl Potential for Mixture {
    fn dim(&self) -> usize {
        Self::dim(self)
    }

    fn value(&self, x: &[f64]) -> f64 {
        -self.log_density(DATA, x)
    }

    fn gradient(&self, x: &[f64], out: &mut [f64]) {
        out.iter_mut().zip(self.score(DATA, x)).for_each(|(out, score)| *out = -score);
    }
}

/// The data themselves.
const DATA: Level = Level { t: 1.0, alpha: 1.0, sigma: 0.0, alpha_dot: 0.0, sigma_dot: 0.0 };
/// σ up to which a level counts as the data.
const NO_NOISE: f64 = 1e-6;

impl Field {
    /// The field of π ∝ e^{−V} at the data, for methods that stay there: Langevin, the blob scheme, Energy Matching.
    pub fn potential(potential: impl Potential + 'static) -> Self {
        Self::Given(Arc::new(AtData(potential)))
    }
}

/// A potential by its score.
struct AtData<V>(V);

impl<V: Potential> HostField for AtData<V> {
    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn prediction(&self) -> Prediction {
        Prediction::Score
    }

    fn predict(&self, batch: Batch<'_>, out: &mut [f64]) -> Result<(), Box<dyn Error + Send + Sync>> {
        only_at_data(batch.level)?;
        self.0.gradients(batch.points, out);
        out.iter_mut().for_each(|slope| *slope = -*slope);
        Ok(())
    }

    fn log_density(&self, level: Level, x: &[f64]) -> Option<f64> {
        only_at_data(level).is_ok().then(|| -self.0.value(x))
    }
}

/// Refuses levels with noise, where a potential is not known.
pub(super) fn only_at_data(Level { alpha, sigma, .. }: Level) -> Result<(), String> {
    if alpha == 1.0 && sigma <= NO_NOISE {
        return Ok(());
    }
    Err(format!(
        "a potential is known at the data alone, not at alpha = {alpha}, sigma = {sigma}: take a Langevin method, or give a field of \
         all levels"
    ))
}
