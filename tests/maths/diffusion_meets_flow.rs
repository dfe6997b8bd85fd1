//! The statements of "Diffusion models and Gaussian flow matching: two sides of the same coin" (Gao et al. 2024), one a test.

use std::cell::Cell;
use std::f64::consts::{FRAC_PI_2, PI};

use crate::reference::interpret;
use approx::{assert_abs_diff_eq, assert_relative_eq};
use brenier::backend::{Device, Precision};
use brenier::field::Field;
use brenier::measure::{Covariance, Mixture};
use brenier::path::{
    Forward, Grid, Level, Prediction, SCHEDULES, Schedule, ScheduleError, combination, convert, forward_of_levels,
    levels_of_forward,
};
use brenier::program::{Op, Program};
use brenier::sampler::{Ddim, Ddpm, Euler, Heun, Kind, METHODS, Method, Moves, Options, RungeKutta, Tableau, Variance};
use nalgebra::Matrix2;

fn named(name: &str) -> Schedule {
    Schedule::named(name).unwrap()
}

/// Three components on the line, of different widths.
fn three_modes() -> Mixture {
    let covariances = [0.3_f64, 0.5, 0.2].map(|s| Covariance::Isotropic(s * s)).to_vec();
    Mixture::new(vec![0.3, 0.5, 0.2], vec![vec![-2.0], vec![0.5], vec![3.0]], covariances).unwrap()
}

/// Where `program` takes `x` in the field of `law`.
fn flow(law: &Mixture, program: &Program, x: f64) -> f64 {
    interpret(program, &[x], |level, p, q, x| law.evaluate(level, p, q, x), |_, _| unreachable!("deterministic"))[0]
}

/// λ = log α²/σ², the log of the signal-to-noise ratio.
fn log_snr(level: Level) -> f64 {
    2.0 * (level.alpha / level.sigma).ln()
}

/// dλ/dt.
fn log_snr_dot(level: Level) -> f64 {
    2.0 * (level.alpha_dot / level.alpha - level.sigma_dot / level.sigma)
}

/// Times inside (0, 1), in the middle of `n` equal intervals.
fn midpoints(n: u32) -> impl Iterator<Item = f64> {
    (0..n).map(move |i| (f64::from(i) + 0.5) / f64::from(n))
}

/// z ↦ z/[(1 − t)² + t²] leaves both ends where they are and goes another way between. Eight steps of Euler's method end
/// more than a tenth apart on the two; DDIM knows only σ/α.
#[test]
fn ddim_is_invariant_to_the_scale_of_alpha_and_sigma_and_euler_on_the_ode_is_not() {
    let plain = Grid::uniform(&Schedule::CondOt, 8).unwrap();
    let scaled = plain.levels().iter().map(|&Level { t, alpha, sigma, .. }| {
        let s = 1.0 / (sigma * sigma + t * t);
        let s_dot = (2.0 - 4.0 * t) * s * s;
        Level { t, alpha: s * alpha, sigma: s * sigma, alpha_dot: s + alpha * s_dot, sigma_dot: -s + sigma * s_dot }
    });
    let scaled = Grid::from_levels(scaled.collect()).unwrap();
    let apart = |method: &dyn Method| {
        let ends = |x| [&plain, &scaled].map(|grid| flow(&three_modes(), &method.program(grid), x));
        midpoints(40).map(|u| ends(6.0 * u - 3.0)).map(|[a, b]| (a - b).abs()).fold(0.0, f64::max)
    };
    assert!(apart(&Ddim { eta: 0.0 }) < 1e-13 && apart(&Euler) > 0.1, "{} {}", apart(&Ddim { eta: 0.0 }), apart(&Euler));
}

/// The flow of the same output by the 3/8 rule in 2,000 steps, good to 1e-11, is where one DDIM step is, whichever output is constant.
#[test]
fn a_ddim_step_is_exact_where_the_models_output_is_constant_in_time_and_an_euler_step_is_not() {
    let schedule = named("linear-vp");
    let (start, end) = (0.3, 0.9);
    let of_output = |name: &str, level: Level, x: f64| match name {
        "x0" => (0.7, (x - level.alpha * 0.7) / level.sigma),
        "eps" => ((x - level.sigma * -1.3) / level.alpha, -1.3),
        _ => ((x + level.sigma * 0.4) / (level.alpha + level.sigma), (x - level.alpha * 0.4) / (level.alpha + level.sigma)),
    };
    for name in ["x0", "eps", "u"] {
        let run = |program: &Program| {
            let field = |level, p, q, x: &[f64]| {
                let (denoised, noise) = of_output(name, level, x[0]);
                vec![p * denoised + q * noise]
            };
            interpret(program, &[0.5], field, |_, _| unreachable!())[0]
        };
        let step = Grid::at(&schedule, &[start, end]).unwrap();
        let times: Vec<f64> = (0..=2000).map(|i| start + (end - start) * f64::from(i) / 2000.0).collect();
        let exact = run(&RungeKutta { tableau: Tableau::RK_4, schedule: schedule.clone(), euler_last: false }.along(&times));
        assert_abs_diff_eq!(run(&Ddim { eta: 0.0 }.program(&step)), exact, epsilon = 1e-9);
        assert!((run(&Euler.program(&step)) - exact).abs() > 0.05, "{name}");
    }
}

