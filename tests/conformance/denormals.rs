//! No kernel makes a denormal number of ordinary input: an Intel core spends some 150 cycles on each. A kernel runs in a process of
//! its own, and at its end the sticky bits of MXCSR that tell of denormal operands and of underflow are clear on every thread.
//! They are read, never written, so nothing else in that process may have met a denormal either.

use std::f64::consts::LN_2;
use std::process::Command;

use brenier::backend::cpu::{Cpu, Isa};
use brenier::backend::{
    Anderson, Backend, Blend, Columns, Damping, Dense, Draw, Draws, Half, Logit, Mean, Noise, Out, PairCost, PairKernel, Reals,
    Rows, Scale, Sweep, Symmetric, TILE, TileList, Tiles, Update, Weighted,
};
use brenier::field::fold;
use brenier::measure::Mixture;
use brenier::measure::mixture::Covariance;
use brenier::path::Level;
use brenier::program::Activation;
use brenier::program::{Program, Step};
use brenier::random::{Philox, Stream};

use crate::{dot, normals};

/// What a child process is told to run: an operation, a precision, an instruction set.
const KERNEL: &str = "BRENIER_DENORMALS_KERNEL";

const OPERATIONS: [&str; 18] = [
    "soft-min",
    "soft-mean",
    "soft-blend",
    "soft-min of a cloud with itself",
    "sweep",
    "sweep of costs",
    "soft-min of costs",
    "soft-min by tiles",
    "draws from the plan",
    "top k",
    "nearest",
    "pair sum",
    "interpret",
    "perceptron",
    "normals",
    "vectors",
    "potentials",
    "acceleration",
];

/// Rows and columns, and the inverse temperature of their exponents.
struct Data {
    n: usize,
    m: usize,
    d: usize,
    x: Vec<f64>,
    y: Vec<f64>,
    k: f64,
}

impl Data {
    /// Normals, points with as many zeros as a written digit has, and normals of size 1e-9; from exponents of size one to
    /// exponents of thousands, so that the weights of a row span any number of powers of two.
    fn all() -> Vec<Self> {
        let (n, m) = (70, 331);
        let ink = |z: &f64| if *z > 0.5 { (z * 8.0).ceil().min(16.0) / 16.0 } else { 0.0 };
        let clouds = |d: usize| (normals(n * d, 1), normals(m * d, 2));
        let digits = |d: usize| (normals(n * d, 3).iter().map(ink).collect(), normals(m * d, 4).iter().map(ink).collect());
        let small = |d: usize| clouds(d).0.iter().map(|z| 1e-9 * z).collect::<Vec<_>>();
        let mut all = Vec::new();
        for k in [0.5, 3.0, 20.0, 60.0, 300.0, 3000.0] {
            for (d, (x, y)) in [(1, clouds(1)), (2, clouds(2)), (3, clouds(3)), (5, clouds(5)), (16, digits(16))] {
                all.push(Self { n, m, d, x, y, k });
            }
            let (x, y) = (small(2), normals(m * 2, 2).iter().map(|z| 1e-9 * z).collect());
            all.push(Self { n, m, d: 2, x, y, k: 1e18 * k });
        }
        all
    }

    /// Half the squared lengths: potentials for which exponents are squared distances.
    fn half_squares(&self, points: &[f64]) -> Vec<f64> {
        points.chunks(self.d).map(|x| 0.5 * dot(x, x)).collect()
    }

    /// x, y and the packed columns, with −|x−y|²/2 the exponent of a pair up to a term of its row.
    fn upload<B: Backend>(&self, backend: &B) -> (Reals<B>, Reals<B>, Reals<B>) {
        let (x, y) = (backend.upload_reals(&self.x).unwrap(), backend.upload_reals(&self.y).unwrap());
        let bias = backend.upload_reals(vec![-(self.m as f64).ln(); self.m]).unwrap();
        let potential = backend.upload_reals(self.half_squares(&self.y)).unwrap();
        let mut packed = backend.zeros(self.m * (self.d + 1)).unwrap();
        backend
            .pack(
                Rows { points: &y, n: self.m, d: self.d },
                Scale::Uniform(self.k),
                &bias,
                Some((&potential, -self.k)),
                &mut packed,
            )
            .unwrap();
        (x, y, packed)
    }
}

