//! The search for the best steps: closed forms on a Gaussian, exactness where the dynamic programme is exact, and what it gains.

use std::f64::consts::FRAC_PI_2;

use brenier::backend::{Device, Precision};
use brenier::experiment::{Compare, Found, Named};
use brenier::field::Field;
use brenier::io::{read_measure, read_network};
use brenier::measure::{Covariance, Measure, Mixture, named};
use brenier::path::{GridError, Schedule, check_times};
use brenier::sampler::{Ddim, Euler, Heun, Method, OptimalSteps};
use brenier::watch::Watch;

fn gaussian(dim: usize, s: f64) -> Field {
    Field::Mixture(Mixture::new(vec![1.0], vec![vec![0.0; dim]], vec![Covariance::Isotropic(s * s)]).unwrap())
}

fn search<'a>(field: &'a Field, schedule: &'a Schedule, device: &'a Device) -> OptimalSteps<'a> {
    let normal = Measure::Law(Mixture::standard_normal(field.dim()));
    OptimalSteps::of((field, schedule), 6, &normal, 0, device, &|| true).unwrap()
}

/// On N(0, s²) let σ/α = s tan θ. A DDIM step multiplies x/α by (s² + ηη′)/(s² + η²) = cos(θ − θ′) cos θ/cos θ′, so all K of them by
/// cos θ₀ Π cos Δθ where the flow has cos θ₀: Π cos Δθ is largest, and the error least, in equal steps of θ. On condot levels Euler's
/// steps are the same, from θ₀ = π/2. The error is the flow's end, N(0, s²), times 1 − cos^K(θ₀/K).
#[test]
fn the_best_first_order_steps_of_a_gaussian_are_equal_angles() {
    let device = Device::cpu(Precision::F64);
    let vp = Schedule::linear_vp(0.1, 20.0).unwrap();
    let (ddim, euler) = (Ddim { eta: 0.0 }, Euler);
    for (method, schedule, s) in [(&ddim as &dyn Method, &vp, 1.0), (&ddim, &vp, 0.2), (&euler, &Schedule::CondOt, 0.5)] {
        let field = gaussian(2, s);
        let search = search(&field, schedule, &device);
        for k in [2, 3, 6] {
            let uniform: Vec<f64> = (0..=k).map(|i| i as f64 / k as f64).collect();
            let times = search.best(method, k, std::slice::from_ref(&uniform), Watch::default()).unwrap();
            check_times(&times).unwrap();
            let first = schedule.level(0.0);
            let angle = if first.alpha == 0.0 { FRAC_PI_2 } else { (first.ratio() / s).atan() };
            let equal: Vec<f64> = (0..k)
                .map(|i| if i == 0 { 0.0 } else { schedule.time(s * (angle * (1.0 - i as f64 / k as f64)).tan()).unwrap() })
                .chain([1.0])
                .collect();
            let [found, best, even] = [&times, &equal, &uniform].map(|times| search.error(method, times).unwrap());
            let shortfall = |steps: &[f64]| {
                let angles: Vec<f64> = steps.iter().map(|t| (schedule.level(*t).ratio() / s).atan()).collect();
                1.0 - angles.windows(2).map(|pair| (pair[0] - pair[1]).cos()).product::<f64>()
            };
            // The reference run is off the flow by its own second-order error, and the descent ends when a sweep gains 1 %.
            assert!((best / even - shortfall(&equal) / shortfall(&uniform)).abs() < 2e-3, "s = {s}, K = {k}");
            assert!(found < 1.01 * best, "s = {s}, K = {k}: {found} for {best} at equal angles, {even} at equal times");
        }
    }
}

/// With two steps the programme tries every time there is, so that none of those does better.
#[test]
fn of_two_steps_the_programme_is_exact() {
    let (device, schedule) = (Device::cpu(Precision::F64), Schedule::CondOt);
    let field = gaussian(256, 0.3); // of so many coordinates all particles take part
    let (euler, heun) = (Euler, Heun { euler_last: false });
    let search = search(&field, &schedule, &device);
    for method in [&euler as &dyn Method, &heun] {
        let least = search.error(method, &search.programmed(method, 2).unwrap()).unwrap();
        for i in 1..24 {
            let other = search.error(method, &[0.0, (i as f64 / 24.0 * 1024.0).floor() / 1024.0, 1.0]).unwrap();
            assert!(least <= other * (1.0 + 1e-9), "{least} {other}");
        }
    }
}

