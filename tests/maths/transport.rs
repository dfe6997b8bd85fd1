//! Entropic transport against closed forms (maths.md §2a, F1–F4) and its invariances, through the public API.

use brenier::backend::{Device, Precision};
use brenier::measure::Cloud;
use brenier::random::{Philox, Stream};
use brenier::transport::problem::mean_cost;
use brenier::transport::{Divergence, EntropicMap, Outcome, Potentials, Problem, Sinkhorn, TransportError, Verdict, subsample};
use brenier::watch::Watch;

/// n draws of N(offset, deviation²) in each of `deviation.len()` coordinates.
fn normals(n: usize, deviation: &[f64], offset: f64, step: u32) -> Cloud {
    let philox = Philox::new(0, Stream::Source);
    let mut z = vec![0.0f32; deviation.len()];
    let mut points = Vec::new();
    for i in 0..n {
        philox.normals(i as u32, step, 0, &mut z);
        points.extend(z.iter().zip(deviation).map(|(&z, s)| offset + s * f64::from(z)));
    }
    Cloud::new(points, deviation.len()).unwrap()
}

/// n equally likely quantile midpoints of N(0, deviation²): a cloud without sampling noise.
fn quantiles(n: usize, deviation: f64) -> Cloud {
    // Bisection on the error function's integral is not needed: Acklam-free Newton on Φ by summation would be overkill; a
    // fine Riemann sum of the density gives the quantiles to 1e-9.
    let (lo, hi, cells) = (-9.0f64, 9.0f64, 2_000_000);
    let h = (hi - lo) / f64::from(cells);
    let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let (mut mass, mut points, mut next) = (0.0, Vec::with_capacity(n), 0usize);
    for cell in 0..cells {
        let x = lo + (f64::from(cell) + 0.5) * h;
        let add = h * density(x);
        while next < n && mass + add >= (next as f64 + 0.5) / n as f64 {
            let share = ((next as f64 + 0.5) / n as f64 - mass) / add;
            points.push(deviation * (x + (share - 0.5) * h));
            next += 1;
        }
        mass += add;
    }
    points.resize(n, deviation * hi);
    Cloud::new(points, 1).unwrap()
}

fn cross_covariance(a: f64, b: f64, eps: f64) -> f64 {
    -0.5 * eps + (a * a * b * b + 0.25 * eps * eps).sqrt()
}

/// F1: cov(x, y) = −ε/2 + √(a²b² + ε²/4), and ⟨P, |x−y|²⟩ = a² + b² − 2 cov.
#[test]
fn the_entropic_plan_of_gaussians_has_the_closed_cross_covariance() {
    let (a, b) = (1.0, 1.7);
    let (x, y) = (quantiles(2_000, a), quantiles(2_000, b));
    for (eps, precision) in [(1.0, Precision::F64), (0.3, Precision::F32), (0.3, Precision::F64)] {
        let device = Device::cpu(precision);
        let solver = Sinkhorn { tol: 1e-6, ..Sinkhorn::default() };
        let outcome = solver.solve(&Problem::new(&x, &y, eps).unwrap(), &device).unwrap();
        assert!(outcome.converged, "{outcome:?}");
        let expected = x.variance() + y.variance() - 2.0 * cross_covariance(x.variance().sqrt(), y.variance().sqrt(), eps);
        // 2,000 quantiles cut the tails beyond ±3.5 deviations: a relative 1e-3 of the fourth moments.
        assert!(
            (2.0 * outcome.transport_cost - expected).abs() < 2e-3 * expected,
            "{} for {expected}",
            2.0 * outcome.transport_cost
        );
        let gap = (outcome.dual - outcome.regularised_cost).abs();
        assert!(gap < 1e-5, "duality gap {gap}");
    }
}

/// F2: OT_ε = ½[a² + b² − D + ε(1 − log 2ε) + ε log(D + ε)], D = √(4a²b² + ε²).
#[test]
fn the_regularised_cost_of_gaussians_is_the_closed_form() {
    let (a, b, eps) = (1.3f64, 0.7f64, 0.4f64);
    let (x, y) = (quantiles(4_000, a), quantiles(4_000, b));
    let solver = Sinkhorn { tol: 1e-9, ..Sinkhorn::default() };
    let outcome = solver.solve(&Problem::new(&x, &y, eps).unwrap(), &Device::cpu(Precision::F64)).unwrap();
    let d = (4.0 * a * a * b * b + eps * eps).sqrt();
    let closed = 0.5 * (a * a + b * b - d + eps * (1.0 - (2.0 * eps).ln()) + eps * (d + eps).ln());
    assert!((outcome.regularised_cost - closed).abs() < 1e-3 * closed, "{} for {closed}", outcome.regularised_cost);
}

