//! Samplers and particle steps as schemes of one loop: closed forms between Gaussians, the order of their residuals, bad input. Labels
//! are those of the checks in the project's note on the mathematics.

use std::f64::consts::TAU;
use std::sync::atomic::{AtomicUsize, Ordering};

use brenier::backend::{Device, Noise, Precision};
use brenier::checkpoint::Checkpoint;
use brenier::field::Field;
use brenier::gradient_flow::{
    Account, Chain, Choice, FlowError, Implicit, Langevin, Options, SCHEMES, Scheme, Setting, SinkhornFlow, descend, named,
};
use brenier::io::read_measure;
use brenier::measure::{Cloud, Covariance, Measure, Mixture};
use brenier::path::{Grid, Level, Schedule, Spacing};
use brenier::random::{Philox, Stream};
use brenier::sampler::{AnnealedLangevin, Ddim, Ddpm, EnergyMatching, Euler, ExplicitScore, Lms, Method, Variance};
use brenier::transport::Gaussian;
use brenier::watch::{Progress, Watch};

fn cpu() -> Device {
    Device::cpu(Precision::F64)
}

fn law(variance: f64) -> Mixture {
    Mixture::new(vec![1.0], vec![vec![0.0]], vec![Covariance::Isotropic(variance)]).unwrap()
}

fn mixture() -> Mixture {
    match read_measure("tests/golden/mixture_g2.json", None, None).unwrap() {
        Measure::Law(law) => law,
        other => panic!("{other:?}"),
    }
}

/// Draws of α · data + σ · noise.
fn noised(data: &Mixture, level: Level, n: usize) -> Cloud {
    let (y, z) = (data.sample(n, 3, Stream::Source, 0), Mixture::standard_normal(data.dim()).sample(n, 3, Stream::Source, 1));
    let x = y.points().iter().zip(z.points()).map(|(y, z)| level.alpha * y + level.sigma * z).collect();
    Cloud::new(x, data.dim()).unwrap()
}

fn first_account(scheme: &mut dyn Scheme) -> Account {
    descend(scheme, 1, Watch::default()).unwrap().accounts.remove(0)
}

/// The first step of `method` along the Ornstein–Uhlenbeck flow from time `time` back, in steps of about `tau`.
fn backward(start: Cloud, data: &Mixture, method: &dyn Method, (time, tau): (f64, f64)) -> Account {
    let grid = Grid::ornstein_uhlenbeck(time, (time / tau).round() as usize).unwrap();
    first_account(&mut Chain::backward(start, Field::Mixture(data.clone()), (method, &grid), 0, &cpu()).unwrap())
}

/// Two points with the variance of the law: between Gaussians R is a multiple of the deviation, so they tell all of it.
fn pair(variance: f64) -> Cloud {
    Cloud::new(vec![-variance.sqrt(), variance.sqrt()], 1).unwrap()
}

/// On N(0, s²) at α² + σ² = 1 every step is x ↦ kx, and R = √v |(1 − k)/τ + 1 − 1/v| with v = α²s² + σ²; with noise of variance b, k is
/// that of the drift over 1 − b/2v′.
#[test]
fn residuals_of_denoising_steps_between_gaussians_are_their_closed_forms() {
    let (s2, time) = (0.25, 0.5);
    let level = |t: f64| ((-t).exp(), (-(-2.0 * t).exp_m1()).sqrt());
    let variance = |(alpha, sigma): (f64, f64)| alpha * alpha * s2 + sigma * sigma;
    for (tau, rounded) in [(0.05, 0.0268), (0.025, 0.0130)] {
        let (from, to) = (level(time), level(time - tau));
        let (v, after) = (variance(from), variance(to));
        let residual = |k: f64| v.sqrt() * ((1.0 - k) / tau + 1.0 - 1.0 / v).abs();
        let denoised = |p: f64, q: f64| (p * from.0 * s2 + q * from.1) / v; // p x̂₀ + q ε̂
        let ddim = residual(denoised(to.0, to.1));
        assert!((ddim - rounded).abs() < 5e-5, "{ddim}");
        let found = backward(pair(v), &law(s2), &Ddim { eta: 0.0 }, (time, tau));
        assert!((found.jko_residual.unwrap() - ddim).abs() < 1e-11, "{found:?}");
        assert!((found.tau.unwrap() - tau).abs() < 1e-14 && found.jko_residual_floor.is_none());

        let added = from.1.powi(2) - (from.0 / to.0 * to.1).powi(2);
        let mean = denoised(to.0, from.0 / to.0 * to.1.powi(2) / from.1);
        let ddpm = residual(mean / (1.0 - added * (to.1 / from.1).powi(2) / (2.0 * after)));
        let found = backward(pair(v), &law(s2), &Ddpm { variance: Variance::Posterior }, (time, tau));
        assert!((found.jko_residual.unwrap() - ddpm).abs() < 1e-11, "{found:?} for {ddpm}");

        let found = backward(pair(v), &law(s2), &ExplicitScore, (time, tau));
        assert!(found.jko_residual.unwrap() < 1e-12, "{found:?}");
    }
}

