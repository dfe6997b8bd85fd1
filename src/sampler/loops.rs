//! Methods that cannot be programs, because they choose steps from the particles or keep a clock for each of them.

pub mod adaptive_flow;
pub mod energy;

use crate::backend::{Device, Noise};
use crate::checkpoint::{Checkpoint, Part};
use crate::field::Field;
use crate::path::Level;
use crate::sampler::run::check_particles;
use crate::sampler::{RunError, Tries};

/// A sampling method that is not a [`Program`](crate::program::Program).
pub trait Loop {
    /// The level whose noise the particles start from.
    fn start(&self) -> Level;

    /// Moves the particles, skipping what `pauses` holds of an earlier run.
    ///
    /// # Errors
    /// [`RunError`] when sizes disagree, the field is not one that the method runs on, or `pauses` says stop.
    fn run(&self, ensemble: Ensemble<'_>, pauses: &mut Pauses<'_>) -> Result<Looped, RunError>;
}

/// Particles, the field that moves them, and where it is computed.
#[derive(Clone, Copy)]
pub struct Ensemble<'a> {
    /// The field.
    pub field: &'a Field,
    /// Where the particles start, n × d row-major.
    pub start: &'a [f64],
    /// Their noise.
    pub noise: Noise<'a>,
    /// Where the field is evaluated.
    pub device: &'a Device,
}

/// Where a loop ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Looped {
    /// The end points, n × d.
    pub points: Vec<f64>,
    /// Evaluations of models ([`Field::evaluations`]), the mean over the particles.
    pub nfe: usize,
    /// Steps accepted and rejected, of each particle; empty where no error decides on them.
    pub tries: Vec<Tries>,
    /// The log density of each end point and its standard error by the probes, 0 without them; empty where it was not asked for.
    pub log_p: Vec<[f64; 2]>,
}

impl dyn Loop {
    /// Runs the method, skipping work already stored in `checkpoint`. `go_on` receives the progress now and then; when it returns
    /// `false` the run stops and `checkpoint` holds its state.
    ///
    /// # Errors
    /// As [`Loop::run`].
    pub fn resume(
        &self,
        ensemble: Ensemble<'_>,
        checkpoint: &mut Checkpoint,
        go_on: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Looped, RunError> {
        let d = ensemble.field.dim();
        if !ensemble.start.len().is_multiple_of(d) {
            return Err(RunError::Dimension { start: ensemble.start.len(), field: d });
        }
        check_particles(ensemble.noise, ensemble.start.len() / d)?;
        self.run(ensemble, &mut Pauses { part: checkpoint.part("loop"), go_on })
    }
}

/// Points of a run from which it can go on.
pub struct Pauses<'a> {
    /// What is kept of an earlier run.
    pub part: Part<'a>,
    go_on: &'a mut dyn FnMut(usize) -> bool,
}

impl Pauses<'_> {
    /// Tells that `made` steps are made; `keep` keeps the state where it has to be.
    ///
    /// # Errors
    /// [`RunError::Stopped`].
    pub fn pass(&mut self, made: usize, keep: impl FnOnce(&mut Part<'_>)) -> Result<(), RunError> {
        let go_on = (self.go_on)(made);
        if self.part.pass(go_on, keep) { Ok(()) } else { Err(RunError::Stopped { steps: made }) }
    }
}
