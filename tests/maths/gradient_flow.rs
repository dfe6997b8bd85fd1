//! The schemes of the gradient flow against what the theory says of them: energy, order, stationary laws, and bad input.

use std::f64::consts::TAU as TURN;

use brenier::backend::{Device, Precision};
use brenier::field::{Field, Potential};
use brenier::gradient_flow::{Blob, FlowError, Langevin, SemiUnbalancedJko, SinkhornFlow, descend};
use brenier::measure::{Cloud, Covariance, Mixture, named};
use brenier::program::{Op, STATE};
use brenier::random::Stream;
use brenier::transport::{EntropicMap, Gaussian, Problem, Sinkhorn};
use brenier::watch::Watch;

fn cpu() -> Device {
    Device::cpu(Precision::F64)
}

fn draws(name: &str, n: usize, step: u32) -> Cloud {
    named(name, None).unwrap().sample(n, 0, Stream::Source, step)
}

fn law(variance: f64) -> Mixture {
    Mixture::new(vec![1.0], vec![vec![0.0]], vec![Covariance::Isotropic(variance)]).unwrap()
}

/// The density of N(0, s²) on a grid of the line: sums over it converge beyond every power of its spacing.
fn grid(deviation: f64) -> Cloud {
    let x: Vec<f64> = (0..701).map(|i| -11.0 + 22.0 * f64::from(i) / 700.0).collect();
    let weights = x.iter().map(|x| (-0.5 * (x / deviation).powi(2)).exp()).collect();
    Cloud::new(x, 1).unwrap().with_weights(weights).unwrap()
}

/// v of the Gaussian step: c = (κ+ε)/σ² − κ/v, v = s²/(1+c)² + ε/(1+c), by bisection (target σ = 1).
fn gaussian_step(s2: f64, kappa: f64, eps: f64) -> f64 {
    let excess = |v: f64| {
        let a = 1.0 + kappa + eps - kappa / v;
        s2 / (a * a) + eps / a - v
    };
    let (mut low, mut high) = (kappa / (1.0 + kappa + eps) * (1.0 + 1e-9), 50.0);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if excess(middle) > 0.0 { low = middle } else { high = middle }
    }
    low
}

/// G4: discrete semi-unbalanced Sinkhorn against the closed form; its stationary variance is (κ + ε/2)/(κ + ε).
#[test]
fn the_semi_unbalanced_step_of_a_gaussian_is_the_closed_one() {
    let (kappa, eps, m) = (0.2, 0.02, grid(1.0));
    let tight = Sinkhorn { tol: 1e-10, max_iter: 1000, plain: false };
    let source = grid(1.6);
    let plan = tight.soft_plan(&Problem::new(&source, &m, eps).unwrap(), kappa, None, &cpu(), Watch::default()).unwrap();
    let after = m.clone().with_weights(plan.weights.clone()).unwrap();
    let truth = gaussian_step(1.6 * 1.6, kappa, eps);
    assert!((after.variance() - truth).abs() < 1e-7, "{} for {truth}", after.variance());
    let kl = Gaussian::new(vec![0.0], &[truth]).unwrap().kl(&Gaussian::new(vec![0.0], &[1.0]).unwrap()).unwrap();
    assert!((plan.kl - kl).abs() < 1e-7, "{} for {kl}", plan.kl);
    assert!(plan.iterations < 80, "accelerated: {}", plan.iterations);

    let settled = (0..300).fold(1.0, |v, _| gaussian_step(v, kappa, eps));
    let device = cpu();
    let mut scheme = SemiUnbalancedJko::new(source, &m, kappa, eps, &device).unwrap();
    let end = descend(&mut scheme, 25, Watch::default()).unwrap();
    // 25 steps contract the excess variance by at least (1 + κ)^−50 ≈ 1e-4.
    assert!((end.state.variance() - settled).abs() < 1e-3, "{} for {settled}", end.state.variance());
    let predicted = 1.0 + SemiUnbalancedJko::predicted_bias(kappa, eps);
    assert!((settled - predicted).abs() < 1e-3, "{settled} for {predicted}");
}

