//! The library against formulas that can be worked out by hand: Gaussians, the line, the Ornstein–Uhlenbeck flow.
//! Labels are those of the checks in the project's note on the mathematics.

use brenier::measure::Cloud;
use brenier::path::Schedule;
use brenier::random::{Philox, Stream};
use brenier::transport::{Gaussian, LinePlan, TransportError, assign};
use nalgebra::{DMatrix, DVector};

fn assert_close(value: f64, truth: f64, tolerance: f64) {
    assert!((value - truth).abs() <= tolerance, "{value} is not {truth} within {tolerance:e}");
}

fn assert_all_close(values: &[f64], truths: &[f64], tolerance: f64) {
    assert_eq!(values.len(), truths.len());
    values.iter().zip(truths).for_each(|(&value, &truth)| assert_close(value, truth, tolerance));
}

/// A Gaussian of dimension `d` whose covariance commutes with no other: I/4 + G Gᵀ/d with normal G.
fn gaussian(d: usize, seed: u32) -> Gaussian {
    let mut z = vec![0.0f32; d * (d + 1)];
    Philox::new(seed, Stream::Source).normals(0, 0, 0, &mut z);
    let z: Vec<f64> = z.into_iter().map(f64::from).collect();
    let g = DMatrix::from_row_slice(d, d, &z[d..]);
    let covariance = DMatrix::identity(d, d) * 0.25 + &g * g.transpose() / d as f64;
    Gaussian::new(z[..d].to_vec(), covariance.as_slice()).unwrap()
}

fn normal(mean: f64, deviation: f64) -> Gaussian {
    Gaussian::new(vec![mean], &[deviation * deviation]).unwrap()
}

fn square(numbers: &[f64]) -> DMatrix<f64> {
    let d = numbers.len().isqrt();
    DMatrix::from_row_slice(d, d, numbers)
}

fn squared_distance(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(a, b)| (a - b).powi(2)).sum()
}

/// V diag(values) Vᵀ with the eigenvectors V of a covariance that commutes with no other.
fn with_spectrum(values: &[f64], seed: u32) -> DMatrix<f64> {
    let vectors = square(gaussian(values.len(), seed).covariance()).symmetric_eigen().eigenvectors;
    let product = &vectors * DMatrix::from_diagonal(&DVector::from_column_slice(values)) * vectors.transpose();
    (&product + product.transpose()) * 0.5
}

/// Of a law and itself every distance is zero, and no rounding may take one below it: √W₂² would not be a number.
#[test]
fn distances_between_equal_gaussians_are_zero_and_never_negative() {
    for d in [1, 2, 5, 10, 32] {
        for seed in 0..4 {
            let a = gaussian(d, seed);
            let spread = |decades: f64| (0..d).map(|k| 10f64.powf(-decades * k as f64 / d as f64)).collect::<Vec<f64>>();
            let law = |decades: f64| Gaussian::new(a.mean().to_vec(), with_spectrum(&spread(decades), seed).as_slice()).unwrap();
            for law in [a.clone(), law(0.0), law(6.0), law(12.0)] {
                let trace = square(law.covariance()).trace();
                let w2 = law.w2_squared(&law).unwrap();
                assert!((0.0..1e-13 * trace).contains(&w2), "d {d}: {w2}");
                for eps in [1e-6, 1.0, 1e6] {
                    assert_eq!(law.sinkhorn_divergence(&law, eps).unwrap(), 0.0);
                    let plan = law.entropic_plan(&law, eps).unwrap();
                    assert!(plan.transport_cost >= 0.0 && plan.regularised_cost >= plan.transport_cost);
                    let free = law.unbalanced_plan(&law, eps, 0.5).unwrap();
                    assert!(free.mass <= 1.0 && free.cost >= 0.0);
                }
            }
        }
    }
}

