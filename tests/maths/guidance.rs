//! Conditions and classifier-free guidance, on laws of two classes N(±m, v I) with weights w and 1 − w.

use brenier::backend::{Device, Noise, Precision};
use brenier::checkpoint::Checkpoint;
use brenier::field::{Classes, ConditionError, Conditions, Field, FieldError, Guided};
use brenier::measure::{Cloud, Covariance, Mixture};
use brenier::path::{Level, Prediction, Schedule};
use brenier::random::{Philox, Stream};
use brenier::sampler::{self, Choice, Course, Ensemble, Entry, METHODS, Moves, Options};

const VARIANCE: f64 = 0.3;
/// The means of the two classes, and that of what stands for no class where that is a Gaussian too.
const MEANS: [[f64; 2]; 3] = [[0.5, -0.25], [-0.5, 0.25], [0.4, 0.8]];
/// The weight of class 0.
const WEIGHT: f64 = 0.2;

fn law(means: &[[f64; 2]], weights: &[f64]) -> Mixture {
    let covariances = vec![Covariance::Isotropic(VARIANCE); means.len()];
    Mixture::new(weights.to_vec(), means.iter().map(|mean| mean.to_vec()).collect(), covariances).unwrap()
}

fn two_classes() -> Mixture {
    law(&MEANS[..2], &[WEIGHT, 1.0 - WEIGHT])
}

/// Classes 0 and 1 in turn.
fn in_turn() -> Conditions {
    Conditions::new(vec![0.0, 1.0], 1).unwrap()
}

fn of_classes(law: &Mixture) -> Field {
    Field::Classes(Classes::of_mixture(law, &in_turn()).unwrap())
}

/// W times the field of each particle's class and 1 − W times `unconditional`.
fn guided(w: f64, unconditional: Mixture) -> Guided {
    Guided::new(vec![(w, of_classes(&two_classes())), (1.0 - w, unconditional.into())]).unwrap()
}

/// How a method of the table is run on `field`.
fn course(entry: &'static Entry, field: &Field, steps: usize, device: &Device) -> Course {
    let options = Options {
        steps: entry.takes(Choice::Steps).then_some(steps),
        step: entry.takes(Choice::Step).then_some(0.02),
        tolerance: entry.takes(Choice::Tolerance).then_some(1e-8),
        ..Options::default()
    };
    entry.course(field, &options, device).unwrap()
}

/// Where 12 particles go, and the evaluations that it takes.
fn moved(course: &Course, field: &Field, device: &Device) -> (Vec<f64>, usize) {
    moved_from(&start(course, 12), course, field, device)
}

fn start(course: &Course, n: u32) -> Vec<f64> {
    sampler::start(course.first, 2, 0..n, 3)
}

fn moved_from(start: &[f64], course: &Course, field: &Field, device: &Device) -> (Vec<f64>, usize) {
    let noise = Noise::Counter { philox: Philox::new(3, Stream::Noise), first: 0 };
    match &course.moves {
        Moves::Program(program) => (program.run(field, start, noise, device).unwrap(), program.evaluations(field)),
        Moves::Loop(looped) => {
            let ensemble = Ensemble { field, start, noise, device };
            let looped = looped.resume(ensemble, &mut Checkpoint::none(), &mut |_| true).unwrap();
            (looped.points, looped.nfe)
        }
    }
}

fn assert_same(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= tolerance * (1.0 + expected.abs()), "{what}: {found} for {expected}");
    }
}

/// x̂₀ of N(m, v) is affine in m, so W x̂₀ of N(m_c, v) and 1 − W of N(m_u, v) is that of N(W m_c + (1 − W) m_u, v) at every level:
/// guided particles are that law's own, whatever the method does, and take two evaluations where that takes one.
#[test]
fn every_method_guides_to_the_gaussian_further_along() {
    let w = 2.5;
    let along = |class: usize| [0, 1].map(|k| w * MEANS[class][k] + (1.0 - w) * MEANS[2][k]);
    let further = of_classes(&law(&[along(0), along(1)], &[0.5, 0.5]));
    let guided = Field::Guided(guided(w, law(&MEANS[2..], &[1.0])));
    let device = Device::cpu(Precision::F64);
    for entry in METHODS {
        let course = course(entry, &guided, 20, &device);
        let ((found, twice), (expected, once)) = (moved(&course, &guided, &device), moved(&course, &further, &device));
        // Roundings may turn a step of an adaptive method, which then still ends within its tolerance.
        let tolerance = if entry.takes(Choice::Tolerance) { 1e-6 } else { 1e-9 };
        assert_same(&found, &expected, tolerance, entry.name);
        if !entry.takes(Choice::Tolerance) {
            assert_eq!(twice, 2 * once, "{}", entry.name);
        }
    }
}