/// G5: ω → 0 is the empirical denoiser Σ_j b_j e^{−c/ε} y_j / Σ, ω → 1 the balanced plan.
#[test]
fn damping_joins_the_denoiser_to_the_optimal_map() {
    let (x, y, eps) = (draws("normal", 40, 0), draws("moons", 60, 1), 0.5);
    let solver = Sinkhorn { tol: 1e-12, max_iter: 3000, plain: true };
    let map = |kappa: f64| {
        let g = solver.soft_plan(&Problem::new(&x, &y, eps).unwrap(), kappa, None, &cpu(), Watch::default()).unwrap().g;
        EntropicMap { target: y.clone(), g: g[..].into(), eps }.apply(&x, &cpu()).unwrap()
    };
    let close = |a: &[f64], b: &[f64], tolerance: f64| {
        let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < tolerance, "{worst}");
    };
    let denoiser = EntropicMap { target: y.clone(), g: vec![0.0; y.len()].into(), eps }.apply(&x, &cpu()).unwrap();
    close(&map(1e-9), &denoiser, 1e-7);
    let balanced = solver.solve(&Problem::new(&x, &y, eps).unwrap(), &cpu()).unwrap().map();
    close(&map(500.0), &balanced, 1e-2); // off by the order of ε/κ = 1e-3
}

/// The certificate of an entropic step, with J_ε of its own reference; 2⟨P, c⟩ in its place would flag correct runs.
#[test]
fn an_entropic_step_pays_its_way_in_its_own_metric() {
    let (start, target, device) = (draws("normal", 500, 0), draws("8gaussians", 600, 1), cpu());
    let mut scheme = SemiUnbalancedJko::new(start, &target, 2.0, 0.2, &device).unwrap();
    let end = descend(&mut scheme, 12, Watch::default()).unwrap();
    assert_eq!(end.accounts[0].free_energy, None);
    assert_eq!(end.accounts[0].energy_inequality, None);
    for pair in end.accounts[1..].windows(2) {
        assert!(pair[1].free_energy < pair[0].free_energy, "{pair:?}");
        // Tolerance 1e-3 of the marginal enters squared.
        assert!(pair[0].energy_inequality.unwrap() > -1e-6, "{pair:?}");
    }
    assert!((end.state.weights().unwrap().iter().sum::<f64>() - 1.0).abs() < 1e-12);
}

#[test]
fn the_sinkhorn_flow_falls_at_every_step_and_reaches_the_target() {
    let (start, target, device) = (draws("normal", 500, 0), draws("moons", 500, 1), cpu());
    let mut scheme = SinkhornFlow::new(start, &target, 0.5, 0.02, &device).unwrap();
    let end = descend(&mut scheme, 20, Watch::default()).unwrap();
    for pair in end.accounts.windows(2) {
        assert!(pair[1].free_energy < pair[0].free_energy, "{pair:?}");
        assert!(pair[0].energy_inequality.unwrap() > 0.0, "{pair:?}");
    }
    let (first, last) = (end.accounts[0].free_energy.unwrap(), end.accounts[20].free_energy.unwrap());
    assert!(last < 1e-2 * first, "{first} to {last}");
    assert!((end.state.variance() / target.variance() - 1.0).abs() < 0.02);
}

/// The program is x + τ∇log π(x) + √(2τ) z.
#[test]
fn a_langevin_step_is_the_gradient_step_and_the_noise_of_the_heat_flow() {
    let program = brenier::sampler::UnadjustedLangevin { tau: 0.02 }.steps(3);
    assert_eq!((program.steps.len(), program.nfe()), (3, 3));
    let ops = &program.steps[0].ops;
    let Op::Evaluate { level, p, q, .. } = ops[0] else { panic!("{ops:?}") };
    let mixture = Mixture::new(
        vec![0.3, 0.7],
        vec![vec![1.0, 0.0], vec![-1.0, 0.5]],
        vec![Covariance::Isotropic(0.4), Covariance::from_matrix(&[0.5, 0.2, 0.2, 0.3], 2).unwrap()],
    )
    .unwrap();
    let x = [0.3, -0.8];
    let (stepped, score) = (mixture.evaluate(level, p, q, &x), mixture.score(level, &x));
    for i in 0..2 {
        // The level's noise 1e-6 blurs the law's variances by 1e-12.
        assert!((stepped[i] - x[i] - 0.02 * score[i]).abs() < 1e-9, "{stepped:?}");
    }
    assert_eq!(ops[2], Op::Combine { dst: STATE, terms: vec![(STATE, 1.0), (1, 0.04f64.sqrt())] });
}

