//! The fused interpreter on the processor: time a particle-step of DDIM and of a noisy step over an isotropic mixture.
//!
//! `cargo bench --bench interpret`; criterion prints elements a second, of which one is a particle-step.

use brenier::backend::cpu::{Cpu, Isa};
use brenier::backend::{Noise, Particles};
use brenier::field::fold;
use brenier::measure::{Covariance, Mixture};
use brenier::path::{Grid, Schedule};
use brenier::program::{Program, Step};
use brenier::random::{Philox, Stream};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// K isotropic components on a circle, the mixture of the peers' benchmark.
fn mixture(components: usize, dim: usize) -> Mixture {
    let mean = |k: usize| (0..dim).map(|i| 2.0 * ((k * (i + 1)) as f64).sin()).collect();
    let variance = |k: usize| Covariance::Isotropic(0.05 + 0.02 * k as f64);
    let all = 0..components;
    Mixture::new(vec![1.0; components], all.clone().map(mean).collect(), all.map(variance).collect()).unwrap()
}

fn interpret(c: &mut Criterion) {
    let (n, steps) = (100_000, 20);
    let grid = Grid::uniform(&Schedule::linear_vp(0.1, 20.0).unwrap(), steps).unwrap();
    let ddim: Program = grid.steps().map(|(from, to)| Step::evaluate(from, to.alpha, to.sigma)).collect();
    let noisy: Program =
        grid.steps().map(|(from, to)| Step::evaluate(from, to.alpha, 0.5 * to.sigma).add_noise(0.5 * to.sigma)).collect();
    let mut group = c.benchmark_group("interpret f32, n = 100,000, 20 steps");
    group.sample_size(10).throughput(Throughput::Elements((n * steps) as u64));
    let noise = Noise::Counter { philox: Philox::new(0, Stream::Noise), first: 0 };
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let cpu = Cpu::<f32>::with(isa);
        for (components, dim) in [(8, 2), (64, 2), (8, 64)] {
            for (name, program) in [("ddim", &ddim), ("with noise", &noisy)] {
                let folded = fold(&mixture(components, dim), program);
                let mut registers: Vec<_> = (0..folded.registers).map(|_| vec![0.5f32; n * dim]).collect();
                group.bench_function(BenchmarkId::new(name, format!("{isa:?} K={components} d={dim}")), |b| {
                    b.iter(|| cpu.interpret(&folded, 0..steps, noise, &mut registers).unwrap());
                });
            }
        }
    }
}

criterion_group!(benches, interpret);
criterion_main!(benches);
