//! The potential of a semidiscrete coupling, by stochastic ascent of its dual on fresh draws.
//!
//! The gradient of the dual in g_j is b_j minus the mass of cell j, of which every batch of B draws gives an unbiased estimate n_j/B by
//! hard assignment (Genevay et al. 2016, section 4):
//!
//! ```text
//! g_j ← g_j + γ_t min(1, B b_j) (1 − n_j/(B b_j))        γ_t = γ (1 + T_t/2)^(−2/3)        ḡ_t = ḡ_{t−1} + 4/(t + 3) (g_t − ḡ_{t−1})
//! ```
//!
//! with T_t = t min(1, B/m) the draws a cell so far, or the steps where a batch has more draws than there are cells. γ is the mean gap
//! between the best and the second best score of a draw, which is by how much a potential has to change for its cell to gain or lose a
//! share of order one. The exponent lies between ½ and 1, so that the mean ḡ of the iterates has the least variance that there is
//! whatever γ (Polyak, Juditsky 1992); that mean is weighted by t³, which forgets the start (Shamir, Zhang 2013, section 4, η = 3). The
//! ascent starts from the potential of an entropic plan between a few draws and all points.
//!
//! It stops by the χ² distance of the cells' masses p_j from b_j under ḡ, estimated without bias from the counts n_j of M draws that
//! the ascent has not seen, together with its standard error:
//!
//! ```text
//! χ² = Σ_j (p_j − b_j)²/b_j ≈ Σ_j n_j (n_j − 1)/(M (M − 1) b_j) − 1        Σ_j |p_j − b_j| ≤ √χ²
//! ```
//!
//! Of m cells it falls as about 2.5 m over the number of draws.

use serde::{Deserialize, Serialize};

use super::{Cells, Semidiscrete};
use crate::backend::{Backend, Cost, Device, Packed, Task};
use crate::measure::{Cloud, Measure};
use crate::random::Stream;
use crate::transport::problem::{Relative, scale};
use crate::transport::{Conditional, GroundCost, Problem, Projection, Sinkhorn, TransportError};
use crate::vector::{dot, mean};
use crate::watch::{Progress, Watch};

/// Draws of the plan that the ascent starts from, its ε in units of the mean cost within the ends, and its solver.
const START: usize = 1024;
const START_EPS: f64 = 0.02;
const STARTER: Sinkhorn = Sinkhorn { tol: 1e-2, max_iter: 200, plain: false };
/// Draws whose gap is measured.
const GAPS: usize = 256;
/// The decay of the step.
const DECAY: f64 = 2.0 / 3.0;
/// The growth of the number of steps between two judgements, and the share of their draws that a judgement draws again.
const GROWTH: f64 = 1.25;
const JUDGED: f64 = 0.125;
/// Standard errors by which χ² has to be below its bound.
const SURE: f64 = 2.0;
/// Names in a checkpoint.
const POTENTIAL: &str = "potential";
const MEAN: &str = "mean";
const STATE: &str = "state";

/// How a potential is fitted.
#[derive(Clone, Debug)]
pub struct Ascent {
    /// Draws a step.
    pub batch: usize,
    /// √χ² at which to stop, a bound of the L1 error of the cells' masses.
    pub tol: f64,
    /// Most steps.
    pub max_steps: usize,
    /// Of the draws.
    pub seed: u32,
    /// What the cost is computed on, where that is not the points themselves.
    pub projection: Option<Projection>,
}

impl Default for Ascent {
    /// Batches of 1,024 draws to √χ² = 0.1, in at most 10,000 steps.
    fn default() -> Self {
        Self { batch: 1024, tol: 0.1, max_steps: 10_000, seed: 0, projection: None }
    }
}

/// How well a potential fits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Steps made.
    pub steps: usize,
    /// Draws of the law, those that judged among them.
    pub draws: u64,
    /// χ² of the cells' masses, by an estimate that is unbiased and so may be below 0.
    pub chi_squared: f64,
    /// Its standard error.
    pub chi_squared_se: f64,
    /// √(χ² + two standard errors), which Σ_j |p_j − b_j| does not exceed.
    pub marginal_error: f64,
    /// Whether that is at most the tolerance.
    pub converged: bool,
}

