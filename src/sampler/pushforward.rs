//! The density of what a deterministic program makes: of the law that its steps carry the prior to, whatever their number.
//!
//! ```text
//! log p(x_K) = log N(x_0; 0, σ_0²I) − log |det ∂x_K/∂x_0|
//! ```
//!
//! with the Jacobian carried through the program's operations (forward mode), so it is exact of these steps and tends to the density of
//! the flow as they become short: [`Likelihood`](crate::sampler::Likelihood) measures that one. It is the density that importance
//! weights need (Noé et al. 2019, eq. 1), provided that no two start points end at one, which steps that are too long can bring about.

use nalgebra::DMatrix;
use rayon::prelude::*;

use crate::field::{Field, FieldError};
use crate::path::Level;
use crate::program::{Op, Program, STATE};
use crate::sampler::RunError;
use crate::sampler::likelihood::{LARGEST_EXACT, log_prior};
use crate::watch::{Progress, Watch};

/// Particles between two looks at whether to go on.
const BLOCK: usize = 256;
const VALUES: &str = "log densities";

/// The law that a program carries the prior N(0, σ²I) to.
#[derive(Clone, Copy, Debug)]
pub struct Pushforward<'a> {
    /// The program. It draws nothing.
    pub program: &'a Program,
    /// The level of the prior.
    pub first: Level,
    /// The field.
    pub field: &'a Field,
}

impl Pushforward<'_> {
    /// Refuses a program or a field whose law has no density that could be told.
    ///
    /// # Errors
    /// [`RunError::DrawsNoise`], [`RunError::NeedsLaw`], and [`RunError::TooManyDerivatives`] beyond 64 dimensions.
    pub fn check(&self) -> Result<(), RunError> {
        let dim = self.field.dim();
        if !self.program.is_deterministic() {
            return Err(RunError::DrawsNoise);
        }
        if !self.field.has_density() {
            return Err(RunError::NeedsLaw { method: "a density of samples", what: "the density", instead: "a trained model" });
        }
        if dim > LARGEST_EXACT { Err(RunError::TooManyDerivatives { dim, most: LARGEST_EXACT }) } else { Ok(()) }
    }

    /// log p, in nats, of where each of the points `start`, n × d, ends. What `watch` keeps of an earlier run is not done again.
    ///
    /// # Errors
    /// Those of [`Pushforward::check`], [`RunError::Field`] where the field cannot be evaluated, and [`RunError::Stopped`].
    pub fn log_p(&self, start: &[f64], mut watch: Watch<'_>) -> Result<Vec<f64>, RunError> {
        self.check()?;
        let d = self.field.dim();
        if !start.len().is_multiple_of(d) {
            return Err(RunError::Dimension { start: start.len(), field: d });
        }
        let mut values = watch.array(VALUES).unwrap_or_default().to_vec();
        let n = start.len() / d;
        while values.len() < n {
            let done = values.len();
            let go_on = watch.tell(Progress { done, of: Some(n), ..Progress::default() });
            if !watch.pass(go_on, |part| part.keep_array(VALUES, values.clone())) {
                return Err(RunError::Stopped { steps: done });
            }
            let block = done..n.min(done + BLOCK);
            let of_one = |i: usize| self.of_one(i, &start[i * d..(i + 1) * d]);
            values.extend(block.into_par_iter().map(of_one).collect::<Result<Vec<f64>, FieldError>>()?);
        }
        Ok(values)
    }

    /// log p where `particle` ends that starts at `x`.
    fn of_one(&self, particle: usize, x: &[f64]) -> Result<f64, FieldError> {
        let d = x.len();
        // Each register with its derivatives along the axes of x_0, (1 + d) × d.
        let mut registers = vec![vec![0.0; d * (d + 1)]; self.program.registers()];
        registers[STATE][..d].copy_from_slice(x);
        registers[STATE][d..].iter_mut().step_by(d + 1).for_each(|diagonal| *diagonal = 1.0);
        for op in self.program.ops() {
            match *op {
                Op::Evaluate { level, src, p, q, dst } => {
                    let (x, axes) = registers[src].split_at(d);
                    let (value, products) = self.field.with_derivatives(level, (p, q), particle, x, axes)?;
                    registers[dst] = [value, products].concat();
                }
                Op::Draw { .. } => {} // `check` has refused it
                Op::Combine { dst, ref terms } => {
                    let mut sum = vec![0.0; d * (d + 1)];
                    for (register, factor) in terms {
                        sum.iter_mut().zip(&registers[*register]).for_each(|(sum, x)| *sum += factor * x);
                    }
                    registers[dst] = sum;
                }
                Op::Clip { register, low, high } => {
                    let (x, axes) = registers[register].split_at_mut(d);
                    for (i, x) in x.iter_mut().enumerate().filter(|(_, x)| **x < low || **x > high) {
                        *x = x.clamp(low, high);
                        axes.iter_mut().skip(i).step_by(d).for_each(|slope| *slope = 0.0);
                    }
                }
            }
        }
        let upper = DMatrix::from_column_slice(d, d, &registers[STATE][d..]).lu().u();
        let log_det: f64 = upper.diagonal().iter().map(|pivot| pivot.abs().ln()).sum();
        Ok(log_prior(self.first, x) - log_det)
    }
}