/// F3: the entropic map of Gaussians is linear with slope cov/a², also at points that are not in the cloud.
#[test]
fn the_entropic_map_of_gaussians_is_linear_with_the_closed_slope() {
    let (a, b, eps) = (1.3, 0.7, 0.4);
    let (x, y) = (quantiles(4_000, a), quantiles(4_000, b));
    let device = Device::cpu(Precision::F64);
    let outcome = Sinkhorn { tol: 1e-9, ..Sinkhorn::default() }.solve(&Problem::new(&x, &y, eps).unwrap(), &device).unwrap();
    let map = EntropicMap { target: y.clone(), g: outcome.potentials.g[..].into(), eps };
    let new = Cloud::new(vec![-1.0, -0.3, 0.0, 0.8, 1.5], 1).unwrap();
    let slope = cross_covariance(a, b, eps) / (a * a);
    for (x, t) in new.points().iter().zip(map.apply(&new, &device).unwrap()) {
        assert!((t - slope * x).abs() < 2e-3, "T({x}) = {t}, expected {}", slope * x);
    }
    for (t, again) in map.apply(&x, &device).unwrap().iter().zip(&outcome.map()) {
        assert!((t - again).abs() < 1e-6, "the map at the source points is the barycentric map");
    }
}

/// The line: N(0,1) → N(0,1.7²) at ε = 1, random clouds: within 3 standard errors, which a wrong factor in ε breaks.
#[test]
fn w2_squared_of_random_gaussian_clouds_is_within_three_standard_errors_of_the_closed_form() {
    let (a, b, eps, n) = (1.0f64, 1.7f64, 1.0, 20_000);
    let (x, y) = (normals(n, &[a], 0.0, 0), normals(n, &[b], 0.0, 1));
    let outcome = Sinkhorn::default().solve(&Problem::new(&x, &y, eps).unwrap(), &Device::cpu(Precision::F32)).unwrap();
    let closed = a * a + b * b - 2.0 * cross_covariance(a, b, eps);
    // By the delta method on the two sample variances: d/da² (a² − 2cov), each variance with error σ²√(2/n).
    let slope = |u: f64, v: f64| 1.0 - v * v / (u * u * v * v + 0.25 * eps * eps).sqrt();
    let error = (2.0 / n as f64).sqrt() * (slope(a, b) * a * a).hypot(slope(b, a) * b * b);
    assert!(
        (2.0 * outcome.transport_cost - closed).abs() < 3.0 * error + 1e-3 * closed,
        "{} for {closed}",
        2.0 * outcome.transport_cost
    );
}

/// F4: the Sinkhorn divergence tends to ½W₂² with an error of order ε²; between equal clouds it is 0.
#[test]
fn the_sinkhorn_divergence_of_gaussians_is_half_w2_squared_up_to_eps_squared() {
    let (x, y) = (quantiles(2_000, 1.3), quantiles(2_000, 0.7));
    let device = Device::cpu(Precision::F64);
    let solver = Sinkhorn { tol: 1e-8, ..Sinkhorn::default() };
    let exact = 0.5 * x.points().iter().zip(y.points()).map(|(x, y)| (x - y).powi(2)).sum::<f64>() / 2_000.0;
    let bias = |eps: f64| Divergence::to(&y, eps, solver, &device).unwrap().from(&x, &device).unwrap() - exact;
    let order = (bias(0.4) / bias(0.2)).log2();
    assert!((order - 2.0).abs() < 0.2, "order {order}");
    let zero = Divergence::to(&y, 0.2, solver, &device).unwrap().from(&y, &device).unwrap();
    assert!(zero.abs() < 1e-9, "{zero}");
}

