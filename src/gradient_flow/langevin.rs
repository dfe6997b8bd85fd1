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
use crate::field::Field;
use crate::gradient_flow::FlowError;
use crate::gradient_flow::anneal::{Anneal, Stage};
use crate::gradient_flow::jko::{ACCOUNTS, Account, Descent, check_reach, reach_of};
use crate::gradient_flow::kernel::{Kernel, Sums};
use crate::measure::{Cloud, Covariance, Mixture};
use crate::path::Level;
use crate::program::{Program, STATE};
use crate::random::{Philox, Stream};
use crate::sampler::unadjusted_langevin::{DATA, drift};
use crate::sampler::{Observe, RunError, Underway};
use crate::vector::mean_with_error;
use crate::watch::{Progress, Watch};

/// The Langevin scheme to a law.
#[derive(Clone, Debug)]
pub struct Langevin<'a> {
    law: &'a Mixture,
    field: Field,
    tau: f64,
    anneal: Option<Anneal>,
    seed: u32,
    device: &'a Device,
}

/// Particles whose free energy is accounted for.
const ACCOUNTED: usize = 4096;
/// An error of the free energy in nats, beyond which and beyond the estimate itself nothing is known.
const LARGEST_ERROR: f64 = 1.0;
/// The part of a checkpoint with the particles under way.
const RUN: &str = "particles";
/// The record in a checkpoint that no more accounts are to come.
const ACCOUNTED_ALL: &str = "accounted all";

impl<'a> Langevin<'a> {
    /// The scheme to `law` in steps `tau`, with the noise of `seed`.
    ///
    /// # Errors
    /// [`FlowError::Tau`] unless `tau` is finite and above zero.
    pub fn new(law: &'a Mixture, tau: f64, seed: u32, device: &'a Device) -> Result<Self, FlowError> {
        FlowError::check_tau(tau)?;
        Ok(Self { law, field: Field::Mixture(law.clone()), tau, anneal: None, seed, device })
    }

    /// The scheme by way of the law with noise σ, σ falling geometrically from `sigma` over the first `steps` steps, with
    /// τ_k = τ (1 + σ²/v) for the law's least variance v: where the noise joins the modes, mass moves between them.
    pub fn annealed(self, sigma: f64, steps: usize) -> Self {
        Self { anneal: Some(Anneal::new(sigma, steps, self.law)), ..self }
    }

    /// Level and length of step `k`.
    fn step(&self, k: usize) -> (Level, f64) {
        let Stage { level, widening } = Anneal::stage(self.anneal, k);
        (level, self.tau * widening)
    }

    /// `steps` steps.
    fn program(&self, steps: usize) -> Program {
        let step = |k| {
            let (level, tau) = self.step(k);
            drift(level, tau).add_noise((2.0 * tau).sqrt())
        };
        (0..steps).map(step).collect()
    }

    /// The relative excess of the stationary variance around a mode of variance `variance`: 1/(1 − τ/2σ²) − 1; none where τ ≥
    /// 2σ².
    pub fn predicted_bias(tau: f64, variance: f64) -> Option<f64> {
        let share = 0.5 * tau / variance;
        (share < 1.0).then(|| share / (1.0 - share))
    }

