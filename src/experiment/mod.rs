//! Whole runs: compose the rooms below and return plain records.
//!
//! ```
//! use brenier::backend::{Device, Precision};
//! use brenier::experiment::Evaluate;
//! use brenier::measure::named;
//! use brenier::watch::Watch;
//!
//! let (a, b) = (named("moons", None)?, named("circles", None)?);
//! let found = Evaluate { n: 200, ..Evaluate::default() }.run(&a, &b, &Device::cpu(Precision::F32), Watch::default())?;
//! assert!(found.divergence > found.noise_floor.divergence);
//! # Ok::<(), brenier::Error>(())
//! ```

pub mod by_class;
pub mod columns;
pub mod compare;
pub mod descent;
mod digits_network;
pub mod entrants;
pub mod evaluate;
mod families;
mod find_steps;
pub mod judging;
pub mod ledger;
pub mod record;
pub mod selftest;
pub mod speed;
pub mod walk;
mod workbench;

pub use by_class::{ClassRecord, ClassRow, Labels};
pub use compare::{Compare, Named};
pub use descent::{Descend, DescentRecord};
pub use digits_network::digits_network;
pub use entrants::{ENTRANTS, Entrant, Mark};
pub use evaluate::{Evaluate, EvaluateRecord, FeatureRecord, Features};
pub use judging::{Copied, Estimates, Judged, Judging};
pub use record::{
    CompareRecord, Comparison, Family, Flag, Found, FreeEnergy, Ledger, NamedGrid, NoiseFloor, Reclocked, Row, Trajectory,
};
