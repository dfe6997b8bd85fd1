//! Densities of samples: of the steps of a program by their Jacobian, and of adaptive methods along the way.

use brenier::backend::{Device, Noise, Precision};
use brenier::checkpoint::Checkpoint;
use brenier::field::network::{Layer, Output};
use brenier::field::{Field, Network};
use brenier::measure::{Cloud, Covariance, Mixture, named};
use brenier::path::{Level, Prediction, Schedule};
use brenier::program::Activation;
use brenier::random::{Philox, Stream};
use brenier::sampler::{self, Ensemble, Moves, Options, Pushforward, RunError};
use brenier::watch::Watch;

fn cpu() -> Device {
    Device::cpu(Precision::F64)
}

fn eight() -> Mixture {
    let brenier::measure::Measure::Law(law) = named("8gaussians", None).unwrap() else { panic!("a law") };
    law
}

/// The end points of a method in `steps` from `start`, and their log densities.
fn pushed(method: &str, steps: usize, field: &Field, start: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let options = Options { steps: Some(steps), ..Options::default() };
    let course = sampler::named(method).unwrap().course(field, &options, &cpu()).unwrap();
    let Moves::Program(program) = &course.moves else { panic!("{method} is a loop") };
    let ends = program.run(field, start, Noise::NONE, &cpu()).unwrap();
    let law = Pushforward { program, first: course.first, field };
    (ends, law.log_p(start, Watch::default()).unwrap())
}

/// The field of a Gaussian is affine, and so is every deterministic method on it: its samples are Gaussian, with the moments that two
/// particles tell.
#[test]
fn on_a_gaussian_every_method_gives_the_density_of_its_own_affine_map() {
    let field = Field::from(Mixture::new(vec![1.0], vec![vec![1.5]], vec![Covariance::Isotropic(0.3)]).unwrap());
    for method in ["ddim", "pf-euler", "pf-heun", "fm-heun", "dpmpp-2m", "dpmpp-3m", "lms", "dpm-2", "edm-heun", "fm-rk4"] {
        let course = sampler::named(method).unwrap().course(&field, &Options::default(), &cpu()).unwrap();
        let sigma = course.first.sigma;
        let start = [0.0, sigma, -0.7 * sigma];
        let (ends, log_p) = pushed(method, 7, &field, &start);
        let (mean, sd) = (ends[0], (ends[1] - ends[0]).abs());
        let normal = |x: f64| -0.5 * ((x - mean) / sd).powi(2) - (sd * std::f64::consts::TAU.sqrt()).ln();
        for (x, found) in ends.iter().zip(&log_p) {
            assert!((found - normal(*x)).abs() < 1e-10, "{method}: {found} for {}", normal(*x));
        }
    }
}

/// Few steps of DDIM on two modes: far from the law, and still a density. The map of a line is monotone, so its integral is a sum
/// over the images of a fine grid.
#[test]
fn in_few_steps_it_is_the_density_of_what_the_steps_make() {
    let law = Mixture::new(vec![0.3, 0.7], vec![vec![-1.0], vec![1.5]], vec![Covariance::Isotropic(0.1); 2]).unwrap();
    let start: Vec<f64> = (-4000..=4000).map(|i| f64::from(i) * 2e-3).collect();
    let (ends, log_p) = pushed("ddim", 5, &Field::from(law.clone()), &start);
    assert!(ends.windows(2).all(|pair| pair[0] < pair[1]));
    let trapezoid = |(x, l): (&[f64], &[f64])| 0.5 * (x[1] - x[0]) * (l[0].exp() + l[1].exp());
    let integral: f64 = ends.windows(2).zip(log_p.windows(2)).map(trapezoid).sum();
    assert!((integral - 1.0).abs() < 1e-5, "{integral}");
    let data = Level { t: 1.0, alpha: 1.0, sigma: 0.0, alpha_dot: 0.0, sigma_dot: 0.0 };
    let off = ends.iter().zip(&log_p).map(|(x, l)| (l.exp() - law.log_density(data, &[*x]).exp()).abs()).fold(0.0, f64::max);
    assert!(off > 0.05, "5 steps are not the flow: {off}");
}

