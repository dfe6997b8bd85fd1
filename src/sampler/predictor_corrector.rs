//! Predictor–corrector sampling of the reverse SDE (Song et al. 2021, algorithms 1–5).
//!
//! In its own time t from 1 to `end` in N levels, j = ⌊t (N−1)⌋, at each first the corrector, `corrections` times, then the
//! predictor, with s = ∇log p at t:
//!
//! ```text
//! Langevin:            x ← x + e s + √(2e) z,  e = 2a (snr σ_t)²
//! Euler–Maruyama:      x ← x − (f − g² s)/N + g/√N z
//! reverse diffusion:   VE x ← x + (q_j² − q_{j−1}²) s + √(q_j² − q_{j−1}²) z;  VP x ← (2 − √(1−β_j)) x + β_j s + √β_j z
//! ancestral:           VE the same mean, noise q_{j−1} √(q_j² − q_{j−1}²)/q_j;  VP x ← (x + β_j s)/√(1−β_j) + √β_j z
//! ```
//!
//! a = 1 on VE, 1 − β_j on VP; the probability flow halves the score of the predictor and has no noise.
//!
//! The corrector's step is a function of the level alone, so it leaves the law of that level unchanged, apart from the bias of its length.
//! The paper has e = 2a (snr |z|/|s|)², which is this one where the law is narrow, |s| ≈ √d/σ. Taken of each particle it depends
//! on the state, so the law is not its stationary one, and it is unbounded where the score vanishes; taken of the mean norms of a
//! batch ([`BatchMeanNorms`](crate::sampler::compat::BatchMeanNorms)) it ties the particles together. Here −∇s ≤ 1/σ² for every law, so e(−∇s) ≤ 2 snr²: stable for
//! snr < 1 whatever the data, with a variance that is at most 1/(1 − snr²) too large.

use crate::backend::Noise;
use crate::checkpoint::Part;
use crate::field::Prepared;
use crate::path::Level;
use crate::sampler::RunError;
use crate::sampler::loops::{Ensemble, Loop, Looped, Pauses};
use crate::sampler::noise_blocks::NoiseBlocks;

/// The forward SDE.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sde {
    /// Variance exploding, σ geometric from the first to the second.
    Ve(f64, f64),
    /// Variance preserving, β linear from the first to the second.
    Vp(f64, f64),
    /// Sub-variance-preserving, β linear from the first to the second: σ = 1 − α².
    SubVp(f64, f64),
}

/// The predictor's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predictor {
    /// Euler–Maruyama on the reverse SDE.
    EulerMaruyama,
    /// The discretised forward chain, reversed.
    ReverseDiffusion,
    /// Ancestral sampling of that chain.
    Ancestral,
}

/// The corrector's rule, with its signal-to-noise ratio, below 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Corrector {
    /// None.
    None,
    /// Langevin steps e = 2a (snr σ)².
    Langevin(f64),
}

/// √(e/2a) of a corrector's step, from the signal-to-noise ratio, the level, the scores and the normals.
pub(super) type Root<'a> = &'a dyn Fn(f64, Level, &[f64], &[f64]) -> f64;

/// A predictor–corrector sampler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PredictorCorrector {
    /// The forward SDE.
    pub sde: Sde,
    /// Number N of levels.
    pub levels: usize,
    /// The last time, above 0: 1e-5 on VE, 1e-3 on VP.
    pub end: f64,
    /// Predictor.
    pub predictor: Predictor,
    /// Corrector.
    pub corrector: Corrector,
    /// Corrector steps at each level.
    pub corrections: usize,
    /// The probability-flow ODE in place of the SDE.
    pub probability_flow: bool,
}

/// Where a run is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corrected {
    /// Last state, n × d.
    pub state: Vec<f64>,
    /// Last state before its noise: the better sample.
    pub mean: Vec<f64>,
    /// Evaluations of the field.
    pub nfe: usize,
    /// Levels passed.
    pub made: usize,
    /// Blocks of noise drawn.
    pub draws: usize,
}

impl Corrected {
    /// A run that begins at `start`, n × d.
    pub fn from(start: &[f64]) -> Self {
        Self { state: start.to_vec(), mean: start.to_vec(), nfe: 0, made: 0, draws: 0 }
    }

