//! Guidance: a combination of fields is a field,
//!
//! ```text
//! x̂₀ = Σ_i w_i x̂₀_i     ε̂ = Σ_i w_i ε̂_i     ∇log p = Σ_i w_i ∇log p_i        Σ_i w_i = 1
//! ```
//!
//! With weights that sum to 1, x = α x̂₀ + σ ε̂ holds for the combination as it does for its parts, so every method runs on it.
//! Classifier-free guidance (Ho, Salimans 2022, eq. 6) has the weights 1 + w and −w. At each level the score is that of
//! Π p_i^{w_i}; with noise this product is not the noisy product of the data's laws, so samples are not draws of that. It may act in an
//! interval of noise levels alone (Kynkäänniemi et al. 2024), elsewhere leaving the first field as it is.

use crate::backend::{Backend, Reals};
use crate::field::evaluate::{Evaluate, Evaluation};
use crate::field::{Field, FieldError};
use crate::path::Level;

/// Fields under weights that sum to 1. Made by [`Guided::new`].
#[derive(Clone, Debug)]
pub struct Guided {
    parts: Vec<(f64, Field)>,
    times: Times,
}

/// When guidance acts, as times of the schedule.
#[derive(Clone, Copy, Debug)]
struct Times {
    low: f64,
    high: f64,
}

impl Times {
    /// The weight of the part number `at`, which is `weight` while guidance acts.
    fn weight(self, level: Level, at: usize, weight: f64) -> f64 {
        let acts = self.low <= level.t && level.t <= self.high;
        if acts { weight } else { f64::from(at == 0) }
    }
}

/// How far from 1 the sum of the weights may be, over the sum of their sizes: roundings.
const SUM: f64 = 1e-12;

impl Guided {
    /// The combination of `parts`, each a weight and a field.
    ///
    /// # Errors
    /// [`FieldError`] when there are no parts, their dimensions differ, or the weights do not sum to 1.
    pub fn new(parts: Vec<(f64, Field)>) -> Result<Self, FieldError> {
        let (_, first) = parts.first().ok_or(FieldError::Weights { sum: 0.0 })?;
        let dim = first.dim();
        if let Some((_, other)) = parts.iter().find(|(_, part)| part.dim() != dim) {
            return Err(FieldError::Parts { dim, found: other.dim() });
        }
        let (sum, size) = parts.iter().fold((0.0, 0.0), |(sum, size), (w, _)| (sum + w, size + w.abs()));
        if (sum - 1.0).abs() <= SUM * size && size.is_finite() {
            Ok(Self { parts, times: Times { low: 0.0, high: 1.0 } })
        } else {
            Err(FieldError::Weights { sum })
        }
    }

    /// The combination from time `low` of the schedule to `high`, both included, and the first field alone at other times.
    ///
    /// # Errors
    /// [`FieldError::Interval`] unless 0 ≤ `low` < `high` ≤ 1.
    pub fn between(self, low: f64, high: f64) -> Result<Self, FieldError> {
        if !(0.0 <= low && low < high && high <= 1.0) {
            return Err(FieldError::Interval { low, high });
        }
        Ok(Self { times: Times { low, high }, ..self })
    }

    /// The weights and fields that make the sum at `level`: a weight of zero is left out.
    pub fn acting(&self, level: Level) -> impl Iterator<Item = (f64, &Field)> {
        let all = self.parts.iter().enumerate().map(move |(at, (weight, part))| (self.times.weight(level, at, *weight), part));
        all.filter(|(weight, _)| *weight != 0.0)
    }

    /// Weights and fields.
    pub fn parts(&self) -> &[(f64, Field)] {
        &self.parts
    }
}

impl Field {
    /// Classifier-free guidance with strength `w`: (1 + w) `conditional` − w `unconditional`.
    ///
    /// # Errors
    /// As [`Guided::new`].
    pub fn guided(conditional: Self, unconditional: Self, w: f64) -> Result<Self, FieldError> {
        Ok(Self::Guided(Guided::new(vec![(1.0 + w, conditional), (-w, unconditional)])?))
    }
}

/// The parts on a device, and registers of their own: the points, a part, the sum, and the workspace of a part.
pub(super) struct Parts<B: Backend> {
    parts: Vec<(f64, Box<dyn Evaluate<B>>)>,
    times: Times,
    dim: usize,
    registers: Option<(usize, [Reals<B>; 4])>,
}

const POINTS: usize = 0;
const PART: usize = 1;
const SUM_OF_PARTS: usize = 2;

impl<B: Backend> Parts<B> {
    pub fn new(backend: &B, guided: &Guided) -> Result<Self, FieldError> {
        let on = |(weight, part): &(f64, Field)| Ok((*weight, part.on(backend)?));
        let dim = guided.parts[0].1.dim();
        let parts = guided.parts.iter().map(on).collect::<Result<_, FieldError>>()?;
        Ok(Self { parts, times: guided.times, dim, registers: None })
    }
}

impl<B: Backend> Evaluate<B> for Parts<B> {
    fn evaluate(&mut self, backend: &B, evaluation: Evaluation, registers: &mut [Reals<B>]) -> Result<(), FieldError> {
        let Evaluation { level, n, src, dst, .. } = evaluation;
        let zeros = || backend.zeros(n * self.dim);
        let mut own = match self.registers.take() {
            Some((of, own)) if of == n => own,
            _ => [zeros()?, zeros()?, zeros()?, zeros()?],
        };
        std::mem::swap(&mut own[POINTS], &mut registers[src]);
        let times = self.times;
        let acting = self.parts.iter_mut().enumerate().map(|(at, (weight, part))| (times.weight(level, at, *weight), part));
        for (at, (weight, part)) in acting.filter(|(weight, _)| *weight != 0.0).enumerate() {
            part.evaluate(backend, Evaluation { src: POINTS, dst: PART, ..evaluation }, &mut own)?;
            // The first part begins the sum: what an earlier evaluation left there may not be finite.
            let terms = [(SUM_OF_PARTS, 1.0), (PART, weight)];
            backend.combine(&mut own, SUM_OF_PARTS, &terms[usize::from(at == 0)..])?;
        }
        std::mem::swap(&mut own[POINTS], &mut registers[src]);
        std::mem::swap(&mut own[SUM_OF_PARTS], &mut registers[dst]);
        self.registers = Some((n, own));
        Ok(())
    }
}
