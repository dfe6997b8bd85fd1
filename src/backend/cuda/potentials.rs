//! Potentials on a GPU. Launches `kernels/pack.cu`, `kernels/potential.cu` and, by files of their own, `anderson.cu` and `reduce.cu`.

mod anderson;
pub(super) mod reduce;

use crate::backend::cuda::launcher::{Argument, Shape};
use crate::backend::cuda::{Buffer, Cuda};
use crate::backend::{Anderson, BackendError, Damping, LARGEST_BIAS, Potentials, Rows, Scale, Ticket, Update};
use reduce::{Reduction, reduce};

impl Potentials for Cuda {
    fn pack(
        &self,
        points: Rows<'_, Self>,
        scale: Scale<'_, Self>,
        bias: &Buffer<f32>,
        potential: Option<(&Buffer<f32>, f64)>,
        out: &mut Buffer<f32>,
    ) -> Result<(), BackendError> {
        let none = 0u64;
        let (factor, factors): (f64, &dyn Argument) = match scale {
            Scale::Uniform(k) => (k, &none),
            Scale::PerColumn(k) => (0.0, k),
        };
        let (c, potential): (f64, &dyn Argument) = match potential {
            Some((potential, c)) => (c, potential),
            None => (0.0, &none),
        };
        let (m, d) = (bias.len() as u64, points.d as u32);
        let arguments: [&dyn Argument; 10] = [&m, &d, points.points, &factor, factors, bias, &c, potential, &LARGEST_BIAS, out];
        self.launch("pack", Shape::covering(out.len())?, &arguments)
    }

    fn round(&self, x: &Buffer<f64>, out: &mut Buffer<f32>) -> Result<(), BackendError> {
        self.launch("round_potential", Shape::covering(out.len())?, &[&(out.len() as u64), x, out])
    }

    fn relax(
        &self,
        log_ratio: &Buffer<f32>,
        update: Update<'_, Self>,
        potential: &Buffer<f64>,
        change: &mut Buffer<f64>,
    ) -> Result<(), BackendError> {
        let (Update { eps, share, damping }, none) = (update, 0u64);
        let (omega, ground): (f64, &dyn Argument) = match damping {
            Some(Damping { omega, ground }) => (omega, ground),
            None => (1.0, &none),
        };
        let n = change.len() as u64;
        let arguments: [&dyn Argument; 8] = [&n, log_ratio, &eps, &omega, ground, &share, potential, change];
        self.launch("relax", Shape::covering(change.len())?, &arguments)
    }

    fn advance(&self, change: &Buffer<f64>, potential: &mut Buffer<f64>) -> Result<(), BackendError> {
        self.launch("advance", Shape::covering(potential.len())?, &[&(potential.len() as u64), change, potential])
    }

    fn accelerate(
        &self,
        memory: &mut Anderson<Self>,
        mass: &Buffer<f64>,
        residual: &Buffer<f64>,
        point: &mut Buffer<f64>,
    ) -> Result<(), BackendError> {
        anderson::accelerate(self, memory, mass, residual, point)
    }

    fn marginal_error(&self, a: &Buffer<f32>, log_ratio: &Buffer<f32>) -> Result<Ticket, BackendError> {
        reduce(self, Reduction::MarginalError, a, log_ratio)
    }

    fn largest_change(&self, mass: &Buffer<f64>, change: &Buffer<f64>) -> Result<Ticket, BackendError> {
        reduce(self, Reduction::LargestChange, mass, change)
    }

    fn largest_fall(&self, before: &Buffer<f64>, after: &Buffer<f64>) -> Result<Ticket, BackendError> {
        reduce(self, Reduction::LargestFall, before, after)
    }
}
