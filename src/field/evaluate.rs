//! A field on a device: what does not change from evaluation to evaluation is uploaded once.

use crate::backend::{Backend, Noise, Reals};
use crate::field::classes::ByClass;
use crate::field::given::Host;
use crate::field::guided::Parts;
use crate::field::network::Forward;
use crate::field::points::Points;
use crate::field::{Field, FieldError, fold};
use crate::measure::Mixture;
use crate::path::Level;
use crate::program::{Op, Program, Step};

/// `registers[dst] ← p x̂₀ + q ε̂` at `level` and the `n` points in `registers[src]`, with `of` = (p, q).
#[derive(Clone, Copy, Debug)]
pub struct Evaluation {
    /// The level.
    pub level: Level,
    /// The factors p of x̂₀ and q of ε̂.
    pub of: (f64, f64),
    /// Number of points.
    pub n: usize,
    /// The register with the points.
    pub src: usize,
    /// The register that the result goes to; it may be `src`.
    pub dst: usize,
}

/// A field whose data lie on a device.
pub trait Evaluate<B: Backend>: Send {
    /// Makes `evaluation`; the last register is workspace.
    fn evaluate(&mut self, backend: &B, evaluation: Evaluation, registers: &mut [Reals<B>]) -> Result<(), FieldError>;
}

impl Field {
    /// The field with its data on `backend`.
    pub(crate) fn on<B: Backend>(&self, backend: &B) -> Result<Box<dyn Evaluate<B>>, FieldError> {
        Ok(match self {
            Self::Mixture(mixture) => Box::new(OneByOne(mixture.clone())),
            Self::DataSet(cloud) => Box::new(Points::new(backend, cloud, None)?),
            Self::Transport { target, g, .. } if g.len() != target.len() => {
                return Err(FieldError::Potential { found: g.len(), needed: target.len() });
            }
            Self::Transport { target, g, eps } => Box::new(Points::new(backend, target, Some((g, *eps)))?),
            Self::Network(network) => Box::new(Forward::new(backend, network)?),
            Self::Given(field) => Box::new(Host(field.clone())),
            Self::Classes(classes) => Box::new(ByClass::new(backend, classes)?),
            Self::Guided(guided) => Box::new(Parts::new(backend, guided)?),
        })
    }
}

/// A mixture whose evaluations are not known beforehand: each is folded by itself.
struct OneByOne(Mixture);

impl<B: Backend> Evaluate<B> for OneByOne {
    fn evaluate(&mut self, backend: &B, evaluation: Evaluation, registers: &mut [Reals<B>]) -> Result<(), FieldError> {
        let Evaluation { level, of: (p, q), src, dst, .. } = evaluation;
        let step = Step { ops: vec![Op::Evaluate { level, src, p, q, dst }] };
        let folded = fold(&self.0, &Program { steps: vec![step] });
        Ok(backend.interpret(&folded, 0..1, Noise::NONE, &mut registers[..=src.max(dst)])?)
    }
}
