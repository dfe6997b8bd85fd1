//! What each call of the model weighs in the end point.
//!
//! Every operation but [`Op::Clip`] is linear in the registers, and an evaluation is in the output y of the model: x = α x̂₀ + σ ε̂ gives
//! p x̂₀ + q ε̂ = a x + b y. So the end point is
//!
//! ```text
//! x_end = w x_start + Σ_k w_k y_k + Σ_j ω_j z_j
//! ```
//!
//! with weights that the program alone determines. They are found exactly, from the end backwards: λ_r is what register r still weighs.
//! Gao et al. 2024 ("Diffusion models and Gaussian flow matching", §"Stochasticity") compare samplers by them.

use crate::path::{Level, Prediction, combination};
use crate::program::{Op, Program, REGISTERS, STATE};

/// The weights of an end point.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// w, of the start.
    pub start: f64,
    /// w_k, of each call's output in the order of the calls.
    pub calls: Vec<f64>,
    /// √Σω_j², the standard deviation that the draws add.
    pub noise: f64,
}

impl Program {
    /// Step, from 0, and level of each call of the model.
    pub fn calls(&self) -> impl Iterator<Item = (usize, Level)> {
        let steps = self.steps.iter().enumerate();
        steps.flat_map(|(step, of_step)| {
            of_step.ops.iter().filter_map(move |op| if let Op::Evaluate { level, .. } = op { Some((step, *level)) } else { None })
        })
    }

    /// The weights of the end point where the model's output is `output`; none where a register is clipped, or x and `output` do not
    /// determine an evaluation, as x̂₀ is not by ε̂ at pure noise.
    ///
    /// ```
    /// use brenier::path::{Grid, Prediction, Schedule};
    /// use brenier::sampler::{Euler, Method};
    ///
    /// let program = Euler.program(&Grid::uniform(&Schedule::CondOt, 4)?);
    /// let weights = program.weights(Prediction::Velocity).expect("a velocity is defined everywhere on this path");
    /// assert_eq!((weights.start, weights.calls), (1.0, vec![0.25; 4])); // x + Σ h v
    /// # Ok::<(), brenier::Error>(())
    /// ```
    pub fn weights(&self, output: Prediction) -> Option<Weights> {
        let (mut of, mut calls, mut square) = ([0.0; REGISTERS], Vec::with_capacity(self.nfe()), 0.0);
        of[STATE] = 1.0;
        for op in self.steps.iter().rev().flat_map(|step| step.ops.iter().rev()) {
            match op {
                Op::Evaluate { level, src, p, q, dst } => {
                    let (x, y) = combination(output, (*p, *q), *level)?;
                    let weight = std::mem::take(&mut of[*dst]);
                    of[*src] += weight * x;
                    calls.push(weight * y);
                }
                Op::Draw { dst, .. } => square += std::mem::take(&mut of[*dst]).powi(2),
                Op::Combine { dst, terms } => {
                    let weight = std::mem::take(&mut of[*dst]);
                    terms.iter().for_each(|(register, factor)| of[*register] += weight * factor);
                }
                Op::Clip { .. } => return None,
            }
        }
        calls.reverse();
        Some(Weights { start: of[STATE], calls, noise: square.sqrt() })
    }
}
