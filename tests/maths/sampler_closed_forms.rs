//! Samplers against the laws that they must reproduce, and against each other.

#[allow(dead_code)] // every file of tests uses its own part
use std::f64::consts::PI;

use crate::reference::interpret;
use approx::{assert_abs_diff_eq, assert_relative_eq};
use brenier::measure::Mixture;
use brenier::measure::mixture::Covariance;
use brenier::path::{Grid, Level, Schedule, Spacing};
use brenier::program::{Op, Program};
use brenier::sampler::{
    AnnealedLangevin, Churn, ChurnAfterModel, Ddim, Ddpm, Diffusion, Edm, EnergyMatching, Euler, Heun, Kind, LastStep, METHODS,
    Method, StochasticInterpolant, Variance, named, names,
};

fn gaussian(variance: f64) -> Mixture {
    Mixture::new(vec![1.0], vec![vec![0.0]], vec![Covariance::Isotropic(variance)]).unwrap()
}

/// Three components on the line, of different widths.
fn three_modes() -> Mixture {
    let covariances = [0.3_f64, 0.5, 0.2].map(|s| Covariance::Isotropic(s * s)).to_vec();
    Mixture::new(vec![0.3, 0.5, 0.2], vec![vec![-2.0], vec![0.5], vec![3.0]], covariances).unwrap()
}

/// The last state from `x`, with no noise.
fn flow(mixture: &Mixture, program: &Program, x: &[f64]) -> Vec<f64> {
    interpret(program, x, |level, p, q, x| mixture.evaluate(level, p, q, x), |_, _| unreachable!("deterministic"))
}

/// The variance after `program` on data N(0, s²), from `variance` before: each step maps x to g x + c z.
fn variance_after(program: &Program, mixture: &Mixture, mut variance: f64) -> f64 {
    for step in &program.steps {
        let one = Program::from_iter([step.clone()]);
        let at = |x: f64, z: f64| interpret(&one, &[x], |level, p, q, x| mixture.evaluate(level, p, q, x), |_, _| vec![z])[0];
        variance = at(1.0, 0.0).powi(2) * variance + at(0.0, 1.0).powi(2);
    }
    variance
}

fn ddpm(variance: Variance, grid: &Grid, data: f64) -> f64 {
    let start = grid.start();
    variance_after(&Ddpm { variance }.program(grid), &gaussian(data), start.alpha.powi(2) * data + start.sigma.powi(2))
}

/// The grid of a DDPM table at the given entries, and the data.
fn table_at(entries: &[u16]) -> Grid {
    let times: Vec<f64> = entries.iter().map(|&i| 1.0 - (f64::from(i) + 1.0) / 1000.0).chain([1.0]).collect();
    Grid::at(&Schedule::ddpm(), &times).unwrap()
}

/// D1, D3. Rounding only, for the algebra is exact at any step.
#[test]
fn ddpm_with_the_exact_variance_reproduces_a_gaussian_in_a_thousand_steps_and_in_five() {
    let all = Grid::spaced(&Schedule::ddpm(), 1000, Spacing::Trailing).unwrap();
    for grid in [all, table_at(&[999, 700, 300, 100, 10])] {
        assert_abs_diff_eq!(ddpm(Variance::Gaussian { data: 0.36 }, &grid, 0.36), 0.36, epsilon = 1e-12);
    }
}

/// D2: the two published choices on N(0, 0.36) with 1000 steps, to the digits printed by the reference; and on N(0, 1), where
/// β is exact but for the noise β₁ = 1e-4 left out of the last step.
#[test]
fn ddpm_with_published_variances_misses_by_the_known_amount() {
    let grid = Grid::spaced(&Schedule::ddpm(), 1000, Spacing::Trailing).unwrap();
    assert_abs_diff_eq!(ddpm(Variance::Forward, &grid, 0.36), 0.36075, epsilon = 5e-6);
    assert_abs_diff_eq!(ddpm(Variance::Posterior, &grid, 0.36), 0.35524, epsilon = 5e-6);
    assert_abs_diff_eq!(ddpm(Variance::Forward, &grid, 1.0), 1.0 - 1e-4, epsilon = 1e-7);
}

