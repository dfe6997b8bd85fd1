//! `Program::run`: fields of points, stage by stage over soft-means, against the definition of the field.

use brenier::backend::{Device, Noise, Precision};
use brenier::field::{Field, FieldError};
use brenier::measure::Cloud;
use brenier::path::Level;
use brenier::program::{Op, Program, STATE, Step};
use brenier::random::{Philox, Stream};
use brenier::sampler::{Observe, RunError};

use crate::interpret::{mixture, programs};
use crate::{assert_near, normals, reference, squared_distance};

fn level(alpha: f64, sigma: f64) -> Level {
    Level { t: alpha, alpha, sigma, alpha_dot: 1.0, sigma_dot: -1.0 }
}

fn noise() -> Noise<'static> {
    Noise::Counter { philox: Philox::new(3, Stream::Noise), first: 10 }
}

fn run(program: &Program, field: &Field, start: &[f64], noise: Noise<'_>, precision: Precision) -> Result<Vec<f64>, RunError> {
    program.run(field, start, noise, &Device::cpu(precision))
}

/// p x̂₀ + q ε̂ of a field of points, by its definition in f64.
fn evaluate(field: &Field, level: Level, p: f64, q: f64, x: &[f64]) -> Vec<f64> {
    let Level { alpha, sigma, .. } = level;
    let (cloud, exponents): (_, Vec<f64>) = match field {
        Field::DataSet(cloud) => {
            let scaled = |y: &[f64]| y.iter().map(|y| alpha * y).collect::<Vec<_>>();
            (cloud, cloud.rows().map(|y| -squared_distance(x, &scaled(y)) / (2.0 * sigma * sigma)).collect())
        }
        Field::Transport { target, g, eps } => {
            let exponent = |(y, g): (&[f64], &f64)| g / eps - squared_distance(x, y) / (2.0 * eps * sigma);
            (target, target.rows().zip(g).map(exponent).collect())
        }
        _ => panic!("not a field of points"),
    };
    let logits: Vec<f64> = exponents.iter().enumerate().map(|(j, e)| cloud.weight(j).ln() + e).collect();
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = logits.iter().map(|l| (l - top).exp()).sum();
    let mean = |k: usize| cloud.rows().zip(&logits).map(|(y, l)| (l - top).exp() / total * y[k]).sum::<f64>();
    (0..x.len()).map(|k| p * mean(k) + q * (x[k] - alpha * mean(k)) / sigma).collect()
}

/// A weighted data set and a transport field about `offset`; every fifth point has no weight.
fn fields(d: usize, offset: f64) -> [Field; 2] {
    let points = normals(53 * d, 1).iter().map(|z| offset + z).collect();
    let weights = (0..53).map(|j| if j % 5 == 0 { 0.0 } else { 1.0 + j as f64 }).collect();
    let cloud = Cloud::new(points, d).unwrap().with_weights(weights).unwrap();
    let g = normals(53, 2).iter().map(|z| 0.2 * z).collect();
    [Field::DataSet(cloud.clone()), Field::Transport { target: cloud, g, eps: 0.3 }]
}

#[test]
fn a_field_of_points_moves_particles_as_its_definition_says() {
    // Logits of up to 50 hold 50 roundings, which the softmax passes on to points of size 3; the next steps may triple them.
    for (precision, tolerance) in [(Precision::F32, 2e-4), (Precision::F64, 1e-12)] {
        for (d, n) in [(1, 1), (2, 67), (5, 20)] {
            let start = normals(n * d, 3).iter().map(|z| f64::from(*z as f32)).collect::<Vec<_>>();
            for field in fields(d, 0.0) {
                for (name, program) in programs().into_iter().filter(|(name, _)| *name != "the data") {
                    let found = run(&program, &field, &start, noise(), precision).unwrap();
                    for (i, x) in start.chunks(d).enumerate() {
                        let normals = |step: u32, draw: u32| {
                            let Noise::Counter { philox, first } = noise() else { panic!("counted") };
                            let mut z = vec![0.0f32; d];
                            philox.normals(first + i as u32, step, draw, &mut z);
                            z.into_iter().map(f64::from).collect()
                        };
                        let here = |level, p, q, x: &[f64]| evaluate(&field, level, p, q, x);
                        let expected = reference::interpret(&program, x, here, normals);
                        for k in 0..d {
                            assert_near(found[i * d + k], expected[k], tolerance, &|| format!("{name}, {n} × {d}, row {i}"));
                        }
                    }
                }
            }
        }
    }
}

/// Far from the origin the state itself has an error of 6e-8 · 1,000; the logits must not add the square of the offset.
#[test]
fn points_far_from_the_origin_attract_as_near_ones_do() {
    let (offset, middle) = (1000.0, level(0.5, 0.5));
    let program = Program::from_iter([Step::evaluate(middle, 1.0, 0.0)]);
    for field in fields(2, offset) {
        let centre = if matches!(field, Field::DataSet(_)) { middle.alpha * offset } else { offset };
        let start: Vec<f64> = normals(40, 3).iter().map(|z| f64::from((centre + z) as f32)).collect();
        let found = run(&program, &field, &start, noise(), Precision::F32).unwrap();
        for (x, found) in start.chunks(2).zip(found.chunks(2)) {
            let expected = evaluate(&field, middle, 1.0, 0.0, x);
            for k in 0..2 {
                // 1/εσ and α/σ² are below 7: a logit is off by 7 · 3 · 6e-5 ≈ 1e-3, the mean by three times that at most.
                assert_near(found[k], expected[k], 4e-3, &|| format!("from {x:?}"));
            }
        }
    }
}

