//! Exact transport proved optimal by its own potentials, and against POT and scipy.

use std::path::Path;

use brenier::io::read_array;
use brenier::measure::Cloud;
use brenier::random::{Philox, Stream};
use brenier::transport::{ExactPlan, Gaussian, LinePlan, PlanEntry, Potentials, TransportError, assign};

/// n points of [0, 1)^d, the k-th coordinate of them times k + 1.
fn uniforms(n: usize, d: usize, step: u32) -> Cloud {
    let philox = Philox::new(1, Stream::Metric);
    let points = (0..n * d).map(|i| philox.uniform(i as u32, step, 0) * (i % d + 1) as f64).collect();
    Cloud::new(points, d).unwrap()
}

/// The same points under weights that spread over `decades` powers of ten.
fn weighted(cloud: Cloud, decades: f64, step: u32) -> Cloud {
    let philox = Philox::new(2, Stream::Metric);
    let weights = (0..cloud.len()).map(|i| 10f64.powf(-decades * philox.uniform(i as u32, step, 0))).collect();
    cloud.with_weights(weights).unwrap()
}

fn half_square(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(p, q)| 0.5 * (p - q).powi(2)).sum()
}

/// The whole certificate: marginals, feasible potentials, complementary slackness, and equal values, all to `rounding`.
fn optimal(x: &Cloud, y: &Cloud, rounding: f64) -> ExactPlan {
    let plan = ExactPlan::new(x, y).unwrap();
    let (f, g) = (&plan.potentials.f, &plan.potentials.g);
    let (mut rows, mut columns) = (vec![0.0; x.len()], vec![0.0; y.len()]);
    let mut primal = 0.0;
    for entry in &plan.entries {
        let (i, j) = (entry.source, entry.target);
        rows[i] += entry.mass;
        columns[j] += entry.mass;
        let cost = half_square(x.row(i), y.row(j));
        primal += entry.mass * cost;
        assert!(entry.mass > 0.0 && (cost - f[i] - g[j]).abs() < rounding, "slack {} where mass moves", cost - f[i] - g[j]);
    }
    // Each weight is rounded to 2⁻⁶⁰ of the whole, the largest by as much as all of them; dropped entries are 1e-14 of a weight.
    let marginal = |weight: f64| 1e-13 * weight + 1e-16;
    (0..x.len()).for_each(|i| assert!((rows[i] - x.weight(i)).abs() <= marginal(x.weight(i)), "row {i}"));
    (0..y.len()).for_each(|j| assert!((columns[j] - y.weight(j)).abs() <= marginal(y.weight(j)), "column {j}"));
    for (i, p) in x.rows().enumerate() {
        for (j, q) in y.rows().enumerate() {
            assert!(f[i] + g[j] <= half_square(p, q) + rounding, "{i} {j} is worth more than it costs");
        }
    }
    assert!(plan.entries.len() < x.len() + y.len());
    assert!((plan.dual - primal).abs() < rounding && (plan.transport_cost - primal).abs() < rounding);
    plan
}

/// POT's network simplex on weighted, uniform, tied, duplicated and massless points (tests/reference/exact.py). Our potentials prove
/// its plan; with slack everywhere else it is the only one, and with n + m − 1 entries its potentials are, so these are compared.
#[test]
fn costs_duals_and_plans_are_those_of_pot() {
    for case in 0..7 {
        let array = |name: &str| read_array(Path::new("tests/data/exact.npz"), &format!("{name}_{case}")).unwrap();
        let cloud = |points: &str, weights: &str| {
            let points = array(points);
            Cloud::new(points.values, points.shape[1]).unwrap().with_weights(array(weights).values).unwrap()
        };
        let (x, y) = (cloud("x", "a"), cloud("y", "b"));
        let (n, m, theirs) = (x.len(), y.len(), array("plan").values);
        let cost = array("cost").values[0];
        let near = |ours: f64, theirs: f64| (ours - theirs).abs() <= 1e-9 * cost;
        let proofs = if x.dim() == 1 {
            let line = LinePlan::new(&x, &y).unwrap();
            vec![(0.5 * line.w2_squared, line.pairs, line.potentials), of_simplex(optimal(&x, &y, 1e-12))]
        } else {
            vec![of_simplex(optimal(&x, &y, 1e-12))]
        };
        for (ours, entries, Potentials { f, g }) in proofs {
            let dual: f64 = f.iter().enumerate().map(|(i, f)| x.weight(i) * f).sum();
            assert!(near(ours, cost) && near(dual, cost), "case {case}: {ours} and {dual} for {cost}");
            let slack = |i: usize, j: usize| half_square(x.row(i), y.row(j)) - f[i] - g[j];
            assert!((0..n * m).all(|at| theirs[at] == 0.0 || near(slack(at / m, at % m), 0.0)), "case {case}");
            let (only_plan, only_potentials) = (
                (0..n * m).all(|at| theirs[at] > 0.0 || slack(at / m, at % m) > 1e-9),
                theirs.iter().filter(|mass| **mass > 0.0).count() == n + m - 1,
            );
            assert!(case > 1 || (only_plan && only_potentials), "two cases at least are compared in full");
            if only_plan {
                let mut plan = vec![0.0; n * m];
                entries.iter().for_each(|entry| plan[entry.source * m + entry.target] += entry.mass);
                assert!(plan.iter().zip(&theirs).all(|(ours, theirs)| (ours - theirs).abs() < 1e-12), "case {case}");
            }
            if only_potentials {
                assert!(f.iter().zip(array("f").values).all(|(ours, theirs)| near(*ours, theirs)), "case {case}");
                assert!(g.iter().zip(array("g").values).all(|(ours, theirs)| near(*ours, theirs)), "case {case}");
            }
        }
    }
}

