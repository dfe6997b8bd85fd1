//! A gradient flow from a source to a target, step by step, measured against held-out points.

use serde::Serialize;

use crate::backend::{Cost, Device};
use crate::error::Error;
use crate::gradient_flow::{Account, Blob, Descent, FlowError, Langevin, Scheme, SemiUnbalancedJko, SinkhornFlow, descend};
use crate::measure::{Cloud, CloudError, Measure, Mixture};
use crate::metric::{Flag, Law, MetricError, NoiseFloor, Ruler, mode_weights, variance_ratio};
use crate::random::{Philox, Stream};
use crate::transport::GroundCost;
use crate::watch::Watch;

/// Particles, and draws of a law, when it is not said how many.
const PARTICLES: usize = 4096;
/// Most particles and held-out points that a divergence is computed on: its cost grows with the product of the two.
const JUDGED: usize = 4096;

/// A scheme by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SchemeName {
    /// The flow of the Sinkhorn divergence to points of the target.
    SinkhornFlow,
    /// The entropic JKO step of KL on points of the target.
    SemiUnbalanced,
    /// Unadjusted Langevin towards a law.
    Langevin,
    /// The blob method towards a law.
    Blob,
}

impl SchemeName {
    /// Where its ε comes from unless it is given, in words.
    fn eps_origin(self) -> &'static str {
        match self {
            Self::SinkhornFlow => "0.05 x the mean cost within the target",
            Self::SemiUnbalanced => "a tenth of tau",
            Self::Blob => "Silverman's rule in the narrowest direction of the target",
            Self::Langevin => "none",
        }
    }
}

