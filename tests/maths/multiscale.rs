//! The multiscale solver against the dense one, closed forms and itself.

use brenier::backend::{Device, Precision};
use brenier::measure::Cloud;
use brenier::random::{Philox, Stream};
use brenier::transport::{Divergence, Outcome, Problem, Sinkhorn};

/// `n` uniform points of the unit cube, each coordinate raised to its power.
fn cube(n: usize, powers: &[f64], seed: u32) -> Cloud {
    let (philox, d) = (Philox::new(seed, Stream::Source), powers.len());
    let at = |i: usize| philox.uniform((i / d) as u32, 0, (i % d) as u32).powf(powers[i % d]);
    Cloud::new((0..n * d).map(at).collect(), d).unwrap()
}

/// Both precisions, and the error that rounding may leave in a sum of weights.
fn devices() -> [(Device, f64); 2] {
    [(Device::cpu(Precision::F32), 2e-4), (Device::cpu(Precision::F64), 1e-12)]
}

fn solve(x: &Cloud, y: &Cloud, eps: f64, tol: f64, device: &Device) -> Outcome {
    let found = Sinkhorn { tol, ..Sinkhorn::default() }.solve(&Problem::new(x, y, eps).unwrap(), device).unwrap();
    assert!(found.converged, "marginal error {} after {} iterations", found.marginal_error, found.iterations);
    assert!(found.skipped_mass_bound <= tol);
    found
}

/// What the tiled solver says of its plan is what the dense sums over all pairs say, to the bound that it states.
fn assert_same_plan(x: &Cloud, y: &Cloud, eps: f64, tol: f64) {
    for (device, rounding) in devices() {
        let found = solve(x, y, eps, tol, &device);
        let all_pairs = Sinkhorn { tol: 0.0, max_iter: 0, plain: true };
        let problem = Problem::new(x, y, eps).unwrap();
        // The dense sums in f64, so that only what the tiled ones lack is seen.
        let same = all_pairs.solve_from(&problem, &found.potentials, &Device::cpu(Precision::F64)).unwrap();
        let missing = found.skipped_mass_bound + rounding;
        let differ = (found.marginal_error - same.marginal_error).abs();
        assert!(differ <= missing, "{} and {} differ by more than {missing:e}", found.marginal_error, same.marginal_error);
        let size = x.radius().max(y.radius()).powi(2);
        assert!((found.transport_cost - same.transport_cost).abs() <= 4.0 * size * missing);
        assert!((found.dual - same.dual).abs() <= eps * missing + size * rounding);
    }
}

#[test]
fn the_tiled_plan_is_the_plan_of_all_pairs_of_points() {
    for powers in [&[1.5][..], &[1.5, 0.8], &[1.5, 0.8, 1.0], &[1.5, 0.8, 1.0, 2.0]] {
        let (x, y) = (cube(3000, &vec![1.0; powers.len()], 1), cube(2500, powers, 2));
        assert_same_plan(&x, &y, 2e-3, 1e-3);
    }
}

/// Clusters far apart, most points of one repeated many times, weights over six orders of magnitude and zero weights.
#[test]
fn clusters_duplicates_and_uneven_weights_change_nothing() {
    let blobs = |n: usize, seed: u32, repeat: usize| {
        let own = cube(n, &[1.0, 1.0], seed);
        let at = |i: usize| {
            let (row, home) = (own.row(i / repeat * repeat), (i % 3) as f64);
            [0.2 * row[0] + 4.0 * home, 0.3 * row[1] - home * home]
        };
        let points = Cloud::new((0..n).flat_map(at).collect(), 2).unwrap();
        let weight = |i: usize| if i.is_multiple_of(17) { 0.0 } else { 10f64.powf(6.0 * (i * 7919 % n) as f64 / n as f64 - 6.0) };
        points.with_weights((0..n).map(weight).collect()).unwrap()
    };
    assert_same_plan(&blobs(2000, 3, 1), &blobs(2500, 4, 25), 0.02, 1e-3);
}

