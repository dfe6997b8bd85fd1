//! Why a flow cannot be run, or where it stopped.

use thiserror::Error;

use crate::backend::BackendError;
use crate::field::FieldError;
use crate::measure::CloudError;
use crate::sampler::RunError;
use crate::transport::TransportError;

/// Why a flow cannot be run, or where it stopped.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum FlowError {
    /// A τ that is not a valid step.
    #[error("tau = {tau}; a step of the flow needs a finite tau above zero")]
    Tau {
        /// The τ given.
        tau: f64,
    },
    /// A regularisation that drowns the step.
    #[error("eps = {eps} is not below tau = {tau}, so the step would blur more than it moves; use an eps of at most 0.1 tau")]
    EpsOfStep {
        /// The ε given.
        eps: f64,
        /// The τ given.
        tau: f64,
    },
    /// A potential that is not known.
    #[error("this scheme needs the potential of a law: a .json mixture, 8gaussians or normal:D; for points use sinkhorn-flow")]
    NeedsLaw,
    /// A σ that is not a valid noise.
    #[error("sigma = {sigma}; the noise of a continuation begins at a finite sigma above zero")]
    Noise {
        /// The σ given.
        sigma: f64,
    },
    /// A continuation in noise of a scheme that has none.
    #[error("only langevin and blob are annealed; leave the noise out, or take one of these schemes")]
    NotAnnealed,
    /// A kernel has no width.
    #[error("eps = {eps}; the width of the blob's kernel is the root of a finite eps above zero")]
    Width {
        /// The ε given.
        eps: f64,
    },
    /// A kernel density in a space too large for it.
    #[error(
        "the blob scheme needs neighbours within a kernel's width, which particles in dimension {dim} do not have; it takes at most \
         {limit}: use langevin, or sinkhorn-flow with draws of the target"
    )]
    TooManyDimensions {
        /// Dimension of the particles.
        dim: usize,
        /// The largest accepted.
        limit: usize,
    },
    /// Particles of another dimension than the target.
    #[error("the particles have dimension {particles} and the target {target}; both must live in the same space")]
    Dimensions {
        /// Dimension of the particles.
        particles: usize,
        /// Dimension of the target.
        target: usize,
    },
    /// A particle that left the scene: the step was too long for the potential.
    #[error(
        "particle {particle} ran away in step {step}: tau is too long for the steepest part of the potential; use a smaller tau. \
         The last good state is kept"
    )]
    Runaway {
        /// The step, from 0.
        step: usize,
        /// The particle, from 0.
        particle: usize,
    },
    /// The observer stopped the flow.
    #[error("stopped after {steps} steps")]
    Stopped {
        /// Steps made.
        steps: usize,
    },
    /// The transport problem behind a step has no answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The field behind a step cannot be evaluated.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The run behind the steps.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A state that is not a cloud.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The device could not do it.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl FlowError {
    /// Whether an observer stopped the flow, or a transport problem in it.
    pub fn is_stop(&self) -> bool {
        matches!(self, Self::Stopped { .. } | Self::Transport(TransportError::Stopped { .. }))
    }

    /// Refuses a τ that is not a valid step.
    pub(crate) fn check_tau(tau: f64) -> Result<(), Self> {
        if tau > 0.0 && tau.is_finite() { Ok(()) } else { Err(Self::Tau { tau }) }
    }
}
