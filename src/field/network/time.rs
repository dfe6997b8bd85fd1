//! How a network is told how noisy x is.

use std::f64::consts::TAU;

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
    /// φ.
    pub features: Features,
}

/// φ(c), which the first layer takes behind the coordinates.
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// c itself.
    Clock,
    /// sin ω_i c and cos ω_i c.
    Waves {
        /// ω_1, …, ω_k, in radians per unit of c.
        omega: Vec<f64>,
        /// Which stands where.
        order: Order,
    },
}

/// How sines and cosines of k frequencies are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// sin ω_1 c, …, sin ω_k c, cos ω_1 c, …, cos ω_k c.
    SinesFirst,
    /// cos ω_1 c, …, cos ω_k c, sin ω_1 c, …, sin ω_k c.
    CosinesFirst,
    /// sin ω_1 c, cos ω_1 c, sin ω_2 c, cos ω_2 c, ….
    Alternating,
}

impl Time {
    /// φ(c) at `level`.
    pub(crate) fn features(&self, level: Level) -> Result<Vec<f64>, LevelError> {
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
        Ok(self.features.at(c))
    }
}

impl Features {
    /// Sinusoidal features of k = `pairs` frequencies (Vaswani et al. 2017, § 3.5): ω_i = P^{−(i−1)/(k − s)} with P the `period`
    /// and s the `shift`, which is 0 there and 1 in the code of Ho et al. 2020, where ω_k is 1/P.
    pub fn sinusoidal(pairs: usize, period: f64, shift: f64, order: Order) -> Self {
        let omega = (0..pairs).map(|i| (-period.ln() * i as f64 / (pairs as f64 - shift)).exp()).collect();
        Self::Waves { omega, order }
    }

    /// Fourier features (Tancik et al. 2020): ω_i = 2π f_i, with f the `cycles` per unit of c, drawn or trained.
    pub fn fourier(cycles: &[f64], order: Order) -> Self {
        Self::Waves { omega: cycles.iter().map(|f| TAU * f).collect(), order }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Clock => 1,
            Self::Waves { omega, .. } => 2 * omega.len(),
        }
    }

    fn at(&self, c: f64) -> Vec<f64> {
        let Self::Waves { omega, order } = self else { return vec![c] };
        let (sines, cosines) = (omega.iter().map(|w| (w * c).sin()), omega.iter().map(|w| (w * c).cos()));
        match order {
            Order::SinesFirst => sines.chain(cosines).collect(),
            Order::CosinesFirst => cosines.chain(sines).collect(),
            Order::Alternating => sines.zip(cosines).flat_map(|(sine, cosine)| [sine, cosine]).collect(),
        }
    }
}
