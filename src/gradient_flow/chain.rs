//! Steps along the laws that noise leads through: forward as noise is added, and backward as samplers take it away.
//!
//! Noise takes a law through p_t, the law of α · data + σ · noise, and each of these laws is known: in closed form of a mixture, as a
//! softmax of points. Where α² + σ² = 1 the noise is the flow of F = KL(·|N(0, I)), at the time τ = log(α/α′) from (α, σ) to (α′, σ′);
//! where α = 1 it is the heat flow, that of F = ∫ρ log ρ, at τ = (σ′² − σ²)/2. With ∇V = x or 0,
//!
//! ```text
//! forward          x′ = (α′/α) x + √(σ′² − (α′/α)²σ²) z          the exact flow, so a JKO step up to O(τ²)
//! explicit score   x′ = x + τ (∇V + ∇log p_t)(x)                 undoes the JKO step that ends in p_t, exactly
//! DDIM, DDPM, …    the sampler's own step                        an explicit score step up to O(τ²)
//! ```
//!
//! The certificate of a step takes the law before it to be p_t. Forward it is. Backward the particles have it at the start, up to what
//! the prior N(0, σ²I) lacks of it, and then up to the errors of the steps before.

use crate::backend::Device;
use crate::checkpoint::Part;
use crate::field::{Field, Prepared};
use crate::gradient_flow::FlowError;
use crate::gradient_flow::jko::{Account, Charge, JkoResidual, Scheme, keep_made, kept, mean_square};
use crate::gradient_flow::stepped::{Stepped, settle};
use crate::measure::Cloud;
use crate::path::{Grid, Level};
use crate::program::{Op, STATE, Step};
use crate::sampler::Method;
use crate::vector::mean_with_error;
use crate::watch::Watch;

/// A chain of noised laws under way.
#[derive(Debug)]
pub struct Chain {
    state: Cloud,
    data: Field,
    prepared: Prepared,
    potential: Potential,
    /// The level of each state, in the order of the steps, and the steps between them.
    levels: Vec<Level>,
    steps: Vec<Step>,
    /// Whether the steps take noise away.
    backwards: bool,
    seed: u32,
    device: Device,
    made: usize,
    /// The accounts of the present state, where its step has made them, and its dissipation.
    next: Option<Account>,
    rate: Option<f64>,
}

/// V of F = ∫V + ∫ρ log ρ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Potential {
    /// ½|x|² + (d/2) log 2π, so that F = KL(·|N(0, I)).
    Normal,
    /// 0.
    None,
}

/// Particles that are accounted for.
const ACCOUNTED: usize = 4096;
/// How far α² + σ² or α may be from 1 by rounding.
const ROUNDING: f64 = 1e-9;

impl Potential {
    /// That of the flow through `levels`.
    fn of(levels: &[Level]) -> Result<Self, FlowError> {
        let preserving = |level: &Level| (level.alpha.powi(2) + level.sigma.powi(2) - 1.0).abs() < ROUNDING;
        if levels.iter().all(preserving) {
            return Ok(Self::Normal);
        }
        match levels.iter().find(|level| (level.alpha - 1.0).abs() > ROUNDING) {
            None => Ok(Self::None),
            Some(level) => Err(FlowError::NoFunctional { alpha: level.alpha, sigma: level.sigma }),
        }
    }

    /// The factor of x in ∇V.
    fn slope(self) -> f64 {
        if self == Self::Normal { 1.0 } else { 0.0 }
    }

    /// The time of the flow from the level `clean` to `noisy`; infinite where the noise has taken all.
    fn time(self, clean: Level, noisy: Level) -> f64 {
        match self {
            Self::Normal => (clean.alpha / noisy.alpha).ln(),
            Self::None => 0.5 * (noisy.sigma - clean.sigma) * (noisy.sigma + clean.sigma),
        }
    }
}

impl Chain {
    /// Noise in `steps` steps of `tau`, which takes `start`, points or draws of `data`, towards N(0, I).
    ///
    /// # Errors
    /// [`FlowError`] when τ is not positive, the dimensions differ or memory runs out.
    pub fn forward(start: Cloud, data: Field, (tau, steps): (f64, usize), seed: u32, device: &Device) -> Result<Self, FlowError> {
        FlowError::check_tau(tau)?;
        let mut levels = Grid::ornstein_uhlenbeck(tau * steps as f64, steps)?.levels().to_vec();
        levels.reverse();
        let noising = |pair: &[Level]| {
            let kept = pair[1].alpha / pair[0].alpha;
            let step = Step::default().then(Op::Combine { dst: STATE, terms: vec![(STATE, kept)] });
            step.add_noise((-(2.0 * kept.ln()).exp_m1()).sqrt())
        };
        let steps = levels.windows(2).map(noising).collect();
        Self::new(start, data, (levels, steps), seed, device)
    }