/// W₂² of covariances that commute is Σ (√λ − √μ)², to its digits also a million times below the variance.
#[test]
fn distances_far_below_the_variance_keep_their_digits() {
    let step = 1e-6;
    for d in [2, 6] {
        let values: Vec<f64> = (1..=d).map(|k| k as f64).collect();
        let moved: Vec<f64> = values.iter().map(|v| (v.sqrt() + step).powi(2)).collect();
        let law = |values: &[f64], mean: f64| Gaussian::new(vec![mean; d], with_spectrum(values, 3).as_slice()).unwrap();
        let (a, b) = (law(&values, 0.0), law(&moved, 0.0));
        let truth = d as f64 * step * step;
        // Roots of numbers of size one carry 1e-15 beside the step.
        assert_close(a.w2_squared(&b).unwrap() / truth, 1.0, 1e-7);
        assert_close(a.w2_squared(&law(&values, step)).unwrap() / truth, 1.0, 1e-7);
        // S_ε of equal covariances is that of the means, at any ε.
        assert_close(a.sinkhorn_divergence(&law(&values, step), 1.0).unwrap() / (0.5 * truth), 1.0, 1e-7);
        assert!(a.sinkhorn_divergence(&b, 1.0).unwrap() >= 0.0);
    }
}

/// ⟨P, c⟩ = ½|m₀−m₁|² + ½ tr(Σ₀ + Σ₁) − tr C, with the plan's own cross-covariance C.
#[test]
fn the_entropic_cost_is_that_of_its_cross_covariance() {
    let (a, b) = (gaussian(4, 0), gaussian(4, 1));
    for eps in [1e-3, 0.3, 30.0] {
        let plan = a.entropic_plan(&b, eps).unwrap();
        let traces = square(a.covariance()).trace() + square(b.covariance()).trace();
        let truth = 0.5 * (squared_distance(a.mean(), b.mean()) + traces) - square(&plan.cross_covariance).trace();
        assert_close(plan.transport_cost, truth, 1e-12);
    }
}

/// A1.
#[test]
fn the_optimal_map_pushes_one_gaussian_to_the_other() {
    let (a, b) = (gaussian(4, 0), gaussian(4, 1));
    let map = a.map_to(&b).unwrap();
    let slope = square(map.matrix());
    let pushed = &slope * square(a.covariance()) * slope.transpose();
    assert_all_close(pushed.as_slice(), b.covariance(), 1e-12);
    assert_all_close(&map.apply(a.mean()).unwrap(), b.mean(), 1e-12);
    assert!(slope.symmetric_eigenvalues().min() > 0.0, "a gradient of a convex function");
}

/// A2.
#[test]
fn the_optimal_map_costs_the_squared_distance() {
    let (a, b) = (gaussian(4, 0), gaussian(4, 1));
    let moved = square(a.map_to(&b).unwrap().matrix()) - DMatrix::identity(4, 4);
    let cost = squared_distance(a.mean(), b.mean()) + (&moved * square(a.covariance()) * &moved).trace();
    assert_close(a.w2_squared(&b).unwrap(), cost, 1e-12);
    assert_close(b.w2_squared(&a).unwrap(), cost, 1e-12);
}

/// A3. Short pieces lose digits to the cancellation in tr(Σ₀ + Σ₁ − 2R), hence the tolerance.
#[test]
fn a_geodesic_has_constant_speed() {
    let (a, b) = (gaussian(3, 0), gaussian(3, 1));
    let whole = a.w2_squared(&b).unwrap().sqrt();
    let at: Vec<Gaussian> = (0..=8).map(|k| a.toward(&b, f64::from(k) / 8.0).unwrap()).collect();
    for (s, from) in at.iter().enumerate() {
        for (t, to) in at.iter().enumerate().skip(s + 1) {
            assert_close(from.w2_squared(to).unwrap().sqrt(), whole * (t - s) as f64 / 8.0, 1e-11);
        }
    }
    assert_all_close(at[8].covariance(), b.covariance(), 1e-12);
}

