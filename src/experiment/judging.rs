//! Judging samples A of B beside the ruler: distances by pairs and directions, each with its interval and p-value.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::backend::Device;
use crate::error::Error;
use crate::measure::Cloud;
use crate::metric::{Estimate, pair_distances};
use crate::transport::sliced_w2;
use crate::watch::Watch;

/// Directions of the sliced distance.
const DIRECTIONS: usize = 128;

/// How samples are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judging {
    /// Relabellings behind each p-value; none without.
    pub permutations: u32,
    /// Seed of directions, subsamples and relabellings.
    pub seed: u32,
}

/// Numbers by name, each printed as NAME, `NAME_interval` and `NAME_p`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimates(pub Vec<(&'static str, Estimate)>);

impl Serialize for Estimates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3 * self.0.len()))?;
        for (name, Estimate { value, interval, p }) in &self.0 {
            map.serialize_entry(name, value)?;
            map.serialize_entry(&format!("{name}_interval"), interval)?;
            map.serialize_entry(&format!("{name}_p"), p)?;
        }
        map.end()
    }
}

/// What is found beside the ruler's distances.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Judged {
    /// Energy distance and MMD².
    #[serde(flatten)]
    pub estimates: Estimates,
    /// Bandwidth of the kernel of MMD², the median distance of two points of B.
    pub mmd_bandwidth: f64,
    /// Relabellings behind each p-value.
    pub permutations: u32,
    /// Sliced W₂², in units of |x−y|².
    pub sliced_w2_squared: f64,
    /// Its standard error from the spread over directions.
    pub sliced_standard_error: f64,
    /// Directions it is the mean over.
    pub sliced_directions: usize,
}

impl Judging {
    /// Judges `a` as a sample of what `b` is one of; what `watch` kept is not computed again.
    ///
    /// # Errors
    /// [`Error`] when the clouds cannot be compared, or the watch says stop.
    pub fn run(&self, a: &Cloud, b: &Cloud, device: &Device, mut watch: Watch<'_>) -> Result<Judged, Error> {
        let pairs = pair_distances((a, b), self.permutations, self.seed, device, watch.part("pairs"))?;
        let sliced = sliced_w2(a, b, DIRECTIONS, self.seed)?;
        let estimates = vec![("energy_distance", pairs.energy), ("mmd_squared", pairs.mmd_squared)];
        Ok(Judged {
            estimates: Estimates(estimates),
            mmd_bandwidth: pairs.bandwidth,
            permutations: self.permutations,
            sliced_w2_squared: sliced.w2_squared,
            sliced_standard_error: sliced.standard_error,
            sliced_directions: sliced.directions,
        })
    }
}
