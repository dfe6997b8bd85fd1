//! Where peers give a wrong number without a word: each case here has its right number, or is refused.

use brenier::backend::{Cost, Device, Precision};
use brenier::measure::{Cloud, CloudError};
use brenier::metric::median_distance;
use brenier::random::{Philox, Stream};
use brenier::transport::{Divergence, ExactPlan, Outcome, Plan, Problem, Sinkhorn, TransportError};

const PRECISIONS: [(Precision, f64); 2] = [(Precision::F32, 1e-6), (Precision::F64, 1e-13)];
const COSTS: [Cost; 4] = [Cost::HalfSquaredEuclidean, Cost::Euclidean, Cost::Lp(1.5), Cost::Cosine];

fn cloud(n: usize, d: usize, step: u32) -> Cloud {
    let mut z = vec![0.0; n * d];
    Philox::new(5, Stream::Source).normals(0, step, 0, &mut z);
    Cloud::new(z.into_iter().map(f64::from).collect(), d).unwrap()
}

fn solve(x: &Cloud, y: &Cloud, eps: f64, cost: Cost, precision: Precision) -> Outcome {
    let problem = Problem::new(x, y, eps).unwrap().with_cost(cost).unwrap();
    Sinkhorn { tol: 1e-6, ..Sinkhorn::default() }.solve(&problem, &Device::cpu(precision)).unwrap()
}

#[track_caller]
fn assert_close(value: f64, truth: f64, relative: f64) {
    assert!((value - truth).abs() <= relative * truth.abs(), "{value} for {truth}");
}

#[test]
fn numbers_that_are_none_are_refused_by_row_and_column() {
    let refused = Cloud::new(vec![0.0, 1.0, 2.0, f64::NAN], 2).unwrap_err();
    assert!(matches!(refused, CloudError::NotFinite { row: 1, column: 1, value } if value.is_nan()));
    for weight in [f64::NAN, f64::INFINITY, -1.0] {
        let refused = cloud(3, 1, 0).with_weights(vec![1.0, weight, 1.0]).unwrap_err();
        assert!(matches!(refused, CloudError::BadWeight { row: 1, .. }));
    }
    assert!(matches!(Problem::new(&cloud(2, 1, 0), &cloud(2, 1, 1), f64::NAN), Err(TransportError::Eps { .. })));
}

/// A cloud is a measure of mass one: weights say shares, whatever they add up to.
#[test]
fn weights_of_unequal_mass_are_shares() {
    let (x, y) = (cloud(20, 2, 2), cloud(30, 2, 3));
    let shares: Vec<f64> = (1..=30).map(f64::from).collect();
    let of = |factor: f64| y.clone().with_weights(shares.iter().map(|w| factor * w).collect()).unwrap();
    for (precision, _) in PRECISIONS {
        let [one, other] = [1.0, 1024.0].map(|factor| solve(&x, &of(factor), 0.3, Cost::HalfSquaredEuclidean, precision));
        assert_eq!(one, other);
        assert!((one.mass - 1.0).abs() < 1e-6);
    }
}

#[test]
fn an_eps_too_small_for_the_precision_is_refused_with_one_that_is_not() {
    let (x, y) = (cloud(40, 2, 4), cloud(40, 2, 5));
    for cost in COSTS {
        let at = |eps: f64| {
            let problem = Problem::new(&x, &y, eps).unwrap().with_cost(cost).unwrap();
            let counted = Sinkhorn { tol: 0.0, max_iter: 5, plain: true };
            counted.solve(&problem, &Device::cpu(Precision::F32))
        };
        let Err(TransportError::EpsTooSmall { smallest, .. }) = at(1e-9) else { panic!("{cost} at 1e-9") };
        assert!(smallest < 1e-3 && at(1.01 * smallest).unwrap().dual.is_finite(), "{cost}: {smallest}");
    }
}