/// D4, on the mixture of the reference: the same curve x/(α + σ), so the same particles to rounding.
#[test]
fn ddim_on_any_rescaled_schedule_is_euler_flow_matching() {
    let mixture = three_modes();
    let times: Vec<f64> = (0..=20).map(|i| 0.001 + 0.999 * f64::from(i) / 20.0).collect();
    let straight = Grid::at(&Schedule::CondOt, &times).unwrap();
    let scaled: Vec<Level> = straight
        .levels()
        .iter()
        .map(|level| {
            let scale = 1.0 / level.alpha.hypot(level.sigma);
            Level { alpha: scale * level.alpha, sigma: scale * level.sigma, ..*level }
        })
        .collect();
    let circle = Grid::from_levels(scaled).unwrap();
    for i in 0..40 {
        let z = -3.0 + 6.0 * f64::from(i) / 39.0;
        let euler = flow(&mixture, &Euler.program(&straight), &[z]);
        let start = circle.start();
        let ddim = flow(&mixture, &Ddim { eta: 0.0 }.program(&circle), &[z * (start.alpha + start.sigma)]);
        assert_abs_diff_eq!(euler[0], ddim[0], epsilon = 1e-12);
    }
}

/// p, q and the noise's factor of each step of a program of one evaluation a step.
fn coefficients(program: &Program) -> Vec<[f64; 3]> {
    let of_step = |ops: &[Op]| match ops {
        [Op::Evaluate { p, q, .. }] => [*p, *q, 0.0],
        [Op::Evaluate { p, q, .. }, Op::Draw { dst: 1, draw: 0 }, Op::Combine { terms, .. }] => [*p, *q, terms[1].1],
        other => panic!("not one evaluation: {other:?}"),
    };
    program.steps.iter().map(|step| of_step(&step.ops)).collect()
}

fn assert_same_program(a: &Program, b: &Program) {
    for (a, b) in coefficients(a).into_iter().zip(coefficients(b)) {
        (0..3).for_each(|i| assert_abs_diff_eq!(a[i], b[i], epsilon = 1e-15));
    }
}

/// Two methods are the same when their programs are.
#[test]
fn ddim_and_euler_are_one_program_on_straight_levels() {
    let grid = Grid::uniform(&Schedule::CondOt, 37).unwrap();
    assert_same_program(&Ddim { eta: 0.0 }.program(&grid), &Euler.program(&grid));
}

/// D6, for every step of every variance-preserving schedule rather than one: s² of η = 1 is β̃.
#[test]
fn ddim_at_eta_one_is_ddpm_with_the_posterior_variance() {
    for name in ["linear-vp", "cosine", "ddpm", "ddpm-cosine", "scaled-linear", "trigonometric", "condot", "ve"] {
        let grid = Grid::uniform(&Schedule::named(name).unwrap(), 50).unwrap();
        let (ddim, ddpm) = (Ddim { eta: 1.0 }.program(&grid), Ddpm { variance: Variance::Posterior }.program(&grid));
        for (a, b) in coefficients(&ddim).into_iter().zip(coefficients(&ddpm)) {
            (0..3).for_each(|i| assert_relative_eq!(a[i], b[i], max_relative = 1e-9, epsilon = 1e-13));
        }
    }
}

/// D5: with λ = 2 log(α/σ), one DDPM step λ → λ + Δ is DDIM to λ + 2Δ and the forward noise back to λ + Δ.
#[test]
fn a_ddpm_step_is_a_ddim_step_of_twice_the_length_and_renoising() {
    let level = |t: f64, alpha: f64, sigma: f64| Level { t, alpha, sigma, alpha_dot: 0.0, sigma_dot: 0.0 };
    let lambda = |l: Level| 2.0 * (l.alpha / l.sigma).ln();
    let (from, to) = (level(0.0, 0.6, 0.8), level(0.5, 0.5_f64.sqrt(), 0.5_f64.sqrt()));
    let alpha = (1.0 / (1.0 + (lambda(from) - 2.0 * lambda(to)).exp())).sqrt();
    let beyond = level(1.0, alpha, (1.0 - alpha * alpha).sqrt());
    let ddpm = coefficients(&Ddpm { variance: Variance::Posterior }.program(&Grid::from_levels(vec![from, to]).unwrap()))[0];
    let ddim = coefficients(&Ddim { eta: 0.0 }.program(&Grid::from_levels(vec![from, beyond]).unwrap()))[0];
    let back = to.alpha / beyond.alpha;
    assert_abs_diff_eq!(ddpm[0], back * ddim[0], epsilon = 1e-15);
    assert_abs_diff_eq!(ddpm[1], back * ddim[1], epsilon = 1e-15);
    assert_abs_diff_eq!(ddpm[2].powi(2), to.sigma.powi(2) - (back * beyond.sigma).powi(2), epsilon = 1e-15);
}

