//! Class costs, c(x_i, y_j) = ½|x_i−y_j|² + W(label, label), against dense Sinkhorn on the whole cost matrix.

use brenier::backend::{Device, Precision};
use brenier::measure::Cloud;
use brenier::random::{Philox, Stream};
use brenier::transport::{LabelCost, Outcome, Pairing, Plan, Problem, Sinkhorn, TransportError};
use brenier::watch::Watch;

const EPS: f64 = 0.3;
const TIGHT: Sinkhorn = Sinkhorn { tol: 1e-11, max_iter: 100_000, plain: false };

fn normals(n: usize, step: u32) -> Cloud {
    let mut z = vec![0.0f32; 2 * n];
    Philox::new(8, Stream::Source).normals(0, step, 0, &mut z);
    Cloud::new(z.into_iter().map(f64::from).collect(), 2).unwrap()
}

fn labels(n: usize, classes: u32) -> Vec<u32> {
    (0..n as u32).map(|i| (i * i + 1) % classes).collect()
}

fn solve(x: &Cloud, y: &Cloud, labels: Option<LabelCost>, rho: Option<f64>) -> Outcome {
    let problem = Problem::new(x, y, EPS).unwrap().with_rho(rho, rho).unwrap();
    let problem = match labels {
        Some(labels) => problem.with_labels(labels).unwrap(),
        None => problem,
    };
    let outcome = TIGHT.solve(&problem, &Device::cpu(Precision::F64)).unwrap();
    assert!(outcome.converged, "{}", outcome.verdict);
    outcome
}

#[test]
fn the_plan_with_class_costs_is_that_of_the_whole_cost_matrix() {
    let (x, y) = (normals(40, 0), normals(30, 1));
    let (of_x, of_y) = (labels(40, 2), labels(30, 3));
    let table = [0.0, 1.5, 0.2, 0.7, 0.0, 3.0];
    let cost = |i: usize, j: usize| {
        let squared: f64 = x.row(i).iter().zip(y.row(j)).map(|(x, y)| (x - y).powi(2)).sum();
        0.5 * squared + table[of_x[i] as usize * 3 + of_y[j] as usize]
    };
    for rho in [None, Some(0.8)] {
        let damping = rho.map_or(1.0, |rho| rho / (rho + EPS));
        let (mut f, mut g) = (vec![0.0f64; 40], vec![0.0f64; 30]);
        for _ in 0..5000 {
            for (j, g) in g.iter_mut().enumerate() {
                *g = -damping * EPS * (0..40).map(|i| ((f[i] - cost(i, j)) / EPS).exp() / 40.0).sum::<f64>().ln();
            }
            for (i, f) in f.iter_mut().enumerate() {
                *f = -damping * EPS * (0..30).map(|j| ((g[j] - cost(i, j)) / EPS).exp() / 30.0).sum::<f64>().ln();
            }
        }
        let entry = |i: usize, j: usize| ((f[i] + g[j] - cost(i, j)) / EPS).exp() / 1200.0;
        let transport: f64 = (0..1200).map(|ij| entry(ij / 30, ij % 30) * cost(ij / 30, ij % 30)).sum();
        let outcome = solve(
            &x,
            &y,
            Some(LabelCost { source: of_x[..].into(), target: of_y[..].into(), table: table[..].into(), columns: 3 }),
            rho,
        );
        assert!((outcome.transport_cost - transport).abs() < 1e-8, "{} for {transport}", outcome.transport_cost);
        assert!(outcome.gap().abs() < 1e-8, "{}", outcome.gap());
        for i in 0..40 {
            let mass: f64 = (0..30).map(|j| entry(i, j)).sum();
            for k in 0..2 {
                let mean = (0..30).map(|j| entry(i, j) * y.row(j)[k]).sum::<f64>() / mass;
                assert!((outcome.map()[2 * i + k] - mean).abs() < 1e-8);
            }
        }
    }
}

#[test]
fn the_mean_of_class_costs_is_that_of_independent_pairs() {
    let (of_x, of_y) = (labels(40, 2), labels(30, 3));
    let x = normals(40, 0).with_weights((1..=40).map(f64::from).collect()).unwrap();
    let (y, table) = (normals(30, 1), [0.0, 1.5, 0.2, 0.7, 0.0, 3.0]);
    let pairs = (0..1200).map(|ij| (ij / 30, ij % 30));
    let direct: f64 = pairs.map(|(i, j)| x.weight(i) * y.weight(j) * table[of_x[i] as usize * 3 + of_y[j] as usize]).sum();
    let mean = LabelCost { source: of_x[..].into(), target: of_y[..].into(), table: table[..].into(), columns: 3 }.mean(&x, &y);
    assert!((mean - direct).abs() < 1e-12, "{mean} for {direct}");
}

