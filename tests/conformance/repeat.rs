//! Bit for bit: results are functions of the inputs and a row's own index, not of threads, neighbours or batches.

use brenier::backend::{Backend, Columns, Draw, Logit, Noise, Out, PairKernel, Rows, Weighted};
use brenier::field::fold;
use brenier::random::{Philox, Stream};

use crate::interpret::{interpreted, mixture, programs};
use crate::soft_min::{Case, shifts};
use crate::{normals, on_each, rounded};

/// Log-sums (with shift number `shift` of [`shifts`]) and means of rows `rows` of the case.
fn soft_mean<B: Backend>(backend: &B, case: &Case, rows: &[usize], shift: usize) -> (Vec<f64>, Vec<f64>) {
    let answer: Vec<f64> = (0..case.n).map(|i| case.expect(i, 0.0).log_sum).collect();
    let shift = shifts::<B>(&answer).swap_remove(shift);
    let (d, n, p) = (case.d, rows.len(), 5);
    let x: Vec<f64> = rows.iter().flat_map(|&i| &case.x[i * d..][..d]).copied().collect();
    let shift = shift.map(|(s, c)| (rows.iter().map(|&i| s[i]).collect::<Vec<_>>(), c));
    let (_, packed) = case.upload(backend);
    let given = shift.as_ref().map(|(s, c)| (backend.upload_reals(s).unwrap(), *c));
    let points = backend.upload_reals(&x).unwrap();
    let values = backend.upload_reals(normals(case.m * p, 6)).unwrap();
    let (mut out, mut mean) = (backend.zeros(n).unwrap(), backend.zeros(n * p).unwrap());
    let (rows, columns) = (Rows { points: &points, n, d }, Columns { packed: &packed, m: case.m, d });
    let given = given.as_ref().map(|(s, c)| (s, *c));
    backend.soft_min(Logit::Product { rows, columns, shift: given }, Out::with_mean(&mut out, &values, p, &mut mean)).unwrap();
    (backend.download_reals(&out).unwrap(), backend.download_reals(&mean).unwrap())
}

/// Neighbours in a vector that need the guarded second run must not change a row that does not.
pub fn rows_alone<B: Backend>(backend: &B) {
    [1, 3, 5].into_iter().for_each(|d| row_alone(backend, (150, 101, d)));
}

fn row_alone<B: Backend>(backend: &B, (n, m, d): (usize, usize, usize)) {
    let case = Case::random::<B>((n, m, d));
    let all: Vec<usize> = (0..case.n).collect();
    let scattered: Vec<usize> = (0..case.n).map(|i| i * 67 % case.n).step_by(3).collect();
    for shift in 0..6 {
        let (out, mean) = soft_mean(backend, &case, &all, shift);
        for subset in [&scattered[..], &[4], &[n - 1, 3, 3]] {
            let (sub_out, sub_mean) = soft_mean(backend, &case, subset, shift);
            for (at, &i) in subset.iter().enumerate() {
                assert_eq!(sub_out[at].to_bits(), out[i].to_bits(), "m = {m}, d = {d}, shift {shift}, row {i}");
                assert_eq!(sub_mean[at * 5..][..5], mean[i * 5..][..5], "m = {m}, d = {d}, shift {shift}, row {i}");
            }
        }
    }
}

#[test]
fn a_row_of_the_soft_min_does_not_depend_on_the_other_rows() {
    on_each::<f32>(rows_alone);
    on_each::<f64>(rows_alone);
    // More columns than a part.
    on_each::<f32>(|backend| row_alone(backend, (12, 66_000, 2)));
    on_each::<f64>(|backend| row_alone(backend, (12, 66_000, 2)));
}