#[test]
fn ddpm_draws_no_noise_in_its_last_step() {
    for variance in [Variance::Posterior, Variance::Forward] {
        let program = Ddpm { variance }.program(&Grid::uniform(&Schedule::ddpm(), 10).unwrap());
        assert_eq!(program.steps[9].ops.len(), 1);
        assert_eq!(program.ops().filter(|op| matches!(op, Op::Draw { .. })).count(), 9);
    }
}

/// Bit for bit: p = 1 and q = 0 in the last step, whatever the number of steps.
#[test]
fn the_last_euler_step_on_straight_levels_is_exactly_the_denoised_point() {
    for n in 1..300 {
        let grid = Grid::uniform(&Schedule::CondOt, n).unwrap();
        for program in [Euler.program(&grid), Heun { euler_last: true }.program(&grid), Ddim { eta: 0.0 }.program(&grid)] {
            let Op::Evaluate { p, q, .. } = program.steps[n - 1].ops[0] else { panic!("an evaluation") };
            assert_eq!((p, q), (1.0, 0.0));
        }
    }
}

/// Two evaluations a step, but for the last on a schedule whose velocity is infinite at the data or where it was asked for.
#[test]
fn heun_ends_with_an_euler_step_only_where_it_must() {
    let nfe = |schedule: &str, euler_last: bool| {
        let program = Heun { euler_last }.program(&Grid::uniform(&Schedule::named(schedule).unwrap(), 10).unwrap());
        assert!(program.ops().all(|op| !matches!(op, Op::Evaluate { p, q, .. } if !(p.is_finite() && q.is_finite()))));
        program.nfe()
    };
    assert_eq!((nfe("condot", false), nfe("condot", true)), (20, 19));
    assert_eq!((nfe("linear-vp", false), nfe("cosine", false), nfe("ve", true)), (19, 19, 20));
}

/// D7: with a = 2h an update is ULA on N(0, s² + σ²), which settles at (s² + σ²)/(1 − h/(2(s² + σ²))).
#[test]
fn langevin_at_one_level_settles_at_its_biased_variance() {
    let (data, h) = (0.69, 0.3);
    let grid = Grid::from_levels(Grid::ladder(2.0, 1.0, 2).unwrap().levels()[1..].to_vec()).unwrap();
    let program = AnnealedLangevin { updates: 3000, step: Some(2.0 * h) }.program(&grid);
    let settled = variance_after(&Program::from_iter(program.steps[..3000].iter().cloned()), &gaussian(data), 5.0);
    let level = data + 1.0;
    assert_abs_diff_eq!(settled, level / (1.0 - h / (2.0 * level)), epsilon = 1e-12);
}

/// D8: NCSN's published defaults on N(0, 0.09), started from U[0, 1] less its mean, end at 0.09559; each level settles nowhere
/// near its own variance at the last ones. The last digit is that of the reference's print.
#[test]
fn ncsn_defaults_leave_the_variance_that_their_recursion_predicts() {
    let (data, sigmas) = (0.09, (0..10).map(|i| 0.01_f64.powf(f64::from(i) / 9.0)));
    let mut expected = 1.0 / 12.0 + 0.25;
    for sigma in sigmas {
        let a = 2e-5 * (sigma / 0.01).powi(2);
        let c = a / (2.0 * (data + sigma * sigma));
        (0..100).for_each(|_| expected = (1.0 - c).powi(2) * expected + a);
    }
    let grid = Grid::from_levels(Grid::ladder(1.0, 0.01, 10).unwrap().levels()[..10].to_vec()).unwrap();
    let program = AnnealedLangevin { updates: 100, step: Some(2e-5) }.program(&grid);
    assert_eq!(program.nfe(), 1000);
    let found = variance_after(&program, &gaussian(data), 1.0 / 3.0);
    assert_abs_diff_eq!(found, expected, epsilon = 1e-12);
    assert_abs_diff_eq!(found, 0.09559, epsilon = 5e-6);
}

