//! The forward diffusion of a schedule, and the schedule of a forward diffusion.
//!
//! In the time s = 1 − t of the diffusion, 0 at the data, z = α data + σ noise has the law of
//!
//! ```text
//! dz = f z ds + g dw        f = d log α/ds        g² = 2ασ d(σ/α)/ds = dσ²/ds − 2fσ²
//! α = exp ∫₀ˢ f             σ² = α² ∫₀ˢ (g/α)²
//! ```
//!
//! (Lu et al. 2022, "DPM-Solver", §2.1; the second line with the factor α², without which f = −½, g = 1 would give σ² = eˢ − 1.) Run
//! backwards with noise put back, dz = [f z − ½(1 + η²)g²∇log p] ds + η g dw is the SDE of a stochastic interpolant with the noise
//! ε = η g: (f, g, η) and (α, σ, ε) say the same (Gao et al. 2024, "Diffusion models and Gaussian flow matching", §"SDE").

use crate::path::{Level, Schedule, ScheduleError};

/// Steps of the integration over s ∈ [0, 1], of order 4.
const STEPS: usize = 4096;
/// The step of numerical derivatives of order 4.
const DIFFERENCE: f64 = 1e-3;

/// The forward diffusion dz = f z ds + g dw at one time, per unit of s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forward {
    /// f; −∞ where α = 0.
    pub drift: f64,
    /// g ≥ 0; ∞ where α = 0.
    pub noise: f64,
}

impl Schedule {
    /// The forward diffusion of this schedule at t = 1 − s.
    ///
    /// ```
    /// use brenier::path::Schedule;
    ///
    /// let forward = Schedule::linear_vp(0.1, 20.0)?.forward(1.0); // dz = −½βz ds + √β dw with β = 0.1 at the data
    /// assert!((forward.drift + 0.05).abs() < 1e-15 && (forward.noise - 0.1_f64.sqrt()).abs() < 1e-15);
    /// # Ok::<(), brenier::Error>(())
    /// ```
    pub fn forward(&self, t: f64) -> Forward {
        let Level { alpha, sigma, alpha_dot, sigma_dot, .. } = self.level(t);
        let drift = 0.0 - alpha_dot / alpha; // not −0 where α is constant
        // σ̇ is infinite only where a schedule with α² + σ² = 1 meets the data, and there g² = −2f.
        let rate = if sigma_dot.is_finite() { -2.0 * sigma * (sigma * drift + sigma_dot) } else { -2.0 * drift };
        Forward { drift, noise: rate.max(0.0).sqrt() }
    }
}

/// The forward diffusion of `levels`, t ↦ (α, σ), at t, by differences over 1e-3 that stay in [0, 1]; their error is of order 1e-12
/// times the fifth derivatives, beside rounding of 1e-13.
///
/// # Errors
/// Those of `levels`.
pub fn forward_of_levels<E>(levels: impl Fn(f64) -> Result<(f64, f64), E>, t: f64) -> Result<Forward, E> {
    // Weights of d/dt times 12 h, at these multiples of h from t.
    const FROM_AN_END: [(f64, f64); 5] = [(0.0, -25.0), (1.0, 48.0), (2.0, -36.0), (3.0, 16.0), (4.0, -3.0)];
    const INSIDE: [(f64, f64); 5] = [(-2.0, 1.0), (-1.0, -8.0), (0.0, 0.0), (1.0, 8.0), (2.0, -1.0)];
    let (sign, stencil) = match t {
        t if t < 2.0 * DIFFERENCE => (1.0, FROM_AN_END),
        t if t > 1.0 - 2.0 * DIFFERENCE => (-1.0, FROM_AN_END),
        _ => (1.0, INSIDE),
    };
    let (mut alpha_dot, mut square_dot) = (0.0, 0.0);
    for (offset, weight) in stencil {
        let (alpha, sigma) = levels(t + sign * offset * DIFFERENCE)?;
        alpha_dot += sign * weight * alpha / (12.0 * DIFFERENCE);
        square_dot += sign * weight * sigma * sigma / (12.0 * DIFFERENCE);
    }
    let (alpha, sigma) = levels(t)?;
    let drift = 0.0 - alpha_dot / alpha;
    Ok(Forward { drift, noise: (-square_dot - 2.0 * drift * sigma * sigma).max(0.0).sqrt() })
}

/// (α, σ) of the diffusion `forward`, s ↦ (f, g), at rising `times` t = 1 − s, from (1, 0) at s = 0.
///
/// # Errors
/// Those of `forward`, and [`ScheduleError::Diffusion`] where f or g is not finite.
pub fn levels_of_forward<E: From<ScheduleError>>(
    forward: impl Fn(f64) -> Result<Forward, E>,
    times: &[f64],
) -> Result<Vec<(f64, f64)>, E> {
    let at = |s: f64| -> Result<(f64, f64), E> {
        let Forward { drift, noise } = forward(s)?;
        for (name, value) in [("f", drift), ("g", noise)] {
            if !value.is_finite() {
                return Err(ScheduleError::Diffusion { name, s, value }.into());
            }
        }
        Ok((drift, noise * noise))
    };
    let (mut s, mut growth, mut square) = (0.0, 0.0, 0.0); // log α, σ²
    let mut levels = Vec::with_capacity(times.len());
    for &t in times.iter().rev() {
        let steps = ((1.0 - t - s) * STEPS as f64).ceil().max(1.0);
        let (begin, h) = (s, (1.0 - t - s) / steps);
        for i in 0..steps as usize {
            let from = begin + i as f64 * h;
            let ((f0, g0), (f1, g1), (f2, g2)) = (at(from)?, at(from + 0.5 * h)?, at(from + h)?);
            let (second_half, whole) = (h / 24.0 * (5.0 * f2 + 8.0 * f1 - f0), h / 6.0 * (f0 + 4.0 * f1 + f2));
            // Simpson's rule for the variance that each instant adds, as it is at the end of the step.
            square =
                (2.0 * whole).exp() * square + h / 6.0 * (g0 * (2.0 * whole).exp() + 4.0 * g1 * (2.0 * second_half).exp() + g2);
            growth += whole;
        }
        s = 1.0 - t;
        levels.push((growth.exp(), square.sqrt()));
    }
    levels.reverse();
    Ok(levels)
}
