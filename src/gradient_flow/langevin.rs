//! Unadjusted Langevin towards a known law π ∝ e^{−V}: the explicit step of V, then the exact step of the heat flow.
//!
//! ```text
//! x ← x + τ ∇log π(x) + √(2τ) z         stationary variance σ²/(1 − τ/2σ²) where π is N(0, σ²); τ < 2σ²
//! ```
//!
//! The accounts are those of the first particles of the run; a particle's path depends on its index alone. Towards a Gaussian the
//! drift is linear, so a start that is a mixture stays one and ρ_k is known: free energy and dissipation are means over the
//! particles of log ρ_k/π and |∇log ρ_k/π|². Towards any other law ρ_{k+1} is known through its particles alone. With
//! q = Σ_j N(x_j + τ∇log π(x_j), 2τI)/n, of which ρ_{k+1} is the mean, and q′ made from the half of the particles to which x does
//! not belong,
//!
//! ```text
//! E log q′/π ≤ F(ρ_{k+1}) ≤ E log q/π                        Gibbs' inequality; F is convex
//! E 2u·(s − ∇log π) − |u|² ≤ I(ρ_{k+1}|π) ≤ E |∇log q/π|²     u = ∇log q′/π, s = −z/√(2τ); I is convex
//! ```
//!
//! Both gaps fall as one over the number of particles within a kernel's width, the lower twice as wide as the upper: the estimate
//! lies a third of the way down, where the leading terms cancel, and its error covers the way to the lower bound. It says nothing
//! where that error exceeds the estimate and a nat: in many dimensions no particle has neighbours.
//!
//! Mode weights are those of the basins of V until the particles cross its barriers; [`Langevin::annealed`] goes around them.

use std::f64::consts::TAU;

use nalgebra::DMatrix;

use crate::backend::{Backend, BackendError, Device, Draw, Noise, Task};
use crate::checkpoint::Part;
use crate::field::{Field, Prepared};
use crate::gradient_flow::FlowError;
use crate::gradient_flow::anneal::{Anneal, Stage};
use crate::gradient_flow::jko::{Account, Charge, Scheme, check_reach, reach_of};
use crate::gradient_flow::kernel::{Kernel, Sums};
use crate::measure::{Cloud, Covariance, Mixture};
use crate::path::Level;
use crate::random::{Philox, Stream};
use crate::sampler::unadjusted_langevin::DATA;
use crate::vector::mean_with_error;
use crate::watch::Watch;

