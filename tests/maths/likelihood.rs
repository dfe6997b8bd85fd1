//! Log likelihoods along the probability flow against the densities of laws.

use std::error::Error;

use brenier::backend::{Device, Precision};
use brenier::field::network::{Layer, Output};
use brenier::field::{Batch, Classes, Conditions, Field, Guided, HostField, Network};
use brenier::io::read_measure;
use brenier::measure::{Cloud, Covariance, Measure, Mixture};
use brenier::path::{Level, Prediction, Schedule};
use brenier::program::Activation;
use brenier::random::Stream;
use brenier::sampler::tableau::Pair;
use brenier::sampler::{Adaptive, Likelihood, LogLikelihood, RunError};
use brenier::watch::Watch;

fn golden(name: &str) -> Mixture {
    match read_measure(&format!("tests/golden/{name}.json"), None, None).unwrap() {
        Measure::Law(law) => law,
        other => panic!("{other:?}"),
    }
}

/// log p of 40 draws by the density of the law.
fn draws(law: &Mixture) -> (Cloud, Vec<f64>) {
    let points = law.sample(40, 0, Stream::Source, 0);
    let data = Level { t: 1.0, alpha: 1.0, sigma: 0.0, alpha_dot: 0.0, sigma_dot: 0.0 };
    let exact = points.rows().map(|x| law.log_density(data, x)).collect();
    (points, exact)
}

fn likelihood(tolerance: f64, probes: usize) -> Likelihood {
    Likelihood { method: Adaptive::new(Pair::DOPRI_5, tolerance), schedule: Schedule::CondOt, probes, seed: 0 }
}

fn worst(found: &LogLikelihood, exact: &[f64]) -> f64 {
    found.values.iter().zip(exact).map(|(found, exact)| (found - exact).abs()).fold(0.0, f64::max)
}

#[test]
fn the_flow_of_a_law_gives_its_density() {
    for name in ["mixture_g2", "mixture_g8"] {
        let law = golden(name);
        let (points, exact) = draws(&law);
        let found = likelihood(1e-8, 0).of(&points, &law.into(), Watch::default()).unwrap();
        let off = worst(&found, &exact);
        assert!(off < 1e-6 && found.errors.is_empty(), "{name}: {off}");
    }
}

/// With k probes, an interval of 2.13 standard errors (Student's t, 15 degrees of freedom) covers in 95 of 100 cases.
#[test]
fn intervals_by_probes_cover_the_density() {
    let law = golden("mixture_g8");
    let (points, exact) = draws(&law);
    let found = likelihood(1e-6, 16).of(&points, &law.into(), Watch::default()).unwrap();
    let covered = (0..points.len()).filter(|&i| (found.values[i] - exact[i]).abs() < 2.13 * found.errors[i]).count();
    // Of 40 fewer than 33 with a chance of 1 in 1,000.
    assert!(covered >= 33, "{covered} of {}", points.len());
    let mean_error = found.errors.iter().sum::<f64>() / 40.0;
    assert!(mean_error > 1e-3 && mean_error < 1.0, "{mean_error}");
}

/// The velocity of a law as Rust code, which has no divergence of its own.
struct Code(Mixture);

impl HostField for Code {
    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn prediction(&self) -> Prediction {
        Prediction::Velocity
    }

    fn schedule(&self) -> Option<&Schedule> {
        Some(&Schedule::CondOt)
    }

    fn predict(&self, batch: Batch<'_>, out: &mut [f64]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let field = Field::from(self.0.clone()).prepare(&Device::cpu(Precision::F64))?;
        out.copy_from_slice(&field.predict(Prediction::Velocity, batch.level, batch.points)?);
        Ok(())
    }
}

#[test]
fn a_field_without_a_divergence_of_its_own_gives_the_same() {
    let law = golden("mixture_g2");
    let (points, exact) = draws(&law);
    let points = Cloud::new(points.points()[..16].to_vec(), 2).unwrap();
    let found = likelihood(1e-6, 0).of(&points, &Field::given(Code(law)), Watch::default()).unwrap();
    let off = worst(&found, &exact);
    assert!(off < 1e-5, "{off}");
}

