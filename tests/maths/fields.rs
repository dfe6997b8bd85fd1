//! Fields given as code, combinations of fields and fields prepared on a device, against closed forms and against each other.

use std::error::Error;

use brenier::backend::{Device, Noise, Precision};
use brenier::checkpoint::Checkpoint;
use brenier::field::{Batch, Field, FieldError, Guided, HostField};
use brenier::measure::{Cloud, Covariance, Mixture};
use brenier::path::{Level, Prediction, Schedule};
use brenier::random::{Philox, Stream};
use brenier::sampler::course::Moves;
use brenier::sampler::loops::Ensemble;
use brenier::sampler::{self, Options};

/// The mixture's own prediction, by way of a user's code.
struct Code(Mixture, Prediction);

impl HostField for Code {
    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn prediction(&self) -> Prediction {
        self.1
    }

    fn predict(&self, batch: Batch<'_>, out: &mut [f64]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (p, q) = self.1.coefficients(batch.level);
        for (x, out) in batch.points.chunks_exact(self.dim()).zip(out.chunks_exact_mut(self.dim())) {
            out.copy_from_slice(&self.0.evaluate(batch.level, p, q, x));
        }
        Ok(())
    }
}

fn normal(mean: [f64; 2], variance: f64) -> Mixture {
    Mixture::new(vec![1.0], vec![mean.to_vec()], vec![Covariance::Isotropic(variance)]).unwrap()
}

fn two_modes() -> Mixture {
    Mixture::new(vec![0.3, 0.7], vec![vec![-1.0, 0.5], vec![1.0, 0.0]], vec![Covariance::Isotropic(0.25); 2]).unwrap()
}

fn points() -> Cloud {
    Cloud::new(vec![-1.0, 0.5, 1.0, 0.0, 0.3, -0.7], 2).unwrap().with_weights(vec![0.2, 0.5, 0.3]).unwrap()
}

fn at(schedule: &str, t: f64) -> Level {
    Schedule::named(schedule).unwrap().level(t)
}

/// The end points of 40 particles moved by a method of the table.
fn moved(method: &str, field: &Field, precision: Precision) -> Result<Vec<f64>, brenier::Error> {
    let entry = sampler::named(method)?;
    let options = Options { steps: entry.takes(sampler::Choice::Steps).then_some(20), ..Options::default() };
    let device = Device::cpu(precision);
    let course = entry.course(field, &options, &device)?;
    let start = sampler::start(course.first, field.dim(), 0..40, 3);
    let noise = Noise::Counter { philox: Philox::new(3, Stream::Noise), first: 0 };
    match course.moves {
        Moves::Program(program) => Ok(program.run(field, &start, noise, &device)?),
        Moves::Loop(looped) => {
            let ensemble = Ensemble { field, start: &start, noise, device: &device };
            Ok(looped.resume(ensemble, &mut Checkpoint::none(), &mut |_| true)?.points)
        }
    }
}

fn assert_same(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= tolerance * (1.0 + expected.abs()), "{what}: {found} for {expected}");
    }
}

/// The same law by any prediction of it: f32 carries 40 steps of rounding at |x| of up to 150 on the ve schedules.
#[test]
fn a_field_given_as_code_moves_particles_as_the_law_that_it_predicts() {
    let law = Field::Mixture(two_modes());
    for (precision, tolerance) in [(Precision::F32, 2e-3), (Precision::F64, 1e-9)] {
        for method in ["ddim", "ddpm", "fm-heun", "dpmpp-2m", "edm-heun", "dopri5", "dpm-adaptive", "pc-ve", "pc-subvp"] {
            let expected = moved(method, &law, precision).unwrap();
            for prediction in [Prediction::V, Prediction::Velocity] {
                if prediction == Prediction::Velocity && !["fm-heun", "dopri5"].contains(&method) {
                    continue; // ve and pc levels have no clock
                }
                let code = moved(method, &Field::given(Code(two_modes(), prediction)), precision).unwrap();
                assert_same(&code, &expected, tolerance, &format!("{method} by {prediction:?} in {precision:?}"));
            }
        }
    }
}

