//! Particles on the processor.

mod interpret;
mod normals;
mod perceptron;
pub(super) mod vector;

use std::ops::Range;

use crate::backend::cpu::Cpu;
use crate::backend::cpu::lane::Simd;
use crate::backend::{BackendError, Dense, Draw, Noise, Particles, Rows};
use crate::program::{Activation, MixtureProgram};

impl<T: Simd> Particles for Cpu<T> {
    fn normals(&self, noise: Noise<'_>, draw: Draw, d: usize, out: &mut Vec<T>) -> Result<(), BackendError> {
        normals::fill(self.isa, noise, draw, d, out);
        Ok(())
    }

    fn interpret(
        &self,
        program: &MixtureProgram,
        steps: Range<usize>,
        noise: Noise<'_>,
        registers: &mut [Vec<T>],
    ) -> Result<(), BackendError> {
        interpret::interpret(self.isa, program, steps, noise, registers);
        Ok(())
    }

    fn perceptron(
        &self,
        rows: Rows<'_, Self>,
        scale: f64,
        layers: &[Dense<'_, Self>],
        activation: Activation,
        out: &mut Vec<T>,
    ) -> Result<(), BackendError> {
        perceptron::perceptron(self.isa, rows, scale, layers, activation, out);
        Ok(())
    }

    fn combine(&self, registers: &mut [Vec<T>], dst: usize, terms: &[(usize, f64)]) -> Result<(), BackendError> {
        vector::combine(registers, dst, terms);
        Ok(())
    }

    fn clip(&self, x: &mut Vec<T>, low: f64, high: f64) -> Result<(), BackendError> {
        vector::clip(x, low, high);
        Ok(())
    }

    fn gather(&self, points: &Vec<T>, d: usize, index: &Vec<u32>, out: &mut Vec<T>) -> Result<(), BackendError> {
        vector::gather(points, d, index, out);
        Ok(())
    }
}
