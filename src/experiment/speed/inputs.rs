//! What the kernels are timed on: clouds of normals, a noise, a mixture and a program.

use crate::backend::{Backend, BackendError, Draw, Noise, Reals};
use crate::measure::{Covariance, Mixture};
use crate::path::{Grid, Schedule};
use crate::program::{Program, Step};
use crate::random::{Philox, Stream};

/// Steps of the interpreter.
pub const STEPS: usize = 20;
/// Components of its mixture.
pub const COMPONENTS: usize = 8;

/// n points of dimension d.
pub fn cloud<B: Backend>(backend: &B, n: usize, d: usize, step: u32) -> Result<Reals<B>, BackendError> {
    let mut points = backend.zeros(n * d)?;
    let noise = Noise::Counter { philox: Philox::new(0, Stream::Source), first: 0 };
    backend.normals(noise, Draw { step, number: 0, call: 0 }, d, &mut points)?;
    Ok(points)
}

/// The noise of a run.
pub fn noise() -> Noise<'static> {
    Noise::Counter { philox: Philox::new(0, Stream::Noise), first: 0 }
}

/// Isotropic components on a curve, the mixture of the peers' benchmark.
pub fn mixture(d: usize) -> Mixture {
    let mean = |k: usize| (0..d).map(|i| 2.0 * ((k * (i + 1)) as f64).sin()).collect();
    let variance = |k: usize| Covariance::Isotropic(0.05 + 0.02 * k as f64);
    let all = 0..COMPONENTS;
    Mixture::new(vec![1.0; COMPONENTS], all.clone().map(mean).collect(), all.map(variance).collect()).expect("parts that fit")
}

/// DDIM on a uniform grid.
pub fn ddim() -> Program {
    let schedule = Schedule::linear_vp(0.1, 20.0).expect("a valid schedule");
    let grid = Grid::uniform(&schedule, STEPS).expect("a valid grid");
    grid.steps().map(|(from, to)| Step::evaluate(from, to.alpha, to.sigma)).collect()
}
