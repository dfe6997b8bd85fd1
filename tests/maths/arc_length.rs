//! Grids by arc length: closed forms of their times, and equal lengths on a law that has none.

use std::f64::consts::FRAC_PI_2;

use approx::assert_abs_diff_eq;
use brenier::backend::{Device, Precision};
use brenier::experiment::walk::{Route, Walk};
use brenier::field::Field;
use brenier::measure::{Covariance, Measure, Mixture, named};
use brenier::path::{Grid, GridError, Schedule, Spacing};
use brenier::random::Stream;
use brenier::sampler::{ArcLength, Heun, Method};

fn of(law: &Mixture, schedule: &Schedule, precision: Precision) -> ArcLength {
    let normal = Measure::Law(Mixture::standard_normal(law.dim()));
    ArcLength::of(&Field::Mixture(law.clone()), schedule, &normal, 0, &Device::cpu(precision)).unwrap()
}

fn on_a_line(b: f64) -> Mixture {
    Mixture::new(vec![1.0], vec![vec![0.0]], vec![Covariance::Isotropic(b * b)]).unwrap()
}

/// From N(0, 1) to N(0, b²) by the quarter circle the law has s² = 1 + (b² − 1) sin²θ at θ = πt/2 and the path has come |s − 1|
/// far, so that t_k is where s = 1 + (b − 1) k/K. The pilot is linear within 1/256: off by 256⁻² times the curvature.
#[test]
fn times_of_the_quarter_circle_between_gaussians_are_in_closed_form() {
    for b in [3.0_f64, 0.3] {
        let times = of(&on_a_line(b), &Schedule::Trigonometric, Precision::F64).times(10);
        for (k, t) in times.iter().enumerate() {
            let s = 1.0 + (b - 1.0) * k as f64 / 10.0;
            let expected = (((s * s - 1.0) / (b * b - 1.0)).sqrt()).asin() / FRAC_PI_2;
            assert_abs_diff_eq!(*t, expected, epsilon = 5e-4);
        }
    }
}

/// Where nothing moves no time is better than another, in f32 too, whose rounding does move particles.
#[test]
fn times_are_equal_where_nothing_moves() {
    for precision in [Precision::F32, Precision::F64] {
        let times = of(&on_a_line(1.0), &Schedule::linear_vp(0.1, 20.0).unwrap(), precision).times(8);
        assert!(times.iter().enumerate().all(|(k, t)| (t - k as f64 / 8.0).abs() < 1e-9), "{times:?}");
    }
}

/// Of other particles than the pilot's: their root mean squares differ by chance, 1/√(2·2·1024) of themselves, and by the linear
/// pieces. Each step is measured in 32, since one of Heun's from noise, where the speed still grows, goes too far.
#[test]
fn steps_on_eight_gaussians_have_equal_lengths() {
    const PARTS: usize = 32;
    let Measure::Law(law) = named("8gaussians", None).unwrap() else { panic!("a law") };
    let device = Device::cpu(Precision::F64);
    let start = Mixture::standard_normal(2).sample(1024, 7, Stream::Source, 0);
    for schedule in [Schedule::linear_vp(0.1, 20.0).unwrap(), Schedule::Cosine, Schedule::CondOt] {
        let times = of(&law, &schedule, Precision::F64).times(20);
        let part = |pair: &[f64], i: usize| pair[0] + (pair[1] - pair[0]) * i as f64 / PARTS as f64;
        let fine = times.windows(2).flat_map(|pair| (0..PARTS).map(|i| part(pair, i)).collect::<Vec<f64>>());
        let grid = Grid::at(&schedule, &fine.chain([1.0]).collect::<Vec<f64>>()).unwrap();
        let (field, program) = (Field::Mixture(law.clone()), Heun { euler_last: false }.program(&grid));
        let route = Route { program: &program, grid: &grid, field: &field, start: start.points(), followed: start.len() };
        let steps = Walk::new(&route, &device, &|| true).unwrap().steps;
        let parts: Vec<f64> = steps.squares.chunks_exact(1024).map(|squares| squares.iter().sum::<f64>().sqrt()).collect();
        let lengths: Vec<f64> = parts.chunks_exact(PARTS).map(|parts| parts.iter().sum()).collect();
        let mean = lengths.iter().sum::<f64>() / 20.0;
        assert!(lengths.iter().all(|length| (length / mean - 1.0).abs() < 0.06), "{schedule:?}: {lengths:?}");
    }
}

#[test]
fn a_grid_by_length_needs_a_field_and_a_step() {
    assert_eq!(Grid::spaced(&Schedule::CondOt, 5, Spacing::ArcLength), Err(GridError::NeedsField));
    assert_eq!(Grid::spaced_to_data(&Schedule::named("ve").unwrap(), 5, Spacing::ArcLength), Err(GridError::NeedsField));
    let pilot = of(&on_a_line(2.0), &Schedule::named("ve").unwrap(), Precision::F64);
    assert_eq!(pilot.grid(0), Err(GridError::NoSteps));
    for steps in [1, 2, 7] {
        let (grid, to_data) = (pilot.grid(steps).unwrap(), pilot.grid_to_data(steps).unwrap());
        assert_eq!([grid.steps().len(), to_data.steps().len()], [steps; 2]);
        assert_eq!(to_data.levels()[steps].sigma, 0.0);
    }
}
