//! Discrete schedules: the β of tables, and which of their entries a run steps through.

use std::f64::consts::FRAC_PI_2;

use crate::path::{GridError, Level, Schedule, Spacing};

/// β_1…β_T linear from `first` to `last` (Ho et al. 2020, §4).
pub fn linear_betas(entries: usize, first: f64, last: f64) -> Vec<f64> {
    (0..entries).map(|i| first + (last - first) * i as f64 / (entries.max(2) - 1) as f64).collect()
}

/// β_1…β_T whose square roots are linear: Stable Diffusion's form.
pub fn scaled_linear_betas(entries: usize, first: f64, last: f64) -> Vec<f64> {
    linear_betas(entries, first.sqrt(), last.sqrt()).into_iter().map(|root| root * root).collect()
}

/// β_i = min(1 − ᾱ((i+1)/T)/ᾱ(i/T), `cap`) of the cosine schedule (Nichol, Dhariwal 2021, eq. 17); offset 0.008 and cap 0.999
/// are usual.
pub fn cosine_betas(entries: usize, offset: f64, cap: f64) -> Vec<f64> {
    let alpha_bar = |i: usize| (FRAC_PI_2 * (i as f64 / entries as f64 + offset) / (1.0 + offset)).cos().powi(2);
    (0..entries).map(|i| (1.0 - alpha_bar(i + 1) / alpha_bar(i)).min(cap)).collect()
}

/// Entries of a table of `size`, noisiest first, from 0: `steps` of the `points` that the spacing gives.
///
/// Leading: j ⌊size/points⌋ + `offset`; trailing: size − j size/points − 1; linspace: both ends of the table. `round` rounds
/// half to even as trailing does anyway, otherwise linspace entries may lie between two of the table.
///
/// # Errors
/// [`GridError`] for no steps, more points than entries, or a spacing that is not of entries.
pub fn entries(
    size: usize,
    spacing: Spacing,
    points: usize,
    steps: usize,
    offset: usize,
    round: bool,
) -> Result<Vec<f64>, GridError> {
    if steps == 0 || points < steps {
        return Err(GridError::NoSteps);
    }
    if points > size {
        return Err(GridError::TooManySteps { steps: points, table: size });
    }
    let (n, of_table) = (points as f64, size as f64);
    let rounded = |x: f64| if round { x.round_ties_even() } else { x };
    let entry = |j: usize| match spacing {
        Spacing::Leading => Ok(((points - 1 - j) * (size / points) + offset) as f64),
        Spacing::Linspace => Ok(rounded((points - 1 - j) as f64 * ((of_table - 1.0) / (n - 1.0).max(1.0)))),
        Spacing::Trailing => Ok((of_table - j as f64 * (of_table / n)).round_ties_even() - 1.0),
        _ => Err(GridError::NeedsTable(spacing)),
    };
    (0..steps).map(entry).collect()
}

impl Schedule {
    /// The table rescaled so that its last entry is pure noise, √ᾱ ↦ (√ᾱ − √ᾱ_T) √ᾱ_1/(√ᾱ_1 − √ᾱ_T) (Lin et al. 2024,
    /// algorithm 1); a continuous schedule as it is.
    pub fn with_zero_terminal_snr(self) -> Self {
        let Self::Table(table) = self else { return self };
        let roots: Vec<f64> = (0..table.entries()).map(|i| table.alpha_bar(i).sqrt()).collect();
        let (first, last) = (roots[0], roots[roots.len() - 1]);
        let rescaled = roots.iter().map(|root| ((root - last) * first / (first - last)).powi(2));
        Self::of_alpha_bars(rescaled)
    }

    /// The level of entry `i` of a table of `size` entries, from 0 at its cleanest; entry −1 is the data.
    pub fn entry(&self, i: f64, size: usize) -> Level {
        self.level((1.0 - (i + 1.0) / size as f64).clamp(0.0, 1.0))
    }

    /// σ/α at the fractional `entry` of a table, linear in σ/α between its neighbours, as the σ tables of the literature have it.
    pub fn interpolated_ratio(&self, entry: f64, size: usize) -> f64 {
        let below = entry.floor();
        let (low, high) = (self.entry(below, size).ratio(), self.entry((below + 1.0).min(size as f64 - 1.0), size).ratio());
        if entry == below { low } else { low + (entry - below) * (high - low) }
    }
}

/// Steps of the published code of DDIM, `compat ddim_prev_step`: from each entry to the one ⌊size/steps⌋ below, which is not the
/// next entry on linspace grids and on trailing grids whose step does not divide the table. Below entry 0 is the data when
/// `to_data`, else entry 0.
pub fn strided_steps(table: &Schedule, size: usize, entries: &[f64], to_data: bool) -> Vec<(Level, Level)> {
    let stride = (size / entries.len()) as f64;
    let before = |entry: f64| match entry - stride {
        to if to >= 0.0 => table.entry(to, size),
        _ => table.entry(if to_data { -1.0 } else { 0.0 }, size),
    };
    entries.iter().map(|&entry| (table.entry(entry, size), before(entry))).collect()
}