/// The 1-D law (m₀−m₁)² + (s₀−s₁)² on every axis of commuting covariances.
#[test]
fn the_squared_distance_of_commuting_gaussians_adds_up_over_the_axes() {
    let (c, s) = (0.6, 0.8);
    let turned = |x: f64, y: f64| [c * c * x + s * s * y, c * s * (x - y), c * s * (x - y), s * s * x + c * c * y];
    let a = Gaussian::new(vec![0.0, 0.0], &turned(1.0, 0.04)).unwrap();
    let b = Gaussian::new(vec![3.0, 4.0], &turned(2.89, 0.49)).unwrap();
    assert_close(a.w2_squared(&b).unwrap(), 25.0 + 0.7f64.powi(2) + 0.5f64.powi(2), 1e-14);
}

/// A4.
#[test]
fn sorting_is_the_optimal_assignment_on_the_line() {
    let philox = Philox::new(2, Stream::Source);
    let draw = |step: u32| (0..200).map(|i| -philox.uniform(i, step, 0).ln_1p()).collect::<Vec<_>>();
    let (x, mut y) = (draw(0), draw(1));
    y.iter_mut().for_each(|y| *y = 3.0 * *y * *y);
    let (source, target) = (Cloud::new(x.clone(), 1).unwrap(), Cloud::new(y.clone(), 1).unwrap());
    let sorted = |mut v: Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v
    };
    let mean = squared_distance(&sorted(x), &sorted(y)) / 200.0;
    assert_close(assign(&source, &target).unwrap().w2_squared, mean, 1e-14);
    assert_close(LinePlan::new(&source, &target).unwrap().w2_squared, mean, 1e-14);
}

/// B1: dM/dt = (−P + Σ(t)^{−1}) M for the slope M of the particles' flow, by RK4.
#[test]
fn particles_on_minus_the_gradient_of_v_plus_log_rho_follow_the_fokker_planck_law() {
    let (start, target) = (gaussian(3, 0), gaussian(3, 1));
    let (span, steps) = (0.7, 400);
    let velocity = |t: f64, x: &DVector<f64>| {
        let now = start.fokker_planck(&target, t).unwrap();
        DVector::from(target.score(x.as_slice()).unwrap()) - DVector::from(now.score(x.as_slice()).unwrap())
    };
    let flow = |mut x: DVector<f64>| {
        let h = span / f64::from(steps);
        for k in 0..steps {
            let t = f64::from(k) * h;
            let k1 = velocity(t, &x);
            let k2 = velocity(t + h / 2.0, &(&x + &k1 * (h / 2.0)));
            let k3 = velocity(t + h / 2.0, &(&x + &k2 * (h / 2.0)));
            let k4 = velocity(t + h, &(&x + &k3 * h));
            x += (k1 + (k2 + k3) * 2.0 + k4) * (h / 6.0);
        }
        x
    };
    let end = start.fokker_planck(&target, span).unwrap();
    let mean = DVector::from_column_slice(start.mean());
    let carried = flow(mean.clone());
    // RK4 at h = 1.75e-3: an error of order h⁴ ≈ 1e-11 times derivatives of order 100.
    assert_all_close(carried.as_slice(), end.mean(), 1e-8);
    let columns: Vec<_> = (0..3).map(|axis| flow(&mean + DVector::from_fn(3, |i, _| f64::from(i == axis))) - &carried).collect();
    let slope = DMatrix::from_columns(&columns);
    assert_all_close((&slope * square(start.covariance()) * slope.transpose()).as_slice(), end.covariance(), 1e-8);
}

/// B2, by central differences of step 1e-4.
#[test]
fn free_energy_falls_at_the_rate_of_the_fisher_information() {
    let (start, target) = (gaussian(3, 0), gaussian(3, 1));
    let free_energy = |t: f64| start.fokker_planck(&target, t).unwrap().kl(&target).unwrap();
    for t in [0.1, 0.5, 1.0] {
        let slope = (free_energy(t + 1e-4) - free_energy(t - 1e-4)) / 2e-4;
        let dissipation = start.fokker_planck(&target, t).unwrap().fisher_information(&target).unwrap();
        assert_close(slope / dissipation, -1.0, 1e-6);
    }
}

