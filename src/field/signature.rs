//! What a model of another program predicts, on which schedule, and how it is told how noisy x is.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::path::{Level, Prediction, Schedule};

/// The number that a model takes for time.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// 0 at noise, 1 at data.
    T,
    /// sigma/alpha, the noise of x/alpha.
    Sigma,
    /// log(alpha²/sigma²).
    LogSnr,
    /// The entry of the schedule's table, from 0 next to the data.
    ///
    /// Between two entries it is a fraction, which a model of integers rounds; between the first and the data it stays 0.
    Index,
}

/// What a model predicts, on which schedule, and the time it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    prediction: Prediction,
    schedule: Schedule,
    clock: Clock,
    reversed: bool,
    scale: f64,
}

/// Why these do not describe a model.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum SignatureError {
    /// An index into a schedule that is not a table.
    #[error(
        "the clock is the index of a table, and the schedule is not one; take ddpm, ddpm-cosine or scaled-linear, or another clock"
    )]
    NoTable,
    /// σ/α has no other direction.
    #[error("a clock that shows sigma/alpha has no reverse; t, log-snr and index have one")]
    NoReverse,
    /// A factor that is not a positive number.
    #[error("the clock is scaled by {0}; give a number above zero, and reverse the clock to run it backwards")]
    Scale(f64),
}

/// A level at which the clock shows no number that a model could take.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("the model's clock shows {time} at alpha = {alpha}, sigma = {sigma}; take a grid or a method that leaves that level out")]
pub struct ClockError {
    /// What it shows.
    pub time: f64,
    /// α of the level.
    pub alpha: f64,
    /// σ of the level.
    pub sigma: f64,
}

impl Signature {
    /// A model that predicts `prediction` on `schedule` and takes `scale` times what `clock` shows; `reversed`, t is 1 at noise and 0 at
    /// data, an index counts from the noise, and a log-SNR has the opposite sign. A velocity is dx/dt in the t of that direction,
    /// whatever the scale.
    ///
    /// # Errors
    /// [`SignatureError`] for an index without a table, a reverse of σ/α, or a scale that is not positive.
    pub fn new(
        prediction: Prediction,
        schedule: Schedule,
        clock: Clock,
        reversed: bool,
        scale: f64,
    ) -> Result<Self, SignatureError> {
        match clock {
            Clock::Index if !matches!(schedule, Schedule::Table(_)) => Err(SignatureError::NoTable),
            Clock::Sigma if reversed => Err(SignatureError::NoReverse),
            _ if !(scale > 0.0 && scale.is_finite()) => Err(SignatureError::Scale(scale)),
            _ => Ok(Self { prediction, schedule, clock, reversed, scale }),
        }
    }

    /// What the model predicts.
    pub fn prediction(&self) -> Prediction {
        self.prediction
    }

    /// The schedule it was trained on.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Whether the model knows the noise at the data: not from x̂₀, nor where its clock has no time for them.
    pub fn is_regular_at_data(&self) -> bool {
        let end = self.schedule.level(1.0);
        self.prediction != Prediction::Denoised && self.clock != Clock::Index && self.time(end).is_ok()
    }

    /// The factor of the model's output: −1 of a velocity against our t, else 1.
    pub fn sign(&self) -> f64 {
        let against = self.prediction == Prediction::Velocity && self.reversed && self.clock == Clock::T;
        if against { -1.0 } else { 1.0 }
    }

    /// The time that the model takes at `level`, one of its schedule.
    ///
    /// # Errors
    /// [`ClockError`] where it is infinite.
    pub fn time(&self, level: Level) -> Result<f64, ClockError> {
        let Level { t, alpha, sigma, .. } = level;
        let shown = match (self.clock, &self.schedule) {
            (Clock::T, _) => {
                if self.reversed {
                    1.0 - t
                } else {
                    t
                }
            }
            (Clock::Sigma, _) => level.ratio(),
            (Clock::LogSnr, _) => (if self.reversed { 2.0 } else { -2.0 }) * level.ratio().ln(),
            (Clock::Index, Schedule::Table(table)) => {
                let (last, entry) = (table.entries() as f64 - 1.0, table.entries() as f64 * (1.0 - t) - 1.0);
                // Undo the rounding of t.
                let entry = if (entry - entry.round()).abs() < 1e-9 { entry.round() } else { entry };
                let entry = entry.clamp(0.0, last);
                if self.reversed { last - entry } else { entry }
            }
            (Clock::Index, _) => f64::NAN,
        };
        let time = self.scale * shown;
        if time.is_finite() { Ok(time) } else { Err(ClockError { time, alpha, sigma }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::{Grid, Spacing};

    fn shown(schedule: &str, clock: Clock, reversed: bool, scale: f64) -> Signature {
        Signature::new(Prediction::Noise, Schedule::parse(schedule).unwrap(), clock, reversed, scale).unwrap()
    }

    #[test]
    fn an_index_is_that_of_the_table_as_the_published_samplers_pass_it() {
        let (forward, backward) = (shown("ddpm", Clock::Index, false, 1.0), shown("ddpm", Clock::Index, true, 1.0));
        let grid = Grid::spaced(&Schedule::ddpm(), 10, Spacing::Trailing).unwrap();
        let entries: Vec<f64> = grid.levels()[..10].iter().map(|level| forward.time(*level).unwrap()).collect();
        assert_eq!(entries, [999.0, 899.0, 799.0, 699.0, 599.0, 499.0, 399.0, 299.0, 199.0, 99.0]);
        assert_eq!(backward.time(grid.levels()[0]).unwrap(), 0.0);
        assert!(!forward.is_regular_at_data(), "the data are not an entry");
    }

    #[test]
    fn clocks_show_what_their_names_say() {
        let level = Schedule::CondOt.level(0.25); // α = ¼, σ = ¾
        assert_eq!(shown("condot", Clock::T, false, 1000.0).time(level).unwrap(), 250.0);
        assert_eq!(shown("condot", Clock::T, true, 1.0).time(level).unwrap(), 0.75);
        assert!((shown("condot", Clock::Sigma, false, 1.0).time(level).unwrap() - 3.0).abs() < 1e-15);
        let log_snr = shown("condot", Clock::LogSnr, false, 1.0).time(level).unwrap();
        assert!((log_snr + 9f64.ln()).abs() < 1e-15);
        assert!(shown("condot", Clock::Sigma, false, 1.0).time(Schedule::CondOt.level(0.0)).is_err());
    }

    #[test]
    fn what_makes_no_clock_is_refused() {
        let new = |clock, reversed, scale| Signature::new(Prediction::Noise, Schedule::CondOt, clock, reversed, scale);
        assert_eq!(new(Clock::Index, false, 1.0), Err(SignatureError::NoTable));
        assert_eq!(new(Clock::Sigma, true, 1.0), Err(SignatureError::NoReverse));
        assert_eq!(new(Clock::T, true, -1.0), Err(SignatureError::Scale(-1.0)));
    }
}
