//! What a network is to give, and at which levels it is asked.

use crate::field::network::Output;
use crate::path::{Level, Prediction, Schedule};
use crate::random::{Philox, Stream};
use crate::train::EnergyMatching;

/// What is learnt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// A prediction, at times uniform on the schedule.
    Prediction(Prediction),
    /// The inner network of Karras et al. 2022 for data of standard deviation s_d (eq. 7, 8), at σ/α with log(σ/α) ~ N(−1.2, 1.2²).
    Preconditioned {
        /// s_d.
        sigma_data: f64,
    },
    /// A potential, by Energy Matching.
    Energy(EnergyMatching),
}

/// Mean and standard deviation of log(σ/α) (Karras et al. 2022, table 1).
const LOG_RATIO: [f64; 2] = [-1.2, 1.2];
/// The draw of the levels.
const LEVELS: u32 = u32::MAX - 4;

impl Objective {
    /// What the network's output means.
    pub fn output(self) -> Output {
        match self {
            Self::Prediction(prediction) => Output::Prediction(prediction),
            Self::Preconditioned { sigma_data } => Output::Preconditioned { sigma_data },
            Self::Energy(_) => Output::Energy,
        }
    }

    /// The level of `row` in a step, with `time` the row's uniform one; (seed, step) are those of the noise.
    pub(super) fn level(self, schedule: &Schedule, time: f64, row: u32, (seed, step): (u32, u32)) -> Level {
        if !matches!(self, Self::Preconditioned { .. }) {
            return schedule.level(time);
        }
        let [mean, spread] = LOG_RATIO;
        let mut z = [0.0f32];
        Philox::new(seed, Stream::Training).normals(row, step, LEVELS, &mut z);
        let ratio = (mean + spread * f64::from(z[0])).exp();
        // The few that the schedule does not reach are at its nearer end.
        let [noisiest, cleanest] = [0.0, 1.0].map(|t| schedule.level(t).ratio());
        schedule.level(schedule.time(ratio.clamp(cleanest, noisiest)).unwrap_or(time))
    }
}