/// The flow of N(m, v) from one level to another: x′ = α′m + (x − αm) √((α′²v + σ′²)/(α²v + σ²)).
fn carried(mean: [f64; 2], from: Level, to: Level, x: &[f64]) -> Vec<f64> {
    let spread = |level: Level| (level.alpha.powi(2) * VARIANCE + level.sigma.powi(2)).sqrt();
    let factor = spread(to) / spread(from);
    x.iter().zip(mean).map(|(x, m)| to.alpha * m + factor * (x - from.alpha * m)).collect()
}

/// Within an interval of times the law further along, outside of it that of the class: three affine flows after each other.
#[test]
fn guidance_in_an_interval_is_the_flow_of_one_law_after_the_other() {
    let (w, low, high) = (3.0, 0.3, 0.6);
    let field = Field::Guided(guided(w, law(&MEANS[2..], &[1.0])).between(low, high).unwrap());
    let device = Device::cpu(Precision::F64);
    for (method, schedule) in [("dopri5", "condot"), ("bosh3", "condot"), ("dopri8", "condot"), ("dpm-adaptive", "ve")] {
        let entry = sampler::named(method).unwrap();
        let course = course(entry, &field, 20, &device);
        let (found, _) = moved(&course, &field, &device);
        let schedule = Schedule::named(schedule).unwrap();
        let expected: Vec<f64> = (start(&course, 12).chunks_exact(2).enumerate())
            .flat_map(|(i, x)| {
                let mean = MEANS[i % 2];
                let along = [0, 1].map(|k| w * mean[k] + (1.0 - w) * MEANS[2][k]);
                let legs = [(mean, 0.0, low), (along, low, high), (mean, high, 1.0)];
                legs.iter().fold(x.to_vec(), |x, &(mean, from, to)| carried(mean, schedule.level(from), schedule.level(to), &x))
            })
            .collect();
        // The stages of dpm-adaptive lie in the first two thirds of a step of log(σ/α), some hundredths long: a jump behind them goes
        // unseen, and acts up to a third of a step late.
        let tolerance = if method == "dpm-adaptive" { 1e-2 } else { 1e-6 };
        assert_same(&found, &expected, tolerance, method);
    }
}

#[test]
fn evaluations_are_counted_where_guidance_acts() {
    let device = Device::cpu(Precision::F64);
    let within = |low, high| Field::Guided(guided(3.0, two_classes()).between(low, high).unwrap());
    let evaluations = |method: &str, field: &Field| {
        let entry = sampler::named(method).unwrap();
        moved(&course(entry, field, 20, &device), field, &device).1
    };
    // Twenty levels at t = 0, 0.05, …, of which those from 0.25 to 0.5 are six.
    assert_eq!(evaluations("ddim", &within(0.0, 1.0)), 40);
    assert_eq!(evaluations("ddim", &within(0.249, 0.501)), 26);
    assert_eq!(evaluations("ddim", &of_classes(&two_classes())), 20);
    // A predictor and a corrector step at each of 20 times from 0 to 1 − 10⁻³, of which those up to a half are ten.
    assert_eq!(evaluations("pc-vp", &within(0.0, 0.5)), 60);
    // Energy Matching asks at the data.
    assert_eq!(evaluations("energy-matching", &within(0.5, 1.0)), 2 * evaluations("energy-matching", &within(0.0, 0.5)));
    // A weight of zero asks nothing.
    assert_eq!(evaluations("ddim", &Field::Guided(guided(1.0, two_classes()))), 20);
}

/// With r_c the share of the class c at x, the score of all classes is Σ r_c s_c, so that of guidance is
/// s_c + (W − 1)(1 − r_c)(s_c − s_d), d the other class: it leads away from there as far as x may come from it.
fn closed_form(w: f64, class: usize, level: Level, x: &[f64]) -> Vec<f64> {
    let Level { alpha, sigma, .. } = level;
    let spread = alpha * alpha * VARIANCE + sigma * sigma;
    let score = |class: usize| [0, 1].map(|k| (alpha * MEANS[class][k] - x[k]) / spread);
    let density = |class: usize| {
        let weight = if class == 0 { WEIGHT } else { 1.0 - WEIGHT };
        weight * (-0.5 * spread * score(class).iter().map(|s| s * s).sum::<f64>()).exp()
    };
    let (own, other) = (score(class), score(1 - class));
    let rest = density(1 - class) / (density(class) + density(1 - class));
    (0..2).map(|k| own[k] + (w - 1.0) * rest * (own[k] - other[k])).collect()
}