/// Data far from the origin: each cloud is centred by its own mean in f64, so an offset of 1e4 changes nothing.
#[test]
fn an_offset_of_both_clouds_changes_nothing() {
    let device = Device::cpu(Precision::F32);
    let solve = |offset: f64| {
        let (x, y) = (normals(500, &[1.0, 0.5], offset, 0), normals(700, &[0.3, 1.0], offset + 1.0, 1));
        let eps = 0.05 * mean_cost(&x, &y, 0);
        Sinkhorn::default().solve(&Problem::new(&x, &y, eps).unwrap(), &device).unwrap()
    };
    let (near, far) = (solve(0.0), solve(1e4));
    assert!((near.transport_cost / far.transport_cost - 1.0).abs() < 1e-6, "{} {}", near.transport_cost, far.transport_cost);
    assert!((near.dual / far.dual - 1.0).abs() < 1e-6);
}

/// OT_ε(a, a + t) = OT_ε(a, a) + ½|t|² and T = identity-map of the plan + t.
#[test]
fn a_translation_costs_half_its_square() {
    let device = Device::cpu(Precision::F64);
    let x = normals(300, &[1.0, 1.0], 0.0, 0);
    let y = normals(300, &[1.0, 1.0], 5.0, 0);
    let solver = Sinkhorn { tol: 1e-8, ..Sinkhorn::default() };
    let divergence = Divergence::to(&y, 0.1, solver, &device).unwrap().from(&x, &device).unwrap();
    assert!((divergence - 25.0).abs() < 1e-6, "{divergence}");
}

/// A solution warm-starts the solver to convergence at once.
#[test]
fn a_solution_is_a_fixed_point() {
    let device = Device::cpu(Precision::F64);
    let (x, y) = (normals(200, &[1.0, 2.0], 0.0, 0), normals(300, &[2.0, 1.0], 1.0, 1));
    let problem = Problem::new(&x, &y, 0.2).unwrap();
    let solver = Sinkhorn { tol: 1e-6, ..Sinkhorn::default() };
    let first = solver.solve(&problem, &device).unwrap();
    let again = solver.solve_from(&problem, &first.potentials, &device).unwrap();
    assert_eq!(again.iterations, 0);
    assert!((first.transport_cost - again.transport_cost).abs() < 1e-12);
}

/// A point of weight zero changes nothing; a point split into two of half the weight changes nothing.
#[test]
fn weight_zero_and_split_points_change_nothing() {
    let device = Device::cpu(Precision::F64);
    let (x, y) = (normals(60, &[1.0, 1.0], 0.0, 0), normals(50, &[1.0, 2.0], 1.0, 1));
    let solver = Sinkhorn { tol: 1e-9, ..Sinkhorn::default() };
    let cost = |y: &Cloud| solver.solve(&Problem::new(&x, y, 0.3).unwrap(), &device).unwrap().transport_cost;
    let reference = cost(&y);
    let extended = |point: &[f64], first: f64, last: f64| {
        let points = [y.points(), point].concat();
        let mut weights = vec![1.0; 51];
        (weights[0], weights[50]) = (first, last);
        Cloud::new(points, 2).unwrap().with_weights(weights).unwrap()
    };
    assert!((cost(&extended(&[100.0, -50.0], 1.0, 0.0)) - reference).abs() < 1e-7);
    assert!((cost(&extended(y.row(0), 0.5, 0.5)) - reference).abs() < 1e-7);
}

/// `tol = 0` makes exactly `max_iter` iterations and reports the error of what it leaves.
#[test]
fn tolerance_zero_makes_exactly_the_iterations_asked_for() {
    let device = Device::cpu(Precision::F64);
    let (x, y) = (normals(80, &[1.0], 0.0, 0), normals(90, &[2.0], 1.0, 1));
    let problem = Problem::new(&x, &y, 0.5).unwrap();
    let outcome = Sinkhorn { tol: 0.0, max_iter: 7, plain: false }.solve(&problem, &device).unwrap();
    assert_eq!(outcome.iterations, 7);
    // The printed error is that of the plan the printed potentials define.
    let (f, g) = (&outcome.potentials.f, &outcome.potentials.g);
    let mass = |i: usize| -> f64 {
        (0..90).map(|j| ((f[i] + g[j] - 0.5 * (x.row(i)[0] - y.row(j)[0]).powi(2)) / 0.5).exp() / 90.0).sum()
    };
    let error: f64 = (0..80).map(|i| (mass(i) - 1.0).abs() / 80.0).sum();
    assert!((error - outcome.marginal_error).abs() < 1e-12, "{error} {}", outcome.marginal_error);
}

