//! The plan without the matrix against the dense matrix in f64, and the marginals and properties of pairs drawn from it.

use brenier::backend::{Device, Precision};
use brenier::measure::Cloud;
use brenier::random::{Philox, Stream};
use brenier::transport::pairs::Pairs;
use brenier::transport::{Outcome, Pairing, Plan, Problem, Sinkhorn};
use brenier::watch::Watch;
use proptest::prelude::*;

const EPS: f64 = 0.3;
/// Rounding of a few thousand operations on numbers of size one.
const ROUNDING: f64 = 1e-11;

fn cpu() -> Device {
    Device::cpu(Precision::F64)
}

fn normals(count: usize, step: u32) -> Vec<f64> {
    let mut z = vec![0f32; count];
    Philox::new(4, Stream::Source).normals(0, step, 0, &mut z);
    z.into_iter().map(f64::from).collect()
}

/// Far from the origin and from each other, weighted; every fifth point has no mass.
fn clouds(n: usize, m: usize, d: usize) -> (Cloud, Cloud) {
    let cloud = |n: usize, step: u32, offset: f64| {
        let points = normals(n * d, step).iter().map(|z| offset + z).collect();
        let weights = normals(n, step + 10).iter().enumerate().map(|(i, z)| if i % 5 == 4 { 0.0 } else { z.exp() }).collect();
        Cloud::new(points, d).unwrap().with_weights(weights).unwrap()
    };
    (cloud(n, 0, 100.0), cloud(m, 1, 103.0))
}

fn solve(x: &Cloud, y: &Cloud, eps: f64, tol: f64) -> Outcome {
    let solver = Sinkhorn { tol, ..Sinkhorn::default() };
    solver.solve(&Problem::new(x, y, eps).unwrap(), &cpu()).unwrap()
}

/// P_ij / a_i, and with a weight: the conditional matrix exists for points without mass too.
fn kernel(x: &Cloud, y: &Cloud, outcome: &Outcome) -> Vec<Vec<f64>> {
    let cost = |x: &[f64], y: &[f64]| 0.5 * x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
    let entry = |i: usize, j: usize| {
        let (f, g) = (outcome.potentials.f[i], outcome.potentials.g[j]);
        y.weight(j) * ((f + g - cost(x.row(i), y.row(j))) / outcome.eps).exp()
    };
    (0..x.len()).map(|i| (0..y.len()).map(|j| entry(i, j)).collect()).collect()
}

#[track_caller]
fn assert_near(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (k, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "{k}: {found} for {expected}");
    }
}