/// Between N(m₀, v) and N(m₁, v) the score is linear in the mean: (1 + w) and −w give the field of N(m₀ + w (m₀ − m₁), v), for
/// every method.
#[test]
fn guidance_of_gaussians_of_one_variance_is_a_gaussian_further_along() {
    let guided = Field::guided(Field::Mixture(normal([1.0, 0.0], 0.5)), Field::Mixture(normal([0.0, 1.0], 0.5)), 1.5).unwrap();
    let further = Field::Mixture(normal([2.5, -1.5], 0.5));
    for (precision, tolerance) in [(Precision::F32, 2e-3), (Precision::F64, 1e-9)] {
        for method in ["ddim", "ddpm", "fm-heun", "dpmpp-2m", "dopri5", "dpm-adaptive", "pc-ve", "energy-matching"] {
            let (found, expected) = (moved(method, &guided, precision).unwrap(), moved(method, &further, precision).unwrap());
            assert_same(&found, &expected, tolerance, &format!("{method} in {precision:?}"));
        }
    }
}

/// Π N(α m_i, S_i)^{w_i} with S_i = α² v_i + σ² is N with precision P = Σ w_i/S_i and mean Σ w_i α m_i/(S_i P).
#[test]
fn guidance_of_gaussians_has_the_score_of_their_weighted_product() {
    let (parts, level) = ([(1.5, [1.0, 0.0], 0.5), (-0.5, [0.0, 1.0], 2.0)], at("linear-vp", 0.7));
    let fields = parts.iter().map(|&(w, mean, v)| (w, Field::Mixture(normal(mean, v)))).collect();
    let guided = Field::Guided(Guided::new(fields).unwrap());
    let spread = |v: f64| level.alpha.powi(2) * v + level.sigma.powi(2);
    let precision: f64 = parts.iter().map(|&(w, _, v)| w / spread(v)).sum();
    let x = [0.3, -0.8];
    let expected: Vec<f64> = (0..2)
        .map(|k| parts.iter().map(|&(w, mean, v)| w * level.alpha * mean[k] / spread(v)).sum::<f64>() - precision * x[k])
        .collect();
    let found = guided.score(level, &x, &Device::cpu(Precision::F64)).unwrap();
    assert_same(&found, &expected, 1e-12, "score");
    let host = guided.at(level, Prediction::Score.coefficients(level), 0, &x).unwrap();
    assert_same(&host, &expected, 1e-12, "score at one point");
}

/// Only with Σ w = 1 is x = α x̂₀ + σ ε̂.
#[test]
fn weights_that_do_not_sum_to_one_and_parts_of_two_dimensions_are_refused() {
    let part = |w| (w, Field::Mixture(normal([0.0; 2], 1.0)));
    let refused = Guided::new(vec![part(1.0), part(0.5)]).unwrap_err();
    assert_eq!(refused, FieldError::Weights { sum: 1.5 });
    assert!(refused.to_string().contains("sum to 1.5"));
    assert!(matches!(Guided::new(vec![]), Err(FieldError::Weights { .. })));
    assert!(matches!(Guided::new(vec![part(f64::NAN), part(1.0)]), Err(FieldError::Weights { .. })));
    let other = (0.5, Field::Mixture(Mixture::standard_normal(3)));
    assert_eq!(Guided::new(vec![part(0.5), other]).unwrap_err(), FieldError::Parts { dim: 2, found: 3 });
}

/// What is prepared once and asked often, at levels and sizes in any order, is what a fresh field answers, bit for bit; and in f64
/// what the field is at each point alone.
#[test]
fn a_prepared_field_answers_as_a_fresh_one_and_as_its_definition() {
    let transport = Field::Transport { target: points(), g: vec![0.1, -0.2, 0.05], eps: 0.3 };
    let code = Field::given(Code(two_modes(), Prediction::Denoised));
    let guided = Field::guided(Field::DataSet(points()), code.clone(), 0.5).unwrap();
    let device = Device::cpu(Precision::F64);
    for field in [Field::Mixture(two_modes()), Field::DataSet(points()), transport, code, guided] {
        let prepared = field.prepare(&device).unwrap();
        for (t, n) in [(0.3, 5), (0.9, 5), (0.3, 2), (0.3, 5)] {
            let (level, of) = (at("condot", t), (0.7, -1.3));
            let x: Vec<f64> = (0..2 * n).map(|i| (i as f64 * 0.7).sin()).collect();
            let asked = prepared.evaluate(level, of, &x).unwrap();
            assert_eq!(asked, field.prepare(&device).unwrap().evaluate(level, of, &x).unwrap(), "{field:?}");
            let alone = x.chunks_exact(2).enumerate().flat_map(|(i, x)| field.at(level, of, i, x).unwrap());
            assert_same(&asked, &alone.collect::<Vec<f64>>(), 1e-11, &format!("{field:?}"));
        }
        assert!(matches!(prepared.evaluate(at("condot", 0.5), (1.0, 0.0), &[0.0; 3]), Err(FieldError::Dimension { .. })));
    }
}

