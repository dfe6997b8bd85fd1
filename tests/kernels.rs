//! What only the kernels promise, run on the host in three thread orders: a row's bits depend on nothing but the row and the
//! columns, and a particle's on nothing but the particle. Their agreement with the equations is the conformance suite's matter.

#![cfg(feature = "cuda")]

#[path = "conformance/emulated.rs"]
mod emulated;

use std::sync::Arc;

use brenier::backend::cpu::Cpu;
use brenier::backend::cuda::Cuda;
use brenier::backend::{Backend, Columns, Dense, Draws, Logit, Noise, Out, Rows, Scale, TILE, TileList, Tiles};
use brenier::field::fold;
use brenier::measure::Mixture;
use brenier::measure::mixture::Covariance;
use brenier::path::Level;
use brenier::program::Activation;
use brenier::program::MixtureProgram;
use brenier::program::{Op, Program, STATE, Step};
use brenier::random::{Philox, Stream};
use emulated::Emulator;
use emulator::Order;

/// The kernels on the host in each order; nothing, loudly, without a C++ compiler.
fn orders() -> Vec<(Arc<Emulator>, Cuda)> {
    if !emulator::COMPILED {
        eprintln!("SKIPPED: no C++ compiler, so the kernels are not run on the host");
        return Vec::new();
    }
    let in_order = |order| {
        let emulator = Arc::new(Emulator::new(order));
        (emulator.clone(), Cuda::over(emulator, "emulator".into()).unwrap())
    };
    Order::ALL.map(in_order).into()
}

/// All that was read back is the same in every order.
fn assert_no_order_shows(orders: &[(Arc<Emulator>, Cuda)]) {
    assert!(orders.windows(2).all(|pair| pair[0].0.digest() == pair[1].0.digest()));
}

/// The emulator shows the faults it is there for, on kernels that have them, and none on those that do not: a copy that is read
/// before it is waited for, and copies and vectors that are not aligned to their size.
#[test]
fn the_emulator_shows_early_reads_and_misalignment() {
    #[repr(align(16))]
    struct Numbers([f32; 128]);
    let run = |kernel: &str, offset: i32, order: Order| {
        let (given, mut found) = (Numbers(std::array::from_fn(|i| 1.0 + i as f32)), Numbers([0.0; 128]));
        let (from, to) = (given.0.as_ptr(), found.0.as_mut_ptr());
        let mut params =
            [(&raw const from).cast_mut().cast(), (&raw const to).cast_mut().cast(), (&raw const offset).cast_mut().cast()];
        // SAFETY: the specimens take a source, a destination and an offset, or the first two.
        unsafe { emulator::launch(kernel, [1; 3], [128, 1, 1], 0, &mut params, order) }.map(|()| found.0)
    };
    if !emulator::COMPILED {
        return;
    }
    let given: [f32; 128] = std::array::from_fn(|i| 1.0 + i as f32);
    let reversed: [f32; 128] = std::array::from_fn(|i| 128.0 - i as f32);
    for order in Order::ALL {
        assert_eq!(run("specimen_waits", 0, order), Ok(reversed));
        let early = run("specimen_reads_early", 0, order).unwrap();
        assert!(
            early.iter().zip(reversed).all(|(early, right)| *early != right),
            "{order:?}: a copy is done before it is waited for"
        );
        for kernel in ["specimen_copies", "specimen_loads"] {
            assert_eq!(run(kernel, 0, order), Ok(given));
            // UBSan would say of a vector itself that it is not aligned, and end the test.
            for offset in if emulator::SANITIZED && kernel == "specimen_loads" { 0..0 } else { 1..4 } {
                assert!(run(kernel, offset, order).is_err_and(|why| why.contains("aligned")), "{kernel}, {offset} words off");
            }
        }
    }
}

fn normals(count: usize, step: u32) -> Vec<f64> {
    let mut z = vec![0.0; count];
    Philox::new(29, Stream::Source).normals(0, step, 0, &mut z);
    z.into_iter().map(f64::from).collect()
}

