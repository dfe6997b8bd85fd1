//! Adaptive DPM-Solver (Lu et al. 2022, algorithm 6 and appendix C): exponential integrators of order 2 and 3 in s = −log q with
//! a controlled step.
//!
//! In y = x/α, with e = ε̂(y, q), E(r) = y − q(s + rh) expm1(rh) e and e_r = ε̂ at s + rh, order 3 has
//!
//! ```text
//! low  = E(1) − (q′/2r₁) expm1(h) (e_{r₁} − e)                                        e_{r₁} at E(r₁)
//! high = E(1) − (q′/r₂) (expm1(h)/h − 1) (e_{r₂} − e)     e_{r₂} at E(r₂) − q_{r₂} (r₂/r₁)(expm1(r₂h)/(r₂h) − 1)(e_{r₁} − e)
//! ```
//!
//! (r₁, r₂) = (⅓, ⅔), three evaluations a try. The step follows a PID controller on the RMS of high − low over the tolerance. All
//! numbers of y share one step: give one particle for control of each, all for the published code's (`compat batch_error_norm`).

use crate::checkpoint::Part;
use crate::sampler::{AdaptiveError, Tries};

/// The adaptive DPM-Solver and its controller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DpmAdaptive {
    /// Relative tolerance.
    pub rtol: f64,
    /// Absolute tolerance.
    pub atol: f64,
    /// First step in log q.
    pub first_step: f64,
    /// Proportional, integral and derivative gains.
    pub gains: [f64; 3],
    /// Least factor of the next step with which this one is accepted.
    pub accept: f64,
    /// r₁ and r₂.
    pub stages: [f64; 2],
}

impl Default for DpmAdaptive {
    fn default() -> Self {
        Self { rtol: 0.05, atol: 0.0078, first_step: 0.05, gains: [0.0, 1.0, 0.0], accept: 0.81, stages: [1.0 / 3.0, 2.0 / 3.0] }
    }
}

/// Where a run is, and what it cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdaptiveRun {
    /// The state y.
    pub state: Vec<f64>,
    /// Steps accepted.
    pub accepted: usize,
    /// Steps tried again.
    pub rejected: usize,
    /// Evaluations.
    pub nfe: usize,
    /// −log q of the state, and the step to try next.
    place: [f64; 2],
    /// The state of the last accepted step by the lower order.
    low: Vec<f64>,
    /// 1/error of the last two accepted steps.
    history: Option<[f64; 2]>,
}

impl AdaptiveRun {
    /// Steps accepted and rejected.
    pub fn tries(&self) -> Tries {
        Tries { accepted: self.accepted, rejected: self.rejected }
    }

    /// Keeps the run.
    pub fn keep(&self, part: &mut Part<'_>) {
        part.keep_record("accepted, rejected and nfe", &(self.accepted, self.rejected, self.nfe));
        part.keep_array("state", self.state.clone());
        part.keep_array("low", self.low.clone());
        part.keep_array("place", self.place.to_vec());
        part.keep_array("inverse errors", self.history.into_iter().flatten().collect());
    }

    /// Whether the run is at noise level `to`; if not once it has stopped, its step underflowed or an error was not finite.
    ///
    /// # Errors
    /// [`AdaptiveError`] that says which of the two, at the q reached.
    pub fn arrived_at(self, to: f64) -> Result<Self, AdaptiveError> {
        let [s, h] = self.place;
        let t = (-s).exp();
        match (s >= -to.ln() - MARGIN, h.is_nan()) {
            (true, _) => Ok(self),
            (false, true) => Err(AdaptiveError::NotFinite { t }),
            (false, false) => Err(AdaptiveError::StepTooSmall { t }),
        }
    }

    /// The run that was kept.
    pub fn kept(part: &Part<'_>) -> Option<Self> {
        let (accepted, rejected, nfe) = part.record("accepted, rejected and nfe")?;
        let array = |name: &str| part.array(name);
        let history = array("inverse errors")?.first_chunk().copied();
        let (state, low, place) = (array("state")?.to_vec(), array("low")?.to_vec(), *array("place")?.first_chunk()?);
        Some(Self { state, accepted, rejected, nfe, place, low, history })
    }
}