/// The residual over the deviation of the particles after the step, where it is taken: forward √v′ is that of x′, whatever the draw.
#[test]
fn residuals_of_descending_steps_between_gaussians_are_their_closed_forms() {
    let (s2, tau) = (0.25f64, 0.05f64);
    let start = law(s2).sample(500, 0, Stream::Source, 0);
    let chain = Chain::forward(start.clone(), Field::Mixture(law(s2)), (tau, 1), 0, &cpu()).unwrap();
    let mut forward: Box<dyn Scheme> = Box::new(chain);
    let account = first_account(&mut *forward);
    let rms = |cloud: &Cloud| (cloud.points().iter().map(|x| x * x).sum::<f64>() / cloud.len() as f64).sqrt();
    let (kept, added) = ((-tau).exp(), -(-2.0 * tau).exp_m1());
    let after = kept * kept * s2 + added;
    let back = (1.0 - 0.5 * added / after) / kept; // x of x′
    let expected = rms(forward.state()) * ((1.0 - back) / tau + 1.0 - 1.0 / after).abs();
    assert!((account.jko_residual.unwrap() - expected).abs() < 1e-11, "{account:?} for {expected}");

    let target = 2.0;
    let langevin = Langevin::new(start, law(target), tau, 0, &cpu()).unwrap();
    let mut langevin = langevin.from_law(law(s2));
    let account = first_account(&mut langevin);
    let drift = 1.0 - tau / target;
    let after = drift * drift * s2 + 2.0 * tau;
    let expected = rms(langevin.state()) / target * (1.0 - (1.0 - tau / after) / drift).abs();
    // The law's score is that at a noise of 1e-6.
    assert!((account.jko_residual.unwrap() - expected).abs() < 1e-9, "{account:?} for {expected}");
}

/// Slope of log R against log τ over four halvings, in eight batches: mean and standard error.
fn order(residual: impl Fn(&Cloud, f64) -> f64, draws: &Cloud, taus: [f64; 4]) -> (f64, f64) {
    let batch = draws.len() / 8;
    let slope = |b: usize| {
        let part = draws.select(&(b * batch..(b + 1) * batch).collect::<Vec<usize>>()).unwrap();
        let points = taus.map(|tau| (tau.ln(), residual(&part, tau).ln()));
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / 4.0;
        let (x, y) = (mean(|p| p.0), mean(|p| p.1));
        points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / points.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>()
    };
    let slopes: Vec<f64> = (0..8).map(slope).collect();
    let mean = slopes.iter().sum::<f64>() / 8.0;
    (mean, (slopes.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / 56.0).sqrt())
}

/// On mixture_g2 at time ½, from the exact law: order 1 of DDIM, DDPM and the noise itself, and no residual of the explicit score step.
#[test]
fn residuals_on_a_mixture_are_of_order_one_in_tau() {
    let (data, time, taus) = (mixture(), 0.5, [0.05, 0.025, 0.0125, 0.00625]);
    let level = Grid::ornstein_uhlenbeck(time, 1).unwrap().start();
    let draws = noised(&data, level, 4096);
    let (ddim, ddpm) = (Ddim { eta: 0.0 }, Ddpm { variance: Variance::Posterior });
    let methods: [(&str, &dyn Method); 2] = [("ddim", &ddim), ("ddpm", &ddpm)];
    for (name, method) in methods {
        let residual = |start: &Cloud, tau: f64| backward(start.clone(), &data, method, (time, tau)).jko_residual.unwrap();
        let (slope, error) = order(residual, &draws, taus);
        eprintln!("{name}: {:?}, order {slope:.3} ± {:.3}", taus.map(|tau| residual(&draws, tau)), 2.0 * error);
        // The next order in τ bends the line by a share of τ times a curvature of some units.
        assert!((slope - 1.0).abs() < 0.1, "{name}: {slope} ± {error}");
    }
    let grid = Grid::ornstein_uhlenbeck(time, 2).unwrap();
    let mut chain = Chain::backward(draws.clone(), data.clone().into(), (&ddim, &grid), 0, &cpu()).unwrap();
    assert_eq!(descend(&mut chain, 3, Watch::default()).unwrap_err(), FlowError::Ended { steps: 2 });
    let exact = backward(draws.clone(), &data, &ExplicitScore, (time, 0.05));
    assert!(exact.jko_residual.unwrap() < 1e-10, "{exact:?}");

    // Forward from the time ½: the data are then the noised law itself.
    let half = at(&data, level);
    let residual = |start: &Cloud, tau: f64| {
        let mut chain = Chain::forward(start.clone(), Field::Mixture(half.clone()), (tau, 1), 0, &cpu()).unwrap();
        first_account(&mut chain).jko_residual.unwrap()
    };
    let (slope, error) = order(residual, &draws, taus);
    eprintln!("forward: {:?}, order {slope:.3} ± {:.3}", taus.map(|tau| residual(&draws, tau)), 2.0 * error);
    assert!((slope - 1.0).abs() < 0.1, "forward: {slope} ± {error}");
}

/// The law of α · data + σ · noise, a mixture of covariances α²C + σ²I.
fn at(data: &Mixture, level: Level) -> Mixture {
    let d = data.dim();
    let covariance = |own: &Covariance| {
        let entry = |i: usize, j: usize| {
            let along =
                |k: usize| (level.alpha.powi(2) * own.value(k) + level.sigma.powi(2)) * own.vector(i, k, d) * own.vector(j, k, d);
            (0..d).map(along).sum::<f64>()
        };
        Covariance::from_matrix(&(0..d * d).map(|at| entry(at / d, at % d)).collect::<Vec<f64>>(), d).unwrap()
    };
    let all = data.components();
    let means = all.iter().map(|c| c.mean.iter().map(|m| level.alpha * m).collect()).collect();
    Mixture::new(all.iter().map(|c| c.weight).collect(), means, all.iter().map(|c| covariance(&c.covariance)).collect()).unwrap()
}