/// B3: λ is the least eigenvalue of the target's precision.
#[test]
fn free_energy_falls_at_least_as_fast_as_the_convexity_of_v() {
    let (start, target) = (gaussian(3, 0), gaussian(3, 1));
    let lambda = 1.0 / square(target.covariance()).symmetric_eigenvalues().max();
    let first = start.kl(&target).unwrap();
    for k in 1..=50 {
        let t = 0.06 * f64::from(k);
        let now = start.fokker_planck(&target, t).unwrap().kl(&target).unwrap();
        assert!(now <= (-2.0 * lambda * t).exp() * first, "t = {t}: {now}");
    }
}

/// B4.
#[test]
fn a_shifted_unit_gaussian_loses_free_energy_at_exactly_twice_the_rate_of_its_mean() {
    let (start, target) = (normal(1.7, 1.0), normal(0.0, 1.0));
    for t in [0.3f64, 1.0] {
        let now = start.fokker_planck(&target, t).unwrap();
        assert_close(now.kl(&target).unwrap(), (-2.0 * t).exp() * 1.7f64.powi(2) / 2.0, 1e-15);
        assert_close(now.fisher_information(&target).unwrap(), (-2.0 * t).exp() * 1.7f64.powi(2), 1e-15);
    }
}

/// E1: in 1-D every velocity is a gradient, so the action of a curve is its metric one, lim n Σ W₂²(ρ_k, ρ_{k+1}). Extrapolated from
/// n and 2n the error is of order n^{−4} ≈ 1e-9.
#[test]
fn the_path_of_the_independent_coupling_costs_more_than_the_geodesic() {
    let (a, b) = (1.0, 1.7f64);
    let marginal = |t: f64| {
        let level = Schedule::CondOt.level(t);
        normal(0.0, (level.sigma * a).hypot(level.alpha * b))
    };
    let action = |n: u32| {
        let piece =
            |k: u32| marginal(f64::from(k) / f64::from(n)).w2_squared(&marginal(f64::from(k + 1) / f64::from(n))).unwrap();
        f64::from(n) * (0..n).map(piece).sum::<f64>()
    };
    let extrapolated = (4.0 * action(400) - action(200)) / 3.0;
    assert_close(extrapolated, a * a + b * b - std::f64::consts::FRAC_PI_2 * a * b, 1e-8);
    assert_close(
        extrapolated - normal(0.0, a).w2_squared(&normal(0.0, b)).unwrap(),
        (2.0 - std::f64::consts::FRAC_PI_2) * a * b,
        1e-8,
    );
}

/// A plan on a grid of the line, by log-domain Sinkhorn: the same problem solved without any formula about Gaussians.
struct GridPlan {
    cross_covariance: f64,
    transport_cost: f64,
    regularised_cost: f64,
    slope: f64,
}

fn grid_plan(a: f64, b: f64, eps: f64) -> GridPlan {
    // ±11 leaves mass 1e-16 outside; sums over a grid of smooth decaying functions converge beyond every power of its spacing.
    let n = 241;
    let x: Vec<f64> = (0..n).map(|i| -11.0 + 22.0 * f64::from(i) / f64::from(n - 1)).collect();
    let log_sum = |terms: &dyn Fn(usize) -> f64| {
        let largest = (0..x.len()).map(terms).fold(f64::NEG_INFINITY, f64::max);
        largest + (0..x.len()).map(|i| (terms(i) - largest).exp()).sum::<f64>().ln()
    };
    let log_law = |deviation: f64| {
        let total = log_sum(&|i| -0.5 * (x[i] / deviation).powi(2));
        x.iter().map(|x| -0.5 * (x / deviation).powi(2) - total).collect::<Vec<_>>()
    };
    let (log_a, log_b) = (log_law(a), log_law(b));
    let cost = |i: usize, j: usize| 0.5 * (x[i] - x[j]).powi(2);
    let (mut f, mut g) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    for _ in 0..100 {
        f = (0..x.len()).map(|i| -eps * log_sum(&|j| log_b[j] + (g[j] - cost(i, j)) / eps)).collect();
        g = (0..x.len()).map(|j| -eps * log_sum(&|i| log_a[i] + (f[i] - cost(i, j)) / eps)).collect();
    }
    let mut plan = GridPlan { cross_covariance: 0.0, transport_cost: 0.0, regularised_cost: 0.0, slope: 0.0 };
    let mut variance = 0.0;
    for i in 0..x.len() {
        for j in 0..x.len() {
            let log_ratio = (f[i] + g[j] - cost(i, j)) / eps;
            let p = (log_a[i] + log_b[j] + log_ratio).exp();
            plan.cross_covariance += p * x[i] * x[j];
            plan.transport_cost += p * cost(i, j);
            plan.regularised_cost += p * (cost(i, j) + eps * log_ratio);
            variance += p * x[i] * x[i];
        }
    }
    plan.slope = plan.cross_covariance / variance; // the regression of y on x
    plan
}

