//! The closed-form JKO step against what defines it. Labels are those of the checks in the project's note on the mathematics.

use brenier::gradient_flow::FlowError;
use brenier::random::{Philox, Stream};
use brenier::transport::{AffineMap, Gaussian};
use nalgebra::DMatrix;

const TAU: f64 = 0.35;

/// A Gaussian of dimension 3 whose covariance commutes with no other: I/4 + G Gᵀ/d with normal G.
fn gaussian(seed: u32) -> Gaussian {
    let mut z = [0.0f32; 12];
    Philox::new(seed, Stream::Source).normals(0, 0, 0, &mut z);
    let z = z.map(f64::from);
    let g = DMatrix::from_row_slice(3, 3, &z[3..]);
    let covariance = DMatrix::identity(3, 3) * 0.25 + &g * g.transpose() / 3.0;
    Gaussian::new(z[..3].to_vec(), covariance.as_slice()).unwrap()
}

fn normal(mean: f64, deviation: f64) -> Gaussian {
    Gaussian::new(vec![mean], &[deviation * deviation]).unwrap()
}

fn matrix(numbers: &[f64]) -> DMatrix<f64> {
    DMatrix::from_row_slice(3, 3, numbers)
}

fn assert_all_close(values: &[f64], truths: &[f64], tolerance: f64) {
    assert_eq!(values.len(), truths.len());
    for (value, truth) in values.iter().zip(truths) {
        assert!((value - truth).abs() <= tolerance, "{value} is not {truth} within {tolerance:e}");
    }
}

fn assert_same_law(law: &Gaussian, truth: &Gaussian, tolerance: f64) {
    assert_all_close(law.mean(), truth.mean(), tolerance);
    assert_all_close(law.covariance(), truth.covariance(), tolerance);
}

fn pushed(map: &AffineMap, law: &Gaussian) -> Gaussian {
    let slope = matrix(map.matrix());
    let covariance = &slope * matrix(law.covariance()) * &slope;
    Gaussian::new(map.apply(law.mean()).unwrap(), covariance.as_slice()).unwrap()
}

/// The jumps of the JKO scheme to `target`: law before, law after.
fn chain(target: &Gaussian, tau: f64, steps: usize) -> Vec<(Gaussian, Gaussian)> {
    let mut law = gaussian(0);
    let next = |_| {
        let after = law.jko_step(target, tau).unwrap().law;
        (std::mem::replace(&mut law, after.clone()), after)
    };
    (0..steps).map(next).collect()
}

fn w2(a: &Gaussian, b: &Gaussian) -> f64 {
    a.w2_squared(b).unwrap().max(0.0).sqrt()
}

/// λ, the least eigenvalue of the target's precision.
fn convexity(target: &Gaussian) -> f64 {
    1.0 / matrix(target.covariance()).symmetric_eigenvalues().max()
}

/// C1: along every direction of the twelve parameters the objective has slope zero and rises on both sides.
#[test]
fn the_closed_form_minimises_free_energy_plus_squared_distance_over_two_tau() {
    let (start, target) = (gaussian(0), gaussian(1));
    let law = start.jko_step(&target, TAU).unwrap().law;
    let objective = |mean: Vec<f64>, covariance: &[f64]| {
        let law = Gaussian::new(mean, covariance).unwrap();
        law.kl(&target).unwrap() + law.w2_squared(&start).unwrap() / (2.0 * TAU)
    };
    let least = objective(law.mean().to_vec(), law.covariance());
    let h = 1e-4;
    for at in 0..12 {
        let moved = |h: f64| {
            let (mut mean, mut covariance) = (law.mean().to_vec(), law.covariance().to_vec());
            if at < 3 {
                mean[at] += h;
            } else {
                let (row, column) = ((at - 3) / 3, (at - 3) % 3);
                covariance[3 * row + column] += h;
                if row != column {
                    covariance[3 * column + row] += h;
                }
            }
            objective(mean, &covariance)
        };
        // Central differences of step 1e-4: an error of h² times third derivatives of order 10.
        let slope = (moved(h) - moved(-h)) / (2.0 * h);
        assert!(slope.abs() < 1e-6, "direction {at}: slope {slope:e}");
        assert!(moved(h) > least && moved(-h) > least, "direction {at}");
    }
}

