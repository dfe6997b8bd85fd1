//! Agreement with POT 0.9.7 and OTT-JAX 0.6.0: costs, duals, plans, free marginals, divergences (tests/reference/transport.py).

use std::path::Path;

use brenier::backend::{Device, Precision};
use brenier::io::read_array;
use brenier::measure::Cloud;
use brenier::transport::{Convention, Divergence, Outcome, Problem, Sinkhorn};

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
    let outcome = Sinkhorn { tol, ..Sinkhorn::default() }.solve(&problem, device, None, None).unwrap();
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
fn plans_with_free_marginals_are_those_of_pot_and_ott() {
    for (device, relative, tol) in devices() {
        for case in 0..CASES {
            let (outcome, plan) = solve(case, |rho| [Some(rho); 2], &device, tol);
            assert_close(outcome.transport_cost, peer("pot_unbalanced_cost", case)[0], relative, "unbalanced cost");
            assert_same_plan(&plan, &peer("pot_unbalanced_plan", case), relative, "unbalanced plan of POT");
            assert_same_plan(&plan, &peer("ott_unbalanced_plan", case), relative, "unbalanced plan of OTT");
            let (_, plan) = solve(case, |rho| [None, Some(rho)], &device, tol);
            assert_same_plan(&plan, &peer("ott_semi_plan", case), relative, "semi-unbalanced plan");
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
