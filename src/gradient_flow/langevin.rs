//! Unadjusted Langevin towards a known law π ∝ e^{−V}: the explicit step of V, then the exact step of the heat flow.
//!
//! ```text
//! x ← x + τ ∇log π(x) + √(2τ) z         stationary variance σ²/(1 − τ/2σ²) where π is N(0, σ²); τ < 2σ²
//! ```
//!
//! The accounts are those of the first particles of the run; a particle's path depends on its index alone. Towards a Gaussian the
//! drift is linear, so a start that is a mixture stays one and ρ_k is known: free energy and dissipation are means over the
//! particles of log ρ_k/π and |∇log ρ_k/π|². Towards any other law ρ_{k+1} is known through its particles alone, each drawn from a
//! kernel N(x_j + τ∇log π(x_j), 2τI): what these tell is in `density.rs`.
//!
//! Mode weights are those of the basins of V until the particles cross its barriers; [`Langevin::annealed`] goes around them.

use nalgebra::DMatrix;

use crate::backend::Device;
use crate::checkpoint::Part;
use crate::field::{Field, Prepared};
use crate::gradient_flow::FlowError;
use crate::gradient_flow::anneal::{Anneal, Stage};
use crate::gradient_flow::density::{Bounded, Density, Estimate, Kernels};
use crate::gradient_flow::jko::{
    Account, Charge, JkoResidual, Scheme, check_reach, convexity, keep_made, kept, mean_square, reach_of,
};
use crate::gradient_flow::stepped::{Stepped, settle};
use crate::measure::{Cloud, Covariance, Mixture};
use crate::path::{Grid, Level};
use crate::program::Step;
use crate::sampler::unadjusted_langevin::{DATA, drift};
use crate::sampler::{AnnealedLangevin, EnergyMatching, Method};
use crate::vector::mean_with_error;
use crate::watch::Watch;

/// The Langevin scheme under way.
#[derive(Clone, Debug)]
pub struct Langevin {
    state: Cloud,
    field: Field,
    prepared: Prepared,
    pace: Pace,
    seed: u32,
    device: Device,
    /// Where the particles started, and how far from there they have run away.
    centre: Vec<f64>,
    reach: f64,
    /// The laws of the start and of the present state, where they are known.
    start_law: Option<Mixture>,
    known: Option<Mixture>,
    /// Steps made.
    made: usize,
    /// The state, of the particles that are accounted for, before the noise of the last step.
    drifted: Vec<f64>,
    /// The accounts of the present state, where its step has made them, and its dissipation.
    next: Option<Account>,
    rate: Option<f64>,
}

/// What the steps descend, and how far each goes.
#[derive(Clone, Debug)]
enum Pace {
    /// The law in steps τ, by way of the law with noise where it is annealed.
    Law { tau: f64, anneal: Option<Anneal> },
    /// The law at each of falling levels.
    Ladder(Vec<(Level, Step)>),
    /// The law at a rising temperature.
    Warming(EnergyMatching),
}

/// A step x ← x + τ∇log p(x) + √(2Tτ) z, with p the law at `level`, of F = ∫V + T∫ρ log ρ.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Motion {
    level: Level,
    tau: f64,
    /// T.
    temperature: f64,
}

/// Particles whose free energy is accounted for.
const ACCOUNTED: usize = 4096;
/// An error of the free energy in nats, beyond which and beyond the estimate itself nothing is known.
const LARGEST_ERROR: f64 = 1.0;

impl Langevin {
    /// The scheme from `start` in steps `tau`, with the noise of `seed`, to the law of a `target` that knows its score: a
    /// [`Mixture`], or [`Field::potential`] of any V. Where V has no constant, the free energy lacks it too.
    ///
    /// # Errors
    /// [`FlowError`] when `tau` is not finite and above zero, the dimensions differ or the target has no score.
    pub fn new(start: Cloud, target: impl Into<Field>, tau: f64, seed: u32, device: &Device) -> Result<Self, FlowError> {
        FlowError::check_tau(tau)?;
        Self::at_pace(start, target.into(), Pace::Law { tau, anneal: None }, seed, device)
    }