/// The best times are the same however often they are asked for, and no start is better than what is found from it.
#[test]
fn no_grid_does_better_on_the_draws_of_the_search() {
    let Measure::Law(law) = named("8gaussians", None).unwrap() else { panic!("a law") };
    let (device, schedule, field) = (Device::cpu(Precision::F64), Schedule::CondOt, Field::Mixture(law));
    let heun = Heun { euler_last: true };
    let search = search(&field, &schedule, &device);
    let grids = [vec![0.0, 0.25, 0.5, 0.75, 1.0], vec![0.0, 0.4, 0.6, 0.9, 1.0]];
    let best = search.best(&heun, 4, &grids, Watch::default()).unwrap();
    let error = search.error(&heun, &best).unwrap();
    assert!(grids.iter().all(|grid| error < search.error(&heun, grid).unwrap()));
    assert_eq!(best, search.best(&heun, 4, &grids, Watch::default()).unwrap());
}

fn found(target: &Measure, model: Option<&Field>, n: usize) -> Vec<Found> {
    let device = Device::cpu(Precision::F32);
    let compare = Compare { n, steps: vec![8], find_steps: Some(8), ..Compare::default() };
    let normal = Measure::Law(Mixture::standard_normal(target.dim()));
    let (target, source) = (Named { name: "target", measure: target }, Named { name: "normal", measure: &normal });
    let comparison = match model {
        Some(field) => compare.run_model("model", field, target, &device, Watch::default()),
        None => compare.run(target, source, &device, Watch::default()),
    };
    comparison.unwrap().record.found
}

/// On draws that they were not fitted on, eight steps are never worse than the best named grid of eight. At first order the least
/// error over all times is 17 to 24 % below that grid's on 8gaussians and 12 to 18 % on g8, by another optimiser from several starts;
/// the tails of 1,024 draws leave less of it.
#[test]
fn eight_steps_of_their_own_beat_the_best_named_grid() {
    let g8 = read_measure("tests/golden/mixture_g8.json", None, None).unwrap();
    let eight = named("8gaussians", None).unwrap();
    let network = |name: &str| Field::Network(read_network(format!("tests/data/networks/{name}").as_ref()).unwrap());
    let (velocity, v) = (network("eight-velocity.safetensors"), network("eight-v.safetensors"));
    for (name, target, model) in
        [("8gaussians", &eight, None), ("g8", &g8, None), ("velocity", &eight, Some(&velocity)), ("v", &eight, Some(&v))]
    {
        let found = found(target, model, 1024);
        assert_eq!(found.len(), if model.is_none() { 5 } else { 2 + usize::from(name == "v") });
        for Found { method, times, solver_error, best_grid, grids } in &found {
            let share = solver_error / best_grid.solver_error;
            eprintln!(
                "{name} {method}: {solver_error:.4} against {:.4} of {}, {share:.2}",
                best_grid.solver_error, best_grid.grid
            );
            check_times(times).unwrap();
            assert!(grids.len() >= 3 && grids.iter().all(|grid| grid.solver_error >= best_grid.solver_error));
            let most = match (method.as_str(), name) {
                ("ddim" | "fm-euler", "g8") => 0.95,
                ("ddim" | "fm-euler", _) => 0.85,
                _ => 1.0,
            };
            assert!(share <= most, "{name} {method}: {share}");
        }
    }
}

#[test]
fn times_that_are_not_those_of_a_run_are_refused() {
    assert_eq!(check_times(&[0.0, 0.5, 1.0]), Ok(()));
    for few in [&[][..], &[1.0]] {
        assert_eq!(check_times(few), Err(GridError::TooFew { count: few.len() }));
    }
    for (times, index) in
        [(&[0.0, 0.5, 0.5, 1.0][..], 2), (&[0.0, f64::NAN, 1.0], 1), (&[0.0, 0.7, 0.3, 1.0], 2), (&[1.0, 0.0], 1)]
    {
        assert!(matches!(check_times(times), Err(GridError::NotIncreasing { index: at, .. }) if at == index), "{times:?}");
    }
    for times in [[0.1, 1.0], [0.0, 0.9], [0.0, 2.0], [-1.0, 1.0]] {
        assert_eq!(check_times(&times), Err(GridError::NotWhole { first: times[0], last: times[1] }));
    }
}
