//! How a network is told how noisy x is.

use crate::field::network::LevelError;
use crate::path::Level;

/// The number that tells the network how noisy x is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// t, 0 at noise and 1 at data.
    Time,
    /// 1 − t, 1 at noise and 0 at data.
    Remaining,
    /// σ/α.
    Ratio,
    /// log(σ/α).
    LogRatio,
}

/// How the network is told the time: φ(c) with c = scale · clock + offset.
#[derive(Clone, Debug, PartialEq)]
pub struct Time {
    /// The clock.
    pub clock: Clock,
    /// Factor of the clock.
    pub scale: f64,
    /// Added to it.
    pub offset: f64,
    /// ω of the features (sin ω_1 c, …, sin ω_k c, cos ω_1 c, …, cos ω_k c); with none, c itself is the one feature.
    pub frequencies: Option<Vec<f64>>,
}

impl Time {
    /// φ(c) at `level`.
    pub(super) fn features(&self, level: Level) -> Result<Vec<f64>, LevelError> {
        let now = match self.clock {
            Clock::Time => level.t,
            Clock::Remaining => 1.0 - level.t,
            Clock::Ratio => level.ratio(),
            Clock::LogRatio => level.ratio().ln(),
        };
        let c = self.scale * now + self.offset;
        if !c.is_finite() {
            return Err(LevelError::Clock { clock: self.clock, alpha: level.alpha, sigma: level.sigma });
        }
        Ok(match &self.frequencies {
            None => vec![c],
            Some(omega) => omega.iter().map(|w| (w * c).sin()).chain(omega.iter().map(|w| (w * c).cos())).collect(),
        })
    }
}