    /// NCSN's scheme: the updates of `method` at the levels of `grid`, each a step of τ = a/2 down KL(·|p_σ). Levels have noise, so
    /// that points will do for a target.
    ///
    /// # Errors
    /// As [`Langevin::new`].
    pub fn ladder(
        start: Cloud,
        target: Field,
        (method, grid): (&AnnealedLangevin, &Grid),
        seed: u32,
        device: &Device,
    ) -> Result<Self, FlowError> {
        let updates = method.program(grid).steps.into_iter().filter(|step| step.split().1 > 0.0);
        let steps = updates.filter_map(|step| Some((step.level()?, step))).collect();
        Self::at_pace(start, target, Pace::Ladder(steps), seed, device)
    }

    /// Energy Matching's scheme on V = −log π: steps of F = ∫V + ε(t)∫ρ log ρ.
    ///
    /// # Errors
    /// As [`Langevin::new`].
    pub fn warming(start: Cloud, law: Field, method: EnergyMatching, seed: u32, device: &Device) -> Result<Self, FlowError> {
        FlowError::check_tau(method.step)?;
        Self::at_pace(start, law, Pace::Warming(method), seed, device)
    }

    fn at_pace(state: Cloud, field: Field, pace: Pace, seed: u32, device: &Device) -> Result<Self, FlowError> {
        if state.dim() != field.dim() {
            return Err(FlowError::Dimensions { particles: state.dim(), target: field.dim() });
        }
        let widest = match &pace {
            Pace::Ladder(steps) => steps.first().map_or(0.0, |(level, _)| level.sigma),
            _ if !field.has_score_of_data() => return Err(FlowError::NeedsLaw),
            _ => 0.0,
        };
        let (prepared, centre, reach) = (field.prepare(device)?, state.mean(), reach_of(&state, field.law(), widest));
        let (start_law, known, made, drifted, next, rate) = (None, None, 0, Vec::new(), None, None);
        let device = device.clone();
        Ok(Self { state, field, prepared, pace, seed, device, centre, reach, start_law, known, made, drifted, next, rate })
    }

    /// The scheme from particles that are draws of `law`, so that their free energy is known from the start on.
    pub fn from_law(self, law: Mixture) -> Self {
        Self { known: Some(law.clone()), start_law: Some(law), ..self }
    }

    /// The scheme in steps of one length by way of the law with noise σ, σ falling geometrically from `sigma` over the first `steps`
    /// steps, with τ_k = τ (1 + σ²/v) for the law's least variance v: where the noise joins the modes, mass moves between them.
    ///
    /// # Errors
    /// [`FlowError::NeedsLaw`] of a potential, which is not known with noise; [`FlowError::Noise`] for a σ that is not positive.
    pub fn annealed(mut self, sigma: f64, steps: usize) -> Result<Self, FlowError> {
        let law = self.field.law().ok_or(FlowError::NeedsLaw)?;
        if let Pace::Law { anneal, .. } = &mut self.pace {
            *anneal = Some(Anneal::new(sigma, steps, law)?);
            self.reach = reach_of(&self.state, Some(law), sigma);
        }
        Ok(self)
    }

    /// What step `k` is.
    fn motion(&self, k: usize) -> Motion {
        match &self.pace {
            Pace::Law { tau, anneal } => {
                let Stage { level, widening } = Anneal::stage(*anneal, k);
                Motion { level, tau: tau * widening, temperature: 1.0 }
            }
            Pace::Ladder(steps) => {
                let last = steps.len().saturating_sub(1);
                let moved = steps.get(k.min(last)).map(|(level, step)| (*level, 0.5 * step.split().1.powi(2)));
                let (level, tau) = moved.unwrap_or((DATA, 0.0));
                Motion { level, tau, temperature: 1.0 }
            }
            Pace::Warming(method) => {
                let temperature = method.temperature(k as f64 * method.step);
                Motion { level: DATA, tau: method.step, temperature }
            }
        }
    }

    /// Step `k` as the sampler makes it.
    fn step(&self, k: usize) -> Step {
        match &self.pace {
            Pace::Law { .. } => {
                let Motion { level, tau, .. } = self.motion(k);
                drift(level, tau).add_noise((2.0 * tau).sqrt())
            }
            Pace::Ladder(steps) => steps.get(k).map_or_else(Step::default, |(_, step)| step.clone()),
            Pace::Warming(method) => method.program_step(k),
        }
    }

