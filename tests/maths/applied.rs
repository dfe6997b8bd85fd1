//! Plans of every solver applied to values and labels, against the dense matrix, closed forms and what must add up.

use brenier::backend::{Device, Precision};
use brenier::measure::Cloud;
use brenier::random::{Philox, Stream};
use brenier::transport::{
    AnyPlan, ExactPlan, LabelCost, LowRank, Pairing, Plan, PlanChain, Problem, Sinkhorn, Solved, TransportError,
};
use brenier::watch::Watch;
use proptest::prelude::*;

const TIGHT: Sinkhorn = Sinkhorn { tol: 1e-11, max_iter: 100_000, plain: false };
/// Rounding of a few thousand operations on numbers of size one.
const ROUNDING: f64 = 1e-11;

fn cpu() -> Device {
    Device::cpu(Precision::F64)
}

fn normals(count: usize, step: u32) -> Vec<f64> {
    let mut z = vec![0f32; count];
    Philox::new(5, Stream::Source).normals(0, step, 0, &mut z);
    z.into_iter().map(f64::from).collect()
}

fn cloud(n: usize, step: u32) -> Cloud {
    let weights = normals(n, step + 50).iter().map(|z| z.exp()).collect();
    Cloud::new(normals(2 * n, step), 2).unwrap().with_weights(weights).unwrap()
}

fn labels(n: usize, classes: u32) -> Vec<u32> {
    (0..n as u32).map(|i| 10 * ((i * i + 1) % classes)).collect()
}

fn entropic(problem: &Problem) -> AnyPlan {
    AnyPlan::Entropic(TIGHT.solve(problem, &cpu()).unwrap().plan())
}

#[track_caller]
fn assert_near(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (k, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "{k}: {found} for {expected}");
    }
}

/// P_ij, n × m.
fn dense(plan: &AnyPlan) -> Vec<f64> {
    let [n, m] = plan.lengths();
    let mut entries = vec![0.0; n * m];
    match plan {
        AnyPlan::Entropic(plan) => {
            for j in 0..m {
                let unit: Vec<f64> = (0..m).map(|k| f64::from(u8::from(k == j))).collect();
                plan.apply(&unit, 1, &cpu()).unwrap().iter().enumerate().for_each(|(i, p)| entries[i * m + j] = *p);
            }
        }
        AnyPlan::Sparse { entries: list, .. } => list.iter().for_each(|e| entries[e.source * m + e.target] += e.mass),
        AnyPlan::LowRank { q, r, g } => {
            let rank = g.len();
            let entry = |i: usize, j: usize| (0..rank).map(|k| q[i * rank + k] * r[j * rank + k] / g[k]).sum::<f64>();
            (0..n * m).for_each(|ij| entries[ij] = entry(ij / m, ij % m));
        }
    }
    entries
}

/// One of each kind: held and free marginals, a cost of classes, exact, of low rank.
fn plans(x: &Cloud, y: &Cloud) -> Vec<AnyPlan> {
    let problem = Problem::new(x, y, 0.3).unwrap();
    let table: Vec<f64> = vec![0.0, 2.0, 1.0, 0.0, 0.5, 0.2];
    let classes = |n: usize, k: u32| (0..n as u32).map(|i| i % k).collect::<Vec<u32>>().into();
    let costs = LabelCost { source: classes(x.len(), 2), target: classes(y.len(), 3), table: table.into(), columns: 3 };
    vec![
        entropic(&problem),
        entropic(&problem.clone().with_rho(Some(0.4), None).unwrap()),
        entropic(&problem.clone().with_rho(Some(0.4), Some(0.7)).unwrap()),
        entropic(&problem.with_labels(costs).unwrap()),
        Solved::from(ExactPlan::new(x, y).unwrap()).plan.unwrap(),
        Solved::from(LowRank::new(4).solve(x, y).unwrap()).plan.unwrap(),
    ]
}

