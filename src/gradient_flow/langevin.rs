//! Unadjusted Langevin towards a known law π ∝ e^{−V}: the explicit step of V, then the exact step of the heat flow.
//!
//! ```text
//! x ← x + τ ∇log π(x) + √(2τ) z         stationary variance σ²/(1 − τ/2σ²) where π is N(0, σ²); τ < 2σ²
//! ```
//!
//! Given the particles, the law of the next ones is itself a mixture, ρ_{k+1} = Σ_j N(x_j + τ∇log π(x_j), 2τI)/n, so its free
//! energy and score need no bandwidth: E over the particles of log ρ_{k+1} + V is an unbiased estimate. The accounts are those of
//! the first particles of the run; a particle's path depends on its index alone. Mode weights are those of the basins of V until
//! the particles cross its barriers.

use std::f64::consts::TAU;

use crate::backend::{Device, Noise};
use crate::field::Field;
use crate::gradient_flow::FlowError;
use crate::gradient_flow::jko::{Account, Descent, check_reach};
use crate::gradient_flow::kernel::Kernel;
use crate::measure::{Cloud, Mixture};
use crate::path::Level;
use crate::random::{Philox, Stream};
use crate::sampler::program::{Program, Step};
use crate::sampler::{Observe, RunError};

/// The Langevin scheme to a law.
#[derive(Clone, Debug)]
pub struct Langevin<'a> {
    law: &'a Mixture,
    field: Field,
    tau: f64,
    seed: u32,
    device: &'a Device,
}

/// Particles whose free energy is accounted for.
const ACCOUNTED: usize = 4096;
/// The noise level that stands for none: its square, 1e-12, is added to the law's variances.
const DATA: Level = Level { t: 1.0, alpha: 1.0, sigma: 1e-6, alpha_dot: 0.0, sigma_dot: 0.0 };
/// A particle that is this many radii of start and target away has run away.
const REACH: f64 = 1e3;

impl<'a> Langevin<'a> {
    /// The scheme to `law` in steps `tau`, with the noise of `seed`.
    ///
    /// # Errors
    /// [`FlowError::Tau`] unless `tau` is finite and above zero.
    pub fn new(law: &'a Mixture, tau: f64, seed: u32, device: &'a Device) -> Result<Self, FlowError> {
        FlowError::check_tau(tau)?;
        Ok(Self { law, field: Field::Mixture(law.clone()), tau, seed, device })
    }

    /// `steps` steps as a program: x + τ∇log π = x̂₀ + (σ − τ/σ) ε̂ at the level (1, σ) with σ → 0, and the noise.
    pub fn program(tau: f64, steps: usize) -> Program {
        std::iter::repeat_n(drift(tau).add_noise((2.0 * tau).sqrt()), steps).collect()
    }

    /// The relative excess of the stationary variance around a mode of variance `variance`: 1/(1 − τ/2σ²) − 1; none where τ ≥ 2σ².
    pub fn predicted_bias(tau: f64, variance: f64) -> Option<f64> {
        let share = 0.5 * tau / variance;
        (share < 1.0).then(|| share / (1.0 - share))
    }

    /// Makes `steps` steps from `start`; with `start_law` its free energy is known too. `progress` as for
    /// [`descend`](crate::gradient_flow::descend).
    ///
    /// # Errors
    /// [`FlowError`] when the dimensions differ or the device fails; a runaway particle halts the descent at the last good state.
    pub fn run(
        &self,
        start: &Cloud,
        start_law: Option<&Mixture>,
        steps: usize,
        progress: &dyn Fn(usize, &Account) -> bool,
    ) -> Result<Descent, FlowError> {
        if start.dim() != self.law.dim() {
            return Err(FlowError::Dimensions { particles: start.dim(), target: self.law.dim() });
        }
        let (d, n) = (start.dim(), start.len().min(ACCOUNTED));
        let mut state = start.points()[..n * d].to_vec();
        let mut accounts = vec![self.first_account(&state, start_law)];
        let (centre, reach) = (start.mean(), REACH * (1.0 + start.radius() + self.extent()));
        for k in 0..steps {
            if !progress(k, &accounts[k]) {
                return Err(FlowError::Stopped { steps: k });
            }
            let drifted = self.drifted(&state)?;
            let next = self.add_noise(&drifted, d, k as u32);
            if check_reach(&next, &centre, reach, k).is_err() {
                break; // the whole run below says where
            }
            let account = self.account(&drifted, &next, d, k + 1)?;
            let last = &mut accounts[k];
            // The speed of the flow itself is |∇log ρ/π|.
            last.w2_squared_step = last.dissipation.map(|rate| self.tau * self.tau * rate);
            let gain = last.free_energy.zip(account.free_energy).map(|(before, after)| before - after);
            last.energy_inequality = gain.zip(last.dissipation).map(|(gain, rate)| gain - 0.5 * self.tau * rate);
            accounts.push(account);
            state = next;
        }
        let mut halted = None;
        let mut points = self.particles(start.points(), 0, steps)?;
        let mut made = steps;
        // Each turn goes back to where its particle was near, until all are.
        while let Err(FlowError::Runaway { particle, .. }) = check_reach(&points, &centre, reach, made) {
            let step = self.last_good(start.row(particle), particle, made, &centre, reach)?;
            halted = Some(FlowError::Runaway { step, particle });
            points = self.particles(start.points(), 0, step)?;
            accounts.truncate(step + 1);
            made = step;
        }
        Ok(Descent { state: Cloud::new(points, d)?, accounts, halted })
    }

    /// x + τ∇log π(x) of each of `points`.
    fn drifted(&self, points: &[f64]) -> Result<Vec<f64>, RunError> {
        let program: Program = [drift(self.tau)].into_iter().collect();
        program.run(&self.field, points, Noise::Given(&[]), self.device, Observe::Progress(&mut |_| true))
    }