/// A warm start is judged by the plan it makes: an f far from the solution with its own c-transform has one exact marginal and is
/// not a solution.
#[test]
fn a_warm_start_with_one_exact_marginal_is_not_taken_as_solved() {
    let device = Device::cpu(Precision::F64);
    let (x, y) = (normals(80, &[1.0, 2.0], 0.0, 0), normals(90, &[2.0, 1.0], 1.0, 1));
    let problem = Problem::new(&x, &y, 0.2).unwrap();
    // f is the c-transform of an arbitrary g, so the first marginal is exact and the second is not.
    let g: Vec<f64> = (0..90).map(|j| (j as f64).sin()).collect();
    let f = EntropicMap { target: y.clone(), g: g[..].into(), eps: 0.2 }.potential(&x, &device).unwrap();
    let solver = Sinkhorn { tol: 1e-9, ..Sinkhorn::default() };
    let warm = Potentials { f, g };
    let outcome = solver.solve_from(&problem, &warm, &device).unwrap();
    let cold = solver.solve(&problem, &device).unwrap();
    assert!(outcome.iterations > 0 && outcome.converged);
    assert!((outcome.dual - cold.dual).abs() < 1e-9, "{} for {}", outcome.dual, cold.dual);
}

/// Lengths are scaled by a power of two before single precision sees them, which changes no digit.
#[test]
fn a_unit_of_length_changes_nothing_even_where_squares_overflow() {
    let device = Device::cpu(Precision::F32);
    let (x, y) = (normals(200, &[1.0, 2.0], 0.0, 0), normals(150, &[2.0, 1.0], 1.0, 1));
    let solve = |exponent: i32| {
        let unit = 2f64.powi(exponent);
        let scaled = |cloud: &Cloud| Cloud::new(cloud.points().iter().map(|x| x * unit).collect(), 2).unwrap();
        let (x, y) = (scaled(&x), scaled(&y));
        let problem = Problem::new(&x, &y, 0.1 * unit * unit).unwrap();
        (Sinkhorn::default().solve(&problem, &device).unwrap(), unit)
    };
    let (whole, _) = solve(0);
    for exponent in [-200, -75, 70, 200] {
        let (other, unit) = solve(exponent);
        assert!(other.converged && other.iterations == whole.iterations, "2^{exponent}: {}", other.verdict);
        assert_eq!(other.dual, whole.dual * unit * unit);
        assert!(other.map().iter().zip(&whole.map()).all(|(a, b)| *a == b * unit));
    }
}

/// Between a cloud and itself the symmetric iteration finds what the alternating one does.
#[test]
fn a_cloud_transported_to_itself_by_one_potential_is_that_by_two() {
    let device = Device::cpu(Precision::F64);
    let x = normals(150, &[1.0, 2.0, 0.5], 0.0, 0);
    let problem = Problem::new(&x, &x, 2.0).unwrap();
    // At small ε the alternation would creep for tens of thousands of iterations.
    let solve = |plain| Sinkhorn { tol: 1e-10, max_iter: 20_000, plain }.solve(&problem, &device).unwrap();
    let (one, two) = (solve(false), solve(true));
    assert!(one.converged && two.converged);
    assert!((one.dual - two.dual).abs() < 1e-9, "{} {}", one.dual, two.dual);
    assert!((one.transport_cost - two.transport_cost).abs() < 1e-8);
    assert!(one.iterations < 20 && one.iterations < two.iterations / 2, "{} {}", one.iterations, two.iterations);
}

/// Acceleration changes the road, not the end: the same values in a small share of the iterations, and never more of them.
#[test]
fn the_accelerated_solver_finds_the_plain_solution_in_fewer_iterations() {
    let device = Device::cpu(Precision::F64);
    let (x, y) = (normals(200, &[1.0, 2.0], 0.0, 0), normals(250, &[2.0, 1.0], 1.0, 1));
    for (eps, share) in [(1.0, 1.0), (0.1, 0.5), (0.01, 0.2)] {
        let problem = Problem::new(&x, &y, eps).unwrap();
        let solve = |plain| Sinkhorn { tol: 1e-6, max_iter: 100_000, plain }.solve(&problem, &device).unwrap();
        let (fast, plain) = (solve(false), solve(true));
        assert!(fast.converged && plain.converged);
        assert!((fast.dual - plain.dual).abs() < 1e-6 * eps, "{} {}", fast.dual, plain.dual);
        assert!(fast.iterations as f64 <= share * plain.iterations as f64, "{eps}: {} of {}", fast.iterations, plain.iterations);
    }
}

