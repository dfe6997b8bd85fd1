//! Methods: each maps a time grid to a program, and is one file.

pub mod program;
pub mod run;

pub use run::{Observe, RunError};