    /// The particles after the noise of step `k`.
    fn add_noise(&self, drifted: &[f64], d: usize, k: u32) -> Vec<f64> {
        let (philox, scale) = (Philox::new(self.seed, Stream::Noise), (2.0 * self.tau).sqrt());
        let mut z = vec![0.0f32; d];
        let mut next = drifted.to_vec();
        for (i, x) in next.chunks_exact_mut(d).enumerate() {
            philox.normals(i as u32, k, 0, &mut z);
            x.iter_mut().zip(&z).for_each(|(x, z)| *x += scale * f64::from(*z));
        }
        next
    }

    /// log π of each of `points`.
    fn log_law(&self, points: &[f64]) -> Vec<f64> {
        points.chunks_exact(self.law.dim()).map(|x| self.law.log_density(DATA, x)).collect()
    }

    fn first_account(&self, points: &[f64], start_law: Option<&Mixture>) -> Account {
        let Some(law) = start_law else { return Account::default() };
        let own = points.chunks_exact(law.dim()).map(|x| law.log_density(DATA, x));
        let terms: Vec<f64> = own.zip(self.log_law(points)).map(|(own, target)| own - target).collect();
        let rates = points.chunks_exact(law.dim()).map(|x| {
            let pairs = law.score(DATA, x).into_iter().zip(self.law.score(DATA, x));
            pairs.map(|(own, target)| (own - target).powi(2)).sum::<f64>()
        });
        let dissipation = Some(rates.sum::<f64>() / terms.len() as f64);
        let (free_energy, standard_error) = estimate(&terms);
        Account { free_energy, standard_error, dissipation, ..Account::default() }
    }

    /// The accounts of the mixture Σ_j N(`drifted`_j, 2τI)/n, from the particles `points` drawn from it.
    fn account(&self, drifted: &[f64], points: &[f64], d: usize, k: usize) -> Result<Account, FlowError> {
        let (n, width_squared) = (points.len() / d, 2.0 * self.tau);
        let sums = |rows: &[f64], columns: &[f64]| {
            let m = columns.len() / d;
            let log_weights = vec![-(m as f64).ln(); m];
            self.device.run(Kernel { rows, columns, dim: d, log_weights: &log_weights, width_squared })
        };
        let all = sums(points, drifted)?;
        let constant = 0.5 * d as f64 * (TAU * width_squared).ln();
        let terms: Vec<f64> = all.log.iter().zip(self.log_law(points)).map(|(log, law)| log - constant - law).collect();
        let (free_energy, standard_error) = estimate(&terms);
        // The product of two scores from separate thirds of the particles, at the points of the third: noise cancels in it.
        let third = n / 3 * d;
        let dissipation = if third == 0 {
            None
        } else {
            let rows = &points[..third];
            let (first, second) = (sums(rows, &drifted[third..2 * third])?, sums(rows, &drifted[2 * third..3 * third])?);
            let target: Vec<f64> = rows.chunks_exact(d).flat_map(|x| self.law.score(DATA, x)).collect();
            let relative = |mean: &[f64], i: usize| (mean[i] - rows[i]) / width_squared - target[i];
            let product = (0..third).map(|i| relative(&first.mean, i) * relative(&second.mean, i)).sum::<f64>();
            Some((product * d as f64 / third as f64).max(0.0))
        };
        let effective_neighbours = Some(all.neighbours(n));
        Ok(Account { k, free_energy, standard_error, dissipation, effective_neighbours, ..Account::default() })
    }

    /// The particles from `first` on after `steps` steps, fused.
    fn particles(&self, start: &[f64], first: u32, steps: usize) -> Result<Vec<f64>, RunError> {
        let program = Self::program(self.tau, steps);
        program.run(&self.field, start, self.noise(first), self.device, Observe::Progress(&mut |_| true))
    }

    fn noise(&self, first: u32) -> Noise<'static> {
        Noise::Counter { philox: Philox::new(self.seed, Stream::Noise), first }
    }

    /// The number of steps after which a runaway particle was last within reach.
    fn last_good(&self, start: &[f64], particle: usize, steps: usize, centre: &[f64], reach: f64) -> Result<usize, FlowError> {
        let mut good = 0;
        let mut watch = |step: usize, state: &[f64]| {
            let near = check_reach(state, centre, reach, step).is_ok();
            good = if near && step == good + 1 { step } else { good };
            near
        };
        let program = Self::program(self.tau, steps);
        let watched = Observe::States(&mut watch);
        match program.run(&self.field, start, self.noise(particle as u32), self.device, watched) {
            Ok(_) | Err(RunError::Stopped { .. }) => Ok(good),
            Err(error) => Err(error.into()),
        }
    }

    /// The largest distance of a component's centre from the origin, and its width.
    fn extent(&self) -> f64 {
        let size = |mean: &[f64]| mean.iter().map(|m| m * m).sum::<f64>().sqrt();
        let wide = |at: usize| self.law.components().iter().map(move |c| size(&c.mean) + c.covariance.value(at).sqrt());
        (0..self.law.dim()).flat_map(wide).fold(0.0, f64::max)
    }
}

/// x ← x + τ∇log π(x).
fn drift(tau: f64) -> Step {
    Step::evaluate(DATA, 1.0, DATA.sigma - tau / DATA.sigma)
}

/// The mean of `terms` and its standard error.
fn estimate(terms: &[f64]) -> (Option<f64>, Option<f64>) {
    let n = terms.len() as f64;
    let mean = terms.iter().sum::<f64>() / n;
    let variance = terms.iter().map(|term| (term - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (Some(mean), Some((variance / n).sqrt()))
}
