//! The ledger: closed forms of its parts between Gaussians on a line, and what holds for every path.

use std::f64::consts::{FRAC_PI_2, PI};

use approx::assert_relative_eq;
use brenier::backend::{Device, Precision};
use brenier::experiment::Ledger;
use brenier::experiment::ledger::{Path, ledger};
use brenier::experiment::walk::{Route, Steps, Walk};
use brenier::field::Field;
use brenier::measure::{Cloud, Covariance, Measure, Mixture, named};
use brenier::path::{Grid, Schedule};
use brenier::sampler::{Heun, Method};
use proptest::prelude::*;

/// Particles of N(0, 1), scaled so that their second moment is exactly one: on a line Z_t = s_t Z₀, so that every part of the
/// ledger is that of the law times this moment.
const STARTS: [f64; 4] = [-1.2, -0.5, 0.3, 1.0];

/// The ledger of the exact flow from N(0, 1) to N(0, b²) along `schedule`, in `steps` Heun steps of equal time.
fn between_normals(b: f64, schedule: &Schedule, steps: usize) -> Ledger {
    let law = Mixture::new(vec![1.0], vec![vec![0.0]], vec![Covariance::Isotropic(b * b)]).unwrap();
    let moment = STARTS.iter().map(|x| x * x).sum::<f64>() / STARTS.len() as f64;
    let start: Vec<f64> = STARTS.iter().map(|x| x / moment.sqrt()).collect();
    let (field, grid) = (Field::Mixture(law), Grid::uniform(schedule, steps).unwrap());
    let program = Heun { euler_last: false }.program(&grid);
    let route = Route { program: &program, grid: &grid, field: &field, start: &start, followed: start.len() };
    let walk = Walk::new(&route, &Device::cpu(Precision::F64), &|| true).unwrap();
    let [start, end] = [start, walk.end].map(|points| Cloud::new(points, 1).unwrap());
    ledger(&Path { name: "line", start: &start, end: &end, steps: &walk.steps }, None, 0).unwrap()
}

/// s² = α²b² + σ² with (α, σ) = (sin θ, cos θ), θ = πt/2, is monotone in t, so ℓ = |b − 1| and there is no bend. With c = b² − 1,
/// ∫ṡ²dt = (π/2) ∫ (c sin θ cos θ)²/(1 + c sin²θ) dθ over a quarter turn; u(1−u)/(1+cu) = (c+1)/c² − u/c − (c+1)/c²/(1+cu) at
/// u = sin²θ, ∫dθ/(1 + c sin²θ) = π/2b, and so action = (π²/8)(b − 1)².
#[test]
fn variance_preserving_cosine_between_gaussians_has_no_bend_and_a_clock_of_pi_squared_over_eight_less_one() {
    for b in [1.7, 0.4, 6.0] {
        let found = between_normals(b, &Schedule::Trigonometric, 1024);
        let straight = (b - 1.0_f64).powi(2);
        // Heun's error and that of the sums are of order 1024⁻², times ten or so.
        assert_relative_eq!(found.action, PI * PI / 8.0 * straight, max_relative = 1e-4);
        assert_relative_eq!(found.w2_squared, straight, max_relative = 1e-4);
        assert_relative_eq!(found.clock, (PI * PI / 8.0 - 1.0) * straight, max_relative = 1e-3);
        assert!(found.coupling_gap == 0.0 && (0.0..1e-9).contains(&found.bend), "{found:?}");
        assert!(found.closes && found.residual.abs() < 1e-12 * found.action, "{found:?}");
    }
}

/// s² = t²b² + (1−t)² falls to b²/(1 + b²) at t = 1/(1 + b²) and then rises: ℓ = 1 + b − 2b/√(1 + b²). The action is 1 + b² −
/// (π/2)b.
#[test]
fn independent_flow_between_gaussians_bends_on_a_line() {
    for b in [1.0, 1.7, 0.4] {
        let found = between_normals(b, &Schedule::CondOt, 1024);
        let length = 1.0 + b - 2.0 * b / (1.0 + b * b).sqrt();
        let (action, straight) = (1.0 + b * b - FRAC_PI_2 * b, (b - 1.0_f64).powi(2));
        // As above; and the step in which s turns sees less than its length, by a share of 1/1024.
        assert_relative_eq!(found.action, action, max_relative = 1e-4);
        assert_relative_eq!(found.length_squared, length * length, max_relative = 1e-4);
        assert_relative_eq!(found.bend, length * length - straight, max_relative = 1e-4);
        assert_relative_eq!(found.clock, action - length * length, max_relative = 1e-3);
        assert_eq!(found.coupling_gap, 0.0);
    }
}

