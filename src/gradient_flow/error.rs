//! Why a flow cannot be run, or where it stopped.

use thiserror::Error;

use crate::backend::BackendError;
use crate::field::FieldError;
use crate::measure::CloudError;
use crate::path::GridError;
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
    /// An option that the scheme would not look at.
    #[error("{scheme} does not take {option}, which is for {schemes}; leave it out, or take one of these schemes")]
    NotTaken {
        /// The scheme.
        scheme: &'static str,
        /// The option.
        option: &'static str,
        /// The schemes that take it.
        schemes: String,
    },
    /// Two options of which each sets the levels.
    #[error("tau and a schedule each say how long the steps are; give one of them")]
    TauOfSchedule,
    /// A name that is not known.
    #[error("there is no scheme {name:?}; did you mean {nearest:?}? known: {}", crate::gradient_flow::entry::names().collect::<Vec<_>>().join(", "))]
    UnknownScheme {
        /// The name asked for.
        name: String,
        /// The nearest known name.
        nearest: &'static str,
    },
    /// Noise that is added towards something else than a normal.
    #[error(
        "forward adds noise until N(0, I) is reached, so its target is normal (normal:D in dimension D), and its source the data"
    )]
    NeedsNormalTarget,
    /// Noise that is taken away from something else than a normal.
    #[error("{scheme} takes noise away from N(0, I), so its source is normal (normal:D in dimension D), and its target the data")]
    NeedsNormalSource {
        /// The scheme.
        scheme: &'static str,
    },
    /// Levels along which noise is not the flow of any fixed energy.
    #[error(
        "at alpha = {alpha}, sigma = {sigma} adding noise is not the gradient flow of any fixed energy; take a schedule with \
         alpha² + sigma² = 1, such as linear-vp, or with alpha = 1, such as ve"
    )]
    NoFunctional {
        /// α of the level.
        alpha: f64,
        /// σ of the level.
        sigma: f64,
    },
    /// A method that does not make one step from each level to the next.
    #[error("the method makes {steps} steps along {levels} levels; a chain needs one from each level to the next")]
    Levels {
        /// Levels of the grid.
        levels: usize,
        /// Steps of the method.
        steps: usize,
    },
    /// A method whose steps use what earlier ones have left.
    #[error(
        "a step of this method uses an evaluation of an earlier one; a chain makes each step from the state alone: take ddim or ddpm"
    )]
    Multistep,
    /// More steps than levels lead to.
    #[error("this scheme has only {steps} steps; ask for fewer, or build it with more levels")]
    Ended {
        /// Steps that it has.
        steps: usize,
    },
    /// The levels.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// A kernel has no width.
    #[error("eps = {eps}; the width of a kernel density is the root of a finite eps above zero")]
    Width {
        /// The ε given.
        eps: f64,
    },
    /// A kernel density in a space too large for it.
    #[error(
        "a kernel density needs neighbours within its kernel's width, which particles in dimension {dim} do not have; it takes \
         at most {limit} dimensions: use langevin, or sinkhorn-flow with draws of the target"
    )]
    TooManyDimensions {
        /// Dimension of the particles.
        dim: usize,
        /// The largest accepted.
        limit: usize,
    },
    /// Too few particles for a covariance of full rank.
    #[error(
        "{particles} particles in dimension {dim} have no covariance of full rank; between Gaussians the implicit scheme needs \
         more than {dim} particles"
    )]
    TooFewParticles {
        /// Particles.
        particles: usize,
        /// Their dimension.
        dim: usize,
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
