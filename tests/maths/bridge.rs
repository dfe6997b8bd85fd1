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
fn closed_form(x: &Cloud, y: &Cloud, t: f64) -> f64 {
    let (a2, b2) = (x.variance(), y.variance());
    let covariance = -EPS / 2.0 + (a2 * b2 + EPS * EPS / 4.0).sqrt();
    (1.0 - t).powi(2) * a2 + t * t * b2 + 2.0 * t * (1.0 - t) * covariance + EPS * t * (1.0 - t)
}

fn solve(x: &Cloud, y: &Cloud) -> Outcome {
    let device = Device::cpu(Precision::F32);
    Sinkhorn::default().solve(&Problem::new(x, y, EPS).unwrap(), &device, None, None).unwrap()
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
        let (found, truth) = (variance(&paths.at(t, k as u32)), closed_form(&x, &y, t));
        assert!((found / truth - 1.0).abs() < tolerance(), "t = {t}: {found} for {truth}");
    }
    assert_eq!(paths.at(0.0, 0), x.points());
}

/// The drift alone would end narrower; with its noise the particles keep the law, up to the first order of the step.
#[test]
fn particles_of_the_bridge_have_the_variance_of_the_closed_form() {
    let (device, x, y) = (Device::cpu(Precision::F32), gaussian(1.0, 0), gaussian(1.5, 1));
    let (problem, outcome) = (Problem::new(&x, &y, EPS).unwrap(), solve(&x, &y));
    let bridge = Bridge::new(Plan::new(&problem, &outcome.potentials).unwrap());
    let mut at_half = 0.0;
    let steps = 64;
    let grid = Grid::uniform(&Schedule::CondOt, steps).unwrap();
    let mut keep = |step: usize, state: &[f64]| {
        if step == steps / 2 {
            at_half = variance(state);
        }
        true
    };
    let end = bridge.run(&x, &grid, 1, &device, &mut keep).unwrap();
    for (t, found) in [(0.5, at_half), (1.0, variance(&end))] {
        let truth = closed_form(&x, &y, t);
        assert!((found / truth - 1.0).abs() < tolerance() + 1.0 / steps as f64, "t = {t}: {found} for {truth}");
    }
}
