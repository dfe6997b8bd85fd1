//! `interpret`: programs over a mixture, against the field's definition and against the folded layout, one particle at a time.

use brenier::backend::{Backend, Noise, Reals};
use brenier::field::fold;
use brenier::measure::Mixture;
use brenier::measure::mixture::Covariance;
use brenier::path::Level;
use brenier::program::MixtureProgram;
use brenier::program::{Op, Program, STATE, Step};
use brenier::random::{Philox, Stream};

use crate::{assert_near, dot, normals, on_each, reference, rounded, rounding};

/// K components of variance about ½ with means of size about one, isotropic or not.
pub fn mixture(components: usize, d: usize, isotropic: bool) -> Mixture {
    let covariance = |k: usize| {
        let variance = 0.3 + 0.1 * k as f64;
        if isotropic {
            return Covariance::Isotropic(variance);
        }
        let a = normals(d * d, 20 + k as u32);
        let entry = |i: usize, j: usize| 0.3 / d as f64 * dot(&a[i * d..][..d], &a[j * d..][..d]);
        let matrix: Vec<f64> = (0..d * d).map(|at| entry(at / d, at % d) + variance * f64::from(at / d == at % d)).collect();
        Covariance::from_matrix(&matrix, d).unwrap()
    };
    let weights = (0..components).map(|k| 1.0 + k as f64).collect();
    let means = (0..components).map(|k| normals(d, 40 + k as u32)).collect();
    Mixture::new(weights, means, (0..components).map(covariance).collect()).unwrap()
}

fn level(alpha: f64, sigma: f64) -> Level {
    Level { t: alpha, alpha, sigma, alpha_dot: 1.0, sigma_dot: -1.0 }
}

/// One evaluation at each end and in the middle; noise after every step; and all operations over five registers.
pub fn programs() -> Vec<(&'static str, Program)> {
    let (early, late) = (level(0.3, 0.9), level(0.8, 0.5));
    let noisy = [level(0.0, 1.0), early, late].map(|level| Step::evaluate(level, level.alpha + 0.2, 0.7).add_noise(0.3));
    let many = Step::default()
        .then(Op::Evaluate { level: early, src: STATE, p: 0.6, q: 0.5, dst: 2 })
        .then(Op::Draw { dst: 3, draw: 0 })
        .then(Op::Draw { dst: 4, draw: 1 })
        .then(Op::Combine { dst: 1, terms: vec![(STATE, 0.5), (2, 0.4), (3, 0.2), (4, -0.1)] })
        .then(Op::Evaluate { level: late, src: 1, p: 0.9, q: -0.4, dst: 1 })
        .then(Op::Combine { dst: STATE, terms: vec![(STATE, 0.4), (1, 0.6), (STATE, -0.1)] })
        .then(Op::Clip { register: STATE, low: -0.8, high: 0.9 });
    vec![
        ("the denoised point", Program::from_iter([Step::evaluate(late, 1.0, 0.0)])),
        ("the noise", Program::from_iter([Step::evaluate(late, 0.0, 1.0)])),
        ("pure noise", Program::from_iter([Step::evaluate(level(0.0, 1.0), 1.0, -0.5)])),
        ("the data", Program::from_iter([Step::evaluate(level(1.0, 0.0), 1.0, 0.0)])),
        ("noise after every step", Program::from_iter(noisy)),
        ("five registers", Program::from_iter([many.clone(), Step::evaluate(late, 1.0, 0.2), many])),
        ("no steps", Program::default()),
    ]
}

/// The state after the steps of `folded`, run in the pieces that `cuts` end.
pub fn interpreted<B: Backend>(backend: &B, folded: &MixtureProgram, x: &[f64], noise: Noise<'_>, cuts: &[usize]) -> Vec<f64> {
    let zeros = || backend.zeros(x.len()).unwrap();
    let mut registers: Vec<Reals<B>> = vec![backend.upload_reals(x).unwrap()];
    registers.extend((1..folded.registers).map(|_| zeros()));
    let mut made = 0;
    for &cut in cuts {
        backend.interpret(folded, made..cut, noise, &mut registers).unwrap();
        made = cut;
    }
    backend.download_reals(&registers[STATE]).unwrap()
}