/// The levels of `grid` for z/c on a clock linear in η, so that the output is the velocity: c = σ, η = α/σ for x̂₀; c = α, η = σ/α for
/// ε̂; c = α + σ, η = σ/(α + σ) for û. And the factors c at both ends.
fn in_coordinate(output: &str, grid: &Grid) -> (Grid, f64, f64) {
    let of_level = |level: &Level| match output {
        "x0" => (level.sigma, level.alpha / level.sigma),
        "eps" => (level.alpha, level.sigma / level.alpha),
        _ => (level.alpha + level.sigma, level.sigma / (level.alpha + level.sigma)),
    };
    let all: Vec<(f64, f64)> = grid.levels().iter().map(of_level).collect();
    let ((first, from), (last, to)) = (all[0], all[all.len() - 1]);
    let length = to - from;
    let (alpha_dot, sigma_dot) = match output {
        "x0" => (length, 0.0),
        "eps" => (0.0, length),
        _ => (-length, length),
    };
    let levels = grid.levels().iter().zip(&all).map(|(level, (c, eta))| {
        let t = ((eta - from) / length).clamp(0.0, 1.0);
        Level { t, alpha: level.alpha / c, sigma: level.sigma / c, alpha_dot, sigma_dot }
    });
    (Grid::from_levels(levels.collect()).unwrap(), first, last)
}

/// Euler's method in each of the three coordinates is DDIM, to rounding. Heun's is of order 2 in each, with another error in each.
#[test]
fn at_first_order_the_choice_of_output_does_not_matter_and_at_second_order_it_does() {
    let law = three_modes();
    let grid = |n: u32| {
        let times: Vec<f64> = (0..=n).map(|i| 0.1 + 0.8 * f64::from(i) / f64::from(n)).collect();
        Grid::at(&named("trigonometric"), &times).unwrap()
    };
    let end = |output: &str, method: &dyn Method, n: u32, x: f64| {
        let (levels, first, last) = in_coordinate(output, &grid(n));
        last * flow(&law, &method.program(&levels), x / first)
    };
    let heun = Heun { euler_last: false };
    let starts: Vec<f64> = midpoints(20).map(|u| 4.0 * u - 2.0).collect();
    let exact: Vec<f64> = starts.iter().map(|&x| end("u", &heun, 8000, x)).collect();
    let error = |output: &str, n: u32| {
        let of_start = |(x, exact): (&f64, &f64)| (end(output, &heun, n, *x) - exact).abs();
        starts.iter().zip(&exact).map(of_start).fold(0.0, f64::max)
    };
    let errors = ["x0", "eps", "u"].map(|output| {
        for &x in &starts {
            let ddim = flow(&law, &Ddim { eta: 0.0 }.program(&grid(10)), x);
            assert_abs_diff_eq!(end(output, &Euler, 10, x), ddim, epsilon = 1e-12);
        }
        assert_abs_diff_eq!((error(output, 200) / error(output, 400)).log2(), 2.0, epsilon = 0.15);
        error(output, 200)
    });
    let [least, most] = [errors.iter().copied().fold(f64::INFINITY, f64::min), errors.iter().copied().fold(0.0, f64::max)];
    assert!(most > 1.5 * least, "{errors:?}");
}