const ORDER: f64 = 3.0;
/// How near the end counts as there, in log q.
const MARGIN: f64 = 1e-5;
/// Keeps 1/error finite.
const ERROR_FLOOR: f64 = 1e-8;

impl DpmAdaptive {
    /// Moves y from noise level `from` down to `to` > 0; `noise` is ε̂(y, q). Stops on the way only when
    /// the controller's step underflows or an error is not finite, which [`AdaptiveRun::arrived_at`] tells.
    pub fn run(&self, noise: &mut dyn FnMut(f64, &[f64]) -> Vec<f64>, start: &[f64], from: f64, to: f64) -> AdaptiveRun {
        let mut run = self.begin(start, from);
        while self.step(noise, &mut run, to) {}
        run
    }

    /// A run from y = `start` at noise level `from`.
    pub fn begin(&self, start: &[f64], from: f64) -> AdaptiveRun {
        let place = [-from.ln(), self.first_step];
        AdaptiveRun { state: start.to_vec(), low: start.to_vec(), place, ..AdaptiveRun::default() }
    }

    /// Tries one step of `run` on its way to noise level `to`; false where there is none left to try.
    pub fn step(&self, noise: &mut dyn FnMut(f64, &[f64]) -> Vec<f64>, run: &mut AdaptiveRun, to: f64) -> bool {
        let ([s, h], end, [p, i, d]) = (run.place, -to.ln(), self.gains);
        if !(s < end - MARGIN && h > 0.0) {
            return false;
        }
        let powers = [(p + i + d) / ORDER, -(p + 2.0 * d) / ORDER, d / ORDER];
        let next = end.min(s + h);
        let (low, high) = self.attempt(noise, &run.state, s, next - s);
        run.nfe += 3;
        let scaled = low
            .iter()
            .zip(&high)
            .zip(&run.low)
            .map(|((l, h), before)| (l - h) / self.atol.max(self.rtol * l.abs().max(before.abs())));
        let error = (scaled.map(|e| e * e).sum::<f64>() / low.len() as f64).sqrt();
        let inverse = 1.0 / (error + ERROR_FLOOR);
        let [one, two] = run.history.unwrap_or([inverse; 2]);
        let product = inverse.powf(powers[0]) * f64::powf(one, powers[1]) * f64::powf(two, powers[2]);
        let factor = 1.0 + (product - 1.0).atan();
        if factor >= self.accept {
            (run.state, run.low, run.place[0], run.history) = (high, low, next, Some([inverse, one]));
            run.accepted += 1;
        } else {
            run.history = run.history.or(Some([inverse; 2]));
            run.rejected += 1;
        }
        run.place[1] = h * factor;
        true
    }

    /// The states of order 2 and 3 after a step `h` from `s`.
    fn attempt(&self, noise: &mut dyn FnMut(f64, &[f64]) -> Vec<f64>, y: &[f64], s: f64, h: f64) -> (Vec<f64>, Vec<f64>) {
        let [r1, r2] = self.stages;
        let q = |r: f64| (-(s + r * h)).exp();
        let e = noise(q(0.0), y);
        let step = |r: f64, slope: f64, other: &[f64]| -> Vec<f64> {
            let first = q(r) * (r * h).exp_m1();
            (0..y.len()).map(|i| y[i] - first * e[i] - slope * (other[i] - e[i])).collect()
        };
        let one = noise(q(r1), &step(r1, 0.0, &e));
        let low = step(1.0, q(1.0) / (2.0 * r1) * h.exp_m1(), &one);
        let two = noise(q(r2), &step(r2, q(r2) * r2 / r1 * ((r2 * h).exp_m1() / (r2 * h) - 1.0), &one));
        let high = step(1.0, q(1.0) / r2 * (h.exp_m1() / h - 1.0), &two);
        (low, high)
    }
}
