//! A gradient flow from a source to a target, step by step, measured against held-out points.

use serde::Serialize;

use crate::backend::Device;
use crate::error::Error;
use crate::gradient_flow::{Account, Certificate, Entry, Made, Options, Setting, descend, usual};
use crate::measure::{Cloud, CloudError, Measure};
use crate::metric::{Flag, Law, MetricError, NoiseFloor, Ruler, mode_weights, variance_ratio};
use crate::random::{Philox, Stream};
use crate::watch::Watch;

/// Particles, and draws of a law, when it is not said how many.
const PARTICLES: usize = 4096;
/// Most particles and held-out points that a divergence is computed on: its cost grows with the product of the two.
const JUDGED: usize = 4096;

/// A descent: scheme, sizes, steps and seed. What is not given follows the target.
#[derive(Clone, Debug)]
pub struct Descend {
    /// Scheme, a row of [`SCHEMES`](crate::gradient_flow::SCHEMES); none: the Sinkhorn flow for points and shapes, Langevin for a law.
    pub scheme: Option<&'static Entry>,
    /// Its options.
    pub options: Options,
    /// Steps.
    pub steps: usize,
    /// Particles, and draws of a target that is a law; none: 4,096, but no more particles than a finite source has points.
    pub n: Option<usize>,
    /// Seed.
    pub seed: u32,
}

/// What `jko` prints as JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DescentRecord {
    /// Scheme used.
    pub scheme: &'static str,
    /// τ used; none where steps differ, each with its own.
    pub tau: Option<f64>,
    /// ε used; none without.
    pub eps: Option<f64>,
    /// Where ε comes from, in words.
    pub eps_origin: Option<&'static str>,
    /// Particles.
    pub n: usize,
    /// Held-out points.
    pub m: usize,
    /// Dimension.
    pub d: usize,
    /// Accounts of all states, the start among them.
    pub steps: Vec<Account>,
    /// The stationary variance of the scheme over that of a Gaussian target, minus one; for a mixture that of its narrowest
    /// direction. None where no formula is known.
    pub predicted_bias: Option<f64>,
    /// What of the accounts is exact, and what approximate.
    #[serde(skip)]
    pub certificate: Certificate,
    /// 2 S_ε between the last state and the held-out points, in units of |x−y|², on at most 4,096 of each.
    pub heldout_divergence: f64,
    /// What two independent clouds of the target's law would score at these sizes.
    pub noise_floor: NoiseFloor,
    /// Total variance of the last state over that of the held-out points.
    pub variance_ratio: f64,
    /// Share of the last state in each component of the target, where it is a mixture of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode_weights: Option<Vec<f64>>,
    /// The step that failed, if one did; the state is the last good one.
    pub halted: Option<String>,
    /// Why numbers are null: `few_neighbours` where the density of the particles cannot be estimated.
    pub flags: Vec<Flag>,
}

impl Descend {
    /// Runs the descent, without what `watch` kept of it: the record and the last state, under weights where the scheme moves
    /// weights.
    ///
    /// The particles start as draws of a law. Those of a finite source are its points in their order: all of them under their weights,
    /// fewer chosen by the seed. Where there are more particles than points, or the weights are not kept (fewer particles than points,
    /// Langevin), one particle is drawn from each n-th of the mass, which keeps the order too.
    ///
    /// # Errors
    /// [`Error`] when the scheme cannot serve the target, a parameter is out of its domain, or the watch says stop.
    pub fn run(
        &self,
        source: &Measure,
        target: &Measure,
        device: &Device,
        mut watch: Watch<'_>,
    ) -> Result<(DescentRecord, Cloud), Error> {
        let (train, heldout) = match target {
            Measure::Finite(cloud) => cloud.halves(self.seed)?,
            law => {
                let n = self.n.unwrap_or(PARTICLES);
                [(n, 1), (n.min(JUDGED), 2)].map(|(n, step)| law.sample(n, self.seed, Stream::Source, step)).into()
            }
        };
        let heldout = judged(heldout, self.seed)?;
        if heldout.variance() == 0.0 {
            return Err(MetricError::NoSpread.into()); // before the descent, which nothing could judge
        }
        let scheme = self.scheme.unwrap_or_else(|| usual(target));
        let start = self.start(source, scheme)?;
        let Self { options, steps, seed, .. } = self;
        let setting = Setting { source, target, train: &train, options, steps: *steps, seed: *seed, device };
        let Made { scheme: mut flow, tau, eps, predicted_bias, short_of_noise } = scheme.make(&setting, start)?;
        let descent = descend(&mut *flow, self.steps, watch.part("descent"))?;

        let ruler = Ruler::watched(&heldout, self.seed, device, watch.not_keeping())?;
        let origin = match target {
            Measure::Finite(cloud) => Law::Points(cloud.clone()),
            law => Law::Draws(law.clone()),
        };
        let state = descent.state;
        // A scheme that counts neighbours estimates a density from them, from its first step on.
        let unknown = |account: &Account| account.effective_neighbours.is_some() && account.free_energy.is_none();
        let few = descent.accounts.iter().any(unknown).then_some(Flag::FewNeighbours);
        let flags = few.into_iter().chain(short_of_noise.then_some(Flag::ShortOfNoise)).collect();
        let judged = judged(state.clone(), self.seed)?;
        let record = DescentRecord {
            scheme: scheme.name,
            tau,
            eps,
            eps_origin: eps.and_then(|_| if self.options.eps.is_some() { Some("given") } else { scheme.eps_origin }),
            n: state.len(),
            m: heldout.len(),
            d: heldout.dim(),
            steps: descent.accounts,
            predicted_bias,
            certificate: scheme.certificate,
            heldout_divergence: ruler.divergence_watched(&judged, device, watch.not_keeping())?,
            noise_floor: ruler.noise_floor(&origin, &judged, device, watch.part("noise floor"))?.mean,
            variance_ratio: variance_ratio(&state, &heldout)?,
            mode_weights: match target {
                Measure::Law(law) if law.components().len() > 1 => Some(mode_weights(&state, law)?),
                _ => None,
            },
            halted: descent.halted.map(|failure| failure.to_string()),
            flags,
        };
        Ok((record, state))
    }

    /// The particles at the start.
    fn start(&self, source: &Measure, scheme: &Entry) -> Result<Cloud, CloudError> {
        let Measure::Finite(cloud) = source else {
            return Ok(source.sample(self.n.unwrap_or(PARTICLES), self.seed, Stream::Source, 0));
        };
        let n = self.n.unwrap_or(PARTICLES.min(cloud.len()));
        let philox = Philox::new(self.seed, Stream::Source);
        match cloud.weights() {
            Some(_) if n == cloud.len() && scheme.keeps_weights => Ok(cloud.clone()),
            None if n <= cloud.len() => {
                let mut chosen = philox.permutation(cloud.len(), n, 0);
                chosen.sort_unstable();
                cloud.select(&chosen)
            }
            _ => {
                let quantiles = cloud.inverse_cdf();
                let of = |i: usize| quantiles.index((i as f64 + philox.uniform(i as u32, 0, 1)) / n as f64);
                Ok(cloud.uniform_at(&(0..n).map(of).collect::<Vec<usize>>()))
            }
        }
    }
}

/// At most [`JUDGED`] points of `cloud`, chosen by the seed.
fn judged(cloud: Cloud, seed: u32) -> Result<Cloud, CloudError> {
    if cloud.len() <= JUDGED {
        return Ok(cloud);
    }
    cloud.select(&Philox::new(seed, Stream::Metric).permutation(cloud.len(), JUDGED, 0))
}
