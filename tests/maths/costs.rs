//! Problems under costs other than ½|x−y|²: against dense sums, closed forms and each other.

use brenier::backend::{Cost, Device, Precision};
use brenier::measure::Cloud;
use brenier::random::{Philox, Stream};
use brenier::transport::{Divergence, Draws, GroundCost, LabelCost, Outcome, Plan, Problem, Sinkhorn, TransportError};

const SOLVER: Sinkhorn = Sinkhorn { tol: 1e-10, max_iter: 20_000, plain: false };
const COSTS: [Cost; 5] = [Cost::Euclidean, Cost::Lp(1.0), Cost::Lp(1.5), Cost::Lp(7.0), Cost::Cosine];

fn f64s() -> Device {
    Device::cpu(Precision::F64)
}

/// n weighted normals, the first at zero.
fn cloud(n: usize, d: usize, step: u32) -> Cloud {
    let mut z = vec![0.0; n * d];
    Philox::new(7, Stream::Source).normals(0, step, 0, &mut z);
    z[..d].fill(0.0);
    let weights = (0..n).map(|i| 1.0 + (i % 5) as f64).collect();
    Cloud::new(z.into_iter().map(f64::from).collect(), d).unwrap().with_weights(weights).unwrap()
}

/// A problem whose ε is a tenth of its mean cost.
fn problem<'a>(x: &'a Cloud, y: &'a Cloud, cost: Cost) -> Problem {
    let eps = 0.1 * GroundCost::Known(cost).mean(x, y, 0);
    Problem::new(x, y, eps).unwrap().with_cost(cost).unwrap()
}

#[track_caller]
fn solve(problem: &Problem) -> Outcome {
    let outcome = SOLVER.solve(problem, &f64s()).unwrap();
    assert!(outcome.converged, "{:?}: {} after {}", problem.cost(), outcome.marginal_error, outcome.iterations);
    outcome
}

/// P_ij of an outcome, n × m.
fn plan(problem: &Problem, outcome: &Outcome) -> Vec<f64> {
    let (x, y, cost) = (problem.source(), problem.target(), problem.cost());
    let (f, g) = (&outcome.potentials.f, &outcome.potentials.g);
    let entry =
        |i: usize, j: usize| x.weight(i) * y.weight(j) * ((f[i] + g[j] - cost.between(x.row(i), y.row(j))) / problem.eps()).exp();
    (0..x.len()).flat_map(|i| (0..y.len()).map(move |j| (i, j))).map(|(i, j)| entry(i, j)).collect()
}

#[track_caller]
fn assert_near(a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance, "{a} for {b}");
}

#[track_caller]
fn assert_all_near(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).for_each(|(&a, &b)| assert_near(a, b, tolerance));
}

/// Marginals, ⟨P, c⟩, entropic cost and barycentric map are those of the plan that the potentials define, held or free marginals.
#[test]
fn the_outcome_describes_the_plan_of_its_potentials_under_any_cost() {
    let (x, y) = (cloud(40, 3, 1), cloud(30, 3, 2));
    for cost in COSTS {
        for rho in [[None; 2], [Some(0.5); 2], [None, Some(0.7)]] {
            let problem = problem(&x, &y, cost).with_rho(rho[0], rho[1]).unwrap();
            let outcome = solve(&problem);
            let p = plan(&problem, &outcome);
            let (n, m) = (x.len(), y.len());
            let c = |i: usize, j: usize| problem.cost().between(x.row(i), y.row(j));
            let total = |term: &dyn Fn(usize, usize) -> f64| (0..n * m).map(|k| p[k] * term(k / m, k % m)).sum::<f64>();
            assert_near(outcome.mass, total(&|_, _| 1.0), 1e-9);
            assert_near(outcome.transport_cost, total(&c), 1e-9);
            let row = |i: usize| p[i * m..][..m].iter().sum::<f64>();
            let column = |j: usize| (0..n).map(|i| p[i * m + j]).sum::<f64>();
            let kl = |p: f64, q: f64| p * (p / q).ln() - p + q;
            let entropy: f64 = (0..n * m).map(|k| kl(p[k], x.weight(k / m) * y.weight(k % m))).sum();
            let first = rho[0].map_or(0.0, |rho| rho * (0..n).map(|i| kl(row(i), x.weight(i))).sum::<f64>());
            let second = rho[1].map_or(0.0, |rho| rho * (0..m).map(|j| kl(column(j), y.weight(j))).sum::<f64>());
            assert_near(outcome.regularised_cost, outcome.transport_cost + problem.eps() * entropy + first + second, 1e-9);
            assert_near(outcome.dual, outcome.regularised_cost, 1e-9);
            for i in 0..n {
                let mean = |k: usize| (0..m).map(|j| p[i * m + j] * y.row(j)[k]).sum::<f64>() / row(i);
                assert_all_near(&outcome.map()[i * 3..][..3], &[mean(0), mean(1), mean(2)], 1e-9);
            }
            if rho[0].is_none() {
                (0..n).for_each(|i| assert_near(row(i), x.weight(i), 1e-9));
            }
        }
    }
}

