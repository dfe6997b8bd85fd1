//! What the operations of the selftest are given: random clouds, a noise, a mixture and a program.

use crate::backend::Noise;
use crate::measure::{Covariance, Mixture};
use crate::path::{Grid, Schedule};
use crate::program::{Op, Program, Step};
use crate::random::{Philox, Stream};

/// Rows, columns, dimension.
#[derive(Clone, Copy)]
pub struct Inputs {
    pub n: usize,
    pub m: usize,
    pub d: usize,
}

/// Independent standard normals, numbers of f32, different for each `step`.
pub fn normals(count: usize, step: u32) -> Vec<f64> {
    let mut z = vec![0.0; count];
    Philox::new(0, Stream::Source).normals(0, step, 0, &mut z);
    z.into_iter().map(f64::from).collect()
}

pub fn counter() -> Noise<'static> {
    Noise::Counter { philox: Philox::new(0, Stream::Noise), first: 5 }
}

/// Eight components with means of size one.
pub fn mixture(d: usize, isotropic: bool) -> Mixture {
    let covariance = |k: usize| {
        let variance = 0.3 + 0.1 * k as f64;
        if isotropic {
            return Covariance::Isotropic(variance);
        }
        let matrix: Vec<f64> = (0..d * d).map(|at| if at / d == at % d { variance } else { 0.05 }).collect();
        Covariance::from_matrix(&matrix, d).expect("a positive diagonal that outweighs the rest")
    };
    let means = (0..8).map(|k| normals(d, 10 + k)).collect();
    Mixture::new(vec![1.0; 8], means, (0..8).map(covariance).collect()).expect("weights, means and covariances that fit")
}

/// Three steps, each with an evaluation, noise, and a clip that few particles reach.
pub fn program() -> Program {
    let schedule = Schedule::linear_vp(0.1, 20.0).expect("a valid schedule");
    let grid = Grid::uniform(&schedule, 3).expect("a valid grid");
    let step = |from, to: crate::path::Level| {
        Step::evaluate(from, to.alpha, 0.8 * to.sigma).add_noise(0.6 * to.sigma).then(Op::Clip {
            register: 0,
            low: -9.0,
            high: 9.0,
        })
    };
    grid.steps().map(|(from, to)| step(from, to)).collect()
}