#[test]
fn it_tends_to_the_density_of_the_law_with_the_order_of_the_method() {
    let (law, field) = (eight(), Field::from(eight()));
    let data = Level { t: 1.0, alpha: 1.0, sigma: 0.0, alpha_dot: 0.0, sigma_dot: 0.0 };
    let start = Mixture::standard_normal(2).sample(64, 5, Stream::Source, 0);
    let error = |steps: usize| -> f64 {
        let (ends, log_p) = pushed("fm-heun", steps, &field, start.points());
        let off = ends.chunks_exact(2).zip(&log_p).map(|(x, l)| (l - law.log_density(data, x)).abs());
        off.sum::<f64>() / log_p.len() as f64
    };
    let [coarse, fine] = [200, 400].map(error);
    let order = (coarse / fine).log2();
    assert!(fine < 0.01 && (order - 2.0).abs() < 0.3, "{coarse}, {fine}: order {order}");
}

#[test]
fn adaptive_methods_tell_the_density_of_the_law_on_the_way() {
    let (law, field) = (eight(), Field::from(eight()));
    let data = Level { t: 1.0, alpha: 1.0, sigma: 0.0, alpha_dot: 0.0, sigma_dot: 0.0 };
    let options = Options { tolerance: Some(1e-8), log_p: true, ..Options::default() };
    let course = sampler::named("dopri5").unwrap().course(&field, &options, &cpu()).unwrap();
    let Moves::Loop(flow) = course.moves else { panic!("dopri5 is a loop") };
    let start = sampler::start(course.first, 2, 0..24, 3);
    let ensemble = Ensemble { field: &field, start: &start, noise: Noise::NONE, device: &cpu() };
    let found = flow.resume(ensemble, &mut Checkpoint::none(), &mut |_| true).unwrap();
    assert_eq!(found.log_p.len(), 24);
    for (x, [log_p, error]) in found.points.chunks_exact(2).zip(&found.log_p) {
        let exact = law.log_density(data, x);
        assert!((log_p - exact).abs() < 1e-6 && *error == 0.0, "{log_p} for {exact}");
    }
}

/// Beyond 64 dimensions the divergence is estimated: of dx/dt = Wx, whose volume grows by e^{tr W}.
#[test]
fn in_many_dimensions_adaptive_methods_give_an_estimate_and_its_error() {
    let d = 66;
    let entry = |i: usize| if i.is_multiple_of(d + 1) { 0.02 } else { 0.01 * f64::from(u8::from(i % (d + 1) == 1)) };
    let layer = Layer { name: "0".into(), weight: (0..d * d).map(entry).collect(), bias: vec![0.0; d] };
    let velocity = Output::Prediction(Prediction::Velocity);
    let field = Field::Network(Network::new(vec![layer], Activation::Silu, None, velocity, Schedule::CondOt).unwrap());
    let options = Options { log_p: true, ..Options::default() };
    let course = sampler::named("dopri5").unwrap().course(&field, &options, &cpu()).unwrap();
    let Moves::Loop(flow) = course.moves else { panic!("dopri5 is a loop") };
    let start = sampler::start(course.first, d, 0..40, 3);
    let part = |particles: std::ops::Range<u32>| {
        let (start, philox) = (&start[particles.start as usize * d..particles.end as usize * d], Philox::new(0, Stream::Noise));
        let noise = Noise::Counter { philox, first: particles.start };
        let ensemble = Ensemble { field: &field, start, noise, device: &cpu() };
        flow.resume(ensemble, &mut Checkpoint::none(), &mut |_| true).unwrap().log_p
    };
    let found = part(0..40);
    let covered = found.iter().zip(start.chunks_exact(d)).filter(|([log_p, error], x)| {
        let squares: f64 = x.iter().map(|x| x * x).sum();
        let exact = -0.5 * (squares + d as f64 * std::f64::consts::TAU.ln()) - 0.02 * d as f64;
        *error > 0.0 && (log_p - exact).abs() < 2.36 * error // Student's t, 7 degrees of freedom
    });
    let covered = covered.count();
    assert!(covered >= 33, "{covered} of 40"); // fewer with a chance of 1 in 1,000
    assert_eq!(part(10..13), found[10..13]);
}

#[test]
fn noise_points_and_many_dimensions_are_refused() {
    let refused = |method: &str, field: &Field| {
        let course = sampler::named(method).unwrap().course(field, &Options::default(), &cpu()).unwrap();
        let Moves::Program(program) = &course.moves else { panic!("{method} is a loop") };
        Pushforward { program, first: course.first, field }.check().unwrap_err()
    };
    assert_eq!(refused("ddpm", &Field::from(eight())), RunError::DrawsNoise);
    assert!(matches!(refused("ddim", &Field::DataSet(Cloud::new(vec![0.0, 1.0], 1).unwrap())), RunError::NeedsLaw { .. }));
    let wide = Field::from(Mixture::standard_normal(65));
    assert_eq!(refused("ddim", &wide), RunError::TooManyDerivatives { dim: 65, most: 64 });
}
