//! Exact plans under any cost: proved by their own potentials, by all permutations, and as the limit of entropic plans.

use brenier::backend::{Cost, Device, Precision};
use brenier::measure::Cloud;
use brenier::random::{Philox, Stream};
use brenier::transport::{ExactPlan, GroundCost, LabelCost, Problem, Sinkhorn, Solved, TransportError};

/// Numbers of [0, 1).
fn uniforms(count: usize, step: u32) -> Vec<f64> {
    let philox = Philox::new(3, Stream::Metric);
    (0..count).map(|i| philox.uniform(i as u32, step, 0)).collect()
}

/// n points of [−½, ½)^d, every tenth of them without mass where `weighted`.
fn cloud(n: usize, d: usize, step: u32, weighted: bool) -> Cloud {
    let cloud = Cloud::new(uniforms(n * d, step).iter().map(|u| u - 0.5).collect(), d).unwrap();
    let weights = (0..n).map(|i| if i % 10 == 9 { 0.0 } else { 1.0 + (i % 4) as f64 }).collect();
    if weighted { cloud.with_weights(weights).unwrap() } else { cloud }
}

fn weights(cloud: &Cloud) -> Vec<f64> {
    (0..cloud.len()).map(|i| cloud.weight(i)).collect()
}

/// The whole certificate: marginals, feasible potentials, complementary slackness, Σ b g = 0, and equal values.
#[track_caller]
fn certify(plan: &ExactPlan, [a, b]: [&[f64]; 2], cost: impl Fn(usize, usize) -> f64) {
    let (n, m, f, g) = (a.len(), b.len(), &plan.potentials.f, &plan.potentials.g);
    let largest = (0..n * m).fold(1.0, |largest: f64, at| largest.max(cost(at / m, at % m).abs()));
    // Potentials add up some hundred costs.
    let rounding = 1e-13 * largest;
    let (mut rows, mut columns, mut primal) = (vec![0.0; n], vec![0.0; m], 0.0);
    for entry in &plan.entries {
        let (i, j) = (entry.source, entry.target);
        rows[i] += entry.mass;
        columns[j] += entry.mass;
        primal += entry.mass * cost(i, j);
        assert!((cost(i, j) - f[i] - g[j]).abs() < rounding, "slack where mass moves");
    }
    let off = |found: &[f64], mass: &[f64]| found.iter().zip(mass).fold(0.0, |off: f64, (p, q)| off.max((p - q).abs()));
    assert!(off(&rows, a) < 1e-14 && off(&columns, b) < 1e-14, "marginals");
    let worth = (0..n * m).fold(f64::NEG_INFINITY, |most, at| most.max(f[at / m] + g[at % m] - cost(at / m, at % m)));
    assert!(worth < rounding, "a pair is worth {worth} more than it costs");
    let dot = |mass: &[f64], potential: &[f64]| mass.iter().zip(potential).map(|(a, f)| a * f).sum::<f64>();
    assert!(dot(b, g).abs() < rounding && (dot(a, f) - primal).abs() < rounding);
    assert!((plan.transport_cost - primal).abs() < rounding && plan.dual <= plan.transport_cost && plan.is_proved());
    assert!(plan.entries.len() < n + m);
}

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found} for {expected}");
}

fn costs() -> Vec<GroundCost> {
    let known = [Cost::HalfSquaredEuclidean, Cost::Euclidean, Cost::Lp(1.0), Cost::Lp(1.5), Cost::Cosine].map(GroundCost::Known);
    let negative = GroundCost::given(|x, y| (3.0 * x[0] - y[0]).sin() - 2.0 * y[1]);
    known.into_iter().chain([negative]).collect()
}

/// W of 3 and 4 classes.
fn classes(n: usize, m: usize) -> LabelCost {
    let label = |count: usize, k: u32| (0..count as u32).map(|i| i * i % k).collect::<Vec<u32>>().into();
    let table = uniforms(12, 99).iter().map(|u| u - 0.5).collect::<Vec<f64>>().into();
    LabelCost { source: label(n, 3), target: label(m, 4), table, columns: 4 }
}

#[test]
fn plans_under_every_cost_with_and_without_classes_are_proved_by_their_potentials() {
    for (n, m, d) in [(1, 40, 2), (40, 1, 2), (30, 50, 2), (260, 230, 2), (90, 120, 10)] {
        let (x, y) = (cloud(n, d, 0, true), cloud(m, d, 1, n > m));
        let (a, b, with) = (weights(&x), weights(&y), classes(n, m));
        for cost in costs() {
            for classes in [None, Some(&with)] {
                let plan = ExactPlan::under(&x, &y, &cost, classes).unwrap();
                let label =
                    |i: usize, j: usize| classes.map_or(0.0, |of| of.table[of.source[i] as usize * 4 + of.target[j] as usize]);
                certify(&plan, [&a, &b], |i, j| cost.between(x.row(i), y.row(j)) + label(i, j));
                let is_w2 = cost.is_half_squared() && classes.is_none();
                assert_eq!(plan.w2_squared, is_w2.then_some(2.0 * plan.transport_cost));
                // The map is the mean of where mass goes.
                let map = plan.map.as_ref().unwrap();
                let mean: f64 = (0..n).map(|i| a[i] * map[i * d]).sum();
                near(mean, y.mean()[0], 1e-14);
            }
        }
    }
}

