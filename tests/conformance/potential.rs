//! What an iteration does to a potential, and its acceleration, in f64 on every backend.

use brenier::backend::{Anderson, Backend, Damping, Update};

use crate::{assert_near, normals, on_each, rounded};

/// Lengths: one number, a ragged block of products, several blocks.
const LENGTHS: [usize; 4] = [1, 100, 1025, 5000];

/// Each operation is a few roundings of f64.
pub fn updates<B: Backend>(backend: &B) {
    for n in LENGTHS {
        let (phi, ground, log_ratio) = (normals(n, 1), normals(n, 2), rounded::<B>(&normals(n, 3)));
        let up = |host: &[f64]| backend.upload(host).unwrap();
        let mut out = backend.zeros(n).unwrap();
        backend.round(&up(&phi), &mut out).unwrap();
        assert_eq!(backend.download_reals(&out).unwrap(), rounded::<B>(&phi));

        let (eps, share, on_ground) = (0.3, 0.5, up(&ground));
        for omega in [None, Some(0.25)] {
            let (mut change, mut potential) = (up(&vec![0.0; n]), up(&phi));
            let damping = omega.map(|omega| Damping { omega, ground: &on_ground });
            let ratio = backend.upload_reals(&log_ratio).unwrap();
            backend.relax(&ratio, Update { eps, share, damping }, &potential, &mut change).unwrap();
            backend.advance(&change, &mut potential).unwrap();
            let (change, moved) = (backend.download(&change).unwrap(), backend.download(&potential).unwrap());
            for i in 0..n {
                let omega = omega.unwrap_or(1.0);
                let expected = share * (omega * eps * log_ratio[i] + (1.0 - omega) * (ground[i] - phi[i]));
                assert_near(change[i], expected, 1e-15 * (1.0 + phi[i].abs()), &|| format!("change {i} of {n}"));
                assert_near(moved[i], phi[i] + change[i], 0.0, &|| format!("potential {i} of {n}"));
            }
        }
    }
}

/// Points without mass do not count; what is not a number does.
pub fn largest_change<B: Backend>(backend: &B) {
    for n in LENGTHS {
        let mut change = normals(n, 4);
        let mass: Vec<f64> = (0..n).map(|i| if i % 3 == 1 { 0.0 } else { 1e-60 }).collect();
        let held = change.iter().zip(&mass).filter(|(_, mass)| **mass > 0.0);
        let expected = held.map(|(change, _)| change.abs()).fold(0.0, f64::max);
        (1..n).step_by(3).for_each(|i| change[i] = 1e9);
        let largest = |change: &[f64]| {
            let (mass, change) = (backend.upload(&mass).unwrap(), backend.upload(change).unwrap());
            backend.largest_change(&mass, &change).unwrap().read().unwrap()
        };
        assert_eq!(largest(&change), expected);
        change[0] = f64::NAN;
        assert!(largest(&change).is_nan());
    }
}

/// A rise is no fall, what does not move falls by nothing, and what is not a number is no bound.
pub fn largest_fall<B: Backend>(backend: &B) {
    for n in LENGTHS {
        let (before, mut after) = (normals(n, 7), normals(n, 8));
        let fall = |after: &[f64]| {
            let (before, after) = (backend.upload(&before).unwrap(), backend.upload(after).unwrap());
            backend.largest_fall(&before, &after).unwrap().read().unwrap()
        };
        let risen: Vec<f64> = before.iter().map(|x| x + 1.0).collect();
        assert_eq!((fall(&before), fall(&risen)), (0.0, 0.0));
        assert_eq!(fall(&after), before.iter().zip(&after).map(|(before, after)| before - after).fold(0.0, f64::max));
        after[n - 1] = f64::NAN;
        assert!(fall(&after).is_nan());
    }
}

/// The points that `steps` steps on R(x) = (rate − 1)(x − 1) go through, from random ones.
fn accelerated<B: Backend>(backend: &B, mass: &[f64], rates: &[f64], steps: usize) -> Vec<Vec<f64>> {
    let mut memory = Anderson::new(backend, mass.len()).unwrap();
    let mass = backend.upload(mass).unwrap();
    let mut x = backend.upload(&normals(rates.len(), 5)).unwrap();
    let mut points = vec![normals(rates.len(), 5)];
    for _ in 0..steps {
        let change: Vec<f64> = points[points.len() - 1].iter().zip(rates).map(|(x, rate)| (rate - 1.0) * (x - 1.0)).collect();
        backend.accelerate(&mut memory, &mass, &backend.upload(&change).unwrap(), &mut x).unwrap();
        points.push(backend.download(&x).unwrap());
    }
    points
}

