//! Whole runs: compose the rooms below and return plain records.

pub mod columns;
pub mod compare;
pub mod descent;
pub mod entrants;
pub mod evaluate;
mod families;
pub mod ledger;
pub mod record;
pub mod selftest;
pub mod speed;
pub mod walk;
mod workbench;

pub use compare::{Compare, Named};
pub use descent::{Descend, DescentRecord, SchemeName};
pub use entrants::{ENTRANTS, Entrant, Mark};
pub use evaluate::{Evaluate, EvaluateRecord};
pub use record::{CompareRecord, Comparison, Family, Flag, FreeEnergy, Ledger, NoiseFloor, Row, Trajectory};