#[test]
fn every_plan_carries_values_labels_and_likeliest_partners_as_its_dense_matrix_does() {
    let (n, m, p) = (30, 24, 3);
    let (x, y) = (cloud(n, 0), cloud(m, 1));
    let (u, v) = (normals(n * p, 2), normals(m * p, 3));
    let (of_x, of_y) = (labels(n, 5), labels(m, 3));
    for (kind, plan) in plans(&x, &y).iter().enumerate() {
        let entries = dense(plan);
        let rows: Vec<f64> = entries.chunks_exact(m).map(|row| row.iter().sum()).collect();
        let columns: Vec<f64> = (0..m).map(|j| (0..n).map(|i| entries[i * m + j]).sum()).collect();
        let given_x = |i: usize, k: usize| (0..m).map(|j| entries[i * m + j] * v[j * p + k]).sum::<f64>() / rows[i];
        let given_y = |j: usize, k: usize| (0..n).map(|i| entries[i * m + j] * u[i * p + k]).sum::<f64>() / columns[j];
        let all =
            |count: usize, of: &dyn Fn(usize, usize) -> f64| (0..count * p).map(|at| of(at / p, at % p)).collect::<Vec<_>>();
        assert_near(&plan.given_source(&v, p, &cpu()).unwrap(), &all(n, &given_x), ROUNDING);
        assert_near(&plan.given_target(&u, p, &cpu()).unwrap(), &all(m, &given_y), ROUNDING);
        assert_near(&plan.row_mass(&cpu()).unwrap(), &rows, ROUNDING);

        let plans = std::slice::from_ref(plan);
        let found = PlanChain::new(plans).unwrap().transition(&of_x, &of_y, &cpu()).unwrap();
        let mut table = vec![0.0; found.source.len() * found.target.len()];
        for (at, mass) in entries.iter().enumerate() {
            let row = found.source.iter().position(|label| *label == of_x[at / m]).unwrap();
            let column = found.target.iter().position(|label| *label == of_y[at % m]).unwrap();
            table[row * found.target.len() + column] += mass;
        }
        assert_near(&found.mass, &table, ROUNDING);
        assert!(found.fates().chunks_exact(found.target.len()).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < ROUNDING));

        let top = plan.top(3, &cpu()).unwrap();
        for (i, (index, probability)) in top.index.chunks_exact(3).zip(top.probability.chunks_exact(3)).enumerate() {
            let law = |j: u32| entries[i * m + j as usize] / rows[i];
            assert_near(probability, &index.iter().map(|j| law(*j)).collect::<Vec<_>>(), ROUNDING);
            let beaten = (0..m as u32).filter(|j| law(*j) > law(index[2]) + ROUNDING).count();
            assert!(beaten <= 2, "kind {kind}, row {i}");
        }
    }
}

/// Between N(0, 1) and itself E[x | y] = s y with s = √(1 + ε²/4) − ε/2. On a grid that carries the density as weights the sums
/// converge faster than any power of its step.
#[test]
fn a_linear_function_pushed_between_normals_is_linear_with_the_plans_slope() {
    let grid: Vec<f64> = (-140..=140).map(|k| 0.05 * f64::from(k)).collect();
    let weights = grid.iter().map(|x| (-0.5 * x * x).exp()).collect();
    let x = Cloud::new(grid.clone(), 1).unwrap().with_weights(weights).unwrap();
    for eps in [0.2f64, 1.0] {
        let slope = (1.0 + 0.25 * eps * eps).sqrt() - 0.5 * eps;
        let plan = entropic(&Problem::new(&x, &x, eps).unwrap());
        let pushed = plan.given_target(&grid, 1, &cpu()).unwrap();
        for (y, found) in grid.iter().zip(pushed).filter(|(y, _)| y.abs() < 3.0) {
            assert!((found - slope * y).abs() < 1e-7, "{found} for {} at {eps}", slope * y);
        }
    }
}

#[test]
fn a_permutation_carries_values_and_labels_exactly_and_an_entropic_plan_does_at_small_eps() {
    let x = Cloud::new((0..10).map(f64::from).collect(), 1).unwrap();
    let order: Vec<usize> = (0..10).map(|j| 3 * j % 10).collect();
    let y = Cloud::new(order.iter().map(|j| *j as f64 + 0.1).collect(), 1).unwrap();
    let u: Vec<f64> = (0..10).map(|i| f64::from(i).sqrt()).collect();
    let of_x: Vec<u32> = (0..10).map(|i| i / 4).collect();
    let exact = Solved::from(ExactPlan::new(&x, &y).unwrap()).plan.unwrap();
    for plan in [exact, entropic(&Problem::new(&x, &y, 0.01).unwrap())] {
        let pushed = plan.given_target(&u, 1, &cpu()).unwrap();
        assert_near(&pushed, &order.iter().map(|i| u[*i]).collect::<Vec<_>>(), 1e-12);
        assert_near(&plan.given_source(&pushed, 1, &cpu()).unwrap(), &u, 1e-12);
        let plans = [plan];
        let found = PlanChain::new(&plans).unwrap().labels_of_target(&of_x, &cpu()).unwrap();
        assert_eq!(found.label, order.iter().map(|i| of_x[*i]).collect::<Vec<_>>());
        assert!(found.probability.iter().all(|p| (p - 1.0).abs() < 1e-12));
    }
}