/// An offset of 1e4 of both clouds, in single precision, against no offset in double.
#[test]
fn an_offset_far_beyond_the_clouds_costs_no_digits() {
    let (x, y) = (cloud(50, 3, 6), cloud(60, 3, 7));
    let far = |cloud: &Cloud| cloud.with_points(cloud.points().iter().map(|x| x + 1e4).collect()).unwrap();
    for cost in [Cost::HalfSquaredEuclidean, Cost::Euclidean, Cost::Lp(1.5)] {
        let near = solve(&x, &y, 0.2, cost, Precision::F64);
        let far = solve(&far(&x), &far(&y), 0.2, cost, Precision::F32);
        assert_close(far.dual, near.dual, 1e-5);
        assert_close(far.transport_cost, near.transport_cost, 1e-5);
    }
}

/// Clouds 1e4 apart: in single precision the likeliest partners, a warm start from the solution, and the plan's rows are those of
/// double precision, although potentials with one constant on f alone are 1e8.
#[test]
fn the_distance_between_clouds_costs_no_digits() {
    let (x, near) = (cloud(50, 3, 6), cloud(60, 3, 7));
    let y = near.with_points(near.points().iter().map(|y| y + 1e4).collect()).unwrap();
    let problem = Problem::new(&x, &y, 0.2).unwrap();
    let [single, double] = [Precision::F32, Precision::F64].map(Device::cpu);
    let solver = Sinkhorn { tol: 1e-5, ..Sinkhorn::default() };
    let solved = solver.solve(&problem, &double).unwrap();
    let top = |device: &Device| {
        let plan = Plan::new(&problem, &solved.potentials).unwrap();
        plan.partners_of_source().top(&x, 5, device).unwrap().probability
    };
    let (found, expected) = (top(&single), top(&double));
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-4, "{found} for {expected}");
    }
    let again = solver.solve_from(&problem, &solved.potentials, &single).unwrap();
    assert!(again.converged && again.iterations <= 1, "{} iterations", again.iterations);
    assert_close(again.transport_cost, solved.transport_cost, 1e-6);
}

/// An ε beside which single precision cannot tell the costs apart is refused, one below the limit it names is right to three digits,
/// and so is the same ε in double precision: the plan is the product, and OT_ε the mean cost.
#[test]
fn an_eps_too_large_for_the_precision_is_refused_with_one_that_is_not() {
    let (x, y) = (cloud(40, 2, 4), cloud(40, 2, 5));
    let at =
        |eps: f64, precision: Precision| Sinkhorn::default().solve(&Problem::new(&x, &y, eps).unwrap(), &Device::cpu(precision));
    let Err(TransportError::EpsTooLarge { largest, .. }) = at(1e8, Precision::F32) else { panic!("refused") };
    let pairs = x.rows().flat_map(|x| y.rows().map(move |y| x.iter().zip(y).map(|(x, y)| 0.5 * (x - y).powi(2)).sum::<f64>()));
    let mean = pairs.sum::<f64>() / 1600.0;
    for (eps, precision) in [(0.99 * largest, Precision::F32), (1e8, Precision::F64)] {
        assert_close(at(eps, precision).unwrap().regularised_cost, mean, 2e-3);
    }
}

/// A reach far below the digits of the costs is refused; at the least that is not, next to nothing moves.
#[test]
fn a_reach_below_the_digits_of_the_costs_is_refused() {
    let (x, y) = (cloud(40, 2, 4), cloud(40, 2, 5));
    let at = |rho: f64| {
        let problem = Problem::new(&x, &y, 0.2).unwrap().with_rho(Some(rho), Some(rho)).unwrap();
        Sinkhorn::default().solve(&problem, &Device::cpu(Precision::F64))
    };
    let Err(TransportError::RhoTooSmall { smallest, .. }) = at(1e-18) else { panic!("refused") };
    assert!(smallest < 1e-12);
    let (at_the_limit, well_within) = (at(1.01 * smallest).unwrap(), at(1e-9).unwrap());
    assert_close(at_the_limit.transport_cost, well_within.transport_cost, 0.05);
}

