//! Networks as fields: closed-form flows, PyTorch's numbers, and the same particle whatever the batch.

use std::path::Path;

use brenier::backend::cpu::{Cpu, Isa};
use brenier::backend::{Backend, BackendError, Dense, Device, Noise, Precision, Rows, Task};
use brenier::field::network::{Clock, Condition, Features, Layer, LevelError, Order, Output, Time};
use brenier::field::{Conditions, Field, FieldError, Network};
use brenier::io::{read_array, read_network};
use brenier::measure::Mixture;
use brenier::path::{Grid, Level, Prediction, Schedule};
use brenier::program::Activation;
use brenier::program::{Program, Step};
use brenier::random::{Philox, Stream};
use brenier::sampler::{Ddim, Euler, Heun, Method, RunError};

/// By `tests/data/networks/make.py`. Half precision keeps its rounded weights exactly, so f32 is right to 1e-5 for all.
const FIXTURES: [(&str, Prediction); 10] = [
    ("velocity", Prediction::Velocity),
    ("eps", Prediction::Noise),
    ("edm", Prediction::Denoised),
    ("v", Prediction::V),
    ("score", Prediction::Score),
    ("x0", Prediction::Denoised),
    ("fourier", Prediction::V),
    ("ddpm", Prediction::Noise),
    ("dit", Prediction::Velocity),
    ("transformer", Prediction::Denoised),
];

fn fixture(name: &str) -> Network {
    read_network(Path::new(&format!("tests/data/networks/{name}.safetensors"))).unwrap()
}

fn reference(name: &str) -> Vec<f64> {
    read_array(Path::new("tests/data/networks/reference.safetensors"), name).unwrap().values
}

fn run(program: &Program, field: &Field, start: &[f64], precision: Precision) -> Result<Vec<f64>, RunError> {
    program.run(field, start, Noise::NONE, &Device::cpu(precision))
}

fn evaluate(field: &Field, level: Level, (p, q): (f64, f64), x: &[f64], precision: Precision) -> Result<Vec<f64>, RunError> {
    run(&[Step::evaluate(level, p, q)].into_iter().collect(), field, x, precision)
}

fn layer(name: &str, weight: &[f64], bias: &[f64]) -> Layer {
    Layer { name: name.into(), weight: weight.to_vec(), bias: bias.to_vec() }
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |most, x| if x > most || x.is_nan() { x } else { most })
}

#[test]
fn predictions_denoised_points_and_noise_are_those_of_pytorch() {
    for (name, prediction) in FIXTURES {
        let network = fixture(name);
        let (d, schedule) = (network.dim(), network.schedule().clone());
        let [x, t, y, x0, eps] = ["x", "t", "y", "x0", "eps"].map(|part| reference(&format!("{name}.{part}")));
        let field = Field::Network(network.clone());
        for (i, &t) in t.iter().enumerate() {
            let (level, row) = (schedule.level(t), i * d..(i + 1) * d);
            let exact = network.predict(level, &x[row.clone()]).unwrap();
            assert!(largest_difference(&exact, &y[row.clone()]) < 1e-12 * size(&y), "{name} at t = {t}");
            for (precision, rounding) in [(Precision::F32, 1e-5), (Precision::F64, 1e-12)] {
                let found = evaluate(&field, level, prediction.coefficients(level), &x[row.clone()], precision).unwrap();
                let error = largest_difference(&found, &y[row.clone()]);
                assert!(error < rounding * size(&y).max(1.0), "{name} in {precision:?} at t = {t}: {error:.1e}");
                for ((p, q), expected) in [((1.0, 0.0), &x0), ((0.0, 1.0), &eps)] {
                    let found = evaluate(&field, level, (p, q), &x[row.clone()], precision).unwrap();
                    let error = largest_difference(&found, &expected[row.clone()]);
                    // Relative to the largest: x̂₀ = (x − σ ε̂)/α is as large as 1/α at the noisy end.
                    let tolerance = if precision == Precision::F32 { 1e-5 } else { 1e-9 };
                    assert!(
                        error < tolerance * size(&expected[row.clone()]).max(1.0),
                        "{name} at t = {t}, ({p}, {q}): {error:.1e}"
                    );
                }
            }
        }
    }
}

