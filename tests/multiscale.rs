//! The multiscale solver against the dense one and against closed forms.

use brenier::backend::{Device, Precision};
use brenier::measure::Cloud;
use brenier::random::{Philox, Stream};
use brenier::transport::{Outcome, Potentials, Problem, Sinkhorn};

/// `n` uniform points of the unit cube in `d` dimensions, each coordinate raised to its power.
fn cube(n: usize, powers: &[f64], seed: u32) -> Cloud {
    let (philox, d) = (Philox::new(seed, Stream::Source), powers.len());
    let at = |i: usize| philox.uniform((i / d) as u32, 0, (i % d) as u32).powf(powers[i % d]);
    Cloud::new((0..n * d).map(at).collect(), d).unwrap()
}

/// Potentials that the dense solver leaves unchanged: from those found, with no tiles and no acceleration.
fn dense(problem: &Problem<'_>, from: &Potentials, device: &Device) -> Outcome {
    let plain = Sinkhorn { tol: 0.0, max_iter: 0, plain: true };
    plain.solve(problem, device, Some(from), None).unwrap()
}

/// The dense plan of potentials that the tiled solver found has the marginals that it claims, to the bound that it states.
fn assert_same_plan(x: &Cloud, y: &Cloud, eps: f64, tol: f64, device: &Device, rounding: f64) {
    let problem = Problem::new(x, y, eps).unwrap();
    let found = Sinkhorn { tol, ..Sinkhorn::default() }.solve(&problem, device, None, None).unwrap();
    assert!(found.converged, "marginal error {} after {} iterations", found.marginal_error, found.iterations);
    assert!(found.skipped_mass_bound <= tol);
    let same = dense(&problem, &found.potentials, device);
    let missing = found.skipped_mass_bound + rounding;
    assert!(
        (found.marginal_error - same.marginal_error).abs() <= missing,
        "{} and {} differ by more than {missing}",
        found.marginal_error,
        same.marginal_error
    );
    let size = x.radius().max(y.radius()).powi(2);
    assert!((found.transport_cost - same.transport_cost).abs() <= 4.0 * size * missing);
    assert!((found.dual - same.dual).abs() <= eps * missing + size * rounding);
}

#[test]
fn the_tiled_plan_is_the_dense_plan_of_the_same_potentials() {
    for precision in [Precision::F32, Precision::F64] {
        let device = Device::cpu(precision);
        let rounding = if precision == Precision::F32 { 2e-4 } else { 1e-12 };
        for powers in [&[1.5][..], &[1.5, 0.8], &[1.5, 0.8, 1.0], &[1.5, 0.8, 1.0, 2.0]] {
            let (x, y) = (cube(3000, &vec![1.0; powers.len()], 1), cube(2500, powers, 2));
            assert_same_plan(&x, &y, 2e-3, 1e-3, &device, rounding);
        }
    }
}