#[test]
fn guidance_by_classes_has_the_score_of_the_closed_form() {
    let points: Vec<f64> = (0..24).map(|i| 1.5 * (1.7 * f64::from(i)).sin()).collect();
    for (precision, tolerance) in [(Precision::F64, 1e-12), (Precision::F32, 2e-5)] {
        let device = Device::cpu(precision);
        for w in [0.0, 1.0, 4.0, -1.0] {
            let field = Field::Guided(guided(w, two_classes()));
            for t in [0.2, 0.5, 0.95] {
                let level = Schedule::CondOt.level(t);
                let expected: Vec<f64> =
                    points.chunks_exact(2).enumerate().flat_map(|(i, x)| closed_form(w, i % 2, level, x)).collect();
                assert_same(&field.score(level, &points, &device).unwrap(), &expected, tolerance, &format!("W = {w}, t = {t}"));
                let of = Prediction::Score.coefficients(level);
                let alone = points.chunks_exact(2).enumerate().flat_map(|(i, x)| field.at(level, of, i, x).unwrap());
                assert_same(&alone.collect::<Vec<_>>(), &expected, 1e-12, "one by one");
            }
        }
    }
}

/// The flow of the closed form from one level to another, in the coordinates x/(α + σ), in which every schedule is the straight path.
fn flowed(w: f64, class: usize, [from, to]: [Level; 2], x: &[f64]) -> Vec<f64> {
    let time = |level: Level| level.alpha / (level.alpha + level.sigma);
    let (mut x, steps) = (x.iter().map(|x| x / (from.alpha + from.sigma)).collect::<Vec<_>>(), 4000);
    let (begin, h) = (time(from), (time(to) - time(from)) / f64::from(steps));
    // v = x̂₀ − ε̂ with ε̂ = −σ s and x̂₀ = (x + σ² s)/α: (x + σ s)/α, at the noise m_c + (W − 1)(1 − w_c)(m_c − m_d).
    let velocity = |t: f64, x: &[f64]| -> Vec<f64> {
        let level = Schedule::CondOt.level(t);
        if level.alpha < 1e-9 {
            let rest = if class == 0 { 1.0 - WEIGHT } else { WEIGHT };
            let mean = |k: usize| MEANS[class][k] + (w - 1.0) * rest * (MEANS[class][k] - MEANS[1 - class][k]);
            return (0..2).map(|k| mean(k) - x[k]).collect();
        }
        closed_form(w, class, level, x).iter().zip(x).map(|(s, x)| (x + level.sigma * s) / level.alpha).collect()
    };
    let moved = |x: &[f64], v: &[f64], h: f64| -> Vec<f64> { x.iter().zip(v).map(|(x, v)| x + h * v).collect() };
    for k in 0..steps {
        let t = begin + f64::from(k) * h;
        let a = velocity(t, &x);
        let b = velocity(t + 0.5 * h, &moved(&x, &a, 0.5 * h));
        let c = velocity(t + 0.5 * h, &moved(&x, &b, 0.5 * h));
        let d = velocity(t + h, &moved(&x, &c, h));
        for (k, x) in x.iter_mut().enumerate() {
            *x += h / 6.0 * (a[k] + 2.0 * b[k] + 2.0 * c[k] + d[k]);
        }
    }
    x.iter().map(|x| x * (to.alpha + to.sigma)).collect()
}

/// Every method without noise goes to the flow of the closed form, at its own order.
#[test]
fn every_deterministic_method_converges_to_the_guided_flow_of_two_classes() {
    let (w, device) = (2.0, Device::cpu(Precision::F64));
    let field = Field::Guided(guided(w, two_classes()));
    for entry in METHODS {
        let error = |steps: usize| {
            let course = course(entry, &field, steps, &device);
            let end = match &course.moves {
                Moves::Program(program) if program.is_deterministic() => Schedule::CondOt.level(1.0),
                Moves::Loop(_) if entry.name == "dpm-adaptive" => Schedule::named("ve").unwrap().level(1.0),
                Moves::Loop(_) if entry.takes(Choice::Tolerance) => Schedule::CondOt.level(1.0),
                _ => return None,
            };
            let start = start(&course, 12);
            let expected = start.chunks_exact(2).enumerate().flat_map(|(i, x)| flowed(w, i % 2, [course.first, end], x));
            let (found, _) = moved(&course, &field, &device);
            Some(found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max))
        };
        if entry.takes(Choice::Tolerance) {
            let error = error(0).unwrap();
            assert!(error < 1e-5, "{}: {error:e}", entry.name);
            continue;
        }
        let Some((coarse, fine)) = error(50).zip(error(200)) else { continue };
        let order = entry.method(&field, &Schedule::CondOt, &Options::default()).unwrap().order().unwrap();
        let found = (coarse / fine).log(4.0);
        assert!(found > f64::from(order) - 0.4, "{}: order {found} of {coarse:e}, {fine:e}", entry.name);
    }
}