/// What N(0, s²) keeps too much of variance is (1 + h/2)/(g − 1) to first order in 1/g, and so falls like K^{−2/3} with the updates;
/// no step is longer than h = 1, where an update forgets its start.
#[test]
fn annealed_langevin_leaves_less_excess_of_variance_as_updates_are_added() {
    for data in [0.5_f64, 1.0, 2.0].map(|s| s * s) {
        let excess = |n: usize| {
            let (method, grid) = AnnealedLangevin::of_length(n, 8.0).unwrap();
            let left = variance_after(&method.program(&grid), &gaussian(data), 64.0) / data - 1.0;
            assert_relative_eq!(left, method.excess_variance(&grid), max_relative = 0.05);
            left
        };
        let found = [100, 400, 1600, 6400].map(excess);
        for pair in found.windows(2) {
            let order = (pair[0] / pair[1]).log2() / 2.0;
            assert!((0.6..0.85).contains(&order), "{found:?}"); // 2/3, and 1/(g − 1) for 1/g
        }
    }
    for n in 1..10 {
        let (method, grid) = AnnealedLangevin::of_length(n, 8.0).unwrap();
        for op in method.program(&grid).ops() {
            let Op::Evaluate { level, p, q, .. } = *op else { continue };
            assert!(p == 1.0 && (-1e-15..level.sigma).contains(&q), "{n} updates: {p} x̂₀ + {q} ε̂ at σ = {}", level.sigma);
        }
    }
}

/// The form that `compare` uses: one update a level down to 0.01, and the denoising.
#[test]
fn annealed_langevin_of_a_given_length_has_that_many_updates() {
    for n in [1, 2, 5, 10, 20, 50, 100] {
        let (method, grid) = AnnealedLangevin::of_length(n, 8.0).unwrap();
        assert_eq!(method.program(&grid).nfe(), n + 1);
        assert_eq!((grid.start().sigma, grid.levels().last().unwrap().sigma), (8.0, 0.0));
    }
    assert!(AnnealedLangevin::of_length(0, 8.0).is_err() && AnnealedLangevin::of_length(10, 0.01).is_err());
}

/// EDM's levels end in the data, so n steps of Heun's method make 2n − 1 evaluations, and one step of either is x̂₀ of the noise:
/// σ_max being 50 standard deviations of N(3, 1), the mean to 1/2500 of the distance from it.
#[test]
fn edm_ends_in_the_data_and_its_only_step_is_the_posterior_mean() {
    let law = Mixture::new(vec![1.0], vec![vec![3.0]], vec![Covariance::Isotropic(1.0)]).unwrap();
    let edm = |second_order| Edm { second_order, churn: Churn::NONE };
    for spacing in [Spacing::Trailing, Spacing::Karras, Spacing::Geometric, Spacing::Balanced, Spacing::Iddpm] {
        for schedule in ["ve", "linear-vp", "ddpm"].map(|name| Schedule::named(name).unwrap()) {
            for steps in [1, 2, 3, 18] {
                let grid = Grid::spaced_to_data(&schedule, steps, spacing).unwrap();
                let last = grid.levels().last().unwrap();
                assert_eq!((grid.levels().len(), last.alpha, last.sigma), (steps + 1, 1.0, 0.0), "{spacing:?}");
                let nfe = [true, false].map(|second_order| edm(second_order).program(&grid).nfe());
                assert_eq!(nfe, [2 * steps - 1, steps], "{spacing:?}");
            }
        }
        let once = Grid::spaced_to_data(&Schedule::named("ve").unwrap(), 1, spacing).unwrap();
        for second_order in [true, false] {
            let sigma = once.start().sigma;
            let end = flow(&law, &edm(second_order).program(&once), &[2.0 * sigma]);
            assert_abs_diff_eq!(end[0], 3.0 + (2.0 * sigma - 3.0) / (1.0 + sigma * sigma), epsilon = 1e-12);
        }
    }
    assert!(Grid::spaced_to_data(&Schedule::named("ve").unwrap(), 1, Spacing::Leading).is_err());
    assert!(Grid::spaced_to_data(&Schedule::named("ve").unwrap(), 0, Spacing::Karras).is_err());
}

