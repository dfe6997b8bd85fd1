//! Schedules, grids and conversions: derivatives, inverses and limits.

use approx::{assert_abs_diff_eq, assert_relative_eq};
use brenier::path::{Grid, GridError, Prediction, SCHEDULES, Schedule, ScheduleError, Spacing, convert};

fn all() -> impl Iterator<Item = (&'static str, Schedule)> {
    SCHEDULES.iter().map(|name| (*name, Schedule::named(name).unwrap()))
}

/// Times inside the path, none of them an entry of a table, where the derivative jumps.
fn times() -> impl Iterator<Item = f64> {
    (0..200).map(|i| (f64::from(i) + 0.4865) / 200.0)
}

/// Central differences of step 1e-6 are good to about 1e-9 of the derivative's size.
#[test]
fn derivatives_are_those_of_alpha_and_sigma() {
    for (name, schedule) in all() {
        for t in times() {
            let (here, before, after) = (schedule.level(t), schedule.level(t - 1e-6), schedule.level(t + 1e-6));
            let slope = |f: fn(&brenier::path::Level) -> f64| (f(&after) - f(&before)) / 2e-6;
            assert_relative_eq!(here.alpha_dot, slope(|l| l.alpha), max_relative = 1e-6, epsilon = 1e-8);
            assert_relative_eq!(here.sigma_dot, slope(|l| l.sigma), max_relative = 1e-6, epsilon = 1e-8);
            assert!(here.alpha_dot >= 0.0 && here.sigma_dot < 0.0, "{name} at {t}");
        }
    }
}

/// Relative to 1, a time is known to the rounding of σ/α times the slope of the inverse, below 1e-12 everywhere.
#[test]
fn the_ratio_of_a_level_gives_back_its_time() {
    for (name, schedule) in all() {
        for t in times().chain([0.0, 1e-3, 0.999, 1.0]) {
            let back = schedule.time(schedule.level(t).ratio()).unwrap_or_else(|e| panic!("{name} at {t}: {e}"));
            assert_abs_diff_eq!(back, t, epsilon = 1e-12);
        }
    }
}

#[test]
fn variance_preserving_schedules_have_alpha_squared_plus_sigma_squared_one() {
    for name in ["linear-vp", "cosine", "trigonometric", "ddpm", "ddpm-cosine", "scaled-linear"] {
        let schedule = Schedule::named(name).unwrap();
        for t in times() {
            let level = schedule.level(t);
            assert_abs_diff_eq!(level.alpha.powi(2) + level.sigma.powi(2), 1.0, epsilon = 1e-14);
        }
    }
}

/// What the last step of every sampler relies on.
#[test]
fn every_schedule_but_ve_ends_exactly_in_the_data() {
    for (name, schedule) in all().filter(|(name, _)| *name != "ve") {
        let end = schedule.level(1.0);
        assert_eq!((end.alpha, end.sigma), (1.0, 0.0), "{name}");
    }
    let ve = Schedule::ve(0.02, 7.0).unwrap();
    assert_eq!((ve.level(0.0).sigma, ve.level(1.0).sigma), (7.0, 0.02));
}

/// ∫β over the whole path of β ∈ [0.1, 20] is 10.05.
#[test]
fn linear_vp_starts_at_the_integral_of_its_rate() {
    assert_relative_eq!(Schedule::named("linear-vp").unwrap().level(0.0).alpha, (-10.05_f64 / 2.0).exp(), max_relative = 1e-15);
}

/// ᾱ of DDPM's table at its first, middle and last entries, as the product of 1 − β.
#[test]
fn a_table_has_its_entries_at_one_minus_i_plus_one_over_t() {
    let betas: Vec<f64> = (0..1000).map(|i| 1e-4 + (0.02 - 1e-4) * f64::from(i) / 999.0).collect();
    let schedule = Schedule::table(&betas).unwrap();
    assert_eq!(schedule, Schedule::ddpm());
    let mut product = 1.0;
    for (i, beta) in betas.iter().enumerate() {
        product *= 1.0 - beta;
        let level = schedule.level(1.0 - (i + 1) as f64 / 1000.0);
        assert_relative_eq!(level.alpha.powi(2), product, max_relative = 1e-11);
    }
    assert_relative_eq!(product, 4.035829765375564e-5, max_relative = 1e-9);
}