impl Fit {
    const NONE: Self = Self {
        steps: 0,
        draws: 0,
        chi_squared: f64::INFINITY,
        chi_squared_se: f64::INFINITY,
        marginal_error: f64::INFINITY,
        converged: false,
    };
}

impl Ascent {
    /// Fits the potential that couples `law` with the points of `target`. A watch that keeps has it go on to the bit from where it was
    /// stopped; it is told of the steps, of how many there may be, and of the marginal error.
    ///
    /// # Errors
    /// [`TransportError::Atoms`] when the law is finitely many points, [`TransportError::OnePlace`] when no two points of the target
    /// differ, [`TransportError::Stopped`], and [`TransportError`] when dimensions differ or memory runs out.
    pub fn fit(
        &self,
        law: &Measure,
        target: &Cloud,
        device: &Device,
        mut watch: Watch<'_>,
    ) -> Result<(Semidiscrete, Fit), TransportError> {
        if let Measure::Finite(points) = law {
            return Err(TransportError::Atoms { n: points.len() });
        }
        if law.dim() != target.dim() {
            return Err(TransportError::Dimensions { source_dim: law.dim(), target_dim: target.dim() });
        }
        let cells = Cells::of(target, self.projection.as_ref())?;
        let draws = Draws { ascent: self, law };
        let state = match State::kept(&watch) {
            Some(state) => state,
            None => self.start(&draws, &cells.points, device, &watch)?,
        };
        let state = device.run(Climb { draws: &draws, cells: &cells.points, state, watch: &mut watch })?;
        watch.close(|part| state.keep(part));
        let coupling = Semidiscrete::of_cells(cells, &state.mean, self.projection.clone());
        Ok((coupling, state.now.fit))
    }

    /// The potential of an entropic plan, and the gap of the scores under it.
    fn start(&self, draws: &Draws<'_>, cells: &Cloud, device: &Device, watch: &Watch<'_>) -> Result<State, TransportError> {
        let x = draws.of(START, Stream::Noise, 0)?;
        let mut eps = START_EPS * GroundCost::Known(Cost::HalfSquaredEuclidean).scale(&x, cells, self.seed).value;
        let tell = |now: Progress<'_>| watch.tell(Progress { residual: now.residual, stage: "start", ..Progress::default() });
        let solve = |eps| STARTER.solve_watched(&Problem::new(&x, cells, eps)?, None, device, Watch::telling(&tell));
        let outcome = match solve(eps) {
            Err(TransportError::EpsTooSmall { smallest, .. }) => {
                eps = smallest;
                solve(eps)
            }
            other => other,
        }?;
        // The plan weighs by b_j as well; a hard assignment by g alone.
        let biased = |(j, g): (usize, &f64)| g + eps * cells.weight(j).ln();
        let potential: Vec<f64> = outcome.potentials.g.iter().enumerate().map(biased).collect();
        let law = Conditional {
            target: cells.clone(),
            g: outcome.potentials.g.as_slice().into(),
            eps,
            cost: GroundCost::Known(Cost::HalfSquaredEuclidean),
            classes: None,
            f: None,
        };
        let best = law.top(&draws.of(GAPS, Stream::Noise, 1)?, 2, device)?;
        let gap = |p: &[f64]| eps * (p[0] / p[1].max(f64::MIN_POSITIVE)).ln();
        let mut gaps: Vec<f64> = best.probability.chunks_exact(2).map(gap).collect();
        // Gaps are about exponential, of which the median is ln 2 of the mean; unlike it, it bears outliers.
        gaps.sort_unstable_by(f64::total_cmp);
        let gap = gaps[gaps.len() / 2] / std::f64::consts::LN_2;
        let now = Now { step: 0, gap: if gap > 0.0 { gap } else { eps }, next: 1, judged: 0, fit: Fit::NONE };
        Ok(State { mean: potential.clone(), potential, now })
    }
}

