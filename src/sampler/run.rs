//! Runs a program over a field: fused over all steps for a mixture, stage by stage for networks and for fields that are
//! soft-mins over points.

use thiserror::Error;

use crate::backend::{Backend, BackendError, Device, Draw, Noise, Task};
use crate::checkpoint::Part;
use crate::field::evaluate::{Evaluate, Evaluation};
use crate::field::{Field, FieldError, fold};
use crate::program::{MixtureProgram, Op, Program, STATE};
use crate::sampler::adaptive::AdaptiveError;
use crate::watch::{Progress, Watch};

/// Why a program cannot run on a field.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum RunError {
    /// Start points of another dimension than the field.
    #[error("{start} start coordinates do not make points of the field's dimension {field}; give rows of that length")]
    Dimension {
        /// Number of start coordinates.
        start: usize,
        /// Dimension of the field.
        field: usize,
    },
    /// Too few given draws.
    #[error("the run draws {needed} numbers of noise and {given} are given; the noise file needs {draws} draws of n × d")]
    Noise {
        /// Numbers needed.
        needed: usize,
        /// Numbers given.
        given: usize,
        /// Draws the program makes.
        draws: usize,
    },
    /// More particles than the counter of the noise can tell apart.
    #[error("particles {first} to {last} do not all have an index below 2^32; start the range at a lower particle")]
    Particles {
        /// Index of the first particle.
        first: u32,
        /// Index of the last one.
        last: u64,
    },
    /// The field cannot be evaluated.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The observer stopped the run.
    #[error("stopped after {steps} steps")]
    Stopped {
        /// Steps made.
        steps: usize,
    },
    /// A method that needs the score of the data.
    #[error("{method} needs {what} of a law: 8gaussians, normal:D or a .json mixture; for points take {instead}")]
    NeedsLaw {
        /// The method.
        method: &'static str,
        /// What of the law it needs.
        what: &'static str,
        /// What to take for points.
        instead: &'static str,
    },
    /// A step that nothing determines.
    #[error("{method} takes its step from the least variance of a law, which is not known of this field; give --step")]
    NeedsStep {
        /// The method.
        method: &'static str,
    },
    /// Langevin steps beyond their limit.
    #[error(
        "{method} in steps of {step} does not settle in a mode of variance {variance}, the least of this law: the steps must be shorter than twice that, and a tenth of it keeps their bias small"
    )]
    Unstable {
        /// The method.
        method: &'static str,
        /// Its step.
        step: f64,
        /// The law's least variance.
        variance: f64,
    },
    /// Too few levels for the β of a table.
    #[error(
        "{method} needs at least {least} steps, and {levels} are asked for: in fewer its beta would be above 1; give --steps {least} or more"
    )]
    TooFewLevels {
        /// The method.
        method: &'static str,
        /// Levels asked for.
        levels: usize,
        /// The fewest that it can do with.
        least: usize,
    },
    /// The density of samples that noise was drawn for.
    #[error(
        "the method draws noise, so the density of its samples is not known in closed form; take a deterministic one such as fm-heun, or measure the samples with evaluate --log-likelihood"
    )]
    DrawsNoise,
    /// A Jacobian of too many columns.
    #[error(
        "in {dim} dimensions the density of a method's samples takes {dim} derivatives at each evaluation, and {most} at most are made; take dopri5, which estimates the divergence, or measure the samples with evaluate --log-likelihood"
    )]
    TooManyDerivatives {
        /// The dimension.
        dim: usize,
        /// The most derivatives made.
        most: usize,
    },
    /// σ/α from pure noise on.
    #[error("the run is one in sigma/alpha, which is infinite at pure noise; take a schedule such as ve or linear-vp")]
    PureNoise,
    /// The error of a step could not be kept.
    #[error(transparent)]
    Adaptive(#[from] AdaptiveError),
    /// The device could not do it.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// What a run tells while it goes on.
pub enum Observe<'a> {
    /// Nothing but the number of steps made, now and then; `false` stops the run.
    Progress(&'a mut (dyn FnMut(usize) -> bool + Send)),
    /// The state after every step (0: the start), n × d.
    States(&'a mut (dyn FnMut(usize, &[f64]) -> bool + Send)),
}

/// The record of a run's steps and registers.
const MADE: &str = "steps made and registers";
/// The array of all states.
const TRAJECTORY: &str = "trajectory";

/// A run under way: all that it takes to go on, bit for bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Underway {
    /// Steps made.
    pub made: usize,
    /// The registers after them, each n × d; after the last step only the state.
    pub registers: Vec<Vec<f64>>,
}

impl Underway {
    /// A run that begins at `start`, n × d row-major.
    pub fn from(start: Vec<f64>) -> Self {
        Self { made: 0, registers: vec![start] }
    }

    /// Keeps the run.
    pub fn keep(&self, part: &mut Part<'_>) {
        part.keep_record(MADE, &(self.made, self.registers.len()));
        for (register, values) in self.registers.iter().enumerate() {
            part.keep_array(&format!("register {register}"), values.clone());
        }
    }

    /// The run that was kept.
    pub fn kept(part: &Part<'_>) -> Option<Self> {
        let (made, count) = part.record::<(usize, usize)>(MADE)?;
        let register = |register| part.array(&format!("register {register}")).map(<[f64]>::to_vec);
        Some(Self { made, registers: (0..count).map(register).collect::<Option<_>>()? })
    }
}

impl Program {
    /// Evaluations of models for each particle on `field`: of a guided one several where [`Program::nfe`] has one.
    pub fn evaluations(&self, field: &Field) -> usize {
        self.ops().map(|op| if let Op::Evaluate { level, .. } = op { field.evaluations(*level) } else { 0 }).sum()
    }

    /// The end points of the particles that start at `start`, n × d row-major, moved by `field`.
    ///
    /// # Errors
    /// [`RunError`] when sizes disagree, or a field of points is asked for noise at σ = 0.
    pub fn run(&self, field: &Field, start: &[f64], noise: Noise<'_>, device: &Device) -> Result<Vec<f64>, RunError> {
        self.observed(field, start, noise, device, Observe::Progress(&mut |_| true))
    }

    /// As [`Program::run`], observed on the way.
    ///
    /// # Errors
    /// As [`Program::run`], and [`RunError::Stopped`] when the observer stops the run.
    pub fn observed(
        &self,
        field: &Field,
        start: &[f64],
        noise: Noise<'_>,
        device: &Device,
        observe: Observe<'_>,
    ) -> Result<Vec<f64>, RunError> {
        let mut run = Underway::from(start.to_vec());
        self.advance(field, &mut run, noise, device, observe)?;
        if run.made < self.steps.len() {
            return Err(RunError::Stopped { steps: run.made });
        }
        Ok(run.registers.swap_remove(STATE))
    }

    /// As [`Program::run`], skipping the steps that `watch` has kept; also all states, the start and the end among them, if
    /// `trajectory`.
    ///
    /// # Errors
    /// As [`Program::run`], and [`RunError::Stopped`] when the watch stops the run, whose state it then keeps.
    pub fn resume(
        &self,
        field: &Field,
        start: Vec<f64>,
        noise: Noise<'_>,
        device: &Device,
        trajectory: bool,
        mut watch: Watch<'_>,
    ) -> Result<(Vec<f64>, Vec<f64>), RunError> {
        let mut states = watch.array(TRAJECTORY).unwrap_or_default().to_vec();
        let mut run = watch.kept().and_then(Underway::kept).unwrap_or_else(|| Underway::from(start));
        while run.made < self.steps.len() {
            let mut goes_on = true;
            let mut tell = |made: usize| {
                goes_on = watch.tell(Progress::of_steps(made));
                goes_on && !watch.keeps(goes_on)
            };
            let mut keep = |made: usize, state: &[f64]| {
                // The state at which a run is resumed is there already.
                if states.len() == made * state.len() {
                    states.extend_from_slice(state);
                }
                tell(made)
            };
            let observe = if trajectory { Observe::States(&mut keep) } else { Observe::Progress(&mut tell) };
            self.advance(field, &mut run, noise, device, observe)?;
            let keep = |part: &mut Part<'_>| {
                run.keep(part);
                part.keep_array(TRAJECTORY, states.clone());
            };
            if run.made < self.steps.len() && !watch.pass(goes_on, keep) {
                return Err(RunError::Stopped { steps: run.made });
            }
        }
        Ok((run.registers.swap_remove(STATE), states))
    }

    /// Goes on with `run` until the last step is made or the observer says stop; it may be continued.
    ///
    /// # Errors
    /// As [`Program::run`]; a stop is not an error.
    pub fn advance(
        &self,
        field: &Field,
        run: &mut Underway,
        noise: Noise<'_>,
        device: &Device,
        observe: Observe<'_>,
    ) -> Result<(), RunError> {
        let (d, start) = (field.dim(), &run.registers[STATE]);
        if !start.len().is_multiple_of(d) {
            return Err(RunError::Dimension { start: start.len(), field: d });
        }
        let draws = self.ops().filter(|op| matches!(op, Op::Draw { .. })).count();
        match noise {
            Noise::Given(given) if given.len() < draws * start.len() => {
                return Err(RunError::Noise { needed: draws * start.len(), given: given.len(), draws });
            }
            _ => check_particles(noise, start.len() / d)?,
        }
        device.run(Run { program: self, field, run, noise, observe })
    }
}