/// Labels that are atoms: then, and only then in general, tables compose.
#[test]
fn through_atoms_the_fates_of_a_chain_are_the_product_of_its_tables() {
    let sizes = [4, 5, 3];
    let clouds: Vec<Cloud> = sizes.iter().zip(20..).map(|(n, step)| cloud(*n, step)).collect();
    let step =
        |k: usize| entropic(&Problem::new(&clouds[k], &clouds[k + 1], 0.5).unwrap().with_rho(Some(1.0), Some(2.0)).unwrap());
    let plans = [step(0), step(1)];
    let atoms = |n: usize| (0..n as u32).collect::<Vec<u32>>();
    let table = |plans: &[AnyPlan], from: usize, to: usize| {
        PlanChain::new(plans).unwrap().transition(&atoms(sizes[from]), &atoms(sizes[to]), &cpu()).unwrap()
    };
    let (first, second, both) = (table(&plans[..1], 0, 1), table(&plans[1..], 1, 2), table(&plans, 0, 2));
    let (k1, k2) = (first.fates(), second.fates());
    let product: Vec<f64> = (0..12).map(|at| (0..5).map(|b| k1[at / 3 * 5 + b] * k2[b * 3 + at % 3]).sum::<f64>()).collect();
    assert_near(&both.fates(), &product, ROUNDING);
    let rows = |mass: &[f64], width: usize| mass.chunks_exact(width).map(|row| row.iter().sum()).collect::<Vec<f64>>();
    assert_near(&rows(&both.mass, 3), &rows(&first.mass, 5), ROUNDING);
}

#[test]
fn what_does_not_fit_a_chain_is_refused() {
    let clouds = [cloud(6, 30), cloud(5, 31)];
    let plans = vec![entropic(&Problem::new(&clouds[0], &clouds[1], 0.5).unwrap()); 2];
    assert_eq!(PlanChain::new(&plans).unwrap_err(), TransportError::Chain { at: 1, ends: 5, begins: 6 });
    assert!(PlanChain::new(&[]).is_err());
    let chain = PlanChain::new(&plans[..1]).unwrap();
    let count = |end, labels, points| TransportError::ClassCount { end, labels, points };
    assert_eq!(chain.transition(&[0; 5], &[0; 5], &cpu()).unwrap_err(), count("source", 5, 6));
    assert_eq!(chain.labels_of_source(&[0; 6], &cpu()).unwrap_err(), count("target", 6, 5));
    assert!(chain.given_source(&[0.0; 6], 1, &cpu()).is_err() && chain.given_target(&[0.0; 6], 0, &cpu()).is_err());
    assert!(plans[0].top(0, &cpu()).is_err());
    // One label for all is everybody's, with certainty.
    let one = chain.labels_of_target(&[7; 6], &cpu()).unwrap();
    assert!(one.label == [7; 5] && one.probability.iter().all(|p| (p - 1.0).abs() < ROUNDING));
}

/// OTT's τ = ρ/(ρ+ε) damps the updates: with them by hand, in |x−y|² at 2ε, the plan is that of ρ = ετ/(1−τ) here.
#[test]
fn the_plan_of_tau_is_that_of_damped_updates_in_any_unit_of_the_cost() {
    let (x, y, eps) = (cloud(12, 40), cloud(9, 41), 0.4);
    let tau = [0.9f64, 0.6];
    let cost = |i: usize, j: usize| x.row(i).iter().zip(y.row(j)).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
    let (mut f, mut g) = ([0.0f64; 12], [0.0f64; 9]);
    for _ in 0..2000 {
        for (i, f) in f.iter_mut().enumerate() {
            *f = -tau[0] * 2.0 * eps * (0..9).map(|j| y.weight(j) * ((g[j] - cost(i, j)) / (2.0 * eps)).exp()).sum::<f64>().ln();
        }
        for (j, g) in g.iter_mut().enumerate() {
            *g = -tau[1] * 2.0 * eps * (0..12).map(|i| x.weight(i) * ((f[i] - cost(i, j)) / (2.0 * eps)).exp()).sum::<f64>().ln();
        }
    }
    let entry = |i: usize, j: usize| x.weight(i) * y.weight(j) * ((f[i] + g[j] - cost(i, j)) / (2.0 * eps)).exp();
    let [a, b] = tau.map(|tau| Some(eps * tau / (1.0 - tau)));
    let plan = entropic(&Problem::new(&x, &y, eps).unwrap().with_rho(a, b).unwrap());
    assert_near(&dense(&plan), &(0..108).map(|at| entry(at / 9, at % 9)).collect::<Vec<_>>(), 1e-9);
}