    /// Level and temperature of the functional that the state before step `k` is accounted by: with noise on the way to a law, that law.
    fn functional(&self, k: usize) -> (Level, f64) {
        let Motion { level, temperature, .. } = self.motion(k);
        if let Pace::Law { .. } = self.pace { (DATA, 1.0) } else { (level, temperature) }
    }

    /// The relative excess of the stationary variance around a mode of variance `variance`: 1/(1 − τ/2σ²) − 1; none where τ ≥
    /// 2σ².
    pub fn predicted_bias(tau: f64, variance: f64) -> Option<f64> {
        let share = 0.5 * tau / variance;
        (share < 1.0).then(|| share / (1.0 - share))
    }

    /// The particles that are accounted for, n × d.
    fn accounted(&self) -> &[f64] {
        let (n, d) = (self.state.len().min(ACCOUNTED), self.state.dim());
        &self.state.points()[..n * d]
    }

    /// The law after step `k` from `law`, in closed form where the potential of the step is quadratic: x ↦ x − τP(x−μ) with
    /// P = (C + σ²I)^{−1}, then N(0, 2τI).
    fn next_law(&self, law: &Mixture, k: usize) -> Option<Mixture> {
        let d = self.state.dim();
        let [target] = self.field.law()?.components() else { return None };
        let Motion { level, tau, temperature } = self.motion(k);
        let noise = 2.0 * temperature * tau;
        let slope = |variance: f64| 1.0 - tau / (variance + level.sigma.powi(2));
        let matrix = |covariance: &Covariance, of: &dyn Fn(f64) -> f64| {
            let vectors = DMatrix::from_fn(d, d, |row, axis| covariance.vector(row, axis, d));
            let values = DMatrix::from_fn(d, d, |i, j| if i == j { of(covariance.value(i)) } else { 0.0 });
            &vectors * values * vectors.transpose()
        };
        let covariance = |own: &Covariance| match (own, &target.covariance) {
            (Covariance::Isotropic(own), Covariance::Isotropic(variance)) => {
                Some(Covariance::Isotropic(slope(*variance).powi(2) * own + noise))
            }
            (Covariance::Full { values, vectors }, Covariance::Isotropic(variance)) => {
                let values = values.iter().map(|own| slope(*variance).powi(2) * own + noise).collect();
                Some(Covariance::Full { values, vectors: vectors.clone() })
            }
            (Covariance::Isotropic(own), Covariance::Full { values, vectors }) => {
                let values = values.iter().map(|variance| slope(*variance).powi(2) * own + noise).collect();
                Some(Covariance::Full { values, vectors: vectors.clone() })
            }
            (own, variance) => {
                let drift = matrix(variance, &slope);
                let moved = &drift * matrix(own, &|value| value) * &drift + DMatrix::identity(d, d) * noise;
                Covariance::from_matrix((0.5 * (&moved + moved.transpose())).as_slice(), d).ok()
            }
        };
        let mean = |own: &[f64]| -> Vec<f64> {
            let offset: Vec<f64> = own.iter().zip(&target.mean).map(|(own, mean)| own - mean).collect();
            let moved: Vec<f64> = match &target.covariance {
                Covariance::Isotropic(variance) => offset.iter().map(|x| slope(*variance) * x).collect(),
                full => (matrix(full, &slope) * nalgebra::DVector::from_vec(offset)).as_slice().to_vec(),
            };
            moved.iter().zip(&target.mean).map(|(x, mean)| x + mean).collect()
        };
        let components = law.components();
        let weights = components.iter().map(|c| c.weight).collect();
        let means = components.iter().map(|c| mean(&c.mean)).collect();
        let covariances = components.iter().map(|c| covariance(&c.covariance)).collect::<Option<_>>()?;
        Mixture::new(weights, means, covariances).ok()
    }