/// Fresh draws of the law, in the coordinates of the cost.
struct Draws<'a> {
    ascent: &'a Ascent,
    law: &'a Measure,
}

impl Draws<'_> {
    fn of(&self, n: usize, stream: Stream, step: usize) -> Result<Cloud, TransportError> {
        let draws = self.law.sample(n, self.ascent.seed, stream, step as u32);
        self.ascent.projection.as_ref().map_or(Ok(draws.clone()), |projection| projection.apply(&draws))
    }
}

/// Where the ascent is.
struct State {
    potential: Vec<f64>,
    mean: Vec<f64>,
    now: Now,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Now {
    /// Steps made.
    step: usize,
    /// γ.
    gap: f64,
    /// The step after which ḡ is judged next.
    next: usize,
    /// Batches that have judged so far.
    judged: usize,
    /// The last judgement.
    fit: Fit,
}

impl State {
    fn kept(watch: &Watch<'_>) -> Option<Self> {
        let (potential, mean) = (watch.array(POTENTIAL)?.to_vec(), watch.array(MEAN)?.to_vec());
        Some(Self { potential, mean, now: watch.record(STATE)? })
    }

    fn keep(&self, part: &mut crate::checkpoint::Part<'_>) {
        part.keep_array(POTENTIAL, self.potential.clone());
        part.keep_array(MEAN, self.mean.clone());
        part.keep_record(STATE, &self.now);
    }

    /// Moves by the counts of a batch.
    fn advance(&mut self, counts: &[u32], cells: &Cloud, batch: usize) {
        let (now, batch) = (&mut self.now, batch as f64);
        now.step += 1;
        let passes = now.step as f64 * (batch / cells.effective_len()).min(1.0);
        let step = now.gap * (1.0 + 0.5 * passes).powf(-DECAY);
        let share = 4.0 / (now.step as f64 + 3.0);
        for (j, (g, mean)) in self.potential.iter_mut().zip(&mut self.mean).enumerate() {
            let expected = batch * cells.weight(j);
            *g += step * (expected - f64::from(counts[j])) / expected.max(1.0);
            *mean += share * (*g - *mean);
        }
    }

    /// Judges ḡ by the counts of `drawn` draws.
    fn judge(&mut self, counts: &[u32], drawn: usize, cells: &Cloud, ascent: &Ascent) {
        let (now, total) = (&mut self.now, drawn as f64);
        let twice = |(j, n): (usize, &u32)| f64::from(*n) * (f64::from(*n) - 1.0) / cells.weight(j);
        let chi_squared = counts.iter().enumerate().map(twice).sum::<f64>() / (total * (total - 1.0)) - 1.0;
        let variance = 2.0 * counts.len() as f64 / (total * total) + 4.0 * chi_squared.max(0.0) / total;
        let chi_squared_se = variance.sqrt();
        let marginal_error = (chi_squared.max(0.0) + SURE * chi_squared_se).sqrt();
        now.judged += drawn / ascent.batch;
        now.next = ((now.step as f64 * GROWTH).ceil() as usize).clamp(now.step + 1, ascent.max_steps.max(now.step + 1));
        now.fit = Fit {
            steps: now.step,
            draws: ((now.step + now.judged) * ascent.batch) as u64,
            chi_squared,
            chi_squared_se,
            marginal_error,
            converged: marginal_error <= ascent.tol,
        };
    }

    /// Whether the last judgement is of this step.
    fn is_judged(&self) -> bool {
        self.now.fit.draws > 0 && self.now.fit.steps == self.now.step
    }

