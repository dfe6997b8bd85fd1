//! The soft-min on the processor: time a pair, beside the limit of the vector units.
//!
//! `cargo bench --bench soft_min`; criterion prints elements a second, of which one is a pair: 10 Gelem/s is 0.1 ns a pair.

use std::hint::black_box;

use brenier::backend::cpu::{Cpu, Isa};
use brenier::backend::{Columns, Half, Logit, Out, Pairs, Potentials, Rows, Scale, Sweep};
use brenier::random::{Philox, Stream};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// n × d normals about `shift`, the clouds of the peers' benchmark.
fn cloud(n: usize, d: usize, shift: f32, step: u32) -> Vec<f32> {
    let philox = Philox::new(0, Stream::Source);
    let mut points = vec![0.0; n * d];
    for (i, row) in points.chunks_mut(d).enumerate() {
        philox.normals(i as u32, step, 0, row);
        row.iter_mut().for_each(|x| *x += shift);
    }
    points
}

fn soft_min(c: &mut Criterion) {
    let n = 10_000;
    let mut group = c.benchmark_group("soft_min f32, n = m = 10,000");
    group.sample_size(10).throughput(Throughput::Elements((n * n) as u64));
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let cpu = Cpu::<f32>::with(isa);
        for d in [2, 3, 64] {
            let eps = 0.025 * d as f64;
            let (x, y) = (cloud(n, d, 0.0, 0), cloud(n, d, 1.0, 1));
            let bias: Vec<f32> = y.chunks(d).map(|y| -y.iter().map(|y| y * y).sum::<f32>() / (2.0 * eps as f32)).collect();
            let mut packed = vec![0.0; n * (d + 1)];
            cpu.pack(Rows { points: &y, n, d }, Scale::Uniform(1.0 / eps), &bias, None, &mut packed).unwrap();
            let (mut shift, mut out, mut mean) = (vec![0.0; n], vec![0.0; n], vec![0.0; n * d]);
            let (rows, columns) = (Rows { points: &x, n, d }, Columns { packed: &packed, m: n, d });
            cpu.soft_min(Logit::Product { rows, columns, shift: None }, Out::of(&mut shift)).unwrap();
            let id = |case: &str| BenchmarkId::new(case, format!("{isa:?} d={d}"));
            group.bench_function(id("shifted"), |b| {
                let logit = || Logit::Product { rows, columns, shift: Some((black_box(&shift), 1.0)) };
                b.iter(|| cpu.soft_min(logit(), Out::of(&mut out)).unwrap());
            });
            group.bench_function(id("running maximum"), |b| {
                let logit = || Logit::Product { rows, columns, shift: None };
                b.iter(|| cpu.soft_min(logit(), Out::of(black_box(&mut out))).unwrap());
            });
            group.bench_function(id("with mean of y"), |b| {
                let logit = || Logit::Product { rows, columns, shift: Some((&shift, 1.0)) };
                b.iter(|| cpu.soft_min(logit(), Out::with_mean(&mut out, &y, d, black_box(&mut mean))).unwrap());
            });
            // Both half-steps of an iteration, where keeping the scores of all pairs pays.
            let Some(mut scores) = cpu.scores(rows, Rows { points: &y, n, d }, None).unwrap() else { continue };
            let half = |points: &[f32]| points.chunks(d).map(|x| 0.5 * x.iter().map(|x| x * x).sum::<f32>()).collect::<Vec<_>>();
            let (p, q, weights) = (half(&x), half(&y), vec![1.0 / n as f32; n]);
            let (rows, columns) = (Half { potential: &p, weights: &weights }, Half { potential: &q, weights: &weights });
            let sweep = Sweep { k: 1.0 / eps, rows, columns, damping: None };
            let mut ratio = vec![0.0; n];
            group.bench_function(id("sweep of kept scores"), |b| {
                b.iter(|| cpu.sweep(&mut scores, &sweep, &mut out, black_box(&mut ratio)).unwrap());
            });
        }
    }
}

criterion_group!(benches, soft_min);
criterion_main!(benches);
