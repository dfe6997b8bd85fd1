//! Annealed Langevin dynamics of NCSN (Song, Ermon 2019, algorithm 1): a few Langevin steps at each of falling noise levels.
//!
//! At level σ, `updates` times, with the score ∇log p = −ε̂/σ:
//!
//! ```text
//! x ← x + ½ a ∇log p(x) + √a z = α x̂₀ + (σ − ½ a/σ) ε̂ + √a z        a = e₀ σ²/σ_L²
//! ```
//!
//! with σ_L the smallest positive level. This is NCSN's convention; NCSNv2 (Song, Ermon 2020, algorithm 1) has the drift
//! a ∇log p and the noise √(2a) z, so its a is half of this one. When the grid ends in the data, the last step is x ← x̂₀
//! (Jolicoeur-Martineau et al. 2021), as in NCSNv2; a grid that stops at σ_L leaves it out.
//!
//! Stochastic, one evaluation an update, also at the first level. Biased at each level: the variance settles at
//! (s² + σ²)/(1 − ¼ a/(s² + σ²)) for data N(0, s²), and only where it has time to.

use crate::path::{Grid, GridError, Level};
use crate::sampler::Method;
use crate::sampler::program::{Program, Step};

/// Annealed Langevin dynamics over all levels of a grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnnealedLangevin {
    /// Updates T at each level.
    pub updates: usize,
    /// e₀: the step a at the smallest positive level. `None`: the one that technique 4 of Song, Ermon 2020
    /// chooses for the ratio of the grid's last two noise levels.
    pub step: Option<f64>,
    /// Half of the step (`compat half_step_langevin`): NCSNv2's a in NCSN's formula.
    pub half_step: bool,
}

/// The noise at which [`AnnealedLangevin::of_length`] stops.
const SIGMA_MIN: f64 = 0.01;

impl AnnealedLangevin {
    /// `n` updates in all from `sigma_max`: two at each of n/2 levels (one at each of n when n is odd), geometric down to 0.01,
    /// then the data. More updates a level leave too few levels at the few steps that this is for.
    ///
    /// `sigma_max` should be the largest distance between two data points, so that the first level joins them all (Song, Ermon
    /// 2020, technique 1).
    ///
    /// # Errors
    /// [`GridError`] when `n` is 0 or `sigma_max` is not above 0.01.
    pub fn of_length(n: usize, sigma_max: f64) -> Result<(Self, Grid), GridError> {
        let updates = 2 - n % 2;
        Ok((Self { updates, step: None, half_step: false }, Grid::ladder(sigma_max, SIGMA_MIN, n / updates)?))
    }
}

impl Method for AnnealedLangevin {
    fn program(&self, grid: &Grid) -> Program {
        let noisy: Vec<Level> = grid.levels().iter().copied().filter(|level| level.sigma > 0.0).collect();
        let Some(&last) = noisy.last() else { return Program::default() };
        let step = self.step.unwrap_or_else(|| {
            let before = noisy.iter().rev().nth(1).map_or(f64::INFINITY, Level::ratio);
            balanced_step(before / last.ratio(), self.updates) * last.sigma.powi(2)
        });
        let updates = noisy.iter().flat_map(|&level| {
            let a = if self.half_step { 0.5 } else { 1.0 } * step * (level.sigma / last.sigma).powi(2);
            let update = Step::evaluate(level, level.alpha, level.sigma - 0.5 * a / level.sigma).add_noise(a.sqrt());
            std::iter::repeat_n(update, self.updates)
        });
        let denoise = (noisy.len() < grid.levels().len()).then(|| Step::evaluate(last, 1.0, 0.0));
        updates.chain(denoise).collect()
    }

    fn order(&self) -> Option<u32> {
        None
    }
}

/// a/σ² that leaves the variance after T = `updates` steps nearest to the level's own, when the level before was γ = `ratio`
/// times as noisy (Song, Ermon 2020, technique 4, with h = ½ a/σ² for its ε/σ_L²).
///
/// In units of σ² that variance is (1 − h)^{2T} (γ² − s) + s with s = 1/(1 − h/2): always above 1, so the best h in (0, 1) is
/// where its derivative, which rises, is zero. γ = ∞ stands for a single level, which is to be forgotten whole: h = 1.
fn balanced_step(ratio: f64, updates: usize) -> f64 {
    let (power, mut low, mut high) = (2.0 * updates as f64, 0.0, 1.0);
    for _ in 0..60 {
        let h: f64 = 0.5 * (low + high);
        let settled = 1.0 / (1.0 - 0.5 * h);
        let left = (1.0 - h).powf(power);
        let slope = 0.5 * settled * settled * (1.0 - left) - power * left / (1.0 - h) * (ratio * ratio - settled);
        if slope < 0.0 { low = h } else { high = h }
    }
    low + high
}