/// Langevin, a level of NCSN and Energy Matching at temperature 1 are one step, whose score is estimated: what R² has above its floor is
/// of order τ².
#[test]
fn residuals_of_noisy_steps_fall_with_tau_and_stand_on_their_floor() {
    let data = mixture();
    let smoothed = at(&data, Level { t: 0.5, alpha: 1.0, sigma: 1.0, alpha_dot: 0.0, sigma_dot: 0.0 });
    let starts = [0, 1, 2, 3].map(|batch| {
        let draws = smoothed.sample(2048, batch, Stream::Source, 0);
        Cloud::new(draws.points().iter().map(|x| 1.2 * x + 0.3).collect(), 2).unwrap()
    });
    let langevin = |start: &Cloud, tau: f64| Langevin::new(start.clone(), smoothed.clone(), tau, 0, &cpu()).unwrap();
    let ncsn = |start: &Cloud, tau: f64| {
        let level = |t: f64, sigma: f64| Level { t, alpha: 1.0, sigma, alpha_dot: 0.0, sigma_dot: 0.0 };
        let grid = Grid::from_levels(vec![level(0.0, 1.0), level(1.0, 0.999)]).unwrap();
        let method = AnnealedLangevin { updates: 1, step: Some(2.0 * tau * 0.999f64.powi(2)) };
        Langevin::ladder(start.clone(), Field::Mixture(data.clone()), (&method, &grid), 0, &cpu()).unwrap()
    };
    let matching = |start: &Cloud, tau: f64| {
        let method = EnergyMatching::langevin(1.0, tau);
        Langevin::warming(start.clone(), Field::Mixture(smoothed.clone()), method, 0, &cpu()).unwrap()
    };
    let told = |mut scheme: Langevin| {
        let account = first_account(&mut scheme);
        (account.jko_residual.unwrap(), account.jko_residual_floor.unwrap())
    };
    for name in ["langevin", "ncsn", "energy-matching"] {
        let step = |start: &Cloud, tau: f64| match name {
            "langevin" => told(langevin(start, tau)),
            "ncsn" => told(ncsn(start, tau)),
            _ => told(matching(start, tau)),
        };
        let above = |start: &Cloud, tau: f64| {
            let (residual, floor) = step(start, tau);
            assert!(floor < 0.6 * residual, "{name}: {residual} ± {floor}");
            (residual * residual - floor * floor).sqrt()
        };
        let slopes = starts.each_ref().map(|start| (above(start, 0.4) / above(start, 0.1)).ln() / 4f64.ln());
        let mean = slopes.iter().sum::<f64>() / 4.0;
        let error = (slopes.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / 12.0).sqrt();
        let at = [0.4, 0.2, 0.1].map(|tau| step(&starts[0], tau));
        eprintln!("{name}: (R, floor) {at:.4?} at tau = 0.4, 0.2, 0.1; order {mean:.3} ± {:.3}", 2.0 * error);
        // τ‖∇²V‖ is 0.1 to 0.4, and ρ′ changes with τ by as much.
        assert!((mean - 1.0).abs() < 0.35, "{name}: {mean} ± {error}");
    }
    let (a, b, c) = (told(langevin(&starts[0], 0.2)), told(ncsn(&starts[0], 0.2)), told(matching(&starts[0], 0.2)));
    assert!((a.0 / b.0 - 1.0).abs() < 1e-6 && (a.0 / c.0 - 1.0).abs() < 1e-6, "{a:?} {b:?} {c:?}");
}

/// Between the modes V is far from convex: at the centre of the eight, τ times its curvature is −3.
#[test]
fn an_explicit_step_is_undone_between_modes_too() {
    let start = Mixture::standard_normal(2).sample(1000, 0, Stream::Source, 0);
    let mut scheme = Langevin::new(start, Mixture::eight_gaussians(), 0.025, 0, &cpu()).unwrap();
    let end = descend(&mut scheme, 3, Watch::default()).unwrap();
    let told = |account: &Account| account.jko_residual.is_some_and(|residual| residual > account.jko_residual_floor.unwrap());
    assert!(end.accounts[..3].iter().all(told), "{:?}", end.accounts);
}

/// The residual is of distances alone: for particles that are far from all others, too, it does not know where the origin is.
#[test]
fn the_residual_of_a_noisy_step_moves_with_its_particles() {
    let (gaussians, offset) = (Mixture::eight_gaussians(), 100.0);
    let all = gaussians.components();
    let means = all.iter().map(|c| c.mean.iter().map(|m| m + offset).collect()).collect();
    let covariances = all.iter().map(|c| c.covariance.clone()).collect();
    let moved = Mixture::new(all.iter().map(|c| c.weight).collect(), means, covariances).unwrap();
    let start = Mixture::standard_normal(2).sample(300, 0, Stream::Source, 0);
    let beside = Cloud::new(start.points().iter().map(|x| x + offset).collect(), 2).unwrap();
    let told = |start: Cloud, target: Mixture| {
        let account = first_account(&mut Langevin::new(start, target, 0.025, 0, &cpu()).unwrap());
        (account.jko_residual.unwrap(), account.jko_residual_floor.unwrap())
    };
    let (here, there) = (told(start, gaussians), told(beside, moved));
    assert!((here.0 / there.0 - 1.0).abs() < 1e-8 && (here.1 / there.1 - 1.0).abs() < 1e-8, "{here:?} {there:?}");
}

/// Between the modes, where the noise of DDPM takes particles too, its probability flow is found for each of them.
#[test]
fn every_step_of_ddpm_on_the_eight_gaussians_has_a_residual() {
    let grid = Grid::ornstein_uhlenbeck(5.0, 20).unwrap();
    let start = noised(&Mixture::eight_gaussians(), grid.start(), 4096);
    let method = Ddpm { variance: Variance::Posterior };
    let field = Field::Mixture(Mixture::eight_gaussians());
    let mut chain = Chain::backward(start, field, (&method, &grid), 0, &cpu()).unwrap();
    let end = descend(&mut chain, 20, Watch::default()).unwrap();
    assert!(end.accounts[..20].iter().all(|account| account.jko_residual.is_some()), "{:?}", end.accounts);
}

