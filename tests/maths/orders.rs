//! Orders of convergence of every integrator, and the tolerance of the adaptive ones.

use crate::reference::interpret_folded;
#[allow(dead_code)] // every file of tests uses its own part
use approx::assert_abs_diff_eq;
use brenier::backend::{Device, Precision};
use brenier::field::Field;
use brenier::field::fold;
use brenier::measure::Mixture;
use brenier::measure::mixture::Covariance;
use brenier::path::{Grid, Schedule, Spacing};
use brenier::sampler::{
    Adaptive, Ddim, Dpm2, DpmPlusPlus, DpmPlusPlus2S, DpmSolver, Euler, Heun, Lms, Method, Moves, Options, Pair, RungeKutta,
    Tableau, named,
};

/// Two correlated components in the plane.
fn two_in_the_plane() -> Mixture {
    let full = |m: [f64; 4]| Covariance::from_matrix(&m, 2).unwrap();
    let covariances = vec![full([0.5, 0.3, 0.3, 0.4]), full([0.2, -0.1, -0.1, 0.6])];
    Mixture::new(vec![0.4, 0.6], vec![vec![-1.0, 0.5], vec![1.0, -0.2]], covariances).unwrap()
}

/// The ends of `method` in `n` steps from a 5 × 5 grid of starts.
fn ends(method: &dyn Method, schedule: &Schedule, n: usize) -> Vec<f64> {
    let mixture = two_in_the_plane();
    let program = fold(&mixture, &method.program(&Grid::uniform(schedule, n).unwrap()));
    let scale = schedule.level(0.0).sigma;
    let starts = (0..25).map(|i| [scale * (f64::from(i % 5) - 2.0), scale * (f64::from(i / 5) - 2.0)]);
    starts.flat_map(|x| interpret_folded(&program, &x, |_, _| unreachable!())).collect()
}

/// Error ∝ n^{−order} from 100 steps on, within 0.15, on every continuous schedule. The exact ends are those of 6400 Heun
/// steps, whose own error is below half a percent of the smallest measured.
#[test]
fn deterministic_methods_converge_with_their_order() {
    let named = |name| Schedule::named(name).unwrap();
    let schedules =
        [named("linear-vp"), named("cosine"), named("condot"), named("trigonometric"), Schedule::ve(0.01, 10.0).unwrap()];
    for schedule in &schedules {
        let exact = ends(&Heun { euler_last: false }, schedule, 6400);
        let methods: [&dyn Method; 4] = [&Ddim { eta: 0.0 }, &Euler, &Heun { euler_last: false }, &Heun { euler_last: true }];
        for method in methods {
            let error = |n| ends(method, schedule, n).iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
            let errors = [100, 200, 400].map(error);
            let order = f64::from(method.order().unwrap());
            errors.windows(2).for_each(|pair| assert_abs_diff_eq!((pair[0] / pair[1]).log2(), order, epsilon = 0.15));
        }
    }
}

/// Errors of `run` in ever more steps fall like n^{−order}, within 0.15.
fn assert_order(name: &str, steps: &[usize], order: u32, run: impl Fn(usize) -> Vec<f64>, exact: &[f64]) {
    let error = |&n: &usize| run(n).iter().zip(exact).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let errors: Vec<f64> = steps.iter().map(error).collect();
    for pair in errors.windows(2) {
        let found = (pair[0] / pair[1]).log2();
        assert!((found - f64::from(order)).abs() < 0.15, "{name}: order {found} of {order}, errors {errors:?}");
    }
}

fn runge_kutta(tableau: Tableau, schedule: &Schedule) -> RungeKutta {
    RungeKutta { tableau, schedule: schedule.clone(), euler_last: false }
}

/// The exact ends are those of 3200 steps of the 3/8 rule, below 1e-3 of the smallest error measured.
#[test]
fn runge_kutta_methods_converge_with_their_order() {
    for schedule in [Schedule::CondOt, Schedule::Trigonometric, Schedule::Polynomial(2.0)] {
        let exact = ends(&runge_kutta(Tableau::RK_4, &schedule), &schedule, 3200);
        for tableau in [Tableau::EULER, Tableau::MIDPOINT, Tableau::HEUN_2, Tableau::HEUN_3, Tableau::RK_4] {
            let method = runge_kutta(tableau, &schedule);
            let steps = [200, 400, 800]; // from 100 to 200 the 3/8 rule still gains 4.2
            assert_order(&format!("{tableau:?}"), &steps, tableau.order, |n| ends(&method, &schedule, n), &exact);
        }
    }
}

/// From so much noise that the starting steps of low order, whose error is of order 1/σ, are not seen, and to σ > 0, where no
/// step is lowered.
#[test]
fn multistep_methods_converge_with_their_order() {
    let schedule = Schedule::ve(0.05, 1e6).unwrap();
    let exact = ends(&runge_kutta(Tableau::RK_4, &schedule), &schedule, 12_800);
    let plus = |order| DpmPlusPlus { lower_below: 0, ..DpmPlusPlus::ode(order) };
    let methods: [(&str, &dyn Method); 7] = [
        ("DPM-Solver++ 1", &plus(1)),
        ("DPM-Solver++ 2M", &plus(2)),
        ("DPM-Solver++ 3M", &plus(3)),
        ("DPM-Solver 2M", &DpmSolver { lower_below: 0 }),
        ("DPM2", &Dpm2 { eta: 0.0, noise: 1.0 }),
        ("DPM-Solver++ 2S", &DpmPlusPlus2S { eta: 0.0, noise: 1.0 }),
        ("LMS", &Lms { order: 4 }),
    ];
    for (name, method) in methods {
        assert_order(name, &[400, 800, 1600], method.order().unwrap(), |n| ends(method, &schedule, n), &exact);
    }
}