/// Whatever tells the time, its features are constant along directions of x. There are more directions than pass at once.
#[test]
fn derivatives_along_directions_are_central_differences() {
    for (name, _) in FIXTURES {
        let network = fixture(name);
        let (d, level) = (network.dim(), network.schedule().level(0.6));
        let (x, of) = (&reference(&format!("{name}.x"))[..d], (0.7, -1.3));
        let directions: Vec<f64> = (0..6 * d).map(|i| (1.7 * i as f64).sin()).collect();
        let field = Field::Network(network);
        let (value, products) = field.with_derivatives(level, of, 0, x, &directions).unwrap();
        assert_eq!(value, field.at(level, of, 0, x).unwrap(), "{name}");
        let h = 1e-5;
        for (v, product) in directions.chunks(d).zip(products.chunks(d)) {
            let at = |h: f64| {
                let moved: Vec<f64> = x.iter().zip(v).map(|(x, v)| x + h * v).collect();
                field.at(level, of, 0, &moved).unwrap()
            };
            let difference: Vec<f64> = at(h).iter().zip(at(-h)).map(|(ahead, behind)| (ahead - behind) / (2.0 * h)).collect();
            // h² of truncation, 1e-16/h of rounding, both of numbers up to 10.
            assert!(largest_difference(product, &difference) < 1e-7, "{name}: {product:?} {difference:?}");
        }
    }
}

fn size(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, x| x.abs().max(most))
}

/// Velocity W x + b t + c with W = −1, b = 1, c = 0: dx/dt = t − x, x(t) = t − 1 + (x(0) + 1) e^{−t}.
fn affine() -> Field {
    let time = Time { clock: Clock::Time, scale: 1.0, offset: 0.0, features: Features::Clock };
    let velocity = Output::Prediction(Prediction::Velocity);
    let layers = vec![layer("0", &[-1.0, 1.0], &[0.0])];
    Field::Network(Network::new(layers, Activation::Relu, Some(time), velocity, Schedule::CondOt).unwrap())
}

/// The velocity of the path from N(0, I) to N(m, I) on the quarter circle is α̇ m = ½π m cos(½πt).
fn moving(m: &[f64]) -> Field {
    let d = m.len();
    let features = Features::fourier(&[0.25], Order::SinesFirst);
    let time = Time { clock: Clock::Remaining, scale: 1.0, offset: 0.0, features };
    // cos(½πt) = sin(½π(1 − t)), the first feature.
    let weight: Vec<f64> = m.iter().flat_map(|m| [vec![0.0; d], vec![std::f64::consts::FRAC_PI_2 * m, 0.0]].concat()).collect();
    let layers = vec![layer("only", &weight, &vec![0.0; d])];
    let velocity = Output::Prediction(Prediction::Velocity);
    Field::Network(Network::new(layers, Activation::Silu, Some(time), velocity, Schedule::Trigonometric).unwrap())
}

/// With F = 0 the preconditioned network is the denoiser of N(0, s_d² I), on every schedule.
fn gaussian(sigma_data: f64, schedule: Schedule) -> Field {
    let layers = vec![layer("a", &[0.5, -1.0, 2.0, 1.0, 0.0, 3.0], &[1.0, 0.0, -1.0]), layer("b", &[0.0; 6], &[0.0; 2])];
    let output = Output::Preconditioned { sigma_data };
    Field::Network(Network::new(layers, Activation::Gelu, None, output, schedule).unwrap())
}