/// Langevin steps at the data have the law p_c^W p^{1−W}, p that of all classes, up to their bias of O(τ).
#[test]
fn langevin_steps_under_guidance_draw_the_weighted_product_of_the_classes() {
    let (w, n, device) = (3.0, 4000, Device::cpu(Precision::F64));
    let field = Field::Guided(guided(w, two_classes()));
    let course = course(sampler::named("langevin").unwrap(), &field, 300, &device);
    let (found, _) = moved_from(&start(&course, n), &course, &field, &device);
    // Along the line through the means, where they are at ±a.
    let a = MEANS[0][0].hypot(MEANS[0][1]);
    let normal = |u: f64, mean: f64| (-(u - mean).powi(2) / (2.0 * VARIANCE)).exp();
    for (class, mean) in [a, -a].into_iter().enumerate() {
        let density = |u: f64| {
            let all = WEIGHT * normal(u, a) + (1.0 - WEIGHT) * normal(u, -a);
            normal(u, mean).powf(w) * all.powf(1.0 - w)
        };
        let moment = |k: i32| (-4000..4000).map(|i| 1e-3 * f64::from(i)).map(|u| density(u) * u.powi(k)).sum::<f64>();
        let (of_law, square) = (moment(1) / moment(0), moment(2) / moment(0));
        let own = found.chunks_exact(2).skip(class).step_by(2).map(|x| (x[0] * MEANS[0][0] + x[1] * MEANS[0][1]) / a);
        let (of_draws, of_squares) = own.fold((0.0, 0.0), |(sum, squares), u| (sum + u, squares + u * u));
        let count = f64::from(n / 2);
        let (of_draws, variance) = (of_draws / count, square - of_law * of_law);
        let found = of_squares / count - of_draws * of_draws;
        // Four standard errors; the variance also has the bias τ/2v of 3 %, and the mean one that is less.
        let error = 4.0 * (variance / count).sqrt();
        assert!((of_law - mean).abs() > 2.0 * error, "the law of class {class} at {of_law} has left {mean}");
        assert!((of_draws - of_law).abs() < error + 0.02, "class {class}: mean {of_draws} for {of_law}");
        assert!((found / variance - 1.0).abs() < 4.0 * (2.0 / count).sqrt() + 0.05, "class {class}: {found} for {variance}");
    }
}

#[test]
fn particles_conditioned_on_classes_of_data_end_among_the_points_of_their_own() {
    let data = Cloud::new(vec![0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0], 2).unwrap();
    let conditions = Conditions::new(vec![3.0, 7.0], 1).unwrap();
    let field = Field::Classes(Classes::of_data(&data, &[7, 3, 7, 3], &conditions).unwrap());
    for precision in [Precision::F32, Precision::F64] {
        let device = Device::cpu(precision);
        for method in ["ddim", "ddpm", "dopri5"] {
            let course = course(sampler::named(method).unwrap(), &field, 20, &device);
            // The points of class 3 have x = 1, those of class 7 x = 0.
            for (i, x) in moved(&course, &field, &device).0.chunks_exact(2).enumerate() {
                assert!((x[0] - [1.0, 0.0][i % 2]).abs() < 1e-4, "{method}: {x:?} is not of class {}", [3, 7][i % 2]);
            }
        }
    }
}

#[test]
fn conditions_that_do_not_fit_are_refused_in_words() {
    let conditions = |values: &[f64], width| Conditions::new(values.to_vec(), width);
    assert_eq!(conditions(&[], 1), Err(ConditionError::Shape { len: 0, width: 1 }));
    assert_eq!(conditions(&[1.0; 5], 2), Err(ConditionError::Shape { len: 5, width: 2 }));
    let not_finite = conditions(&[0.0, 1.0, f64::INFINITY, 0.0], 2).unwrap_err().to_string();
    assert!(not_finite.starts_with("condition 1 is inf"), "{not_finite}");
    let (law, data) = (two_classes(), Cloud::new(vec![0.0, 1.0], 1).unwrap());
    let refused = |given: &[f64], width| Classes::of_mixture(&law, &conditions(given, width).unwrap()).unwrap_err().to_string();
    assert_eq!(refused(&[0.0, 2.0], 1), "condition 1 is the class 2; the classes are 0, 1");
    assert_eq!(refused(&[0.5], 1), "condition 0 is the class 0.5; the classes are 0, 1");
    assert_eq!(refused(&[0.0, 1.0], 2), "conditions of 2 numbers are given, and each particle takes 1; give n x 1 of them");
    let labels = Classes::of_data(&data, &[0], &in_turn()).unwrap_err();
    assert_eq!(labels, ConditionError::Labels { labels: 1, points: 2 });
    for (low, high) in [(0.5, 0.5), (0.6, 0.4), (-0.1, 0.5), (0.5, 1.1), (f64::NAN, 1.0)] {
        let refused = guided(2.0, two_classes()).between(low, high).unwrap_err();
        assert!(matches!(refused, FieldError::Interval { .. }), "{refused}");
    }
}
