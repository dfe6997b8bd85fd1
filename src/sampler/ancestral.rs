//! What methods in the noise level q = σ/α share: an ancestral step's split, and a level between two.
//!
//! In y = x/α the probability-flow ODE is dy/dq = ε̂, whatever the schedule. A step from q to q′ < q may go deterministically to a
//! lower q↓ and put back noise: q↓² + u² = q′², u = η q′ √(1 − q′²/q²), the noise of [`Ddim`](crate::sampler::Ddim).

use crate::path::Level;
use crate::program::Step;
use crate::sampler::Ddim;

/// (q↓, u) of a step from noise level `q` to `to`; η ≤ 1 keeps u ≤ `to`.
pub(super) fn split(q: f64, to: f64, eta: f64) -> (f64, f64) {
    let up = (eta * to * (1.0 - (to / q).powi(2)).max(0.0).sqrt()).min(to);
    ((to * to - up * up).max(0.0).sqrt(), up)
}

/// The level with σ/α = `q` on the line through two others: on that schedule itself where α or α + σ is constant.
pub(super) fn between(from: Level, to: Level, q: f64) -> Level {
    let (rise, fall) = (to.alpha - from.alpha, to.sigma - from.sigma);
    let s = (from.sigma - q * from.alpha) / (q * rise - fall);
    let alpha = from.alpha + s * rise;
    Level { t: from.t + s * (to.t - from.t), alpha, sigma: q * alpha, alpha_dot: rise, sigma_dot: fall }
}

/// The step of order 1, which serves where q is infinite and where the step ends in the data.
pub(super) fn first_order(from: Level, to: Level, eta: f64) -> Step {
    Ddim { eta }.step(from, to)
}