/// Karras et al. 2022, eq. 8: what the inner network is regressed on gives the data back, c_skip x + c_out F = x₁, and has mean square
/// 1 for data of variance s_d², so that its loss weighs all levels alike.
#[test]
fn the_target_of_a_preconditioned_network_gives_the_data_back_and_has_size_one() {
    let (sigma_data, data, noise) = (0.7, [1.3, -0.4], [0.2, -1.9]);
    let output = Output::Preconditioned { sigma_data };
    for schedule in [Schedule::ve(0.002, 80.0).unwrap(), Schedule::Cosine, Schedule::CondOt] {
        let layers = vec![layer("a", &[0.0; 4], &[0.0; 2])];
        let network = Network::new(layers, Activation::Silu, None, output, schedule.clone()).unwrap();
        for t in [0.0, 0.1, 0.5, 0.9, 0.999] {
            let level = schedule.level(t);
            let (scale, (p, q)) = output.regression(level);
            let reading = network.read(level, 1.0, 0.0).unwrap();
            assert_eq!(scale, reading.scale);
            assert!(((p * sigma_data).powi(2) + q * q - 1.0).abs() < 1e-13);
            for (data, noise) in data.iter().zip(noise) {
                let x = level.alpha * data + level.sigma * noise;
                let back = reading.of_x * x + reading.of_output * (p * data + q * noise);
                assert!((back - data).abs() < 1e-12, "{schedule:?} at {t}: {back}");
            }
        }
    }
}

/// V of a network and its slope: the score of the field is −∇V, that of central differences of log p = −V.
#[test]
fn a_network_of_an_energy_is_a_potential() {
    let layers = || vec![layer("0", &[0.5, -1.0, 2.0, 0.3, 0.1, 0.7], &[0.1, 0.0, -0.3]), layer("2", &[1.0, -0.5, 0.8], &[0.2])];
    let network = |time| Network::new(layers(), Activation::Silu, time, Output::Energy, Schedule::CondOt);
    let energy = network(None).unwrap();
    assert_eq!(energy.dim(), 2);
    let (at_data, field) = (Schedule::CondOt.level(1.0), Field::from(energy.clone()));
    assert!(field.has_score_of_data());
    let points: Vec<f64> = (0..2600).map(|k| (f64::from(k) * 0.7).sin() * 2.0).collect();
    let score = field.prepare(&Device::cpu(Precision::F64)).unwrap().score(at_data, &points).unwrap();
    let h = 1e-5;
    for (x, score) in points.chunks_exact(2).zip(score.chunks_exact(2)) {
        for k in 0..2 {
            let value = |moved: f64| {
                let mut x = x.to_vec();
                x[k] += moved;
                let cloud = brenier::measure::Cloud::new(x, 2).unwrap();
                field.log_density(at_data, &cloud, &Device::cpu(Precision::F64)).unwrap().unwrap()[0]
            };
            let difference = (value(h) - value(-h)) / (2.0 * h);
            assert!((score[k] - difference).abs() < 1e-9, "{} {difference}", score[k]);
        }
        assert_eq!(energy.predict(at_data, x).unwrap(), score.iter().map(|s| -s).collect::<Vec<f64>>());
    }
    // Nothing is known of it at levels with noise, nor as a prediction.
    let said = Field::Network(energy).at(Schedule::CondOt.level(0.5), (1.0, 0.0), 0, &[0.0, 0.0]).unwrap_err().to_string();
    assert!(said.contains("energy") && said.contains("energy-matching"), "{said}");
    let time = Time { clock: Clock::Time, scale: 1.0, offset: 0.0, features: Features::Clock };
    assert!(network(Some(time)).unwrap_err().to_string().contains("[3, 2]"));
}

#[test]
fn heun_has_order_two_and_euler_one_on_an_affine_velocity() {
    let (field, start) = (affine(), [0.7, -2.0]);
    let exact = start.map(|x| (x + 1.0) * (-1.0f64).exp());
    let error = |method: &dyn Method, steps| {
        let program = method.program(&Grid::uniform(&Schedule::CondOt, steps).unwrap());
        largest_difference(&run(&program, &field, &start, Precision::F64).unwrap(), &exact)
    };
    for (method, order) in [(&Euler as &dyn Method, 1.0), (&Heun { euler_last: false }, 2.0)] {
        let slope = (error(method, 100) / error(method, 200)).log2();
        assert!((slope - order).abs() < 0.02, "{slope}");
    }
}