    /// The steps of `method` along `grid` from `start`, which has the law of `data` at its first level.
    ///
    /// # Errors
    /// [`FlowError::NoFunctional`] where the grid is neither variance preserving nor has α = 1, [`FlowError::Levels`] of a method that does
    /// not make one step from each level to the next, [`FlowError::Multistep`] of one that keeps evaluations; else as [`Chain::forward`].
    pub fn backward(
        start: Cloud,
        data: Field,
        (method, grid): (&dyn Method, &Grid),
        seed: u32,
        device: &Device,
    ) -> Result<Self, FlowError> {
        let steps = method.program(grid).steps;
        if steps.len() + 1 != grid.levels().len() {
            return Err(FlowError::Levels { levels: grid.levels().len(), steps: steps.len() });
        }
        if steps.iter().any(Step::is_multistep) {
            return Err(FlowError::Multistep);
        }
        Self::new(start, data, (grid.levels().to_vec(), steps), seed, device)
    }

    fn new(
        start: Cloud,
        data: Field,
        (levels, steps): (Vec<Level>, Vec<Step>),
        seed: u32,
        device: &Device,
    ) -> Result<Self, FlowError> {
        if start.dim() != data.dim() {
            return Err(FlowError::Dimensions { particles: start.dim(), target: data.dim() });
        }
        let (potential, prepared) = (Potential::of(&levels)?, data.prepare(device)?);
        let backwards = levels.first().zip(levels.last()).is_some_and(|(first, last)| first.ratio() > last.ratio());
        let device = device.clone();
        Ok(Self {
            state: start,
            data,
            prepared,
            potential,
            levels,
            steps,
            backwards,
            seed,
            device,
            made: 0,
            next: None,
            rate: None,
        })
    }

    /// The particles that are accounted for, n × d.
    fn accounted<'a>(&self, points: &'a [f64]) -> &'a [f64] {
        &points[..points.len().min(ACCOUNTED * self.state.dim())]
    }

    /// ∇(δF/δp) = ∇V + ∇log p at `level`, of `points`; none where the data have no score.
    fn slope(&self, level: Level, points: &[f64]) -> Result<Option<Vec<f64>>, FlowError> {
        if level.sigma == 0.0 && !self.data.is_regular_at_data() {
            return Ok(None);
        }
        let (score, slope) = (self.prepared.score(level, points)?, self.potential.slope());
        Ok(Some(score.iter().zip(points).map(|(score, x)| slope * x + score).collect()))
    }

    /// The residual of step `k`, which leads to `after` by the drift and the deviation `s` of the noise that are given, and E|x′ − x|² of its
    /// map.
    fn certify(&self, k: usize, drifted: &[f64], s: f64, after: &[f64]) -> Result<(JkoResidual, Option<f64>), FlowError> {
        let [from, to] = [self.levels[k], self.levels[k + 1]];
        let (clean, noisy) = if self.backwards { (to, from) } else { (from, to) };
        let tau = self.potential.time(clean, noisy);
        let before = self.accounted(self.state.points());
        let (drifted, after) = (self.accounted(drifted), self.accounted(after));
        // The ends of the map whose residual is taken, and where: x before a step backwards, x′ after one forward.
        let (x, moved, level) = if self.backwards {
            // x′ = drift(x) − (s²/2)∇log p(x′): the probability flow of the noise.
            let moved =
                if s == 0.0 { Some(drifted.to_vec()) } else { settle(&self.prepared, drifted, 0.5 * s * s, to, &self.device)? };
            let Some(moved) = moved else { return Ok((JkoResidual::Unknown(UNSETTLED), None)) };
            (before, moved, from)
        } else {
            let score = self.prepared.score(to, after)?;
            let kept = to.alpha / from.alpha;
            let moved = after.iter().zip(&score).map(|(x, score)| (x + 0.5 * s * s * score) / kept).collect();
            (after, moved, to)
        };
        let steps: Vec<f64> = x.iter().zip(&moved).map(|(x, moved)| x - moved).collect();
        let cloud = Cloud::new(x.to_vec(), self.state.dim())?;
        let w2_squared = Some(mean_square(&cloud, &steps));
        if tau.is_infinite() {
            return Ok((JkoResidual::Unknown(PURE_NOISE), w2_squared));
        }
        let Some(slope) = self.slope(level, x)? else { return Ok((JkoResidual::Unknown(NO_SCORE), w2_squared)) };
        let residual: Vec<f64> = steps.iter().zip(&slope).map(|(step, slope)| step / tau + slope).collect();
        Ok((JkoResidual::Exact(mean_square(&cloud, &residual).sqrt()), w2_squared))
    }
}

