//! Invariances of entropic and exact transport over random clouds, through the public API.

use brenier::backend::{Device, Precision};
use brenier::measure::Cloud;
use brenier::transport::{Divergence, Outcome, Problem, Sinkhorn, assign};
use proptest::prelude::*;

/// Potentials are then known to about ε · 1e-10 times the conditioning, values to its square.
const SOLVER: Sinkhorn = Sinkhorn { tol: 1e-10, max_iter: 10_000, plain: false };
/// What is left of potentials of size one at that tolerance.
const POTENTIAL: f64 = 1e-7;
/// Values are stationary in the potentials: only rounding is left.
const VALUE: f64 = 1e-10;
/// In units of c; costs here are of size one.
const EPS: f64 = 0.4;

fn device() -> Device {
    Device::cpu(Precision::F64)
}

fn solve(x: &Cloud, y: &Cloud, eps: f64) -> Outcome {
    let outcome = SOLVER.solve(&Problem::new(x, y, eps).unwrap(), &device(), None, None).unwrap();
    assert!(outcome.converged, "marginal error {} after {} iterations", outcome.marginal_error, outcome.iterations);
    outcome
}

/// n weighted points of [−1, 1]^d.
fn cloud(n: usize, d: usize) -> impl Strategy<Value = Cloud> {
    let points = prop::collection::vec(-1.0..1.0f64, n * d);
    (points, prop::collection::vec(0.1..1.0f64, n))
        .prop_map(move |(points, weights)| Cloud::new(points, d).unwrap().with_weights(weights).unwrap())
}

fn pair() -> impl Strategy<Value = (Cloud, Cloud)> {
    (1..12usize, 1..12usize, 1..4usize).prop_flat_map(|(n, m, d)| (cloud(n, d), cloud(m, d)))
}

/// The cloud with `change` applied to every coordinate.
fn mapped(cloud: &Cloud, change: impl Fn(f64) -> f64) -> Cloud {
    let points = cloud.points().iter().map(|&x| change(x)).collect();
    Cloud::new(points, cloud.dim()).unwrap().with_weights(cloud.weights().unwrap().to_vec()).unwrap()
}

/// Whether two values agree to `tolerance` of `unit`.
fn near(a: f64, b: f64, unit: f64, tolerance: f64) -> Result<(), TestCaseError> {
    prop_assert!((a - b).abs() <= tolerance * unit, "{a} and {b}");
    Ok(())
}