#[test]
fn a_gaussian_moves_by_its_mean_along_the_quarter_circle() {
    let m = [3.0, -1.0, 0.5];
    let start = [0.1, 0.2, 0.3, -4.0, 5.0, 6.0];
    let field = moving(&m);
    let exact: Vec<f64> = start.iter().zip(m.iter().cycle()).map(|(x, m)| x + m).collect();
    let error = |steps| {
        let program = Heun { euler_last: false }.program(&Grid::uniform(&Schedule::Trigonometric, steps).unwrap());
        largest_difference(&run(&program, &field, &start, Precision::F64).unwrap(), &exact)
    };
    // The trapezoidal rule of ½π cos(½πt) is off by (½π)² h²/12, times the largest m.
    let predicted = 3.0 * std::f64::consts::FRAC_PI_2.powi(2) / 12.0 / 50f64.powi(2);
    assert!((error(50) / predicted - 1.0).abs() < 1e-3, "{} {predicted}", error(50));
}

#[test]
fn a_zero_network_with_preconditioning_is_the_exact_gaussian_on_every_schedule() {
    let s: f64 = 0.6;
    let mixture = Field::Mixture(
        Mixture::new(vec![1.0], vec![vec![0.0; 2]], vec![brenier::measure::Covariance::Isotropic(s * s)]).unwrap(),
    );
    for own in ["condot", "linear-vp", "ve", "trigonometric", "cosine"] {
        let field = gaussian(s, Schedule::named(own).unwrap());
        // Other schedules too: a level is found by its σ/α. A range that all of them have.
        for levels in ["condot", "cosine", "linear-vp"] {
            for t in [0.3, 0.6, 0.9] {
                let level = Schedule::named(levels).unwrap().level(t);
                let x = [0.3, -1.2];
                let [found, exact] =
                    [&field, &mixture].map(|field| evaluate(field, level, (0.7, -1.3), &x, Precision::F64).unwrap());
                assert!(largest_difference(&found, &exact) < 1e-12, "{own} at {levels}, {t}: {found:?} {exact:?}");
            }
        }
    }
    // Both ends are regular: x̂₀ = 0 and ε̂ = x at pure noise, x̂₀ = x and ε̂ = 0 at the data.
    let field = gaussian(s, Schedule::CondOt);
    for (t, (p, q), factor) in [(0.0, (1.0, 0.0), 0.0), (0.0, (0.0, 1.0), 1.0), (1.0, (1.0, 0.0), 1.0), (1.0, (0.0, 1.0), 0.0)] {
        let found = evaluate(&field, Schedule::CondOt.level(t), (p, q), &[2.0, -3.0], Precision::F64).unwrap();
        assert!(largest_difference(&found, &[2.0 * factor, -3.0 * factor]) < 1e-15);
    }
    assert!(field.is_regular_at_data());
}

#[test]
fn what_a_prediction_does_not_determine_at_an_end_is_refused() {
    let linear = |prediction, schedule| {
        let output = Output::Prediction(prediction);
        let layers = vec![layer("0", &[0.5], &[0.25])];
        Field::Network(Network::new(layers, Activation::Tanh, None, output, schedule).unwrap())
    };
    let (noise, data) = (Schedule::CondOt.level(0.0), Schedule::CondOt.level(1.0));
    let value = |prediction, level, of| evaluate(&linear(prediction, Schedule::CondOt), level, of, &[2.0], Precision::F64);
    for prediction in [Prediction::Velocity, Prediction::V] {
        for (level, of) in [(noise, (1.0, 0.0)), (data, (0.0, 1.0))] {
            assert!(value(prediction, level, of).is_ok(), "{prediction:?}");
        }
        assert!(linear(prediction, Schedule::CondOt).is_regular_at_data());
    }
    // F = 0.5·2 + 0.25 = 1.25 is ε̂ itself at α = 0, and x̂₀ itself at σ = 0.
    assert_eq!(value(Prediction::Noise, noise, (0.0, 1.0)).unwrap(), [1.25]);
    assert_eq!(value(Prediction::Denoised, data, (1.0, 0.0)).unwrap(), [1.25]);
    for (prediction, level, of) in
        [(Prediction::Noise, noise, (1.0, 0.0)), (Prediction::Score, noise, (1.0, 0.0)), (Prediction::Denoised, data, (0.0, 1.0))]
    {
        let refused = value(prediction, level, of);
        assert!(
            matches!(refused, Err(RunError::Field(FieldError::Level(LevelError::Undetermined { .. })))),
            "{prediction:?} {refused:?}"
        );
    }
    assert!(!linear(Prediction::Denoised, Schedule::CondOt).is_regular_at_data());
    assert!(!linear(Prediction::Velocity, Schedule::named("linear-vp").unwrap()).is_regular_at_data());
}