    /// How many steps there will be, as far as the last judgement tells.
    fn expected(&self, ascent: &Ascent) -> usize {
        let ratio = (self.now.fit.marginal_error / ascent.tol).powi(2);
        let steps = if ratio.is_finite() { self.now.fit.steps as f64 * ratio } else { f64::INFINITY };
        steps.clamp(self.now.step as f64, ascent.max_steps as f64) as usize
    }
}

/// The ascent on a device.
struct Climb<'a, 'w> {
    draws: &'a Draws<'a>,
    cells: &'a Cloud,
    state: State,
    watch: &'a mut Watch<'w>,
}

impl Task for Climb<'_, '_> {
    type Output = Result<State, TransportError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let Self { draws, cells, mut state, watch } = self;
        let ascent = draws.ascent;
        let (batch, most) = (ascent.batch, ascent.max_steps);
        let mut scores = Scores::new(backend, cells, &draws.of(batch, Stream::Noise, 0)?)?;
        let mut tell = |state: &State| {
            let value = Some(state.now.fit.marginal_error).filter(|error| error.is_finite());
            let now = Progress { done: state.now.step, of: Some(state.expected(ascent)), value, ..Progress::default() };
            let go_on = watch.tell(now);
            match watch.pass(go_on, |part| state.keep(part)) {
                true => Ok(()),
                false => Err(TransportError::Stopped { iterations: state.now.step }),
            }
        };
        loop {
            tell(&state)?;
            // Also where a run goes on that was stopped after its last judgement: another one would be by other draws.
            if state.is_judged() && (state.now.fit.converged || state.now.step >= most) {
                return Ok(state);
            }
            if !state.is_judged() && (state.now.step >= state.now.next || state.now.step >= most) {
                let batches = ((state.now.step as f64 * JUDGED).ceil() as usize).max(1);
                let mut counts = vec![0; cells.len()];
                scores.under(&state.mean)?;
                for k in 0..batches {
                    scores.count(&draws.of(batch, Stream::Metric, state.now.judged + k)?, &mut counts)?;
                    tell(&state)?;
                }
                state.judge(&counts, batches * batch, cells, ascent);
                continue;
            }
            let mut counts = vec![0; cells.len()];
            scores.under(&state.potential)?;
            scores.count(&draws.of(batch, Stream::Noise, state.now.step + 1)?, &mut counts)?;
            state.advance(&counts, cells, batch);
        }
    }
}

/// The scores x·y_j + g_j − ½|y_j|² on a device, in lengths scaled by a power of two and about the mean of the y_j.
struct Scores<'a, B: Backend> {
    backend: &'a B,
    columns: Packed<B>,
    origin: Vec<f64>,
    scale: f64,
    half_squares: Vec<f64>,
}

impl<'a, B: Backend> Scores<'a, B> {
    fn new(backend: &'a B, cells: &Cloud, draws: &Cloud) -> Result<Self, TransportError> {
        let (origin, scale) = (cells.mean(), scale(draws, cells));
        let relative = Relative::new(cells, origin.clone(), scale);
        let mut half_squares = vec![0.0; cells.len()];
        relative.each(0..cells.len(), |j, y| half_squares[j] = 0.5 * dot(y, y));
        let points = relative.on_device(backend, 0..cells.len())?.reals;
        let columns = Packed::of(backend, points, cells.len(), cells.dim())?;
        Ok(Self { backend, columns, origin, scale, half_squares })
    }

    /// Takes the potential `g`.
    fn under(&mut self, g: &[f64]) -> Result<(), TransportError> {
        let square = self.scale * self.scale;
        let bias: Vec<f64> = g.iter().zip(&self.half_squares).map(|(g, half)| g * square - half).collect();
        // Scores count up to a constant: about their mean they keep their digits.
        let middle = mean(&bias);
        let bias = self.backend.upload_reals(bias.iter().map(|bias| bias - middle))?;
        Ok(self.columns.pack(self.backend, 1.0, &bias, None)?)
    }

    /// Adds to `counts` how many of `draws` lie in each cell.
    fn count(&self, draws: &Cloud, counts: &mut [u32]) -> Result<(), TransportError> {
        let x = Relative::new(draws, self.origin.clone(), self.scale).on_device(self.backend, 0..draws.len())?;
        let (mut index, mut score) = (self.backend.zeros(x.n)?, self.backend.zeros(x.n)?);
        self.backend.top_k(x.rows(), self.columns.columns(), 1, &mut index, &mut score)?;
        self.backend.download(&index)?.into_iter().for_each(|cell| counts[cell as usize] += 1);
        Ok(())
    }
}
