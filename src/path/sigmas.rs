//! Grids by their noise level q = σ/α: how the levels fall, and the grid that has them.

use std::f64::consts::PI;

use crate::path::{Grid, GridError, Level};

/// How x is scaled on a grid of noise levels q; all three have the same trajectories in x/α.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// α = 1, σ = q: the state is x/α, as in EDM.
    Exploding,
    /// α = 1/√(1 + q²), σ = q α.
    Preserving,
    /// α = 1 − q, σ = q, q ∈ [0, 1] (here q is σ itself): the straight path.
    Straight,
}

impl Grid {
    /// The grid of falling noise levels `q` in the given form, the last may be zero. Its clock t = 1 − q/q₀ is linear in q, so a
    /// method in t is one in σ.
    ///
    /// # Errors
    /// [`GridError`] for fewer than two levels, or levels that do not fall strictly.
    pub fn of_sigmas(q: &[f64], form: Form) -> Result<Self, GridError> {
        let first = q.first().copied().ok_or(GridError::NoSteps)?;
        let level = |&q: &f64| {
            let t = 1.0 - q / first;
            match form {
                Form::Exploding => Level { t, alpha: 1.0, sigma: q, alpha_dot: 0.0, sigma_dot: -first },
                Form::Preserving => {
                    let alpha = 1.0 / q.hypot(1.0);
                    let cube = first * alpha.powi(3);
                    Level { t, alpha, sigma: q * alpha, alpha_dot: q * cube, sigma_dot: -cube }
                }
                Form::Straight => Level { t, alpha: 1.0 - q, sigma: q, alpha_dot: first, sigma_dot: -first },
            }
        };
        Self::from_levels(q.iter().map(level).collect())
    }

    /// The straight path at the `n` levels of [`shifted`], and the data. α = (1 − σ)/((1 − σ) + F σ) is not a difference of the
    /// shifted σ from 1, so large factors F keep their levels apart.
    ///
    /// # Errors
    /// [`GridError`] for no levels, or a factor so small that the levels are one in double precision.
    pub fn shifted(n: usize, entries: usize, factor: f64, twice: bool) -> Result<Self, GridError> {
        let of_path = |alpha: f64, sigma: f64| Level { t: alpha, alpha, sigma, alpha_dot: 1.0, sigma_dot: -1.0 };
        let level = |s: f64| of_path((1.0 - s) / shifted_sum(s, factor), shift(s, factor));
        let data = (n > 0).then(|| of_path(1.0, 0.0));
        Self::from_levels(unshifted(n, entries, factor, twice).map(level).chain(data).collect())
    }
}

/// `n` levels from `max` to `min` with equal steps of q^{1/ρ} (Karras et al. 2022, eq. 5); ρ = 7 is usual.
pub fn karras(max: f64, min: f64, n: usize, rho: f64) -> Vec<f64> {
    let (first, last) = (max.powf(1.0 / rho), min.powf(1.0 / rho));
    fractions(n).map(|s| (first + s * (last - first)).powf(rho)).collect()
}

/// `n` levels log-linear in s^ρ for s from 1 to 0: q = min (max/min)^{s^ρ}. ρ = 1 is the exponential grid, uniform in log q.
pub fn polyexponential(max: f64, min: f64, n: usize, rho: f64) -> Vec<f64> {
    fractions(n).map(|s| min * (max / min).powf((1.0 - s).powf(rho))).collect()
}

/// `n` levels of the continuous variance-preserving SDE at t uniform from 1 to `eps`: q = √(exp(½β_d t² + β_min t) − 1)
/// (Karras et al. 2022, table 1).
pub fn vp(beta_d: f64, beta_min: f64, eps: f64, n: usize) -> Vec<f64> {
    let q = |t: f64| (0.5 * beta_d * t * t + beta_min * t).exp_m1().sqrt();
    fractions(n).map(|s| q(1.0 + s * (eps - 1.0))).collect()
}

/// `n` levels at the quantiles of a Beta(a, b) law, q = min + (max − min) F⁻¹(1 − s); a = b = 0.6 is usual
/// (Lee et al. 2024, arXiv 2407.12173).
pub fn beta(max: f64, min: f64, n: usize, a: f64, b: f64) -> Vec<f64> {
    fractions(n).map(|s| min + (max - min) * beta_quantile(1.0 - s, a, b)).collect()
}

/// `n` levels of a flow from 1 to 1/`entries`, shifted by `factor`; 0, the data, comes after them. With `twice` the last of them
/// is shifted before the grid is made and again with it, as in diffusers (`compat double_shift`).
pub fn shifted(n: usize, entries: usize, factor: f64, twice: bool) -> Vec<f64> {
    unshifted(n, entries, factor, twice).map(|sigma| shift(sigma, factor)).collect()
}

/// The levels of [`shifted`] before their shift.
fn unshifted(n: usize, entries: usize, factor: f64, twice: bool) -> impl Iterator<Item = f64> {
    let last = 1.0 / entries as f64;
    let last = if twice { shift(last, factor) } else { last };
    fractions(n).map(move |s| 1.0 + s * (last - 1.0))
}

/// The shift of a flow's noise level σ by `factor` > 0: σ ↦ factor σ/(1 + (factor − 1) σ) (Esser et al. 2024, eq. 23).
pub fn shift(sigma: f64, factor: f64) -> f64 {
    factor * sigma / shifted_sum(sigma, factor)
}

/// The denominator (1 − σ) + factor σ of a shift: 1 − σ is exact near σ = 1, so the shifted level is never above 1, and 1 at 1.
fn shifted_sum(sigma: f64, factor: f64) -> f64 {
    (1.0 - sigma) + factor * sigma
}