#[test]
fn a_noise_level_outside_of_the_training_is_refused() {
    let field = gaussian(1.0, Schedule::named("linear-vp").unwrap());
    let noisier = Schedule::CondOt.level(0.0);
    assert!(matches!(
        evaluate(&field, noisier, (1.0, 0.0), &[1.0, 1.0], Precision::F32),
        Err(RunError::Field(FieldError::Level(LevelError::Schedule(_))))
    ));
}

#[test]
fn a_particle_is_the_same_bit_for_bit_whatever_the_batch_and_the_threads() {
    // Wide enough that all rows of a task meet a panel of the processor's, and widths that fill no panel.
    for (d, width) in [(2, 364), (5, 37), (64, 16)] {
        let draw = |n: usize, seed| Mixture::standard_normal(1).sample(n, seed, Stream::Source, 0).points().to_vec();
        let scaled = |n: usize, seed| draw(n, seed).iter().map(|x| x / (width as f64).sqrt()).collect::<Vec<f64>>();
        let features = Features::Waves { omega: vec![1.0, 3.0], order: Order::SinesFirst };
        let time = Time { clock: Clock::Time, scale: 1.0, offset: 0.0, features };
        let layers = vec![
            layer("0", &scaled(width * (d + 4), 1), &scaled(width, 2)),
            layer("1", &scaled(width * width, 3), &scaled(width, 4)),
            layer("2", &scaled(d * width, 5), &scaled(d, 6)),
        ];
        for activation in [Activation::Silu, Activation::Gelu] {
            let velocity = Output::Prediction(Prediction::Velocity);
            let network = Network::new(layers.clone(), activation, Some(time.clone()), velocity, Schedule::CondOt).unwrap();
            let (field, program) =
                (Field::Network(network), Ddim { eta: 0.0 }.program(&Grid::uniform(&Schedule::CondOt, 3).unwrap()));
            let start = draw(600 * d, 7);
            for precision in [Precision::F32, Precision::F64] {
                let whole = run(&program, &field, &start, precision).unwrap();
                for n in [1, 2, 3, 7, 8, 15, 16, 17, 64, 255, 256, 257, 599] {
                    for first in [0, 600 - n] {
                        let rows = first * d..(first + n) * d;
                        let part = run(&program, &field, &start[rows.clone()], precision).unwrap();
                        assert_eq!(part, whole[rows], "d = {d}, {n} particles from {first}");
                    }
                }
                let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
                assert_eq!(one.install(|| run(&program, &field, &start, precision).unwrap()), whole);
            }
        }
    }
}

/// Applies the seam's operation to one layer of weight 1 and one of weight 1: out = a(x).
struct Activated<'a>(&'a [f64], Activation);

impl Task for Activated<'_> {
    type Output = Result<Vec<f64>, BackendError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let (x, one, zero) = (backend.upload_reals(self.0)?, backend.upload_reals([1.0])?, backend.upload_reals([0.0])?);
        let layers = [Dense { weight: &one, bias: &zero }, Dense { weight: &one, bias: &zero }];
        let mut out = backend.zeros(self.0.len())?;
        backend.perceptron(Rows { points: &x, n: self.0.len(), d: 1 }, 1.0, &layers, self.1, &mut out)?;
        backend.download_reals(&out)
    }
}

