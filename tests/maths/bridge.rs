//! The Schrödinger bridge between Gaussians: the variance of its law at every time, by samples and by particles.

use brenier::backend::{Device, Precision};
use brenier::geodesic::Bridge;
use brenier::measure::Cloud;
use brenier::path::{Grid, Schedule};
use brenier::random::{Philox, Stream};
use brenier::transport::{Outcome, Plan, Problem, Sinkhorn};

const N: usize = 8192;
const EPS: f64 = 1.0;

fn gaussian(deviation: f64, step: u32) -> Cloud {
    let mut z = vec![0f32; N];
    Philox::new(9, Stream::Source).normals(0, step, 0, &mut z);
    Cloud::new(z.into_iter().map(|z| deviation * f64::from(z)).collect(), 1).unwrap()
}

fn variance(points: &[f64]) -> f64 {
    Cloud::new(points.to_vec(), 1).unwrap().variance()
}

/// (1−t)²a² + t²b² + 2t(1−t) cov + εt(1−t), cov = −ε/2 + √(a²b² + ε²/4), a² and b² those of the clouds.
fn closed_form(x: &Cloud, y: &Cloud, eps: f64, t: f64) -> f64 {
    let (a2, b2) = (x.variance(), y.variance());
    let covariance = -eps / 2.0 + (a2 * b2 + eps * eps / 4.0).sqrt();
    (1.0 - t).powi(2) * a2 + t * t * b2 + 2.0 * t * (1.0 - t) * covariance + eps * t * (1.0 - t)
}

fn solve(x: &Cloud, y: &Cloud) -> Outcome {
    let device = Device::cpu(Precision::F32);
    Sinkhorn::default().solve(&Problem::new(x, y, EPS).unwrap(), &device).unwrap()
}

/// A sample variance of N Gaussians has relative standard deviation √(2/N); four of them.
fn tolerance() -> f64 {
    4.0 * (2.0 / N as f64).sqrt()
}

#[test]
fn samples_of_the_bridge_have_the_variance_of_the_closed_form() {
    let (device, x, y) = (Device::cpu(Precision::F32), gaussian(1.0, 0), gaussian(1.5, 1));
    let (problem, outcome) = (Problem::new(&x, &y, EPS).unwrap(), solve(&x, &y));
    let paths = Bridge::new(Plan::new(&problem, &outcome.potentials).unwrap()).paths(0, &device).unwrap();
    for (k, t) in [0.0, 0.25, 0.5, 0.75, 1.0].into_iter().enumerate() {
        let (found, truth) = (variance(&paths.at(t, k as u32)), closed_form(&x, &y, EPS, t));
        assert!((found / truth - 1.0).abs() < tolerance(), "t = {t}: {found} for {truth}");
    }
    assert_eq!(paths.at(0.0, 0), x.points());
}

/// In one step as in many, and wherever ε stands to the clouds: what steps along the drift lose is not lost.
#[test]
fn paths_of_the_bridge_have_the_variance_of_the_closed_form_at_every_step() {
    for (deviation, eps) in [(1.5, 1.0), (0.5, 2.0), (0.5, 0.05)] {
        let (device, x, y) = (Device::cpu(Precision::F32), gaussian(1.0, 0), gaussian(deviation, 1));
        let problem = Problem::new(&x, &y, eps).unwrap();
        let outcome = Sinkhorn::default().solve(&problem, &device).unwrap();
        let bridge = Bridge::new(Plan::new(&problem, &outcome.potentials).unwrap());
        for steps in [1, 2, 8, 40] {
            let grid = Grid::uniform(&Schedule::CondOt, steps).unwrap();
            let mut variances = Vec::new();
            let mut keep = |_: usize, state: &[f64]| {
                variances.push(variance(state));
                true
            };
            let end = bridge.run(None, &grid, 1, &device, &mut keep).unwrap();
            assert!(end.iter().all(|end| y.points().contains(end)), "ends are points of the target");
            for (k, found) in variances.iter().enumerate() {
                let t = k as f64 / steps as f64;
                let truth = closed_form(&x, &y, eps, t);
                assert!((found / truth - 1.0).abs() < tolerance(), "eps {eps}, {steps} steps, t = {t}: {found} for {truth}");
            }
        }
    }
}

/// Cov(X_s, X_t) = (1−s)(1−t)a² + stb² + (s(1−t) + t(1−s)) cov + εs(1−t) for s < t.
#[test]
fn two_times_of_a_path_covary_as_the_bridge_does() {
    let (device, x, y) = (Device::cpu(Precision::F32), gaussian(1.0, 0), gaussian(1.5, 1));
    let (problem, outcome) = (Problem::new(&x, &y, EPS).unwrap(), solve(&x, &y));
    let bridge = Bridge::new(Plan::new(&problem, &outcome.potentials).unwrap());
    let mut states = Vec::new();
    let mut keep = |_: usize, state: &[f64]| {
        states.push(state.to_vec());
        true
    };
    bridge.run(None, &Grid::uniform(&Schedule::CondOt, 4).unwrap(), 1, &device, &mut keep).unwrap();
    let mean = |v: &[f64]| v.iter().sum::<f64>() / N as f64;
    let (p, q) = (&states[1], &states[3]);
    let found = p.iter().zip(q).map(|(p, q)| p * q).sum::<f64>() / N as f64 - mean(p) * mean(q);
    let (a2, b2) = (x.variance(), y.variance());
    let ends = -EPS / 2.0 + (a2 * b2 + EPS * EPS / 4.0).sqrt();
    let (s, t) = (0.25, 0.75);
    let truth = (1.0 - s) * (1.0 - t) * a2 + s * t * b2 + (s * (1.0 - t) + t * (1.0 - s)) * ends + EPS * s * (1.0 - t);
    assert!((found - truth).abs() < 4.0 * (2.0 * a2 * b2 / N as f64).sqrt(), "{found} for {truth}");
}

/// Draws are of the seed, the row and the step alone: fewer particles take the same paths, and another seed others.
#[test]
fn a_path_does_not_depend_on_the_others() {
    let (device, x, y) = (Device::cpu(Precision::F64), gaussian(1.0, 0), gaussian(1.5, 1));
    let (problem, outcome) = (Problem::new(&x, &y, EPS).unwrap(), solve(&x, &y));
    let bridge = Bridge::new(Plan::new(&problem, &outcome.potentials).unwrap());
    let grid = Grid::uniform(&Schedule::CondOt, 3).unwrap();
    let some = |count: usize| Cloud::new(x.points()[..count].to_vec(), 1).unwrap();
    let of_step_two = |start: &Cloud, seed: u32| {
        let mut state = Vec::new();
        let mut keep = |step: usize, at: &[f64]| {
            if step == 2 {
                state = at.to_vec();
            }
            true
        };
        bridge.run(Some(start), &grid, seed, &device, &mut keep).unwrap();
        state
    };
    let (whole, part, other) = (of_step_two(&some(100), 5), of_step_two(&some(10), 5), of_step_two(&some(100), 6));
    assert_eq!(part, whole[..10]);
    assert!(whole.iter().zip(&other).all(|(p, q)| p != q));
    assert!(bridge.run(Some(&some(10)), &grid, 0, &device, &mut |step, _| step < 2).is_err(), "stopped");
}
