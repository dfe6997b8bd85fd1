//! CUDA among the backends: the suites on the emulator and on a GPU, and what only CUDA must show.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use brenier::backend::cpu::{Cpu, Isa};
use brenier::backend::cuda::Cuda;
use brenier::backend::{BackendError, Device, Precision, Storage};
use brenier::experiment::selftest::selftest;
use brenier::measure::Cloud;
use brenier::random::{Philox, Stream};
use brenier::transport::{Potentials, Problem, Sinkhorn};
use emulator::Order;

use crate::emulated::Emulator;
use crate::{interpret, normals, partial, sample_plan, top_k};

/// Says that a test did not run, past the harness's capture, and counts.
fn skip(why: &str) {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    let count = 1 + SKIPPED.fetch_add(1, Ordering::Relaxed);
    let _ = writeln!(std::io::stderr(), "skipped ({count} so far): {why}");
}

fn emulated(order: Order) -> (Arc<Emulator>, Cuda) {
    let launcher = Arc::new(Emulator::new(order));
    (launcher.clone(), Cuda::over(launcher, "emulator".into()).unwrap())
}

/// Runs `suite` on the emulator in each thread order; all that it reads back must be the same, bit for bit.
pub fn on_emulator(suite: impl Fn(&Cuda)) {
    if !emulator::COMPILED {
        return skip("no C++ compiler to emulate CUDA with");
    }
    let digests = Order::ALL.map(|order| {
        let (launcher, cuda) = emulated(order);
        suite(&cuda);
        launcher.digest()
    });
    assert!(digests[1..] == [digests[0]; 2], "the thread order changes the bits");
}

/// Runs `suite` on the emulator in one order: what takes long. `tests/kernels.rs` has these kernels in three.
pub fn in_one_order(suite: impl Fn(&Cuda)) {
    if !emulator::COMPILED {
        return skip("no C++ compiler to emulate CUDA with");
    }
    suite(&emulated(Order::Shuffled).1);
}

/// Runs `suite` on the first GPU.
pub fn on_gpu(suite: impl Fn(&Cuda)) {
    match Cuda::open(0) {
        Ok(cuda) => suite(&cuda),
        Err(why) => skip(&why.to_string()),
    }
}

/// One test on the emulator and one on a GPU for each suite, which stand at the foot of the suite's file.
macro_rules! suites {
    ($($run:ident: $emulated:ident, $gpu:ident: $suite:path;)*) => {
        $(
            #[test]
            fn $emulated() {
                $crate::cuda::$run($suite);
            }

            #[test]
            fn $gpu() {
                $crate::cuda::on_gpu($suite);
            }
        )*
    };
}
pub(crate) use suites;

suites! {
    on_emulator: partners_of_the_processor_on_emulated_cuda, partners_of_the_processor_on_a_gpu: partners;
    on_emulator: columns_shared_with_emulated_cuda, columns_shared_with_a_gpu: split;
}

/// Columns shared by a GPU and the processor.
fn split(cuda: &Cuda) {
    partial::split(cuda, &Cpu::<f32>::new());
}

/// Draws and likeliest partners are those of the processor.
fn partners(cuda: &Cuda) {
    let cpu = Cpu::<f32>::new();
    sample_plan::agree(&cpu, cuda);
    // Without fused multiply-adds the processor rounds logits twice.
    if cpu.isa() != Isa::Plain {
        top_k::agree(&cpu, cuda);
    }
}

/// What a user would see of a GPU that computes as the emulator does.
#[test]
fn the_selftest_passes_on_emulated_cuda() {
    in_one_order(|cuda| {
        let checked = selftest(&Device::Cuda(cuda.clone()), None, &mut |_| true);
        assert!(!checked.lost);
        for check in &checked.checks {
            assert!(check.passed, "{check:?}");
        }
    });
}

/// A kernel that fails is the failure of its own operation, with the device's words: the next ones are checked all the same, or,
/// where the device answers nothing any more, told to be still to check.
#[test]
fn the_selftest_goes_on_after_a_failure() {
    if !emulator::COMPILED {
        return skip("no C++ compiler to emulate CUDA with");
    }
    for stays in [false, true] {
        let mut launcher = Emulator::new(Order::Forward);
        launcher.broken = Some(("clip", stays));
        let device = Device::Cuda(Cuda::over(Arc::new(launcher), "emulator".into()).unwrap());
        for only in ["combine", "clip", "gather"] {
            let checked = selftest(&device, Some(only), &mut |_| true);
            let lost = stays && only != "combine";
            assert_eq!((checked.lost, checked.checks.len()), (lost, if lost { 1 } else { 5 }), "{only}");
            for check in checked.checks {
                assert_eq!(check.passed, only != "clip" && !lost, "{check:?}");
                assert_eq!(check.failure.is_some_and(|why| why.contains("failed on the GPU")), !check.passed);
            }
        }
    }
}

