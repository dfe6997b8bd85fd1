//! How good a cloud is, and what the numbers mean.
//!
//! ```
//! use brenier::backend::{Device, Precision};
//! use brenier::measure::Mixture;
//! use brenier::metric::Ruler;
//! use brenier::random::Stream;
//!
//! let device = Device::cpu(Precision::F32);
//! let [b, a] = [0, 1].map(|step| Mixture::standard_normal(2).sample(200, 0, Stream::Source, step));
//! let reading = Ruler::new(&b, 0, &device)?.measure(&a, &device)?;
//! assert!(reading.divergence < 0.2 && (reading.variance_ratio - 1.0).abs() < 0.3);
//! # Ok::<(), brenier::Error>(())
//! ```

mod clusters;
pub mod error;
pub mod fidelity;
pub mod flag;
pub mod floor;
pub mod frechet;
pub mod judge;
pub mod kernel;
pub mod memorisation;
pub mod modes;
pub mod moments;
pub mod nearest;
mod neighbours;
mod null;
pub mod pair_blocks;
pub mod resample;
pub mod ruler;
pub mod straightness;
pub mod wasserstein;

pub use error::MetricError;
pub use fidelity::{Fidelity, fidelity};
pub use flag::Flag;
pub use floor::{Floor, Law, NoiseFloor};
pub use frechet::frechet_distance;
pub use judge::{Judge, Verdict};
pub use kernel::{Estimator, energy_distance, median_of_pairs, mmd_squared};
pub use memorisation::{Memorisation, memorisation};
pub use modes::{Modes, mode_weights};
pub use moments::{mean_distance, variance_ratio};
pub use nearest::{distances, median_distance, nearest};
pub use pair_blocks::{PairDistances, pair_distances};
pub use resample::Estimate;
pub use ruler::{Reading, Ruler};
pub use straightness::{LossFloor, cfm_loss_floor};
pub use wasserstein::{PairedCost, paired_cost, w2_size, w2_squared_exact};