const PURE_NOISE: &str = "alpha = 0: the step comes from pure noise, at an infinite time of the flow";
const NO_SCORE: &str = "sigma = 0: points have no density and no score";
const UNSETTLED: &str = "the step is so long that its noise has no probability flow; take a smaller tau";

impl Chain {
    /// The accounts of the present state.
    fn present(&self) -> Result<Account, FlowError> {
        let (level, d) = (self.levels[self.made], self.state.dim());
        let points = self.accounted(self.state.points());
        let Some(slope) = self.slope(level, points)? else { return Ok(Account::default()) };
        let cloud = Cloud::new(points.to_vec(), d)?;
        let Some(log) = self.data.log_density(level, &cloud, &self.device)? else { return Ok(Account::default()) };
        let constant = 0.5 * d as f64 * std::f64::consts::TAU.ln();
        let potential = |x: &[f64]| match self.potential {
            Potential::Normal => 0.5 * x.iter().map(|x| x * x).sum::<f64>() + constant,
            Potential::None => 0.0,
        };
        let terms: Vec<f64> = log.iter().zip(cloud.rows()).map(|(log, x)| log + potential(x)).collect();
        let rates: Vec<f64> = slope.chunks_exact(d).map(|row| row.iter().map(|u| u * u).sum()).collect();
        let ((free_energy, error), (dissipation, rate_error)) = (mean_with_error(&terms), mean_with_error(&rates));
        Ok(Account {
            free_energy: Some(free_energy),
            standard_error: Some(error),
            dissipation: Some(dissipation),
            dissipation_error: Some(rate_error),
            ..Account::default()
        })
    }
}

impl Scheme for Chain {
    fn account(&mut self, _: &Watch<'_>) -> Result<Account, FlowError> {
        let account = match self.next.take() {
            Some(account) => account,
            None => self.present()?,
        };
        self.rate = account.dissipation;
        Ok(account)
    }

    fn advance(&mut self, k: usize, _: &Watch<'_>) -> Result<Charge, FlowError> {
        let Some(step) = self.steps.get(k) else { return Err(FlowError::Ended { steps: self.steps.len() }) };
        let Stepped { drifted, scale, moved } = Stepped::by(step, &self.data, self.state.points(), (self.seed, k), &self.device)?;
        if let Some(particle) = moved.chunks_exact(self.state.dim()).position(|x| !x.iter().all(|x| x.is_finite())) {
            return Err(FlowError::Runaway { step: k, particle });
        }
        let (residual, w2_squared) = self.certify(k, &drifted, scale, &moved)?;
        self.state = self.state.with_points(moved)?;
        self.made = k + 1;
        let next = self.present()?;
        let [from, to] = [self.levels[k], self.levels[k + 1]];
        let (tau, of_clean) = if self.backwards {
            (self.potential.time(to, from), next.dissipation)
        } else {
            (self.potential.time(from, to), self.rate)
        };
        self.next = Some(next);
        let tau = Some(tau).filter(|tau| tau.is_finite());
        // Both bound W₂²: the step's own map, and τ∫I, where I falls along the flow.
        let along = tau.zip(of_clean).map_or(f64::INFINITY, |(tau, rate)| tau * tau * rate);
        let w2_squared = w2_squared.map(|of_map| of_map.min(along));
        // N(0, I) is 1-convex; the heat flow has no target.
        let sign = if self.backwards { 2.0 } else { -2.0 };
        let decay = tau.filter(|_| self.potential == Potential::Normal).map(|tau| (sign * tau).exp());
        let charged = w2_squared.zip(tau).map(|(w2_squared, tau)| w2_squared / (2.0 * tau));
        Ok(Charge { w2_squared, charged, backwards: self.backwards, tau, decay, residual, ..Charge::default() })
    }

    fn state(&self) -> &Cloud {
        &self.state
    }

    fn keep(&self, part: &mut Part<'_>) {
        keep_made(part, &self.state, self.made, self.rate);
    }

    fn resume(&mut self, part: &Part<'_>) -> Result<(), FlowError> {
        if let Some((state, made, rate)) = kept(part, &self.state)? {
            (self.state, self.made, self.rate, self.next) = (state, made, rate, None);
        }
        Ok(())
    }
}