/// ½W₂², the entries and the potentials.
fn of_simplex(plan: ExactPlan) -> (f64, Vec<PlanEntry>, Potentials) {
    (plan.transport_cost, plan.entries, plan.potentials)
}

#[test]
fn every_kind_of_problem_comes_with_a_proof_that_it_is_solved() {
    // Costs are of the order of ten; potentials add up some hundred of them.
    let rounding = 1e-12;
    for (n, m, d) in [(1, 1, 2), (1, 300, 3), (300, 1, 3), (2, 3, 2), (250, 250, 2), (700, 400, 3), (300, 500, 12)] {
        let (x, y) = (uniforms(n, d, 0), uniforms(m, d, 1));
        optimal(&x, &y, rounding);
        optimal(&weighted(x.clone(), 0.5, 0), &y, rounding);
        optimal(&weighted(x, 6.0, 0), &weighted(y, 6.0, 1), rounding);
    }
}

#[test]
fn ties_duplicates_and_equal_clouds_are_solved() {
    let lattice = |n: usize, side: usize| {
        let points = (0..n).flat_map(|i| [(i % side) as f64, (i / side % side) as f64]).collect();
        Cloud::new(points, 2).unwrap()
    };
    optimal(&lattice(600, 7), &lattice(450, 5), 1e-12);
    optimal(&weighted(lattice(600, 3), 3.0, 0), &lattice(600, 4), 1e-12);
    assert_eq!(2.0 * optimal(&lattice(500, 30), &lattice(500, 30), 1e-12).transport_cost, 0.0);
    let point = |n: usize, at: f64| Cloud::new(vec![at; 2 * n], 2).unwrap();
    assert!((2.0 * optimal(&point(300, 0.0), &point(400, 3.0), 1e-12).transport_cost - 18.0).abs() < 1e-12); // sums of 600 masses
}

/// Points without mass move nothing, and their potentials are the largest that are feasible.
#[test]
fn points_without_mass_change_nothing() {
    let (x, y) = (uniforms(300, 2, 0), uniforms(200, 2, 1));
    let zero = |cloud: &Cloud| {
        let weights = (0..cloud.len()).map(|i| if i % 3 == 0 { 0.0 } else { 1.0 + (i % 5) as f64 }).collect();
        cloud.clone().with_weights(weights).unwrap()
    };
    let (x, y) = (zero(&x), zero(&y));
    let plan = optimal(&x, &y, 1e-12);
    let massive = |cloud: &Cloud| cloud.select(&(0..cloud.len()).filter(|i| i % 3 != 0).collect::<Vec<_>>()).unwrap();
    let without = ExactPlan::new(&massive(&x), &massive(&y)).unwrap();
    assert!((2.0 * plan.transport_cost - 2.0 * without.transport_cost).abs() < 1e-13);
    assert!(
        plan.map.unwrap().chunks(2).all(|t| (0.0..=1.0).contains(&t[0]) && (0.0..=2.0).contains(&t[1])),
        "the map stays in the hull"
    );
}

/// W₂²(a, b) = W₂²(ã, b̃) + |Δ|² for the centred clouds, and each potential keeps its digits 10⁴ from the origin.
#[test]
fn an_offset_changes_nothing() {
    let (x, y) = (weighted(uniforms(400, 2, 0), 1.0, 0), uniforms(300, 2, 1));
    let far = |cloud: &Cloud| {
        let moved = Cloud::new(cloud.points().iter().map(|p| p + 1e4).collect(), 2).unwrap();
        moved.with_weights((0..cloud.len()).map(|i| cloud.weight(i)).collect()).unwrap()
    };
    let (near, moved) = (optimal(&x, &y, 1e-12), optimal(&far(&x), &far(&y), 1e-10));
    // Coordinates of size 1e4 carry roundings of 1e-12.
    assert!(2.0 * (near.transport_cost - moved.transport_cost).abs() < 1e-11);
    assert!(near.potentials.f.iter().zip(&moved.potentials.f).all(|(p, q)| (p - q).abs() < 1e-10));
}