/// A table of one constant adds it to the value and leaves the plan; a forbidding one keeps each class to itself.
#[test]
fn a_constant_changes_the_value_alone_and_a_wall_separates_the_classes() {
    let (x, y) = (normals(40, 0), normals(40, 1));
    let (of_x, of_y) = (labels(40, 2), labels(40, 2));
    let with = |table: &[f64]| {
        solve(&x, &y, Some(LabelCost { source: of_x[..].into(), target: of_y[..].into(), table: table.into(), columns: 2 }), None)
    };
    let (bare, constant) = (solve(&x, &y, None, None), with(&[2.0; 4]));
    assert!((constant.regularised_cost - bare.regularised_cost - 2.0).abs() < 1e-9);
    assert!(constant.map().iter().zip(&bare.map()).all(|(a, b)| (a - b).abs() < 1e-8));
    let wall = with(&[0.0, 50.0, 50.0, 0.0]);
    let class = |cloud: &Cloud, labels: &[u32]| {
        let members: Vec<usize> = (0..40).filter(|&i| labels[i] == 0).collect();
        (cloud.select(&members).unwrap(), members)
    };
    let ((x0, members), (y0, _)) = (class(&x, &of_x), class(&y, &of_y));
    let alone = solve(&x0, &y0, None, None);
    for (at, i) in members.iter().enumerate() {
        // e^{−50/ε} of the mass leaks.
        assert!((wall.map()[2 * i] - alone.map()[2 * at]).abs() < 1e-7, "{} {}", wall.map()[2 * i], alone.map()[2 * at]);
    }
}

/// Two lines at unlike pace, whose cost stands in the points, in the table, or half in each: one problem, solved alike.
#[test]
fn costs_in_the_table_converge_as_they_do_in_the_points() {
    let (n, m) = (12usize, 13usize);
    let line = |count: usize, pace: f64, shift: f64| (0..count).map(|k| pace * k as f64 + shift).collect::<Vec<f64>>();
    let (u, v) = (line(n, 1.0, -0.1), line(m, 2.0, 0.1));
    let table: Vec<f64> = u.iter().flat_map(|u| v.iter().map(move |v| 2.0 * (u - v).powi(2))).collect();
    let (of_u, of_v): (Vec<u32>, Vec<u32>) = ((0..n as u32).collect(), (0..m as u32).collect());
    let along = |values: &[f64], scale: f64| Cloud::new(values.iter().map(|t| scale * t).collect(), 1).unwrap();
    let (solver, device) = (Sinkhorn { max_iter: 300, ..Sinkhorn::default() }, Device::cpu(Precision::F64));
    let at = |share: f64, eps: f64| {
        // ½|sx − sy|² = share · 2|x − y|² for s² = 4 share.
        let (x, y) = (along(&u, 2.0 * share.sqrt()), along(&v, 2.0 * share.sqrt()));
        let rest: Vec<f64> = table.iter().map(|w| (1.0 - share) * w).collect();
        let labels = LabelCost { source: of_u[..].into(), target: of_v[..].into(), table: rest[..].into(), columns: m };
        let problem = Problem::new(&x, &y, eps).unwrap().with_labels(labels).unwrap();
        solver.solve(&problem, &device).unwrap()
    };
    for eps in [0.01, 0.1, 10.0] {
        let points = at(1.0, eps);
        for share in [0.0, 0.5] {
            let outcome = at(share, eps);
            assert!(
                outcome.converged,
                "eps {eps}, {share} in the points: {} after {}",
                outcome.marginal_error, outcome.iterations
            );
            let relative = outcome.regularised_cost / points.regularised_cost - 1.0;
            assert!(relative.abs() < 1e-3, "eps {eps}, {share} in the points: off by {relative}");
        }
    }
}