/// Adaptive steps along the singular flow of points end on the points, where many small steps of the program end.
#[test]
fn adaptive_methods_on_data_end_on_the_points_of_the_flow() {
    let field = Field::DataSet(points());
    let found = moved("dopri5", &field, Precision::F64).unwrap();
    for x in found.chunks_exact(2) {
        assert!(points().rows().any(|y| x == y), "{x:?} is not a point of the data");
    }
    let (options, device) = (Options { steps: Some(2000), ..Options::default() }, Device::cpu(Precision::F64));
    let course = sampler::named("fm-heun").unwrap().course(&field, &options, &device).unwrap();
    let Moves::Program(program) = course.moves else { panic!("fm-heun is a program") };
    let start = sampler::start(course.first, 2, 0..40, 3);
    let expected = program.run(&field, &start, Noise::NONE, &device).unwrap();
    assert_same(&found, &expected, 1e-12, "dopri5");
}

/// A condition for each particle: its own point, which it reaches, whether particles move together or one by one.
#[test]
fn a_condition_for_each_particle_reaches_the_field() {
    struct Own(Vec<f64>);
    impl HostField for Own {
        fn dim(&self) -> usize {
            2
        }
        fn predict(&self, batch: Batch<'_>, out: &mut [f64]) -> Result<(), Box<dyn Error + Send + Sync>> {
            let from = 2 * batch.first;
            out.copy_from_slice(self.0.get(from..from + out.len()).ok_or("there are conditions for 40 particles")?);
            Ok(())
        }
    }
    let conditions: Vec<f64> = (0..80).map(f64::from).collect();
    for method in ["ddim", "dopri5"] {
        assert_same(&moved(method, &Field::given(Own(conditions.clone())), Precision::F64).unwrap(), &conditions, 1e-6, method);
        let refused = moved(method, &Field::given(Own(vec![0.0; 4])), Precision::F64).unwrap_err();
        assert!(refused.to_string().contains("there are conditions for 40 particles"), "{refused}");
    }
}

/// A field that is nowhere a number.
struct Nowhere;

impl HostField for Nowhere {
    fn dim(&self) -> usize {
        2
    }

    fn predict(&self, _: Batch<'_>, out: &mut [f64]) -> Result<(), Box<dyn Error + Send + Sync>> {
        out.fill(f64::NAN);
        Ok(())
    }
}

#[test]
fn methods_that_choose_their_steps_end_in_a_sentence_where_the_field_is_not_a_number() {
    for method in ["dpm-adaptive", "dopri5"] {
        let refused = moved(method, &Field::given(Nowhere), Precision::F64).unwrap_err().to_string();
        assert!(refused.contains("not finite"), "{method}: {refused}");
    }
}

/// What a point that is not a number leaves behind does not enter the next sum.
#[test]
fn guidance_forgets_points_that_are_not_numbers() {
    let guided = Field::guided(normal([1.0, 0.0], 0.5).into(), normal([0.0, 0.0], 1.0).into(), 2.0).unwrap();
    let prepared = guided.prepare(&Device::cpu(Precision::F64)).unwrap();
    let level = at("condot", 0.5);
    let expected = prepared.score(level, &[0.3, -0.2]).unwrap();
    assert!(prepared.score(level, &[f64::NAN, f64::INFINITY]).unwrap().iter().all(|x| !x.is_finite()));
    assert_eq!(prepared.score(level, &[0.3, -0.2]).unwrap(), expected);
}

#[test]
fn langevin_asks_for_a_step_where_no_variance_is_known() {
    let field = Field::guided(normal([1.0, 0.0], 0.5).into(), normal([0.0, 0.0], 1.0).into(), 2.0).unwrap();
    assert!(moved("langevin", &field, Precision::F64).unwrap_err().to_string().contains("give --step"));
}