/// Another clock on the same curve: linear-vp, cosine and the quarter circle pass the same laws (α, σ on the unit circle).
#[test]
fn variance_preserving_paths_differ_in_their_clock_alone() {
    let all = ["linear-vp", "cosine", "trigonometric"].map(|name| between_normals(1.7, &Schedule::named(name).unwrap(), 4096));
    for found in &all {
        // Linear VP starts at alpha = e^{-5}, so that the curve lacks a share of 1e-4.
        assert_relative_eq!(found.length_squared, 0.49, max_relative = 5e-4);
        assert!(found.bend < 1e-9);
    }
    assert!(all[0].clock > 3.0 * all[1].clock, "linear VP is by far the less even: {all:?}");
}

/// On a line length²/T and action are linear in the second moment of Z₀, so that the jackknife gives the standard error of that
/// mean.
#[test]
fn the_jackknife_of_a_mean_is_its_standard_error() {
    let found = between_normals(1.7, &Schedule::CondOt, 64);
    let squares = STARTS.map(|x| x * x);
    let moment = squares.iter().sum::<f64>() / 4.0;
    let error = (squares.iter().map(|s| (s / moment - 1.0).powi(2)).sum::<f64>() / 12.0).sqrt();
    assert_relative_eq!(found.bend_se, found.bend * error, max_relative = 1e-9);
    assert_relative_eq!(found.clock_se, found.clock * error, max_relative = 1e-9);
}

/// The flow of independent pairs between Gaussians is linear, so that own cost, length and action depend on the particles by
/// their second moments alone, which these four have exactly. W₂² = tr(A + B) − 2 tr(A^{1/2} B A^{1/2})^{1/2} with tr √M = √(tr M
/// + 2 √det M).
#[test]
fn the_tilted_gaussians_have_a_coupling_gap_a_bend_and_hardly_a_clock() {
    let [Measure::Law(a), Measure::Law(b)] = ["tilted-a", "tilted-b"].map(|name| named(name, None).unwrap()) else {
        panic!("both are laws")
    };
    let start = [2f64.sqrt(), 0.0, -(2f64.sqrt()), 0.0, 0.0, 0.08f64.sqrt(), 0.0, -(0.08f64.sqrt())];
    let (field, grid) = (Field::between(&a.components()[0], &b).unwrap(), Grid::uniform(&Schedule::CondOt, 512).unwrap());
    let program = Heun { euler_last: false }.program(&grid);
    let route = Route { program: &program, grid: &grid, field: &field, start: &start, followed: 4 };
    let walk = Walk::new(&route, &Device::cpu(Precision::F64), &|| true).unwrap();
    let [start, end] = [start.to_vec(), walk.end].map(|points| Cloud::new(points, 2).unwrap());
    let found = ledger(&Path { name: "fm", start: &start, end: &end, steps: &walk.steps }, None, 0).unwrap();
    let w2_squared = 2.08 - 2.0 * (0.52 + 0.04 * 0.52 + 2.0 * 0.04_f64).sqrt();
    let gap = found.w2_squared + found.coupling_gap - w2_squared;
    for (value, expected) in [(w2_squared, 0.504), (gap, 0.520), (found.bend, 0.217), (found.clock, 0.010)] {
        assert!((value - expected).abs() < 0.0006, "{value} and {expected}");
    }
}

