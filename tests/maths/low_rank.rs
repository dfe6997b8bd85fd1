//! Low-rank plans are plans: dearer than the exact one, equal to it where it has low rank, and closer with every station.

use brenier::measure::Cloud;
use brenier::random::{Philox, Stream};
use brenier::transport::low_rank::LowRank;
use brenier::transport::{ExactPlan, TransportError};

fn normals(n: usize, d: usize, offset: f64, step: u32) -> Cloud {
    let philox = Philox::new(4, Stream::Source);
    let mut z = vec![0.0f32; d];
    let point = |i: usize| {
        philox.normals(i as u32, step, 0, &mut z);
        z.iter().map(|&z| offset + f64::from(z)).collect::<Vec<f64>>()
    };
    Cloud::new((0..n).flat_map(point).collect(), d).unwrap()
}

const SOLVER: LowRank = LowRank { rank: 1, tol: 1e-4, max_iter: 500, seed: 0 };

/// Rank one couples independently: ½(|m₀ − m₁|² + both variances).
#[test]
fn rank_one_is_the_independent_coupling() {
    let (x, y) = (normals(200, 3, 0.0, 0), normals(300, 3, 1.0, 1));
    let plan = SOLVER.solve(&x, &y).unwrap();
    let squared: f64 = x.mean().iter().zip(y.mean()).map(|(p, q)| (p - q).powi(2)).sum();
    assert!((plan.transport_cost - 0.5 * (squared + x.variance() + y.variance())).abs() < 1e-12);
    assert!(plan.map.chunks(3).all(|t| t.iter().zip(y.mean()).all(|(t, m)| (t - m).abs() < 1e-12)));
}

#[test]
fn the_cost_is_that_of_a_plan_with_the_marginals_and_falls_towards_the_exact_one() {
    let weights = |n: usize| (0..n).map(|i| 1.0 + (i % 7) as f64).collect();
    let x = normals(240, 2, 0.0, 0).with_weights(weights(240)).unwrap();
    let y = normals(200, 2, 1.0, 1).with_weights(weights(200)).unwrap();
    let exact = 0.5 * ExactPlan::new(&x, &y).unwrap().w2_squared.unwrap();
    let mut last = f64::INFINITY;
    for rank in [1, 4, 16, 40] {
        let plan = LowRank { rank, ..SOLVER }.solve(&x, &y).unwrap();
        let (q, r, g) = (&plan.q, &plan.r, &plan.g);
        // The matrix itself: its cost, and marginals off by what the plan says.
        let (mut cost, mut rows, mut columns) = (0.0, vec![0.0; 240], vec![0.0; 200]);
        for i in 0..240 {
            for j in 0..200 {
                let mass: f64 = (0..rank).map(|k| q[i * rank + k] * r[j * rank + k] / g[k]).sum();
                cost += mass * x.row(i).iter().zip(y.row(j)).map(|(p, q)| 0.5 * (p - q).powi(2)).sum::<f64>();
                rows[i] += mass;
                columns[j] += mass;
            }
        }
        let error: f64 = (0..240).map(|i| (rows[i] - x.weight(i)).abs()).sum::<f64>()
            + (0..200).map(|j| (columns[j] - y.weight(j)).abs()).sum::<f64>();
        assert!(plan.marginal_error < 1e-12 && error < 1e-12, "{error} {}", plan.marginal_error);
        assert!((cost - plan.transport_cost).abs() < 1e-12 * cost, "{cost} {}", plan.transport_cost);
        assert!(cost > exact && cost < last, "rank {rank}: {cost}, exact {exact}, before {last}");
        last = cost;
    }
    // Clusters of 1/40 of the mass in the plane have about 1/40 of the variance, 2 on each side: 0.05 each, of a cost of one.
    assert!(last < 1.15 * exact, "{last} for {exact}");
}

/// Where the target sits on r points, the exact plan has rank r: it is found to the accuracy of a descent.
#[test]
fn a_plan_of_low_rank_is_found() {
    let x = normals(300, 2, 0.0, 0);
    let y = Cloud::new(vec![-2.0, 0.0, 2.0, 0.0, 0.0, 3.0], 2).unwrap();
    let exact = 0.5 * ExactPlan::new(&x, &y).unwrap().w2_squared.unwrap();
    let plan = LowRank { rank: 3, tol: 1e-7, max_iter: 2_000, seed: 0 }.solve(&x, &y).unwrap();
    assert!((1.0 - 1e-12..1.0 + 2e-3).contains(&(plan.transport_cost / exact)), "{} for {exact}", plan.transport_cost);
}

/// Between two equal intervals the best plan of rank r pairs r equal parts, each of variance 1/(12 r²) on both sides. The points are
/// more than a first sample, from which the stations come.
#[test]
fn stations_of_a_sample_serve_all_points() {
    let n = 20_000;
    let interval = |from: f64| Cloud::new((0..n).map(|i| from + (i as f64 + 0.5) / n as f64).collect(), 1).unwrap();
    for rank in [2, 8] {
        let plan = LowRank { rank, ..SOLVER }.solve(&interval(0.0), &interval(1.0)).unwrap();
        let excess = (plan.transport_cost - 0.5) * 12.0 * (rank * rank) as f64;
        // Parts of a grid have less variance by (r/n)²; a descent that ends at a fall of 1e-4 is within a percent.
        assert!(plan.converged && (1.0 - 1e-6..1.01).contains(&excess), "rank {rank}: {excess}");
        assert!(plan.marginal_error < 1e-12, "{}", plan.marginal_error);
    }
}