/// Log-sums and means of `rows` against m random columns with logits of a few units.
struct Softmax {
    d: usize,
    m: usize,
    p: usize,
    rows: Vec<f64>,
    shift: Option<Vec<f64>>,
}

impl Softmax {
    fn run<B: Backend>(&self, backend: &B) -> (Vec<f64>, Vec<f64>) {
        let (n, m, d, p) = (self.rows.len() / self.d, self.m, self.d, self.p);
        let up = |host: &[f64]| backend.upload_reals(host).unwrap();
        let mut packed = backend.zeros(m * (d + 1)).unwrap();
        let scale = Scale::Uniform(2.0 / (d as f64).sqrt());
        backend.pack(Rows { points: &up(&normals(m * d, 2)), n: m, d }, scale, &up(&normals(m, 3)), None, &mut packed).unwrap();
        let (mut out, mut mean) = (backend.zeros(n).unwrap(), backend.zeros(n * p).unwrap());
        let x = up(&self.rows);
        let shift = self.shift.as_ref().map(|shift| up(shift));
        let shift = shift.as_ref().map(|shift| (shift, 1.0));
        let (rows, columns) = (Rows { points: &x, n, d }, Columns { packed: &packed, m, d });
        let values = up(&normals(m * p, 4));
        let wanted = if p == 0 { Out::of(&mut out) } else { Out::with_mean(&mut out, &values, p, &mut mean) };
        backend.soft_min(Logit::Product { rows, columns, shift }, wanted).unwrap();
        (backend.download_reals(&out).unwrap(), backend.download_reals(&mean).unwrap())
    }

    /// The shift that makes the log-sum of every row 0.3, but of every fifth 400, and of every seventh −400.
    fn shifted(mut self) -> Self {
        let (log_sums, _) = self.run(&Cpu::<f64>::new());
        let off = |i: usize| if i.is_multiple_of(5) { 400.0 } else { 0.3 } - if i.is_multiple_of(7) { 800.0 } else { 0.0 };
        self.shift = Some(log_sums.iter().enumerate().map(|(i, l)| f64::from((l - off(i)) as f32)).collect());
        self
    }
}

/// Dimensions and numbers of values of every kernel: in registers, on tensor cores with the rows resident and streamed, with one
/// chunk of values, several, and a ragged one.
const SHAPES: [(usize, usize); 16] = [
    (1, 0),
    (1, 2),
    (2, 0),
    (2, 2),
    (3, 0),
    (3, 3),
    (3, 4),
    (4, 0),
    (4, 5),
    (8, 0),
    (8, 9),
    (3, 7),
    (5, 0),
    (40, 40),
    (64, 0),
    (100, 3),
];

/// Errors of a log-sum of units: rounding of its logits, of its sum, and of what it is relative to.
#[test]
fn log_sums_and_means_agree_with_f64_whatever_the_shift() {
    for (_, cuda) in orders().iter().take(1) {
        for (d, p) in SHAPES {
            for shifted in [false, true] {
                let case = Softmax { d, m: 601, p, rows: normals(37 * d, 1), shift: None };
                let case = if shifted { case.shifted() } else { case };
                let ((log_sums, means), (expected, expected_means)) = (case.run(cuda), case.run(&Cpu::<f64>::new()));
                for (log_sum, expected) in log_sums.iter().zip(&expected) {
                    assert!(
                        (log_sum - expected).abs() <= 1e-6 * (4.0 + expected.abs()),
                        "d {d}, p {p}: {log_sum} for {expected}"
                    );
                }
                for (mean, expected) in means.iter().zip(&expected_means) {
                    assert!((mean - expected).abs() <= 4e-6, "d {d}, p {p}: mean {mean} for {expected}");
                }
            }
        }
    }
}

