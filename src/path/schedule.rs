//! Noise schedules: α_t, σ_t, their derivatives and the inverse of their ratio.

use crate::path::Level;

/// A noise schedule x_t = α_t · data + σ_t · noise on t ∈ [0, 1], noise at 0 and data at 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// The straight path of flow matching: α = t, σ = 1 − t.
    CondOt,
}

impl Schedule {
    /// The level at time t ∈ [0, 1].
    pub fn level(&self, t: f64) -> Level {
        match self {
            Self::CondOt => Level { t, alpha: t, sigma: 1.0 - t, alpha_dot: 1.0, sigma_dot: -1.0 },
        }
    }
}