/// A launch that no device could do is refused before it runs.
#[test]
fn launches_beyond_the_limits_are_refused() {
    if !emulator::COMPILED {
        return skip("no C++ compiler to emulate CUDA with");
    }
    let (_, cuda) = emulated(Order::Forward);
    let launch =
        |kernel: &str, block: u32, shared: u32| unsafe { cuda.launcher().launch(kernel, [1; 3], [block, 1, 1], shared, &mut []) };
    for (kernel, block, shared) in [("clip", 257, 0), ("clip", 0, 0), ("clip", 256, 1 << 20), ("clap", 1, 0)] {
        assert!(matches!(launch(kernel, block, shared), Err(BackendError::Launch { .. })), "{kernel} {block} {shared}");
    }
}

/// Points whose potentials are looked at: n × d normals about `offset`, as f64 files have them.
fn cloud(n: usize, d: usize, offset: f64, step: u32) -> Cloud {
    Cloud::new(normals(n * d, step).into_iter().map(|z| offset + z).collect(), d).unwrap()
}

/// Sinkhorn's potentials on emulated CUDA against those in f64, at ε = 0.05 × mean cost: within 2e-5 of the largest, gauge fixed,
/// split products at d = 64 included; and 1e4 added to every coordinate changes nothing above 1e-6.
#[test]
fn potentials_on_emulated_cuda_are_those_of_f64() {
    if !emulator::COMPILED {
        return skip("no C++ compiler to emulate CUDA with");
    }
    let (_, cuda) = emulated(Order::Forward);
    let device = Device::Cuda(cuda);
    let sinkhorn = Sinkhorn { tol: 0.0, max_iter: 20, ..Sinkhorn::default() };
    for d in [3, 64] {
        let eps = 0.05 * d as f64; // the mean of ½|x − y|² is d
        let solve = |offset: f64, device: &Device| {
            let (x, y) = (cloud(150, d, offset, 1), cloud(170, d, offset, 2));
            let outcome = sinkhorn.solve(&Problem::new(&x, &y, eps).unwrap(), device).unwrap();
            [outcome.potentials.f, outcome.potentials.g].concat()
        };
        let (exact, found) = (solve(0.0, &Device::cpu(Precision::F64)), solve(0.0, &device));
        let size = exact.iter().fold(0.0, |size: f64, f| size.max(f.abs()));
        let off = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0, |off: f64, (a, b)| off.max((a - b).abs())) / size;
        assert!(off(&found, &exact) < 2e-5, "d = {d}: {:e}", off(&found, &exact));
        let moved = solve(1e4, &device);
        assert!(off(&moved, &found) < 1e-6, "d = {d}, moved: {:e}", off(&moved, &found));
    }
}

/// Points in half precision give on emulated CUDA, where products of one part are exact, the potentials that the processor finds
/// in f64 for the same rounded points: the debiased divergence and the map too.
#[test]
fn points_in_half_precision_have_the_potentials_of_the_rounded_points() {
    if !emulator::COMPILED {
        return skip("no C++ compiler to emulate CUDA with");
    }
    let (_, cuda) = emulated(Order::Forward);
    let (x, y) = (cloud(150, 20, 3.0, 1), cloud(170, 20, 4.0, 2));
    for storage in [Storage::F16, Storage::Bf16] {
        let solve = |device: &Device, target: &Cloud, storage: Storage| {
            let problem = Problem::new(&x, target, 1.0).unwrap().stored_in(storage).unwrap();
            let outcome = Sinkhorn { tol: 1e-5, ..Sinkhorn::default() }.solve(&problem, device).unwrap();
            assert!(outcome.converged, "{}", outcome.verdict);
            (outcome, problem.storage_error())
        };
        let exact = Device::cpu(Precision::F64);
        for target in [&y, &x] {
            let ((found, moved), (expected, _)) =
                (solve(&Device::Cuda(cuda.clone()), target, storage), solve(&exact, target, storage));
            assert!((found.dual - expected.dual).abs() < 1e-5 * expected.dual.abs(), "{} for {}", found.dual, expected.dual);
            let off = found.map().iter().zip(&expected.map()).fold(0.0, |off: f64, (a, b)| off.max((a - b).abs()));
            assert!(off < 1e-3, "a mapped point is off by {off:e}");
            // √(2 OT_ε) of clouds that move by r in all moves by r at most, and Storage::Full does not move them.
            let (full, none) = solve(&exact, target, Storage::Full);
            let change = (2.0 * found.regularised_cost).sqrt() - (2.0 * full.regularised_cost).sqrt();
            assert!(none == 0.0 && moved > 0.0 && change.abs() <= moved, "{change:e} for {moved:e}");
        }
    }
}