fn all_near(a: &[f64], b: &[f64], unit: f64, tolerance: f64) -> Result<(), TestCaseError> {
    prop_assert_eq!(a.len(), b.len());
    a.iter().zip(b).try_for_each(|(&a, &b)| near(a, b, unit, tolerance))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn permuting_points_permutes_potentials_and_map((x, y) in pair(), seed in any::<u32>()) {
        let order = brenier::random::Philox::new(seed, brenier::random::Stream::Split).permutation(x.len(), x.len(), 0);
        let (straight, permuted) = (solve(&x, &y, EPS), solve(&x.select(&order).unwrap(), &y, EPS));
        let f: Vec<f64> = order.iter().map(|&i| straight.potentials.f[i]).collect();
        let map: Vec<f64> = order.iter().flat_map(|&i| &straight.map[i * x.dim()..][..x.dim()]).copied().collect();
        all_near(&permuted.potentials.f, &f, 1.0, POTENTIAL)?;
        all_near(&permuted.potentials.g, &straight.potentials.g, 1.0, POTENTIAL)?;
        all_near(&permuted.map, &map, 1.0, POTENTIAL)?;
        near(permuted.dual, straight.dual, 1.0, VALUE)?;
    }

    #[test]
    fn a_common_translation_changes_nothing_but_the_map((x, y) in pair(), offset in -1e3..1e3f64) {
        let (here, there) = (solve(&x, &y, EPS), solve(&mapped(&x, |x| x + offset), &mapped(&y, |y| y + offset), EPS));
        all_near(&there.potentials.f, &here.potentials.f, 1.0, POTENTIAL)?;
        all_near(&there.potentials.g, &here.potentials.g, 1.0, POTENTIAL)?;
        all_near(&there.map, &here.map.iter().map(|t| t + offset).collect::<Vec<_>>(), 1.0, POTENTIAL)?;
        // Coordinates near 1,000 are themselves rounded to 1e-13.
        near(there.dual, here.dual, 1.0, 1e3 * VALUE)?;
        near(there.transport_cost, here.transport_cost, 1.0, POTENTIAL)?;
    }

    #[test]
    fn scaling_lengths_scales_all_values_by_the_square((x, y) in pair(), log_scale in -20.0..20.0f64) {
        let scale = log_scale.exp2();
        let square = scale * scale;
        let (one, scaled) = (solve(&x, &y, EPS), solve(&mapped(&x, |x| scale * x), &mapped(&y, |y| scale * y), square * EPS));
        near(scaled.dual, square * one.dual, square, VALUE)?;
        near(scaled.regularised_cost, square * one.regularised_cost, square, VALUE)?;
        near(scaled.transport_cost, square * one.transport_cost, square, POTENTIAL)?;
        all_near(&scaled.map, &one.map.iter().map(|t| scale * t).collect::<Vec<_>>(), scale, POTENTIAL)?;
    }

    #[test]
    fn transport_there_costs_what_transport_back_costs((x, y) in pair()) {
        let (there, back) = (solve(&x, &y, EPS), solve(&y, &x, EPS));
        near(there.dual, back.dual, 1.0, VALUE)?;
        near(there.regularised_cost, back.regularised_cost, 1.0, VALUE)?;
        near(there.transport_cost, back.transport_cost, 1.0, POTENTIAL)?;
        // Potentials are swapped, up to the constant that Σ b g = 0 fixes.
        let shift = there.potentials.f[0] - back.potentials.g[0];
        let swapped: Vec<f64> = back.potentials.g.iter().map(|g| g + shift).collect();
        all_near(&there.potentials.f, &swapped, 1.0, POTENTIAL)?;
    }

    #[test]
    fn splitting_a_point_changes_nothing((x, y) in pair(), share in 0.0..1.0f64) {
        let mut weights = y.weights().unwrap().to_vec();
        weights.push(share * weights[0]);
        weights[0] *= 1.0 - share;
        let split = Cloud::new([y.points(), y.row(0)].concat(), y.dim()).unwrap().with_weights(weights).unwrap();
        let (whole, halves) = (solve(&x, &y, EPS), solve(&x, &split, EPS));
        near(halves.dual, whole.dual, 1.0, VALUE)?;
        all_near(&halves.potentials.f, &whole.potentials.f, 1.0, POTENTIAL)?;
        all_near(&halves.map, &whole.map, 1.0, POTENTIAL)?;
        near(halves.potentials.g[y.len()], halves.potentials.g[0], 1.0, POTENTIAL)?;
    }

    /// The plan of the potentials has the marginals, costs and mean that the outcome says.
    #[test]
    fn the_outcome_describes_the_plan_of_its_potentials((x, y) in pair()) {
        let outcome = solve(&x, &y, EPS);
        let (f, g) = (&outcome.potentials.f, &outcome.potentials.g);
        let cost = |i: usize, j: usize| 0.5 * x.row(i).iter().zip(y.row(j)).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
        let plan = |i: usize, j: usize| x.weight(i) * y.weight(j) * ((f[i] + g[j] - cost(i, j)) / EPS).exp();
        let (rows, columns) = (|| 0..x.len(), || 0..y.len());
        for j in columns() {
            near(rows().map(|i| plan(i, j)).sum(), y.weight(j), 1.0, 1e-12)?;
        }
        for i in rows() {
            near(columns().map(|j| plan(i, j)).sum(), x.weight(i), 1.0, outcome.marginal_error + 1e-12)?;
        }
        let over_pairs = |term: &dyn Fn(usize, usize) -> f64| rows().flat_map(|i| columns().map(move |j| term(i, j))).sum::<f64>();
        near(over_pairs(&|i, j| plan(i, j) * cost(i, j)), outcome.transport_cost, 1.0, 1e-12)?;
        let entropy = over_pairs(&|i, j| plan(i, j) * (plan(i, j) / (x.weight(i) * y.weight(j))).ln());
        near(outcome.transport_cost + EPS * entropy, outcome.regularised_cost, 1.0, VALUE)?;
        near(outcome.dual, outcome.regularised_cost, 1.0, VALUE)?;
    }

    #[test]
    fn the_dual_value_rises_to_its_limit_with_the_iterations((x, y) in pair()) {
        let limit = solve(&x, &y, EPS).dual;
        let problem = Problem::new(&x, &y, EPS).unwrap();
        let mut last = f64::NEG_INFINITY;
        for max_iter in [1, 2, 3, 5, 9] {
            let solver = Sinkhorn { tol: 0.0, max_iter, plain: true };
            let dual = solver.solve(&problem, &device(), None, None).unwrap().dual;
            prop_assert!(last <= dual + 1e-12 && dual <= limit + 1e-12, "{last} {dual} {limit}");
            last = dual;
        }
    }

    #[test]
    fn the_divergence_is_not_negative_and_symmetric((x, y) in pair()) {
        let device = device();
        let between = |a: &Cloud, b: &Cloud| Divergence::to(b, EPS, SOLVER, &device).unwrap().from(a, &device).unwrap();
        let there = between(&x, &y);
        prop_assert!(there >= -VALUE, "{there}");
        near(there, between(&y, &x), 1.0, VALUE)?;
        near(between(&x, &x), 0.0, 1.0, VALUE)?;
    }

    /// W₂ by assignment is a distance: W(x, z) ≤ W(x, y) + W(y, z), W(x, y) = W(y, x), W(x, x) = 0.
    #[test]
    fn exact_w2_obeys_the_triangle_inequality(points in prop::collection::vec(-1.0..1.0f64, 3 * 24), d in 1..4usize) {
        let clouds: Vec<Cloud> = points.chunks(24).map(|points| Cloud::new(points.to_vec(), d).unwrap()).collect();
        let w2 = |a: usize, b: usize| assign(&clouds[a], &clouds[b]).unwrap().w2_squared.sqrt();
        prop_assert!(w2(0, 2) <= w2(0, 1) + w2(1, 2) + 1e-14);
        near(w2(0, 1), w2(1, 0), 1.0, 1e-14)?;
        prop_assert_eq!(w2(0, 0), 0.0);
    }

    /// The exact cost is below that of any plan, and OT_ε is above it by at most ε times the entropy of the assignment, log n.
    #[test]
    fn entropic_transport_brackets_the_exact_cost(points in prop::collection::vec(-1.0..1.0f64, 2 * 24), d in 1..4usize) {
        let [x, y] = [0, 1].map(|k| Cloud::new(points[24 * k..][..24].to_vec(), d).unwrap());
        let exact = 0.5 * assign(&x, &y).unwrap().w2_squared;
        let outcome = solve(&x, &y, EPS);
        prop_assert!(exact <= outcome.transport_cost + POTENTIAL);
        prop_assert!(exact <= outcome.regularised_cost + VALUE);
        prop_assert!(outcome.regularised_cost <= exact + EPS * (x.len() as f64).ln() + VALUE);
    }
}