    /// What is known of the present law at the particles that are accounted for, and how many of them lie within a kernel's width.
    fn density(&self) -> Result<(Density, Option<f64>), FlowError> {
        let (points, d) = (self.accounted(), self.state.dim());
        let n = points.len() / d;
        let last = self.made.checked_sub(1).map(|k| self.motion(k));
        let width_squared = last.map_or(0.0, |last| 2.0 * last.temperature * last.tau);
        let kernels = Kernels { points, centres: &self.drifted, dim: d, width_squared, device: &self.device };
        let all = if width_squared > 0.0 { Some(kernels.all()?) } else { None };
        let neighbours = all.as_ref().map(|all| all.neighbours(n));
        if let Some(law) = &self.known {
            let (field, cloud) = (Field::Mixture(law.clone()), Cloud::new(points.to_vec(), d)?);
            let log = field.log_density(DATA, &cloud, &self.device)?.unwrap_or_default();
            return Ok((Density::Known { log, score: field.score(DATA, points, &self.device)? }, neighbours));
        }
        let estimate = all.map_or(Ok(None), |all| Estimate::new(&kernels, all))?;
        Ok((estimate.map_or(Density::Unknown, Density::Estimated), neighbours))
    }

    /// The accounts of a law with `density` under the functional with V at `level` and T = `temperature`.
    fn account_of(&self, density: &Density, (level, temperature): (Level, f64)) -> Result<Account, FlowError> {
        let (points, d) = (self.accounted(), self.state.dim());
        let Some(law) = self.field.log_density(level, &Cloud::new(points.to_vec(), d)?, &self.device)? else {
            return Ok(Account::default());
        };
        let target = self.prepared.score(level, points)?;
        let relative = |log: &[f64]| -> Vec<f64> { log.iter().zip(&law).map(|(log, law)| temperature * log - law).collect() };
        let toward = |score: &[f64]| -> Vec<f64> { score.iter().zip(&target).map(|(s, t)| temperature * s - t).collect() };
        let exact = |terms: &[f64], slope: &[f64]| {
            let ((free_energy, standard_error), (dissipation, dissipation_error)) =
                (mean_with_error(terms), mean_with_error(&squares(slope, d)));
            Account {
                free_energy: Some(free_energy),
                standard_error: Some(standard_error),
                dissipation: Some(dissipation),
                dissipation_error: Some(dissipation_error),
                ..Account::default()
            }
        };
        let Estimate { log: [low, high], score: [low_score, high_score], conditional, .. } = match density {
            // Without entropy the density does not count.
            _ if temperature == 0.0 => {
                return Ok(exact(&relative(&vec![0.0; law.len()]), &toward(&vec![0.0; target.len()])));
            }
            Density::Unknown => return Ok(Account::default()),
            Density::Known { log, score } => return Ok(exact(&relative(log), &toward(score))),
            Density::Estimated(estimate) => estimate,
        };
        let energy = Bounded::new(&relative(low), &relative(high));
        let (u, conditional) = (toward(low_score), toward(conditional));
        let low: Vec<f64> = (u.chunks_exact(d).zip(conditional.chunks_exact(d)))
            .map(|(u, s)| u.iter().zip(s).map(|(u, s)| u * (2.0 * s - u)).sum())
            .collect();
        let rate = Bounded::new(&low, &squares(&toward(high_score), d));
        let told = energy.error <= energy.value.max(LARGEST_ERROR);
        Ok(Account {
            free_energy: told.then_some(energy.value),
            standard_error: told.then_some(energy.error),
            dissipation: told.then_some(rate.value.max(0.0)),
            dissipation_error: told.then_some(rate.error),
            ..Account::default()
        })
    }

    /// The residual of the step `motion` that led to the present law: with its noise as the probability flow, x′ = x + τ∇log p(x) −
    /// Tτ∇log ρ′(x′), what is left of (x′ − x)/τ + ∇V(x′) + T∇log ρ′(x′) is ∇log p(x) − ∇log p(x′).
    fn residual(&self, motion: Motion, density: &Density) -> Result<JkoResidual, FlowError> {
        let Motion { level, tau, temperature } = motion;
        let (points, d) = (self.accounted(), self.state.dim());
        let none = vec![0.0; points.len()];
        let (score, error) = match density {
            _ if temperature == 0.0 => (&none, None),
            Density::Unknown => return Ok(JkoResidual::Unknown(NO_DENSITY)),
            Density::Known { score, .. } => (score, None),
            Density::Estimated(estimate) => (&estimate.best, Some(&estimate.error)),
        };
        let drifted: Vec<f64> = points.iter().zip(score).map(|(x, score)| x + temperature * tau * score).collect();
        let before = settle(&self.prepared, &drifted, tau, level, &self.device)?;
        let Some(before) = before else { return Ok(JkoResidual::Unknown(TOO_LONG)) };
        let (at_start, at_end) = (self.prepared.score(level, &before)?, self.prepared.score(level, points)?);
        let cloud = Cloud::new(points.to_vec(), d)?;
        let value = mean_square(&cloud, &difference(&at_start, &at_end)).sqrt();
        let Some(error) = error else { return Ok(JkoResidual::Exact(value)) };
        let off: Vec<f64> = before.iter().zip(error).map(|(x, error)| x + temperature * tau * error).collect();
        let floor = mean_square(&cloud, &difference(&self.prepared.score(level, &off)?, &at_start)).sqrt();
        Ok(JkoResidual::Estimated { value, floor })
    }
}