#[test]
fn parameters_outside_their_domain_are_refused_by_name() {
    for (made, name) in [
        (Schedule::linear_vp(0.0, 20.0), "beta_min"),
        (Schedule::linear_vp(f64::NAN, 20.0), "beta_min"),
        (Schedule::linear_vp(1.0, 0.5), "beta_max"),
        (Schedule::ve(0.0, 1.0), "sigma_min"),
        (Schedule::ve(1.0, 1.0), "sigma_max"),
        (Schedule::ve(1.0, f64::INFINITY), "sigma_max"),
    ] {
        assert!(matches!(made, Err(ScheduleError::Domain { name: found, .. }) if found == name), "{name}");
    }
    assert_eq!(Schedule::table(&[]), Err(ScheduleError::EmptyTable));
    assert_eq!(Schedule::table(&[0.1, 1.0]), Err(ScheduleError::Beta { index: 1, value: 1.0 }));
    let unknown = Schedule::named("lineer-vp").unwrap_err().to_string();
    assert!(unknown.contains("did you mean \"linear-vp\"?") && unknown.contains("trigonometric"), "{unknown}");
    assert!(matches!(Schedule::named("ve").unwrap().time(60.0), Err(ScheduleError::Ratio { .. })));
}

fn timesteps(schedule: &Schedule, steps: usize, spacing: Spacing) -> Vec<i32> {
    let grid = Grid::spaced(schedule, steps, spacing).unwrap();
    assert_eq!(grid.levels()[steps].sigma, 0.0);
    grid.levels()[..steps].iter().map(|level| ((1.0 - level.t) * 1000.0).round() as i32 - 1).collect()
}

/// The entries that each spacing takes from a table of 1000, seven steps (samplers' literature: Lin et al. 2024, table 2).
#[test]
fn table_grids_take_the_entries_of_their_spacing() {
    let ddpm = Schedule::ddpm();
    assert_eq!(timesteps(&ddpm, 7, Spacing::Trailing), [999, 856, 713, 570, 428, 285, 142]);
    assert_eq!(timesteps(&ddpm, 7, Spacing::Leading), [852, 710, 568, 426, 284, 142, 0]);
    assert_eq!(timesteps(&ddpm, 7, Spacing::Linspace), [999, 832, 666, 500, 333, 166, 0]);
    assert_eq!(timesteps(&ddpm, 1, Spacing::Linspace), [0]);
    for n in 1..=1000 {
        for spacing in [Spacing::Trailing, Spacing::Leading, Spacing::Linspace] {
            assert_eq!(timesteps(&ddpm, n, spacing).len(), n);
        }
    }
    assert_eq!(Grid::spaced(&ddpm, 1001, Spacing::Trailing), Err(GridError::TooManySteps { steps: 1001, table: 1000 }));
    assert_eq!(Grid::spaced(&Schedule::CondOt, 5, Spacing::Leading), Err(GridError::NeedsTable(Spacing::Leading)));
    assert_eq!(Grid::spaced(&Schedule::CondOt, 0, Spacing::Trailing), Err(GridError::NoSteps));
}

#[test]
fn karras_and_geometric_grids_space_the_ratio() {
    for name in ["linear-vp", "ve", "ddpm", "ddpm-cosine"] {
        let schedule = Schedule::named(name).unwrap();
        for (spacing, power) in [(Spacing::Karras, 1.0 / 7.0), (Spacing::Geometric, 1e-9)] {
            let grid = Grid::spaced(&schedule, 12, spacing).unwrap();
            assert_eq!(grid.levels().len(), 13, "{name}");
            let noisy: Vec<f64> = grid.levels()[..12].iter().map(|level| level.ratio().powf(power)).collect();
            let step = noisy[1] - noisy[0];
            assert!(step < 0.0);
            noisy.windows(2).for_each(|pair| assert_relative_eq!(pair[1] - pair[0], step, max_relative = 1e-5));
        }
    }
    assert_eq!(Grid::spaced(&Schedule::Cosine, 5, Spacing::Karras), Err(GridError::PureNoise(Spacing::Karras)));
}