/// At a temperature between 0 and 1: F, its dissipation and R on N(0, v) for particles of N(0, u).
#[test]
fn energy_matching_at_a_temperature_between_is_its_closed_form() {
    let (temperature, v, tau, n) = (0.15, 0.5f64, 0.05, 500);
    let mut u = 2.0f64;
    let start = law(u).sample(n, 0, Stream::Source, 0);
    let method = EnergyMatching::langevin(temperature, tau);
    let scheme = Langevin::warming(start.clone(), law(v).into(), method, 0, &cpu()).unwrap();
    let mut scheme = scheme.from_law(law(u));
    let square = |cloud: &Cloud| cloud.points().iter().map(|x| x * x).sum::<f64>() / cloud.len() as f64;
    let mut before = start;
    for _ in 0..3 {
        let end = descend(&mut scheme, 1, Watch::default()).unwrap();
        let (account, m) = (&end.accounts[0], square(&before));
        let (potential, entropy) = (0.5 * (m / v + (TAU * v).ln()), -0.5 * (m / u + (TAU * u).ln()));
        assert!((account.free_energy.unwrap() - potential - temperature * entropy).abs() < 1e-9, "{account:?}");
        let dissipation = m * (1.0 / v - temperature / u).powi(2);
        assert!((account.dissipation.unwrap() - dissipation).abs() < 1e-9, "{account:?} for {dissipation}");
        let drift = 1.0 - tau / v;
        u = drift * drift * u + 2.0 * temperature * tau;
        before = end.state;
        let residual = square(&before).sqrt() / v * (1.0 - (1.0 - temperature * tau / u) / drift).abs();
        assert!((account.jko_residual.unwrap() - residual).abs() < 1e-9, "{account:?} for {residual}");
    }
}

/// Without the law of the start the score is that of the particles: R is then within its floor of what it is with the law.
#[test]
fn an_estimated_residual_is_within_its_floor_of_the_exact_one() {
    let start = law(0.25).sample(2000, 0, Stream::Source, 0);
    let scheme = || Langevin::new(start.clone(), law(2.0), 0.05, 0, &cpu()).unwrap();
    let exact = first_account(&mut scheme().from_law(law(0.25)));
    let estimated = first_account(&mut scheme());
    let (floor, found) = (estimated.jko_residual_floor.unwrap(), estimated.jko_residual.unwrap());
    assert!(exact.jko_residual_floor.is_none() && (found - exact.jko_residual.unwrap()).abs() < floor, "{exact:?} {estimated:?}");
}

/// Without noise, F = ∫V and its residual ‖∇V(x) − ∇V(x′)‖ need no density: on V = x²/2v it is |x′|·τ/v²/(1 − τ/v) for x′ = (1 − τ/v)x.
#[test]
fn energy_matching_before_its_noise_descends_the_potential() {
    let (v, tau, start) = (0.5, 0.01, pair(4.0));
    let method = EnergyMatching { tau_star: 0.8, epsilon_max: 0.15, step: tau };
    let mut scheme = Langevin::warming(start.clone(), law(v).into(), method, 0, &cpu()).unwrap();
    let end = descend(&mut scheme, 100, Watch::default()).unwrap();
    let first = &end.accounts[0];
    let kept = 1.0 - tau / v;
    let expected = 2.0 * kept * tau / (v * v) / kept;
    assert!((first.jko_residual.unwrap() - expected).abs() < 1e-9, "{first:?} for {expected}");
    assert_eq!(first.jko_residual_floor, None);
    for account in &end.accounts[..80] {
        assert!(account.energy_inequality.unwrap() >= -1e-12, "{account:?}");
    }
    // Two particles tell no density.
    assert!(end.accounts[85].jko_residual.is_none() && end.accounts[85].reason.is_some());
}

/// D8: v ← (1 − c)²v + a with c = a/2(s² + σ²), from N(0, ⅓) through ten levels.
#[test]
fn ncsn_as_a_scheme_follows_its_recursion_of_variances() {
    let (s2, n) = (0.09, 2000);
    let grid = Grid::ladder(1.0, 0.01, 10).unwrap();
    let method = AnnealedLangevin { updates: 10, step: Some(2e-4) };
    let start = law(1.0 / 3.0);
    let draws = start.sample(n, 0, Stream::Source, 0);
    let mut scheme = Langevin::ladder(draws, law(s2).into(), (&method, &grid), 0, &cpu()).unwrap().from_law(start);
    let end = descend(&mut scheme, 100, Watch::default()).unwrap();
    let mut v: f64 = 1.0 / 3.0;
    for k in 0..100 {
        let sigma = 0.01f64.powf((k / 10) as f64 / 9.0);
        let a = 2e-4 * (sigma / 0.01).powi(2);
        let to = s2 + sigma * sigma;
        let kl = 0.5 * (v / to - 1.0 - (v / to).ln());
        let account = &end.accounts[k];
        let (found, error) = (account.free_energy.unwrap(), account.standard_error.unwrap());
        assert!((found - kl).abs() < 4.5 * error + 1e-12, "k = {k}: {found} ± {error} for {kl}");
        assert!((account.tau.unwrap() - 0.5 * a).abs() < 1e-15);
        v = (1.0 - 0.5 * a / to).powi(2) * v + a;
    }
    let off = end.state.variance() / v - 1.0;
    assert!(off.abs() < 4.0 * (2.0 / n as f64).sqrt(), "{off}");
}