/// What an error of ε̂ becomes in another output, squared, is that output's factor on ‖ε̂ − ε‖².
#[test]
fn the_losses_of_all_outputs_are_one_loss_with_factors_of_the_signal_to_noise_ratio() {
    let factor = |to, level| convert(Prediction::Noise, to, level).unwrap().1.powi(2);
    for schedule in SCHEDULES.map(named) {
        for level in midpoints(50).map(|t| schedule.level(t)) {
            let (lambda, alpha) = (log_snr(level), level.alpha);
            assert_relative_eq!(factor(Prediction::Denoised, level), (-lambda).exp(), max_relative = 1e-11);
            assert_relative_eq!(factor(Prediction::V, level), (alpha * ((-lambda).exp() + 1.0)).powi(2), max_relative = 1e-11);
        }
    }
    for level in midpoints(50).map(|t| Schedule::CondOt.level(t)) {
        let expected = ((-0.5 * log_snr(level)).exp() + 1.0).powi(2); // the velocity is x̂₀ − ε̂ on this path
        assert_relative_eq!(factor(Prediction::Velocity, level), expected, max_relative = 1e-11);
    }
}

/// With t uniform, a loss is ∫w(λ) E‖ε̂ − ε‖² dλ with w the output's factor times dt/dλ: e^{−λ/2}/2 for the velocity on CondOT and
/// e^{−λ/2}/π for v on the trigonometric schedule.
#[test]
fn the_weighting_of_flow_matching_is_that_of_v_on_the_cosine_schedule() {
    let weight = |schedule: &Schedule, output, ratio: f64| {
        let level = schedule.level(schedule.time(ratio).unwrap());
        convert(Prediction::Noise, output, level).unwrap().1.powi(2) / log_snr_dot(level)
    };
    for lambda in midpoints(60).map(|u| 20.0 * u - 10.0) {
        let ratio = (-0.5 * lambda).exp();
        assert_relative_eq!(weight(&Schedule::CondOt, Prediction::Velocity, ratio), 0.5 * ratio, max_relative = 1e-9);
        assert_relative_eq!(weight(&Schedule::Trigonometric, Prediction::V, ratio), ratio / PI, max_relative = 1e-9);
    }
}

/// Stable Diffusion 3 (Esser et al. 2024): logit t ~ N(0, 1) and the velocity. EDM (Karras et al. 2022): log σ ~ N(−1.2, 1.2²) and x̂₀
/// under (σ² + ¼)/(σ²/4). Normalised, 91 % of the one weighting is in the other, and their peaks lie within 0.1.
#[test]
fn the_weighting_of_stable_diffusion_3_is_nearly_that_of_edm() {
    let normal = |x: f64, mean: f64, deviation: f64| (-0.5 * ((x - mean) / deviation).powi(2)).exp();
    let lambdas: Vec<f64> = midpoints(60_000).map(|u| 60.0 * u - 30.0).collect();
    let normalised = |weight: &dyn Fn(f64) -> f64| {
        let all: Vec<f64> = lambdas.iter().map(|&lambda| weight(lambda)).collect();
        let total: f64 = all.iter().sum();
        let peak = (0..all.len()).max_by(|&i, &j| all[i].total_cmp(&all[j])).unwrap();
        (all.into_iter().map(|w| w / total).collect::<Vec<f64>>(), lambdas[peak])
    };
    let flow = normalised(&|lambda| normal(lambda, 0.0, 2.0) * ((-0.5 * lambda).exp() + 1.0).powi(2));
    let edm = normalised(&|lambda| normal(lambda, 2.4, 2.4) * ((-lambda).exp() + 0.25));
    let shared: f64 = flow.0.iter().zip(&edm.0).map(|(a, b)| a.min(*b)).sum();
    assert!(shared > 0.9 && (flow.1 - edm.1).abs() < 0.1, "{shared}, {} and {}", flow.1, edm.1);
}

/// For data N(0, 1) the least loss at λ is m = α²/(α² + σ²), and ‖ε̂ − ε‖² is m times a χ² of one degree. A weighted loss is drawn by
/// w dλ/dt ‖ε̂ − ε‖² at uniform t of any schedule: the same mean, another second moment 3 ∫(w m dλ/dt)² dt.
#[test]
fn the_training_schedule_changes_the_variance_of_a_loss_and_not_its_value() {
    let weight = |lambda: f64| (-0.125 * lambda * lambda).exp();
    let moments = |schedule: &Schedule| {
        let draws = midpoints(40_000).map(|t| {
            let level = schedule.level(t);
            let least = level.alpha.powi(2) / (level.alpha.powi(2) + level.sigma.powi(2));
            weight(log_snr(level)) * log_snr_dot(level) * least
        });
        draws.fold((0.0, 0.0), |(mean, square), draw| (mean + draw / 4e4, square + 3.0 * draw * draw / 4e4))
    };
    let (mean, square) = moments(&Schedule::CondOt);
    for other in ["trigonometric", "linear-vp"] {
        let (other_mean, other_square) = moments(&named(other));
        assert_relative_eq!(other_mean, mean, max_relative = if other == "linear-vp" { 1e-4 } else { 1e-8 }); // which starts at λ = −10
        assert!((other_square / square - 1.0).abs() > 0.05, "{other}: {other_square} and {square}");
    }
}