/// N(m·1, C) with C of `variances` along axes that are turned by 30° in the first plane where d > 1.
fn turned(variances: &[f64], mean: f64) -> Mixture {
    let d = variances.len();
    let (sin, cos) = (TURN / 12.0).sin_cos();
    let mut matrix: Vec<f64> = (0..d * d).map(|at| if at / d == at % d { variances[at / d] } else { 0.0 }).collect();
    if d > 1 {
        let (a, b) = (variances[0], variances[1]);
        (matrix[0], matrix[d + 1]) = (a * cos * cos + b * sin * sin, a * sin * sin + b * cos * cos);
        (matrix[1], matrix[d]) = ((a - b) * sin * cos, (a - b) * sin * cos);
    }
    let covariance = Covariance::from_matrix(&matrix, d).unwrap();
    Mixture::new(vec![1.0], vec![vec![mean; d]], vec![covariance]).unwrap()
}

/// KL between N(m·1, V I) and N(0, I), and the Fisher information: ½d(V − 1 − log V + m²) and d(V(1/V − 1)² + m²).
fn gaussian_accounts(d: usize, variance: f64, mean: f64) -> (f64, f64) {
    let d = d as f64;
    let slope = 1.0 / variance - 1.0;
    (0.5 * d * (variance - 1.0 - variance.ln() + mean * mean), d * (variance * slope * slope + mean * mean))
}

/// v ← (1−τ)²v + 2τ and m ← (1−τ)m from N(m, vI) to N(0, I): every account within four of its errors, in any dimension.
#[test]
fn the_accounts_of_langevin_between_gaussians_are_those_of_the_flow_not_of_its_particles() {
    let (tau, device) = (0.1, cpu());
    for d in [1, 3, 16] {
        let start_law = Mixture::new(vec![1.0], vec![vec![0.5; d]], vec![Covariance::Isotropic(2.0)]).unwrap();
        let start = start_law.sample(2000, 1, Stream::Source, 0);
        let target = Mixture::standard_normal(d);
        let langevin = Langevin::new(start, target.clone(), tau, 0, &device).unwrap();
        let descent = descend(&mut langevin.from_law(start_law.clone()), 8, Watch::default()).unwrap();
        let (mut variance, mut mean) = (2.0, 0.5);
        for account in &descent.accounts {
            let (energy, rate) = gaussian_accounts(d, variance, mean);
            let off = (account.free_energy.unwrap() - energy).abs();
            assert!(off < 4.0 * account.standard_error.unwrap(), "d = {d}, k = {}: off by {off}", account.k);
            let off = (account.dissipation.unwrap() - rate).abs();
            assert!(off < 4.0 * account.dissipation_error.unwrap(), "d = {d}, k = {}: dissipation off by {off}", account.k);
            (variance, mean) = ((1.0 - tau).powi(2) * variance + 2.0 * tau, (1.0 - tau) * mean);
        }
    }
}

/// The law stays N(m, C) whatever bases start and target have; it settles at C_i/(1 − τ/2C_i) along the target's axes, where
/// F = ½Σ (r − 1 − log r) with r = 1/(1 − τ/2C_i).
#[test]
fn langevin_towards_a_turned_gaussian_settles_at_the_free_energy_of_its_bias() {
    let device = cpu();
    let (target, wide) = (turned(&[0.5, 2.0, 1.0], 1.0), Mixture::standard_normal(3));
    let crossed = turned(&[1.5, 0.25, 3.0], 0.0);
    let expected: f64 = [0.5f64, 2.0, 1.0]
        .iter()
        .map(|variance| {
            let r = 1.0 / (1.0 - 0.1 / (2.0 * variance));
            0.5 * (r - 1.0 - r.ln())
        })
        .sum();
    let full = Mixture::new(
        vec![1.0],
        vec![vec![0.0; 3]],
        vec![Covariance::from_matrix(&[1.0, 0.0, 0.3, 0.0, 1.0, 0.0, 0.3, 0.0, 1.0], 3).unwrap()],
    )
    .unwrap();
    for start_law in [wide, crossed, full] {
        let start = start_law.sample(2000, 1, Stream::Source, 0);
        let langevin = Langevin::new(start, target.clone(), 0.1, 0, &device).unwrap();
        let last = descend(&mut langevin.from_law(start_law.clone()), 80, Watch::default()).unwrap().accounts.pop().unwrap();
        let off = (last.free_energy.unwrap() - expected).abs();
        assert!(off < 4.0 * last.standard_error.unwrap(), "{off} of {expected}");
    }
}

