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
//! Stochastic, one evaluation an update, also at the first level. On data N(0, s²) the variance goes v ← (1 − c)² v + a with
//! c = ½a/(s² + σ²): each level is biased by its step, and the last ones, where c is small, do not mix. With h = ½ a/σ² and g = hK/E,
//! K updates over E = log(σ_max/σ_L), what is left of the levels before is, to first order in 1/g and for s above σ_L,
//!
//! ```text
//! v/s² − 1 = (1 + ½h)/(g − 1)
//! ```
//!
//! so a short step mixes too little and a long one is biased where the modes part, by h² in their weights. h = (E/K)^{1/3} holds
//! the two even: both fall like K^{−2/3}. Technique 4 of Song, Ermon 2020 chooses h for one level; as levels are added it shrinks like
//! 1/K, so that g, and with it the excess, stays.

use crate::path::{Grid, GridError, Level};
use crate::program::{Program, Step};
use crate::sampler::Method;

/// Annealed Langevin dynamics over all levels of a grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnnealedLangevin {
    /// Updates T at each level.
    pub updates: usize,
    /// e₀: the step a at the smallest positive level. `None`: 2hσ_L² with h = (E/K)^{1/3}, at most 1.
    pub step: Option<f64>,
}

/// The noise at which [`AnnealedLangevin::of_length`] stops.
pub(super) const SIGMA_MIN: f64 = 0.01;

impl AnnealedLangevin {
    /// `n` updates from `sigma_max`, one at each of `n` levels, geometric down to 0.01, then the data. More updates a level leave
    /// too few levels at the few steps that this is for.
    ///
    /// `sigma_max` should be the largest distance between two data points, so that the first level joins them all (Song, Ermon
    /// 2020, technique 1).
    ///
    /// # Errors
    /// [`GridError`] when `n` is 0 or `sigma_max` is not above 0.01.
    pub fn of_length(n: usize, sigma_max: f64) -> Result<(Self, Grid), GridError> {
        Ok((Self { updates: 1, step: None }, Grid::ladder(sigma_max, SIGMA_MIN, n)?))
    }

    /// The share by which the variance within modes wider than σ_L is left too large, (1 + ½h)/(g − 1); infinite where the updates
    /// are too few to mix, g ≤ 1.
    pub fn excess_variance(&self, grid: &Grid) -> f64 {
        let Some((last, spread)) = span(grid) else { return f64::INFINITY };
        let h = 0.5 * self.step_at(last, spread, grid) / last.sigma.powi(2);
        let mixing = h * self.count(grid) / spread;
        if mixing > 1.0 { (1.0 + 0.5 * h) / (mixing - 1.0) } else { f64::INFINITY }
    }

    /// The step a at the smallest positive level; none without noise.
    pub(super) fn last_step(&self, grid: &Grid) -> Option<f64> {
        let last = noisy(grid).last()?;
        Some(self.step_at(last, span(grid).map_or(0.0, |(_, spread)| spread), grid))
    }

    /// K.
    fn count(&self, grid: &Grid) -> f64 {
        (self.updates * noisy(grid).count()) as f64
    }

    /// The step a at the smallest positive level. A single level is to be forgotten whole: h = 1.
    fn step_at(&self, last: Level, spread: f64, grid: &Grid) -> f64 {
        let share = if spread == 0.0 { 1.0 } else { spread / self.count(grid) };
        self.step.unwrap_or_else(|| 2.0 * share.cbrt().min(1.0) * last.sigma.powi(2))
    }
}

/// The levels with noise.
fn noisy(grid: &Grid) -> impl Iterator<Item = Level> + '_ {
    grid.levels().iter().copied().filter(|level| level.sigma > 0.0)
}

/// The smallest positive level, and E = log of the largest finite σ/α over its own.
fn span(grid: &Grid) -> Option<(Level, f64)> {
    let last = noisy(grid).last()?;
    let first = noisy(grid).find(|level| level.alpha > 0.0)?;
    Some((last, (first.ratio() / last.ratio()).ln()))
}

impl Method for AnnealedLangevin {
    fn program(&self, grid: &Grid) -> Program {
        let Some((last, step)) = noisy(grid).last().zip(self.last_step(grid)) else { return Program::default() };
        let updates = noisy(grid).flat_map(|level| {
            let a = step * (level.sigma / last.sigma).powi(2);
            let update = Step::evaluate(level, level.alpha, level.sigma - 0.5 * a / level.sigma).add_noise(a.sqrt());
            std::iter::repeat_n(update, self.updates)
        });
        let denoise = (noisy(grid).count() < grid.levels().len()).then(|| Step::evaluate(last, 1.0, 0.0));
        updates.chain(denoise).collect()
    }

    fn order(&self) -> Option<u32> {
        None
    }

    fn advice(&self, grid: &Grid) -> Option<String> {
        let (updates, excess) = (self.count(grid), self.excess_variance(grid));
        let excess = match excess {
            excess if excess < 1.0 => format!("about {:.0} % too much variance", 100.0 * excess),
            _ => "more than twice the variance".into(),
        };
        let plural = if updates == 1.0 { "" } else { "s" };
        Some(format!("annealed-langevin in {updates} step{plural} leaves {excess} within modes; more steps leave less"))
    }
}