/// An error of ε̂ is one of σ/α times it in x̂₀, which is unbounded at the noise; one of x̂₀ is α/σ times it in ε̂, unbounded at the data;
/// the velocity x̂₀ − ε̂ gives both with no error larger than its own.
#[test]
fn an_error_of_eps_grows_at_high_noise_one_of_x0_at_low_noise_and_one_of_u_nowhere() {
    let growth = |from, to, level| convert(from, to, level).unwrap().1.abs();
    for level in midpoints(100).map(|t| Schedule::CondOt.level(t)) {
        let ratio = level.ratio();
        assert_relative_eq!(growth(Prediction::Noise, Prediction::Denoised, level), ratio, max_relative = 1e-12);
        assert_relative_eq!(growth(Prediction::Denoised, Prediction::Noise, level), 1.0 / ratio, max_relative = 1e-12);
        for to in [Prediction::Denoised, Prediction::Noise] {
            assert!(growth(Prediction::Velocity, to, level) <= 1.0);
        }
    }
}

/// The distribution function of `law` at `level`, and its inverse.
fn distribution(law: &Mixture, level: Level, x: f64) -> f64 {
    let of_component = |component: &brenier::measure::Component| {
        let deviation = (level.alpha.powi(2) * component.covariance.value(0) + level.sigma.powi(2)).sqrt();
        component.weight * 0.5 * libm::erfc((level.alpha * component.mean[0] - x) / (deviation * 2.0_f64.sqrt()))
    };
    law.components().iter().map(of_component).sum()
}

fn quantile(law: &Mixture, level: Level, u: f64) -> f64 {
    let halve = |(low, high): (f64, f64), _| {
        let middle = 0.5 * (low + high);
        if distribution(law, level, middle) < u { (middle, high) } else { (low, middle) }
    };
    (0..60).fold((-20.0, 20.0), halve).0
}

/// From s to the noisier t, the forward step x ↦ (α_t/α_s)x + b z and the reversed DDIM step x ↦ α_t x̂₀ + σ_t ε̂ have the same law to
/// W₂ = O(Δ²), which on the line is the distance of the quantiles, and move a particle apart by √E|x − y|² = O(√Δ).
#[test]
fn a_reversed_ddim_step_and_a_forward_step_have_one_law_and_different_particles() {
    let (law, schedule) = (three_modes(), named("trigonometric"));
    let from = schedule.level(0.6);
    let distances = |delta: f64| {
        let to = schedule.level(0.6 - delta);
        let kept = to.alpha / from.alpha;
        let added = to.sigma.powi(2) - (kept * from.sigma).powi(2);
        let (mut of_laws, mut of_particles) = (0.0, added);
        for u in midpoints(2000) {
            let x = quantile(&law, from, u);
            let reversed = law.evaluate(from, to.alpha, to.sigma, &[x])[0];
            of_laws += (reversed - quantile(&law, to, u)).powi(2) / 2000.0;
            of_particles += (reversed - kept * x).powi(2) / 2000.0;
        }
        [of_laws.sqrt(), of_particles.sqrt()]
    };
    let all = [0.02, 0.01, 0.005].map(distances);
    for pair in all.windows(2) {
        assert_abs_diff_eq!((pair[0][0] / pair[1][0]).log2(), 2.0, epsilon = 0.1);
        assert_abs_diff_eq!((pair[0][1] / pair[1][1]).log2(), 0.5, epsilon = 0.1);
    }
}