/// On their own grid the methods in λ and σ/α have the order that --help says, down to the data: equal steps of time, on which their
/// last steps never get short in λ, leave less than 2 of the third order. The last of 6400 steps of the third order is exact here.
#[test]
fn methods_have_their_order_on_their_own_grid() {
    let mixture = two_in_the_plane();
    let run = |name: &str, spacing: Option<Spacing>, n: usize| -> Vec<f64> {
        let (options, device) = (Options { grid: spacing, steps: Some(n), ..Options::default() }, Device::cpu(Precision::F64));
        let course = named(name).unwrap().course(&Field::Mixture(mixture.clone()), &options, &device).unwrap();
        let Moves::Program(program) = course.moves else { panic!("{name} is a program") };
        let program = fold(&mixture, &program);
        let starts = (0..25).map(|i| [f64::from(i % 5) - 2.0, f64::from(i / 5) - 2.0]);
        starts.flat_map(|x| interpret_folded(&program, &x, |_, _| unreachable!())).collect()
    };
    let exact = run("dpmpp-3m", None, 6400);
    let slopes = |name: &str, spacing: Option<Spacing>| {
        let error = |n| run(name, spacing, n).iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let errors = [50, 100, 200, 400].map(error);
        let mut slopes: Vec<f64> = errors.windows(2).map(|pair| (pair[0] / pair[1]).log2()).collect();
        slopes.sort_by(f64::total_cmp);
        slopes
    };
    for (name, order) in [("dpmpp-2m", 2.0), ("dpmpp-2s", 2.0), ("dpm-2", 2.0), ("dpmpp-3m", 3.0), ("lms", 4.0), ("pf-heun", 2.0)]
    {
        let found = slopes(name, None);
        assert!(found[1] > 0.85 * order, "{name}: {found:?}");
    }
    let found = slopes("dpmpp-3m", Some(Spacing::Trailing));
    assert!(found[2] < 2.0, "{found:?}");
}

/// The pairs as fixed steps, and the adaptive run. The flow between the two components drives neighbours apart, so a tolerance of
/// each step leaves the worst particle off by a hundred of them; that of the whole run is kept by every particle.
#[test]
fn embedded_pairs_have_their_order_and_keep_their_tolerance() {
    let (mixture, schedule) = (two_in_the_plane(), Schedule::CondOt);
    let velocity_of = |law: &Mixture, t: f64, x: &[f64]| {
        let level = schedule.level(t);
        law.evaluate(level, level.alpha_dot, level.sigma_dot, x)
    };
    let velocity = |t: f64, x: &[f64]| velocity_of(&mixture, t, x);
    let starts: Vec<f64> = (0..25).flat_map(|i| [f64::from(i % 5) - 2.0, f64::from(i / 5) - 2.0]).collect();
    let exact = ends(&runge_kutta(Tableau::RK_4, &schedule), &schedule, 12_800);
    let fixed = |law: &Mixture, pair: Pair, n: usize| -> Vec<f64> {
        let times: Vec<f64> = (0..=n).map(|k| k as f64 / n as f64).collect();
        let end = |x: &[f64]| pair.tableau.integrate(&mut |t, x| velocity_of(law, t, x), &times, x);
        starts.chunks_exact(2).flat_map(end).collect()
    };
    let narrow = Mixture::new(vec![1.0], vec![vec![0.0; 2]], vec![Covariance::Isotropic(0.04)]).unwrap();
    let scaled: Vec<f64> = starts.iter().map(|x| 0.2 * x).collect(); // the flow of N(0, s² I) on CondOT ends in s x
    assert_order("dopri5", &[100, 200], 5, |n| fixed(&narrow, Pair::DOPRI_5, n), &scaled);
    assert_order("bosh3", &[100, 200, 400], 3, |n| fixed(&narrow, Pair::BOSH_3, n), &scaled);
    for tolerance in [1e-4, 1e-6, 1e-8] {
        for pair in [Pair::DOPRI_5, Pair::BOSH_3, Pair::DOPRI_8, Pair::ADAPTIVE_HEUN] {
            let method = Adaptive::new(pair, tolerance);
            let of_steps = method.particles(velocity, &[0.0, 1.0], &starts, 2).unwrap();
            let of_run = method.to_tolerance(velocity, &[0.0, 1.0], &starts, 2).unwrap();
            for (solution, allowed) in [(of_steps, 100.0), (of_run, 2.0)] {
                let worst = solution.states[1].iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(worst < allowed * tolerance, "order {}: {worst:e} at tolerance {tolerance:e}", pair.tableau.order);
                assert!(solution.evaluated.iter().all(|t| (0.0..=1.0).contains(t)));
            }
        }
    }
}
