//! Unbalanced and semi-unbalanced transport against closed forms.

use brenier::backend::{Device, Precision};
use brenier::measure::Cloud;
use brenier::random::{Philox, Stream};
use brenier::transport::{Divergence, Gaussian, Outcome, Problem, Sinkhorn};
use brenier::watch::Watch;

const TIGHT: Sinkhorn = Sinkhorn { tol: 1e-11, max_iter: 20_000, plain: false };

fn cpu() -> Device {
    Device::cpu(Precision::F64)
}

fn solve(x: &Cloud, y: &Cloud, eps: f64, rho: [Option<f64>; 2]) -> Outcome {
    let problem = Problem::new(x, y, eps).unwrap().with_rho(rho[0], rho[1]).unwrap();
    let outcome = TIGHT.solve(&problem, &cpu()).unwrap();
    assert!(outcome.converged, "{}", outcome.verdict);
    assert!(outcome.gap().abs() < 1e-9, "duality gap {}", outcome.gap());
    outcome
}

/// N(mean, deviation²) on 400 grid points over ±7 deviations: the sum over the grid integrates a Gaussian to 1e-14.
fn grid(mean: f64, deviation: f64) -> Cloud {
    let z = |i: usize| -7.0 + 14.0 * i as f64 / 399.0;
    let weights = (0..400).map(|i| (-0.5 * z(i) * z(i)).exp()).collect();
    Cloud::new((0..400).map(|i| mean + deviation * z(i)).collect(), 1).unwrap().with_weights(weights).unwrap()
}

fn draws(n: usize, step: u32) -> Cloud {
    let mut z = vec![0.0f32; 2 * n];
    Philox::new(3, Stream::Source).normals(0, step, 0, &mut z);
    Cloud::new(z.into_iter().map(|z| f64::from(z) + f64::from(step)).collect(), 2).unwrap()
}

/// One point to one: m minimises mc + (ε + ρ₁ + ρ₂)(m log m − m + 1), so m = e^{−c/(ε+ρ₁+ρ₂)} at the cost (ε + ρ₁ + ρ₂)(1 − m); a
/// marginal held exactly forces m = 1.
#[test]
fn the_mass_between_two_points_is_the_closed_form() {
    let (x, y) = (Cloud::new(vec![0.0, 1.0], 2).unwrap(), Cloud::new(vec![2.0, 1.5], 2).unwrap());
    let (eps, first, second) = (0.3, 0.7, 1.9);
    let c = 0.5 * (4.0 + 0.25);
    let outcome = solve(&x, &y, eps, [Some(first), Some(second)]);
    let strength = eps + first + second;
    let mass = (-c / strength).exp();
    assert!((outcome.mass - mass).abs() < 1e-9, "{} for {mass}", outcome.mass);
    assert!((outcome.transport_cost - mass * c).abs() < 1e-9);
    assert!((outcome.regularised_cost - strength * (1.0 - mass)).abs() < 1e-9);
    for rho in [[None, Some(second)], [Some(first), None]] {
        let held = solve(&x, &y, eps, rho);
        assert!((held.mass - 1.0).abs() < 1e-9 && (held.regularised_cost - c).abs() < 1e-9, "{held:?}");
    }
}

/// Janati et al. 2020, theorem 3, against the same problem solved on grids of the line.
#[test]
fn the_unbalanced_plan_of_gaussians_on_a_line_is_the_closed_form() {
    let law = |mean: f64, deviation: f64| Gaussian::new(vec![mean], &[deviation * deviation]).unwrap();
    for (eps, rho) in [(0.5, 1.0), (0.1, 2.0), (1.0, 0.3)] {
        let outcome = solve(&grid(0.2, 1.0), &grid(-0.6, 0.5), eps, [Some(rho); 2]);
        let plan = law(0.2, 1.0).unbalanced_plan(&law(-0.6, 0.5), eps, rho).unwrap();
        assert!((outcome.mass - plan.mass).abs() < 1e-9, "{} for {}", outcome.mass, plan.mass);
        assert!((outcome.regularised_cost - plan.cost).abs() < 1e-9, "{} for {}", outcome.regularised_cost, plan.cost);
        // The first marginal is a e^{−f/ρ}.
        let x = grid(0.2, 1.0);
        let held = |i: usize| x.weight(i) * (-outcome.potentials.f[i] / rho).exp();
        let mean = (0..x.len()).map(|i| held(i) * x.row(i)[0]).sum::<f64>() / outcome.mass;
        assert!((mean - plan.source_mean[0]).abs() < 1e-9, "{mean} for {}", plan.source_mean[0]);
    }
}