/// A function in Rust solves the very problem that the name of the cost does.
#[test]
fn a_function_gives_what_its_name_gives() {
    let (x, y) = (cloud(35, 4, 3), cloud(45, 4, 4));
    for cost in COSTS.into_iter().chain([Cost::HalfSquaredEuclidean]) {
        let named = problem(&x, &y, cost);
        let ground = named.cost().clone();
        let function = move |x: &[f64], y: &[f64]| ground.between(x, y);
        let given = Problem::new(&x, &y, named.eps()).unwrap().with_cost_function(function).unwrap();
        let (named, given) = (solve(&named), solve(&given));
        assert_near(given.dual, named.dual, 1e-9);
        assert_near(given.transport_cost, named.transport_cost, 1e-7);
        assert_all_near(&given.potentials.f, &named.potentials.f, 1e-7);
        assert_all_near(&given.map(), &named.map(), 1e-7);
    }
}

/// A function that is not symmetric keeps source and target apart, and a constant added to it is added to the value.
#[test]
fn a_function_need_be_neither_symmetric_nor_positive() {
    let (x, y) = (cloud(20, 2, 5), cloud(25, 2, 6));
    let wind = |x: &[f64], y: &[f64]| (x[0] - y[0]).powi(2) + (x[1] - y[1]).abs() + 0.5 * (y[0] - x[0]) - 3.0;
    let calm = move |x: &[f64], y: &[f64]| wind(x, y) + 3.0 - 0.5 * (y[0] - x[0]);
    let problem = Problem::new(&x, &y, 0.3).unwrap();
    let calm = solve(&problem.clone().with_cost_function(calm).unwrap());
    let wind = solve(&problem.with_cost_function(wind).unwrap());
    // What is of x and of y alone moves the potentials, not the plan: the mean of 0.5 (y₀ − x₀) − 3.
    assert_near(wind.dual, calm.dual + 0.5 * (y.mean()[0] - x.mean()[0]) - 3.0, 1e-9);
    assert_all_near(&wind.map(), &calm.map(), 1e-7);
}

#[test]
fn a_cost_of_classes_joins_any_cost() {
    let (x, y) = (cloud(20, 2, 7), cloud(18, 2, 8));
    let [of_x, of_y] = [20, 18].map(|n| (0..n).map(|i| i % 3).collect::<Vec<u32>>());
    let table = [0.0, 1.0, 2.0, 1.0, 0.0, 0.5, 2.0, 0.5, 0.0];
    let labels = LabelCost { source: of_x[..].into(), target: of_y[..].into(), table: table[..].into(), columns: 3 };
    for cost in COSTS {
        let problem = problem(&x, &y, cost).with_labels(labels.clone()).unwrap();
        let outcome = solve(&problem);
        let (f, g) = (&outcome.potentials.f, &outcome.potentials.g);
        for j in 0..y.len() {
            let entry = |i: usize| {
                let c = problem.cost().between(x.row(i), y.row(j)) + table[of_x[i] as usize * 3 + of_y[j] as usize];
                x.weight(i) * y.weight(j) * ((f[i] + g[j] - c) / problem.eps()).exp()
            };
            assert_near((0..x.len()).map(entry).sum(), y.weight(j), 1e-9);
        }
    }
}

