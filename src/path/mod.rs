//! How noise and data are joined: x_t = α_t · data + σ_t · noise, and the grids of times that methods step along.

pub mod conversion;
pub mod edm_table;
pub mod forward;
pub mod grid;
pub mod schedule;
pub mod sigmas;
pub mod table;

pub use conversion::{ConversionError, PREDICTIONS, Prediction, PredictionError, combination, convert};
pub use edm_table::NoiseClock;
pub use forward::{Forward, forward_of_levels, levels_of_forward};
pub use grid::{Grid, GridError, Level, Spacing, check_times};
pub use schedule::{SCHEDULES, Schedule, ScheduleError};
pub use sigmas::Form;