/// `sigmas` stretched so that the last is `terminal`: 1 − (1 − σ)(1 − terminal)/(1 − σ_last).
pub fn stretch(sigmas: &mut [f64], terminal: f64) {
    let Some(&last) = sigmas.last() else { return };
    let scale = (1.0 - terminal) / (1.0 - last);
    sigmas.iter_mut().for_each(|sigma| *sigma = 1.0 - (1.0 - *sigma) * scale);
}

/// The levels of iDDPM's cosine schedule with `m` entries, within [min, max], `n` of them evenly spread by rank
/// (Karras et al. 2022, table 1): u_M = 0, u_{j−1} = √((u_j² + 1)/max(ᾱ_{j−1}/ᾱ_j, C₁) − 1), ᾱ_j = sin²(½πj/(M(C₂ + 1))).
/// `single` has the ratios of ᾱ in single precision (`compat iddpm_grid_float32`).
pub fn iddpm(max: f64, min: f64, n: usize, m: usize, [c1, c2]: [f64; 2], single: bool) -> Vec<f64> {
    let alpha_bar = |j: usize| (0.5 * PI * j as f64 / m as f64 / (c2 + 1.0)).sin().powi(2);
    let rounded = |j: usize| ((0.5 * PI) as f32 * j as f32 / m as f32 / (c2 + 1.0) as f32).sin().powi(2);
    let ratio = |j: usize| match single {
        true => f64::from((rounded(j - 1) / rounded(j)).max(c1 as f32)),
        false => (alpha_bar(j - 1) / alpha_bar(j)).max(c1),
    };
    let mut u = vec![0.0; m + 1];
    for j in (1..=m).rev() {
        u[j - 1] = ((u[j] * u[j] + 1.0) / ratio(j) - 1.0).sqrt();
    }
    u.retain(|u| (min..=max).contains(u));
    let last = u.len().saturating_sub(1) as f64;
    fractions(n).filter_map(|s| u.get((last * s).round_ties_even() as usize).copied()).collect()
}

/// i/(n − 1) for i in 0..n.
fn fractions(n: usize) -> impl Iterator<Item = f64> {
    (0..n).map(move |i| i as f64 / n.saturating_sub(1).max(1) as f64)
}

/// x with F(x) = `p` for the Beta(a, b) law, by bisection.
fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    // On [0, ½] the density is integrated term by term; the other half is its mirror image, so each end keeps its precision.
    let below_half = |x: f64, a: f64, b: f64| {
        let (mut term, mut sum) = (1.0, 0.0);
        for k in 0..200 {
            let k = f64::from(k);
            sum += term / (a + k);
            term *= (k + 1.0 - b) / (k + 1.0) * x;
        }
        x.powf(a) * sum
    };
    let (left, right) = (below_half(0.5, a, b), below_half(0.5, b, a));
    let mass = p * (left + right);
    let solve = |mass: f64, a: f64, b: f64| {
        let (mut low, mut high) = (0.0, 0.5);
        for _ in 0..100 {
            let x: f64 = 0.5 * (low + high);
            if below_half(x, a, b) < mass { low = x } else { high = x }
        }
        0.5 * (low + high)
    };
    match p {
        0.0 => 0.0,
        1.0 => 1.0,
        _ if mass <= left => solve(mass, a, b),
        _ => 1.0 - solve((1.0 - p) * (left + right), b, a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arcsine_law_has_its_closed_quantiles() {
        // F⁻¹(p) = sin²(½πp) for Beta(½, ½).
        for p in [0.0, 1e-6, 0.2, 0.5, 0.77, 0.999, 1.0] {
            let exact = (0.5 * std::f64::consts::PI * p).sin().powi(2);
            assert!((beta_quantile(p, 0.5, 0.5) - exact).abs() < 1e-14, "{p}");
        }
    }

    #[test]
    fn stretching_and_shifting_keep_the_noisy_end() {
        let mut sigmas = vec![1.0, 0.6, 0.2];
        stretch(&mut sigmas, 0.1);
        assert_eq!((sigmas[0], (sigmas[2] - 0.1).abs() < 1e-15), (1.0, true));
        assert_eq!((shift(1.0, 3.0), shift(0.0, 3.0)), (1.0, 0.0));
    }

    /// σ′ = Fσ/(1 + (F − 1)σ) keeps 0 and 1, rises in between, and is undone by 1/F.
    #[test]
    fn every_factor_shifts_a_flow() {
        for factor in (1..100).map(|i| 0.01 * f64::from(i)).chain([1e-9, 1.0, 3.0, 1e3, 1e12, 1e30]) {
            let grid = Grid::shifted(50, 1000, factor, false).unwrap();
            assert_eq!((grid.levels().len(), grid.start().sigma, grid.start().alpha), (51, 1.0, 0.0), "{factor}");
            for (level, sigma) in grid.levels().iter().zip(unshifted(50, 1000, factor, false)) {
                assert!(
                    (level.alpha + level.sigma - 1.0).abs() < 1e-15 && (0.0..=1.0).contains(&level.sigma),
                    "{factor}: {level:?}"
                );
                let back = level.sigma / (level.sigma + factor * level.alpha);
                assert!((back - sigma).abs() < 1e-12, "{factor}: {back} for {sigma}");
            }
        }
    }

    #[test]
    fn the_three_forms_have_one_noise_level() {
        let q = [2.0, 0.5, 0.0];
        let (a, b) = (Grid::of_sigmas(&q, Form::Exploding).unwrap(), Grid::of_sigmas(&q, Form::Preserving).unwrap());
        assert!(a.levels().iter().zip(b.levels()).all(|(a, b)| (a.ratio() - b.ratio()).abs() < 1e-15));
        assert!(Grid::of_sigmas(&[0.5, 0.5], Form::Exploding).is_err());
    }
}