/// Between points on a line to the right of one another |x−y| is y − x, so that every plan costs the difference of the means; and
/// OT_ε is that cost, with the product for a plan.
#[test]
fn on_separated_intervals_the_distance_is_the_difference_of_means() {
    let line = |n: usize, from: f64| Cloud::new((0..n).map(|i| from + (i as f64 * 0.37).fract()).collect(), 1).unwrap();
    let (x, y) = (line(50, 0.0), line(80, 2.0));
    for cost in [Cost::Euclidean, Cost::Lp(3.0)] {
        let outcome = solve(&Problem::new(&x, &y, 0.01).unwrap().with_cost(cost).unwrap());
        let expected = y.mean()[0] - x.mean()[0];
        assert_near(outcome.regularised_cost, expected, 1e-9);
        assert_near(outcome.transport_cost, expected, 1e-9);
        assert_all_near(&outcome.map(), &vec![y.mean()[0]; 50], 1e-8);
    }
}

/// Norms grow as lengths do and do not see where the origin is, in single precision too; cosine sees the direction alone.
#[test]
fn norms_scale_and_translate_and_cosine_does_not_see_lengths() {
    let (x, y) = (cloud(30, 3, 9), cloud(30, 3, 10));
    let mapped = |cloud: &Cloud, change: &dyn Fn(f64) -> f64| {
        cloud.with_points(cloud.points().iter().map(|x| change(*x)).collect()).unwrap()
    };
    for cost in COSTS {
        let here = problem(&x, &y, cost);
        let dual = solve(&here).dual;
        let unit = if cost == Cost::Cosine { 1.0 } else { 1e3 };
        let (x3, y3) = (mapped(&x, &|x| 1e3 * x), mapped(&y, &|y| 1e3 * y));
        let scaled = Problem::new(&x3, &y3, unit * here.eps()).unwrap().with_cost(cost).unwrap();
        assert_near(solve(&scaled).dual, unit * dual, 1e-9 * unit);
        if cost == Cost::Cosine {
            continue;
        }
        let (far_x, far_y) = (mapped(&x, &|x| 1e4 + x), mapped(&y, &|y| 1e4 + y));
        let far = Problem::new(&far_x, &far_y, here.eps()).unwrap().with_cost(cost).unwrap();
        let single = Sinkhorn { tol: 1e-6, ..SOLVER }.solve(&far, &Device::cpu(Precision::F32)).unwrap();
        assert_near(single.dual, dual, 1e-5);
    }
}

/// S_ε of a cloud with itself is 0, and it is positive and symmetric between others: e^{−c/ε} is a positive kernel for these.
#[test]
fn divergences_under_other_costs_are_zero_only_between_equals() {
    let (x, y) = (cloud(30, 2, 11), cloud(25, 2, 12));
    for cost in [Cost::Euclidean, Cost::Lp(1.0), Cost::Lp(1.5), Cost::Cosine] {
        let (there, back) = (problem(&x, &y, cost), problem(&y, &x, cost));
        let to =
            |problem: &Problem, cloud: &Cloud| Divergence::like(problem, SOLVER, &f64s()).unwrap().from(cloud, &f64s()).unwrap();
        assert_near(to(&there, &y), 0.0, 1e-9);
        let eps = there.eps() / back.eps();
        assert!(to(&there, &x) > 1e-3 && (0.9..1.1).contains(&eps));
        let same = back.between(&y, &x).unwrap();
        let forward = same.between(&x, &y).unwrap();
        assert_near(to(&same, &y), to(&forward, &x), 1e-9);
    }
}