/// Refuses more particles than the counter of `noise` can tell apart.
pub(super) fn check_particles(noise: Noise<'_>, n: usize) -> Result<(), RunError> {
    match noise {
        Noise::Counter { first, .. } if u64::from(first) + n as u64 > 1 << 32 => {
            Err(RunError::Particles { first, last: u64::from(first) + n as u64 - 1 })
        }
        _ => Ok(()),
    }
}

/// Steps that are fused into one launch when only progress is watched.
const FUSED: usize = 128;

struct Run<'a, 'o> {
    program: &'a Program,
    field: &'a Field,
    run: &'a mut Underway,
    noise: Noise<'a>,
    observe: Observe<'o>,
}

impl Task for Run<'_, '_> {
    type Output = Result<(), RunError>;

    fn run<B: Backend>(self, backend: &B) -> Self::Output {
        let Self { program, field, run, noise, mut observe } = self;
        let (len, count) = (run.registers[STATE].len(), program.registers());
        let mut registers = Vec::with_capacity(count + 1);
        for register in 0..count {
            registers
                .push(run.registers.get(register).map_or_else(|| backend.zeros(len), |values| backend.upload_reals(values))?);
        }
        let d = field.dim();
        let n = len / d;
        let mut stepper = match field {
            Field::Mixture(mixture) => Stepper::Fused(fold(mixture, program)),
            other => Stepper::Staged(other.on(backend)?),
        };
        if matches!(stepper, Stepper::Staged(_)) {
            registers.push(backend.zeros(len)?); // workspace of `Evaluate::evaluate`
        }
        let stride = match (&stepper, &observe) {
            (Stepper::Fused(_), Observe::Progress(_)) => FUSED,
            _ => 1,
        };
        let is_draw = |op: &&Op| matches!(op, Op::Draw { .. });
        let mut made = run.made;
        let mut calls = program.steps[..made].iter().flat_map(|step| &step.ops).filter(is_draw).count();
        loop {
            let go_on = match &mut observe {
                Observe::Progress(progress) => progress(made),
                Observe::States(states) => states(made, &backend.download_reals(&registers[STATE])?),
            };
            let done = made == program.steps.len();
            if done || !go_on {
                run.made = made;
                let kept = registers.iter().take(if done { 1 } else { count });
                run.registers = kept.map(|register| backend.download_reals(register)).collect::<Result<_, _>>()?;
                return Ok(());
            }
            let next = program.steps.len().min(made + stride);
            match &mut stepper {
                Stepper::Fused(folded) => backend.interpret(folded, made..next, noise, &mut registers)?,
                Stepper::Staged(field) => {
                    for op in &program.steps[made].ops {
                        match *op {
                            Op::Evaluate { level, src, p, q, dst } => {
                                let evaluation = Evaluation { level, of: (p, q), n, src, dst };
                                field.evaluate(backend, evaluation, &mut registers)?;
                            }
                            Op::Draw { dst, draw } => {
                                let draw = Draw { step: made as u32, number: draw, call: calls };
                                backend.normals(noise, draw, d, &mut registers[dst])?;
                                calls += 1;
                            }
                            Op::Combine { dst, ref terms } => backend.combine(&mut registers, dst, terms)?,
                            Op::Clip { register, low, high } => backend.clip(&mut registers[register], low, high)?,
                        }
                    }
                }
            }
            made = next;
        }
    }
}

enum Stepper<B: Backend> {
    Fused(MixtureProgram),
    Staged(Box<dyn Evaluate<B>>),
}