/// The matrix of all costs has the plan that the points have.
#[test]
fn a_matrix_of_costs_is_solved_as_the_points_it_came_from() {
    let (x, y) = (cloud(420, 2, 0, true), cloud(310, 2, 1, true));
    let (a, b) = (weights(&x), weights(&y));
    for cost in costs() {
        let matrix: Vec<f64> = x.rows().flat_map(|x| y.rows().map(|y| cost.between(x, y)).collect::<Vec<f64>>()).collect();
        let (given, points) = (ExactPlan::of_costs(&a, &b, &matrix).unwrap(), ExactPlan::under(&x, &y, &cost, None).unwrap());
        certify(&given, [&a, &b], |i, j| matrix[i * 310 + j]);
        near(given.transport_cost, points.transport_cost, 1e-14);
        assert_eq!((given.w2_squared, &given.map), (None, &None));
        let solved = Solved::from(given);
        assert!(solved.converged && solved.map.is_none() && solved.plan.unwrap().lengths() == [420, 310]);
    }
}

/// Every order of 0..n.
fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(n - 1);
    shorter.iter().flat_map(|order| (0..n).map(|at| [&order[..at], &[n - 1], &order[at..]].concat())).collect()
}

/// Real costs of both signs, and whole ones of which most are tied.
#[test]
fn no_permutation_costs_less_than_the_plan_of_a_matrix() {
    for n in 1..=7 {
        let orders = permutations(n);
        for trial in 0..12 {
            let real = |u: &f64| 2.0 * u - 1.0;
            let whole = |u: &f64| (5.0 * u).floor() - 2.0;
            let numbers = uniforms(n * n, 10 + trial);
            let matrix: Vec<f64> =
                if trial % 2 == 0 { numbers.iter().map(real).collect() } else { numbers.iter().map(whole).collect() };
            let mass = vec![1.0 / n as f64; n];
            let plan = ExactPlan::of_costs(&mass, &mass, &matrix).unwrap();
            certify(&plan, [&mass, &mass], |i, j| matrix[i * n + j]);
            let cost = |order: &Vec<usize>| order.iter().enumerate().map(|(i, j)| matrix[i * n + j]).sum::<f64>() / n as f64;
            near(plan.transport_cost, orders.iter().map(cost).fold(f64::INFINITY, f64::min), 1e-15);
        }
    }
}

/// ⟨P, u ⊕ v⟩ = a·u + b·v is the same for all plans, so adding it, of any size and sign, moves the cost by that and nothing else.
#[test]
fn costs_of_single_points_are_paid_by_every_plan() {
    let (n, m) = (80, 70);
    let (a, b) = (weights(&cloud(n, 1, 0, true)), weights(&cloud(m, 1, 0, true)));
    let matrix = uniforms(n * m, 5);
    let plan = ExactPlan::of_costs(&a, &b, &matrix).unwrap();
    let (u, v) = (uniforms(n, 6), uniforms(m, 7));
    let shifted: Vec<f64> = (0..n * m).map(|at| matrix[at] + 30.0 * u[at / m] - 50.0 * v[at % m]).collect();
    let moved = ExactPlan::of_costs(&a, &b, &shifted).unwrap();
    certify(&moved, [&a, &b], |i, j| shifted[i * m + j]);
    let dot = |mass: &[f64], of: &[f64]| mass.iter().zip(of).map(|(a, u)| a * u).sum::<f64>();
    near(moved.transport_cost, plan.transport_cost + 30.0 * dot(&a, &u) - 50.0 * dot(&b, &v), 1e-12);
    assert_eq!(moved.entries, plan.entries);
    for constant in [-3.0, 0.0, 1e-300, 7e20] {
        let plan = ExactPlan::of_costs(&a, &b, &vec![constant; n * m]).unwrap();
        near(plan.transport_cost, constant, 1e-14 * constant.abs());
        assert!(plan.is_proved());
    }
    // All that moves costs nothing, and what does not would earn: proved all the same.
    let plan = ExactPlan::of_costs(&[0.5, 0.5], &[0.5, 0.5], &[0.0, -1.0, 5.0, 0.0]).unwrap();
    assert!(plan.is_proved() && plan.transport_cost == 0.0);
}