/// Any plan is best where a side is one point, and a point without mass is mapped like its neighbours.
#[test]
fn clouds_without_spread_and_points_without_mass_are_no_exception() {
    let x = normals(50, 2, 0.0, 0);
    let point = Cloud::new([3.0, 4.0].repeat(5), 2).unwrap();
    let plan = LowRank { rank: 3, ..SOLVER }.solve(&x, &point).unwrap();
    let cost: f64 = x.rows().map(|x| 0.5 * ((x[0] - 3.0).powi(2) + (x[1] - 4.0).powi(2))).sum::<f64>() / 50.0;
    assert!((plan.transport_cost - cost).abs() < 1e-12 * cost && plan.map.iter().all(|t| t.is_finite()));
    let x = x.with_weights((0..50).map(|i| f64::from(i % 2)).collect()).unwrap();
    let plan = LowRank { rank: 3, ..SOLVER }.solve(&x, &normals(40, 2, 1.0, 1)).unwrap();
    assert!(plan.map.iter().all(|t| t.is_finite()) && plan.q[..3] == [0.0; 3]);
}

/// Another station can always be left idle, so the least cost does not rise with the rank; with as many stations as points it is that of
/// the exact plan, whichever cloud is smaller.
#[test]
fn the_cost_falls_with_the_rank_to_that_of_the_exact_plan() {
    for (n, m, d, step) in [(60, 60, 3, 2), (47, 80, 2, 4), (90, 50, 8, 6), (40, 40, 1, 8), (60, 60, 64, 10)] {
        let (x, y) = (normals(n, d, 0.0, step), normals(m, d, 1.0, step + 1));
        let most = n.min(m);
        let exact = 0.5 * ExactPlan::new(&x, &y).unwrap().w2_squared.unwrap();
        let mut least = f64::INFINITY;
        for rank in [1, 2, 5, 10, 20, most / 2, most - 1, most] {
            let plan = LowRank { rank, ..SOLVER }.solve(&x, &y).unwrap();
            let cost = plan.transport_cost;
            assert!(cost >= exact * (1.0 - 1e-9), "{n} and {m}, rank {rank}: {cost} for {exact}");
            assert!(cost < 1.02 * least, "{n} and {m}, rank {rank}: {cost} after {least}");
            assert!(plan.marginal_error < 1e-12, "{}", plan.marginal_error);
            least = least.min(cost);
        }
        assert!(least < exact * (1.0 + 1e-9), "{n} and {m}: {least} for {exact}");
    }
}

/// Five stations for each of two clusters cost, far apart, what five cost for the cluster alone.
#[test]
fn clusters_far_apart_cost_what_each_costs_alone() {
    let (x, y) = (normals(120, 3, 0.0, 0), normals(100, 3, 1.0, 1));
    let alone = LowRank { rank: 5, ..SOLVER }.solve(&x, &y).unwrap().transport_cost;
    for apart in [1e2, 1e4, 1e6] {
        let twice = |cloud: &Cloud| {
            let moved = cloud.points().iter().map(|x| x + apart);
            Cloud::new(cloud.points().iter().copied().chain(moved).collect(), 3).unwrap()
        };
        let both = LowRank { rank: 10, ..SOLVER }.solve(&twice(&x), &twice(&y)).unwrap().transport_cost;
        assert!(both < 1.1 * alone, "{apart}: {both} for {alone}");
    }
}

/// With four scales in one cloud each cluster has its stations by what it costs.
#[test]
fn clusters_of_several_scales_all_get_stations() {
    let cloud = |step: u32| {
        let part = |k: i32| {
            let (apart, scale) = (1e3 * f64::from(k * k), 2f64.powi(k));
            normals(40, 2, 0.0, 10 * k as u32 + step).points().iter().map(|x| apart + scale * x).collect::<Vec<f64>>()
        };
        Cloud::new((0..4).flat_map(part).collect(), 2).unwrap()
    };
    let (x, y) = (cloud(0), cloud(1));
    let exact = 0.5 * ExactPlan::new(&x, &y).unwrap().w2_squared.unwrap();
    let four = LowRank { rank: 4, ..SOLVER }.solve(&x, &y).unwrap().transport_cost;
    let forty = LowRank { rank: 40, ..SOLVER }.solve(&x, &y).unwrap().transport_cost;
    // One station a cluster costs ½(V_x + V_y) = 2 s² of scale s, the mean of which is 2 · 85/4 up to what means differ by.
    assert!((30.0..60.0).contains(&four), "{four}");
    assert!(forty - exact < 0.15 * (four - exact), "{forty}, {four} and {exact}");
}

#[test]
fn a_rank_out_of_range_is_refused() {
    let (x, y) = (normals(20, 2, 0.0, 0), normals(30, 2, 1.0, 1));
    for rank in [0, 21] {
        assert_eq!(LowRank { rank, ..SOLVER }.solve(&x, &y), Err(TransportError::Rank { rank, most: 20 }));
    }
}