/// What a plan with class costs says, by the dense matrix of the problem that was solved; and it refuses points without a class.
#[test]
fn a_plan_carries_its_class_costs() {
    let (x, y) = (normals(40, 0), normals(30, 1));
    let (of_x, of_y) = (labels(40, 2), labels(30, 3));
    let table = [0.0, 1.5, 0.2, 0.7, 0.0, 3.0];
    let labels = LabelCost { source: of_x[..].into(), target: of_y[..].into(), table: table[..].into(), columns: 3 };
    let outcome = solve(&x, &y, Some(labels.clone()), None);
    let device = Device::cpu(Precision::F64);
    let cost = |i: usize, j: usize| {
        let squared: f64 = x.row(i).iter().zip(y.row(j)).map(|(x, y)| (x - y).powi(2)).sum();
        0.5 * squared + table[of_x[i] as usize * 3 + of_y[j] as usize]
    };
    let entry = |i: usize, j: usize| ((outcome.potentials.f[i] + outcome.potentials.g[j] - cost(i, j)) / EPS).exp() / 1200.0;
    let problem = Problem::new(&x, &y, EPS).unwrap().with_labels(labels).unwrap();
    let plan = Plan::new(&problem, &outcome.potentials).unwrap();
    let near = |found: &[f64], truth: &[f64]| found.iter().zip(truth).all(|(p, q)| (p - q).abs() < 1e-8);

    let values: Vec<f64> = (0..30).map(|j| f64::from(j).sin()).collect();
    let applied: Vec<f64> = (0..40).map(|i| (0..30).map(|j| entry(i, j) * values[j]).sum()).collect();
    assert!(near(&plan.apply(&values, 1, &device).unwrap(), &applied));
    let back: Vec<f64> = (0..30).map(|j| (0..40).map(|i| entry(i, j)).sum()).collect();
    assert!(near(&plan.transposed().row_mass(&device).unwrap(), &back));
    let pushed = plan.push(&[1.0 / 40.0; 40], &device).unwrap();
    assert!(near(&pushed, &[1.0 / 30.0; 30]), "uniform mass goes to the target's own");
    assert!(near(&plan.partners_of_source().map(&x, &device).unwrap(), &outcome.map()));
    let entropy: f64 = -(0..1200).map(|ij| entry(ij / 30, ij % 30)).map(|p| p * p.ln()).sum::<f64>();
    assert!((plan.entropy(&device).unwrap().joint - entropy).abs() < 1e-8);
    let top = plan.partners_of_source().top(&x, 1, &device).unwrap();
    for (i, &j) in top.index.iter().enumerate() {
        assert!((0..30).all(|other| entry(i, other) <= entry(i, j as usize)), "row {i}");
    }
    assert!(near(&plan.partners_of_source().potential(&x, &device).unwrap(), &outcome.potentials.f));

    let elsewhere = normals(5, 2);
    let refused = Err(TransportError::Unlabelled);
    assert_eq!(plan.partners().map(&elsewhere, &device), refused);
    assert_eq!(plan.partners().map(&x, &device), refused);
    assert_eq!(plan.draw_partners_of(&elsewhere, 0, &device).unwrap_err(), TransportError::Unlabelled);
}

/// Between walls no pair crosses, in the first round and in those between what is left over.
#[test]
fn pairs_keep_to_what_the_class_costs_allow() {
    let (x, y) = (normals(60, 0), normals(60, 1));
    let (of_x, of_y) = (labels(60, 2), labels(60, 2));
    let wall = LabelCost { source: of_x[..].into(), target: of_y[..].into(), table: [0.0, 80.0, 80.0, 0.0].into(), columns: 2 };
    let outcome = solve(&x, &y, Some(wall.clone()), None);
    let problem = Problem::new(&x, &y, EPS).unwrap().with_labels(wall).unwrap();
    let device = Device::cpu(Precision::F64);
    for without_replacement in [false, true] {
        let mut pairing = Pairing::new(&problem, &outcome.potentials, 60, without_replacement, (3, 0)).unwrap();
        let mut used = [0; 60];
        while let Some(pairs) = pairing.next_round(&device, Watch::default()).unwrap() {
            for (&i, &j) in pairs.source.iter().zip(&pairs.target) {
                assert_eq!(of_x[i as usize], of_y[j as usize], "{i} and {j}");
                used[j as usize] += 1;
            }
        }
        assert_eq!(used.iter().sum::<i32>(), 60);
        assert!(!without_replacement || used == [1; 60]);
    }
}

#[test]
fn labels_outside_the_table_are_refused() {
    let (x, y) = (normals(3, 0), normals(2, 1));
    let problem = Problem::new(&x, &y, EPS).unwrap();
    let refused =
        problem.with_labels(LabelCost { source: [0, 1, 2].into(), target: [0, 1].into(), table: [0.0; 4].into(), columns: 2 });
    assert_eq!(refused.unwrap_err(), TransportError::Labels { n: 3, m: 2, rows: 2, columns: 2 });
}