/// A step of angle δ is x ↦ x cos δ − v sin δ, so v_k weighs sin δ (cos δ)^{K−1−k}: the same for all but O(1/K). DDPM forgets, and its
/// late calls weigh more.
#[test]
fn ddim_weighs_all_predictions_of_v_alike_and_ddpm_the_late_ones_more() {
    let grid = Grid::uniform(&Schedule::Trigonometric, 50).unwrap();
    let (delta, cos) = (FRAC_PI_2 / 50.0, (FRAC_PI_2 / 50.0).cos());
    let ddim = Ddim { eta: 0.0 }.program(&grid).weights(Prediction::V).unwrap();
    assert_abs_diff_eq!(ddim.start, cos.powi(50), epsilon = 1e-12);
    for (k, weight) in ddim.calls.iter().enumerate() {
        assert_abs_diff_eq!(*weight, -delta.sin() * cos.powi(49 - k as i32), epsilon = 1e-13);
    }
    assert!(ddim.calls[0] / ddim.calls[49] > 0.97 && ddim.noise == 0.0);
    let ddpm = Ddpm { variance: Variance::Posterior }.program(&grid).weights(Prediction::V).unwrap();
    let late: f64 = ddpm.calls[25..].iter().sum::<f64>() / ddpm.calls.iter().sum::<f64>();
    assert!(ddpm.calls[..40].windows(2).all(|pair| pair[1] < pair[0]) && late > 0.65 && ddpm.noise > 0.5, "{late} {ddpm:?}");
}