/// Under a concave cost of the distance on a line mass that both have stays, and the ways of two masses lie one within the other or
/// apart, never crossing (McCann 1999); under a convex one they keep their order.
#[test]
fn ways_on_a_line_do_not_cross_under_a_concave_cost() {
    let (x, y) = (cloud(90, 1, 0, true), cloud(80, 1, 1, true));
    let concave = |x: &[f64], y: &[f64]| (x[0] - y[0]).abs().sqrt();
    let plan = ExactPlan::under(&x, &y, &GroundCost::given(concave), None).unwrap();
    let ways: Vec<[f64; 2]> = plan.entries.iter().map(|e| [x.points()[e.source], y.points()[e.target]]).collect();
    let within = |at: f64, [from, to]: [f64; 2]| at > from.min(to) && at < from.max(to);
    for one in &ways {
        for other in &ways {
            assert!(
                one[0] == other[0] || one[1] == other[1] || within(one[0], *other) == within(one[1], *other),
                "{one:?} crosses {other:?}"
            );
        }
    }
    let same = |cloud: &Cloud| Cloud::new([cloud.points(), &[2.0, 3.0]].concat(), 1).unwrap();
    let (x, y) = (same(&cloud(60, 1, 0, false)), same(&cloud(60, 1, 1, false)));
    let plan = ExactPlan::under(&x, &y, &GroundCost::given(concave), None).unwrap();
    assert!([60, 61].iter().all(|&i| plan.entries.iter().any(|e| e.source == i && e.target == i)), "what both have stays");
    let convex = GroundCost::given(|x, y| (x[0] - y[0]).abs().powi(3));
    let plan = ExactPlan::under(&x, &y, &convex, None).unwrap();
    let mut ways: Vec<[f64; 2]> = plan.entries.iter().map(|e| [x.points()[e.source], y.points()[e.target]]).collect();
    ways.sort_unstable_by(|p, q| p[0].total_cmp(&q[0]));
    assert!(ways.is_sorted_by(|p, q| p[1] <= q[1]));
}

/// 0 ≤ ⟨P_ε, c⟩ − min ⟨P, c⟩ ≤ ε KL(P ‖ a⊗b) ≤ ε log n for the optimal P, and g nears the exact one's where that is the only one.
#[test]
fn entropic_plans_tend_to_the_exact_one_under_every_cost() {
    let device = Device::cpu(Precision::F64);
    let (x, y) = (cloud(40, 2, 0, false), cloud(40, 2, 1, false));
    let with = classes(40, 40);
    for cost in costs() {
        let exact = ExactPlan::under(&x, &y, &cost, Some(&with)).unwrap().transport_cost;
        let mean = cost.mean(&x, &y, 0).abs();
        for eps in [0.1 * mean, 0.01 * mean] {
            let problem = Problem::new(&x, &y, eps).unwrap();
            let problem = match cost.clone() {
                GroundCost::Known(cost) => problem.with_cost(cost),
                given => problem.with_cost_function(move |x, y| given.between(x, y)),
            };
            let problem = problem.unwrap().with_labels(with.clone()).unwrap();
            let outcome = Sinkhorn { tol: 1e-9, max_iter: 100_000, plain: false }.solve(&problem, &device).unwrap();
            let above = outcome.transport_cost - exact;
            assert!(above > -1e-9 && above < eps * 40f64.ln(), "{cost:?} at {eps}: {above}");
        }
    }
}

#[test]
fn what_makes_no_matrix_is_refused_by_its_number() {
    let of = |a: &[f64], b: &[f64], costs: &[f64]| ExactPlan::of_costs(a, b, costs).unwrap_err();
    assert_eq!(of(&[1.0, 1.0], &[1.0], &[1.0]), TransportError::Values { what: "costs", len: 1, rows: 2, p: 1 });
    assert_eq!(of(&[1.0], &[1.0, 1.0], &[1.0, f64::INFINITY]), TransportError::Cost { i: 0, j: 1, value: f64::INFINITY });
    assert_eq!(of(&[1.0], &[1.0, 1.0], &[1.0, 1e301]), TransportError::Overflow);
    assert_eq!(of(&[1.0; 5001], &[1.0; 2], &[]), TransportError::TooMany { n: 5001, limit: 5000 });
    assert!(matches!(of(&[1.0, -1.0], &[1.0], &[1.0, 1.0]), TransportError::Cloud(_)));
    assert!(matches!(of(&[], &[1.0], &[]), TransportError::Cloud(_)));
    let x = cloud(5, 2, 0, false);
    let under = |cost, classes| ExactPlan::under(&x, &x, &cost, classes).unwrap_err();
    assert_eq!(under(GroundCost::Known(Cost::Lp(0.5)), None), TransportError::Power { p: 0.5 });
    assert!(matches!(under(GroundCost::given(|_, _| f64::NAN), None), TransportError::Cost { i: 0, j: 0, .. }));
    let few = classes(4, 5);
    let labels = TransportError::Labels { n: 5, m: 5, rows: 3, columns: 4 };
    assert_eq!(under(GroundCost::Known(Cost::Euclidean), Some(&few)), labels);
}
