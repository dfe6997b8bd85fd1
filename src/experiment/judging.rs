//! Judging samples A of B beside the ruler: shares and distances with their intervals and p-values, and sliced W₂².

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::backend::Device;
use crate::error::Error;
use crate::measure::Cloud;
use crate::metric::{Estimate, Fidelity, Memorisation, PairDistances, fidelity, memorisation, pair_distances};
use crate::transport::sliced_w2;
use crate::watch::Watch;

/// Directions of the sliced distance.
const DIRECTIONS: usize = 128;
/// Neighbours that balls reach to, where nothing says otherwise and the clouds have as many.
const NEIGHBOURS: usize = 5;

/// How samples are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judging {
    /// Balls of precision, recall, density and coverage reach to the k-th neighbour; none: the fifth, or the last of a smaller
    /// cloud.
    pub k: Option<usize>,
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
    /// Precision, recall, density, coverage, energy distance, MMD², and with a training set its memorised share and authenticity.
    #[serde(flatten)]
    pub estimates: Estimates,
    /// Authenticity of held-out points, where a training set was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticity_heldout: Option<f64>,
    /// Neighbours that the balls of precision, recall, density and coverage reach to.
    pub k: usize,
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

/// A training set, and points of the same law that were held out.
#[derive(Clone, Copy, Debug)]
pub struct Copied<'a> {
    /// What may have been copied.
    pub training: &'a Cloud,
    /// What was not.
    pub heldout: &'a Cloud,
    /// Whether the training set is one, and not a part of the reference that stands for it.
    pub given: bool,
}

impl Judging {
    /// Judges `a` as a sample of what `b` is one of; what `watch` kept is not computed again.
    ///
    /// # Errors
    /// [`Error`] when the clouds cannot be compared, have no more than `k` points, or the watch says stop.
    pub fn run(
        &self,
        [a, b]: [&Cloud; 2],
        copied: Option<Copied<'_>>,
        device: &Device,
        mut watch: Watch<'_>,
    ) -> Result<Judged, Error> {
        let relabelled = (self.permutations, self.seed);
        let PairDistances { energy, mmd_squared, bandwidth } = pair_distances((a, b), relabelled, device, watch.part("pairs"))?;
        let with_mass = |cloud: &Cloud| (0..cloud.len()).filter(|&i| cloud.weight(i) > 0.0).count();
        let k = self.k.unwrap_or_else(|| NEIGHBOURS.min(with_mass(a).min(with_mass(b)) - 1));
        let told = watch.not_keeping();
        let Fidelity { precision, recall, density, coverage } =
            watch.once("fidelity", || fidelity((a, b), k, relabelled, device, &told))?;
        let mut estimates = vec![
            ("precision", precision),
            ("recall", recall),
            ("density", density),
            ("coverage", coverage),
            ("energy_distance", energy),
            ("mmd_squared", mmd_squared),
        ];
        let mut authenticity_heldout = None;
        if let Some(Copied { training, heldout, given }) = copied {
            let found: Memorisation =
                watch.once("memorisation", || memorisation([a, heldout, training], relabelled, device, &told))?;
            estimates.push(("memorised_share", found.share));
            if given {
                estimates.push(("authenticity", found.authenticity));
                authenticity_heldout = Some(found.authenticity_heldout);
            }
        }
        let sliced = sliced_w2(a, b, DIRECTIONS, self.seed)?;
        Ok(Judged {
            estimates: Estimates(estimates),
            authenticity_heldout,
            k,
            mmd_bandwidth: bandwidth,
            permutations: self.permutations,
            sliced_w2_squared: sliced.w2_squared,
            sliced_standard_error: sliced.standard_error,
            sliced_directions: sliced.directions,
        })
    }
}

impl Estimates {
    /// The number called `name`.
    pub fn get(&self, name: &str) -> Option<&Estimate> {
        self.0.iter().find(|(own, _)| *own == name).map(|(_, estimate)| estimate)
    }
}