/// A descent: sizes, steps and seed. What is not given follows the target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Descend {
    /// Scheme; none: the Sinkhorn flow for points and shapes, Langevin for a law.
    pub scheme: Option<SchemeName>,
    /// τ: of the Sinkhorn flow ½; of the semi-unbalanced step ½ × T of the target, the mean c within it; else a tenth
    /// of the law's least variance.
    pub tau: Option<f64>,
    /// ε: 0.05 × T of the target for the Sinkhorn flow, τ/10 for the semi-unbalanced step, Silverman's h² for the blob.
    pub eps: Option<f64>,
    /// For Langevin and the blob: the noise with which the law is joined at first, falling to none over the first half of the steps.
    pub anneal: Option<f64>,
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
    pub scheme: SchemeName,
    /// τ used.
    pub tau: f64,
    /// ε used; none for Langevin.
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
        let scheme = self.scheme.unwrap_or(match target {
            Measure::Law(_) => SchemeName::Langevin,
            _ => SchemeName::SinkhornFlow,
        });
        let start = self.start(source, scheme)?;
        let plan = self.plan(scheme, target, &train, start.len())?;
        let descent = self.descend(&plan, source, start, &train, device, watch.part("descent"))?;

        let ruler = Ruler::watched(&heldout, self.seed, device, watch.not_keeping())?;
        let origin = match target {
            Measure::Finite(cloud) => Law::Points(cloud.clone()),
            law => Law::Draws(law.clone()),
        };
        let state = descent.state;
        // A scheme that counts neighbours estimates a density from them, from its first step on.
        let unknown = |account: &Account| account.effective_neighbours.is_some() && account.free_energy.is_none();
        let flags = if descent.accounts.iter().any(unknown) { vec![Flag::FewNeighbours] } else { Vec::new() };
        let judged = judged(state.clone(), self.seed)?;
        let record = DescentRecord {
            scheme,
            tau: plan.tau,
            eps: plan.eps,
            eps_origin: plan.eps.map(|_| if self.eps.is_some() { "given" } else { scheme.eps_origin() }),
            n: state.len(),
            m: heldout.len(),
            d: heldout.dim(),
            steps: descent.accounts,
            predicted_bias: plan.predicted_bias,
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
    fn start(&self, source: &Measure, scheme: SchemeName) -> Result<Cloud, CloudError> {
        let Measure::Finite(cloud) = source else {
            return Ok(source.sample(self.n.unwrap_or(PARTICLES), self.seed, Stream::Source, 0));
        };
        let n = self.n.unwrap_or(PARTICLES.min(cloud.len()));
        let philox = Philox::new(self.seed, Stream::Source);
        match cloud.weights() {
            Some(_) if n == cloud.len() && scheme != SchemeName::Langevin => Ok(cloud.clone()),
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

    /// What is not given, and the bias it implies, for `n` particles.
    fn plan<'a>(&self, scheme: SchemeName, target: &'a Measure, train: &Cloud, n: usize) -> Result<Plan<'a>, FlowError> {
        let law = match target {
            Measure::Law(law) => Some(law),
            _ => None,
        };
        let needs_law = || law.ok_or(FlowError::NeedsLaw);
        let within = || GroundCost::Known(Cost::HalfSquaredEuclidean).scale(train, train, self.seed).value;
        let given = |tau: f64, eps: Option<f64>| (self.tau.unwrap_or(tau), self.eps.or(eps));
        let (kind, (tau, eps), predicted_bias) = match scheme {
            SchemeName::SinkhornFlow => (Kind::SinkhornFlow, given(0.5, Some(0.05 * within())), None),
            SchemeName::SemiUnbalanced => {
                let tau = self.tau.unwrap_or_else(|| 0.5 * within());
                let eps = self.eps.unwrap_or(0.1 * tau);
                (Kind::SemiUnbalanced, (tau, Some(eps)), Some(SemiUnbalancedJko::predicted_bias(tau, eps)))
            }
            SchemeName::Langevin => {
                let law = needs_law()?;
                let least = law.least_variance();
                let tau = self.tau.unwrap_or(0.1 * least);
                (Kind::Langevin(law), (tau, None), Langevin::predicted_bias(tau, least))
            }
            SchemeName::Blob => {
                let law = needs_law()?;
                let least = law.least_variance();
                // Silverman's rule on the narrowest direction.
                let width = least.sqrt() * (n as f64).powf(-1.0 / (law.dim() as f64 + 4.0));
                let (tau, eps) = (self.tau.unwrap_or(0.1 * least), self.eps.unwrap_or(width * width));
                (Kind::Blob(law), (tau, Some(eps)), Some(Blob::predicted_bias(eps, least)))
            }
        };
        FlowError::check_tau(tau)?;
        if self.anneal.is_some() && !matches!(scheme, SchemeName::Langevin | SchemeName::Blob) {
            return Err(FlowError::NotAnnealed);
        }
        Ok(Plan { kind, tau, eps, predicted_bias })
    }

    fn descend(
        &self,
        plan: &Plan<'_>,
        source: &Measure,
        start: Cloud,
        train: &Cloud,
        device: &Device,
        watch: Watch<'_>,
    ) -> Result<Descent, FlowError> {
        let (tau, eps) = (plan.tau, plan.eps.unwrap_or(0.0));
        let follow = |scheme: &mut dyn Scheme, watch: Watch<'_>| descend(scheme, self.steps, watch);
        match plan.kind {
            Kind::SinkhornFlow => follow(&mut SinkhornFlow::new(start, train, tau, eps, device)?, watch),
            Kind::SemiUnbalanced => follow(&mut SemiUnbalancedJko::new(start, train, tau, eps, device)?, watch),
            Kind::Blob(law) => {
                let blob = Blob::new(start, law.clone(), tau, eps, device)?;
                let mut blob = match self.anneal {
                    Some(sigma) => blob.annealed(sigma, self.steps / 2)?,
                    None => blob,
                };
                follow(&mut blob, watch)
            }
            Kind::Langevin(law) => {
                let mut langevin = Langevin::new(start, law.clone(), tau, self.seed, device)?;
                if let Measure::Law(law) = source {
                    langevin = langevin.from_law(law.clone());
                }
                if let Some(sigma) = self.anneal {
                    langevin = langevin.annealed(sigma, self.steps / 2)?;
                }
                follow(&mut langevin, watch)
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

/// A scheme with all that it needs.
struct Plan<'a> {
    kind: Kind<'a>,
    tau: f64,
    eps: Option<f64>,
    predicted_bias: Option<f64>,
}

#[derive(Clone, Copy)]
enum Kind<'a> {
    SinkhornFlow,
    SemiUnbalanced,
    Langevin(&'a Mixture),
    Blob(&'a Mixture),
}