/// D1, D3: with the exact variance DDPM ends in N(0, s²) in five steps. D2: with the posterior's, or the forward step's for unit variance, it
/// ends where its recursion does.
#[test]
fn ddpm_as_a_scheme_ends_in_the_variance_of_its_recursion() {
    let n = 20_000;
    let grid = Grid::ornstein_uhlenbeck(2.0, 5).unwrap();
    for (s2, variance) in [(0.36, Variance::Gaussian { data: 0.36 }), (0.36, Variance::Posterior), (1.0, Variance::Forward)] {
        let start = noised(&law(s2), grid.start(), n);
        let mut v = grid.start().alpha.powi(2) * s2 + grid.start().sigma.powi(2);
        for (from, to) in grid.steps() {
            let added = from.sigma.powi(2) - (from.alpha / to.alpha * to.sigma).powi(2);
            let before = from.alpha.powi(2) * s2 + from.sigma.powi(2);
            let mean = (to.alpha * from.alpha * s2 + from.alpha / to.alpha * to.sigma.powi(2)) / before;
            let (posterior, unknown) = (added * (to.sigma / from.sigma).powi(2), s2 * from.sigma.powi(2) / before);
            v = mean * mean * v
                + match variance {
                    Variance::Posterior => posterior,
                    Variance::Forward if to.sigma == 0.0 => 0.0,
                    Variance::Forward => added,
                    Variance::Gaussian { .. } => posterior + (to.alpha * added / from.sigma.powi(2)).powi(2) * unknown,
                };
        }
        match variance {
            Variance::Posterior => assert!(v < 0.99 * s2, "{v}"),
            // The last step leaves out its noise.
            Variance::Forward => assert!((v + (1.0 - grid.levels()[4].alpha.powi(2)) - s2).abs() < 1e-13, "{v}"),
            Variance::Gaussian { .. } => assert!((v - s2).abs() < 1e-13, "{v}"),
        }
        let mut chain = Chain::backward(start, law(s2).into(), (&Ddpm { variance }, &grid), 0, &cpu()).unwrap();
        let end = descend(&mut chain, 5, Watch::default()).unwrap();
        assert!((end.state.variance() / v - 1.0).abs() < 4.0 * (2.0 / n as f64).sqrt(), "{} for {v}", end.state.variance());
    }
}

#[test]
fn a_chain_refuses_methods_whose_steps_need_earlier_ones() {
    let (data, grid) = (mixture(), Grid::ornstein_uhlenbeck(2.0, 12).unwrap());
    let refused = Chain::backward(noised(&data, grid.start(), 8), data.into(), (&Lms { order: 4 }, &grid), 0, &cpu());
    assert_eq!(refused.expect_err("it is a multistep method"), FlowError::Multistep);
}

/// D4: on x/(α + σ) DDIM is the Euler step of flow matching. D5: a step of DDPM is one of DDIM to λ + 2Δλ and noise back to λ + Δλ.
/// D6: η = 1 is DDPM.
#[test]
fn samplers_of_the_loop_are_each_other_in_other_coordinates() {
    let (data, grid) = (mixture(), Grid::ornstein_uhlenbeck(2.0, 12).unwrap());
    let start = noised(&data, grid.start(), 200);
    let chain = |method: &dyn Method| Chain::backward(start.clone(), data.clone().into(), (method, &grid), 0, &cpu()).unwrap();
    let end = |method: &dyn Method, steps| descend(&mut chain(method), steps, Watch::default()).unwrap().state;
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() < 1e-9, "{a} for {b}"));

    let times: Vec<f64> = grid.levels().iter().map(|level| level.alpha / (level.alpha + level.sigma)).collect();
    let flow = Euler.program(&Grid::at(&Schedule::CondOt, &times).unwrap());
    let Level { alpha, sigma, .. } = grid.start();
    let scaled: Vec<f64> = start.points().iter().map(|x| x / (alpha + sigma)).collect();
    close(end(&Ddim { eta: 0.0 }, 12).points(), &flow.run(&data.clone().into(), &scaled, Noise::NONE, &cpu()).unwrap());

    let (from, to) = (grid.levels()[0], grid.levels()[1]);
    let log_snr = |level: Level| 2.0 * (level.alpha / level.sigma).ln();
    let beyond = 2.0 * log_snr(to) - log_snr(from);
    let over = Level { alpha: (1.0 + (-beyond).exp()).sqrt().recip(), sigma: (1.0 + beyond.exp()).sqrt().recip(), t: 0.5, ..to };
    let step = Ddim { eta: 0.0 }.step(from, over);
    let far: Vec<f64> = start
        .rows()
        .flat_map(|x| {
            let brenier::program::Op::Evaluate { level, p, q, .. } = step.ops[0] else { panic!("{step:?}") };
            data.evaluate(level, p, q, x)
        })
        .collect();
    let kept = to.alpha / over.alpha;
    let added = (to.sigma.powi(2) - (kept * over.sigma).powi(2)).sqrt();
    let mut z = [0.0f32; 2];
    let philox = Philox::new(0, Stream::Noise);
    let noisy: Vec<f64> = far
        .chunks_exact(2)
        .enumerate()
        .flat_map(|(i, x)| {
            philox.normals(i as u32, 0, 0, &mut z);
            [kept * x[0] + added * f64::from(z[0]), kept * x[1] + added * f64::from(z[1])]
        })
        .collect();
    close(end(&Ddpm { variance: Variance::Posterior }, 1).points(), &noisy);
    close(end(&Ddpm { variance: Variance::Posterior }, 12).points(), end(&Ddim { eta: 1.0 }, 12).points());
}

/// D9: noise put back at any rate leaves the law of the data, to order one in steps of log(σ/α): 100 of them take 8 % of the variance at
/// most.
#[test]
fn noise_put_back_leaves_the_law_of_the_data() {
    let (s2, n, steps) = (0.36, 8000, 100);
    let grid = Grid::spaced(&Schedule::linear_vp(0.1, 20.0).unwrap(), steps, Spacing::Balanced).unwrap();
    for eta in [0.0, 0.5, 1.0] {
        let start = noised(&law(s2), grid.start(), n);
        let mut chain = Chain::backward(start, law(s2).into(), (&Ddim { eta }, &grid), 0, &cpu()).unwrap();
        let end = descend(&mut chain, steps, Watch::default()).unwrap();
        let off = end.state.variance() / s2 - 1.0;
        assert!(off.abs() < 4.0 * (2.0 / n as f64).sqrt() + 0.08, "eta = {eta}: {off}");
    }
}

fn gaussian(seed: u32) -> Gaussian {
    let mut z = [0.0f32; 12];
    Philox::new(seed, Stream::Source).normals(0, 0, 0, &mut z);
    let z = z.map(f64::from);
    let entry = |i: usize, j: usize| (0..3).map(|k| z[3 + 3 * i + k] * z[3 + 3 * j + k]).sum::<f64>() / 3.0;
    let covariance: Vec<f64> = (0..9).map(|at| entry(at / 3, at % 3) + if at / 3 == at % 3 { 0.25 } else { 0.0 }).collect();
    Gaussian::new(z[..3].to_vec(), &covariance).unwrap()
}

