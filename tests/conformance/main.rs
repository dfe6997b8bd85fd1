//! Conformance: every operation of the seam against a plain f64 reference of its equation, one suite for every backend.
//!
//! A suite is generic over `B: Backend`; each test runs it on one precision of the processor, with every instruction set that
//! is here, or on CUDA: emulated, in three thread orders that must give the same bits, and on the first GPU where there is one.
//! What is left out for want of a compiler or a GPU says so on stderr and is counted. Inputs are rounded to the precision of the
//! backend first, so that a tolerance is about its arithmetic alone.

#[path = "../reference/mod.rs"]
mod reference;

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(target_arch = "x86_64")]
mod denormals;
#[cfg(feature = "cuda")]
mod emulated;
mod inlining;
mod interpret;
mod nearest;
mod normals;
mod not_a_number;
mod pair_sum;
mod partial;
mod perceptron;
mod potential;
mod repeat;
mod run;
mod sample_plan;
mod seam;
mod share;
mod soft_mean;
mod soft_min;
mod soft_min_cost;
mod soft_min_half;
mod soft_min_self;
mod soft_min_tiles;
mod sweep;
mod top_k;
mod vector;

use brenier::backend::cpu::{Cpu, Isa};
use brenier::backend::{Backend, Real};
use brenier::random::{Philox, Stream};

/// Sizes (n, m, d): single rows and columns, whole blocks, one more and one less, a digit's and an image's dimension.
const SIZES: [(usize, usize, usize); 11] = [
    (1, 1, 1),
    (1, 7, 2),
    (5, 1, 3),
    (64, 48, 4),
    (63, 47, 1),
    (65, 49, 2),
    (130, 97, 3),
    (3, 200, 5),
    (131, 5, 8),
    (19, 331, 64),
    (9, 50, 784),
];

/// Runs `suite` with each instruction set of this processor.
fn on_each<T>(suite: impl Fn(&Cpu<T>)) {
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        suite(&Cpu::with(isa));
    }
}

/// Independent standard normals, different for each `step`.
fn normals(count: usize, step: u32) -> Vec<f64> {
    let mut z = vec![0.0; count];
    Philox::new(11, Stream::Source).normals(0, step, 0, &mut z);
    z.into_iter().map(f64::from).collect()
}

/// `host` as the backend holds it.
fn rounded<B: Backend>(host: &[f64]) -> Vec<f64> {
    host.iter().map(|&x| B::Real::from_f64(x).to_f64()).collect()
}

/// The largest relative rounding error of the backend.
fn rounding<B: Backend>() -> f64 {
    B::Real::ROUNDING
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn squared_distance(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum()
}

/// Fails unless |found − expected| ≤ tolerance, infinities included.
#[track_caller]
fn assert_near(found: f64, expected: f64, tolerance: f64, what: &dyn Fn() -> String) {
    let near = found == expected || (found - expected).abs() <= tolerance;
    assert!(near, "{}: {found:e} for {expected:e}, tolerance {tolerance:e}", what());
}