#[test]
fn the_divergence_of_a_network_is_that_of_its_central_differences() {
    let weight = |n: usize, seed: f64| (0..n).map(|i| ((i as f64 + seed) * 1.7).sin()).collect::<Vec<f64>>();
    let layer = |name: &str, outputs: usize, inputs: usize| Layer {
        name: name.into(),
        weight: weight(outputs * inputs, inputs as f64),
        bias: weight(outputs, 0.5),
    };
    let x = [0.3, -0.8, 1.1];
    for activation in [Activation::Silu, Activation::Gelu, Activation::Tanh, Activation::Softplus] {
        let layers = vec![layer("a", 5, 3), layer("b", 4, 5), layer("c", 3, 4)];
        let network = Network::new(layers, activation, None, Output::Prediction(Prediction::Noise), Schedule::Cosine).unwrap();
        let field = Field::Network(network);
        let level = Schedule::CondOt.level(0.4);
        let (h, of) = (1e-5, (0.7, -1.3));
        let slope = |axis: usize| {
            let at = |h: f64| {
                let mut moved = x;
                moved[axis] += h;
                field.at(level, of, 0, &moved).unwrap()[axis]
            };
            (at(h) - at(-h)) / (2.0 * h)
        };
        let trace: f64 = (0..3).map(slope).sum();
        let (value, found) = field.with_divergence(level, of, 0, &x).unwrap();
        assert_eq!(value, field.at(level, of, 0, &x).unwrap());
        // h² of truncation, 1e-16/h of rounding.
        assert!((found - trace).abs() < 1e-8, "{activation:?}: {found} for {trace}");
    }
}

/// The law of a point of class k is the k-th component; guided between Gaussians of one variance it is the Gaussian further along.
#[test]
fn under_conditions_and_guidance_it_is_the_density_of_the_closed_form() {
    let variance = 0.3;
    let gaussian = |m: f64| Mixture::new(vec![1.0], vec![vec![m, -m]], vec![Covariance::Isotropic(variance)]).unwrap();
    let normal = |x: &[f64], m: f64| {
        let squares = (x[0] - m).powi(2) + (x[1] + m).powi(2);
        -0.5 * squares / variance - (std::f64::consts::TAU * variance).ln()
    };
    let law =
        Mixture::new(vec![0.2, 0.8], vec![vec![1.0, -1.0], vec![-2.0, 2.0]], vec![Covariance::Isotropic(variance); 2]).unwrap();
    let points = law.sample(12, 0, Stream::Source, 0);
    let classes: Vec<f64> = (0..12).map(|i| f64::from(i % 2)).collect();
    let of_classes = Field::Classes(Classes::of_mixture(&law, &Conditions::new(classes.clone(), 1).unwrap()).unwrap());
    let exact: Vec<f64> =
        points.rows().zip(&classes).map(|(x, class)| normal(x, if *class == 0.0 { 1.0 } else { -2.0 })).collect();
    let off = worst(&likelihood(1e-8, 0).of(&points, &of_classes, Watch::default()).unwrap(), &exact);
    assert!(off < 1e-6, "{off}");

    let w = 1.5;
    let guided = Guided::new(vec![(w, gaussian(1.0).into()), (1.0 - w, gaussian(-2.0).into())]).unwrap();
    let exact: Vec<f64> = points.rows().map(|x| normal(x, w - 2.0 * (1.0 - w))).collect();
    let off = worst(&likelihood(1e-8, 0).of(&points, &Field::Guided(guided), Watch::default()).unwrap(), &exact);
    assert!(off < 1e-6, "{off}");
}

#[test]
fn points_have_no_density() {
    let points = Cloud::new(vec![0.0, 1.0], 1).unwrap();
    let refused = likelihood(1e-6, 0).of(&points, &Field::DataSet(points.clone()), Watch::default());
    let error = refused.expect_err("points have no density");
    assert!(matches!(error, RunError::NeedsLaw { .. }) && error.to_string().contains("needs the density of a law"), "{error}");
}