/// The weights of every named method that is a program, for each output that determines its samples: a run on arbitrary outputs ends
/// where they say, and the draws add what they say. Rounding is relative to the largest weight.
#[test]
fn the_weights_of_a_program_add_up_to_its_end_point() {
    let (field, device) = (Field::Mixture(three_modes()), Device::cpu(Precision::F64));
    let mut checked = 0;
    for entry in METHODS.iter().filter(|entry| matches!(entry.kind, Kind::Program(_))) {
        let course = entry.course(&field, &Options { steps: Some(6), ..Options::default() }, &device).unwrap();
        let Moves::Program(program) = course.moves else { panic!("{} is a program", entry.name) };
        for output in [Prediction::Denoised, Prediction::Noise, Prediction::V, Prediction::Velocity] {
            let Some(weights) = program.weights(output) else { continue };
            let value = |k: usize| (1.3 * k as f64 + 0.4).sin();
            let end = |x: f64, scale: f64, unit: Option<(u32, u32)>| {
                let call = Cell::new(0);
                let of_output = |level, p, q, x: &[f64]| {
                    let (a, b) = combination(output, (p, q), level).unwrap();
                    call.set(call.get() + 1);
                    vec![a * x[0] + b * scale * value(call.get() - 1)]
                };
                interpret(&program, &[x], of_output, |step, draw| vec![f64::from(u8::from(unit == Some((step, draw))))])[0]
            };
            let sum: f64 = weights.calls.iter().enumerate().map(|(k, w)| w * value(k)).sum();
            let size = weights.calls.iter().fold(weights.start.abs() + 1.0, |size, w| size + w.abs());
            assert_abs_diff_eq!(end(0.7, 1.0, None), 0.7 * weights.start + sum, epsilon = 1e-10 * size);
            let draws = program.steps.iter().zip(0..).flat_map(|(step, k)| {
                step.ops.iter().filter_map(move |op| if let Op::Draw { draw, .. } = op { Some((k, *draw)) } else { None })
            });
            let square: f64 = draws.map(|unit| end(0.0, 0.0, Some(unit)).powi(2)).sum();
            assert_abs_diff_eq!(weights.noise, square.sqrt(), epsilon = 1e-10 * size);
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
    let clipped: Program =
        Grid::uniform(&Schedule::CondOt, 3).unwrap().steps().map(|(a, b)| Ddim { eta: 0.0 }.clipped_step(a, b, 1.0)).collect();
    assert_eq!(clipped.weights(Prediction::Denoised), None);
    // ε̂ says nothing of x̂₀ at pure noise.
    assert_eq!(Euler.program(&Grid::uniform(&Schedule::CondOt, 3).unwrap()).weights(Prediction::Noise), None);
}

/// f = −½, g = 1 is the Ornstein–Uhlenbeck process: σ² = 1 − e^{−s}, where the formula without its factor α² gives eˢ − 1.
#[test]
fn the_ornstein_uhlenbeck_process_has_sigma_squared_one_minus_exp_minus_s() {
    let times: Vec<f64> = (0..=20).map(|k| f64::from(k) / 20.0).collect();
    let levels = levels_of_forward(|_| Ok::<_, ScheduleError>(Forward { drift: -0.5, noise: 1.0 }), &times).unwrap();
    for (t, (alpha, sigma)) in times.iter().zip(levels) {
        let s = 1.0 - t;
        assert_abs_diff_eq!(alpha, (-0.5 * s).exp(), epsilon = 1e-13);
        assert_abs_diff_eq!(sigma * sigma, 1.0 - (-s).exp(), epsilon = 1e-13);
    }
    let refused = levels_of_forward(|s| Ok::<_, ScheduleError>(Forward { drift: -1.0 / (1.0 - s), noise: 1.0 }), &times);
    assert!(matches!(refused, Err(ScheduleError::Diffusion { name: "f", s: 1.0, .. })), "{refused:?}");
}

/// Both ways: (α, σ) from (f, g) of every continuous schedule, and (f, g) from its (α, σ) by differences. Where α reaches 0, f and g
/// are infinite, so those schedules are left out of the first. Relative to 1: order 4 in 1/4096, on the cosine schedule with the pole
/// of f near the end.
#[test]
fn a_schedule_and_its_diffusion_determine_each_other() {
    let times: Vec<f64> = (0..=10).map(|k| f64::from(k) / 10.0).collect();
    for name in ["linear-vp", "cosine", "ve", "condot", "trigonometric"] {
        let schedule = named(name);
        for &t in &times[1..] {
            let level = |t: f64| Ok::<_, ()>((schedule.level(t).alpha, schedule.level(t).sigma));
            let (closed, numeric) = (schedule.forward(t), forward_of_levels(level, t).unwrap());
            assert_abs_diff_eq!(closed.drift, numeric.drift, epsilon = 1e-6);
            assert_abs_diff_eq!(closed.noise, numeric.noise, epsilon = 1e-4 * closed.noise.max(1.0));
        }
        if ["linear-vp", "ve"].contains(&name) {
            let start = schedule.level(1.0);
            let levels = levels_of_forward(|s| Ok::<_, ScheduleError>(schedule.forward(1.0 - s)), &times).unwrap();
            for (&t, (alpha, sigma)) in times.iter().zip(levels) {
                let level = schedule.level(t);
                assert_relative_eq!(alpha, level.alpha, max_relative = 1e-9);
                // The diffusion of `ve` starts at the data, the schedule at σ_min.
                let expected = (level.sigma.powi(2) - start.sigma.powi(2)).sqrt();
                assert_abs_diff_eq!(sigma, expected, epsilon = 1e-8 * level.sigma.max(1.0));
            }
        }
    }
}

/// Between N(0, A) and N(0, B) that do not commute the flow of independent pairs is x ↦ Mx, and reflow pairs z with Mz. Its field,
/// (M − I)((1 − t)I + tM)⁻¹x, is followed by Euler's method with no error in any number of steps; its cost stays E|Mz − z|², and is not
/// W₂² (Liu, Gong, Liu 2023: a round of reflow straightens, and lowers the cost only to that of the flow's own pairs).
#[test]
fn reflow_is_straight_after_one_round_and_not_optimal() {
    let (one, root) = (Matrix2::<f64>::identity(), 0.5_f64.sqrt());
    let turn = Matrix2::new(root, -root, root, root);
    let a = Matrix2::new(1.0, 0.0, 0.0, 0.04);
    let b = turn * a * turn.transpose();
    let of_pairs = |t: f64| (b * t - a * (1.0 - t)) * (a * (1.0 - t).powi(2) + b * t * t).try_inverse().unwrap();
    let h = 1.0 / 2000.0;
    let step = |m: Matrix2<f64>, k: i32| {
        let [t0, t1, t2] = [0.0, 0.5, 1.0].map(|part| of_pairs((f64::from(k) + part) * h));
        let k1 = t0 * m;
        let k2 = t1 * (m + k1 * (0.5 * h));
        let k3 = t1 * (m + k2 * (0.5 * h));
        m + (k1 + (k2 + k3) * 2.0 + t2 * (m + k3 * h)) * (h / 6.0)
    };
    let m = (0..2000).fold(one, step);
    assert_abs_diff_eq!((m * a * m.transpose() - b).amax(), 0.0, epsilon = 1e-9); // it does end in the target
    let cost = ((m - one) * a * (m - one).transpose()).trace();
    let w2_squared = 2.0 * a.trace() - 2.0 * ((a * b).trace() + 2.0 * a.determinant()).sqrt(); // Bures, in two dimensions
    assert_abs_diff_eq!(w2_squared, 0.504, epsilon = 5e-4);
    assert_abs_diff_eq!(cost - w2_squared, 0.520, epsilon = 2e-3);
    for n in [1, 7] {
        let euler = |x: Matrix2<f64>, k: i32| {
            let t = f64::from(k) / f64::from(n);
            x + (m - one) * (one * (1.0 - t) + m * t).try_inverse().unwrap() * x / f64::from(n)
        };
        assert_abs_diff_eq!(((0..n).fold(one, euler) - m).amax(), 0.0, epsilon = 1e-12);
    }
}
