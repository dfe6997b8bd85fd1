//! Runs a program over a field: fused over all steps for a mixture, stage by stage for networks and for fields that are
//! soft-mins over points.

use thiserror::Error;

use crate::backend::{Backend, BackendError, Blend, Columns, Device, Draw, Logit, Mean, Noise, Out, Reals, Rows, Scale, Task};
use crate::field::network::LevelError;
use crate::field::{Field, fold};
use crate::io::Part;
use crate::measure::Cloud;
use crate::path::Level;
use crate::program::MixtureProgram;
use crate::program::{Op, Program, STATE, Step};
use crate::sampler::adaptive::AdaptiveError;
use crate::sampler::forward::Forward;

/// Why a program cannot run on a field.
#[derive(Clone, Debug, Error, PartialEq)]
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
    /// A potential of another length than its target.
    #[error("the transport field has a potential of length {found} on a target of {needed} points")]
    Potential {
        /// Length of the potential.
        found: usize,
        /// Number of target points.
        needed: usize,
    },
    /// ε̂ of a field of points at σ = 0.
    #[error("at sigma = 0 a field of points knows only the nearest point, not the noise; end with an Euler step (euler_last)")]
    NoiseAtData,
    /// A level at which a network does not determine the step.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// The observer stopped the run.
    #[error("stopped after {steps} steps")]
    Stopped {
        /// Steps made.
        steps: usize,
    },
    /// A method that needs the field of each particle at a time or noise of its own, or the score of the data.
    #[error(
        "{method} needs the field of a law: 8gaussians, normal:D or a .json mixture; for points take pf-heun, or a pc method"
    )]
    NeedsLaw {
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

impl Field {
    /// Dimension d.
    pub fn dim(&self) -> usize {
        match self {
            Self::Mixture(mixture) => mixture.dim(),
            Self::DataSet(cloud) | Self::Transport { target: cloud, .. } => cloud.dim(),
            Self::Network(network) => network.dim(),
        }
    }

    /// The score ∇log p = −ε̂/σ at `level` for all `points`, n × d; of a law with a density also at σ = 0.
    ///
    /// # Errors
    /// [`RunError`] when sizes disagree or the device fails.
    pub fn score(&self, level: Level, points: &[f64], device: &Device) -> Result<Vec<f64>, RunError> {
        let level = level.with_score();
        let program = Program { steps: vec![Step::evaluate(level, 0.0, -1.0 / level.sigma)] };
        program.run(self, points, Noise::Given(&[]), device, Observe::Progress(&mut |_| true))
    }

    /// Whether the field at σ = 0 is known beyond x̂₀: for a law with a density and for a network whose prediction says it, not
    /// for points.
    pub fn is_regular_at_data(&self) -> bool {
        match self {
            Self::Mixture(_) => true,
            Self::DataSet(_) | Self::Transport { .. } => false,
            Self::Network(network) => network.is_regular_at_data(),
        }
    }
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
    /// The end points of the particles that start at `start`, n × d row-major, moved by `field`.
    ///
    /// # Errors
    /// [`RunError`] when sizes disagree, a field of points is asked for noise at σ = 0, or the observer stops the run.
    pub fn run(
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

    /// As [`Program::run`] from `start`, but that what `kept` has is not done again; also all states, the start and the end among
    /// them, if `trajectory`. `go_on` is told the number of steps made and says whether to: if not, `kept` has what was done.
    ///
    /// # Errors
    /// As [`Program::run`].
    #[allow(clippy::too_many_arguments)]
    pub fn resume(
        &self,
        field: &Field,
        start: Vec<f64>,
        noise: Noise<'_>,
        device: &Device,
        trajectory: bool,
        mut kept: Part<'_>,
        go_on: &mut (dyn FnMut(usize) -> bool + Send),
    ) -> Result<(Vec<f64>, Vec<f64>), RunError> {
        let mut states = kept.array(TRAJECTORY).unwrap_or_default().to_vec();
        let mut run = Underway::kept(&kept).unwrap_or_else(|| Underway::from(start));
        while run.made < self.steps.len() {
            let mut goes_on = true;
            let mut tell = |made: usize| {
                goes_on = go_on(made);
                goes_on && !kept.is_due()
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
            if run.made < self.steps.len() && !kept.pass(goes_on, keep) {
                return Err(RunError::Stopped { steps: run.made });
            }
        }
        Ok((run.registers.swap_remove(STATE), states))
    }

    /// Goes on with `run` until the last step is made or the observer says stop; it may be continued.
    ///
    /// # Errors
    /// As [`Program::run`], but that a stop is no error.
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
        if let Field::Transport { target, g, .. } = field
            && g.len() != target.len()
        {
            return Err(RunError::Potential { found: g.len(), needed: target.len() });
        }
        let draws = self.ops().filter(|op| matches!(op, Op::Draw { .. })).count();
        match noise {
            Noise::Given(given) if given.len() < draws * start.len() => {
                return Err(RunError::Noise { needed: draws * start.len(), given: given.len(), draws });
            }
            Noise::Counter { first, .. } if u64::from(first) + (start.len() / d) as u64 > 1 << 32 => {
                return Err(RunError::Particles { first, last: u64::from(first) + (start.len() / d) as u64 - 1 });
            }
            _ => {}
        }
        device.run(Run { program: self, field, run, noise, observe })
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
            Field::DataSet(cloud) => Stepper::Staged(Box::new(Points::new(backend, cloud, None, n)?)),
            Field::Transport { target, g, eps } => Stepper::Staged(Box::new(Points::new(backend, target, Some((g, *eps)), n)?)),
            Field::Network(network) => Stepper::Staged(Box::new(Forward::new(backend, network, n)?)),
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
                                field.evaluate(backend, level, src, (p, q), dst, &mut registers)?;
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

enum Stepper<'a, B: Backend> {
    Fused(MixtureProgram),
    Staged(Box<dyn Evaluate<B> + 'a>),
}

/// A field that is evaluated stage by stage.
pub(super) trait Evaluate<B: Backend> {
    /// `dst ← p x̂₀ + q ε̂` at the points in `src`; the last register is workspace.
    fn evaluate(
        &mut self,
        backend: &B,
        level: Level,
        src: usize,
        of: (f64, f64),
        dst: usize,
        registers: &mut [Reals<B>],
    ) -> Result<(), RunError>;
}

/// A field that is a softmax over points: x̂₀ = Σ_j w_j y_j.
struct Points<B: Backend> {
    n: usize,
    d: usize,
    m: usize,
    /// y, m × d; those without weight are left out.
    points: Reals<B>,
    /// y − ȳ with ȳ the mean: x·ȳ is common to all columns, so products of points far from the origin need not hold it.
    centred: Reals<B>,
    /// ½|y|² − ½|ȳ|².
    half_squares: Reals<B>,
    /// The part of the logit that no level changes.
    bias: Reals<B>,
    /// ε of the entropic plan; none for a data set.
    eps: Option<f64>,
    packed: Reals<B>,
    log_sum: Reals<B>,
    index: B::Buf<u32>,
}

impl<B: Backend> Points<B> {
    /// `plan` is the potential g and ε of an entropic plan; none for a data set.
    fn new(backend: &B, cloud: &Cloud, plan: Option<(&[f64], f64)>, n: usize) -> Result<Self, BackendError> {
        let present: Vec<usize> = (0..cloud.len()).filter(|&j| cloud.weight(j) > 0.0).collect();
        let (m, d, mean) = (present.len(), cloud.dim(), cloud.mean());
        let potential = |j: usize| plan.map_or(0.0, |(g, eps)| g[j] / eps);
        let bias: Vec<f64> = present.iter().map(|&j| cloud.weight(j).ln() + potential(j)).collect();
        let points: Vec<f64> = present.iter().flat_map(|&j| cloud.row(j)).copied().collect();
        let centred: Vec<f64> = points.iter().zip(mean.iter().cycle()).map(|(y, m)| y - m).collect();
        let half_square = |y: &[f64]| 0.5 * y.iter().zip(&mean).map(|(y, m)| (y - m) * (y + m)).sum::<f64>();
        let half_squares: Vec<f64> = points.chunks_exact(d).map(half_square).collect();
        Ok(Self {
            n,
            d,
            m,
            points: backend.upload_reals(&points)?,
            centred: backend.upload_reals(&centred)?,
            half_squares: backend.upload_reals(&half_squares)?,
            bias: backend.upload_reals(&bias)?,
            eps: plan.map(|(_, eps)| eps),
            packed: backend.zeros(m * (d + 1))?,
            log_sum: backend.zeros(n)?,
            index: backend.zeros(n)?,
        })
    }
}

impl<B: Backend> Evaluate<B> for Points<B> {
    /// `dst ← p A + q (src − α A)/σ`, with A the softmax mean of the points.
    fn evaluate(
        &mut self,
        backend: &B,
        level: Level,
        src: usize,
        (p, q): (f64, f64),
        dst: usize,
        registers: &mut [Reals<B>],
    ) -> Result<(), RunError> {
        let Level { alpha, sigma, .. } = level;
        let Self { n, d, m, .. } = *self;
        let last = registers.len() - 1;
        let (registers_in, made) = registers.split_at_mut(last);
        let made = &mut made[0];
        if sigma > 0.0 {
            // −|x − αy|²/2σ² for a data set, −|x − y|²/2εσ for a plan; the parts in |x|² and x·ȳ are common to all columns.
            let (product, square) = match self.eps {
                None => (alpha / (sigma * sigma), -alpha * alpha / (sigma * sigma)),
                Some(eps) => (1.0 / (eps * sigma), -1.0 / (eps * sigma)),
            };
            let potential = Some((&self.half_squares, square));
            let centred = Rows { points: &self.centred, n: m, d };
            backend.pack(centred, Scale::Uniform(product), &self.bias, potential, &mut self.packed)?;
            let rows = Rows { points: &registers_in[src], n, d };
            let columns = Columns { packed: &self.packed, m, d };
            let blend = Some(Blend { s: p - q * alpha / sigma, t: q / sigma, with: &registers_in[src] });
            let mean = Some(Mean { values: &self.points, p: d, out: made, blend });
            backend.soft_min(Logit::Product { rows, columns, shift: None }, Out { log_sum: &mut self.log_sum, mean })?;
            registers.swap(dst, last);
            return Ok(());
        }
        if q != 0.0 {
            return Err(RunError::NoiseAtData);
        }
        backend.nearest(Rows { points: &registers_in[src], n, d }, &self.points, &mut self.index)?;
        backend.gather(&self.points, d, &self.index, made)?;
        Ok(backend.combine(registers, dst, &[(last, p)])?)
    }
}