fn moments(cloud: &Cloud) -> Gaussian {
    let (mean, n) = (cloud.mean(), cloud.len() as f64);
    let entry = |at: usize| cloud.rows().map(|x| (x[at / 3] - mean[at / 3]) * (x[at % 3] - mean[at % 3])).sum::<f64>() / n;
    Gaussian::new(mean.clone(), &(0..9).map(entry).collect::<Vec<f64>>()).unwrap()
}

fn apart(a: &Gaussian, b: &Gaussian) -> f64 {
    let off = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    off(a.mean(), b.mean()).max(off(a.covariance(), b.covariance()))
}

/// C1–C6 of the loop, with covariances that do not commute: the moments of the particles make the closed JKO steps, the explicit score step
/// takes every particle back, F pays for the way and stays below its bound, and the target does not move.
#[test]
fn the_implicit_scheme_between_gaussians_makes_the_closed_jko_steps() {
    let (target, tau) = (gaussian(1), 0.35);
    let start = Mixture::standard_normal(3).sample(300, 0, Stream::Source, 0);
    let mut scheme = Implicit::gaussian(start.clone(), target.clone(), tau, 0, &cpu()).unwrap();
    let mut before = start;
    let largest = target.covariance().iter().fold(0.0f64, |a, b| a.max(*b));
    for _ in 0..6 {
        let law = moments(&before);
        let expected = law.jko_step(&target, tau).unwrap().law;
        let end = descend(&mut scheme, 1, Watch::default()).unwrap();
        let after = moments(&end.state);
        assert!(apart(&after, &expected) < 1e-8 * largest.max(1.0), "{}", apart(&after, &expected));
        let back = after.score_step(&target, tau).unwrap();
        for (x, y) in before.rows().zip(end.state.rows()) {
            back.apply(y).unwrap().iter().zip(x).for_each(|(back, x)| assert!((back - x).abs() < 1e-7, "{back} for {x}"));
        }
        let [account, next] = &end.accounts[..] else { panic!() };
        let w2_squared = law.w2_squared(&after).unwrap();
        assert!((account.w2_squared_step.unwrap() - w2_squared).abs() < 1e-7 * w2_squared.max(1e-3));
        assert!((account.free_energy.unwrap() - law.kl(&target).unwrap()).abs() < 1e-9);
        assert!((account.dissipation.unwrap() / law.fisher_information(&target).unwrap() - 1.0).abs() < 1e-9);
        assert!(account.energy_inequality.unwrap() > 0.0 && account.jko_residual.unwrap() < 1e-8, "{account:?}");
        assert!(next.free_energy <= next.free_energy_bound, "{next:?}");
        before = end.state;
    }
    // C3: particles with the moments of the target stay.
    let unit = Mixture::standard_normal(3).sample(300, 0, Stream::Source, 0);
    let map = moments(&unit).map_to(&target).unwrap();
    let settled = Cloud::new(unit.rows().flat_map(|x| map.apply(x).unwrap()).collect(), 3).unwrap();
    let mut scheme = Implicit::gaussian(settled.clone(), target.clone(), 5.0, 0, &cpu()).unwrap();
    let end = descend(&mut scheme, 1, Watch::default()).unwrap();
    settled.points().iter().zip(end.state.points()).for_each(|(x, y)| assert!((x - y).abs() < 1e-9));
}

/// C7: order one against the Fokker–Planck flow.
#[test]
fn the_implicit_scheme_converges_to_the_flow_with_order_one() {
    let (target, start) = (gaussian(1), Mixture::standard_normal(3).sample(100, 0, Stream::Source, 0));
    let truth = moments(&start).fokker_planck(&target, 1.0).unwrap();
    let error = |steps: usize| {
        let mut scheme = Implicit::gaussian(start.clone(), target.clone(), 1.0 / steps as f64, 0, &cpu()).unwrap();
        let end = descend(&mut scheme, steps, Watch::default()).unwrap();
        moments(&end.state).w2_squared(&truth).unwrap().sqrt()
    };
    let errors = [20, 40, 80].map(error);
    for pair in errors.windows(2) {
        assert!((1.85..2.15).contains(&(pair[0] / pair[1])), "{errors:?}");
    }
}

/// C8: the JKO step τ of ½W₂²(·, π) is the point τ/(1 + τ) of the geodesic, where the explicit step of that length of S_ε lands: between
/// quantiles of N(0, 1) and N(3, ¼), up to the bias of ε.
#[test]
fn a_step_of_half_the_squared_distance_lies_on_the_geodesic() {
    let quantile = |i: u32| {
        let u = (f64::from(i) + 0.5) / 200.0;
        0.6 * (u / (1.0 - u)).ln()
    };
    let x: Vec<f64> = (0..200).map(quantile).collect();
    let y: Vec<f64> = x.iter().map(|x| 3.0 + 0.5 * x).collect();
    let (tau, target) = (0.35, Cloud::new(y.clone(), 1).unwrap());
    let share = tau / (1.0 + tau);
    let mut flow = SinkhornFlow::new(Cloud::new(x.clone(), 1).unwrap(), &target, share, 1e-3, &cpu()).unwrap();
    let end = descend(&mut flow, 1, Watch::default()).unwrap();
    for ((x, y), found) in x.iter().zip(&y).zip(end.state.points()) {
        assert!((found - ((1.0 - share) * x + share * y)).abs() < 0.02, "{found}");
    }
    // What is left of the implicit step: (x′ − x)/τ + (x′ − y) = 0.
    let left = x.iter().zip(&y).zip(end.state.points()).map(|((x, y), z)| ((z - x) / tau + z - y).powi(2)).sum::<f64>() / 200.0;
    assert!(left.sqrt() < 0.05, "{left}");
}