    /// Keeps the run.
    pub fn keep(&self, part: &mut Part<'_>) {
        part.keep_record("nfe, levels and draws", &(self.nfe, self.made, self.draws));
        part.keep_array("state", self.state.clone());
        part.keep_array("mean", self.mean.clone());
    }

    /// The run that was kept.
    pub fn kept(part: &Part<'_>) -> Option<Self> {
        let (nfe, made, draws) = part.record("nfe, levels and draws")?;
        Some(Self { state: part.array("state")?.to_vec(), mean: part.array("mean")?.to_vec(), nfe, made, draws })
    }
}

impl Sde {
    /// The marginal at time `t`, 1 at the noise.
    pub fn level(self, t: f64) -> Level {
        let (alpha, sigma) = match self {
            Self::Ve(low, high) => (1.0, low * (high / low).powf(t)),
            Self::Vp(low, high) | Self::SubVp(low, high) => {
                let exponent = 0.5 * t * t * (high - low) + t * low; // ∫β
                let remaining = -(-exponent).exp_m1();
                let sigma = if matches!(self, Self::Vp(..)) { remaining.sqrt() } else { remaining };
                ((-0.5 * exponent).exp(), sigma)
            }
        };
        Level { t: 1.0 - t, alpha, sigma, alpha_dot: f64::NAN, sigma_dot: f64::NAN }
    }

    /// (f/x, g²) at time `t`.
    fn coefficients(self, t: f64) -> (f64, f64) {
        match self {
            Self::Ve(low, high) => (0.0, 2.0 * self.level(t).sigma.powi(2) * (high / low).ln()),
            Self::Vp(low, high) => (-0.5 * (low + t * (high - low)), low + t * (high - low)),
            Self::SubVp(low, high) => {
                let beta = low + t * (high - low);
                (-0.5 * beta, -beta * (-2.0 * low * t - (high - low) * t * t).exp_m1())
            }
        }
    }

    /// The fewest levels of which the table's β = β_max/N is at most 1.
    pub fn least_levels(self) -> usize {
        match self {
            Self::Ve(..) => 1,
            Self::Vp(_, high) | Self::SubVp(_, high) => high.ceil() as usize,
        }
    }

    /// q_j of VE's table of `n` levels, 0 below its first; β_j of VP's. A single level is the noisiest.
    pub fn table(self, j: Option<usize>, n: usize) -> f64 {
        let at = |j: usize| if n > 1 { j as f64 / (n - 1) as f64 } else { 1.0 };
        match (self, j) {
            (_, None) => 0.0,
            (Self::Ve(low, high), Some(j)) => low * (high / low).powf(at(j)),
            (Self::Vp(low, high) | Self::SubVp(low, high), Some(j)) => (low + at(j) * (high - low)) / n as f64,
        }
    }
}

impl PredictorCorrector {
    /// The times from 1 to `end`.
    pub fn times(&self) -> Vec<f64> {
        (0..self.levels).map(|i| self.time(i)).collect()
    }

    fn time(&self, i: usize) -> f64 {
        1.0 + i as f64 / (self.levels - 1).max(1) as f64 * (self.end - 1.0)
    }

    /// The table's index at `t`.
    pub fn index(&self, t: f64) -> usize {
        (t * (self.levels - 1) as f64).floor() as usize
    }

    /// Corrector steps at a level.
    fn corrections(&self) -> usize {
        if self.corrector == Corrector::None { 0 } else { self.corrections }
    }

    /// Draws of a step that draws everywhere.
    pub(super) fn most_draws(&self) -> usize {
        self.corrections() + 1
    }

