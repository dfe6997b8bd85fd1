//! The designs of Karras et al. 2022, table 1, in their own time: σ(t) and the scaling s(t), x = s (data + σ noise).

use crate::path::{Grid, GridError, Level};

/// σ(t) of a design.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NoiseClock {
    /// VP: σ = √(exp(½β_d t² + β_min t) − 1).
    Vp {
        /// β_d, the slope of β.
        beta_d: f64,
        /// β_min, β at the data.
        beta_min: f64,
    },
    /// VE: σ = √t.
    Ve,
    /// EDM: σ = t.
    Linear,
}

impl NoiseClock {
    /// (t, dσ/dt) at noise level `sigma`.
    fn at(self, sigma: f64) -> (f64, f64) {
        match self {
            Self::Vp { beta_d, beta_min } => {
                let rate = (beta_min * beta_min + 2.0 * beta_d * (sigma * sigma).ln_1p()).sqrt();
                ((rate - beta_min) / beta_d, 0.5 * rate * (sigma + 1.0 / sigma))
            }
            Self::Ve => (sigma * sigma, 0.5 / sigma),
            Self::Linear => (sigma, 1.0),
        }
    }
}

impl Grid {
    /// The grid of falling noise levels `q` in the time of `clock`, with s = 1/√(1 + σ²) when `preserving`, else 1. Our clock is
    /// 1 − t/t₀, so a method in t is one in theirs.
    ///
    /// ```
    /// use brenier::path::{Grid, NoiseClock};
    ///
    /// let grid = Grid::in_time_of(NoiseClock::Linear, false, &[2.0, 1.0, 0.0])?;
    /// assert_eq!((grid.levels()[1].t, grid.levels()[1].sigma), (0.5, 1.0));
    /// # Ok::<(), brenier::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`GridError`] for fewer than two levels, or levels that do not fall strictly.
    pub fn in_time_of(clock: NoiseClock, preserving: bool, q: &[f64]) -> Result<Self, GridError> {
        let (first, _) = clock.at(q.first().copied().ok_or(GridError::NoSteps)?);
        let level = |&q: &f64| {
            let (t, rate) = clock.at(q);
            let s = if preserving { 1.0 / q.hypot(1.0) } else { 1.0 };
            let s_rate = if preserving && q > 0.0 { -q * rate * s.powi(3) } else { 0.0 };
            let sigma_rate = if preserving { rate * s.powi(3) } else { rate }; // ṡσ + sσ̇ = σ̇ s³
            Level { t: 1.0 - t / first, alpha: s, sigma: q * s, alpha_dot: -first * s_rate, sigma_dot: -first * sigma_rate }
        };
        Self::from_levels(q.iter().map(level).collect())
    }
}