/// From pure noise, where σ/α is infinite, the flow to N(m, s²) is m + s z on every schedule; in 400 steps of EDM's Heun method it
/// is reached to 1e-3; with the defect of its churn the steps are Euler's.
#[test]
fn edm_begins_at_pure_noise() {
    let law = Mixture::new(vec![1.0], vec![vec![1.0]], vec![Covariance::Isotropic(0.25)]).unwrap();
    for schedule in ["condot", "cosine", "trigonometric"].map(|name| Schedule::named(name).unwrap()) {
        for churn_after_model in [false, true] {
            let edm = Edm { second_order: !churn_after_model, churn: Churn::NONE };
            let method: Box<dyn Method> = if churn_after_model { Box::new(ChurnAfterModel(edm)) } else { Box::new(edm) };
            let grid = Grid::spaced_to_data(&schedule, 400, Spacing::Balanced).unwrap();
            for z in [-2.0, 0.0, 1.0] {
                let end = flow(&law, &method.program(&grid), &[z])[0];
                let allowed = if churn_after_model { 0.05 } else { 1e-3 }; // Euler's
                assert!((end - (1.0 + 0.5 * z)).abs() < allowed, "{schedule:?}: {end} for {}", 1.0 + 0.5 * z);
            }
        }
    }
}

/// D9: drift v + w∇log p and noise √(2w) with w = η²g²/2 keep the marginals of the diffusion whatever η. Euler–Maruyama errs by the
/// order of its step, so two runs extrapolate to the variance of the data.
#[test]
fn the_reverse_sde_recovers_the_data_at_any_noise_level() {
    let (data, schedule) = (0.36, Schedule::linear_vp(0.1, 20.0).unwrap());
    for eta in [0.0f64, 0.5, 1.0] {
        let diffusion = Diffusion::ScoreBased(eta * eta);
        assert_abs_diff_eq!(terminal_variance(diffusion, &schedule, data), data, epsilon = 1e-4);
    }
}

/// H1: x_t = (1 − t)x₀ + t x₁ + γz with γ² = 2t(1 − t) and x₀ ~ N(0, 1) is the path α = t, σ² = 1 − t². The SDE with any constant
/// noise level ends in the law of x₁.
#[test]
fn a_stochastic_interpolant_ends_in_its_target_at_any_noise_level() {
    for level in [0.0, 0.5, 2.0] {
        assert_abs_diff_eq!(terminal_variance(Diffusion::Constant(level), &Schedule::LinearAlpha, 2.5), 2.5, epsilon = 1e-3);
    }
}

/// The variance at the end of Euler–Maruyama in steps → 0 on data of variance `data`, from runs of 2,000 and 4,000 steps.
fn terminal_variance(diffusion: Diffusion, schedule: &Schedule, data: f64) -> f64 {
    let method = StochasticInterpolant { diffusion, heun: false, last: LastStep::Same };
    let [coarse, fine] = [2000, 4000].map(|steps| {
        let grid = Grid::uniform(schedule, steps).unwrap();
        let start = grid.start();
        variance_after(&method.program(&grid), &gaussian(data), start.alpha.powi(2) * data + start.sigma.powi(2))
    });
    2.0 * fine - coarse
}

/// G10: Langevin at temperature ε on V = x²/2s² settles at εs²/(1 − h/2s²).
#[test]
fn energy_matching_settles_at_its_biased_variance() {
    let (s2, temperature, h) = (0.5, 0.15, 0.01);
    let method = EnergyMatching::langevin(temperature, h);
    let step = |x: f64, z: f64| {
        let mut state = [x];
        let force = |x: &[f64]| Ok::<_, ()>(vec![-x[0] / s2]);
        method.langevin_step(&mut state, &|_| 0.0, 1, &force, &mut || Ok(vec![z])).unwrap();
        state[0]
    };
    let (decay, noise) = (step(1.0, 0.0), step(0.0, 1.0));
    let settled = (0..20_000).fold(1.0, |v, _| decay * decay * v + noise * noise);
    assert_abs_diff_eq!(settled, temperature * s2 / (1.0 - h / (2.0 * s2)), epsilon = 1e-10);
}