fn run<B: Backend>(backend: &B, operation: &str) {
    match operation {
        "interpret" => interpret(backend),
        "perceptron" => perceptron(backend),
        "normals" => {
            let mut out = backend.zeros(40_000).unwrap();
            backend.normals(counter(), Draw { step: 7, number: 1, call: 0 }, 4, &mut out).unwrap();
        }
        "vectors" => vectors(backend),
        "potentials" => potentials(backend),
        "acceleration" => acceleration(backend),
        _ => Data::all().iter().for_each(|data| of_pairs(backend, operation, data)),
    }
}

fn of_pairs<B: Backend>(backend: &B, operation: &str, data: &Data) {
    let &Data { n, m, d, k, .. } = data;
    let up = |host: &[f64]| backend.upload_reals(host).unwrap();
    let (x, y, packed) = data.upload(backend);
    let (rows, points) = (Rows { points: &x, n, d }, Rows { points: &y, n: m, d });
    let columns = Columns { packed: &packed, m, d };
    let plain = || Logit::Product { rows, columns, shift: None };
    let (mut out, mut mean) = (backend.zeros(n).unwrap(), backend.zeros(n * d).unwrap());
    // Next to the answer, as the last potential is; too small and too large by more than a row can bear.
    let shifts = || {
        let mut exact = backend.zeros(n).unwrap();
        backend.soft_min(plain(), Out::of(&mut exact)).unwrap();
        let exact = backend.download_reals(&exact).unwrap();
        [0.0, 5.0, -5.0, 12.0, 30.0, -30.0, 200.0, -200.0].map(|off| up(&exact.iter().map(|s| s + off).collect::<Vec<_>>()))
    };
    match operation {
        "soft-min" => {
            backend.soft_min(plain(), Out::of(&mut out)).unwrap();
            for shift in shifts() {
                let shift = Some((&shift, 1.0));
                backend.soft_min(Logit::Product { rows, columns, shift }, Out::of(&mut out)).unwrap();
            }
        }
        "soft-mean" => {
            backend.soft_min(plain(), Out::with_mean(&mut out, &y, d, &mut mean)).unwrap();
            for shift in shifts() {
                let shift = Some((&shift, 1.0));
                backend.soft_min(Logit::Product { rows, columns, shift }, Out::with_mean(&mut out, &y, d, &mut mean)).unwrap();
            }
        }
        "soft-blend" => {
            let mean = Mean { values: &y, p: d, out: &mut mean, blend: Some(Blend { s: 0.01, t: 0.3, with: &x }) };
            backend.soft_min(plain(), Out { log_sum: &mut out, mean: Some(mean) }).unwrap();
        }
        "soft-min of a cloud with itself" => {
            let mass: Vec<f64> = (0..n).map(|i| if i % 3 == 0 { 0.0 } else { 2f64.powi(-(i as i32)) }).collect();
            let (mass, log_mass) = (up(&mass), up(&mass.iter().map(|a| a.ln()).collect::<Vec<_>>()));
            let (shift, mut packed) = (up(&data.half_squares(&data.x)), up(&vec![0.0; n * (d + 1)]));
            let cloud = Symmetric { rows, k, weights: (&mass, &log_mass), shift: (&shift, k), packed: &mut packed };
            backend.soft_min(Logit::Symmetric(cloud), Out::of(&mut out)).unwrap();
        }
        "sweep" | "sweep of costs" => {
            let of_costs = operation == "sweep of costs";
            let cost = of_costs.then_some(PairCost::Euclidean);
            let mut scores = backend.scores(rows, points, cost).unwrap().unwrap();
            let masses = |n: usize| up(&(0..n).map(|i| [0.0, 1.5, 1e-12][i % 3] / n as f64).collect::<Vec<_>>());
            let (b, a) = (masses(n), masses(m));
            let potential = |points: &[f64]| {
                let off = |i: usize| [0.0, 8.0, -40.0, 3.0][i / 5 % 4] / k;
                let half = data.half_squares(points);
                up(&half.iter().enumerate().map(|(i, half)| off(i) + if of_costs { 0.0 } else { *half }).collect::<Vec<_>>())
            };
            let (p, q) = (potential(&data.x), potential(&data.y));
            let ground = backend.upload(&vec![0.0; n]).unwrap();
            let mut ratio = backend.zeros(m).unwrap();
            for damping in [None, Some(Damping { omega: 0.7, ground: &ground })] {
                let (rows, columns) = (Half { potential: &p, weights: &b }, Half { potential: &q, weights: &a });
                let sweep = Sweep { k, rows, columns, damping };
                backend.sweep(&mut scores, &sweep, &mut out, &mut ratio).unwrap();
            }
        }
        "soft-min of costs" => {
            let (mut packed, mut cost) = (backend.zeros(m * (d + 1)).unwrap(), backend.zeros(n).unwrap());
            backend.pack(points, Scale::Uniform(LN_2), &up(&vec![0.0; m]), None, &mut packed).unwrap();
            for between in [PairCost::Euclidean, PairCost::Lp(1.0), PairCost::Lp(1.5), PairCost::Lp(7.0)] {
                let columns = Columns { packed: &packed, m, d };
                let (k, mean_cost) = (k.min(1e12), Some(&mut cost));
                let logit = Logit::Cost { rows, columns, cost: between, k, shift: None, mean: mean_cost };
                backend.soft_min(logit, Out::with_mean(&mut out, &y, d, &mut mean)).unwrap();
            }
        }
        "soft-min by tiles" if d <= 4 => tiles(backend, data),
        "draws from the plan" => {
            let first = backend.upload(&(0..=n as u32).collect::<Vec<_>>()).unwrap();
            let quantiles = backend.upload(&(0..n).map(|i| (i as f64 + 0.5) / n as f64).collect::<Vec<_>>()).unwrap();
            let mut index = backend.zeros(n).unwrap();
            for shift in shifts() {
                let draws = Draws { first: &first, quantiles: &quantiles };
                backend.sample_plan(rows, columns, (&shift, 1.0), draws, &mut index).unwrap();
            }
        }
        "top k" => {
            let (mut index, mut logit) = (backend.zeros(n * 7).unwrap(), backend.zeros(n * 7).unwrap());
            backend.top_k(rows, columns, 7, &mut index, &mut logit).unwrap();
        }
        "nearest" => backend.nearest(rows, &y, &mut backend.zeros(n).unwrap()).unwrap(),
        "pair sum" => {
            let (a, b) = (up(&vec![1.0 / n as f64; n]), up(&vec![1.0 / m as f64; m]));
            for kernel in [PairKernel::Distance, PairKernel::Gaussian(k.sqrt().recip())] {
                let (x, y) = (Weighted { points: rows, weights: &a }, Weighted { points, weights: &b });
                backend.pair_sum(x, y, kernel).unwrap();
            }
        }
        _ => {}
    }
}

