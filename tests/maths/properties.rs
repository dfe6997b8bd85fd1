//! Invariances of entropic and exact transport over random clouds, through the public API.

use brenier::backend::{Cost, Device, Precision};
use brenier::measure::Cloud;
use brenier::transport::{Divergence, ExactPlan, Outcome, Problem, Sinkhorn, assign};
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
    let outcome = SOLVER.solve(&Problem::new(x, y, eps).unwrap(), &device()).unwrap();
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

/// Costs that no product of coordinates makes, and one that a product makes of directions.
fn cost() -> impl Strategy<Value = Cost> {
    prop_oneof![Just(Cost::Euclidean), (1.0..6.0f64).prop_map(Cost::Lp), Just(Cost::Lp(1.0)), Just(Cost::Cosine)]
}

fn solve_under(cost: Cost, x: &Cloud, y: &Cloud, eps: f64) -> Outcome {
    let outcome = SOLVER.solve(&Problem::new(x, y, eps).unwrap().with_cost(cost).unwrap(), &device()).unwrap();
    assert!(outcome.converged, "{cost}: marginal error {} after {} iterations", outcome.marginal_error, outcome.iterations);
    outcome
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
        let images = straight.map();
        let map: Vec<f64> = order.iter().flat_map(|&i| &images[i * x.dim()..][..x.dim()]).copied().collect();
        all_near(&permuted.potentials.f, &f, 1.0, POTENTIAL)?;
        all_near(&permuted.potentials.g, &straight.potentials.g, 1.0, POTENTIAL)?;
        all_near(&permuted.map(), &map, 1.0, POTENTIAL)?;
        near(permuted.dual, straight.dual, 1.0, VALUE)?;
    }

    #[test]
    fn a_common_translation_changes_nothing_but_the_map((x, y) in pair(), offset in -1e3..1e3f64) {
        let (here, there) = (solve(&x, &y, EPS), solve(&mapped(&x, |x| x + offset), &mapped(&y, |y| y + offset), EPS));
        all_near(&there.potentials.f, &here.potentials.f, 1.0, POTENTIAL)?;
        all_near(&there.potentials.g, &here.potentials.g, 1.0, POTENTIAL)?;
        all_near(&there.map(), &here.map().iter().map(|t| t + offset).collect::<Vec<_>>(), 1.0, POTENTIAL)?;
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
        all_near(&scaled.map(), &one.map().iter().map(|t| scale * t).collect::<Vec<_>>(), scale, POTENTIAL)?;
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
        all_near(&halves.map(), &whole.map(), 1.0, POTENTIAL)?;
        near(halves.potentials.g[y.len()], halves.potentials.g[0], 1.0, POTENTIAL)?;
    }

    /// c(x, y + t) = c(x, y) + t·(y − x) + ½|t|²: the plan stays, and the potentials move by what is of x and of y alone.
    #[test]
    fn translating_one_cloud_adds_the_product_with_the_means((x, y) in pair(), t in -2.0..2.0f64) {
        let d = x.dim() as f64;
        let (here, there) = (solve(&x, &y, EPS), solve(&x, &mapped(&y, |y| y + t), EPS));
        let along = |x: &[f64]| t * x.iter().sum::<f64>();
        let added = along(&y.mean()) - along(&x.mean()) + 0.5 * t * t * d;
        near(there.dual, here.dual + added, 1.0, VALUE)?;
        near(there.transport_cost, here.transport_cost + added, 1.0, POTENTIAL)?;
        all_near(&there.map(), &here.map().iter().map(|y| y + t).collect::<Vec<_>>(), 1.0, POTENTIAL)?;
        let moved = |i: usize| here.potentials.f[i] + along(&y.mean()) - along(x.row(i)) + 0.5 * t * t * d;
        all_near(&there.potentials.f, &(0..x.len()).map(moved).collect::<Vec<_>>(), 1.0, POTENTIAL)?;
    }

    /// Adding λ to f and taking it from g is best at λ = ρ₁ρ₂/(ρ₁+ρ₂) log(⟨a, e^{−f/ρ₁}⟩/⟨b, e^{−g/ρ₂}⟩), the closed form of the
    /// translation of mass (Séjourné, Vialard, Peyré 2022, prop. 1): at the solution it is 0, and OT_ε = (ρ₁ + ρ₂ + ε)(1 − |P|).
    #[test]
    fn the_translation_of_mass_is_nothing_at_the_solution((x, y) in pair(), rho in (0.1..3.0f64, 0.1..3.0f64), cost in cost()) {
        for cost in [Cost::HalfSquaredEuclidean, cost] {
            let problem = Problem::new(&x, &y, EPS).unwrap().with_rho(Some(rho.0), Some(rho.1)).unwrap().with_cost(cost).unwrap();
            let outcome = SOLVER.solve(&problem, &device()).unwrap();
            let left = |cloud: &Cloud, f: &[f64], rho: f64| (0..cloud.len()).map(|i| cloud.weight(i) * (-f[i] / rho).exp()).sum::<f64>();
            let (first, second) = (left(&x, &outcome.potentials.f, rho.0), left(&y, &outcome.potentials.g, rho.1));
            near(first, second, 1.0, POTENTIAL)?;
            near(first, outcome.mass, 1.0, POTENTIAL)?;
            near(outcome.dual, (rho.0 + rho.1 + EPS) * (1.0 - outcome.mass), 1.0, POTENTIAL)?;
        }
    }

    /// Of every cost: order of the points, the way round, a common translation and unit of length of the norms, a point in two halves
    /// and one without mass.
    #[test]
    fn other_costs_have_the_same_invariances((x, y) in pair(), cost in cost(), share in 0.0..1.0f64, offset in -10.0..10.0f64) {
        let straight = solve_under(cost, &x, &y, EPS);
        let back = solve_under(cost, &y, &x, EPS);
        near(straight.dual, back.dual, 1.0, VALUE)?;
        near(straight.transport_cost, back.transport_cost, 1.0, POTENTIAL)?;

        let order: Vec<usize> = (0..x.len()).rev().collect();
        let reversed = solve_under(cost, &x.select(&order).unwrap(), &y, EPS);
        near(reversed.dual, straight.dual, 1.0, VALUE)?;
        all_near(&reversed.potentials.f, &order.iter().map(|&i| straight.potentials.f[i]).collect::<Vec<_>>(), 1.0, POTENTIAL)?;

        let mut weights = y.weights().unwrap().to_vec();
        weights.extend([share * weights[0], 0.0]);
        weights[0] *= 1.0 - share;
        let points = [y.points(), y.row(0), &vec![3.0; y.dim()]].concat();
        let split = Cloud::new(points, y.dim()).unwrap().with_weights(weights).unwrap();
        let split = solve_under(cost, &x, &split, EPS);
        near(split.dual, straight.dual, 1.0, VALUE)?;
        all_near(&split.map(), &straight.map(), 1.0, POTENTIAL)?;

        if cost != Cost::Cosine {
            let there = solve_under(cost, &mapped(&x, |x| x + offset), &mapped(&y, |y| y + offset), EPS);
            near(there.dual, straight.dual, 1.0, 1e2 * VALUE)?;
            let scaled = solve_under(cost, &mapped(&x, |x| 8.0 * x), &mapped(&y, |y| 8.0 * y), 8.0 * EPS);
            near(scaled.dual, 8.0 * straight.dual, 8.0, VALUE)?;
        }
    }

    /// Points without mass, anywhere, change no bit of the plain iterations, and of the accelerated ones nothing but how sums of
    /// moments are blocked.
    #[test]
    fn masked_points_change_nothing((x, y) in pair(), masked in 1..40usize, cost in cost()) {
        // Two single points may lie so near each other that EPS is refused.
        prop_assume!(x.len() * y.len() > 1);
        let padded = |cloud: &Cloud, n: usize| {
            let points = [cloud.points(), &(0..n * cloud.dim()).map(|k| (k as f64).sin()).collect::<Vec<_>>()[..]].concat();
            let weights = [cloud.weights().unwrap(), &vec![0.0; n]].concat();
            Cloud::new(points, cloud.dim()).unwrap().with_weights(weights).unwrap()
        };
        let (wide_x, wide_y) = (padded(&x, masked), padded(&y, 2 * masked));
        // Scaled to add up to one once more, which may round them, as the padded weights are.
        let (x, y) = (padded(&x, 0), padded(&y, 0));
        for precision in [Precision::F32, Precision::F64] {
            let of = |x: &Cloud, y: &Cloud, cost: Cost| {
                let problem = Problem::new(x, y, EPS).unwrap().with_cost(cost).unwrap();
                let solver = Sinkhorn { tol: 0.0, max_iter: 20, plain: true };
                solver.solve(&problem, &Device::cpu(precision)).unwrap()
            };
            for cost in [Cost::HalfSquaredEuclidean, cost] {
                let (bare, wide) = (of(&x, &y, cost), of(&wide_x, &wide_y, cost));
                prop_assert_eq!(&wide.potentials.f[..x.len()], &bare.potentials.f[..]);
                prop_assert_eq!(wide.dual, bare.dual);
                prop_assert_eq!(wide.marginal_error, bare.marginal_error);
                // A column without mass weighs the smallest normal number, which shows beside an exact 0.
                all_near(&wide.map()[..bare.map().len()], &bare.map(), 1.0, 1e-30)?;
                near(wide.transport_cost, bare.transport_cost, 1.0, 1e-30)?;
            }
        }
        let (bare, wide) = (solve(&x, &y, EPS), solve(&wide_x, &wide_y, EPS));
        near(wide.dual, bare.dual, 1.0, VALUE)?;
        all_near(&wide.potentials.f[..x.len()], &bare.potentials.f, 1.0, POTENTIAL)?;
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
        // The gap is Σ_i f_i (a_i − Σ_j P_ij), as the columns are met.
        let largest = f.iter().fold(0.0, |largest: f64, f| largest.max(f.abs()));
        near(outcome.dual, outcome.regularised_cost, 1.0, VALUE + largest * outcome.marginal_error)?;
    }

    #[test]
    fn the_dual_value_rises_to_its_limit_with_the_iterations((x, y) in pair()) {
        let limit = solve(&x, &y, EPS).dual;
        let problem = Problem::new(&x, &y, EPS).unwrap();
        let mut last = f64::NEG_INFINITY;
        for max_iter in [1, 2, 3, 5, 9] {
            let solver = Sinkhorn { tol: 0.0, max_iter, plain: true };
            let dual = solver.solve(&problem, &device()).unwrap().dual;
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

    /// W₂ of weighted clouds by network simplex is a distance too.
    #[test]
    fn exact_w2_of_weighted_clouds_obeys_the_triangle_inequality((x, y, z) in (1..4usize).prop_flat_map(|d| (cloud(7, d), cloud(5, d), cloud(9, d)))) {
        let w2 = |a: &Cloud, b: &Cloud| ExactPlan::new(a, b).unwrap().w2_squared.unwrap().sqrt();
        prop_assert!(w2(&x, &z) <= w2(&x, &y) + w2(&y, &z) + 1e-12);
        near(w2(&x, &y), w2(&y, &x), 1.0, 1e-12)?;
        // A square root makes 1e-7 of a rounding of squares.
        near(w2(&x, &x), 0.0, 1.0, 1e-7)?;
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