/// Along common axes potentials add up over the coordinates and masses multiply; turning the axes changes nothing.
#[test]
fn in_eight_dimensions_the_unbalanced_mass_is_the_product_over_common_axes() {
    let d = 8;
    let (eps, rho) = (0.4, 1.5);
    let (first, second) = (|k: usize| 0.3 + 0.2 * k as f64, |k: usize| 1.7 - 0.15 * k as f64);
    let shift = |k: usize| 0.1 * k as f64 - 0.2;
    let one = |k: usize| {
        let law = |mean: f64, v: f64| Gaussian::new(vec![mean], &[v]).unwrap();
        law(0.0, first(k)).unbalanced_plan(&law(shift(k), second(k)), eps, rho).unwrap().mass
    };
    let product: f64 = (0..d).map(one).product();
    // A reflection I − 2uuᵀ turns all axes at once.
    let u: Vec<f64> = (0..d).map(|k| ((k + 1) as f64 / 204.0f64.sqrt()) * 1.0).collect();
    let reflected = |v: &dyn Fn(usize) -> f64| {
        let h = |i: usize, k: usize| f64::from(u8::from(i == k)) - 2.0 * u[i] * u[k];
        let covariance: Vec<f64> = (0..d * d).map(|ij| (0..d).map(|k| h(ij / d, k) * v(k) * h(ij % d, k)).sum()).collect();
        let mean = |m: &dyn Fn(usize) -> f64| (0..d).map(|i| (0..d).map(|k| h(i, k) * m(k)).sum()).collect::<Vec<f64>>();
        (covariance, mean(&shift))
    };
    let (from, to) = (reflected(&first), reflected(&second));
    let source = Gaussian::new(vec![0.0; d], &from.0).unwrap();
    let target = Gaussian::new(to.1, &to.0).unwrap();
    let mass = source.unbalanced_plan(&target, eps, rho).unwrap().mass;
    assert!((mass - product).abs() < 1e-12, "{mass} for {product}");
}

/// ρ → ∞ is the balanced problem, with a difference of order 1/ρ.
#[test]
fn strongly_held_marginals_are_balanced() {
    let (x, y) = (draws(60, 0), draws(70, 1));
    let balanced = solve(&x, &y, 0.2, [None; 2]).regularised_cost;
    let off = |rho: f64| (solve(&x, &y, 0.2, [Some(rho); 2]).regularised_cost - balanced).abs();
    assert!((off(1e3) / off(1e4) - 10.0).abs() < 0.1, "{} {}", off(1e3), off(1e4));
    // The value does not hang on ρ times what is left of the marginals' errors.
    let problem = Problem::new(&x, &y, 0.2).unwrap().with_rho(Some(1e12), Some(1e12)).unwrap();
    let loose = Sinkhorn::default().solve(&problem, &cpu()).unwrap();
    assert!((loose.regularised_cost - balanced).abs() < 2e-3 * balanced, "{} for {balanced}", loose.regularised_cost);
}

#[test]
fn the_semi_unbalanced_problem_is_that_with_a_free_target() {
    let (x, y, eps, kappa) = (draws(50, 0), draws(80, 1), 0.2, 0.6);
    let general = solve(&x, &y, eps, [None, Some(kappa)]);
    let special = TIGHT.soft_plan(&Problem::new(&x, &y, eps).unwrap(), kappa, None, &cpu(), Watch::default()).unwrap();
    let density = |j: usize| (-general.potentials.g[j] / kappa).exp() * y.weight(j);
    assert!((0..y.len()).all(|j| (density(j) - special.weights[j]).abs() < 1e-9));
    let value = special.cost + kappa * special.kl;
    assert!((general.regularised_cost - value).abs() < 1e-9, "{} for {value}", general.regularised_cost);
}

/// S_{ε,ρ} is 0 between equal measures, positive between others, and at most what destroying and creating all mass costs.
#[test]
fn the_unbalanced_divergence_vanishes_between_equal_measures_alone() {
    let (x, y, eps, rho) = (draws(60, 0), draws(70, 3), 0.2, 0.5);
    let divergence = Divergence::unbalanced(&y, eps, Some(rho), TIGHT, &cpu()).unwrap();
    let (zero, positive) = (divergence.from(&y.clone(), &cpu()).unwrap(), divergence.from(&x, &cpu()).unwrap());
    assert!(zero.abs() < 1e-10, "{zero}");
    assert!(positive > 0.1 && positive < 2.0 * rho + eps, "{positive}");
}

/// Mass farther than the reach stays where it is: an outlier at distance 100 moves e^{−5000/…} ≈ 0.
#[test]
fn an_outlier_beyond_the_reach_is_left_alone() {
    let y = draws(50, 0);
    let mut points = y.points().to_vec();
    points[..2].copy_from_slice(&[100.0, 0.0]);
    let x = Cloud::new(points, 2).unwrap();
    let (eps, rho) = (0.05, 1.0);
    let outcome = solve(&x, &y, eps, [Some(rho); 2]);
    let moved = (-outcome.potentials.f[0] / rho).exp();
    assert!(moved < 1e-12, "{moved}");
    assert!((outcome.mass - 1.0).abs() < 0.1, "{}", outcome.mass);
}