#[test]
fn a_subsample_starts_the_solver_nearer_than_nothing() {
    let device = Device::cpu(Precision::F64);
    let (x, y) = (normals(800, &[1.0, 2.0], 0.0, 0), normals(900, &[2.0, 1.0], 1.0, 1));
    let problem = Problem::new(&x, &y, 0.2).unwrap();
    let solver = Sinkhorn::default();
    let warm = subsample(&problem, 200, 0, solver, &device, Watch::default()).unwrap();
    let first = |outcome: &Outcome| outcome.residuals.iter().find(|r| r.eps == 0.2).unwrap().error;
    let (warm, cold) = (
        solver.solve_from(&problem, &warm, &device).unwrap(),
        Sinkhorn { plain: true, ..solver }.solve(&problem, &device).unwrap(),
    );
    assert!(first(&warm) < 0.5 * first(&cold), "{} {}", first(&warm), first(&cold));
    assert!((warm.dual - cold.dual).abs() < 1e-3 * 0.2);
}

/// What cannot be reached is said, and what would help; the entropy of a product plan is the sum of its marginals'.
#[test]
fn the_verdict_tells_rounding_from_patience() {
    let (x, y) = (normals(300, &[1.0, 2.0], 0.0, 0), normals(300, &[2.0, 1.0], 1.0, 1));
    let problem = Problem::new(&x, &y, 0.05).unwrap();
    let solve = |tol, max_iter| Sinkhorn { tol, max_iter, plain: false }.solve(&problem, &Device::cpu(Precision::F32)).unwrap();
    let rounded = solve(1e-12, 10_000);
    assert!(matches!(rounded.verdict, Verdict::Rounding { single: true, .. }), "{:?}", rounded.verdict);
    assert!(rounded.iterations < 2_000, "{}", rounded.iterations);
    assert_eq!(solve(1e-3, 1).verdict, Verdict::Few { tol: 1e-3 });
    assert!(matches!(solve(1e-5, 16).verdict, Verdict::Slow { .. }));
    assert_eq!(solve(0.0, 3).verdict, Verdict::Counted);
    let loose = Problem::new(&x, &y, 1e6).unwrap();
    let product = Sinkhorn::default().solve(&loose, &Device::cpu(Precision::F64)).unwrap();
    assert!((product.entropy - 2.0 * 300f64.ln()).abs() < 1e-4, "{}", product.entropy);
}

#[test]
fn a_map_with_potentials_of_another_problem_is_refused() {
    let (x, y, device) = (normals(5, &[1.0], 0.0, 0), normals(7, &[1.0], 0.0, 1), Device::cpu(Precision::F64));
    let apply = |g: &[f64], eps: f64| EntropicMap { target: y.clone(), g: g.into(), eps }.apply(&x, &device);
    assert_eq!(apply(&[0.0; 6], 0.1), Err(TransportError::Potential { m: 7, found: 6 }));
    assert_eq!(apply(&[f64::NAN; 7], 0.1), Err(TransportError::Potential { m: 7, found: 0 }));
    assert_eq!(apply(&[0.0; 7], -0.1), Err(TransportError::Eps { eps: -0.1 }));
}

/// The values of P_ij = a_i b_j exp((f_i + g_j − c_ij)/ε) by all pairs in f64: |P|, ⟨P, c⟩, −Σ P log P, Σ |p − a|, and Σ P log(P/ab).
fn of_all_pairs(problem: &Problem, Potentials { f, g }: &Potentials) -> [f64; 5] {
    let (x, y, eps) = (problem.source(), problem.target(), problem.eps());
    let mut sums = [0.0; 5];
    for (i, row) in x.rows().enumerate() {
        let mut p = 0.0;
        for (j, column) in y.rows().enumerate() {
            let c = problem.cost().between(row, column);
            let (product, log) = (x.weight(i) * y.weight(j), (f[i] + g[j] - c) / eps);
            let mass = product * log.exp();
            p += mass;
            if mass > 0.0 {
                sums[1] += mass * c;
                sums[2] -= mass * (product.ln() + log);
                sums[4] += mass * log;
            }
        }
        sums[0] += p;
        sums[3] += (p - x.weight(i)).abs();
    }
    sums
}

