//! Agreement with POT 0.9.7 and OTT-JAX 0.6.0: costs, duals, plans, free marginals, divergences (tests/reference/transport.py).

use std::path::Path;

use brenier::backend::{Cost, Device, Precision};
use brenier::io::read_array;
use brenier::measure::Cloud;
use brenier::transport::{Convention, Divergence, Outcome, Problem, Sinkhorn};
use brenier::watch::Watch;

const CASES: usize = 3;

/// The array `name` of a case.
fn peer(name: &str, case: usize) -> Vec<f64> {
    read_array(Path::new("tests/data/transport.npz"), &format!("{name}_{case}")).unwrap().values
}

/// The clouds of a case, its ε and its ρ.
fn problem(case: usize) -> (Cloud, Cloud, f64, f64) {
    let shape = read_array(Path::new("tests/data/transport.npz"), &format!("x_{case}")).unwrap().shape;
    let cloud = |points: &str, weights: &str| {
        Cloud::new(peer(points, case), shape[1]).unwrap().with_weights(peer(weights, case)).unwrap()
    };
    (cloud("x", "a"), cloud("y", "b"), peer("eps", case)[0], peer("rho", case)[0])
}

/// Devices with the relative difference to be reached on each, and a tolerance that makes the solver's error smaller.
fn devices() -> [(Device, f64, f64); 2] {
    [(Device::cpu(Precision::F64), 1e-5, 1e-9), (Device::cpu(Precision::F32), 1e-4, 2e-6)]
}

fn solve(case: usize, rho: impl Fn(f64) -> [Option<f64>; 2], device: &Device, tol: f64) -> (Outcome, Vec<f64>) {
    let (x, y, eps, strength) = problem(case);
    let rho = rho(strength);
    let problem = Problem::new(&x, &y, eps).unwrap().with_rho(rho[0], rho[1]).unwrap();
    let outcome = Sinkhorn { tol, ..Sinkhorn::default() }.solve(&problem, device).unwrap();
    let cost = |i: usize, j: usize| 0.5 * x.row(i).iter().zip(y.row(j)).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
    let (f, g) = (&outcome.potentials.f, &outcome.potentials.g);
    let entry = |i: usize, j: usize| x.weight(i) * y.weight(j) * ((f[i] + g[j] - cost(i, j)) / eps).exp();
    let plan = (0..x.len()).flat_map(|i| (0..y.len()).map(move |j| (i, j))).map(|(i, j)| entry(i, j)).collect();
    (outcome, plan)
}

#[track_caller]
fn assert_close(ours: f64, theirs: f64, relative: f64, what: &str) {
    assert!((ours - theirs).abs() <= relative * theirs.abs(), "{what}: {ours} for {theirs}");
}

/// Plans are compared in L1, of mass about one.
#[track_caller]
fn assert_same_plan(ours: &[f64], theirs: &[f64], tolerance: f64, what: &str) {
    assert_eq!(ours.len(), theirs.len());
    let difference: f64 = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).sum();
    assert!(difference <= tolerance, "{what}: {difference}");
}

#[test]
fn balanced_costs_plans_and_potentials_are_those_of_pot_and_ott() {
    for (device, relative, tol) in devices() {
        for case in 0..CASES {
            let (outcome, plan) = solve(case, |_| [None; 2], &device, tol);
            assert_close(outcome.transport_cost, peer("pot_cost", case)[0], relative, "transport cost");
            assert_close(outcome.regularised_cost, peer("ott_regularised", case)[0], relative, "regularised cost");
            assert_close(outcome.dual, peer("ott_regularised", case)[0], relative, "dual");
            assert_same_plan(&plan, &peer("pot_plan", case), relative, "plan");
            // Potentials relative to their own size: both have Σ b g = 0.
            for (ours, name) in [(&outcome.potentials.f, "pot_f"), (&outcome.potentials.g, "pot_g")] {
                let theirs = peer(name, case);
                let size = theirs.iter().fold(0.0f64, |size, f| size.max(f.abs()));
                assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() <= relative * size), "{name}, case {case}");
            }
        }
    }
}

#[test]
fn plans_with_free_marginals_are_those_of_pot() {
    for (device, relative, tol) in devices() {
        for case in 0..CASES {
            for (name, first) in [("unbalanced", true), ("semi", false)] {
                let (outcome, plan) = solve(case, |rho| [first.then_some(rho), Some(rho)], &device, tol);
                assert_close(outcome.transport_cost, peer(&format!("pot_{name}_cost"), case)[0], relative, name);
                assert_same_plan(&plan, &peer(&format!("pot_{name}_plan"), case), relative, name);
            }
        }
    }
}

#[test]
fn the_divergence_is_that_of_ott() {
    for (device, relative, tol) in devices() {
        for case in 0..CASES {
            let (x, y, eps, _) = problem(case);
            let solver = Sinkhorn { tol, ..Sinkhorn::default() };
            let ours = Divergence::to(&y, eps, solver, &device).unwrap().from(&x, &device).unwrap();
            assert_close(ours, peer("ott_divergence", case)[0], relative, "divergence");
        }
    }
}