/// ∫₀¹ f by Simpson's rule on 2000 intervals, good to 1e-12 for these integrands.
fn integral(f: impl Fn(f64) -> f64) -> f64 {
    (0..=2000).map(|i| [2.0, 4.0][i % 2] * f(i as f64 / 2000.0) / if i % 2000 == 0 { 2.0 } else { 1.0 }).sum::<f64>() / 6000.0
}

/// dv/dx of the flow from N(0, 1) to N(0, b²) with independent ends, from the exact field.
fn slope(b: f64, t: f64) -> f64 {
    let level = Schedule::CondOt.level(t);
    gaussian(b * b).evaluate(level, level.alpha_dot, level.sigma_dot, &[1.0])[0]
}

/// E1: with a = 1 the action ∫E|v|²dt is 1 + b² − ½πb.
#[test]
fn the_action_of_flow_matching_between_gaussians_is_known() {
    let b: f64 = 1.7;
    let action = integral(|t| slope(b, t).powi(2) * ((1.0 - t).powi(2) + (t * b).powi(2)));
    assert_abs_diff_eq!(action, 1.0 + b * b - 0.5 * PI * b, epsilon = 1e-10);
}

/// E2: the least flow-matching loss E|x₁ − x₀ − v|² is ½πb, and cost less loss is the action.
#[test]
fn coupling_cost_less_the_least_loss_is_the_action() {
    let b: f64 = 1.7;
    let loss = integral(|t| (1.0 + slope(b, t) * (1.0 - t)).powi(2) + (b * (1.0 - slope(b, t) * t)).powi(2));
    assert_abs_diff_eq!(loss, 0.5 * PI * b, epsilon = 1e-10);
}

/// E3, E5: the relative error of Euler's standard deviation is (2 + ∫u²)/(2n), u = dv/dx, up to O(1/n²); along the optimal
/// coupling it is zero.
#[test]
fn euler_errs_by_its_law_for_independent_ends_and_not_at_all_for_optimal_ones() {
    let b = 1.7;
    let law = 1.0 + 0.5 * integral(|t| slope(b, t).powi(2));
    let end = flow(&gaussian(b * b), &Euler.program(&Grid::uniform(&Schedule::CondOt, 4096).unwrap()), &[1.0]);
    assert_abs_diff_eq!((b - end[0]) / b * 4096.0, law, epsilon = 3e-3);
    for n in [1, 2, 64] {
        let program = Euler.program(&Grid::uniform(&Schedule::CondOt, n).unwrap());
        // x_t = (1 − t) x₀ + t b x₀, so x̂₀ = b x/(1 − t + tb) and ε̂ = x/(1 − t + tb)
        let optimal = |level: Level, p: f64, q: f64, x: &[f64]| vec![(p * b + q) * x[0] / (level.sigma + level.alpha * b)];
        assert_abs_diff_eq!(interpret(&program, &[1.0], optimal, |_, _| unreachable!())[0], b, epsilon = 1e-14);
    }
}

#[test]
fn methods_are_found_by_name_and_a_slip_is_named() {
    assert_eq!(named("pf-heun").unwrap().schedule, Some("linear-vp"));
    assert!(matches!(named("dopri5").unwrap().kind, Kind::Loop(_)));
    for (slip, meant) in [("ddmp", "ddpm"), ("dopri6", "dopri5"), ("pc-vpp", "pc-vp")] {
        let said = named(slip).err().unwrap().to_string();
        assert!(said.contains(&format!("did you mean \"{meant}\"?")), "{said}");
        assert!(names().all(|name| said.contains(name)), "{said}");
    }
    assert!(names().all(|name| named(name).is_ok()));
    assert!(METHODS.iter().filter_map(|entry| entry.schedule).all(|schedule| Schedule::named(schedule).is_ok()));
}