/// One iteration leaves a plan whose rows do not add up to a: the operations must not assume that they do.
#[test]
fn every_operation_is_that_of_the_dense_matrix() {
    let (x, y) = clouds(70, 90, 3);
    let loose = Sinkhorn { tol: 0.0, max_iter: 1, plain: true };
    let outcome = loose.solve(&Problem::new(&x, &y, EPS).unwrap(), &cpu()).unwrap();
    let problem = Problem::new(&x, &y, EPS).unwrap();
    let plan = Plan::new(&problem, &outcome.potentials).unwrap();
    let kernel = kernel(&x, &y, &outcome);
    let (n, m, p) = (x.len(), y.len(), 2);
    let rows: Vec<f64> = kernel.iter().map(|row| row.iter().sum()).collect();
    assert!(rows.iter().enumerate().any(|(i, r)| x.weight(i) > 0.0 && (r - 1.0).abs() > 1e-3), "the test wants a bad plan");

    let v = normals(m * p, 20);
    let dense = |weight: &dyn Fn(usize) -> f64| -> Vec<f64> {
        let entry = |i: usize, k: usize| weight(i) * (0..m).map(|j| kernel[i][j] * v[j * p + k]).sum::<f64>();
        (0..n).flat_map(|i| (0..p).map(move |k| (i, k))).map(|(i, k)| entry(i, k)).collect()
    };
    assert_near(&plan.apply(&v, p, &cpu()).unwrap(), &dense(&|i| x.weight(i)), ROUNDING);
    assert_near(&plan.pull(&v, p, &cpu()).unwrap(), &dense(&|i| 1.0 / rows[i]), ROUNDING);
    assert_near(&plan.row_mass(&cpu()).unwrap(), &(0..n).map(|i| x.weight(i) * rows[i]).collect::<Vec<_>>(), ROUNDING);

    let u = normals(n, 21);
    let back: Vec<f64> = (0..m).map(|j| (0..n).map(|i| x.weight(i) * kernel[i][j] * u[i]).sum()).collect();
    assert_near(&plan.transposed().apply(&u, 1, &cpu()).unwrap(), &back, ROUNDING);

    let mass: Vec<f64> = u.iter().map(|u| u.abs()).collect();
    let pushed: Vec<f64> = (0..m).map(|j| (0..n).map(|i| mass[i] * kernel[i][j] / rows[i]).sum()).collect();
    let found = plan.push(&mass, &cpu()).unwrap();
    assert_near(&found, &pushed, 100.0 * ROUNDING); // masses add up to 60
    assert!((found.iter().sum::<f64>() - mass.iter().sum::<f64>()).abs() < 1e-9, "no mass is lost");

    let map: Vec<f64> = (0..n)
        .flat_map(|i| (0..3).map(move |k| (i, k)))
        .map(|(i, k)| (0..m).map(|j| kernel[i][j] / rows[i] * y.row(j)[k]).sum())
        .collect();
    assert_near(&plan.partners_of_source().map(&x, &cpu()).unwrap(), &map, 100.0 * ROUNDING); // coordinates near 100
    let new = plan.partners();
    assert_near(&new.map(&x, &cpu()).unwrap(), &map, 100.0 * ROUNDING);

    let entropy = |i: usize| -kernel[i].iter().map(|k| k / rows[i]).filter(|p| *p > 0.0).map(|p| p * p.ln()).sum::<f64>();
    let dense: Vec<f64> = (0..n).map(entropy).collect();
    assert_near(&plan.partners_of_source().entropy(&x, &cpu()).unwrap(), &dense, ROUNDING);
    let joint: f64 = (0..n).map(|i| x.weight(i) * dense[i]).sum();
    let found = plan.entropy(&cpu()).unwrap();
    assert!((found.joint - found.source - joint).abs() < ROUNDING);

    let top = plan.partners_of_source().top(&x, 4, &cpu()).unwrap();
    for (i, row) in kernel.iter().enumerate() {
        let mut order: Vec<usize> = (0..m).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        assert_eq!(top.index[i * 4..][..4], order[..4].iter().map(|&j| j as u32).collect::<Vec<_>>()[..], "row {i}");
        assert_near(&top.probability[i * 4..][..4], &order[..4].iter().map(|&j| row[j] / rows[i]).collect::<Vec<_>>(), ROUNDING);
    }
}

#[test]
fn values_in_the_wrong_number_are_refused() {
    let (x, y) = clouds(6, 7, 2);
    let outcome = solve(&x, &y, EPS, 1e-3);
    let problem = Problem::new(&x, &y, EPS).unwrap();
    let plan = Plan::new(&problem, &outcome.potentials).unwrap();
    let error = plan.apply(&[0.0; 6], 1, &cpu()).unwrap_err().to_string();
    assert_eq!(error, "6 values for 7 points of 1 each; give 1 a point, and at least one");
    assert!(plan.pull(&[], 0, &cpu()).is_err());
    assert!(plan.partners_of_source().top(&x, 0, &cpu()).is_err());
    assert!(plan.push(&[-1.0; 6], &cpu()).unwrap_err().to_string().contains("weight 0 is -1"));
    assert!(Plan::new(&problem.clone(), &brenier::transport::Potentials { f: vec![], g: vec![] }).is_err());
}