/// Of every cost ⟨P, c⟩ balanced and with a free source, of some the plan, and with OTT-JAX OT_ε and the divergence.
#[test]
fn other_costs_are_those_of_pot_and_ott() {
    for (device, relative, tol) in devices() {
        for case in 0..CASES {
            let (x, y, _, strength) = problem(case);
            for (name, cost) in
                [("euclidean", Cost::Euclidean), ("lp1", Cost::Lp(1.0)), ("lp3", Cost::Lp(3.0)), ("cosine", Cost::Cosine)]
            {
                // On a line the only angles are 0 and π, and what crosses is a difference of sums of weights.
                if cost == Cost::Cosine && x.dim() == 1 {
                    continue;
                }
                let value = |key: &str| peer(&key.replace("COST", name), case);
                let balanced = Problem::new(&x, &y, value("COST_eps")[0]).unwrap().with_cost(cost).unwrap();
                let solver = Sinkhorn { tol, max_iter: 100_000, ..Sinkhorn::default() };
                let outcome = solver.solve(&balanced, &device).unwrap();
                assert_close(outcome.transport_cost, value("pot_COST_cost")[0], relative, name);
                let free = balanced.clone().with_rho(Some(strength), None).unwrap();
                let free = solver.solve(&free, &device).unwrap();
                assert_close(free.transport_cost, value("pot_COST_semi_cost")[0], relative, name);
                if !matches!(cost, Cost::Euclidean | Cost::Cosine) {
                    continue;
                }
                let (f, g, eps) = (&outcome.potentials.f, &outcome.potentials.g, balanced.eps());
                let pairs = (0..x.len()).flat_map(|i| (0..y.len()).map(move |j| (i, j)));
                let entry = |(i, j): (usize, usize)| {
                    let c = balanced.cost().between(x.row(i), y.row(j));
                    x.weight(i) * y.weight(j) * ((f[i] + g[j] - c) / eps).exp()
                };
                assert_same_plan(&pairs.map(entry).collect::<Vec<_>>(), &value("pot_COST_plan"), relative, name);
                assert_close(outcome.regularised_cost, value("ott_COST_regularised")[0], relative, name);
                let divergence = Divergence::like(&balanced, solver, &device).unwrap().from(&x, &device).unwrap();
                assert_close(divergence, value("ott_COST_divergence")[0], relative, name);
            }
        }
    }
}

/// Problems of four sizes in one call have OTT's values of its padded batch, and of each alone every bit.
#[test]
fn a_ragged_batch_is_that_of_ott_and_each_problem_alone() {
    let all = |name: &str| read_array(Path::new("tests/data/transport.npz"), &format!("batch_{name}")).unwrap().values;
    let (sizes, eps) = (all("sizes"), all("eps")[0]);
    let cut = |points: &str, weights: &str, side: usize| -> Vec<Cloud> {
        let (points, weights) = (all(points), all(weights));
        let mut from = 0;
        let mut next = |n: usize| {
            let cloud = Cloud::new(points[2 * from..][..2 * n].to_vec(), 2).unwrap().with_weights(weights[from..][..n].to_vec());
            from += n;
            cloud.unwrap()
        };
        sizes.chunks_exact(2).map(|size| next(size[side] as usize)).collect()
    };
    let (x, y) = (cut("x", "a", 0), cut("y", "b", 1));
    let problems: Vec<Problem> = x.iter().zip(&y).map(|(x, y)| Problem::new(x, y, eps).unwrap()).collect();
    for (device, relative, tol) in devices() {
        let solver = Sinkhorn { tol, ..Sinkhorn::default() };
        let together = solver.solve_batch(&problems, &device, Watch::default());
        for ((outcome, problem), theirs) in together.into_iter().zip(&problems).zip(all("ott_regularised")) {
            let outcome = outcome.unwrap();
            assert_close(outcome.regularised_cost, theirs, relative, "regularised cost");
            assert_eq!(outcome, solver.solve(problem, &device).unwrap());
        }
    }
}

/// The same kernel exp(−|x−y|²/2s²) by each library's own number (transport.md's table of conversions).
#[test]
fn the_conventions_name_one_problem() {
    let s = 0.3f64;
    assert_eq!(Convention::Brenier.of_length(s), s * s);
    assert_eq!(Convention::Geomloss.of_length(s), s * s);
    assert_eq!(Convention::Ott.strength(2.0 * s * s), s * s);
    assert_eq!(Convention::Pot.strength(2.0 * s * s), s * s);
    // FlashSinkhorn's default cost is |x−y|² with eps = blur²; GeomLoss(blur) is Flash(blur·√2).
    assert!((Convention::Flash.of_length(2f64.sqrt() * s) - s * s).abs() < 1e-16);
    assert_eq!(Convention::Flash.strength(2.0 * s * s), s * s);
}