#[test]
fn the_dense_iteration_leaves_the_potentials_where_they_are() {
    let (x, y, eps) = (cube(1100, &[1.0, 1.0], 5), cube(1000, &[1.5, 0.8], 6), 2e-3);
    let device = Device::cpu(Precision::F64);
    let found = solve(&x, &y, eps, 1e-8, &device);
    let ten = Sinkhorn { tol: 0.0, max_iter: 10, plain: true };
    let after = ten.solve_from(&Problem::new(&x, &y, eps).unwrap(), &found.potentials, &device).unwrap();
    let moved = found.potentials.f.iter().zip(&after.potentials.f).map(|(f, g)| (f - g).abs()).fold(0.0, f64::max);
    // Ten updates, each by ε log r; a single row's |log r| is at most the marginal error over its weight, 1/1100.
    assert!(moved < 10.0 * eps * 1e-8 * 1100.0, "{moved:e}");
}

/// A translation costs ½|t|² whatever ε, when the self-transport is taken off.
#[test]
fn the_divergence_of_a_translation_is_half_its_square() {
    let x = cube(1500, &[1.0, 1.0, 1.0], 7);
    let t = [0.3, -0.1, 0.2];
    let moved = x.rows().flat_map(|x| x.iter().zip(t).map(|(x, t)| x + t).collect::<Vec<f64>>()).collect();
    let y = Cloud::new(moved, 3).unwrap();
    for (device, _) in devices() {
        let solver = Sinkhorn { tol: 1e-4, ..Sinkhorn::default() };
        let divergence = Divergence::to(&y, 2e-3, solver, &device).unwrap().from(&x, &device).unwrap();
        // OT_ε is second order in the marginal error but for ε times it.
        assert!((divergence - 0.07).abs() < 2e-3 * 1e-4 + 1e-6, "{divergence}");
    }
}

#[test]
fn a_warm_start_from_the_solution_takes_one_iteration() {
    let (x, y, eps, device) = (cube(1200, &[1.0, 1.0], 8), cube(1000, &[0.8, 1.5], 9), 1e-3, Device::cpu(Precision::F64));
    let found = solve(&x, &y, eps, 1e-6, &device);
    let solver = Sinkhorn { tol: 1.1e-6, ..Sinkhorn::default() };
    let again = solver.solve_from(&Problem::new(&x, &y, eps).unwrap(), &found.potentials, &device).unwrap();
    assert_eq!(again.iterations, 1); // which makes the second marginal exact
    assert!((again.dual - found.dual).abs() < 1e-12);
}

/// Far from the origin, and with ε below what single-precision products about the cloud's mean could hold.
#[test]
fn an_offset_and_a_small_eps_cost_no_digits_in_single_precision() {
    let (x, y) = (cube(2000, &[1.0, 1.0], 10), cube(2000, &[1.2, 0.9], 11));
    let far = |cloud: &Cloud| Cloud::new(cloud.points().iter().map(|x| x + 1e4).collect(), 2).unwrap();
    let [(single, _), (double, _)] = devices();
    let (near, offset) = (solve(&x, &y, 1e-5, 1e-2, &double), solve(&far(&x), &far(&y), 1e-5, 1e-2, &single));
    assert!((near.dual - offset.dual).abs() < 1e-7, "{} {}", near.dual, offset.dual); // ε × the marginal error
}

/// Damped updates of all pairs of points move no potential of the tiled solver by more than its tolerance.
#[test]
fn free_marginals_are_those_of_the_dense_solver() {
    let (x, y, device) = (cube(1100, &[1.0, 1.0], 12), cube(1000, &[1.5, 0.8], 13), Device::cpu(Precision::F64));
    for (rho_x, rho_y) in [(Some(0.05), Some(0.02)), (None, Some(0.05)), (Some(0.1), None)] {
        let problem = Problem::new(&x, &y, 5e-3).unwrap().with_rho(rho_x, rho_y).unwrap();
        let found = Sinkhorn { tol: 1e-7, ..Sinkhorn::default() }.solve(&problem, &device).unwrap();
        assert!(found.converged, "{} after {} iterations", found.marginal_error, found.iterations);
        let one = Sinkhorn { tol: 0.0, max_iter: 1, plain: true };
        let after = one.solve_from(&problem, &found.potentials, &device).unwrap();
        let moved = found.potentials.f.iter().zip(&after.potentials.f).map(|(f, g)| (f - g).abs()).fold(0.0, f64::max);
        assert!(moved <= 5e-3 * 2e-7, "{moved:e}"); // ε × the tolerance, and what is skipped of a row
        assert!((found.mass - after.mass).abs() < 1e-6 && (found.dual - after.dual).abs() < 1e-8);
    }
}