/// A point without mass is masked wherever it lies, first or last, and changes no digit of the plan's costs.
#[test]
fn a_masked_point_changes_nothing_wherever_it_lies() {
    let (x, y) = (cloud(30, 2, 4), cloud(40, 2, 5));
    let plain = solve(&x, &y, 0.3, Cost::HalfSquaredEuclidean, Precision::F64);
    for first in [true, false] {
        let mut points = x.points().to_vec();
        let mut weights = vec![1.0; 30];
        let at = if first { 0 } else { 30 };
        points.splice(2 * at..2 * at, [1e20, -1e20]);
        weights.insert(at, 0.0);
        let masked = Cloud::new(points, 2).unwrap().with_weights(weights).unwrap();
        let found = solve(&masked, &y, 0.3, Cost::HalfSquaredEuclidean, Precision::F64);
        assert_close(found.transport_cost, plain.transport_cost, 1e-12);
        assert_close(found.dual, plain.dual, 1e-9);
    }
}

/// The median distance to the nearest point is under the weights, and points without mass are neither near nor far.
#[test]
fn nearest_neighbours_are_those_with_mass() {
    let device = Device::cpu(Precision::F64);
    let line = |points: &[f64], weights: &[f64]| Cloud::new(points.to_vec(), 1).unwrap().with_weights(weights.to_vec()).unwrap();
    let reference = line(&[0.0, 10.0, 2.9], &[1.0, 1.0, 0.0]);
    // At distances 1, 3, 4 and 50 of masses 0.2, 0.2, 0.6 and none.
    let cloud = line(&[1.0, 3.0, 14.0, 60.0], &[1.0, 1.0, 3.0, 0.0]);
    assert_eq!(median_distance(&cloud, &reference, &device).unwrap(), 4.0);
    let even = line(&[1.0, 3.0, 14.0, 60.0], &[3.0, 1.0, 1.0, 0.0]);
    assert_eq!(median_distance(&even, &reference, &device).unwrap(), 1.0);
}

/// Equal measures are at distance 0, by the divergence, the exact plan, and whatever their order.
#[test]
fn identical_clouds_are_at_distance_zero() {
    let x = cloud(50, 2, 8);
    let backwards = x.select(&(0..50).rev().collect::<Vec<_>>()).unwrap();
    for cost in COSTS {
        for (precision, rounding) in PRECISIONS {
            let tol = if precision == Precision::F32 { 1e-6 } else { 1e-8 };
            let (device, solver) = (Device::cpu(precision), Sinkhorn { tol, ..Sinkhorn::default() });
            for other in [&x, &backwards] {
                let problem = Problem::new(&x, other, 0.1).unwrap().with_cost(cost).unwrap();
                let divergence = Divergence::like(&problem, solver, &device).unwrap().from(&x, &device).unwrap();
                // A dual is off by its marginal error times that of its potentials, and by rounding.
                assert!(divergence.abs() < 1e-8 + 100.0 * rounding, "{cost}: {divergence:e}");
            }
        }
    }
    assert!(ExactPlan::new(&x, &backwards).unwrap().w2_squared.unwrap().abs() < 1e-14);
}

/// One point to one: P = 1, and every value is c.
#[test]
fn one_point_goes_to_the_other() {
    let [x, y] = [[3.0, -1.0], [0.5, 2.0]].map(|point| Cloud::new(point.to_vec(), 2).unwrap());
    for cost in COSTS {
        for (precision, rounding) in PRECISIONS {
            // Powers take two more roundings of exponents.
            let relative = if matches!(cost, Cost::Lp(_)) { 10.0 * rounding } else { rounding };
            let problem = Problem::new(&x, &y, 0.1).unwrap().with_cost(cost).unwrap();
            let c = problem.cost().between(x.row(0), y.row(0));
            let outcome = solve(&x, &y, 0.1, cost, precision);
            assert!(outcome.converged && outcome.iterations <= 4, "{}", outcome.iterations);
            assert_close(outcome.transport_cost, c, relative);
            assert_close(outcome.dual, c, relative);
            assert_close(outcome.potentials.f[0], c, relative);
            assert_eq!(outcome.map(), y.points());
            // (f + g − c)/ε, with c/ε up to a hundred.
            assert!(outcome.entropy.abs() < 1e3 * relative, "{}", outcome.entropy);
        }
    }
}