/// Masses, means, draws, likeliest partners and entropies under a plan are those of its matrix, there and back.
#[test]
fn operations_with_the_plan_are_those_of_its_matrix_under_any_cost() {
    let (x, y) = (cloud(12, 2, 13), cloud(15, 2, 14));
    let device = f64s();
    let skewed = |x: &[f64], y: &[f64]| (x[0] - y[0]).abs() + 0.3 * (x[1] - y[1]).powi(2) + 0.1 * x[0] * y[1];
    let given = Problem::new(&x, &y, 0.2).unwrap().with_cost_function(skewed).unwrap();
    for problem in COSTS.map(|cost| problem(&x, &y, cost)).into_iter().chain([given]) {
        let outcome = solve(&problem);
        let p = plan(&problem, &outcome);
        let (n, m) = (x.len(), y.len());
        let ours = Plan::new(&problem, &outcome.potentials).unwrap();
        let values: Vec<f64> = (0..2 * m).map(|k| (k as f64).sin()).collect();
        let applied: Vec<f64> = (0..2 * n).map(|k| (0..m).map(|j| p[k / 2 * m + j] * values[2 * j + k % 2]).sum()).collect();
        assert_all_near(&ours.apply(&values, 2, &device).unwrap(), &applied, 1e-9);
        let mass: Vec<f64> = (0..n).map(|i| x.weight(i)).collect();
        let moved: Vec<f64> = (0..m).map(|j| (0..n).map(|i| p[i * m + j]).sum()).collect();
        assert_all_near(&ours.push(&mass, &device).unwrap(), &moved, 1e-8);
        assert_all_near(&ours.transposed().row_mass(&device).unwrap(), &moved, 1e-9);
        assert_all_near(&ours.partners_of_source().map(&x, &device).unwrap(), &outcome.map(), 1e-7);
        let law = |i: usize, j: usize| p[i * m + j] / x.weight(i);
        let entropy: f64 = (0..n * m).map(|k| -p[k] * p[k].ln()).sum();
        assert_near(ours.entropy(&device).unwrap().joint, entropy, 1e-8);
        let top = ours.partners_of_source().top(&x, 3, &device).unwrap();
        for i in 0..n {
            let mut order: Vec<usize> = (0..m).collect();
            order.sort_by(|&a, &b| law(i, b).total_cmp(&law(i, a)));
            for (k, &j) in order[..3].iter().enumerate() {
                assert_eq!(top.index[3 * i + k] as usize, j);
                assert_near(top.probability[3 * i + k], law(i, j), 1e-8);
            }
            // A quantile within the share of column j draws column j.
            let middle: Vec<f64> = (0..m).map(|j| (0..j).map(|k| law(i, k)).sum::<f64>() + 0.5 * law(i, j)).collect();
            let first: Vec<u32> = (0..=n).map(|row| if row <= i { 0 } else { m as u32 }).collect();
            let draws = Draws { first: &first, quantiles: &middle };
            let drawn = ours.partners_of_source().draw(&x, draws, &device).unwrap();
            let sure = (0..m).filter(|&j| law(i, j) > 1e-6);
            sure.for_each(|j| assert_eq!(drawn[j] as usize, j));
        }
        let new = ours.partners();
        assert_all_near(&new.mean(&x, &values, 2, &device).unwrap(), &ours.pull(&values, 2, &device).unwrap(), 1e-8);
        assert_all_near(&new.potential(&x, &device).unwrap(), &outcome.potentials.f, 1e-7);
    }
}

#[test]
fn costs_that_are_none_and_what_only_the_quadratic_cost_has_are_refused() {
    let (x, y) = (cloud(5, 2, 15), cloud(6, 2, 16));
    let problem = Problem::new(&x, &y, 0.5).unwrap();
    for p in [0.5, f64::NAN, f64::INFINITY] {
        assert!(matches!(problem.clone().with_cost(Cost::Lp(p)), Err(TransportError::Power { .. })));
    }
    let broken = |x: &[f64], y: &[f64]| (x[0] - y[0]).abs().ln();
    let refused = problem.clone().with_cost_function(broken).unwrap_err();
    assert!(matches!(refused, TransportError::Cost { i: 0, j: 0, .. }), "{refused}");
    let distance = problem.with_cost(Cost::Euclidean).unwrap();
    let outcome = solve(&distance);
    assert!(matches!(outcome.gradient(), Err(TransportError::QuadraticOnly { .. })));
    let product = outcome.hessian_product(&[0.0; 10], 1e-3, &f64s());
    assert!(matches!(product, Err(TransportError::QuadraticOnly { .. })));
    let tiny = Problem::new(&x, &y, 1e-9).unwrap().with_cost(Cost::Euclidean).unwrap();
    let refused = SOLVER.solve(&tiny, &Device::cpu(Precision::F32)).unwrap_err().to_string();
    assert!(refused.contains("largest cost"), "{refused}");
    for (text, cost) in [("euclidean", Some(Cost::Euclidean)), ("lp:1.5", Some(Cost::Lp(1.5))), ("lp:0.5", None), ("l2", None)] {
        assert_eq!(text.parse::<Cost>().ok(), cost);
    }
}
