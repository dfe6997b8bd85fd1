//! The numbers of a row, as the page, the terminal and `rows.csv` show them: one table of columns.

use crate::experiment::record::Row;
use crate::metric::NoiseFloor;

/// A column of numbers.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Name in `rows.csv` and `run.json`.
    pub key: &'static str,
    /// Head on the page.
    pub head: &'static str,
    /// Its number.
    pub value: fn(&Row) -> Option<f64>,
    /// Distance from the ideal, for columns in which a row can be the best.
    pub badness: Option<fn(f64) -> f64>,
    /// Head and unit in the terminal, which has no room for all.
    pub terminal: Option<(&'static str, Unit)>,
    /// What independent samples score.
    pub floor: Option<fn(&NoiseFloor) -> f64>,
}

/// How a number is written in the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// As a duration.
    Seconds,
    /// As a number.
    Plain,
    /// As a ratio, with three decimals.
    Ratio,
}

impl Column {
    const fn new(key: &'static str, head: &'static str, value: fn(&Row) -> Option<f64>) -> Self {
        Self { key, head, value, badness: None, terminal: None, floor: None }
    }

    const fn judged(self, badness: fn(f64) -> f64) -> Self {
        Self { badness: Some(badness), ..self }
    }

    const fn shown(self, head: &'static str, unit: Unit) -> Self {
        Self { terminal: Some((head, unit)), ..self }
    }

    const fn above(self, floor: fn(&NoiseFloor) -> f64) -> Self {
        Self { floor: Some(floor), ..self }
    }
}

/// All columns of numbers, which follow family, method, steps and evaluations.
pub const COLUMNS: [Column; 9] = [
    Column::new("seconds", "seconds", |r| Some(r.seconds)).shown("time", Unit::Seconds),
    Column::new("solver_error", "solver error", |r| r.solver_error).judged(|v| v).shown("solver error", Unit::Plain),
    Column::new("divergence", "divergence", |r| r.divergence)
        .judged(|v| v)
        .shown("divergence", Unit::Plain)
        .above(|floor| floor.divergence),
    Column::new("w2_squared_exact", "W₂² exact", |r| r.w2_squared_exact)
        .judged(|v| v)
        .shown("W2² exact", Unit::Plain)
        .above(|floor| floor.w2_squared_exact),
    Column::new("variance_ratio", "variance ratio", |r| r.variance_ratio)
        .judged(|v| (v - 1.0).abs())
        .shown("variance", Unit::Ratio),
    Column::new("nn_train", "sample to training", |r| r.nn_train),
    Column::new("nn_heldout", "held-out to training", |r| r.nn_heldout),
    Column::new("action", "action", |r| r.action),
    Column::new("length", "length", |r| r.length),
];