    /// Makes `steps` steps from `start`; with `start_law` its free energy is known too. The watch is that of
    /// [`descend`](crate::gradient_flow::descend).
    ///
    /// # Errors
    /// [`FlowError`] when the dimensions differ or the device fails; a runaway particle halts the descent at the last good state.
    pub fn run(
        &self,
        start: &Cloud,
        start_law: Option<&Mixture>,
        steps: usize,
        mut watch: Watch<'_>,
    ) -> Result<Descent, FlowError> {
        if start.dim() != self.law.dim() {
            return Err(FlowError::Dimensions { particles: start.dim(), target: self.law.dim() });
        }
        let noise = self.anneal.map_or(0.0, |anneal| anneal.first);
        let reach = Reach { centre: start.mean(), radius: reach_of(start, self.law, noise) };
        let mut accounts = self.accounts(start, start_law, steps, &mut watch)?;
        let mut run = watch.part(RUN).kept().and_then(Underway::kept).unwrap_or_else(|| Underway::from(start.points().to_vec()));
        let (program, latest) = (self.program(steps), accounts.last().cloned().unwrap_or_default());
        let mut go_on = true;
        while run.made < steps {
            let mut tell = |made: usize| {
                go_on = watch.tell(progress(made, &latest));
                go_on && !watch.keeps(true)
            };
            program.advance(&self.field, &mut run, self.noise(0), self.device, Observe::Progress(&mut tell))?;
            if run.made < steps && !watch.part(RUN).pass(go_on, |part| run.keep(part)) {
                return Err(FlowError::Stopped { steps: run.made });
            }
        }
        let mut points = run.registers.swap_remove(STATE);
        let (mut halted, mut made) = (None, steps);
        // Each turn goes back to where its particle was near, until all are.
        while let Err(FlowError::Runaway { particle, .. }) = reach.check(&points, made) {
            let step = self.last_good(start.row(particle), particle, made, &reach)?;
            halted = Some(FlowError::Runaway { step, particle });
            points = self.particles(start.points(), step, &mut |made| watch.tell(progress(made, &latest)))?;
            accounts.truncate(step + 1);
            made = step;
        }
        Ok(Descent { state: start.with_points(points)?, accounts, halted })
    }

    /// The accounts of the first particles, step by step; fewer than `steps` + 1 where one is no longer finite, and never is again.
    fn accounts(
        &self,
        start: &Cloud,
        start_law: Option<&Mixture>,
        steps: usize,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<Account>, FlowError> {
        let (d, n) = (start.dim(), start.len().min(ACCOUNTED));
        let first = &start.points()[..n * d];
        let mut accounts: Vec<Account> = match watch.record(ACCOUNTS) {
            Some(accounts) => accounts,
            None => vec![start_law.map_or(Ok(Account::default()), |law| self.known_account(first, law))?],
        };
        if watch.record(ACCOUNTED_ALL) == Some(true) {
            return Ok(accounts);
        }
        let mut run = watch.part(RUN).kept().and_then(Underway::kept).unwrap_or_else(|| Underway::from(first.to_vec()));
        let mut known = start_law.cloned();
        for k in 0..run.made {
            known = known.and_then(|law| self.next_law(&law, k));
        }
        for k in run.made..steps {
            let keep = |part: &mut Part<'_>| {
                part.keep_record(ACCOUNTS, &accounts);
                run.keep(&mut part.part(RUN));
            };
            if !watch.pass(watch.tell(progress(k, &accounts[k])), keep) {
                return Err(FlowError::Stopped { steps: k });
            }
            let (level, tau) = self.step(k);
            let drifted = self.drifted(&run.registers[STATE], level, tau)?;
            let kick = Kick { points: &drifted, dim: d, scale: (2.0 * tau).sqrt(), noise: self.noise(0), step: k as u32 };
            run = Underway { made: k + 1, registers: vec![self.device.run(kick)?] };
            let state = &run.registers[STATE];
            if !state.iter().all(|x| x.is_finite()) {
                break; // the whole run says where
            }
            known = known.and_then(|law| self.next_law(&law, k));
            let account = match &known {
                Some(law) => {
                    let effective_neighbours = Some(self.kernels(state, &drifted, tau)?.neighbours(n));
                    Account { effective_neighbours, ..self.known_account(state, law)? }
                }
                None => self.account(&drifted, state, tau)?,
            };
            let last = &mut accounts[k];
            // The speed of the flow itself is |∇log ρ/π|.
            let rate = last.dissipation.filter(|_| level == DATA); // with noise the step descends another energy
            last.w2_squared_step = rate.map(|rate| tau * tau * rate);
            let gain = last.free_energy.zip(account.free_energy).map(|(before, after)| before - after);
            last.energy_inequality = gain.zip(rate).map(|(gain, rate)| gain - 0.5 * tau * rate);
            accounts.push(Account { k: k + 1, ..account });
        }
        watch.close(|part| {
            part.keep_record(ACCOUNTS, &accounts);
            part.keep_record(ACCOUNTED_ALL, &true);
            Underway::from(start.points().to_vec()).keep(&mut part.part(RUN));
        });
        Ok(accounts)
    }