/// F1–F3.
#[test]
fn the_entropic_plan_of_gaussians_is_the_one_sinkhorn_finds() {
    let (a, b, eps) = (1.3, 0.7, 0.4);
    let (closed, grid) = (normal(0.0, a).entropic_plan(&normal(0.0, b), eps).unwrap(), grid_plan(a, b, eps));
    assert_close(closed.cross_covariance[0], grid.cross_covariance, 1e-12);
    assert_close(closed.transport_cost, grid.transport_cost, 1e-12);
    assert_close(closed.regularised_cost, grid.regularised_cost, 1e-12);
    assert_close(closed.map.matrix()[0], grid.slope, 1e-12);
}

/// F1–F3, the 1-D formulas themselves.
#[test]
fn the_entropic_plan_has_its_one_dimensional_form() {
    for (a, b, eps) in [(1.3, 0.7, 0.4), (1.0, 1.7, 1.0), (0.2, 5.0, 1e-3), (1.0, 1.0, 1e3f64)] {
        let plan = normal(0.5, a).entropic_plan(&normal(-1.0, b), eps).unwrap();
        let c = -eps / 2.0 + (a * a * b * b + eps * eps / 4.0f64).sqrt();
        let d = (4.0 * a * a * b * b + eps * eps).sqrt();
        let value = 0.5 * (a * a + b * b - d + eps * (1.0 - (2.0 * eps).ln()) + eps * (d + eps).ln());
        // The formulas cancel at the size of eps.
        let tolerance = 1e-14 * (10.0 + eps);
        assert_close(plan.cross_covariance[0], c, tolerance);
        assert_close(plan.map.matrix()[0], c / (a * a), tolerance / (a * a));
        assert_close(plan.transport_cost, 0.5 * (1.5f64.powi(2) + a * a + b * b - 2.0 * c), tolerance);
        assert_close(plan.regularised_cost, 0.5 * 1.5f64.powi(2) + value, 10.0 * tolerance);
    }
}

/// The density of P is a(x) b(y) exp((f(x) + g(y) − |x−y|²/2)/ε): x and y meet only in x·y/ε, so the precision of the pair has the
/// block −I/ε. With the two marginals this determines C, whatever the covariances.
#[test]
fn the_entropic_plan_of_gaussians_couples_them_through_the_cost_alone() {
    let (d, eps) = (3, 0.3);
    let (a, b) = (gaussian(d, 0), gaussian(d, 1));
    let plan = a.entropic_plan(&b, eps).unwrap();
    let (first, second, cross) = (square(a.covariance()), square(b.covariance()), square(&plan.cross_covariance));
    let mut joint = DMatrix::zeros(2 * d, 2 * d);
    joint.view_mut((0, 0), (d, d)).copy_from(&first);
    joint.view_mut((d, d), (d, d)).copy_from(&second);
    joint.view_mut((0, d), (d, d)).copy_from(&cross);
    joint.view_mut((d, 0), (d, d)).copy_from(&cross.transpose());
    let precision = joint.clone().try_inverse().unwrap();
    let block = precision.view((0, d), (d, d)).into_owned();
    assert_all_close(block.as_slice(), (DMatrix::identity(d, d) * (-1.0 / eps)).as_slice(), 1e-11);
    let information = 0.5 * (first.determinant() * second.determinant() / joint.determinant()).ln();
    assert_close(plan.regularised_cost - plan.transport_cost, eps * information, 1e-12);
    let cost = 0.5 * (squared_distance(a.mean(), b.mean()) + first.trace() + second.trace()) - cross.trace();
    assert_close(plan.transport_cost, cost, 1e-13);
    // E[y | x] has the slope Cᵀ Σ₀^{−1}.
    let regression = cross.transpose() * first.try_inverse().unwrap();
    assert_all_close(plan.map.matrix(), regression.as_slice(), 1e-12);
}