    /// Moves the particles of `run` at its next level, with corrector steps of `root`.
    pub(super) fn step_by(
        &self,
        root: Root<'_>,
        field: &Prepared,
        run: &mut Corrected,
        noise: Noise<'_>,
    ) -> Result<(), RunError> {
        let (d, len) = (field.dim(), run.state.len());
        let mut draws = NoiseBlocks::after(run.draws, noise, d);
        let t = self.time(run.made);
        let level = self.sde.level(t);
        let j = self.index(t);
        let keep = if let Sde::Ve(..) = self.sde { 1.0 } else { 1.0 - self.sde.table(Some(j), self.levels) };
        for _ in 0..self.corrections() {
            let score = field.score(level, &run.state)?;
            let z = draws.take(len)?;
            let root = match self.corrector {
                Corrector::Langevin(snr) => root(snr, level, &score, &z),
                Corrector::None => 0.0,
            };
            let e = 2.0 * keep * root * root;
            for (i, x) in run.state.iter_mut().enumerate() {
                run.mean[i] = *x + e * score[i];
                *x = run.mean[i] + (2.0 * e).sqrt() * z[i];
            }
            run.nfe += 1;
        }
        let score = field.score(level, &run.state)?;
        run.nfe += 1;
        let (of_x, of_score, noise) = self.predict(t, j);
        let (of_score, noise) = if self.probability_flow { (0.5 * of_score, 0.0) } else { (of_score, noise) };
        let z = if noise > 0.0 { draws.take(len)? } else { vec![0.0; len] };
        for (i, x) in run.state.iter_mut().enumerate() {
            run.mean[i] = of_x * *x + of_score * score[i];
            *x = run.mean[i] + noise * z[i];
        }
        (run.made, run.draws) = (run.made + 1, draws.made);
        Ok(())
    }

    /// Factors of x, of the score and of the noise in the predictor's step.
    fn predict(&self, t: f64, j: usize) -> (f64, f64, f64) {
        let n = self.levels as f64;
        let table = |j| self.sde.table(j, self.levels);
        match (self.predictor, self.sde) {
            (Predictor::EulerMaruyama, _) | (_, Sde::SubVp(..)) => {
                let (drift, square) = self.sde.coefficients(t);
                (1.0 - drift / n, square / n, (square / n).sqrt())
            }
            (predictor, Sde::Ve(..)) => {
                let (now, below) = (table(Some(j)), table(j.checked_sub(1)));
                let added = now * now - below * below;
                (1.0, added, if predictor == Predictor::Ancestral { below * added.sqrt() / now } else { added.sqrt() })
            }
            (Predictor::ReverseDiffusion, _) => {
                let beta = table(Some(j));
                (2.0 - (1.0 - beta).sqrt(), beta, beta.sqrt())
            }
            (Predictor::Ancestral, _) => {
                let beta = table(Some(j));
                let kept = (1.0 - beta).sqrt();
                (1.0 / kept, beta / kept, beta.sqrt())
            }
        }
    }
}

/// A sampler of the reverse SDE, level by level: [`PredictorCorrector`], or a defect of it.
pub trait ReverseSde {
    /// The sampler.
    fn sampler(&self) -> &PredictorCorrector;

    /// Moves the particles of `run` at its next level.
    ///
    /// # Errors
    /// [`RunError`] when sizes disagree, given noise runs out or the device fails.
    fn step(&self, field: &Prepared, run: &mut Corrected, noise: Noise<'_>) -> Result<(), RunError>;
}

impl ReverseSde for PredictorCorrector {
    fn sampler(&self) -> &PredictorCorrector {
        self
    }

    fn step(&self, field: &Prepared, run: &mut Corrected, noise: Noise<'_>) -> Result<(), RunError> {
        self.step_by(&|snr, level, _, _| snr * level.sigma, field, run, noise)
    }
}

impl<S: ReverseSde + ?Sized> ReverseSde for Box<S> {
    fn sampler(&self) -> &PredictorCorrector {
        (**self).sampler()
    }

    fn step(&self, field: &Prepared, run: &mut Corrected, noise: Noise<'_>) -> Result<(), RunError> {
        (**self).step(field, run, noise)
    }
}

impl Loop for Box<dyn ReverseSde> {
    fn start(&self) -> Level {
        self.sampler().sde.level(1.0)
    }

    fn run(&self, ensemble: Ensemble<'_>, pauses: &mut Pauses<'_>) -> Result<Looped, RunError> {
        let field = ensemble.field.prepare(ensemble.device)?;
        let mut run = Corrected::kept(&pauses.part).unwrap_or_else(|| Corrected::from(ensemble.start));
        while run.made < self.sampler().levels {
            pauses.pass(run.made, |part| run.keep(part))?;
            let (asked, level) = (run.nfe, self.sampler().sde.level(self.sampler().time(run.made)));
            self.step(&field, &mut run, ensemble.noise)?;
            run.nfe = asked + (run.nfe - asked) * ensemble.field.evaluations(level);
        }
        Ok(Looped { points: run.mean, nfe: run.nfe, tries: Vec::new(), log_p: Vec::new() })
    }
}