/// The Langevin scheme under way.
#[derive(Clone, Debug)]
pub struct Langevin {
    state: Cloud,
    field: Field,
    prepared: Prepared,
    tau: f64,
    anneal: Option<Anneal>,
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
    /// The dissipation of the present state.
    rate: Option<f64>,
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
        let field = target.into();
        if start.dim() != field.dim() {
            return Err(FlowError::Dimensions { particles: start.dim(), target: field.dim() });
        }
        if !field.has_score_of_data() {
            return Err(FlowError::NeedsLaw);
        }
        let (prepared, centre, reach) = (field.prepare(device)?, start.mean(), reach_of(&start, field.law(), 0.0));
        let (anneal, start_law, known, made, drifted, rate) = (None, None, None, 0, Vec::new(), None);
        let state = start;
        Ok(Self {
            state,
            field,
            prepared,
            tau,
            anneal,
            seed,
            device: device.clone(),
            centre,
            reach,
            start_law,
            known,
            made,
            drifted,
            rate,
        })
    }

    /// The scheme from particles that are draws of `law`, so that their free energy is known from the start on.
    pub fn from_law(self, law: Mixture) -> Self {
        Self { known: Some(law.clone()), start_law: Some(law), ..self }
    }

    /// The scheme by way of the law with noise σ, σ falling geometrically from `sigma` over the first `steps` steps, with
    /// τ_k = τ (1 + σ²/v) for the law's least variance v: where the noise joins the modes, mass moves between them.
    ///
    /// # Errors
    /// [`FlowError::NeedsLaw`] of a potential, which is not known with noise; [`FlowError::Noise`] for a σ that is not positive.
    pub fn annealed(self, sigma: f64, steps: usize) -> Result<Self, FlowError> {
        let law = self.field.law().ok_or(FlowError::NeedsLaw)?;
        let (anneal, reach) = (Some(Anneal::new(sigma, steps, law)?), reach_of(&self.state, Some(law), sigma));
        Ok(Self { anneal, reach, ..self })
    }

    /// Level and length of step `k`.
    fn step(&self, k: usize) -> (Level, f64) {
        let Stage { level, widening } = Anneal::stage(self.anneal, k);
        (level, self.tau * widening)
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
        let (level, tau) = self.step(k);
        let slope = |variance: f64| 1.0 - tau / (variance + level.sigma.powi(2));
        let matrix = |covariance: &Covariance, of: &dyn Fn(f64) -> f64| {
            let vectors = DMatrix::from_fn(d, d, |row, axis| covariance.vector(row, axis, d));
            let values = DMatrix::from_fn(d, d, |i, j| if i == j { of(covariance.value(i)) } else { 0.0 });
            &vectors * values * vectors.transpose()
        };
        let covariance = |own: &Covariance| match (own, &target.covariance) {
            (Covariance::Isotropic(own), Covariance::Isotropic(variance)) => {
                Some(Covariance::Isotropic(slope(*variance).powi(2) * own + 2.0 * tau))
            }
            (Covariance::Full { values, vectors }, Covariance::Isotropic(variance)) => {
                let values = values.iter().map(|own| slope(*variance).powi(2) * own + 2.0 * tau).collect();
                Some(Covariance::Full { values, vectors: vectors.clone() })
            }
            (Covariance::Isotropic(own), Covariance::Full { values, vectors }) => {
                let values = values.iter().map(|variance| slope(*variance).powi(2) * own + 2.0 * tau).collect();
                Some(Covariance::Full { values, vectors: vectors.clone() })
            }
            (own, variance) => {
                let drift = matrix(variance, &slope);
                let moved = &drift * matrix(own, &|value| value) * &drift + DMatrix::identity(d, d) * (2.0 * tau);
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

    /// The accounts of `law`, from the particles `points` drawn from it.
    fn known_account(&self, points: &[f64], law: &Mixture) -> Result<Account, FlowError> {
        let (own, cloud) = (Field::Mixture(law.clone()), Cloud::new(points.to_vec(), law.dim())?);
        let log = |field: &Field| Ok::<_, BackendError>(field.log_density(DATA, &cloud, &self.device)?.unwrap_or_default());
        let terms: Vec<f64> = log(&own)?.iter().zip(log(&self.field)?).map(|(own, target)| own - target).collect();
        let (own, target) = (own.score(DATA, points, &self.device)?, self.prepared.score(DATA, points)?);
        let rates: Vec<f64> = squares(&difference(&own, &target), law.dim());
        let ((free_energy, standard_error), (dissipation, dissipation_error)) =
            (mean_with_error(&terms), mean_with_error(&rates));
        Ok(Account {
            free_energy: Some(free_energy),
            standard_error: Some(standard_error),
            dissipation: Some(dissipation),
            dissipation_error: Some(dissipation_error),
            ..Account::default()
        })
    }

    /// Kernel sums of Σ_j N(`centres`_j, 2τI)/m at `points`.
    fn kernels(&self, points: &[f64], centres: &[f64], tau: f64) -> Result<Sums, BackendError> {
        let d = self.state.dim();
        let m = centres.len() / d;
        let log_weights = vec![-(m as f64).ln(); m];
        self.device.run(Kernel { rows: points, columns: centres, dim: d, log_weights: &log_weights, width_squared: 2.0 * tau })
    }

    /// The accounts of the law of which Σ_j N(`drifted`_j, 2τI)/n is one draw, from the particles `points` drawn from that: the
    /// bounds of the head of this file.
    fn account_of(&self, drifted: &[f64], points: &[f64], tau: f64) -> Result<Account, FlowError> {
        let d = self.state.dim();
        let (n, width_squared, half) = (points.len() / d, 2.0 * tau, points.len() / d / 2 * d);
        let all = self.kernels(points, drifted, tau)?;
        let effective_neighbours = Some(all.neighbours(n));
        if half == 0 {
            return Ok(Account { effective_neighbours, ..Account::default() });
        }
        let first = self.kernels(&points[..half], &drifted[half..], tau)?;
        let second = self.kernels(&points[half..], &drifted[..half], tau)?;
        let others = Sums { log: [first.log, second.log].concat(), mean: [first.mean, second.mean].concat(), spread: Vec::new() };

        let constant = 0.5 * d as f64 * (TAU * width_squared).ln();
        let Some(law) = self.field.log_density(DATA, &Cloud::new(points.to_vec(), d)?, &self.device)? else {
            return Ok(Account { effective_neighbours, ..Account::default() });
        };
        let relative = |sums: &Sums| -> Vec<f64> { sums.log.iter().zip(&law).map(|(log, law)| log - constant - law).collect() };
        let energy = Bounded::new(&relative(&others), &relative(&all));

        let target = self.prepared.score(DATA, points)?;
        let toward =
            |mean: &[f64]| -> Vec<f64> { (0..mean.len()).map(|i| (mean[i] - points[i]) / width_squared - target[i]).collect() };
        let (u, conditional) = (toward(&others.mean), toward(drifted));
        let low: Vec<f64> = (u.chunks_exact(d).zip(conditional.chunks_exact(d)))
            .map(|(u, s)| u.iter().zip(s).map(|(u, s)| u * (2.0 * s - u)).sum())
            .collect();
        let rate = Bounded::new(&low, &squares(&toward(&all.mean), d));
        let told = energy.error <= energy.value.max(LARGEST_ERROR);
        Ok(Account {
            free_energy: told.then_some(energy.value),
            standard_error: told.then_some(energy.error),
            dissipation: told.then_some(rate.value.max(0.0)),
            dissipation_error: told.then_some(rate.error),
            effective_neighbours,
            ..Account::default()
        })
    }

    /// The accounts of the present state.
    fn present(&self) -> Result<Account, FlowError> {
        let points = self.accounted();
        if self.made == 0 {
            return self.known.as_ref().map_or(Ok(Account::default()), |law| self.known_account(points, law));
        }
        let (_, tau) = self.step(self.made - 1);
        match &self.known {
            Some(law) => {
                let n = points.len() / self.state.dim();
                let effective_neighbours = Some(self.kernels(points, &self.drifted, tau)?.neighbours(n));
                Ok(Account { effective_neighbours, ..self.known_account(points, law)? })
            }
            None => self.account_of(&self.drifted, points, tau),
        }
    }
}

impl Scheme for Langevin {
    fn account(&mut self, _: &Watch<'_>) -> Result<Account, FlowError> {
        let account = self.present()?;
        self.rate = account.dissipation;
        Ok(account)
    }

    fn advance(&mut self, k: usize, _: &Watch<'_>) -> Result<Charge, FlowError> {
        let (level, tau) = self.step(k);
        let of = (level.alpha, level.sigma - tau / level.sigma); // x + τ∇log p
        let drifted = self.prepared.evaluate(level, of, self.state.points())?;
        let noise = Noise::Counter { philox: Philox::new(self.seed, Stream::Noise), first: 0 };
        let scale = (2.0 * tau).sqrt();
        let kick = Kick { points: &drifted, dim: self.state.dim(), scale, noise, step: k as u32 };
        let moved = self.device.run(kick)?;
        check_reach(&moved, &self.centre, self.reach, k)?;
        self.state = self.state.with_points(moved)?;
        self.made = k + 1;
        self.known = self.known.take().and_then(|law| self.next_law(&law, k));
        self.drifted = drifted;
        self.drifted.truncate(self.accounted().len());
        // The speed of the flow itself is |∇log ρ/π|; with noise the step descends another energy.
        let rate = self.rate.filter(|_| level == DATA);
        Ok(Charge { w2_squared: rate.map(|rate| tau * tau * rate), charged: rate.map(|rate| 0.5 * tau * rate) })
    }

    fn state(&self) -> &Cloud {
        &self.state
    }

    fn keep(&self, part: &mut Part<'_>) {
        part.keep_array("points", self.state.points().to_vec());
        part.keep_record("steps and dissipation", &(self.made, self.rate));
    }

    fn resume(&mut self, part: &Part<'_>) -> Result<(), FlowError> {
        let Some((points, (made, rate))) = part.array("points").zip(part.record("steps and dissipation")) else {
            return Ok(());
        };
        self.state = self.state.with_points(points.to_vec())?;
        self.known =
            (0..made).try_fold(self.start_law.clone(), |law, k| Some(law.and_then(|law| self.next_law(&law, k)))).flatten();
        (self.made, self.rate) = (made, rate);
        Ok(())
    }
}

/// x + s z with the normals z of one step.
struct Kick<'a> {
    points: &'a [f64],
    dim: usize,
    scale: f64,
    noise: Noise<'a>,
    step: u32,
}

impl Task for Kick<'_> {
    type Output = Result<Vec<f64>, BackendError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let mut registers = [backend.upload_reals(self.points)?, backend.zeros(self.points.len())?];
        let draw = Draw { step: self.step, number: 0, call: 0 };
        backend.normals(self.noise, draw, self.dim, &mut registers[1])?;
        backend.combine(&mut registers, 0, &[(0, 1.0), (1, self.scale)])?;
        backend.download_reals(&registers[0])
    }
}

/// An estimate between the means of two bounds, the lower twice as far off as the upper.
struct Bounded {
    value: f64,
    /// Standard error and way to the lower bound together.
    error: f64,
}

impl Bounded {
    fn new(low: &[f64], high: &[f64]) -> Self {
        let between: Vec<f64> = low.iter().zip(high).map(|(low, high)| (low + 2.0 * high) / 3.0).collect();
        let ((value, noise), (low, _)) = (mean_with_error(&between), mean_with_error(low));
        Self { value, error: noise.hypot(value - low) }
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