/// Two equal components are one Gaussian, but not known to be: the law is then known by its particles alone. In the plane they
/// tell it; in 32 dimensions none has a neighbour.
#[test]
fn accounts_from_particles_alone_are_right_within_their_errors_or_none() {
    let (tau, device) = (0.1, cpu());
    for (d, known) in [(1, true), (2, true), (32, false)] {
        let twice = Mixture::new(vec![0.5; 2], vec![vec![0.0; d]; 2], vec![Covariance::Isotropic(1.0); 2]).unwrap();
        let start_law = Mixture::new(vec![1.0], vec![vec![0.5; d]], vec![Covariance::Isotropic(2.0)]).unwrap();
        let start = start_law.sample(3000, 1, Stream::Source, 0);
        let langevin = Langevin::new(start, twice.clone(), tau, 0, &device).unwrap();
        let descent = descend(&mut langevin.from_law(start_law.clone()), 6, Watch::default()).unwrap();
        let (mut variance, mut mean) = (2.0, 0.5);
        for account in &descent.accounts[1..] {
            (variance, mean) = ((1.0 - tau).powi(2) * variance + 2.0 * tau, (1.0 - tau) * mean);
            let (energy, rate) = gaussian_accounts(d, variance, mean);
            assert_eq!(account.free_energy.is_some(), known, "d = {d}");
            if let (Some(found), Some(error)) = (account.free_energy, account.standard_error) {
                assert!((found - energy).abs() < 4.0 * error && error < 0.05, "d = {d}: {found} ± {error} for {energy}");
                let (found, error) = (account.dissipation.unwrap(), account.dissipation_error.unwrap());
                assert!((found - rate).abs() < 4.0 * error, "d = {d}: dissipation {found} ± {error} for {rate}");
            }
        }
    }
}

/// D7, and free energy: N(0, 2²) falls to N(0, σ²/(1 − τ/2σ²)), whose KL to N(0, σ²) is known.
#[test]
fn langevin_settles_at_its_biased_variance_and_its_free_energy_follows_the_closed_one() {
    let (tau, variance, wide) = (0.1, 0.5, law(4.0));
    let device = Device::cpu(Precision::F32);
    let start = wide.sample(200_000, 0, Stream::Source, 0);
    let target = law(variance);
    let mut scheme = Langevin::new(start, target, tau, 0, &device).unwrap().from_law(wide);
    let end = descend(&mut scheme, 60, Watch::default()).unwrap();
    let settled = variance * (1.0 + Langevin::predicted_bias(tau, variance).unwrap());
    assert!((settled - variance / (1.0 - tau / (2.0 * variance))).abs() < 1e-15);
    let standard_error = settled * (2.0 / 200_000.0f64).sqrt();
    assert!((end.state.variance() - settled).abs() < 3.0 * standard_error, "{} for {settled}", end.state.variance());
    let (mut v, pi) = (4.0, Gaussian::new(vec![0.0], &[variance]).unwrap());
    for account in &end.accounts {
        let rho = Gaussian::new(vec![0.0], &[v]).unwrap();
        let error = account.standard_error.unwrap();
        let (found, truth) = (account.free_energy.unwrap(), rho.kl(&pi).unwrap());
        // The mixture over 4,096 particles adds its own spread of the same size.
        assert!((found - truth).abs() < 6.0 * error + 2e-3, "k = {}: {found} for {truth}", account.k);
        v = (1.0 - tau / variance).powi(2) * v + 2.0 * tau;
    }
    let rate = Gaussian::new(vec![0.0], &[4.0]).unwrap().fisher_information(&pi).unwrap();
    assert!((end.accounts[0].dissipation.unwrap() / rate - 1.0).abs() < 0.1);
}