/// What the solver leaves on a device over `launcher`: potentials, as bits, and iterations.
fn solved(launcher: Arc<Emulator>, problem: &Problem, sinkhorn: Sinkhorn) -> (Vec<u64>, usize) {
    let device = Device::Cuda(Cuda::over(launcher, "emulator".into()).unwrap());
    let outcome = sinkhorn.solve(problem, &device).unwrap();
    assert!(sinkhorn.tol == 0.0 || outcome.marginal_error <= sinkhorn.tol, "{}", outcome.verdict);
    let Potentials { f, g } = outcome.potentials;
    (f.into_iter().chain(g).map(f64::to_bits).collect(), outcome.iterations)
}

/// An iteration that is recorded once and replayed with new potentials gives the bits of one that is launched anew each time:
/// plain and accelerated, balanced, with a free marginal and symmetric.
#[test]
fn a_replayed_iteration_has_the_bits_of_a_launched_one() {
    if !emulator::COMPILED {
        return skip("no C++ compiler to emulate CUDA with");
    }
    let (x, y) = (cloud(90, 3, 0.0, 1), cloud(70, 3, 1.0, 2));
    let plain = Sinkhorn { tol: 0.0, max_iter: 9, plain: true };
    let problem = |target| Problem::new(&x, target, 0.3).unwrap();
    let free = problem(&y).with_rho(None, Some(1.0)).unwrap();
    let tight = Sinkhorn { tol: 1e-5, ..Sinkhorn::default() };
    for (problem, sinkhorn) in [(problem(&y), plain), (problem(&y), tight), (free, tight), (problem(&x), tight)] {
        let [recorded, launched] = [true, false].map(|records| {
            let mut launcher = Emulator::new(Order::Forward);
            launcher.records = records;
            let launcher = Arc::new(launcher);
            let solved = solved(launcher.clone(), &problem, sinkhorn);
            assert_eq!(launcher.replays.load(Ordering::Relaxed) > 0, records);
            solved
        });
        assert!(recorded == launched, "{sinkhorn:?}");
    }
}

/// With too little memory for the clouds they go through the device in tiles, and the potentials are the same except for the
/// merging of tiles in f64 and the packing of columns on the host: a few roundings of f32 in log-sums of a few units. Without
/// room for the smallest tile the error says what was needed.
#[test]
fn clouds_that_do_not_fit_go_through_the_device_in_tiles() {
    if !emulator::COMPILED {
        return skip("no C++ compiler to emulate CUDA with");
    }
    let (x, y) = (cloud(700, 3, 0.0, 1), cloud(600, 3, 1.0, 2));
    let problem = Problem::new(&x, &y, 0.15).unwrap();
    let solve = |memory: u64| {
        let mut launcher = Emulator::new(Order::Forward);
        launcher.memory = memory;
        let device = Device::Cuda(Cuda::over(Arc::new(launcher), "emulator".into()).unwrap());
        Sinkhorn { tol: 0.0, max_iter: 12, plain: true }.solve(&problem, &device)
    };
    let resident = solve(1 << 32).unwrap();
    // The second has room for the means of the smallest tile alone.
    for memory in [150_000, 100_000] {
        let streamed = solve(memory).unwrap();
        let (map, again) = (resident.map(), streamed.map());
        let pairs = resident.potentials.f.iter().zip(&streamed.potentials.f).chain(map.iter().zip(&again));
        let off = pairs.fold(0.0, |off: f64, (a, b)| off.max((a - b).abs()));
        assert!(off < 2e-6, "{memory} bytes: {off:e}");
    }
    let error = solve(2_000).unwrap_err().to_string();
    assert!(error.contains("bytes and") && error.contains("are free; use fewer points"), "{error}");
}

