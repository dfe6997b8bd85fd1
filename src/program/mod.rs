//! The program of a run: what every method compiles to and every backend interprets.
//!
//! A method maps a time grid to a list of steps; a step is a short list of operations over at most [`REGISTERS`] registers of
//! n × d numbers. Register 0 is the state x. All coefficients are computed in f64 on the host, so two methods are the same
//! when their programs are.

pub mod activation;
pub mod folded;
pub mod weights;

use crate::path::Level;

pub use activation::Activation;
pub(crate) use activation::{GELU_CUBE, GELU_TANH};
pub use folded::{Form, MixtureProgram, MixtureStep};
pub use weights::Weights;

/// Number of registers a program may use; register 0 is the state.
pub const REGISTERS: usize = 8;

/// A register of n × d numbers; 0 is the state.
pub type Register = usize;

/// The state x.
pub const STATE: Register = 0;

/// One operation on registers.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `dst ← p x̂₀ + q ε̂` of the field at `level` and the points in `src`, where x̂₀ is the denoised point and
    /// ε̂ = (src − α x̂₀)/σ the noise. The field returns the combination itself, so it is regular at α = 0, and at σ = 0
    /// with q = 0. Counts as one evaluation (nfe).
    Evaluate {
        /// Noise level.
        level: Level,
        /// Points at which the field is evaluated.
        src: Register,
        /// Factor of x̂₀.
        p: f64,
        /// Factor of ε̂.
        q: f64,
        /// Where the result goes.
        dst: Register,
    },
    /// `dst ← z`, standard normals of (particle, step, draw).
    Draw {
        /// Where the normals go.
        dst: Register,
        /// Number of the draw within its step, from 0.
        draw: u32,
    },
    /// `dst ← Σ coefficient · register`; `dst` may be among the terms.
    Combine {
        /// Where the sum goes.
        dst: Register,
        /// Registers and their factors.
        terms: Vec<(Register, f64)>,
    },
    /// Each coordinate of the register clamped to [low, high].
    Clip {
        /// The register.
        register: Register,
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
    },
}

/// The operations of one step; afterwards register 0 is the state at the next level.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// Operations in order.
    pub ops: Vec<Op>,
}

/// A run: its steps in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// Steps in order.
    pub steps: Vec<Step>,
}

impl Step {
    /// x ← p x̂₀ + q ε̂ at `level`.
    pub fn evaluate(level: Level, p: f64, q: f64) -> Self {
        Self { ops: vec![Op::Evaluate { level, src: STATE, p, q, dst: STATE }] }
    }

    /// The step with one more operation.
    pub fn then(mut self, op: Op) -> Self {
        self.ops.push(op);
        self
    }

    /// x ← x + s z, with a fresh draw z into register 1; nothing when s = 0.
    pub fn add_noise(self, s: f64) -> Self {
        self.add_noise_from(1, s)
    }

    /// The level of its first evaluation.
    pub fn level(&self) -> Option<Level> {
        self.ops.iter().find_map(|op| if let Op::Evaluate { level, .. } = op { Some(*level) } else { None })
    }

    /// Whether it reads a register besides the state that it has not written: what an earlier step left there.
    pub fn is_multistep(&self) -> bool {
        let mut written = [false; REGISTERS];
        written[STATE] = true;
        self.ops.iter().any(|op| {
            let (read, dst): (bool, Register) = match op {
                Op::Evaluate { src, dst, .. } => (written[*src], *dst),
                Op::Draw { dst, .. } => (true, *dst),
                Op::Combine { dst, terms } => (terms.iter().all(|(register, _)| written[*register]), *dst),
                Op::Clip { register, .. } => (written[*register], *register),
            };
            written[dst] = true;
            !read
        })
    }

    /// The step without the noise s z that it ends in, and s: x′ = drift(x) + s z. Other draws are left where they are.
    pub fn split(&self) -> (Self, f64) {
        if let [before @ .., Op::Draw { dst, .. }, Op::Combine { dst: STATE, terms }] = self.ops.as_slice()
            && let [(STATE, 1.0), (register, s)] = terms[..]
            && register == *dst
        {
            return (Self { ops: before.to_vec() }, s);
        }
        (self.clone(), 0.0)
    }

    /// [`Step::add_noise`] with the draw in `register`.
    pub fn add_noise_from(self, register: Register, s: f64) -> Self {
        if s == 0.0 {
            return self;
        }
        let draw = self.ops.iter().filter(|op| matches!(op, Op::Draw { .. })).count() as u32;
        let terms = vec![(STATE, 1.0), (register, s)];
        self.then(Op::Draw { dst: register, draw }).then(Op::Combine { dst: STATE, terms })
    }
}

impl FromIterator<Step> for Program {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self { steps: steps.into_iter().collect() }
    }
}

impl Program {
    /// Number of evaluations of the field, for each particle.
    pub fn nfe(&self) -> usize {
        self.ops().filter(|op| matches!(op, Op::Evaluate { .. })).count()
    }

    /// Number of registers that the operations name, at least 1 for the state.
    pub fn registers(&self) -> usize {
        let highest = |op: &Op| match op {
            Op::Evaluate { src, dst, .. } => *src.max(dst),
            Op::Draw { dst, .. } => *dst,
            Op::Combine { dst, terms } => terms.iter().fold(*dst, |high, term| high.max(term.0)),
            Op::Clip { register, .. } => *register,
        };
        self.ops().map(highest).max().unwrap_or(STATE) + 1
    }

    /// Whether no operation draws noise.
    pub fn is_deterministic(&self) -> bool {
        !self.ops().any(|op| matches!(op, Op::Draw { .. }))
    }

    /// All operations of all steps in order.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.steps.iter().flat_map(|step| &step.ops)
    }
}