/// The first step is plain; the second has γ = ⟨ΔR, R⟩/⟨ΔR, ΔR⟩; k rates are known after k differences; and a memory that is full
/// goes on as it does on the processor.
pub fn acceleration<B: Backend>(backend: &B) {
    for n in LENGTHS {
        let mass: Vec<f64> = normals(n, 6).iter().map(|z| z * z).collect();
        let rates: Vec<f64> = (0..n).map(|i| [0.99, 0.9, 0.5, 0.1][i % 4]).collect();
        let points = accelerated(backend, &mass, &rates, 7);
        let residual = |x: &[f64]| x.iter().zip(&rates).map(|(x, rate)| (rate - 1.0) * (x - 1.0)).collect::<Vec<f64>>();
        let (before, after) = (residual(&points[0]), residual(&points[1]));
        let product = |with: &[f64]| (0..n).map(|i| mass[i] * (after[i] - before[i]) * with[i]).sum::<f64>();
        let gamma = product(&after) / (product(&after) - product(&before));
        for i in 0..n {
            assert_near(points[1][i], points[0][i] + before[i], 1e-15 * 4.0, &|| format!("plain step {i} of {n}"));
            let step = points[1][i] - points[0][i] + after[i] - before[i];
            let expected = points[1][i] + after[i] - gamma * step;
            // Sums of n terms, and the ridge of 1e-14.
            assert_near(points[2][i], expected, 1e-11 * (1.0 + expected.abs()), &|| format!("second step {i} of {n}"));
            // The Gram matrix loses half of the digits.
            assert_near(points[7][i], 1.0, 1e-5, &|| format!("fixed point {i} of {n}"));
        }
    }
    let rates: Vec<f64> = (0..300).map(|i| 0.3 + 0.002 * f64::from(i)).collect();
    let mass = vec![1.0 / 300.0; 300];
    let expected = accelerated(&brenier::backend::cpu::Cpu::<f64>::new(), &mass, &rates, 13);
    for (step, (x, expected)) in accelerated(backend, &mass, &rates, 13).iter().zip(&expected).enumerate() {
        let error = x.iter().zip(expected).fold(0.0, |worst: f64, (x, y)| worst.max((x - y).abs()));
        // Rounding of 1e-16 times the Gram matrix's condition, which its ridge keeps under 1e14, on steps that shrink tenfold.
        assert!(error <= 1e-6, "step {step}: {error:e}");
    }
}

/// A residual ten times the best, or none at all, is answered by a plain step from the best point.
pub fn excursions<B: Backend>(backend: &B) {
    let mut memory = Anderson::new(backend, 1).unwrap();
    let mass = backend.upload(&[1.0]).unwrap();
    let mut step = |from: f64, residual: f64| {
        let mut x = backend.upload(&[from]).unwrap();
        backend.accelerate(&mut memory, &mass, &backend.upload(&[residual]).unwrap(), &mut x).unwrap();
        backend.download(&x).unwrap()[0]
    };
    assert_eq!(step(2.0, -0.5), 1.5);
    assert_eq!(step(9.0, f64::NAN), 1.5);
    assert_eq!(step(3.0, 0.25), 3.25, "nothing is remembered");
    assert_eq!(step(7.0, -2.6), 3.25);
}

#[test]
fn updates_of_a_potential_are_in_f64() {
    on_each::<f32>(updates);
    on_each::<f64>(updates);
}

#[test]
fn the_largest_change_is_that_of_points_with_mass() {
    on_each::<f32>(largest_change);
    on_each::<f64>(largest_change);
}

#[test]
fn the_largest_fall_is_no_rise() {
    on_each::<f32>(largest_fall);
    on_each::<f64>(largest_fall);
}

#[test]
fn acceleration_solves_the_least_squares_problem_of_its_differences() {
    on_each::<f32>(acceleration);
    on_each::<f64>(acceleration);
}

#[test]
fn an_excursion_ends_at_the_best_point() {
    on_each::<f32>(excursions);
    on_each::<f64>(excursions);
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    on_emulator: updates_on_emulated_cuda, updates_on_a_gpu: updates;
    on_emulator: largest_change_on_emulated_cuda, largest_change_on_a_gpu: largest_change;
    on_emulator: largest_fall_on_emulated_cuda, largest_fall_on_a_gpu: largest_fall;
    on_emulator: acceleration_on_emulated_cuda, acceleration_on_a_gpu: acceleration;
    on_emulator: excursions_on_emulated_cuda, excursions_on_a_gpu: excursions;
}