#[test]
fn on_a_line_the_plan_is_the_quantile_coupling() {
    let (x, y) = (weighted(uniforms(400, 1, 0), 2.0, 0), weighted(uniforms(350, 1, 1), 2.0, 1));
    let (exact, line) = (optimal(&x, &y, 1e-12), LinePlan::new(&x, &y).unwrap());
    assert!((2.0 * exact.transport_cost - line.w2_squared).abs() < 1e-13);
    assert!(exact.map.unwrap().iter().zip(&line.map).all(|(p, q)| (p - q).abs() < 1e-9));
}

/// x ↦ m + A(x − m₀) with A positive definite is the gradient of a convex function, hence optimal for any cloud (Brenier).
#[test]
fn the_optimal_map_of_gaussians_is_optimal_for_any_cloud() {
    let map = Gaussian::new(vec![0.3, 0.8], &[1.0, 0.2, 0.2, 0.5])
        .unwrap()
        .map_to(&Gaussian::new(vec![-1.0, 2.0], &[0.7, -0.3, -0.3, 1.4]).unwrap())
        .unwrap();
    let x = weighted(uniforms(500, 2, 0), 3.0, 0);
    let images: Vec<f64> = x.rows().flat_map(|p| map.apply(p).unwrap()).collect();
    let y = Cloud::new(images.clone(), 2).unwrap().with_weights(x.weights().unwrap().to_vec()).unwrap();
    let plan = optimal(&x, &y, 1e-12);
    assert!(plan.map.unwrap().iter().zip(&images).all(|(p, q)| (p - q).abs() < 1e-9));
}

#[test]
fn too_many_points_are_refused_with_the_number_unless_there_is_one_against_them() {
    let many = uniforms(5_001, 2, 0);
    let error = ExactPlan::new(&many, &uniforms(2, 2, 1));
    assert_eq!(error, Err(TransportError::TooMany { n: 5_001, limit: 5_000 }));
    let one = Cloud::new(vec![0.5, 1.0], 2).unwrap();
    let mean = many.rows().map(|p| 2.0 * half_square(p, one.row(0))).sum::<f64>() / 5_001.0;
    assert!((ExactPlan::new(&many, &one).unwrap().w2_squared.unwrap() - mean).abs() < 1e-13);
    assert!(matches!(ExactPlan::new(&one, &uniforms(2, 3, 1)), Err(TransportError::Dimensions { .. })));
    let far = Cloud::new(vec![-1e200, 1e200], 1).unwrap();
    assert_eq!(ExactPlan::new(&far, &uniforms(2, 1, 0)), Err(TransportError::Overflow));
}

/// `cloud` with one more point, all of whose coordinates are `far`.
fn with_sentinel(cloud: &Cloud, far: f64) -> Cloud {
    let points = cloud.points().iter().copied().chain(vec![far; cloud.dim()]).collect();
    Cloud::new(points, cloud.dim()).unwrap()
}

/// A point that both clouds have goes to itself, however far it lies: it costs the others nothing but their share of the mass.
#[test]
fn a_far_point_in_both_clouds_leaves_the_plan_of_the_others() {
    for d in [1, 2, 3, 12] {
        let (x, y) = (uniforms(120, d, 0), uniforms(120, d, 1));
        let near = ExactPlan::new(&x, &y).unwrap();
        for far in [1e4, -1e6, 1e8, 1e10] {
            let (x, y) = (with_sentinel(&x, far), with_sentinel(&y, far));
            let plan = ExactPlan::new(&x, &y).unwrap();
            let truth = 2.0 * near.transport_cost * 120.0 / 121.0;
            assert!(
                (2.0 * plan.transport_cost / truth - 1.0).abs() < 1e-13,
                "d {d}, {far}: {} for {truth}",
                2.0 * plan.transport_cost
            );
            assert!(plan.is_proved() && plan.dual <= plan.transport_cost, "d {d}, {far}: dual {}", plan.dual);
            let assignment = assign(&x, &y).unwrap();
            assert!((assignment.w2_squared / truth - 1.0).abs() < 1e-13 && assignment.gap < 1e-9 * truth);
            assert_eq!(assignment.partner[120], 120);
            assert!(d > 1 || (LinePlan::new(&x, &y).unwrap().w2_squared / truth - 1.0).abs() < 1e-13);
        }
        // Beyond what twice the digits hold nothing is claimed.
        let beyond = ExactPlan::new(&with_sentinel(&x, 1e14), &with_sentinel(&y, 1e14)).unwrap();
        assert!(!beyond.is_proved(), "a gap of {} is none", beyond.transport_cost - beyond.dual);
    }
}