/// Both clouds in tiles, all of which are kept, about their origin.
fn tiles<B: Backend>(backend: &B, data: &Data) {
    let &Data { n, m, d, k, .. } = data;
    let up = |host: &[f64]| backend.upload(host).unwrap();
    for off in [0.0, 5.0, -40.0, 200.0] {
        let potential =
            |points: &[f64], off: f64| up(&data.half_squares(points).iter().map(|half| half + off / k).collect::<Vec<_>>());
        let [x, y] = [&data.x, &data.y].map(|points| up(points));
        let (phi, psi) = (potential(&data.x, off), potential(&data.y, 0.0));
        let (x_weights, y_weights) = (up(&vec![0.0; n]), up(&vec![-(m as f64).ln(); m]));
        let frames = |n: usize| up(&vec![0.0; n.div_ceil(TILE) * (2 * d + 1)]);
        let (x_frames, y_frames) = (frames(n), frames(m));
        let rows = Tiles { points: &x, potential: &phi, log_weights: &x_weights, frames: &x_frames, n, d };
        let columns = Tiles { points: &y, potential: &psi, log_weights: &y_weights, frames: &y_frames, n: m, d };
        let starts = backend.upload(&(0..=n.div_ceil(TILE) as u32).collect::<Vec<_>>()).unwrap();
        let runs = backend.upload(&vec![[0, m.div_ceil(TILE) as u32]; n.div_ceil(TILE)]).unwrap();
        let list = TileList { starts: &starts, runs: &runs };
        let values = backend.upload_reals(&data.y).unwrap();
        let (mut packed, mut out) = (backend.zeros(m * (d + 1)).unwrap(), backend.zeros(n).unwrap());
        let mut mean = backend.zeros(n * d).unwrap();
        let (rows, columns, list, eps) = (&rows, &columns, &list, 1.0 / k);
        backend.soft_min(Logit::Tiles { rows, columns, list, eps, packed: &mut packed }, Out::of(&mut out)).unwrap();
        let wanted = Out::with_mean(&mut out, &values, d, &mut mean);
        backend.soft_min(Logit::Tiles { rows, columns, list, eps, packed: &mut packed }, wanted).unwrap();
    }
}