/// Particles of two ranges are those of the whole run, whatever the blocks they fall in.
pub fn ranges<B: Backend>(backend: &B) {
    let philox = Philox::new(1, Stream::Noise);
    let counter = |first: u32| Noise::Counter { philox, first };
    for (isotropic, d, n, cut) in [(true, 2, 100_000, 33_333), (false, 3, 1000, 333), (true, 5, 300, 31)] {
        let mixture = mixture(8, d, isotropic);
        let x = rounded::<B>(&normals(n * d, 1));
        for (name, program) in programs().into_iter().filter(|(_, program)| !program.is_deterministic()) {
            let folded = fold(&mixture, &program);
            let steps = [folded.steps.len()];
            let whole = interpreted(backend, &folded, &x, counter(17), &steps);
            let mut parts = interpreted(backend, &folded, &x[..cut * d], counter(17), &steps);
            parts.extend(interpreted(backend, &folded, &x[cut * d..], counter(17 + cut as u32), &steps));
            assert!(whole == parts, "{name}, {n} × {d}");
        }
    }
}

#[test]
fn two_ranges_of_particles_are_the_whole_run() {
    on_each::<f32>(ranges);
    on_each::<f64>(ranges);
}

/// All results that are sums or have rows, as bits.
fn everything<B: Backend>(backend: &B) -> Vec<u64> {
    let (n, m, d) = (700, 301, 3);
    let case = Case::random::<B>((n, m, d));
    let (mut out, mean) = soft_mean(backend, &case, &(0..n).collect::<Vec<_>>(), 4);
    out.extend(mean);
    let up = |host: &[f64]| backend.upload_reals(host).unwrap();
    let (x, y, a, b) = (up(&case.x), up(&case.y), up(&normals(n, 3)), up(&normals(m, 4)));
    let (rows, columns) = (Rows { points: &x, n, d }, Rows { points: &y, n: m, d });
    for kernel in [PairKernel::Distance, PairKernel::Gaussian(1.0)] {
        let (x, y) = (Weighted { points: rows, weights: &a }, Weighted { points: columns, weights: &b });
        out.push(backend.pair_sum(x, y, kernel).unwrap());
    }
    let mut index = backend.zeros(n).unwrap();
    backend.nearest(rows, &y, &mut index).unwrap();
    out.extend(backend.download(&index).unwrap().into_iter().map(f64::from));
    let (long, other) = (up(&normals(50_001, 5)), up(&normals(50_001, 6)));
    out.push(backend.marginal_error(&long, &other).unwrap().read().unwrap());
    let noise = Noise::Counter { philox: Philox::new(1, Stream::Noise), first: 0 };
    for (_, program) in programs() {
        let folded = fold(&mixture(8, d, true), &program);
        out.extend(interpreted(backend, &folded, &case.x, noise, &[folded.steps.len()]));
    }
    out.into_iter().map(f64::to_bits).collect()
}

fn threads<B: Backend>(backend: &B) {
    let with = |count: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
        pool.install(|| everything(backend))
    };
    let one = with(1);
    assert!(with(2) == one && with(8) == one);
}

#[test]
fn one_two_and_eight_threads_give_the_same_bits() {
    on_each::<f32>(threads);
    on_each::<f64>(threads);
}

#[test]
fn all_instruction_sets_and_precisions_draw_the_same_normals() {
    let mut draws: Vec<Vec<f64>> = Vec::new();
    fn draw<B: Backend>(backend: &B) -> Vec<f64> {
        let mut out = backend.zeros(1000 * 7).unwrap();
        let noise = Noise::Counter { philox: Philox::new(9, Stream::Noise), first: 3 };
        backend.normals(noise, Draw { step: 4, number: 1, call: 0 }, 7, &mut out).unwrap();
        backend.download_reals(&out).unwrap()
    }
    for isa in brenier::backend::cpu::Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        draws.push(draw(&brenier::backend::cpu::Cpu::<f32>::with(isa)));
        draws.push(draw(&brenier::backend::cpu::Cpu::<f64>::with(isa)));
    }
    assert!(draws.iter().all(|z| *z == draws[0]));
}

#[cfg(feature = "cuda")]
crate::cuda::suites! {
    on_emulator: rows_alone_on_emulated_cuda, rows_alone_on_a_gpu: rows_alone;
    on_emulator: ranges_on_emulated_cuda, ranges_on_a_gpu: ranges;
}