/// That the values of `outcome` are those of the plan of its potentials, to a thousandth and the marginal error to a third, or as
/// `skipped` as it says.
#[track_caller]
fn assert_values_are_of_the_plan(problem: &Problem, outcome: &Outcome, what: &str) {
    let [mass, cost, entropy, error, information] = of_all_pairs(problem, &outcome.potentials);
    let (share, eps) = (1e-3 + outcome.skipped_mass_bound, problem.eps());
    let near = |name: &str, found: f64, truth: f64, within: f64| {
        assert!((found - truth).abs() <= within, "{what}: {name} {found} for {truth}");
    };
    near("mass", outcome.mass, mass, share * mass);
    near("cost", outcome.transport_cost, cost, share * cost);
    near("entropy", outcome.entropy, entropy, share * (1.0 + entropy.abs()));
    if problem.rho() == [None; 2] {
        // Potentials are themselves rounded in f64, and those of clouds far apart are as large as the cost.
        let rounded = 8.0 * f64::EPSILON * cost / eps;
        let within = error / 3.0 + outcome.skipped_mass_bound + rounded + 1e-9;
        near("marginal error", outcome.marginal_error, error, within);
        let regularised = cost + eps * (information - mass + 1.0);
        near("regularised cost", outcome.regularised_cost, regularised, share * (cost + eps));
        assert!(!outcome.converged || error <= 1.34e-3 + outcome.skipped_mass_bound, "{what}: converged at {error}");
    }
}

/// In f32 and at every ε that f32 takes, what is printed is of one plan: not of two whose marginals differ by rounding, which |x|²
/// multiplies. The target is the source in another order, moved by a fiftieth.
#[test]
fn values_in_single_precision_are_those_of_the_plan_of_the_potentials() {
    let device = Device::cpu(Precision::F32);
    for (d, shift) in [(1, 0.0), (3, 30.0), (64, 0.0), (64, 5.0)] {
        let (x, noise) = (normals(150, &vec![1.0; d], 0.0, 0), normals(150, &vec![0.02; d], shift, 1));
        let moved = (0..150).flat_map(|i| x.row((7 * i + 3) % 150).iter().zip(noise.row(i)).map(|(x, z)| x + z));
        let y = Cloud::new(moved.collect(), d).unwrap();
        let weighted = y.clone().with_weights((0..150).map(|i| f64::from(i % 3)).collect()).unwrap();
        let scale = mean_cost(&x, &y, 0);
        for share in [1.0, 1e-2, 1e-3, 1e-4, 1e-5] {
            for (to, rho) in [(&y, None), (&weighted, None), (&y, Some(scale))] {
                let problem = Problem::new(&x, to, share * scale).unwrap().with_rho(rho, rho).unwrap();
                for plain in [false, true] {
                    let solver = Sinkhorn { plain, max_iter: 200, ..Sinkhorn::default() };
                    let what = format!("d {d} at {share}, rho {rho:?}, plain {plain}");
                    match solver.solve(&problem, &device) {
                        Ok(outcome) => assert_values_are_of_the_plan(&problem, &outcome, &what),
                        Err(refused) => assert!(matches!(refused, TransportError::EpsTooSmall { .. }), "{what}: {refused}"),
                    }
                }
            }
        }
    }
}

/// The same of the multiscale solver, whose exponents are formed about tile centres, so that it takes a smaller ε.
#[test]
fn values_of_the_multiscale_solver_are_those_of_the_plan_of_the_potentials() {
    let (x, noise) = (normals(1100, &[1.0, 1.0], 0.0, 0), normals(1100, &[0.02, 0.02], 0.0, 1));
    let moved = (0..1100).flat_map(|i| x.row((7 * i + 3) % 1100).iter().zip(noise.row(i)).map(|(x, z)| x + z));
    let y = Cloud::new(moved.collect(), 2).unwrap();
    for eps in [0.1, 1e-3, 1e-5] {
        let problem = Problem::new(&x, &y, eps).unwrap();
        let outcome = Sinkhorn::default().solve(&problem, &Device::cpu(Precision::F32)).unwrap();
        assert_values_are_of_the_plan(&problem, &outcome, &format!("at {eps}"));
    }
}