/// C2.
#[test]
fn on_the_line_the_step_solves_a_quadratic() {
    let (s, target) = (1.9f64, 0.8f64);
    let b = 1.0 + TAU / (target * target);
    let deviation = (s + (s * s + 4.0 * TAU * b).sqrt()) / (2.0 * b);
    let law = normal(1.0, s).jko_step(&normal(0.0, target), TAU).unwrap().law;
    assert_same_law(&law, &normal(1.0 / b, deviation), 1e-14);
}

/// C3.
#[test]
fn the_target_is_a_fixed_point_for_any_tau() {
    let target = gaussian(1);
    for tau in [1e-3, 0.35, 5.0, 1e3] {
        let step = target.jko_step(&target, tau).unwrap();
        assert_same_law(&step.law, &target, 1e-12);
        assert_all_close(step.map.matrix(), DMatrix::<f64>::identity(3, 3).as_slice(), 1e-10);
    }
}

/// C4: what a denoising step does is undo a step of the flow.
#[test]
fn the_explicit_score_step_inverts_the_implicit_jko_step() {
    let (start, target) = (gaussian(0), gaussian(1));
    for tau in [0.01, TAU, 3.0] {
        let step = start.jko_step(&target, tau).unwrap();
        let back = step.law.score_step(&target, tau).unwrap();
        assert_same_law(&pushed(&back, &step.law), &start, 1e-12);
        for x in [[0.0, 0.0, 0.0], [1.0, -2.0, 0.5]] {
            assert_all_close(&back.apply(&step.map.apply(&x).unwrap()).unwrap(), &x, 1e-12);
        }
        assert_same_law(&pushed(&step.map, &start), &step.law, 1e-12);
        assert_all_close(step.map.matrix(), start.map_to(&step.law).unwrap().matrix(), 1e-11);
    }
}

/// C5 and C5b.
#[test]
fn every_step_pays_for_its_way_with_free_energy() {
    let target = gaussian(1);
    let lambda = convexity(&target);
    for (before, after) in chain(&target, TAU, 40) {
        let (cost, gain) = (before.w2_squared(&after).unwrap(), before.kl(&target).unwrap() - after.kl(&target).unwrap());
        // Near the target both sides are differences of numbers of order one.
        assert!(gain >= cost / (2.0 * TAU) - 1e-13);
        assert!(gain >= (1.0 / TAU + lambda / 2.0) * cost - 1e-13);
    }
}

/// C6 and C6b.
#[test]
fn every_step_contracts_distance_and_free_energy() {
    let target = gaussian(1);
    let factor = 1.0 + convexity(&target) * TAU;
    for (before, after) in chain(&target, TAU, 40) {
        // W₂ is a square root of a difference that cancels to 1e-16.
        assert!(w2(&after, &target) <= w2(&before, &target) / factor + 1e-7);
        assert!(after.kl(&target).unwrap() <= before.kl(&target).unwrap() / factor.powi(2) + 1e-13);
    }
}

/// C7.
#[test]
fn the_scheme_converges_to_the_fokker_planck_flow_with_order_one() {
    let target = gaussian(1);
    let truth = gaussian(0).fokker_planck(&target, 1.0).unwrap();
    let error = |steps: usize| w2(&chain(&target, 1.0 / steps as f64, steps)[steps - 1].1, &truth);
    let errors = [20, 40, 80, 160].map(error);
    for pair in errors.windows(2) {
        let ratio = pair[0] / pair[1];
        assert!((1.9..2.1).contains(&ratio), "{errors:?}");
    }
}

/// C8: the optimality condition (x − T_{ρ′→ρ}(x))/τ + (x − T_{ρ′→π}(x)) = 0 of the step of ½W₂²(·, π).
#[test]
fn the_jko_step_of_half_the_squared_distance_lies_on_the_geodesic() {
    let (start, target) = (gaussian(0), gaussian(1));
    let law = start.toward(&target, TAU / (1.0 + TAU)).unwrap();
    let (back, on) = (law.map_to(&start).unwrap(), law.map_to(&target).unwrap());
    for x in [[0.0, 0.0, 0.0], [1.0, -2.0, 0.5]] {
        let (back, on) = (back.apply(&x).unwrap(), on.apply(&x).unwrap());
        let residual: Vec<f64> = (0..3).map(|i| (x[i] - back[i]) / TAU + x[i] - on[i]).collect();
        assert_all_close(&residual, &[0.0; 3], 1e-12);
    }
}