/// Independent axes make independent problems: OT_ε, ⟨P, c⟩ and S_ε add up.
#[test]
fn the_entropic_costs_of_commuting_gaussians_add_up_over_the_axes() {
    let (from, to, eps) = ([1.0, 0.3, 2.0], [0.5, 1.5, 2.0f64], 0.2);
    let diagonal = |s: &[f64]| DMatrix::from_diagonal(&DVector::from_column_slice(s).map(|s| s * s));
    let turn = square(gaussian(3, 7).covariance()).symmetric_eigen().eigenvectors;
    let turned = |s: &[f64]| Gaussian::new(vec![0.0; 3], (&turn * diagonal(s) * turn.transpose()).as_slice()).unwrap();
    let (a, b) = (turned(&from), turned(&to));
    let axes = || from.iter().zip(to).map(|(&s, t)| (normal(0.0, s), normal(0.0, t)));
    let sum = |value: &dyn Fn(&Gaussian, &Gaussian) -> f64| axes().map(|(s, t)| value(&s, &t)).sum::<f64>();
    let check = |value: &dyn Fn(&Gaussian, &Gaussian) -> f64| assert_close(value(&a, &b), sum(value), 1e-13);
    check(&|s, t| s.entropic_plan(t, eps).unwrap().regularised_cost);
    check(&|s, t| s.entropic_plan(t, eps).unwrap().transport_cost);
    check(&|s, t| s.sinkhorn_divergence(t, eps).unwrap());
}

/// F4: halving ε divides the bias of S_ε by four; the bias of OT_ε is of order ε log ε.
#[test]
fn the_sinkhorn_divergence_is_half_the_squared_distance_up_to_eps_squared() {
    let (a, b) = (gaussian(3, 0), gaussian(3, 1));
    let half = 0.5 * a.w2_squared(&b).unwrap();
    let bias = |eps: f64| a.sinkhorn_divergence(&b, eps).unwrap() - half;
    for eps in [0.04, 0.02, 0.01] {
        assert_close((bias(eps) / bias(eps / 2.0)).log2(), 2.0, 0.05);
    }
    assert_close(a.sinkhorn_divergence(&a, 0.3).unwrap(), 0.0, 1e-15);
}

/// As ε → 0 the entropic plan is the optimal one: map and cost agree to O(ε).
#[test]
fn the_entropic_plan_tends_to_the_optimal_map() {
    let (a, b) = (gaussian(3, 0), gaussian(3, 1));
    let (plan, map) = (a.entropic_plan(&b, 1e-9).unwrap(), a.map_to(&b).unwrap());
    assert_all_close(plan.map.matrix(), map.matrix(), 1e-8);
    assert_close(2.0 * plan.transport_cost, a.w2_squared(&b).unwrap(), 1e-8);
}

#[test]
fn numbers_that_make_no_gaussian_are_refused() {
    assert!(matches!(Gaussian::new(vec![0.0; 2], &[1.0]), Err(TransportError::Shape { mean: 2, covariance: 1 })));
    assert!(
        matches!(Gaussian::new(vec![0.0; 2], &[1.0, 2.0, 2.0, 1.0]), Err(TransportError::NotGaussian { smallest }) if smallest < 0.0)
    );
    assert!(
        matches!(Gaussian::new(vec![0.0; 2], &[1.0, 0.5, 0.0, 1.0]), Err(TransportError::NotGaussian { smallest }) if smallest.is_nan())
    );
    assert!(matches!(normal(0.0, 1.0).w2_squared(&gaussian(2, 0)), Err(TransportError::Dimensions { .. })));
    for eps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(normal(0.0, 1.0).entropic_plan(&normal(0.0, 2.0), eps), Err(TransportError::Eps { .. })));
    }
}