/// W₂² of clusters that lie too far apart to trade is the mean of theirs, also where their own scales are decades apart.
#[test]
fn clusters_far_apart_are_each_solved_as_if_alone() {
    for apart in [1e3, 1e6, 1e9] {
        for ratio in [1.0, 1e-3, 10.0] {
            // Whole multiples of 2⁻²⁰ stay what they are at 10⁹.
            let round = |v: f64| (v * 2f64.powi(20)).round() / 2f64.powi(20);
            let part =
                |step: u32, scale: f64| uniforms(60, 2, step).points().iter().map(|p| round(scale * p)).collect::<Vec<f64>>();
            let [a, b, p, q] = [part(0, 1.0), part(1, ratio), part(2, 1.0), part(3, ratio)];
            let cloud = |points: Vec<f64>| Cloud::new(points, 2).unwrap();
            let alone =
                |x: &[f64], y: &[f64]| ExactPlan::new(&cloud(x.to_vec()), &cloud(y.to_vec())).unwrap().w2_squared.unwrap();
            let truth = 0.5 * (alone(&a, &p) + alone(&b, &q));
            let both = |near: &[f64], far: &[f64]| cloud(near.iter().copied().chain(far.iter().map(|v| v + apart)).collect());
            let plan = ExactPlan::new(&both(&a, &b), &both(&p, &q)).unwrap();
            assert!(
                (2.0 * plan.transport_cost / truth - 1.0).abs() < 1e-12,
                "{apart} {ratio}: {} for {truth}",
                2.0 * plan.transport_cost
            );
            assert!(plan.is_proved(), "{apart} {ratio}: dual {}", plan.dual);
        }
    }
}

/// y = sx with s > 0 is the gradient of a convex function, so each x goes to its own y: Σ (s−1)²|x|²/n, over twelve decades of |x|.
#[test]
fn scales_mixed_over_twelve_decades_are_paired_by_the_optimal_map() {
    let philox = Philox::new(4, Stream::Metric);
    for (n, d) in [(200, 2), (90, 9)] {
        let of_row = |i: usize| 10f64.powf(12.0 * philox.uniform(i as u32, 0, 0) - 6.0);
        let x: Vec<f64> = (0..n * d).map(|at| of_row(at / d) * (philox.uniform(at as u32, 1, 0) - 0.5)).collect();
        let y: Vec<f64> = x.iter().map(|x| 1.5 * x).collect();
        let truth = x.iter().map(|x| 0.25 * x * x).sum::<f64>() / n as f64;
        let (x, y) = (Cloud::new(x, d).unwrap(), Cloud::new(y, d).unwrap());
        let plan = ExactPlan::new(&x, &y).unwrap();
        assert!(
            (2.0 * plan.transport_cost / truth - 1.0).abs() < 1e-13 && plan.is_proved(),
            "{} for {truth}",
            2.0 * plan.transport_cost
        );
        assert!(plan.entries.iter().all(|entry| entry.source == entry.target), "also those of the smallest points");
    }
}

/// The same weights in another order add up to other roundings, which must move no mass to a far point.
#[test]
fn on_a_line_roundings_of_the_weights_do_not_reach_a_far_point() {
    let n = 80;
    let (near, near_y) = (uniforms(n, 1, 0), uniforms(n, 1, 1));
    let weights: Vec<f64> = (0..n).map(|i| 0.1 + (i * i % 17) as f64).collect();
    let reversed: Vec<f64> = weights.iter().rev().copied().collect();
    let total: f64 = weights.iter().sum();
    let plan = |x: &Cloud, y: &Cloud, a: &[f64], b: &[f64]| {
        let (x, y) = (x.clone().with_weights(a.to_vec()).unwrap(), y.clone().with_weights(b.to_vec()).unwrap());
        LinePlan::new(&x, &y).unwrap().w2_squared
    };
    let truth = plan(&near, &near_y, &weights, &reversed) * total / (total + 1.0);
    for far in [1e6, 1e9] {
        let more = |w: &[f64]| w.iter().copied().chain([1.0]).collect::<Vec<f64>>();
        let found = plan(&with_sentinel(&near, far), &with_sentinel(&near_y, far), &more(&weights), &more(&reversed));
        assert!((found / truth - 1.0).abs() < 1e-12, "{far}: {found} for {truth}");
    }
}