/// Off Gaussians the step minimises F + E|x′ − x|²/2τ over particles: no residual but the solver's, and the energy inequality holds.
#[test]
fn the_implicit_scheme_on_a_mixture_pays_for_every_step() {
    let (data, n) = (mixture(), 256);
    let start = Mixture::standard_normal(2).sample(n, 0, Stream::Source, 0);
    let mut scheme =
        Implicit::new(start, data.clone(), (0.1 * data.least_variance(), 0.3 * data.least_variance()), 0, &cpu()).unwrap();
    let end = descend(&mut scheme, 8, Watch::default()).unwrap();
    for pair in end.accounts.windows(2) {
        let speed = pair[0].dissipation.unwrap().sqrt();
        assert!(pair[1].free_energy < pair[0].free_energy && pair[0].energy_inequality.unwrap() > 0.0, "{pair:?}");
        assert!(pair[0].jko_residual.unwrap() < 1e-6 * speed, "{pair:?}");
        assert!(pair[0].jko_residual_floor.unwrap() > 0.0 && pair[1].free_energy_bound.is_none());
    }
}

/// F(ρ_t) = KL(N(0, v_t)‖N(0, 1)) and I between the data and the noise, forward and back; F obeys F e^{−2t}; and the exchange of energy.
#[test]
fn the_chain_tells_the_free_energy_of_the_noised_law() {
    let (s2, tau, steps) = (0.25, 0.1, 10);
    let start = law(s2).sample(4000, 0, Stream::Source, 0);
    let mut forward = Chain::forward(start, law(s2).into(), (tau, steps), 0, &cpu()).unwrap();
    let end = descend(&mut forward, steps, Watch::default()).unwrap();
    for account in &end.accounts {
        let alpha2 = (-2.0 * tau * account.k as f64).exp();
        let v = alpha2 * s2 + 1.0 - alpha2;
        let (energy, rate) = (0.5 * (v - 1.0 - v.ln()), v * (1.0 - 1.0 / v).powi(2));
        assert!((account.free_energy.unwrap() - energy).abs() < 4.5 * account.standard_error.unwrap() + 1e-12, "{account:?}");
        assert!((account.dissipation.unwrap() - rate).abs() < 4.5 * account.dissipation_error.unwrap() + 1e-12, "{account:?}");
    }
    for pair in end.accounts.windows(2) {
        let slack = 4.0 * pair[0].standard_error.unwrap();
        assert!(pair[0].energy_inequality.unwrap() > -slack && pair[0].free_energy_rate.unwrap() > -slack / tau, "{pair:?}");
        assert!(pair[1].free_energy.unwrap() < pair[1].free_energy_bound.unwrap() + slack, "{pair:?}");
    }
    let grid = Grid::ornstein_uhlenbeck(1.0, steps).unwrap();
    let start = noised(&law(s2), grid.start(), 4000);
    let mut back = Chain::backward(start, law(s2).into(), (&Ddim { eta: 0.0 }, &grid), 0, &cpu()).unwrap();
    let end = descend(&mut back, steps, Watch::default()).unwrap();
    for pair in end.accounts.windows(2) {
        assert!(pair[1].free_energy > pair[0].free_energy && pair[0].energy_inequality.unwrap() > 0.0, "{pair:?}");
    }
}

/// On VE levels F = ∫ρ log ρ and τ = (σ² − σ′²)/2; where α = 0 τ is infinite; points have no score at σ = 0.
#[test]
fn what_is_infinite_is_none_with_a_reason() {
    let data = mixture();
    let level = |t: f64, alpha: f64, sigma: f64| Level { t, alpha, sigma, alpha_dot: 0.0, sigma_dot: 0.0 };
    let run = |field: Field, levels: Vec<Level>| {
        let grid = Grid::from_levels(levels).unwrap();
        let start = Mixture::standard_normal(2).sample(50, 0, Stream::Source, 0);
        let mut chain = Chain::backward(start, field, (&Ddim { eta: 0.0 }, &grid), 0, &cpu()).unwrap();
        descend(&mut chain, grid.steps().len(), Watch::default()).unwrap().accounts
    };
    let exploding = run(data.clone().into(), vec![level(0.0, 1.0, 2.0), level(0.5, 1.0, 1.0), level(1.0, 1.0, 0.0)]);
    assert!((exploding[0].tau.unwrap() - 1.5).abs() < 1e-15 && exploding[1].jko_residual.is_some());
    // DDIM: R = (1 − 2σ/(σ + σ′)) √I.
    let expected = (4.0 / 3.0 - 1.0) * exploding[0].dissipation.unwrap().sqrt();
    assert!((exploding[0].jko_residual.unwrap() / expected - 1.0).abs() < 1e-9);
    let pure = run(data.into(), vec![level(0.0, 0.0, 1.0), level(0.5, 0.6, 0.8), level(1.0, 1.0, 0.0)]);
    assert_eq!((pure[0].tau, pure[0].jko_residual), (None, None));
    assert!(pure[0].reason.as_deref().unwrap().contains("alpha = 0") && pure[1].jko_residual.is_some());
    let points = Field::DataSet(Cloud::new(vec![0.0, 1.0, 2.0, -1.0], 2).unwrap());
    let ends = run(points, vec![level(0.0, 0.6, 0.8), level(0.5, 0.8, 0.6), level(1.0, 1.0, 0.0)]);
    assert!(ends[1].jko_residual.is_some() && ends[1].energy_inequality.is_none() && ends[2].free_energy.is_none());
}

fn setting<'a>(ends: [&'a Measure; 2], train: &'a Cloud, options: &'a Options, device: &'a Device) -> Setting<'a> {
    Setting { source: ends[0], target: ends[1], train, options, steps: 3, seed: 0, device }
}

