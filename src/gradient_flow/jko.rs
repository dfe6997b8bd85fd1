//! The loop of every scheme, and the certificate of each step: its free energy, the energy inequality that a step of a gradient flow
//! must obey (Jordan, Kinderlehrer, Otto 1998, eq. 12), and how far it is from the minimiser that defines a JKO step,
//!
//! ```text
//! F(ρ′) + (cost of the step) ≤ F(ρ)               cost = W₂²(ρ, ρ′)/2τ in the scheme's own metric
//! R = ‖(x′ − x)/τ + ∇(δF/δρ′)(x′)‖ in L²(ρ′)      for a step x → x′ down F: zero for the minimiser of F + W₂²(·, ρ)/2τ
//! R = ‖(x − x′)/τ + ∇(δF/δρ)(x)‖ in L²(ρ)         for a step that runs the flow of F backwards: names exchanged, F rises
//! ```
//!
//! For F = ∫V + ε∫ρ log ρ, ∇(δF/δρ) = ∇V + ε∇log ρ. Noise of variance s² in a step is not a map; it enters R as its probability
//! flow, x′ = drift(x) − (s²/2)∇log ρ′(x′), which has the same law up to O(s⁴). Particle by particle R would measure the coupling of
//! noisy partners, √(2d/τ), and not the law.

use serde::{Deserialize, Serialize};

use crate::backend::{Device, Precision};
use crate::checkpoint::{Checkpoint, Part};
use crate::gradient_flow::FlowError;
use crate::measure::{Cloud, Component, Mixture};
use crate::random::Stream;
use crate::watch::{Progress, Residual, Watch};

/// The accounts of the state ρ_k and of the step that leaves it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Number of the state, from 0.
    pub k: usize,
    /// F(ρ_k), in nats: KL(·|π), KL(·|p_σ) at the level of the step that leaves ρ_k, ∫ρ log ρ, or ∫V + ε∫ρ log ρ; of the
    /// Sinkhorn flow S_ε, in units of c = ½|x−y|². None where the density of ρ_k is not known.
    pub free_energy: Option<f64>,
    /// W₂² of the step or a bound on it from above, E|x′ − x|² of its map or τ² times the dissipation, in units of |x−y|²; none
    /// at the last state, and where the scheme cannot tell.
    pub w2_squared_step: Option<f64>,
    /// F_k − F_{k+1} − cost of the step, of the functional that this step moves along; where it runs the flow backwards,
    /// F_{k+1} − F_k − cost. ≥ 0 for a step of the flow, up to the errors of an estimate.
    pub energy_inequality: Option<f64>,
    /// Length τ of the step in the time of its flow; none at the last state, and where it is infinite.
    pub tau: Option<f64>,
    /// The JKO residual R of the step, in units of x per unit time.
    pub jko_residual: Option<f64>,
    /// The R that score-estimation error alone would produce. None where the scores are exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jko_residual_floor: Option<f64>,
    /// Why R, or τ, is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// (F_k − F_{k+1})/τ, in F per unit time; where the step runs the flow backwards (F_{k+1} − F_k)/τ. Not negative for a step
    /// of the flow, along which it lies between the dissipation at both ends.
    pub free_energy_rate: Option<f64>,
    /// What λ-convexity of F makes of F_0, where λ is known: an upper bound on what remains of it, F_0 e^{−2λt}
    /// (F_0/(1 + λτ)^{2k} for implicit steps), or on the way backwards a lower bound on what it has grown to, F_0 e^{2λt}. None
    /// where F_0 is, and from the first step on that has no such factor.
    pub free_energy_bound: Option<f64>,
    /// ∫|∇(δF/δρ)|² dρ at ρ_k, the rate at which the flow dissipates F, in nats per unit time; of KL(·|π) the Fisher information
    /// ∫|∇log ρ/π|² dρ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dissipation: Option<f64>,
    /// Error of `dissipation`, where it is an estimate, as that of `free_energy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dissipation_error: Option<f64>,
    /// Standard error of `free_energy`, where it is an estimate; with the bias that is left where the law is known by its
    /// particles alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
    /// Particles within a kernel's width: the mean of the exponential of the kernel's entropy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_neighbours: Option<f64>,
}

impl Account {
    /// Enters the step that leaves this state, with F `after` it.
    fn close(&mut self, step: &Charge, after: Option<f64>) {
        let fall = self.free_energy.zip(after).map(|(before, after)| before - after);
        let gain = if step.backwards { fall.map(|fall| -fall) } else { fall };
        self.w2_squared_step = step.w2_squared;
        self.energy_inequality = gain.zip(step.charged).map(|(gain, charged)| gain - charged);
        self.tau = step.tau;
        self.free_energy_rate = gain.zip(step.tau).map(|(gain, tau)| gain / tau);
        match step.residual {
            JkoResidual::Exact(value) => self.jko_residual = Some(value),
            JkoResidual::Estimated { value, floor } => (self.jko_residual, self.jko_residual_floor) = (Some(value), Some(floor)),
            JkoResidual::Unknown(why) => self.reason = Some(why.into()),
        }
    }
}