/// Two hundred thousand terms: uncompensated, a running f32 sum would be off by about 1e-4.
#[test]
fn the_sum_of_many_columns_keeps_the_accuracy_of_f32() {
    for (_, cuda) in orders().iter().take(1) {
        let case = Softmax { d: 2, m: 200_000, p: 0, rows: normals(6, 1), shift: None }.shifted();
        let ((log_sums, _), (expected, _)) = (case.run(cuda), case.run(&Cpu::<f64>::new()));
        for (log_sum, expected) in log_sums.iter().zip(&expected) {
            assert!((log_sum - expected).abs() <= 2e-7 * (4.0 + expected.abs()), "{log_sum} for {expected}");
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_every_batch_and_thread_order() {
    let orders = orders();
    for (_, cuda) in &orders {
        for (d, p) in SHAPES {
            let whole = Softmax { d, m: 300, p, rows: normals(40 * d, 1), shift: None }.shifted();
            let (log_sums, means) = whole.run(cuda);
            for range in [0..1, 17..40] {
                let part = Softmax {
                    rows: whole.rows[range.start * d..range.end * d].to_vec(),
                    shift: whole.shift.as_ref().map(|shift| shift[range.clone()].to_vec()),
                    ..whole
                };
                let (some, some_means) = part.run(cuda);
                assert_eq!(some, log_sums[range.clone()], "d {d}, p {p}");
                assert_eq!(some_means, means[range.start * p..range.end * p], "d {d}, p {p}");
            }
        }
    }
    assert_no_order_shows(&orders);
}

/// Reads back two draws a row and the k likeliest columns, with a shift that serves every row but the fifth.
fn partners<B: Backend>(backend: &B, (n, m, d): (usize, usize, usize), k: usize) {
    let up = |host: &[f64]| backend.upload_reals(host).unwrap();
    let (x, mut packed, mut log_sum) = (up(&normals(n * d, 1)), backend.zeros(m * (d + 1)).unwrap(), backend.zeros(n).unwrap());
    backend
        .pack(Rows { points: &up(&normals(m * d, 2)), n: m, d }, Scale::Uniform(1.0), &up(&normals(m, 3)), None, &mut packed)
        .unwrap();
    let (rows, columns) = (Rows { points: &x, n, d }, Columns { packed: &packed, m, d });
    backend.soft_min(Logit::Product { rows, columns, shift: None }, Out::of(&mut log_sum)).unwrap();
    let mut shift = backend.download_reals(&log_sum).unwrap();
    shift.iter_mut().skip(4).step_by(5).for_each(|shift| *shift += 300.0);
    let first = backend.upload(&(0..=n as u32).map(|i| 2 * i).collect::<Vec<_>>()).unwrap();
    let quantiles = backend.upload(&(0..2 * n).map(|r| r as f64 / (2 * n) as f64).collect::<Vec<_>>()).unwrap();
    let mut drawn = backend.zeros(2 * n).unwrap();
    let draws = Draws { first: &first, quantiles: &quantiles };
    backend.sample_plan(rows, columns, (&up(&shift), 1.0), draws, &mut drawn).unwrap();
    backend.download(&drawn).unwrap();
    let (mut index, mut logit) = (backend.zeros(n * k).unwrap(), backend.zeros(n * k).unwrap());
    backend.top_k(rows, columns, k, &mut index, &mut logit).unwrap();
    backend.download(&index).unwrap();
    backend.download(&logit).unwrap();
}

/// Reads back what a network of three layers makes of n rows.
fn network<B: Backend>(backend: &B, n: usize, widths: [usize; 4], activation: Activation) {
    let up = |count: usize, step: u32| backend.upload_reals(normals(count, step)).unwrap();
    let layers: Vec<_> = widths.windows(2).map(|w| (up(w[0] * w[1], 5), up(w[1], 6))).collect();
    let layers: Vec<Dense<'_, B>> = layers.iter().map(|(weight, bias)| Dense { weight, bias }).collect();
    let (x, mut out) = (up(n * widths[0], 1), backend.zeros(n * widths[3]).unwrap());
    backend.perceptron(Rows { points: &x, n, d: widths[0] }, 0.3, &layers, activation, &mut out).unwrap();
    backend.download(&out).unwrap();
}

/// Reads back log-sums over kept tiles and the means of p values, the exponents beyond the range of a sum where `far`.
fn kept<B: Backend>(backend: &B, (n, m, d): (usize, usize, usize), p: usize, far: f64) {
    let up = |host: Vec<f64>| backend.upload(&host).unwrap();
    let cloud = |n: usize, step: u32, level: f64| {
        let frames = normals(n.div_ceil(TILE) * (2 * d + 1), step + 1);
        [normals(n * d, step), vec![level; n], vec![0.0; n], frames].map(up)
    };
    let (x, y) = (cloud(n, 1, far), cloud(m, 3, 0.0));
    fn tiles<B: Backend>(of: &[B::Buf<f64>; 4], n: usize, d: usize) -> Tiles<'_, B> {
        let [points, potential, log_weights, frames] = of;
        Tiles { points, potential, log_weights, frames, n, d }
    }
    let (row_tiles, column_tiles) = (n.div_ceil(TILE) as u32, m.div_ceil(TILE) as u32);
    let runs: Vec<[u32; 2]> = (0..row_tiles).flat_map(|_| [[0, column_tiles / 3], [column_tiles / 2, column_tiles]]).collect();
    let starts = backend.upload(&(0..=row_tiles).map(|t| 2 * t).collect::<Vec<_>>()).unwrap();
    let runs = backend.upload(&runs).unwrap();
    let (list, values) = (TileList { starts: &starts, runs: &runs }, backend.upload_reals(normals(m * p, 7)).unwrap());
    let (mut packed, mut out, mut mean) =
        (backend.zeros(m * (d + 1)).unwrap(), backend.zeros(n).unwrap(), backend.zeros(n * p).unwrap());
    let wanted = if p == 0 { Out::of(&mut out) } else { Out::with_mean(&mut out, &values, p, &mut mean) };
    let (rows, columns, list) = (&tiles::<B>(&x, n, d), &tiles::<B>(&y, m, d), &list);
    backend.soft_min(Logit::Tiles { rows, columns, list, eps: 0.4, packed: &mut packed }, wanted).unwrap();
    backend.download(&out).unwrap();
    backend.download(&mean).unwrap();
}

#[test]
fn draws_partners_networks_and_kept_tiles_have_the_same_bits_in_every_thread_order() {
    let orders = orders();
    for (_, cuda) in &orders {
        partners(cuda, (37, 601, 3), 5);
        partners(cuda, (5, 130, 20), 100);
        network(cuda, 130, [3, 70, 64, 2], Activation::Gelu);
        network(cuda, 5, [33, 16, 65, 64], Activation::Softplus);
        for (d, p) in [(1, 0), (2, 3), (3, 0), (3, 5), (4, 4)] {
            [0.0, 50.0].into_iter().for_each(|far| kept(cuda, (70, 1300, d), p, far));
        }
    }
    assert_no_order_shows(&orders);
}

fn mixture(components: usize, d: usize, isotropic: bool) -> Mixture {
    let covariance = |k: usize| {
        let variance = 0.2 + 0.05 * k as f64;
        let axis = normals(d, 60 + k as u32);
        let entry = |i: usize, j: usize| 0.3 / d as f64 * axis[i] * axis[j] + if i == j { variance } else { 0.0 };
        match isotropic {
            true => Covariance::Isotropic(variance),
            false => Covariance::from_matrix(&(0..d * d).map(|at| entry(at / d, at % d)).collect::<Vec<_>>(), d).unwrap(),
        }
    };
    let means = (0..components).map(|k| normals(d, 90 + k as u32)).collect();
    Mixture::new((0..components).map(|k| 1.0 + k as f64).collect(), means, (0..components).map(covariance).collect()).unwrap()
}

/// Two steps that use every operation, three registers and two draws.
fn program() -> Program {
    let level = |alpha: f64, sigma: f64| Level { t: alpha, alpha, sigma, alpha_dot: 1.0, sigma_dot: -1.0 };
    let step = |alpha, sigma| {
        Step::evaluate(level(alpha, sigma), 0.7, 0.5)
            .then(Op::Draw { dst: 1, draw: 0 })
            .then(Op::Draw { dst: 2, draw: 1 })
            .then(Op::Combine { dst: 2, terms: vec![(STATE, 0.9), (1, 0.2), (2, 0.1)] })
            .then(Op::Evaluate { level: level(alpha, sigma), src: 2, p: 1.0, q: 0.1, dst: 1 })
            .then(Op::Combine { dst: STATE, terms: vec![(1, 0.8), (2, 0.3)] })
            .then(Op::Clip { register: STATE, low: -1.5, high: 1.6 })
    };
    Program::from_iter([step(0.3, 0.9), step(0.8, 0.5)])
}

/// All registers after the program, its two steps in a launch each.
fn integrate<B: Backend>(backend: &B, folded: &MixtureProgram, x: &[f64], noise: Noise<'_>) -> Vec<Vec<f64>> {
    let mut registers = vec![backend.upload_reals(x).unwrap()];
    registers.extend((1..folded.registers).map(|_| backend.zeros(x.len()).unwrap()));
    backend.interpret(folded, 0..1, noise, &mut registers).unwrap();
    backend.interpret(folded, 1..2, noise, &mut registers).unwrap();
    registers.iter().map(|register| backend.download_reals(register).unwrap()).collect()
}

/// Errors against f64 of the size that the processor has in f32: a softmax of logits as large as d amplifies their rounding.
fn assert_no_worse(registers: &[Vec<f64>], folded: &MixtureProgram, x: &[f64], noise: Noise<'_>) {
    let exact = integrate(&Cpu::<f64>::new(), folded, x, noise).concat();
    let error = |of: &[Vec<f64>]| of.concat().iter().zip(&exact).fold(0.0, |worst: f64, (x, exact)| worst.max((x - exact).abs()));
    let (here, there) = (error(registers), error(&integrate(&Cpu::<f32>::new(), folded, x, noise)));
    assert!(here <= 4.0 * there + 1e-6, "K {}, d {}: error {here}, the processor's is {there}", folded.components, folded.dim);
}

/// Components below, at and above a group; dimensions of a thread, of part of a warp and of several rounds of one.
#[test]
fn particles_are_as_exact_as_on_the_processor_and_do_not_know_their_batch() {
    let philox = Philox::new(5, Stream::Noise);
    let shapes = [1, 4, 5, 8, 9, 19].into_iter().flat_map(|k| [1, 2, 3, 6, 40].map(|d| (k, d)));
    let orders = orders();
    for (_, cuda) in &orders {
        for ((components, d), isotropic) in shapes.clone().flat_map(|shape| [(shape, true), (shape, false)]) {
            let folded = fold(&mixture(components, d, isotropic), &program());
            let (n, start) = (70, 33);
            let x: Vec<f64> = normals(n * d, 7);
            let counter = |first| Noise::Counter { philox, first };
            let registers = integrate(cuda, &folded, &x, counter(1000));
            assert_no_worse(&registers, &folded, &x, counter(1000));
            let rest = integrate(cuda, &folded, &x[start * d..], counter(1000 + start as u32));
            assert!(rest.iter().zip(&registers).all(|(rest, all)| rest[..] == all[start * d..]), "K {components}, d {d}");
            let given = normals(4 * n * d, 8);
            let noise = Noise::Given(&given);
            assert_no_worse(&integrate(cuda, &folded, &x, noise), &folded, &x, noise);
        }
    }
    assert_no_order_shows(&orders);
}

/// Philox and Box–Muller, on the device and on the processor: not close, the same.
#[test]
fn normals_drawn_in_the_kernel_are_those_of_the_processor_bit_for_bit() {
    let noise = Noise::Counter { philox: Philox::new(17, Stream::Noise), first: 123_456 };
    let draw = Step::default().then(Op::Draw { dst: STATE, draw: 2 });
    for (_, cuda) in orders() {
        for d in [1, 2, 3, 4, 9] {
            let folded = fold(&mixture(2, d, true), &Program::from_iter([Step::default(), draw.clone()]));
            let zeros = vec![0.0; 130 * d];
            assert_eq!(integrate(&cuda, &folded, &zeros, noise), integrate(&Cpu::<f32>::new(), &folded, &zeros, noise));
        }
    }
}