/// G8: u − ε with u = σ²(1 + √(1 + 4ε/σ²))/2, from quantiles of a wider law.
#[test]
fn the_blob_flow_falls_at_every_step_and_settles_at_its_biased_variance() {
    let (n, eps, device) = (400, 0.35f64.powi(2), cpu());
    let quantile = |i: u32| {
        // Quantiles of the logistic law of deviation 1.2: any smooth start will do.
        let u = (f64::from(i) + 0.5) / f64::from(n);
        1.2 * 3f64.sqrt() / std::f64::consts::PI * (u / (1.0 - u)).ln()
    };
    let start = Cloud::new((0..n).map(quantile).collect(), 1).unwrap();
    let mut scheme = Blob::new(start, law(1.0), 0.2, eps, &device).unwrap();
    let end = descend(&mut scheme, 60, Watch::default()).unwrap();
    for account in &end.accounts[..60] {
        assert!(account.energy_inequality.unwrap() >= -1e-12, "{account:?}");
        assert!(account.effective_neighbours.unwrap() > 10.0);
    }
    let predicted = 1.0 + Blob::predicted_bias(eps, 1.0);
    let u = 0.5 * (1.0 + (1.0 + 4.0 * eps).sqrt());
    assert!((predicted - (u - eps)).abs() < 1e-15);
    // Quantisation by 400 particles lacks a little of the tails.
    assert!((end.state.variance() - predicted).abs() < 0.01, "{} for {predicted}", end.state.variance());
}

/// F of evenly spread particles is the closed KL of the smoothed law: E_ρ[log ρ∗φ + V].
#[test]
fn the_free_energy_of_the_blob_is_that_of_the_smoothed_law() {
    let (eps, device) = (0.01, cpu());
    let mut scheme = Blob::new(grid(1.5), law(1.0), 0.01, eps, &device).unwrap();
    let found = brenier::gradient_flow::Scheme::account(&mut scheme, &Watch::default()).unwrap().free_energy.unwrap();
    let (v, smooth) = (2.25, 2.25 + eps);
    let truth = -0.5 * ((TURN * smooth).ln() + v / smooth) + 0.5 * (TURN.ln() + v);
    assert!((found - truth).abs() < 1e-9, "{found} for {truth}");
}

#[test]
fn steps_that_are_none_are_refused_in_a_sentence() {
    let (start, target, device) = (draws("normal", 20, 0), draws("moons", 20, 1), cpu());
    for tau in [0.0, -0.1, f64::NAN] {
        assert!(matches!(SinkhornFlow::new(start.clone(), &target, tau, 0.1, &device), Err(FlowError::Tau { .. })));
        assert!(matches!(SemiUnbalancedJko::new(start.clone(), &target, tau, 0.1, &device), Err(FlowError::Tau { .. })));
        assert!(matches!(Langevin::new(draws("normal:1", 20, 0), law(1.0), tau, 0, &device), Err(FlowError::Tau { .. })));
    }
    let blurred = SemiUnbalancedJko::new(start.clone(), &target, 0.1, 0.1, &device).unwrap_err();
    assert_eq!(blurred, FlowError::EpsOfStep { eps: 0.1, tau: 0.1 });
    assert!(blurred.to_string().contains("use an eps of at most 0.1 tau"));
    let six = draws("normal:6", 20, 0);
    let refused = Blob::new(six, Mixture::standard_normal(6), 0.1, 0.1, &device).unwrap_err();
    assert_eq!(refused, FlowError::TooManyDimensions { dim: 6, limit: 5 });
    let other = Langevin::new(start.clone(), law(1.0), 0.1, 0, &device).unwrap_err();
    assert_eq!(other, FlowError::Dimensions { particles: 2, target: 1 });
    assert_eq!(Langevin::new(start.clone(), Field::DataSet(target), 0.1, 0, &device).unwrap_err(), FlowError::NeedsLaw);
    let annealed = Langevin::new(start.clone(), Field::potential(Bowl), 0.1, 0, &device).unwrap().annealed(1.0, 5);
    assert_eq!(annealed.unwrap_err(), FlowError::NeedsLaw);
    let still = Langevin::new(start, Mixture::standard_normal(2), 0.1, 0, &device).unwrap().annealed(0.0, 5);
    assert_eq!(still.unwrap_err(), FlowError::Noise { sigma: 0.0 });
}

