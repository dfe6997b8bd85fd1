//! Whole runs: compose the rooms below and return plain records.

pub mod record;

pub use record::{CompareRecord, Comparison, Family, Flag, FreeEnergy, Ledger, NoiseFloor, Row, Trajectory};
