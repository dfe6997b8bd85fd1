//! The blob method for KL(·‖π), π ∝ e^{−V} (Carrillo, Craig, Patacchini 2019, eq. 8): particles on the gradient flow of
//!
//! ```text
//! F = Σ_i m_i [log (φ∗ρ)(x_i) + V(x_i)]       φ a Gaussian of width h, h² = ε
//! ẋ_i = ∇log π(x_i) + (x_i − A_i)/ε + S_i (x_i − B_i)/ε
//! ```
//!
//! with A the mean of the particles under m_j φ_ij, and B and S mean and mass under m_j φ_ij/(φ∗ρ)_j: two kernel sums. A genuine
//! gradient flow, so F falls: a step of length τ is made of Euler substeps, each halved until F_after + E|substep|²/2h ≤ F_before
//! except for the rounding of F, which adds up to the energy inequality of the whole step. Around N(0, σ²) it settles at the variance u − ε,
//! u = σ²(1 + √(1 + 4ε/σ²))/2, which is σ² − ε²/σ² to first order. Mode weights are those of the basins of V;
//! [`Blob::annealed`] goes around its barriers.

use std::f64::consts::TAU;

use crate::backend::Device;
use crate::checkpoint::Part;
use crate::field::{Field, Prepared};
use crate::gradient_flow::FlowError;
use crate::gradient_flow::anneal::{Anneal, Stage};
use crate::gradient_flow::jko::{Account, Charge, JkoResidual, Scheme, check_reach, floor, mean_square, reach_of, rounding};
use crate::gradient_flow::kernel::{Kernel, Sums};
use crate::measure::Cloud;
use crate::sampler::unadjusted_langevin::DATA;
use crate::watch::{Progress, Watch};

/// The blob flow under way.
#[derive(Debug)]
pub struct Blob {
    state: Cloud,
    functional: Functional,
    tau: f64,
    anneal: Option<Anneal>,
    stage: Stage,
    /// F and the kernel's sums at the present state and stage.
    energy: Energy,
    /// The substep that was last accepted.
    substep: f64,
    reach: f64,
    seed: u32,
    floor: Option<f64>,
}

/// F of particles under weights m, and its gradient.
#[derive(Clone, Debug)]
pub(super) struct Functional {
    pub field: Field,
    prepared: Prepared,
    eps: f64,
    device: Device,
    log_weights: Vec<f64>,
}

/// F and the sums of its kernel.
#[derive(Clone, Debug, Default)]
pub(super) struct Energy {
    pub value: f64,
    log: Vec<f64>,
    mean: Vec<f64>,
    pub neighbours: f64,
}

/// Largest dimension: beyond it no kernel width has both neighbours and resolution.
pub const LARGEST_DIM: usize = 5;
/// Halvings of τ after which a substep is given up.
const HALVINGS: i32 = 30;

impl Functional {
    /// That of a `law` for the particles of `start`, with a kernel of width √`eps`.
    pub fn new(start: &Cloud, field: Field, eps: f64, device: &Device) -> Result<Self, FlowError> {
        let dim = start.dim();
        if dim > LARGEST_DIM {
            return Err(FlowError::TooManyDimensions { dim, limit: LARGEST_DIM });
        }
        if dim != field.dim() {
            return Err(FlowError::Dimensions { particles: dim, target: field.dim() });
        }
        if !(eps > 0.0 && eps.is_finite()) {
            return Err(FlowError::Width { eps });
        }
        let log_weights = (0..start.len()).map(|i| start.weight(i).ln()).collect();
        let prepared = field.prepare(device)?;
        if !field.has_score_of_data() || field.log_density(DATA, start, device)?.is_none() {
            return Err(FlowError::NeedsLaw);
        }
        Ok(Self { field, prepared, eps, device: device.clone(), log_weights })
    }

    fn sums(&self, points: &[f64], log_weights: &[f64], width_squared: f64) -> Result<Sums, FlowError> {
        let kernel = Kernel { rows: points, columns: points, dim: self.field.dim(), log_weights, width_squared };
        Ok(self.device.run(kernel)?)
    }