/// What a step cost, and what is known of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Charge {
    /// W₂² of the step, in units of |x−y|²; none where the scheme cannot tell.
    pub w2_squared: Option<f64>,
    /// What the energy inequality charges for it, in units of F; none where the step descends another energy.
    pub charged: Option<f64>,
    /// Whether the step runs the flow backwards, so that F rises.
    pub backwards: bool,
    /// F after the step, of the functional that it moved along, where the next step moves along another.
    pub free_energy_after: Option<f64>,
    /// Length τ of the step in the time of its flow.
    pub tau: Option<f64>,
    /// The factor that λ-convexity of F bounds F_{k+1}/F_k by: from above, or backwards from below.
    pub decay: Option<f64>,
    /// The JKO residual.
    pub residual: JkoResidual,
}

/// The JKO residual R of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JkoResidual {
    /// From exact scores.
    Exact(f64),
    /// From estimated scores, with the R that score-estimation error alone would produce.
    Estimated {
        /// R.
        value: f64,
        /// Its floor.
        floor: f64,
    },
    /// None, for this reason.
    Unknown(&'static str),
}

impl Default for JkoResidual {
    fn default() -> Self {
        Self::Unknown("the step reweights fixed points instead of moving them, so there is no map to take a residual of")
    }
}

/// A scheme that is run step by step. What takes long is watched, and ends with an error that [`FlowError::is_stop`] when told
/// to.
pub trait Scheme {
    /// The accounts of the present state, without those of a step.
    fn account(&mut self, watch: &Watch<'_>) -> Result<Account, FlowError>;

    /// Makes step `k`.
    fn advance(&mut self, k: usize, watch: &Watch<'_>) -> Result<Charge, FlowError>;

    /// The present state.
    fn state(&self) -> &Cloud;

    /// Keeps all that [`Scheme::resume`] needs.
    fn keep(&self, part: &mut Part<'_>);

    /// Goes on from what was kept, bit for bit as if there had been no stop.
    fn resume(&mut self, part: &Part<'_>) -> Result<(), FlowError>;
}

/// A finished descent.
#[derive(Clone, Debug)]
pub struct Descent {
    /// The last good state.
    pub state: Cloud,
    /// Accounts of all states, the start among them.
    pub accounts: Vec<Account>,
    /// The step that failed, if one did.
    pub halted: Option<FlowError>,
}

/// Makes `steps` steps of `scheme`. `watch` is told the number made, the free energy of the last state and, inside a step, how far the
/// solver of its transport problem is; what it kept is not made again.
///
/// # Errors
/// [`FlowError`] of a failure other than a runaway particle, which halts the descent at the last good state instead, and
/// [`FlowError::Stopped`] when the watch says stop.
pub fn descend(scheme: &mut dyn Scheme, steps: usize, mut watch: Watch<'_>) -> Result<Descent, FlowError> {
    let told = watch.not_keeping();
    let tell = |account: &Account, residual: Option<Residual>| {
        told.tell(Progress { done: account.k, of: Some(steps), value: account.free_energy, residual, ..Progress::default() })
    };
    let mut accounts: Vec<Account> = watch.record(ACCOUNTS).unwrap_or_default();
    match (accounts.len(), watch.kept()) {
        (1.., Some(part)) => scheme.resume(part)?,
        _ => accounts.push(scheme.account(&Watch::telling(&|now| tell(&Account::default(), now.residual)))?),
    }
    let mut halted = None;
    for k in accounts.len() - 1..steps {
        let keep = |part: &mut Part<'_>| {
            part.keep_record(ACCOUNTS, &accounts);
            scheme.keep(part);
        };
        if !watch.pass(tell(&accounts[k], None), keep) {
            return Err(FlowError::Stopped { steps: k });
        }
        let mut begun = Checkpoint::none();
        scheme.keep(&mut begun.whole());
        let inside = |now: Progress<'_>| tell(&accounts[k], now.residual);
        let inside = Watch::telling(&inside);
        let step = scheme.advance(k, &inside).and_then(|charge| Ok((charge, scheme.account(&inside)?)));
        let (cost, account) = match step {
            Ok(step) => step,
            Err(runaway @ FlowError::Runaway { .. }) => {
                scheme.resume(&begun.whole())?;
                halted = Some(runaway);
                break;
            }
            Err(stop) if stop.is_stop() => {
                // The step is made again when the descent resumes.
                watch.close(|part| {
                    part.keep_record(ACCOUNTS, &accounts);
                    part.absorb(begun);
                });
                return Err(FlowError::Stopped { steps: k });
            }
            Err(other) => return Err(other),
        };
        let before = &mut accounts[k];
        before.close(&cost, cost.free_energy_after.or(account.free_energy));
        let known = if k == 0 { before.free_energy.filter(|energy| *energy > 0.0) } else { before.free_energy_bound };
        let free_energy_bound = known.zip(cost.decay).map(|(energy, decay)| energy * decay);
        accounts.push(Account { k: k + 1, free_energy_bound, ..account });
    }
    Ok(Descent { state: scheme.state().clone(), accounts, halted })
}

/// The record of the accounts in a checkpoint.
pub(super) const ACCOUNTS: &str = "accounts";

/// Keeps the `state` of a scheme whose steps follow from their number, the steps `made` and the dissipation `rate`.
pub(super) fn keep_made(part: &mut Part<'_>, state: &Cloud, made: usize, rate: Option<f64>) {
    part.keep_array("points", state.points().to_vec());
    part.keep_record("steps and dissipation", &(made, rate));
}

/// What [`keep_made`] kept, for a scheme in `state`.
pub(super) fn kept(part: &Part<'_>, state: &Cloud) -> Result<Option<(Cloud, usize, Option<f64>)>, FlowError> {
    let Some((points, (made, rate))) = part.array("points").zip(part.record("steps and dissipation")) else { return Ok(None) };
    Ok(Some((state.with_points(points.to_vec())?, made, rate)))
}

/// The first particle of `points` that is not finite or farther than `reach` from `centre`, as the error of step `step`.
pub(super) fn check_reach(points: &[f64], centre: &[f64], reach: f64, step: usize) -> Result<(), FlowError> {
    let far = |x: &[f64]| {
        let squared: f64 = x.iter().zip(centre).map(|(x, c)| (x - c).powi(2)).sum();
        !squared.is_finite() || squared > reach * reach
    };
    match points.chunks_exact(centre.len()).position(far) {
        Some(particle) => Err(FlowError::Runaway { step, particle }),
        None => Ok(()),
    }
}

/// The distance from the mean of `start` beyond which a particle on the way to `law`, by way of the law with noise `sigma`, has run away:
/// ten times all that there is. Infinite where the law is not known in closed form: there a particle is away when it is not finite.
pub(super) fn reach_of(start: &Cloud, law: Option<&Mixture>, sigma: f64) -> f64 {
    let Some(law) = law else { return f64::INFINITY };
    let centre = start.mean();
    let away = |mean: &[f64]| mean.iter().zip(&centre).map(|(m, c)| (m - c).powi(2)).sum::<f64>().sqrt();
    let spread = |c: &Component| (0..law.dim()).map(|axis| c.covariance.value(axis) + sigma * sigma).sum::<f64>().sqrt();
    10.0 * law.components().iter().map(|c| away(&c.mean) + spread(c)).fold(start.radius(), f64::max)
}

/// The relative rounding error of numbers on `device`.
pub(super) fn rounding(device: &Device) -> f64 {
    match device.precision() {
        Precision::F32 => f64::from(f32::EPSILON),
        Precision::F64 => f64::EPSILON,
    }
}

/// ‖u‖ of the rows u = `velocity` of draws of `law`, as many as `state` has particles and under their weights: what the estimate
/// of a score makes of the law itself, where nothing moves.
pub(super) fn floor(
    state: &Cloud,
    law: &Mixture,
    seed: u32,
    velocity: impl FnOnce(&Cloud) -> Result<Vec<f64>, FlowError>,
) -> Result<f64, FlowError> {
    let draws = state.with_points(law.sample(state.len(), seed, Stream::Metric, 0).points().to_vec())?;
    Ok(mean_square(&draws, &velocity(&draws)?).sqrt())
}

/// λ where V of the law is quadratic: the least curvature, that along its widest direction.
pub(super) fn convexity(law: Option<&Mixture>) -> Option<f64> {
    let [only] = law?.components() else { return None };
    Some((0..law?.dim()).map(|axis| only.covariance.value(axis)).fold(0.0, f64::max).recip())
}

/// Σ_i a_i |u_i|² of rows u under the weights of `cloud`.
pub(super) fn mean_square(cloud: &Cloud, rows: &[f64]) -> f64 {
    let squares = rows.chunks_exact(cloud.dim()).map(|row| row.iter().map(|u| u * u).sum::<f64>());
    squares.enumerate().map(|(i, square)| cloud.weight(i) * square).sum()
}