fn counter() -> Noise<'static> {
    Noise::Counter { philox: Philox::new(3, Stream::Noise), first: 0 }
}

/// From noise to next to no noise, over components one of which lies at the origin.
fn interpret<B: Backend>(backend: &B) {
    for (d, isotropic) in [1, 2, 3, 8].into_iter().flat_map(|d| [(d, true), (d, false)]) {
        let means = (0..8u32).map(|k| normals(d, k).iter().map(|z| if k == 0 { 0.0 } else { 4.0 * z }).collect()).collect();
        let diagonal = |at: usize| f64::from(at / d == at % d);
        let full = || Covariance::from_matrix(&(0..d * d).map(|at| 0.01 * diagonal(at)).collect::<Vec<_>>(), d).unwrap();
        let covariance = |_| if isotropic { Covariance::Isotropic(0.01) } else { full() };
        let mixture = Mixture::new(vec![1.0; 8], means, (0..8).map(covariance).collect()).unwrap();
        let levels = [1.0, 0.7, 0.4, 0.2, 0.1, 0.03, 0.01, 0.001].map(|sigma| {
            let alpha = 1.0 - sigma;
            Level { t: alpha, alpha, sigma, alpha_dot: 1.0, sigma_dot: -1.0 }
        });
        let steps = levels.iter().zip(&levels[1..]).map(|(from, to)| Step::evaluate(*from, to.alpha, to.sigma).add_noise(0.01));
        let folded = fold(&mixture, &Program::from_iter(steps));
        let mut registers: Vec<Reals<B>> = vec![backend.upload_reals(normals(500 * d, 1)).unwrap()];
        registers.extend((1..folded.registers).map(|_| backend.zeros(500 * d).unwrap()));
        backend.interpret(&folded, 0..folded.steps.len(), counter(), &mut registers).unwrap();
    }
}

/// Layers whose activations run far into both tails.
fn perceptron<B: Backend>(backend: &B) {
    let (n, widths) = (130, [2, 64, 64, 2]);
    let up = |host: &[f64]| backend.upload_reals(host).unwrap();
    let layers: Vec<(Reals<B>, Reals<B>)> = widths
        .windows(2)
        .zip(0..)
        .map(|(w, step)| (up(&normals(w[0] * w[1], step)), up(&normals(w[1], 9).iter().map(|z| 5.0 * z).collect::<Vec<_>>())))
        .collect();
    let layers: Vec<Dense<'_, B>> = layers.iter().map(|(weight, bias)| Dense { weight, bias }).collect();
    let (x, mut out) = (up(&normals(n * 2, 20)), backend.zeros(n * 2).unwrap());
    use Activation::{Gelu, GeluTanh, Relu, Silu, Softplus, Tanh};
    for (activation, scale) in [Relu, Silu, Tanh, Gelu, GeluTanh, Softplus].into_iter().flat_map(|a| [(a, 1.0), (a, 30.0)]) {
        backend.perceptron(Rows { points: &x, n, d: 2 }, scale, &layers, activation, &mut out).unwrap();
    }
}

fn vectors<B: Backend>(backend: &B) {
    let up = |step: u32| backend.upload_reals(normals(10_000, step)).unwrap();
    let mut registers = [up(1), up(2), up(3)];
    backend.combine(&mut registers, 0, &[(0, 0.5), (1, -1.25), (2, 1e-9)]).unwrap();
    let [mut x, y, _] = registers;
    backend.clip(&mut x, -0.3, 0.7).unwrap();
    let index = backend.upload(&(0..1000u32).collect::<Vec<_>>()).unwrap();
    backend.gather(&y, 2, &index, &mut backend.zeros(2000).unwrap()).unwrap();
}

