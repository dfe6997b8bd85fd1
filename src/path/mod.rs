//! How noise and data are joined: x_t = α_t · data + σ_t · noise, and the grids of times that methods step along.

pub mod grid;
pub mod schedule;

pub use grid::{Grid, GridError, Level};
pub use schedule::Schedule;
