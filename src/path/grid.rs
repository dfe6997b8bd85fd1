//! Time grids: the levels a method steps through, from noise to data.

use thiserror::Error;

use crate::path::Schedule;

/// One noise level of x = α · data + σ · noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Time, 0 at noise and 1 at data.
    pub t: f64,
    /// Factor α of the data.
    pub alpha: f64,
    /// Factor σ of the noise.
    pub sigma: f64,
    /// dα/dt.
    pub alpha_dot: f64,
    /// dσ/dt; −∞ where the schedule meets the data like √(1−t).
    pub sigma_dot: f64,
}

/// The levels of a run in order: a method makes `steps` = `levels.len() − 1` steps between neighbours.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    levels: Vec<Level>,
}

/// Why times do not make a grid.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum GridError {
    /// A run of no steps.
    #[error("a run needs at least one step; give --steps 1 or more")]
    NoSteps,
    /// Times that do not increase within [0, 1].
    #[error("time {index} of the grid is {value}; times must increase strictly within [0, 1], from noise (0) to data (1)")]
    NotIncreasing {
        /// Index of the time, from 0.
        index: usize,
        /// The time found.
        value: f64,
    },
    /// A number of steps that the schedule's table cannot give.
    #[error("{steps} steps from a table of {table} levels; ask for at most {table}")]
    TooManySteps {
        /// Steps asked for.
        steps: usize,
        /// Levels of the table.
        table: usize,
    },
}

impl Grid {
    /// The grid of `schedule` at increasing `times` in [0, 1].
    ///
    /// # Errors
    /// [`GridError`] for fewer than two times, or times that leave [0, 1] or do not increase.
    pub fn at(schedule: &Schedule, times: &[f64]) -> Result<Self, GridError> {
        if times.len() < 2 {
            return Err(GridError::NoSteps);
        }
        for (index, &value) in times.iter().enumerate() {
            if !(0.0..=1.0).contains(&value) || (index > 0 && value <= times[index - 1]) {
                return Err(GridError::NotIncreasing { index, value });
            }
        }
        Ok(Self { levels: times.iter().map(|&t| schedule.level(t)).collect() })
    }

    /// `steps` equal steps of t from 0 to 1: the trailing grid of the samplers' literature, whose first level is pure noise.
    ///
    /// # Errors
    /// [`GridError::NoSteps`] when `steps` is 0.
    pub fn uniform(schedule: &Schedule, steps: usize) -> Result<Self, GridError> {
        let times: Vec<f64> = (0..=steps).map(|i| i as f64 / steps as f64).collect();
        Self::at(schedule, &times)
    }

    /// A grid from levels made elsewhere (a table, σ values of a solver).
    ///
    /// # Errors
    /// [`GridError::NoSteps`] for fewer than two levels.
    pub fn from_levels(levels: Vec<Level>) -> Result<Self, GridError> {
        if levels.len() < 2 {
            return Err(GridError::NoSteps);
        }
        Ok(Self { levels })
    }

    /// All levels, first noise, last data.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The steps (from, to) in order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = (Level, Level)> + '_ {
        self.levels.windows(2).map(|pair| (pair[0], pair[1]))
    }

    /// The level where the run starts.
    pub fn start(&self) -> Level {
        self.levels[0]
    }
}
