//! How good a cloud is, and what the numbers mean.

mod clusters;
pub mod error;
pub mod flag;
pub mod floor;
pub mod frechet;
pub mod judge;
pub mod kernel;
pub mod modes;
pub mod moments;
pub mod nearest;
mod null;
pub mod ruler;
pub mod straightness;
pub mod wasserstein;

pub use error::MetricError;
pub use flag::Flag;
pub use floor::{Floor, Law, NoiseFloor};
pub use frechet::frechet_distance;
pub use judge::{Judge, Verdict};
pub use kernel::{Estimator, energy_distance, mmd_squared};
pub use modes::{Modes, mode_weights};
pub use moments::{mean_distance, variance_ratio};
pub use nearest::{median_distance, nearest};
pub use ruler::{Reading, Ruler};
pub use straightness::cfm_loss_floor;
pub use wasserstein::{PairedCost, paired_cost, w2_size, w2_squared_exact};
