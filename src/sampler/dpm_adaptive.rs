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

/// What a run cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdaptiveRun {
    /// The state y at the last level.
    pub state: Vec<f64>,
    /// Steps accepted.
    pub accepted: usize,
    /// Steps tried again.
    pub rejected: usize,
    /// Evaluations.
    pub nfe: usize,
}

const ORDER: f64 = 3.0;
/// How near the end counts as there, in log q.
const MARGIN: f64 = 1e-5;
/// Keeps 1/error finite.
const ERROR_FLOOR: f64 = 1e-8;

impl DpmAdaptive {
    /// Moves y from noise level `from` down to `to` > 0; `noise` is ε̂(y, q). Stops without a full descent only when the
    /// controller's step underflows, which shows in a state that is not finite.
    pub fn run(&self, noise: &mut dyn FnMut(f64, &[f64]) -> Vec<f64>, start: &[f64], from: f64, to: f64) -> AdaptiveRun {
        let (mut s, end) = (-from.ln(), -to.ln());
        let mut run = AdaptiveRun { state: start.to_vec(), ..AdaptiveRun::default() };
        let (mut h, mut low_before, mut history) = (self.first_step, start.to_vec(), None);
        let [p, i, d] = self.gains;
        let powers = [(p + i + d) / ORDER, -(p + 2.0 * d) / ORDER, d / ORDER];
        while s < end - MARGIN && h > 0.0 {
            let next = end.min(s + h);
            let (low, high) = self.attempt(noise, &run.state, s, next - s);
            run.nfe += 3;
            let scaled = low
                .iter()
                .zip(&high)
                .zip(&low_before)
                .map(|((l, h), before)| (l - h) / self.atol.max(self.rtol * l.abs().max(before.abs())));
            let error = (scaled.map(|e| e * e).sum::<f64>() / low.len() as f64).sqrt();
            let inverse = 1.0 / (error + ERROR_FLOOR);
            let [one, two] = history.unwrap_or([inverse; 2]);
            let product = inverse.powf(powers[0]) * f64::powf(one, powers[1]) * f64::powf(two, powers[2]);
            let factor = 1.0 + (product - 1.0).atan();
            if factor >= self.accept {
                (run.state, low_before, s, history) = (high, low, next, Some([inverse, one]));
                run.accepted += 1;
            } else {
                history = history.or(Some([inverse; 2]));
                run.rejected += 1;
            }
            h *= factor;
            if h.is_nan() {
                break;
            }
        }
        run
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