/// v = (tB − (1−t)A)(t²B + (1−t)²A)⁻¹(x − m_t) + m₁ − m₀ between N(m₀, A) and N(m₁, B), at both ends too; and from N(0, I) the
/// field is that of the law itself.
#[test]
fn the_field_between_gaussians_is_that_of_their_regression() {
    let (a, b) = ([0.5, 0.2, 0.2, 1.5], [2.0, -0.7, -0.7, 0.6]);
    let (m0, m1) = (vec![1.0, -2.0], vec![0.3, 0.8]);
    let law = |mean: &[f64], matrix: &[f64]| {
        Mixture::new(vec![1.0], vec![mean.to_vec()], vec![Covariance::from_matrix(matrix, 2).unwrap()]).unwrap()
    };
    let device = Device::cpu(Precision::F64);
    let field = Field::between(&law(&m0, &a).components()[0], &law(&m1, &b)).unwrap().prepare(&device).unwrap();
    let matrix = |m: [f64; 4]| nalgebra::Matrix2::new(m[0], m[1], m[2], m[3]);
    let x = [0.4, -1.1];
    for t in [0.0, 0.3, 0.8, 1.0] {
        let found = field.evaluate(Schedule::CondOt.level(t), (1.0, -1.0), &x).unwrap();
        let (a, b) = (matrix(a), matrix(b));
        let of_t = |i: usize| (1.0 - t) * m0[i] + t * m1[i];
        let offset = nalgebra::Vector2::new(x[0] - of_t(0), x[1] - of_t(1));
        let v = (b * t - a * (1.0 - t)) * (b * (t * t) + a * ((1.0 - t) * (1.0 - t))).try_inverse().unwrap() * offset;
        for i in 0..2 {
            assert_relative_eq!(found[i], v[i] + m1[i] - m0[i], max_relative = 1e-12);
        }
    }
    let Measure::Law(eight) = named("8gaussians", None).unwrap() else { panic!("a law") };
    let own = Field::Mixture(eight.clone()).prepare(&device).unwrap();
    let between = Field::between(&Mixture::standard_normal(2).components()[0], &eight).unwrap().prepare(&device).unwrap();
    for t in [0.2, 0.9, 1.0] {
        let [own, between] = [&own, &between].map(|field| field.evaluate(Schedule::CondOt.level(t), (1.0, -1.0), &x).unwrap());
        assert!((own[0] - between[0]).abs() + (own[1] - between[1]).abs() < 1e-11, "{own:?} {between:?}");
    }
}

/// States × particles × 2 coordinates and the times between the states.
fn paths() -> impl Strategy<Value = (usize, Vec<f64>, Vec<f64>)> {
    (1..6usize, 1..8usize).prop_flat_map(|(steps, particles)| {
        let states = prop::collection::vec(-1.0..1.0f64, (steps + 1) * particles * 2);
        (Just(particles), states, prop::collection::vec(0.01..1.0f64, steps))
    })
}

fn of_path(particles: usize, states: &[f64], widths: &[f64]) -> Ledger {
    let states: Vec<&[f64]> = states.chunks_exact(2 * particles).collect();
    let square = |(x, y): (&[f64], &[f64])| (x[0] - y[0]).powi(2) + (x[1] - y[1]).powi(2);
    let moves = |pair: &[&[f64]]| pair[0].chunks_exact(2).zip(pair[1].chunks_exact(2)).map(square).collect::<Vec<f64>>();
    let steps = Steps { squares: states.windows(2).flat_map(moves).collect(), widths: widths.to_vec() };
    let [start, end] = [states[0], states[states.len() - 1]].map(|points| Cloud::new(points.to_vec(), 2).unwrap());
    ledger(&Path { name: "any", start: &start, end: &end, steps: &steps }, None, 0).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Cauchy–Schwarz, Minkowski and the best pairing, for any particles that go anywhere in a time of one; and their sum.
    #[test]
    fn no_part_of_the_action_is_negative_and_together_they_are_the_action((particles, states, widths) in paths()) {
        let total: f64 = widths.iter().sum();
        let widths: Vec<f64> = widths.iter().map(|width| width / total).collect();
        let found = of_path(particles, &states, &widths);
        prop_assert!([found.w2_squared, found.coupling_gap, found.bend, found.clock].iter().all(|part| *part >= 0.0), "{found:?}");
        prop_assert!(found.closes && found.residual.abs() <= 1e-11 * found.action.max(1.0), "{found:?}");
    }

    /// Widths in proportion to the length of the steps are a constant speed: the clock is gone, and nothing else has changed.
    #[test]
    fn at_constant_speed_the_clock_is_zero_and_the_bend_is_the_same((particles, states, widths) in paths()) {
        let total: f64 = widths.iter().sum();
        let before = of_path(particles, &states, &widths.iter().map(|width| width / total).collect::<Vec<f64>>());
        let rows: Vec<&[f64]> = states.chunks_exact(2 * particles).collect();
        let lengths = rows.windows(2).map(|pair| pair[0].iter().zip(pair[1]).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt());
        let lengths: Vec<f64> = lengths.collect();
        let length: f64 = lengths.iter().sum();
        let after = of_path(particles, &states, &lengths.iter().map(|step| step / length).collect::<Vec<f64>>());
        prop_assert!(after.clock <= 1e-12 * after.action, "{after:?}");
        prop_assert!((after.bend - before.bend).abs() <= 1e-9 * before.action, "{before:?} {after:?}");
        prop_assert_eq!(after.w2_squared, before.w2_squared);
    }
}