/// Pairs of a plan with free marginals are drawn of what it moves: sources in their shares of that, systematic, so to less than one.
#[test]
fn pairs_of_a_free_source_have_its_marginal_under_the_plan() {
    let (x, y) = (cloud(20, 60), cloud(15, 61));
    let problem = Problem::new(&x, &y, 0.2).unwrap().with_rho(Some(0.3), Some(0.5)).unwrap();
    let outcome = TIGHT.solve(&problem, &cpu()).unwrap();
    let mass = outcome.plan().row_mass(&cpu()).unwrap();
    let total: f64 = mass.iter().sum();
    assert!(
        mass.iter().enumerate().any(|(i, p)| (p / total - x.weight(i)).abs() > 0.01),
        "the test wants a marginal that gives way"
    );
    for without_replacement in [false, true] {
        let mut pairing = Pairing::new(&problem, &outcome.potentials, 5000, without_replacement, (3, 0)).unwrap();
        let pairs = pairing.next_round(&cpu(), Watch::default()).unwrap().unwrap();
        for (i, mass) in mass.iter().enumerate() {
            let count = pairs.source.iter().filter(|source| **source as usize == i).count();
            assert!((count as f64 - 5000.0 * mass / total).abs() < 1.0, "source {i}: {count}");
        }
        if without_replacement {
            let columns = outcome.plan().transposed().row_mass(&cpu()).unwrap();
            for (j, mass) in columns.iter().enumerate() {
                let count = pairs.target.iter().filter(|target| **target as usize == j).count();
                assert!(count as f64 <= (5000.0 * mass / total * (1.0 + 1e-8)).ceil(), "target {j}: {count}");
            }
        }
    }
    // And what they leave of the target's variance is that of the dense plan.
    let entries = dense(&AnyPlan::Entropic(outcome.plan()));
    let row = |i: usize| &entries[i * 15..][..15];
    let map = outcome.map();
    let apart = |i: usize, j: usize| y.row(j).iter().zip(&map[2 * i..]).map(|(y, t)| (y - t).powi(2)).sum::<f64>();
    let left: f64 = (0..20).map(|i| row(i).iter().enumerate().map(|(j, p)| p * apart(i, j)).sum::<f64>()).sum::<f64>() / total;
    assert!((outcome.conditional_variance() - left).abs() < 1e-8, "{} for {left}", outcome.conditional_variance());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// A held plan's table has the masses of the labels as sums of its rows and columns, and one is carried to one, free or held.
    #[test]
    fn tables_add_up_to_the_masses_of_the_labels(n in 3usize..20, m in 3usize..20, seed in 100u32..200, eps in 0.1f64..2.0) {
        let (x, y) = (cloud(n, seed), cloud(m, seed + 200));
        let (of_x, of_y) = (labels(n, 3), labels(m, 4));
        let held = Problem::new(&x, &y, eps).unwrap();
        let free = held.clone().with_rho(Some(0.5), Some(0.5)).unwrap();
        let masses = |distinct: &[u32], labels: &[u32], cloud: &Cloud| -> Vec<f64> {
            let of = |one: &u32| (0..labels.len()).filter(|i| labels[*i] == *one).map(|i| cloud.weight(i)).sum();
            distinct.iter().map(of).collect()
        };
        for (problem, is_held) in [(held, true), (free, false)] {
            let plans = [entropic(&problem)];
            let chain = PlanChain::new(&plans).unwrap();
            for one in [chain.given_target(&vec![1.0; n], 1, &cpu()).unwrap(), chain.given_source(&vec![1.0; m], 1, &cpu()).unwrap()] {
                prop_assert!(one.iter().all(|one| (one - 1.0).abs() < ROUNDING));
            }
            let table = chain.transition(&of_x, &of_y, &cpu()).unwrap();
            let width = table.target.len();
            let rows: Vec<f64> = table.mass.chunks_exact(width).map(|row| row.iter().sum()).collect();
            let columns: Vec<f64> = (0..width).map(|l| table.mass.iter().skip(l).step_by(width).sum()).collect();
            let off = |found: &[f64], expected: &[f64]| found.iter().zip(expected).map(|(f, e)| (f - e).abs()).sum::<f64>();
            let (of_rows, of_columns) = (masses(&table.source, &of_x, &x), masses(&table.target, &of_y, &y));
            let error = off(&rows, &of_rows) + off(&columns, &of_columns);
            prop_assert!((error < 1e-10) == is_held, "{error}");
            let AnyPlan::Entropic(plan) = &plans[0] else { unreachable!() };
            let moved: f64 = Plan::row_mass(plan, &cpu()).unwrap().iter().sum();
            prop_assert!((rows.iter().sum::<f64>() - moved).abs() < ROUNDING);
        }
    }
}