/// Equal steps of 1/(1 + √(σ/α)), from pure noise where the schedule has it, to the data where it ends in them; in so many steps that
/// double precision would not tell the last levels apart, down to 1e-6 and then the data.
#[test]
fn balanced_grids_reach_pure_noise_and_the_data() {
    for (name, schedule) in all() {
        for steps in [1, 2, 3, 7, 50, 20_000] {
            let grid = Grid::spaced(&schedule, steps, Spacing::Balanced).unwrap();
            assert_eq!((grid.steps().len(), grid.start().t, grid.levels()[steps].t), (steps, 0.0, 1.0), "{name}");
            let of_table = matches!(schedule, Schedule::Table(_));
            let spaced = if of_table || steps == 20_000 && name != "ve" { steps } else { steps + 1 };
            let place: Vec<f64> = grid.levels()[..spaced].iter().map(|level| 1.0 / (1.0 + level.ratio().sqrt())).collect();
            let step = (place[spaced - 1] - place[0]) / (spaced - 1).max(1) as f64;
            for (i, place_of_level) in place.iter().enumerate() {
                // A table takes a time within 1e-9 of an entry for the entry.
                assert_abs_diff_eq!(*place_of_level, place[0] + i as f64 * step, epsilon = 1e-7);
            }
        }
    }
}

#[test]
fn the_ladder_of_ncsn_is_geometric_and_ends_in_the_data() {
    let ladder = Grid::ladder(1.0, 0.01, 10).unwrap();
    let sigmas: Vec<f64> = ladder.levels().iter().map(|level| level.sigma).collect();
    assert_eq!((sigmas[0], sigmas[9], sigmas[10]), (1.0, 0.01, 0.0));
    sigmas[..10].windows(2).for_each(|s| assert_relative_eq!(s[1] / s[0], 0.01_f64.powf(1.0 / 9.0), max_relative = 1e-14));
    assert_eq!(Grid::ladder(1.0, 0.01, 0), Err(GridError::NoSteps));
}

#[test]
fn levels_that_do_not_fall_are_not_a_grid() {
    let at = |t| Schedule::CondOt.level(t);
    let mut again = at(0.5);
    again.t = 0.6;
    assert!(matches!(Grid::from_levels(vec![at(0.0), at(0.5), again]), Err(GridError::NotFalling { index: 2, .. })));
    assert!(matches!(Grid::at(&Schedule::CondOt, &[0.5, 0.2]), Err(GridError::NotIncreasing { index: 1, .. })));
    assert_eq!(Grid::at(&Schedule::CondOt, &[0.5]), Err(GridError::NoSteps));
}

const KINDS: [Prediction; 5] = [Prediction::Denoised, Prediction::Noise, Prediction::V, Prediction::Score, Prediction::Velocity];

/// x, x̂₀ and ε̂ chosen, every prediction follows; away from the ends all conversions hold to rounding.
#[test]
fn every_prediction_is_recovered_from_every_other() {
    let (denoised, noise) = (0.7, -1.9);
    for (_, schedule) in all() {
        for t in [0.15, 0.5, 0.85] {
            let level = schedule.level(t);
            let x = level.alpha * denoised + level.sigma * noise;
            let value = |kind: Prediction| {
                let (p, q) = kind.coefficients(level);
                p * denoised + q * noise
            };
            for from in KINDS {
                for to in KINDS {
                    let (a, b) = convert(from, to, level).unwrap();
                    assert_relative_eq!(a * x + b * value(from), value(to), max_relative = 1e-11, epsilon = 1e-12);
                    let (back_a, back_b) = convert(to, from, level).unwrap();
                    assert_relative_eq!(back_a + back_b * a, 0.0, epsilon = 1e-12 * (1.0 + (back_b * a).abs()));
                    assert_relative_eq!(back_b * b, 1.0, max_relative = 1e-12);
                }
            }
        }
    }
}

#[test]
fn conversions_at_the_ends_are_limits_or_refused() {
    use Prediction::{Denoised, Noise, Score, V, Velocity};
    let (noisy, data) = (Schedule::CondOt.level(0.0), Schedule::CondOt.level(1.0));
    assert_eq!(convert(Noise, Score, noisy), Ok((0.0, -1.0)));
    assert_eq!(convert(V, Denoised, noisy), Ok((0.0, -1.0)));
    assert_eq!(convert(Velocity, Denoised, noisy), Ok((1.0, 1.0))); // velocity = x̂₀ − ε̂, ε̂ = x
    assert_eq!(convert(Denoised, Noise, noisy), Ok((1.0, 0.0)));
    assert_eq!(convert(Velocity, Denoised, data), Ok((1.0, 0.0)));
    for (from, to, level) in
        [(Denoised, Noise, data), (Noise, Denoised, noisy), (Score, Denoised, noisy), (Denoised, Score, data)]
    {
        assert!(convert(from, to, level).is_err(), "{from:?} to {to:?}");
    }
    assert!(convert(Denoised, Velocity, Schedule::named("linear-vp").unwrap().level(1.0)).is_err());
}