fn potentials<B: Backend>(backend: &B) {
    let n = 10_000;
    // From a marginal far off to one that is met to a rounding.
    let log_ratio: Vec<f64> =
        normals(n, 1).iter().zip([1e3, 30.0, 1.0, 1e-9, 1e-16].iter().cycle()).map(|(z, s)| z * s).collect();
    let log_ratio = backend.upload_reals(&log_ratio).unwrap();
    let mass = backend.upload_reals(vec![1.0 / n as f64; n]).unwrap();
    backend.marginal_error(&mass, &log_ratio).unwrap().read().unwrap();
    let (ground, mut potential) = (backend.upload(&normals(n, 2)).unwrap(), backend.upload(&normals(n, 3)).unwrap());
    let mut change = backend.zeros(n).unwrap();
    for damping in [Some(Damping { omega: 0.3, ground: &ground }), None] {
        backend.relax(&log_ratio, Update { eps: 1e-4, share: 0.5, damping }, &potential, &mut change).unwrap();
    }
    backend.advance(&change, &mut potential).unwrap();
    backend.round(&potential, &mut backend.zeros(n).unwrap()).unwrap();
    backend.largest_change(&ground, &change).unwrap().read().unwrap();
    backend.largest_fall(&ground, &change).unwrap().read().unwrap();
}

/// A linear iteration until it stands still.
fn acceleration<B: Backend>(backend: &B) {
    let n = 1000;
    let (mut memory, mass) = (Anderson::new(backend, n).unwrap(), backend.upload(&vec![1.0 / n as f64; n]).unwrap());
    let mut point = backend.upload(&normals(n, 1)).unwrap();
    for _ in 0..60 {
        let rates = [0.99, 0.9, 0.1].into_iter().cycle();
        let residual: Vec<f64> =
            backend.download(&point).unwrap().iter().zip(rates).map(|(x, rate)| (rate - 1.0) * (x - 1.0)).collect();
        backend.accelerate(&mut memory, &mass, &backend.upload(&residual).unwrap(), &mut point).unwrap();
    }
}

/// The sticky bits of this thread: whether an operand was denormal, and whether a result was lost below the normal numbers.
fn met_denormals() -> (bool, bool) {
    let mut status = 0u32;
    // SAFETY: it writes 32 bits to where there are as many.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut status, options(nostack, preserves_flags)) };
    (status & 0x2 != 0, status & 0x10 != 0)
}

/// Does nothing unless it is a child of the test below.
#[test]
fn one_kernel_in_a_process_of_its_own() {
    let Ok(kernel) = std::env::var(KERNEL) else { return };
    let [operation, precision, isa] = kernel.split('/').collect::<Vec<_>>()[..] else { panic!("{kernel}") };
    let isa = Isa::ALL.into_iter().find(|known| format!("{known:?}") == isa).unwrap();
    assert_eq!(met_denormals(), (false, false), "before any kernel");
    match precision {
        "f32" => run(&Cpu::<f32>::with(isa), operation),
        _ => run(&Cpu::<f64>::with(isa), operation),
    }
    let threads = rayon::broadcast(|_| met_denormals());
    let clear = threads.into_iter().chain([met_denormals()]).all(|met| met == (false, false));
    assert!(
        clear,
        "a thread met denormals: (an operand, an underflow) {:?}, here {:?}",
        rayon::broadcast(|_| met_denormals()),
        met_denormals()
    );
}

#[test]
fn no_kernel_makes_a_denormal_of_ordinary_input() {
    let kernels: Vec<String> = OPERATIONS
        .iter()
        .flat_map(|operation| ["f32", "f64"].map(|precision| format!("{operation}/{precision}")))
        .flat_map(|kernel| Isa::ALL.into_iter().filter(|isa| isa.is_available()).map(move |isa| format!("{kernel}/{isa:?}")))
        .collect();
    let program = std::env::current_exe().unwrap();
    let failed: Vec<&String> = kernels
        .iter()
        .filter(|kernel| {
            let name = "denormals::one_kernel_in_a_process_of_its_own";
            let output = Command::new(&program).args([name, "--exact", "--nocapture"]).env(KERNEL, kernel).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("1 passed") || said.contains("1 failed"), "{said}");
            !output.status.success()
        })
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