    /// x + τ∇log p(x) of each of `points`.
    fn drifted(&self, points: &[f64], level: Level, tau: f64) -> Result<Vec<f64>, RunError> {
        let program: Program = [drift(level, tau)].into_iter().collect();
        program.run(&self.field, points, Noise::Given(&[]), self.device, Observe::Progress(&mut |_| true))
    }

    /// The law after step `k` from `law`, in closed form where the potential of the step is quadratic: x ↦ x − τP(x−μ) with
    /// P = (C + σ²I)^{−1}, then N(0, 2τI).
    fn next_law(&self, law: &Mixture, k: usize) -> Option<Mixture> {
        let d = self.law.dim();
        let [target] = self.law.components() else { return None };
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
        let log = |field: &Field| Ok::<_, BackendError>(field.log_density(DATA, &cloud, self.device)?.unwrap_or_default());
        let terms: Vec<f64> = log(&own)?.iter().zip(log(&self.field)?).map(|(own, target)| own - target).collect();
        let scores = [&own, &self.field].map(|field| field.score(DATA, points, self.device));
        let [own, target] = scores;
        let rates: Vec<f64> = squares(&difference(&own?, &target?), law.dim());
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
        let d = self.law.dim();
        let m = centres.len() / d;
        let log_weights = vec![-(m as f64).ln(); m];
        self.device.run(Kernel { rows: points, columns: centres, dim: d, log_weights: &log_weights, width_squared: 2.0 * tau })
    }

    /// The accounts of the law of which Σ_j N(`drifted`_j, 2τI)/n is one draw, from the particles `points` drawn from that: the
    /// bounds of the head of this file.
    fn account(&self, drifted: &[f64], points: &[f64], tau: f64) -> Result<Account, FlowError> {
        let d = self.law.dim();
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
        let law = self.field.log_density(DATA, &Cloud::new(points.to_vec(), d)?, self.device)?.unwrap_or_default();
        let relative = |sums: &Sums| -> Vec<f64> { sums.log.iter().zip(&law).map(|(log, law)| log - constant - law).collect() };
        let energy = Bounded::new(&relative(&others), &relative(&all));

        let target = self.field.score(DATA, points, self.device)?;
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

    /// The particles after `steps` steps, fused.
    fn particles(
        &self,
        start: &[f64],
        steps: usize,
        go_on: &mut (dyn FnMut(usize) -> bool + Send),
    ) -> Result<Vec<f64>, RunError> {
        self.program(steps).run(&self.field, start, self.noise(0), self.device, Observe::Progress(go_on))
    }

    fn noise(&self, first: u32) -> Noise<'static> {
        Noise::Counter { philox: Philox::new(self.seed, Stream::Noise), first }
    }

    /// The number of steps after which a runaway particle was last within reach.
    fn last_good(&self, start: &[f64], particle: usize, steps: usize, reach: &Reach) -> Result<usize, FlowError> {
        let mut good = 0;
        let mut watch = |step: usize, state: &[f64]| {
            let near = reach.check(state, step).is_ok();
            good = if near && step == good + 1 { step } else { good };
            near
        };
        let program = self.program(steps);
        let watched = Observe::States(&mut watch);
        match program.run(&self.field, start, self.noise(particle as u32), self.device, watched) {
            Ok(_) | Err(RunError::Stopped { .. }) => Ok(good),
            Err(error) => Err(error.into()),
        }
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

/// Where a particle has not run away.
struct Reach {
    centre: Vec<f64>,
    radius: f64,
}

impl Reach {
    fn check(&self, points: &[f64], step: usize) -> Result<(), FlowError> {
        check_reach(points, &self.centre, self.radius, step)
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

/// What is told after so many steps, `account` being the last.
fn progress(done: usize, account: &Account) -> Progress<'static> {
    Progress { done, value: account.free_energy, ..Progress::default() }
}