/// τ > 2σ² multiplies |x| by |1 − τ/σ²| > 1 in every step.
#[test]
fn a_runaway_particle_is_named_and_the_last_good_state_kept() {
    let device = Device::cpu(Precision::F32);
    let target = law(0.01);
    let start = law(1.0).sample(5000, 0, Stream::Source, 0);
    let end = descend(&mut Langevin::new(start, target, 0.1, 0, &device).unwrap(), 50, Watch::default()).unwrap();
    let Some(FlowError::Runaway { step, particle }) = end.halted else { panic!("{:?}", end.halted) };
    // A step multiplies by |1 − 10|, and ten times the radius is away.
    assert!((1..8).contains(&step) && particle < 5000, "step {step}, particle {particle}");
    assert!(end.state.points().iter().all(|x| x.is_finite()));
    assert!(end.halted.unwrap().to_string().starts_with(&format!("particle {particle} ran away in step {step}")));
}

/// V = |x|²/2 in the plane: N(0, I) without its constant.
struct Bowl;

impl Potential for Bowl {
    fn dim(&self) -> usize {
        2
    }

    fn value(&self, x: &[f64]) -> f64 {
        0.5 * x.iter().map(|x| x * x).sum::<f64>()
    }

    fn gradient(&self, x: &[f64], out: &mut [f64]) {
        out.copy_from_slice(x);
    }
}

/// Code for V and the law in closed form make the same steps from the same noise; the free energies differ by log Z = log 2π, and
/// both settle at the variance 1/(1 − τ/2) of an explicit step.
#[test]
fn a_potential_given_as_code_is_descended_as_the_law_that_it_is() {
    let (tau, steps) = (0.1, 60);
    for (precision, tolerance) in [(Precision::F32, 1e-4), (Precision::F64, 1e-9)] {
        let device = Device::cpu(precision);
        let start = Cloud::new(draws("normal:2", 4000, 0).points().iter().map(|x| 2.0 * x).collect(), 2).unwrap();
        let end = |target: Field, steps| {
            descend(&mut Langevin::new(start.clone(), target, tau, 0, &device).unwrap(), steps, Watch::default()).unwrap()
        };
        let (code, law) = (end(Field::potential(Bowl), steps), end(Mixture::standard_normal(2).into(), steps));
        for (x, y) in code.state.points().iter().zip(law.state.points()) {
            assert!((x - y).abs() < tolerance, "{x} for {y}");
        }
        // The variance of n · d = 8,000 numbers has the relative deviation √(2/8,000).
        let settled = 2.0 / (1.0 - 0.5 * tau);
        let off = code.state.variance() / settled - 1.0;
        assert!(off.abs() < 4.0 * (2.0f64 / 8000.0).sqrt(), "{off}");
        for (code, law) in code.accounts.iter().zip(&law.accounts).skip(1) {
            let gap = law.free_energy.unwrap() - code.free_energy.unwrap();
            assert!((gap - TURN.ln()).abs() < 10.0 * tolerance, "{gap}");
        }
        let blob = |target: Field| {
            let start = start.select(&(0..200).collect::<Vec<usize>>()).unwrap();
            descend(&mut Blob::new(start, target, 0.1, 0.2, &device).unwrap(), 3, Watch::default()).unwrap().state
        };
        let (code, law) = (blob(Field::potential(Bowl)), blob(Mixture::standard_normal(2).into()));
        for (x, y) in code.points().iter().zip(law.points()) {
            assert!((x - y).abs() < 10.0 * tolerance, "blob: {x} for {y}");
        }
    }
}
