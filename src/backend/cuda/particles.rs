//! Particles on a GPU.

mod interpret;
mod normals;
mod perceptron;
pub(super) mod vector;

use std::ops::Range;

use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{BackendError, Dense, Draw, Noise, Particles, Rows};
use crate::program::{Activation, MixtureProgram};

impl Particles for Cuda {
    fn normals(&self, noise: Noise<'_>, draw: Draw, d: usize, out: &mut Buffer<f32>) -> Result<(), BackendError> {
        normals::fill(self, noise, draw, d, out)
    }

    fn interpret(
        &self,
        program: &MixtureProgram,
        steps: Range<usize>,
        noise: Noise<'_>,
        registers: &mut [Buffer<f32>],
    ) -> Result<(), BackendError> {
        interpret::interpret(self, program, steps, noise, registers)
    }

    fn perceptron(
        &self,
        rows: Rows<'_, Self>,
        scale: f64,
        layers: &[Dense<'_, Self>],
        activation: Activation,
        out: &mut Buffer<f32>,
    ) -> Result<(), BackendError> {
        perceptron::perceptron(self, rows, scale, layers, activation, out)
    }

    fn combine(&self, registers: &mut [Buffer<f32>], dst: usize, terms: &[(usize, f64)]) -> Result<(), BackendError> {
        vector::combine(self, registers, dst, terms)
    }

    fn clip(&self, x: &mut Buffer<f32>, low: f64, high: f64) -> Result<(), BackendError> {
        vector::clip(self, x, low, high)
    }

    fn gather(&self, points: &Buffer<f32>, d: usize, index: &Buffer<u32>, out: &mut Buffer<f32>) -> Result<(), BackendError> {
        vector::gather(self, points, d, index, out)
    }
}