    /// F of `cloud`.
    pub fn energy(&self, cloud: &Cloud, stage: Stage) -> Result<Energy, FlowError> {
        let eps = self.eps * stage.widening;
        let sums = self.sums(cloud.points(), &self.log_weights, eps)?;
        let constant = 0.5 * cloud.dim() as f64 * (TAU * eps).ln();
        let log_law = self.field.log_density(stage.level, cloud, &self.device)?.unwrap_or_default();
        let terms = sums.log.iter().zip(&log_law).map(|(log, law)| log - constant - law);
        let value = terms.enumerate().map(|(i, term)| cloud.weight(i) * term).sum();
        Ok(Energy { value, neighbours: sums.neighbours(cloud.len()), log: sums.log, mean: sums.mean })
    }

    /// The velocity ẋ of every particle `x`, n × d, where the kernel's sums are those of `energy`.
    pub fn velocity(&self, x: &[f64], energy: &Energy, stage: Stage) -> Result<Vec<f64>, FlowError> {
        let d = self.field.dim();
        let Stage { level, widening } = stage;
        let eps = self.eps * widening;
        let score = self.prepared.score(level, x)?;
        let log_weights: Vec<f64> = self.log_weights.iter().zip(&energy.log).map(|(m, rho)| m - rho).collect();
        let second = self.sums(x, &log_weights, eps)?;
        let at = |i: usize| {
            let from_mean = x[i] - energy.mean[i] + second.log[i / d].exp() * (x[i] - second.mean[i]);
            score[i] + from_mean / eps
        };
        Ok((0..x.len()).map(at).collect())
    }

    /// The rounding error of F: that of the kernel's exponents, |x|²/ε in size, and independent from particle to particle.
    pub fn noise(&self, cloud: &Cloud, stage: Stage) -> f64 {
        rounding(&self.device) * cloud.variance() / (self.eps * stage.widening) / (cloud.len() as f64).sqrt()
    }
}

impl Blob {
    /// The flow from `start` to `law` in steps `tau`, with a kernel of width √`eps`.
    ///
    /// # Errors
    /// [`FlowError`] when τ or ε is not positive, d > 5, or the dimensions differ.
    pub fn new(start: Cloud, law: impl Into<Field>, tau: f64, eps: f64, device: &Device) -> Result<Self, FlowError> {
        FlowError::check_tau(tau)?;
        let functional = Functional::new(&start, law.into(), eps, device)?;
        let reach = reach_of(&start, functional.field.law(), 0.0);
        let (anneal, stage, substep) = (None, Stage::LAW, tau);
        let energy = functional.energy(&start, stage)?;
        Ok(Self { state: start, functional, tau, anneal, stage, energy, substep, reach, seed: 0, floor: None })
    }

    /// The flow by way of the law with noise σ, σ falling geometrically from `sigma` over the first `steps` steps, with
    /// τ_k = τ (1 + σ²/v) and ε_k = ε (1 + σ²/v) for the law's least variance v: where the noise joins the modes, mass moves between
    /// them, and the kernel has the neighbours there that it has at the end.
    ///
    /// # Errors
    /// [`FlowError::NeedsLaw`] of a potential, which is not known with noise; [`FlowError::Noise`] for a σ that is not positive.
    pub fn annealed(self, sigma: f64, steps: usize) -> Result<Self, FlowError> {
        let law = self.functional.field.law().ok_or(FlowError::NeedsLaw)?;
        let (anneal, reach) = (Some(Anneal::new(sigma, steps, law)?), reach_of(&self.state, Some(law), sigma));
        Ok(Self { anneal, reach, ..self })
    }

    /// The flow with the floor of its residuals from draws of `seed`; of 0 unless it is given.
    pub fn with_seed(self, seed: u32) -> Self {
        Self { seed, ..self }
    }

    /// The relative error −ε²/σ⁴ + … of the stationary variance around a mode of variance σ² = `variance`.
    pub fn predicted_bias(eps: f64, variance: f64) -> f64 {
        0.5 * ((1.0 + 4.0 * eps / variance).sqrt() - 1.0) - eps / variance
    }
}

