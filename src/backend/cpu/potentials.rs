//! Potentials on the processor.

mod anderson;
mod potential;

use crate::backend::cpu::Cpu;
use crate::backend::cpu::lane::Simd;
use crate::backend::cpu::pairs::soft_min;
use crate::backend::cpu::particles::vector;
use crate::backend::{Anderson, BackendError, Potentials, Rows, Scale, Ticket, Update};

impl<T: Simd> Potentials for Cpu<T> {
    fn pack(
        &self,
        points: Rows<'_, Self>,
        scale: Scale<'_, Self>,
        bias: &Vec<T>,
        potential: Option<(&Vec<T>, f64)>,
        out: &mut Vec<T>,
    ) -> Result<(), BackendError> {
        soft_min::pack(points, scale, bias, potential.map(|(g, c)| (g.as_slice(), c)), out);
        Ok(())
    }

    fn round(&self, x: &Vec<f64>, out: &mut Vec<T>) -> Result<(), BackendError> {
        potential::round(x, out);
        Ok(())
    }

    fn relax(
        &self,
        log_ratio: &Vec<T>,
        update: Update<'_, Self>,
        potential: &Vec<f64>,
        change: &mut Vec<f64>,
    ) -> Result<(), BackendError> {
        potential::relax(log_ratio, update, potential, change);
        Ok(())
    }

    fn advance(&self, change: &Vec<f64>, potential: &mut Vec<f64>) -> Result<(), BackendError> {
        potential::advance(change, potential);
        Ok(())
    }

    fn accelerate(
        &self,
        memory: &mut Anderson<Self>,
        mass: &Vec<f64>,
        residual: &Vec<f64>,
        point: &mut Vec<f64>,
    ) -> Result<(), BackendError> {
        anderson::accelerate(memory, mass, residual, point);
        Ok(())
    }

    fn marginal_error(&self, a: &Vec<T>, log_ratio: &Vec<T>) -> Result<Ticket, BackendError> {
        Ok(Ticket::known(vector::sum(a.len(), |i| a[i].to_f64() * log_ratio[i].to_f64().exp_m1().abs())))
    }

    fn largest_change(&self, mass: &Vec<f64>, change: &Vec<f64>) -> Result<Ticket, BackendError> {
        Ok(Ticket::known(potential::largest_change(mass, change)))
    }

    fn largest_fall(&self, before: &Vec<f64>, after: &Vec<f64>) -> Result<Ticket, BackendError> {
        Ok(Ticket::known(potential::largest_fall(before, after)))
    }
}