/// Independent pairs have renormalised entropy 1, a permutation 0.
#[test]
fn the_renormalised_entropy_runs_from_a_map_to_independence() {
    let cloud = |step| Cloud::new(normals(100, step), 2).unwrap();
    let (x, y) = (cloud(0), cloud(1));
    for (eps, expected, tolerance) in [(1e6, 1.0, 1e-6), (1e-3, 0.0, 0.02)] {
        let outcome = solve(&x, &y, eps, 1e-3);
        let entropy = Plan::new(&Problem::new(&x, &y, eps).unwrap(), &outcome.potentials).unwrap().entropy(&cpu()).unwrap();
        assert!((entropy.renormalised() - expected).abs() < tolerance, "{entropy:?}");
        assert!((entropy.source - 50f64.ln()).abs() < 1e-12);
    }
}

fn draw_all(x: &Cloud, y: &Cloud, outcome: &Outcome, total: u64, without: bool, seed: u32) -> Pairs {
    let problem = Problem::new(x, y, outcome.eps).unwrap();
    let mut pairing = Pairing::new(&problem, &outcome.potentials, total, without, (seed, 0)).unwrap();
    let mut all = Pairs::default();
    while let Some(pairs) = pairing.next_round(&cpu(), Watch::default()).unwrap() {
        all.source.extend(pairs.source);
        all.target.extend(pairs.target);
    }
    all
}

fn counts(index: &[u32], n: usize) -> Vec<f64> {
    let mut counts = vec![0.0; n];
    index.iter().for_each(|&i| counts[i as usize] += 1.0);
    counts
}

/// Pearson's χ² of the joint counts: with k cells it has mean k − 1 and variance 2(k − 1); five deviations. The rows' totals are
/// fixed, which takes n − 1 degrees away.
#[test]
fn pairs_follow_the_plan() {
    let (x, y) = clouds(8, 9, 2);
    let outcome = solve(&x, &y, 2.0, 1e-12);
    let kernel = kernel(&x, &y, &outcome);
    let total = 400_000;
    let pairs = draw_all(&x, &y, &outcome, total, false, 1);
    let mut joint = vec![0.0; 72];
    pairs.source.iter().zip(&pairs.target).for_each(|(&i, &j)| joint[(i * 9 + j) as usize] += 1.0);
    let rows = counts(&pairs.source, 8);
    let (mut chi_squared, mut degrees) = (0.0, 0.0);
    for i in 0..8 {
        for j in 0..9 {
            let expected = rows[i] * kernel[i][j];
            if expected > 0.0 {
                chi_squared += (joint[i * 9 + j] - expected).powi(2) / expected;
                degrees += 1.0;
            } else {
                assert_eq!(joint[i * 9 + j], 0.0, "a pair of no mass was drawn");
            }
        }
        degrees -= f64::from(u8::from(x.weight(i) > 0.0));
    }
    assert!((chi_squared - degrees).abs() < 5.0 * (2.0f64 * degrees).sqrt(), "χ² = {chi_squared} for {degrees}");
}

/// Neighbouring slots of a source draw independently and the order is random: the correlation of a pair with the next has standard
/// deviation 1/√N.
#[test]
fn pairs_come_in_a_random_order() {
    let (x, y) = clouds(40, 40, 1);
    let outcome = solve(&x, &y, EPS, 1e-6);
    let pairs = draw_all(&x, &y, &outcome, 20_000, false, 2);
    let at: Vec<f64> = pairs.source.iter().map(|&i| x.row(i as usize)[0]).collect();
    let mean = at.iter().sum::<f64>() / at.len() as f64;
    let variance = at.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / at.len() as f64;
    let next = at.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum::<f64>() / at.len() as f64;
    assert!((next / variance).abs() < 4.0 / (at.len() as f64).sqrt(), "{}", next / variance);
}

