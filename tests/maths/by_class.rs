//! Couplings that know classes: marginals, entropies and pairs of P = Σ w_k P_k.

use brenier::backend::{Device, Precision};
use brenier::measure::{Cloud, named};
use brenier::random::Stream;
use brenier::transport::{ClassLabels, ClassPairing, ClassPairs, ClassProblem, Outcome, PlanEntropy, Sinkhorn, TransportError};
use brenier::watch::Watch;

fn cpu() -> Device {
    Device::cpu(Precision::F64)
}

fn points(name: &str, n: usize, seed: u32) -> Cloud {
    named(name, None).unwrap().sample(n, seed, Stream::Source, 0)
}

fn solved(problems: &[ClassProblem]) -> Vec<Outcome> {
    let solver = Sinkhorn { tol: 1e-10, ..Sinkhorn::default() };
    problems.iter().map(|of_class| solver.solve(&of_class.problem, &cpu()).unwrap()).collect()
}

/// Entry i, j of the plan of a class, by its potentials.
fn entry(outcome: &Outcome, i: usize, j: usize) -> f64 {
    let (x, y) = (outcome.problem.source(), outcome.problem.target());
    let cost: f64 = x.row(i).iter().zip(y.row(j)).map(|(x, y)| 0.5 * (x - y).powi(2)).sum();
    let exponent = (outcome.potentials.f[i] + outcome.potentials.g[j] - cost) / outcome.eps;
    x.weight(i) * y.weight(j) * exponent.exp()
}

/// Entropies of the whole plan, summed over its entries.
fn dense(problems: &[ClassProblem], outcomes: &[Outcome]) -> f64 {
    let mut entropy = 0.0;
    for (of_class, outcome) in problems.iter().zip(outcomes) {
        for i in 0..outcome.problem.source().len() {
            for j in 0..outcome.problem.target().len() {
                let p = of_class.share * entry(outcome, i, j);
                entropy -= if p > 0.0 { p * p.ln() } else { 0.0 };
            }
        }
    }
    entropy
}

#[test]
fn every_class_has_the_whole_source_and_the_plan_the_entropies_of_its_parts() {
    let (x, y) = (points("normal:2", 40, 1), points("moons", 60, 2));
    let weights: Vec<f64> = (0..60).map(|j| 1.0 + f64::from(j % 7)).collect();
    let y = y.with_weights(weights).unwrap();
    let labels = ClassLabels { source: None, target: (0..60).map(|j| [4, 1, 9][j % 3]).collect() };
    let problems = labels.problems(&x, &y, 0.1).unwrap();
    assert_eq!(problems.iter().map(|of_class| of_class.class).collect::<Vec<_>>(), [Some(1), Some(4), Some(9)]);
    let outcomes = solved(&problems);
    for (of_class, outcome) in problems.iter().zip(&outcomes) {
        let mass: f64 = (0..60).filter(|&j| Some(labels.target[j]) == of_class.class).map(|j| y.weight(j)).sum();
        assert!((of_class.share - mass).abs() < 1e-14);
        for i in 0..40 {
            let row: f64 = (0..20).map(|j| entry(outcome, i, j)).sum();
            assert!((row - 1.0 / 40.0).abs() < 1e-9, "source {i} in class {:?}: {row}", of_class.class);
        }
    }
    let of_class = |(class, outcome): (&ClassProblem, &Outcome)| (class.share, outcome.plan().entropy(&cpu()).unwrap());
    let parts: Vec<(f64, PlanEntropy)> = problems.iter().zip(&outcomes).map(of_class).collect();
    let found = PlanEntropy::of_classes(&parts, true);
    let of_target: f64 = (0..60).map(|j| -y.weight(j) * y.weight(j).ln()).sum();
    assert!((found.joint - dense(&problems, &outcomes)).abs() < 1e-8);
    assert!((found.source - 40f64.ln()).abs() < 1e-12 && (found.target - of_target).abs() < 1e-12);
}

#[test]
fn classes_of_both_ends_are_coupled_each_with_its_own() {
    let (x, y) = (points("normal:2", 30, 1), points("moons", 45, 2));
    let labels = ClassLabels {
        source: Some((0..30).map(|i| u32::from(i % 3 == 0)).collect()),
        target: (0..45).map(|j| u32::from(j % 3 == 0)).collect(),
    };
    labels.check(30, 45).unwrap();
    let problems = labels.problems(&x, &y, 0.1).unwrap();
    let outcomes = solved(&problems);
    let entropies: Vec<(f64, PlanEntropy)> =
        problems.iter().zip(&outcomes).map(|(class, outcome)| (class.share, outcome.plan().entropy(&cpu()).unwrap())).collect();
    let found = PlanEntropy::of_classes(&entropies, false);
    assert!((found.joint - dense(&problems, &outcomes)).abs() < 1e-8 && (found.source - 30f64.ln()).abs() < 1e-12);
    let mut pairing = ClassPairing::new(&problems, &outcomes, 90, false, (0, 0)).unwrap();
    let ClassPairs { pairs, classes } = pairing.next_round(&cpu(), &Watch::default()).unwrap().unwrap();
    let of_source = labels.source.unwrap();
    for ((i, j), class) in pairs.source.iter().zip(&pairs.target).zip(classes) {
        assert!(of_source[*i as usize] == labels.target[*j as usize] && Some(labels.target[*j as usize]) == class);
    }
    // Each class has its third of the source, so of 90 pairs each source point has three.
    assert!((0..30).all(|i| pairs.source.iter().filter(|found| **found == i).count() == 3));
    assert_eq!(pairing.next_round(&cpu(), &Watch::default()).unwrap(), None);
}

#[test]
fn labels_that_do_not_fit_are_refused_in_words() {
    let lacking = ClassLabels { source: Some(vec![0, 0, 2]), target: vec![0, 1] };
    assert_eq!(lacking.check(3, 2), Err(TransportError::LackingClass { class: 1, has: "target", lacks: "source" }));
    let count = ClassLabels { source: None, target: vec![0, 1] };
    assert_eq!(count.check(7, 3), Err(TransportError::ClassCount { end: "target", labels: 2, points: 3 }));
}