/// Every point three times over is the same measure; all points at one place are one point.
#[test]
fn duplicated_points_are_one() {
    let (x, y) = (cloud(20, 2, 9), cloud(25, 2, 10));
    let thrice = |cloud: &Cloud| Cloud::new(cloud.points().repeat(3), 2).unwrap();
    for cost in COSTS {
        let once = solve(&x, &y, 0.2, cost, Precision::F64);
        let many = solve(&thrice(&x), &thrice(&y), 0.2, cost, Precision::F64);
        assert_close(many.dual, once.dual, 1e-9);
        assert_close(many.transport_cost, once.transport_cost, 1e-5);
        let heap = Cloud::new(x.row(0).repeat(40), 2).unwrap();
        let mean =
            (0..y.len()).map(|j| Problem::new(&x, &y, 1.0).unwrap().with_cost(cost).unwrap().cost().between(x.row(0), y.row(j)));
        assert_close(solve(&heap, &y, 0.2, cost, Precision::F32).transport_cost, mean.sum::<f64>() / 25.0, 1e-5);
    }
}

/// Weights a million to one: the light point counts for its share and no more. To one point the plan is a: Σ a c; to two, the plan of
/// a 2 × 2 problem solves a quadratic equation.
#[test]
fn weights_of_a_million_to_one_keep_their_shares() {
    let x = Cloud::new(vec![0.0, 3.0], 1).unwrap().with_weights(vec![1e6, 1.0]).unwrap();
    let (share, eps) = (x.weight(1), 0.5);
    let y = Cloud::new(vec![1.0, 2.0], 1).unwrap();
    for (precision, relative) in PRECISIONS {
        let to_one = solve(&x, &Cloud::new(vec![1.0], 1).unwrap(), eps, Cost::Euclidean, precision);
        assert_close(to_one.transport_cost, (1.0 - share) + 2.0 * share, 10.0 * relative);
        // P₁₁ P₂₂ / (P₁₂ P₂₁) = exp(−(c₁₁ + c₂₂ − c₁₂ − c₂₁)/ε) with P₂₂ = s, P₂₁ = share − s, P₁₂ = ½ − s, P₁₁ = ½ − share + s.
        let ratio = (3.0f64 / eps).exp(); // c = ½|x−y|²: ½ + ½ − 2 − 2 = −3
        let residual = |s: f64| (0.5 - share + s) * s - ratio * (0.5 - s) * (share - s);
        let (mut low, mut high) = (0.0, share);
        for _ in 0..200 {
            let middle = 0.5 * (low + high);
            if residual(middle) > 0.0 { high = middle } else { low = middle }
        }
        let truth = 0.5 * (0.5 - share + low) + 2.0 * (0.5 - low) + 2.0 * (share - low) + 0.5 * low;
        let problem = Problem::new(&x, &y, eps).unwrap();
        let outcome = Sinkhorn { tol: 1e-9, ..Sinkhorn::default() }.solve(&problem, &Device::cpu(precision)).unwrap();
        assert_close(outcome.transport_cost, truth, 100.0 * relative);
        let light = 1.0 + low / share;
        assert_close(outcome.map()[1], light, 100.0 * relative);
    }
}

/// One point against a million: the plan is b, and the costs are sums over it.
#[test]
fn one_point_spreads_over_a_million() {
    let (x, y) = (Cloud::new(vec![0.5, 0.0, -0.5], 3).unwrap(), cloud(1_000_000, 3, 11));
    for cost in [Cost::HalfSquaredEuclidean, Cost::Euclidean] {
        let problem = Problem::new(&x, &y, 0.05).unwrap().with_cost(cost).unwrap();
        let truth = y.rows().map(|y| problem.cost().between(x.row(0), y)).sum::<f64>() / 1e6;
        let mean = y.mean();
        for (from, to, map) in [(&x, &y, Some(mean)), (&y, &x, None)] {
            let outcome = solve(from, to, 0.05, cost, Precision::F32);
            assert_close(outcome.transport_cost, truth, 1e-5);
            assert_close(outcome.dual, truth, 1e-5);
            for (found, expected) in outcome.map().iter().zip(map.unwrap_or(x.points().to_vec())) {
                assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
            }
        }
    }
}