pub fn interpret<B: Backend>(backend: &B) {
    let philox = Philox::new(3, Stream::Noise);
    for (components, d, isotropic) in
        [1, 8].into_iter().flat_map(|k| [1, 2, 3, 5, 8].into_iter().flat_map(move |d| [true, false].map(|i| (k, d, i))))
    {
        let mixture = mixture(components, d, isotropic);
        for (name, program) in programs() {
            let folded = fold(&mixture, &program);
            let draws = program.ops().filter(|op| matches!(op, Op::Draw { .. })).count();
            for n in [1, 67] {
                let x = rounded::<B>(&normals(n * d, 1).iter().map(|z| 1.5 * z).collect::<Vec<_>>());
                let given = normals(draws * n * d, 2);
                let first = 1000;
                let counter = interpreted(backend, &folded, &x, Noise::Counter { philox, first }, &[folded.steps.len()]);
                let listed = interpreted(backend, &folded, &x, Noise::Given(&given), &[folded.steps.len()]);
                for (i, x) in x.chunks(d).enumerate() {
                    let counted = |step: u32, draw: u32| {
                        let mut z = vec![0.0f32; d];
                        philox.normals(first + i as u32, step, draw, &mut z);
                        z.into_iter().map(f64::from).collect::<Vec<_>>()
                    };
                    let mut call = 0;
                    let in_order = |_: u32, _: u32| {
                        call += 1;
                        given[((call - 1) * n + i) * d..][..d].to_vec()
                    };
                    let field = |level, p, q, x: &[f64]| mixture.evaluate(level, p, q, x);
                    let from_definition = reference::interpret(&program, x, field, counted);
                    let from_layout = reference::interpret_folded(&folded, x, in_order);
                    let what = |noise: &str| format!("{name}, {noise}, K = {components}, {isotropic}, {n} × {d}, row {i}");
                    for k in 0..d {
                        // Logits of up to 50 bits hold 50 roundings each, which an evaluation turns into as many of its
                        // result, of size 3, and the next steps may triple: 500, and 3 of 4 steps.
                        let tolerance = 2000.0 * rounding::<B>();
                        assert_near(counter[i * d + k], from_definition[k], tolerance, &|| what("counted"));
                        assert_near(listed[i * d + k], from_layout[k], tolerance, &|| what("given"));
                    }
                }
            }
        }
    }
}

#[test]
fn a_program_moves_particles_as_its_operations_say_in_f32() {
    on_each::<f32>(interpret);
}

#[test]
fn a_program_moves_particles_as_its_operations_say_in_f64() {
    on_each::<f64>(interpret);
}

/// The noise of a step is a function of its number in the program, so a run may stop and go on.
pub fn in_pieces<B: Backend>(backend: &B) {
    for isotropic in [true, false] {
        let mixture = mixture(8, 3, isotropic);
        for (name, program) in programs() {
            let folded = fold(&mixture, &program);
            let steps = folded.steps.len();
            let draws = program.ops().filter(|op| matches!(op, Op::Draw { .. })).count();
            let (x, given) = (rounded::<B>(&normals(67 * 3, 1)), normals(draws * 67 * 3, 2));
            for noise in [Noise::Counter { philox: Philox::new(3, Stream::Noise), first: 5 }, Noise::Given(&given)] {
                let whole = interpreted(backend, &folded, &x, noise, &[steps]);
                let one_by_one = interpreted(backend, &folded, &x, noise, &(1..=steps).collect::<Vec<_>>());
                assert_eq!(whole, one_by_one, "{name}");
            }
        }
    }
}

#[test]
fn steps_one_by_one_give_the_bits_of_the_whole_run() {
    on_each::<f32>(in_pieces);
    on_each::<f64>(in_pieces);
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    on_emulator: interpret_on_emulated_cuda, interpret_on_a_gpu: interpret;
    on_emulator: interpret_in_pieces_on_emulated_cuda, interpret_in_pieces_on_a_gpu: in_pieces;
}