#[test]
fn without_replacement_as_many_pairs_as_points_are_a_permutation_that_costs_little_more() {
    let n = 400;
    let cloud = |step, scale: f64| Cloud::new(normals(2 * n, step).iter().map(|z| scale * z).collect(), 2).unwrap();
    let (x, y) = (cloud(0, 1.0), cloud(1, 3.0));
    let outcome = solve(&x, &y, 0.1, 1e-3);
    let pairs = draw_all(&x, &y, &outcome, n as u64, true, 3);
    for index in [&pairs.source, &pairs.target] {
        let mut sorted = index.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..n as u32));
    }
    let square = |(&i, &j): (&u32, &u32)| {
        let (x, y) = (x.row(i as usize), y.row(j as usize));
        (x[0] - y[0]).powi(2) + (x[1] - y[1]).powi(2)
    };
    let cost = pairs.source.iter().zip(&pairs.target).map(square).sum::<f64>() / n as f64;
    // Between the optimum, 2⟨P, c⟩ less about 2ε, and far below independent pairs, which cost 20.
    let entropic = 2.0 * outcome.transport_cost;
    assert!(cost > 0.8 * entropic && cost < 1.3 * entropic, "{cost} for {entropic}");
}

fn weighted(n: usize) -> impl Strategy<Value = Cloud> {
    let weight = prop_oneof![1 => Just(0.0), 4 => 0.1..1.0f64];
    (prop::collection::vec(-1.0..1.0f64, 2 * n), prop::collection::vec(weight, n))
        .prop_filter_map("no mass", |(points, weights)| Cloud::new(points, 2).unwrap().with_weights(weights).ok())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every source N a_i times up to less than one, no target more than ⌈N b_j⌉ times, and nothing without mass at all.
    #[test]
    fn counts_are_the_weights(x in (1..12usize).prop_flat_map(weighted), y in (1..12usize).prop_flat_map(weighted),
        total in 1..200u64, without in any::<bool>(), seed in any::<u32>()) {
        let outcome = solve(&x, &y, EPS, 1e-3);
        let pairs = draw_all(&x, &y, &outcome, total, without, seed);
        prop_assert_eq!((pairs.source.len(), pairs.target.len()), (total as usize, total as usize));
        for (i, count) in counts(&pairs.source, x.len()).into_iter().enumerate() {
            prop_assert!((count - total as f64 * x.weight(i)).abs() < 1.0 + 1e-9, "source {}: {} for {}", i, count, x.weight(i));
            prop_assert!(count == 0.0 || x.weight(i) > 0.0);
        }
        for (j, count) in counts(&pairs.target, y.len()).into_iter().enumerate() {
            prop_assert!(count == 0.0 || y.weight(j) > 0.0, "target {} has no mass", j);
            let share = total as f64 * y.weight(j);
            prop_assert!(!without || count <= (share * (1.0 - 1e-12)).ceil(), "target {}: {} of {}", j, count, share);
        }
    }

    /// A point's partner is a function of (seed, its number) and of the points of the plan, not of who else is asked about.
    #[test]
    fn the_partners_of_some_are_those_of_all(x in (3..12usize).prop_flat_map(weighted), y in (2..12usize).prop_flat_map(weighted),
        seed in any::<u32>()) {
        let outcome = solve(&x, &y, EPS, 1e-3);
        let plan = Plan::new(&Problem::new(&x, &y, EPS).unwrap(), &outcome.potentials).unwrap();
        let law = plan.partners();
        let quantiles: Vec<f64> = (0..x.len() as u32).map(|i| Philox::new(seed, Stream::Noise).uniform(i, 0, 0)).collect();
        let draw = |cloud: &Cloud, quantiles: &[f64]| {
            let first: Vec<u32> = (0..=cloud.len() as u32).collect();
            law.draw(cloud, brenier::transport::Draws { first: &first, quantiles }, &cpu()).unwrap()
        };
        let all = draw(&x, &quantiles);
        let last = Cloud::new(x.points()[2..].to_vec(), 2).unwrap();
        prop_assert_eq!(&all[1..], &draw(&last, &quantiles[1..])[..]);
        prop_assert_eq!(all, plan.draw_partners(seed, &cpu()).unwrap());
    }
}