/// Thirty iterations more, and the host waits not once more but for the errors, each asked for an iteration before it is read.
#[test]
fn the_host_waits_for_nothing_within_an_iteration() {
    if !emulator::COMPILED {
        return skip("no C++ compiler to emulate CUDA with");
    }
    let (x, y) = (cloud(40, 2, 0.0, 1), cloud(50, 2, 1.0, 2));
    let problem = Problem::new(&x, &y, 0.1).unwrap();
    let waits = |max_iter: usize, tol: f64| {
        let launcher = Arc::new(Emulator::new(Order::Forward));
        let device = Device::Cuda(Cuda::over(launcher.clone(), "emulator".into()).unwrap());
        let outcome = Sinkhorn { tol, max_iter, plain: tol == 0.0 }.solve(&problem, &device).unwrap();
        (launcher.waits.load(Ordering::Relaxed), launcher.late_reads.load(Ordering::Relaxed), outcome.residuals.len())
    };
    let ((few, few_late, _), (many, many_late, residuals)) = (waits(3, 0.0), waits(33, 0.0));
    assert_eq!((many, many_late - few_late), (few, 30));
    assert_eq!(residuals, many_late);
    // Accelerated, the levels of ε end by a wait each; what is within a level does not wait.
    let ((loose, ..), (tight, _, more)) = (waits(1000, 1e-3), waits(1000, 2e-6));
    assert!(tight <= loose + 2 && more >= residuals / 4, "{loose} waits, then {tight} for {more} residuals");
}

/// A million pairs of points in the plane are solved by kept tiles on emulated CUDA too, with marginals held or free, to the
/// cost that the processor finds: both stop at an error of 1e-3. More iterations bring over numbers to stop by, and no more
/// vectors.
#[test]
fn the_multiscale_solver_on_emulated_cuda_finds_the_processors_plan() {
    if !emulator::COMPILED {
        return skip("no C++ compiler to emulate CUDA with");
    }
    let (x, y) = (cloud(1100, 2, 0.0, 1), cloud(1030, 2, 0.5, 2));
    for rho in [None, Some(1.0)] {
        let problem = Problem::new(&x, &y, 0.02).unwrap().with_rho(rho, rho).unwrap();
        let on_emulator = |tol: f64| {
            let launcher = Arc::new(Emulator::new(Order::Forward));
            let device = Device::Cuda(Cuda::over(launcher.clone(), "emulator".into()).unwrap());
            let outcome = Sinkhorn { tol, ..Sinkhorn::default() }.solve(&problem, &device).unwrap();
            let [waits, numbers] = [&launcher.waits, &launcher.late_reads].map(|count| count.load(Ordering::Relaxed));
            (outcome, waits, numbers)
        };
        let (found, waits, numbers) = on_emulator(1e-3);
        let expected = Sinkhorn::default().solve(&problem, &Device::cpu(Precision::F32)).unwrap();
        assert!(found.converged && found.skipped_mass_bound > 0.0, "{:?}, {:e} skipped", found.verdict, found.skipped_mass_bound);
        let (cost, processors) = (found.transport_cost, expected.transport_cost);
        assert!((cost - processors).abs() <= 1e-3 * processors, "{cost} for {processors}");
        let (longer, more_waits, more_numbers) = on_emulator(2e-4);
        let iterations = longer.iterations - found.iterations;
        assert!(iterations >= 5 && more_numbers >= numbers + 3 * iterations, "{iterations}: {numbers}, {more_numbers} numbers");
        assert!(more_waits <= waits + 4, "{waits}, {more_waits} waits");
    }
}

/// A stochastic sampler's particles on emulated CUDA are within 1e-6 of the processor's, the noise being the same bits.
#[test]
fn samples_on_emulated_cuda_are_those_of_the_processor() {
    if !emulator::COMPILED {
        return skip("no C++ compiler to emulate CUDA with");
    }
    let (_, cuda) = emulated(Order::Forward);
    let noise = brenier::backend::Noise::Counter { philox: Philox::new(3, Stream::Noise), first: 0 };
    let mixture = interpret::mixture(8, 2, true);
    let start: Vec<f64> = normals(2 * 200, 1);
    let (_, program) = interpret::programs().swap_remove(4);
    let folded = brenier::field::fold(&mixture, &program);
    let steps = [folded.steps.len()];
    let on_gpu = interpret::interpreted(&cuda, &folded, &start, noise, &steps);
    let on_cpu = interpret::interpreted(&Cpu::<f32>::new(), &folded, &start, noise, &steps);
    for (i, (found, expected)) in on_gpu.iter().zip(&on_cpu).enumerate() {
        assert!((found - expected).abs() <= 1e-6, "number {i}: {found} for {expected}");
    }
}