const NO_DENSITY: &str = "the law after this step is not known: its noise is none, or too small for particles to tell a density";
const TOO_LONG: &str =
    "the explicit step of some particle cannot be undone: tau times the curvature of V is near 1 or above; take a smaller tau";

impl Scheme for Langevin {
    fn account(&mut self, _: &Watch<'_>) -> Result<Account, FlowError> {
        let account = match self.next.take() {
            Some(account) => account,
            None => {
                let (density, effective_neighbours) = self.density()?;
                Account { effective_neighbours, ..self.account_of(&density, self.functional(self.made))? }
            }
        };
        self.rate = account.dissipation;
        Ok(account)
    }

    fn advance(&mut self, k: usize, _: &Watch<'_>) -> Result<Charge, FlowError> {
        let (motion, functional) = (self.motion(k), self.functional(k));
        if let Pace::Ladder(steps) = &self.pace
            && k >= steps.len()
        {
            return Err(FlowError::Ended { steps: steps.len() });
        }
        let (seed, step) = (self.seed, self.step(k));
        let Stepped { drifted, moved, .. } = Stepped::by(&step, &self.field, self.state.points(), (seed, k), &self.device)?;
        check_reach(&moved, &self.centre, self.reach, k)?;
        self.state = self.state.with_points(moved)?;
        self.made = k + 1;
        self.known = self.known.take().and_then(|law| self.next_law(&law, k));
        self.drifted = drifted;
        self.drifted.truncate(self.accounted().len());

        let (density, effective_neighbours) = self.density()?;
        let after = self.account_of(&density, functional)?;
        let free_energy_after = after.free_energy;
        let next = self.functional(k + 1);
        let next = if next == functional { after } else { self.account_of(&density, next)? };
        let told = free_energy_after.is_some() || matches!(density, Density::Known { .. }) || motion.temperature == 0.0;
        self.next = Some(Account { effective_neighbours, ..next });
        let residual = if told { self.residual(motion, &density)? } else { JkoResidual::Unknown(NO_DENSITY) };
        // The speed of the flow itself is |∇V + T∇log ρ|; by way of noise the step descends another energy than the accounts'.
        let rate = self.rate.filter(|_| motion.level == functional.0);
        let (tau, constant) = (motion.tau, matches!(self.pace, Pace::Law { anneal: None, .. }));
        Ok(Charge {
            w2_squared: rate.map(|rate| tau * tau * rate),
            charged: rate.map(|rate| 0.5 * tau * rate),
            free_energy_after,
            tau: Some(tau),
            decay: convexity(self.field.law()).filter(|_| constant).map(|lambda| (-2.0 * lambda * tau).exp()),
            residual,
            ..Charge::default()
        })
    }

    fn state(&self) -> &Cloud {
        &self.state
    }

    fn keep(&self, part: &mut Part<'_>) {
        keep_made(part, &self.state, self.made, self.rate);
    }

    fn resume(&mut self, part: &Part<'_>) -> Result<(), FlowError> {
        let Some((state, made, rate)) = kept(part, &self.state)? else { return Ok(()) };
        self.known =
            (0..made).try_fold(self.start_law.clone(), |law, k| Some(law.and_then(|law| self.next_law(&law, k)))).flatten();
        (self.state, self.made, self.rate, self.next) = (state, made, rate, None);
        Ok(())
    }
}

/// u − v.
fn difference(u: &[f64], v: &[f64]) -> Vec<f64> {
    u.iter().zip(v).map(|(u, v)| u - v).collect()
}

/// |u_i|² of each row.
fn squares(rows: &[f64], dim: usize) -> Vec<f64> {
    rows.chunks_exact(dim).map(|row| row.iter().map(|u| u * u).sum()).collect()
}