/// Where the plan is a matching, 2⟨P, c⟩ is its mean square, in f32 and far below what |x|² leaves of its digits.
#[test]
fn a_matching_in_many_dimensions_has_its_own_cost_in_single_precision() {
    let (x, noise) = (normals(200, &[0.54; 64], 0.0, 0), normals(200, &[0.02; 64], 0.0, 1));
    let moved = (0..200).flat_map(|i| x.row((7 * i + 3) % 200).iter().zip(noise.row(i)).map(|(x, z)| x + z));
    let y = Cloud::new(moved.collect(), 64).unwrap();
    let truth = noise.points().iter().map(|z| z * z).sum::<f64>() / 200.0;
    for eps in [1e-2, 1e-3, 1e-4] {
        for plain in [false, true] {
            let solver = Sinkhorn { plain, ..Sinkhorn::default() };
            let outcome = solver.solve(&Problem::new(&x, &y, eps).unwrap(), &Device::cpu(Precision::F32)).unwrap();
            assert!(outcome.converged && (2.0 * outcome.transport_cost / truth - 1.0).abs() < 1e-3, "at {eps}: {outcome:?}");
            assert!((outcome.entropy - 200f64.ln()).abs() < 2e-3 && outcome.gap().abs() < 2e-3 * truth, "at {eps}: {outcome:?}");
        }
    }
}

/// One point beyond the reach changes nothing but its own mass, however far it lies; where f32 cannot tell, f64 takes over.
#[test]
fn an_outlier_beyond_the_reach_leaves_the_divergence_as_it_is() {
    let device = Device::cpu(Precision::F32);
    let (clean, y) = (normals(200, &[1.0, 1.0], 0.0, 0), normals(200, &[1.0, 1.0], 1.0, 1));
    let at = |far: Option<f64>| {
        let mut points = clean.points().to_vec();
        points[0] = far.unwrap_or(points[0]);
        let x = Cloud::new(points, 2).unwrap();
        let problem = Problem::new(&x, &y, 0.05 * mean_cost(&x, &y, 0)).unwrap().with_rho(Some(1.0), Some(1.0)).unwrap();
        let outcome = Sinkhorn::default().solve(&problem, &device).unwrap();
        (outcome.precision, Divergence::like(&problem, Sinkhorn::default(), &device).unwrap().from(&x, &device).unwrap())
    };
    let (precision, without) = at(None);
    assert_eq!(precision, Precision::F32);
    for (far, expected) in [(1e1, Precision::F32), (1e2, Precision::F64), (1e3, Precision::F64), (1e6, Precision::F64)] {
        let (precision, with) = at(Some(far));
        assert_eq!(precision, expected, "{far}");
        assert!((with / without - 1.0).abs() < 0.05, "{with} for {without} with a point at {far}");
    }
    // A cloud that is wide as a whole is refused, as ever.
    let wide = normals(200, &[1e4, 1e4], 0.0, 2);
    let refused = Sinkhorn::default().solve(&Problem::new(&wide, &wide, 0.1).unwrap(), &device);
    assert!(matches!(refused, Err(TransportError::EpsTooSmall { .. })));
}

/// Problems, outcomes and plans go from thread to thread, and one device serves all of them: each finds what it finds alone.
#[test]
fn one_device_serves_threads() {
    fn owned<T: Send + Sync + 'static>(value: T) -> T {
        value
    }
    let cloud = |step| normals(200, &[1.0, 0.5], 0.0, step);
    for device in [Precision::F32, Precision::F64].map(Device::cpu).map(owned) {
        let problem = owned(Problem::new(&cloud(0), &cloud(1), 0.1).unwrap());
        let alone = owned(Sinkhorn::default().solve(&problem, &device).unwrap());
        let drawn = owned(alone.plan()).draw_partners(0, &device).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let found = Sinkhorn::default().solve(&problem, &device).unwrap();
                    assert_eq!(found, alone);
                    assert_eq!(found.plan().draw_partners(0, &device).unwrap(), drawn);
                });
            }
        });
    }
}