impl Blob {
    /// ‖(x′ − x)/τ − ẋ′‖ of the step that `moved` the particles to where they are, and what the kernel makes of a step without it.
    fn residual(&mut self, moved: &[f64]) -> Result<JkoResidual, FlowError> {
        let velocity = self.functional.velocity(self.state.points(), &self.energy, Stage::LAW)?;
        let residual: Vec<f64> = moved.iter().zip(&velocity).map(|(moved, velocity)| moved / self.tau - velocity).collect();
        let value = mean_square(&self.state, &residual).sqrt();
        if let (None, Some(law)) = (self.floor, self.functional.field.law()) {
            let velocity =
                |draws: &Cloud| self.functional.velocity(draws.points(), &self.functional.energy(draws, Stage::LAW)?, Stage::LAW);
            self.floor = Some(floor(&self.state, law, self.seed, velocity)?);
        }
        Ok(self.floor.map_or(JkoResidual::Exact(value), |floor| JkoResidual::Estimated { value, floor }))
    }
}

const ANNEALED: &str = "the step descends the law with noise, and not the functional of the accounts";

impl Scheme for Blob {
    fn account(&mut self, _: &Watch<'_>) -> Result<Account, FlowError> {
        let at_law =
            if self.stage == Stage::LAW { self.energy.clone() } else { self.functional.energy(&self.state, Stage::LAW)? };
        let neighbours = Some(at_law.neighbours);
        Ok(Account { free_energy: Some(at_law.value), effective_neighbours: neighbours, ..Account::default() })
    }

    fn advance(&mut self, k: usize, watch: &Watch<'_>) -> Result<Charge, FlowError> {
        let stage = Anneal::stage(self.anneal, k);
        if stage != self.stage {
            (self.stage, self.energy) = (stage, self.functional.energy(&self.state, stage)?);
        }
        let tau = self.tau * stage.widening;
        let noise = self.functional.noise(&self.state, stage);
        let (before, mut left) = (self.state.clone(), tau);
        let centre = before.mean();
        while left > 1e-9 * tau {
            if !watch.tell(Progress::default()) {
                return Err(FlowError::Stopped { steps: k });
            }
            let velocity = self.functional.velocity(self.state.points(), &self.energy, stage)?;
            let speed = mean_square(&self.state, &velocity);
            // A substep that was accepted may be doubled for the next.
            let mut h = left.min(2.0 * self.substep);
            let (state, energy) = loop {
                let moved: Vec<f64> = self.state.points().iter().zip(&velocity).map(|(x, v)| x + h * v).collect();
                let smallest = h < tau * 0.5f64.powi(HALVINGS);
                match check_reach(&moved, &centre, self.reach, k) {
                    Err(runaway) if smallest => return Err(runaway),
                    Err(_) => {}
                    Ok(()) => {
                        let state = before.with_points(moved)?;
                        let energy = self.functional.energy(&state, stage)?;
                        if smallest || 0.5 * h * speed <= noise || energy.value + 0.5 * h * speed <= self.energy.value + noise {
                            break (state, energy);
                        }
                    }
                }
                h *= 0.5;
            };
            (self.state, self.energy, self.substep) = (state, energy, h);
            left -= h;
        }
        let moved: Vec<f64> = self.state.points().iter().zip(before.points()).map(|(x, y)| x - y).collect();
        let w2_squared = mean_square(&before, &moved);
        let of_law = stage == Stage::LAW;
        let residual = if of_law { self.residual(&moved)? } else { JkoResidual::Unknown(ANNEALED) };
        Ok(Charge {
            w2_squared: Some(w2_squared),
            charged: of_law.then_some(w2_squared / (2.0 * tau)),
            tau: Some(tau),
            residual,
            ..Charge::default()
        })
    }

    fn state(&self) -> &Cloud {
        &self.state
    }

    fn keep(&self, part: &mut Part<'_>) {
        part.keep_array("points", self.state.points().to_vec());
        part.keep_array("substep", vec![self.substep]);
    }

    fn resume(&mut self, part: &Part<'_>) -> Result<(), FlowError> {
        if let (Some(points), Some(&[substep])) = (part.array("points"), part.array("substep")) {
            self.state = self.state.with_points(points.to_vec())?;
            (self.stage, self.energy) = (Stage::LAW, self.functional.energy(&self.state, Stage::LAW)?);
            self.substep = substep;
        }
        Ok(())
    }
}