/// The table is what is run: every scheme makes steps between ends that it is for, and says why not between others.
#[test]
fn every_scheme_of_the_table_runs_between_its_ends_and_refuses_others() {
    let device = cpu();
    let (normal, gaussians) = (Measure::Law(Mixture::standard_normal(2)), Measure::Law(Mixture::eight_gaussians()));
    let draws = |measure: &Measure| measure.sample(60, 0, Stream::Source, 0);
    let moons = Measure::Finite(draws(&brenier::measure::named("moons", None).unwrap()));
    let usual = Options::default();
    for entry in SCHEMES {
        let ends = if entry.name == "forward" { [&gaussians, &normal] } else { [&normal, &gaussians] };
        let train = draws(ends[1]);
        let mut made = entry.make(&setting(ends, &train, &usual, &device), draws(ends[0])).unwrap();
        let end = descend(&mut *made.scheme, 3, Watch::default()).unwrap();
        assert!(end.halted.is_none() && end.accounts.len() == 4, "{}: {:?}", entry.name, end.halted);
        assert!(end.accounts[..3].iter().all(|a| a.jko_residual.is_some() || a.reason.is_some()), "{}", entry.name);
        for choice in Choice::ALL.into_iter().filter(|choice| !entry.options.contains(choice)) {
            let options = match choice {
                Choice::Tau => Options { tau: Some(0.1), ..Options::default() },
                Choice::Eps => Options { eps: Some(0.1), ..Options::default() },
                Choice::Anneal => Options { anneal: Some(1.0), ..Options::default() },
                Choice::Schedule => Options { schedule: Some(Schedule::Cosine), ..Options::default() },
            };
            let refused = entry.make(&setting(ends, &train, &options, &device), draws(ends[0])).err().unwrap();
            assert!(matches!(refused, FlowError::NotTaken { scheme, .. } if scheme == entry.name), "{refused}");
        }
        let zero = Options { tau: Some(0.0), ..Options::default() };
        if entry.options.contains(&Choice::Tau) {
            let refused = entry.make(&setting(ends, &train, &zero, &device), draws(ends[0])).err().unwrap();
            assert_eq!(refused, FlowError::Tau { tau: 0.0 });
        }
    }
    let refused = |name: &str, ends: [&Measure; 2], options: &Options| {
        named(name).unwrap().make(&setting(ends, &draws(&moons), options, &device), draws(ends[0])).err().unwrap()
    };
    assert_eq!(refused("implicit", [&normal, &moons], &usual), FlowError::NeedsLaw);
    assert_eq!(refused("forward", [&moons, &gaussians], &usual), FlowError::NeedsNormalTarget);
    assert_eq!(refused("ddim", [&moons, &gaussians], &usual), FlowError::NeedsNormalSource { scheme: "ddim" });
    let both = Options { tau: Some(0.1), schedule: Some(Schedule::Cosine), ..Options::default() };
    assert_eq!(refused("ddpm", [&normal, &moons], &both), FlowError::TauOfSchedule);
    let straight = Options { schedule: Some(Schedule::CondOt), ..Options::default() };
    assert!(matches!(refused("ddim", [&normal, &moons], &straight), FlowError::NoFunctional { .. }));
    let six = Measure::Law(Mixture::standard_normal(6));
    let wide = Options { eps: Some(0.1), ..Options::default() };
    let refused_in_six = refused("implicit", [&six, &six], &wide);
    assert!(refused_in_six.to_string().starts_with("a kernel density needs neighbours"), "{refused_in_six}");
    let bad = refused("implicit", [&normal, &gaussians], &Options { eps: Some(-1.0), ..Options::default() });
    assert!(bad.to_string().starts_with("eps = -1; the width of a kernel density"), "{bad}");
    let many = Measure::Law(Mixture::standard_normal(60));
    assert_eq!(refused("implicit", [&many, &many], &usual), FlowError::TooFewParticles { particles: 60, dim: 60 });
    // Between Gaussians a width that is given is that of the kernel.
    let made = named("implicit").unwrap().make(&setting([&normal, &normal], &draws(&normal), &wide, &device), draws(&normal));
    assert_eq!(made.unwrap().eps, Some(0.1));
    let unknown = named("ddmi").unwrap_err().to_string();
    assert!(unknown.starts_with("there is no scheme \"ddmi\"; did you mean \"ddim\"? known: sinkhorn-flow, "), "{unknown}");
}

/// Stopped after any step and resumed from what was kept, every scheme ends as if there had been no stop, to the bit.
#[test]
fn every_scheme_is_resumed_to_the_bit() {
    let device = cpu();
    let (normal, gaussians) = (Measure::Law(Mixture::standard_normal(2)), Measure::Law(Mixture::eight_gaussians()));
    let draws = |measure: &Measure| measure.sample(60, 0, Stream::Source, 0);
    let options = Options::default();
    for entry in SCHEMES {
        let ends = if entry.name == "forward" { [&gaussians, &normal] } else { [&normal, &gaussians] };
        let train = draws(ends[1]);
        let make = || entry.make(&setting(ends, &train, &options, &device), draws(ends[0])).unwrap().scheme;
        let whole = descend(&mut *make(), 3, Watch::default()).unwrap();
        let mut checkpoint = Checkpoint::none();
        let furthest = AtomicUsize::new(0);
        let tell = |now: Progress<'_>| {
            furthest.fetch_max(now.done, Ordering::Relaxed);
            furthest.load(Ordering::Relaxed) < 2
        };
        let stopped = descend(&mut *make(), 3, Watch::telling(&tell).keeping(checkpoint.whole()));
        assert!(stopped.unwrap_err().is_stop(), "{}", entry.name);
        let resumed = descend(&mut *make(), 3, Watch::default().keeping(checkpoint.whole())).unwrap();
        assert_eq!(resumed.state, whole.state, "{}", entry.name);
        assert_eq!(resumed.accounts, whole.accounts, "{}", entry.name);
    }
}