/// G9: explicit step of V, then the exact JKO step of the entropy, σ′ = (y + √(y² + 4τ))/2, which is the step to a very wide law.
#[test]
fn forward_backward_splitting_is_unbiased_on_gaussians() {
    let (tau, wide) = (0.3, normal(0.0, 1e8));
    let mut s = 1.5;
    for _ in 0..200 {
        s = normal(0.0, (1.0 - tau) * s).jko_step(&wide, tau).unwrap().law.covariance()[0].sqrt();
    }
    assert!((s * s - 1.0).abs() < 1e-12, "{s}");
}

/// Where the entropic JKO step of KL(·‖N(0, 1)) with the Lebesgue reference settles: the variance v at which
/// OT_ε(N(0, v), N(0, u)) + (τ/2)u − ½(ε + θ) log u is stationary in u at u = v; θ weighs the entropy.
fn settled(eps: f64, tau: f64, theta: f64) -> f64 {
    let slope = |v: f64| {
        let (h, law) = (1e-4 * v, |v: f64| normal(0.0, v.sqrt()));
        let cost = |u: f64| law(v).entropic_plan(&law(u), eps).unwrap().regularised_cost;
        (cost(v + h) - cost(v - h)) / (2.0 * h) + 0.5 * tau - 0.5 * (eps + theta) / v
    };
    let (mut low, mut high) = (0.5, 3.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
    low
}

/// G1: entropy in full blurs by ε/2τ, less ε/2 of entropy only by ε²/8τ, each up to terms of the next order in ε/τ and τ.
#[test]
fn half_of_eps_less_entropy_takes_the_blur_from_the_entropic_step() {
    let tau = 0.2;
    for eps in [0.02, 0.1, 0.2] {
        let (plain, corrected) = (settled(eps, tau, tau) - 1.0, settled(eps, tau, tau - 0.5 * eps) - 1.0);
        assert!((plain / (0.5 * eps / tau) - 1.0).abs() < 0.5 * tau, "eps {eps}: {plain}");
        assert!((corrected / (eps * eps / (8.0 * tau)) - 1.0).abs() < tau, "eps {eps}: {corrected}");
    }
}

/// G2: without entropy at ε = 2τ the step is the kernel of the regularised Wasserstein proximal, whose law settles at
/// (1 + τ)/(1 + τ/2). Central differences of step 1e-4 err by 1e-8.
#[test]
fn the_step_without_entropy_at_twice_tau_is_the_wasserstein_proximal_kernel() {
    for tau in [0.1, 0.2, 0.5] {
        assert_all_close(&[settled(2.0 * tau, tau, 0.0)], &[(1.0 + tau) / (1.0 + 0.5 * tau)], 1e-7);
    }
}

/// G3: over v, OT_ε(N(0, s²), N(0, v)) is least at s² − ε; with the entropy of the Lebesgue reference, −½ε log v more, at s² + ε.
#[test]
fn the_product_reference_shrinks_and_the_lebesgue_reference_blurs() {
    let (s2, eps) = (1.44f64, 0.3);
    let cost = |v: f64| normal(0.0, s2.sqrt()).entropic_plan(&normal(0.0, v.sqrt()), eps).unwrap().regularised_cost;
    let lebesgue = |v: f64| cost(v) - 0.5 * eps * v.ln();
    for (at, cost) in [(s2 - eps, &cost as &dyn Fn(f64) -> f64), (s2 + eps, &lebesgue)] {
        let h = 1e-3;
        let (before, least, after) = (cost(at - h), cost(at), cost(at + h));
        assert!(before > least && after > least);
        // The central difference errs by h² times third derivatives of order one.
        assert!(((after - before) / (2.0 * h)).abs() < 1e-6, "{before} {least} {after}");
    }
}

#[test]
fn a_tau_that_is_no_step_is_refused() {
    let law = normal(0.0, 1.0);
    for tau in [0.0, -1.0, f64::INFINITY] {
        assert_eq!(law.jko_step(&law, tau), Err(FlowError::Tau { tau }));
    }
    let message = law.jko_step(&law, -1.0).unwrap_err().to_string();
    assert_eq!(message, "tau = -1; a step of the flow needs a finite tau above zero");
}