#[test]
fn activations_are_those_of_their_formulas_to_rounding_on_every_instruction_set() {
    let x: Vec<f64> = (-2000..=2000).map(|i| f64::from(i) / 64.0).chain([-1e4, -300.0, -90.0, 90.0, 300.0, 1e4]).collect();
    for activation in
        [Activation::Relu, Activation::Silu, Activation::Tanh, Activation::Gelu, Activation::GeluTanh, Activation::Softplus]
    {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let (single, double) = (Cpu::<f32>::with(isa), Cpu::<f64>::with(isa));
            for (found, rounding) in
                [(Activated(&x, activation).run(&single), 1e-6), (Activated(&x, activation).run(&double), 4e-15)]
            {
                for (x, y) in x.iter().zip(&found.unwrap()) {
                    let exact = activation.value(*x);
                    assert!(
                        (y - exact).abs() <= rounding * exact.abs().max(0.5),
                        "{isa:?} {activation:?}({x}) = {exact}, not {y}"
                    );
                }
            }
        }
    }
    assert!((Activation::Gelu.value(1.0) - 0.841_344_746_068_542_9).abs() < 1e-15); // Φ(1)
    assert!((Activation::GeluTanh.value(1.0) - 0.841_191_990_607_477_4).abs() < 1e-9); // PyTorch
}

/// Conditions of the particles, on the device and one by one: W₁ (x, φ, y) + b₁ with y the inputs of each, and zeros for none.
#[test]
fn a_network_under_conditions_is_that_of_each_particle() {
    let philox = Philox::new(8, Stream::Metric);
    let mut at = 0;
    let mut numbers = |count: usize| -> Vec<f64> {
        at += count as u32;
        (at - count as u32..at).map(|k| 2.0 * philox.uniform(k, 0, 0) - 1.0).collect()
    };
    let first = Layer { name: "0".into(), weight: numbers(5 * 6), bias: numbers(5) };
    let last = Layer { name: "2".into(), weight: numbers(2 * 5), bias: numbers(2) };
    let time = Time { clock: Clock::Time, scale: 1.0, offset: 0.0, features: Features::Clock };
    let network = |layers: Vec<Layer>, condition| {
        let (time, velocity) = (Some(time.clone()), Output::Prediction(Prediction::Velocity));
        Network::conditional(layers, Activation::Silu, time, velocity, Schedule::CondOt, condition).unwrap()
    };
    let conditional = network(vec![first.clone(), last.clone()], Some(Condition::Classes(vec![3, 1, 4])));
    let conditions = Conditions::new(vec![1.0, 4.0, 3.0, 1.0], 1).unwrap();
    let under = Field::Network(conditional.under(&conditions).unwrap());
    let points = numbers(2 * 4);
    let (level, of) = (Schedule::CondOt.level(0.4), (0.7, -0.3));
    // The last three columns, given a class, are a bias.
    let of_column = |column: Option<usize>| {
        let mut folded = first.clone();
        folded.weight = first.weight.chunks_exact(6).flat_map(|row| &row[..3]).copied().collect();
        let told = |row: &[f64]| column.map_or(0.0, |column| row[3 + column]);
        folded.bias.iter_mut().zip(first.weight.chunks_exact(6)).for_each(|(bias, row)| *bias += told(row));
        network(vec![folded, last.clone()], None)
    };
    let prepared = under.prepare(&Device::cpu(Precision::F64)).unwrap();
    let all = prepared.evaluate(level, of, &points).unwrap();
    for (particle, column) in [1, 2, 0, 1].into_iter().enumerate() {
        let x = &points[2 * particle..2 * particle + 2];
        let expected = of_column(Some(column)).evaluate(level, of, x).unwrap();
        let one = under.at(level, of, particle, x).unwrap();
        for (k, expected) in expected.iter().enumerate() {
            assert!((all[2 * particle + k] - expected).abs() < 1e-14 && (one[k] - expected).abs() < 1e-14);
        }
        let none = Field::Network(conditional.clone()).at(level, of, particle, x).unwrap();
        assert_eq!(none, of_column(None).evaluate(level, of, x).unwrap());
    }
    let said = conditional.under(&Conditions::new(vec![2.0], 1).unwrap()).unwrap_err().to_string();
    assert!(said.contains("the classes are 3, 1, 4"), "{said}");
    assert!(conditional.under(&Conditions::new(vec![1.0, 2.0], 2).unwrap()).is_err());
}