/// A grid of spacing one seen through noise of 0.02: all points but the nearest weigh e^−500 or less, and such weights are zero.
#[test]
fn close_to_the_data_the_denoised_point_is_a_point_of_the_set_to_the_bit() {
    let grid: Vec<f64> = (0..16).flat_map(|j| [f64::from(j / 4) - 1.5, f64::from(j % 4) - 1.5]).collect();
    let field = Field::DataSet(Cloud::new(grid.clone(), 2).unwrap());
    let program = Program::from_iter([Step::evaluate(level(0.98, 0.02), 1.0, 0.0)]);
    let start: Vec<f64> = grid.iter().zip(normals(grid.len(), 3)).map(|(y, z)| 0.98 * y + 0.02 * z).collect();
    for precision in [Precision::F32, Precision::F64] {
        assert_eq!(run(&program, &field, &start, noise(), precision).unwrap(), grid, "{precision:?}");
    }
}

/// At σ = 0 the denoised point is the nearest of the points that have weight.
#[test]
fn at_the_data_a_field_of_points_knows_the_nearest_point_that_has_weight() {
    let program = Program::from_iter([Step::evaluate(level(1.0, 0.0), 1.0, 0.0)]);
    for field in fields(2, 0.0) {
        let (Field::DataSet(cloud) | Field::Transport { target: cloud, .. }) = &field else { panic!("a field of points") };
        let start = cloud.points();
        let found = run(&program, &field, start, noise(), Precision::F64).unwrap();
        for (x, found) in start.chunks(2).zip(found.chunks(2)) {
            let with_mass = (0..cloud.len()).filter(|&j| cloud.weight(j) > 0.0).map(|j| cloud.row(j));
            let nearest = with_mass.min_by(|a, b| squared_distance(x, a).total_cmp(&squared_distance(x, b))).unwrap();
            assert_eq!(found, nearest);
        }
        let noise_too = Program::from_iter([Step::evaluate(level(1.0, 0.0), 1.0, 0.5)]);
        assert_eq!(run(&noise_too, &field, start, noise(), Precision::F64), Err(FieldError::NoiseAtData.into()));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let field = Field::Mixture(mixture(2, 3, true));
    let (_, noisy) = programs().swap_remove(4);
    let refused = |start: &[f64], noise: Noise<'_>| run(&noisy, &field, start, noise, Precision::F32).unwrap_err();
    assert!(matches!(refused(&[0.0; 7], noise()), RunError::Dimension { .. }));
    assert!(matches!(refused(&[0.0; 6], Noise::Given(&[0.0; 17])), RunError::Noise { needed: 18, given: 17, draws: 3 }));
    let last = |first: u32| Noise::Counter { philox: Philox::new(3, Stream::Noise), first };
    assert!(matches!(refused(&[0.0; 6], last(u32::MAX)), RunError::Particles { .. }));
    assert!(run(&noisy, &field, &[0.0; 6], last(u32::MAX - 1), Precision::F32).is_ok());

    let cloud = Cloud::new(vec![0.0, 1.0, 2.0], 1).unwrap();
    let short = Field::Transport { target: cloud, g: vec![0.0; 2], eps: 0.1 };
    let program = Program::from_iter([Step::evaluate(level(0.5, 0.5), 1.0, 0.0)]);
    let error = run(&program, &short, &[0.0], noise(), Precision::F32);
    assert_eq!(error, Err(FieldError::Potential { found: 2, needed: 3 }.into()));
}

/// What the observer sees is what the run returns, and a `false` stops it.
#[test]
fn the_observer_sees_every_state_and_stops_the_run() {
    for field in [Field::Mixture(mixture(8, 2, true)), fields(2, 0.0)[0].clone()] {
        let (_, program) = programs().swap_remove(5);
        let start = normals(100, 1);
        let device = Device::cpu(Precision::F64);
        let mut states = Vec::new();
        let mut keep = |made: usize, state: &[f64]| {
            assert_eq!(made, states.len());
            states.push(state.to_vec());
            true
        };
        let end = program.observed(&field, &start, noise(), &device, Observe::States(&mut keep)).unwrap();
        assert_eq!((states.len(), &states[0], &states[3]), (4, &start, &end));
        assert_eq!(run(&program, &field, &start, noise(), Precision::F64).unwrap(), end);
        let stopped = program.observed(&field, &start, noise(), &device, Observe::States(&mut |made, _| made < 2));
        assert_eq!(stopped, Err(RunError::Stopped { steps: 2 }));
    }
}

/// `dst` may be the register that is read, in every operation.
#[test]
fn a_register_may_be_read_and_written_at_once() {
    let field = fields(2, 0.0)[0].clone();
    let here = level(0.6, 0.7);
    let twice = |dst: usize| {
        let evaluate = Op::Evaluate { level: here, src: STATE, p: 0.4, q: 0.6, dst };
        let copy = Op::Combine { dst: STATE, terms: vec![(dst, 1.0)] };
        Program::from_iter([Step::default().then(evaluate).then(copy)])
    };
    let start = normals(30, 1);
    let of = |dst: usize| run(&twice(dst), &field, &start, noise(), Precision::F64).unwrap();
    assert_eq!(of(STATE), of(3));
}
