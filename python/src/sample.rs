//! Particles moved from noise to data, by any method, over a law, points, a model, or a function of Python's.

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};

use brenier::Error;
use brenier::backend::{Noise, Precision};
use brenier::field::signature::Clock;
use brenier::field::{Batch, Field, HostField, Signature};
use brenier::path::{Prediction, Schedule, Spacing};
use brenier::random::{Philox, Stream};
use brenier::sampler::{self, Churn, Compat, Course, Ensemble, Moves, Options, Pushforward, prior_error};
use brenier::watch::{Progress, Watch};
use numpy::{IntoPyArray, PyArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::array::{Array, given_back};
use crate::error::{exception, in_keywords};
use crate::measure;
use crate::work;

/// The keywords of `sample`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Asked<'py> {
    method: String,
    n: Option<u32>,
    steps: Option<usize>,
    grid: Option<String>,
    times: Option<Bound<'py, PyAny>>,
    schedule: Option<String>,
    shift: Option<f64>,
    eta: Option<f64>,
    churn: Option<f64>,
    step: Option<f64>,
    tol: Option<f64>,
    snr: Option<f64>,
    probability_flow: bool,
    length: Option<f64>,
    compat: Vec<String>,
    start: Option<Bound<'py, PyAny>>,
    noise: Option<Bound<'py, PyAny>>,
    trajectory: bool,
    log_p: bool,
    prediction: Option<String>,
    clock: Option<String>,
    clock_reverse: bool,
    clock_scale: f64,
    dim: Option<usize>,
    seed: u32,
    precision: Option<String>,
    device: String,
    progress: Option<Bound<'py, PyAny>>,
    checkpoint: work::Kept,
}

/// The schedule that a function is taken to know where it is not said.
const USUAL: &str = "condot";

impl Asked<'_> {
    /// What a model predicts, and on what schedule.
    fn signature(&self) -> PyResult<Signature> {
        let prediction = self.prediction.as_deref().unwrap_or("velocity");
        let prediction = Prediction::named(prediction).map_err(exception)?;
        let schedule = match &self.schedule {
            Some(schedule) => schedule,
            None if prediction == Prediction::Velocity => USUAL,
            None => {
                return Err(PyValueError::new_err("say which schedule the model was trained on, with schedule=\"linear-vp\", …"));
            }
        };
        let schedule = Schedule::parse(schedule).map_err(exception)?;
        let clock = match self.clock.as_deref() {
            Some("t") => Clock::T,
            Some("sigma") => Clock::Sigma,
            Some("log-snr") => Clock::LogSnr,
            Some("index") => Clock::Index,
            None if matches!(schedule, Schedule::Table(_)) => Clock::Index,
            None => Clock::T,
            Some(other) => {
                let why = format!("there is no clock \"{other}\"; take \"t\", \"sigma\", \"log-snr\" or \"index\"");
                return Err(PyValueError::new_err(why));
            }
        };
        Signature::new(prediction, schedule, clock, self.clock_reverse, self.clock_scale).map_err(exception)
    }

    fn options(&self) -> PyResult<Options> {
        let grid = self.grid.as_deref().map(Spacing::named).transpose().map_err(exception)?;
        Ok(Options {
            schedule: self.schedule.as_deref().map(Schedule::parse).transpose().map_err(exception)?,
            grid,
            times: self.times.as_ref().map(|times| Ok::<_, PyErr>(Array::of(times, "times")?.to_vec())).transpose()?,
            shift: self.shift,
            steps: self.steps,
            eta: self.eta,
            churn: self.churn.map(|amount| Churn { amount, ..Churn::NONE }),
            step: self.step,
            tolerance: self.tol,
            snr: self.snr,
            probability_flow: self.probability_flow,
            length: self.length,
            log_p: self.log_p,
            compat: self.compat.iter().map(|name| Compat::named(name)).collect::<Result<_, _>>().map_err(exception)?,
            seed: self.seed,
        })
    }
}

/// A function of Python's as a field: (x, t) ↦ prediction, with x n × d and t n numbers, both arrays of NumPy.
struct Function {
    function: Py<PyAny>,
    dim: usize,
    signature: Signature,
    single: bool,
    /// Who is told of an exception; known once the work begins.
    told: Arc<Mutex<Option<PyErr>>>,
}

impl Function {
    fn called(&self, points: &[f64], time: f64, out: &mut [f64]) -> PyResult<()> {
        Python::attach(|py| {
            let (n, d) = (points.len() / self.dim, self.dim);
            let x = given_back(py, points.to_vec(), &[n, d], self.single)?;
            let t = given_back(py, vec![time; n], &[n], self.single)?;
            let answer = Array::of(self.function.call1(py, (x, t))?.bind(py), "the field's answer")?;
            if answer.shape.first() != Some(&n) || answer.shape.iter().product::<usize>() != n * d {
                let why = format!("the field answered with shape {:?} for points of shape [{n}, {d}]", answer.shape);
                return Err(PyValueError::new_err(why));
            }
            out.copy_from_slice(&answer.to_vec());
            Ok(())
        })
    }
}

impl HostField for Function {
    fn dim(&self) -> usize {
        self.dim
    }

    fn prediction(&self) -> Prediction {
        self.signature.prediction()
    }

    fn schedule(&self) -> Option<&Schedule> {
        Some(self.signature.schedule())
    }

    fn predict(&self, batch: Batch<'_>, out: &mut [f64]) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let time = self.signature.time(batch.level)?;
        if let Err(why) = self.called(batch.points, time, out) {
            let said = why.to_string();
            self.told.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
            return Err(said.into());
        }
        let sign = self.signature.sign();
        out.iter_mut().for_each(|value| *value *= sign);
        Ok(())
    }

    fn is_regular_at_data(&self) -> bool {
        self.signature.is_regular_at_data()
    }

    fn rounding(&self) -> f64 {
        if self.single { f64::from(f32::EPSILON) } else { f64::EPSILON }
    }
}

/// What a run gives: its points, their evaluations, steps, the name of the grid, advice, the error of the prior, states, log densities.
struct Moved {
    samples: Vec<f64>,
    nfe: usize,
    steps: usize,
    grid: Option<&'static str>,
    advice: Option<String>,
    prior_error: Option<f64>,
    trajectory: Vec<f64>,
    log_p: Vec<f64>,
    d: usize,
}

/// (samples, nfe, steps, grid, advice, error of the prior, trajectory, log_p).
#[pyfunction]
#[allow(clippy::type_complexity)]
pub fn sample<'py>(
    py: Python<'py>,
    field: &Bound<'py, PyAny>,
    asked: Asked<'py>,
) -> PyResult<(
    Bound<'py, PyAny>,
    usize,
    usize,
    Option<&'static str>,
    Option<String>,
    Option<f64>,
    Option<Bound<'py, PyAny>>,
    Option<Bound<'py, PyAny>>,
)> {
    let entry = sampler::named(&asked.method).map_err(exception)?;
    let start = asked.start.as_ref().map(|start| Array::of(start, "start")).transpose()?;
    let raised = Arc::new(Mutex::new(None));
    let (field, double) = if field.is_callable() && field.cast::<measure::Law>().is_err() {
        let dim = start.as_ref().map(|start| start.shape.iter().skip(1).product()).or(asked.dim);
        let dim = dim.filter(|dim| *dim > 0).ok_or_else(|| {
            PyValueError::new_err("a function does not say in which dimension it moves particles; give dim, or start points")
        })?;
        let double = asked.precision.as_deref() == Some("f64") || start.as_ref().is_some_and(|start| !start.is_single());
        let (function, signature) = (field.clone().unbind(), asked.signature()?);
        (Field::given(Function { function, dim, signature, single: !double, told: raised.clone() }), double)
    } else {
        measure::field(field, || asked.signature())?
    };
    let double = double || start.as_ref().is_some_and(|start| !start.is_single());
    let precision = asked.precision.as_deref().unwrap_or(if double { "f64" } else { "f32" });
    let device = if entry.on_processor { work::device("cpu", "f64")? } else { work::device(&asked.device, precision)? };
    let single = device.precision() == Precision::F32;
    let options = asked.options()?;
    let noise = asked.noise.as_ref().map(|noise| Ok::<_, PyErr>(Array::of(noise, "noise")?.to_vec())).transpose()?;
    let start = start.map(|start| start.cloud(None)).transpose()?;
    if let Some(start) = &start
        && start.dim() != field.dim()
    {
        let why = format!("start points have dimension {}, and the field {}", start.dim(), field.dim());
        return Err(PyValueError::new_err(why));
    }
    let (n, seed, wants_log_p, wants_states) = (asked.n.unwrap_or(4096), asked.seed, asked.log_p, asked.trajectory);
    let moved = work::run_kept(py, asked.progress.as_ref(), asked.checkpoint, move |told, checkpoint| {
        let d = field.dim();
        let Course { moves, first, steps, grid, advice } = entry.course(&field, &options, &device)?;
        let is_given = start.is_some();
        let start = start.map_or_else(|| sampler::start(first, d, 0..n, seed), |start| start.points().to_vec());
        let noise = match &noise {
            Some(given) => Noise::Given(given),
            None => Noise::Counter { philox: Philox::new(seed, Stream::Noise), first: 0 },
        };
        let prior_error = (entry.reverses && !is_given).then(|| prior_error(&field, first));
        let mut moved =
            Moved { samples: Vec::new(), nfe: 0, steps, grid, advice, prior_error, trajectory: Vec::new(), log_p: Vec::new(), d };
        match &moves {
            Moves::Program(program) => {
                if wants_log_p {
                    let tell = |_: Progress<'_>| !told.is_stopped();
                    moved.log_p = Pushforward { program, first, field: &field }.log_p(&start, Watch::telling(&tell))?;
                }
                let tell = |now: Progress<'_>| told.tell_step(now, steps);
                (moved.samples, moved.trajectory) = program.resume(
                    &field,
                    start,
                    noise,
                    &device,
                    wants_states,
                    Watch::telling(&tell).keeping(checkpoint.part("particles")),
                )?;
                moved.nfe = program.evaluations(&field);
            }
            Moves::Loop(_) if wants_states => {
                let why = format!("{} keeps no trajectory: each particle has its own times", entry.name);
                return Err(Error::Report(why.into()));
            }
            Moves::Loop(looped) => {
                let ensemble = Ensemble { field: &field, start: &start, noise, device: &device };
                let tell = &mut |made| told.tell_step(Progress::of_steps(made), steps);
                let done = looped.resume(ensemble, checkpoint, tell)?;
                (moved.samples, moved.nfe) = (done.points, done.nfe);
                moved.log_p = done.log_p.iter().map(|of_one| of_one[0]).collect();
            }
        }
        Ok::<_, Error>(moved)
    });
    // The exception of the function, in place of the sentence that it became.
    if let Some(why) = raised.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(why);
    }
    let moved = moved?;
    let (d, n) = (moved.d, moved.samples.len() / moved.d);
    let states = moved.trajectory.len() / (n * d);
    let back = |values: Vec<f64>, shape: &[usize]| given_back(py, values, shape, single);
    Ok((
        back(moved.samples, &[n, d])?,
        moved.nfe,
        moved.steps,
        moved.grid,
        moved.advice.as_deref().map(in_keywords),
        moved.prior_error,
        if wants_states { Some(back(moved.trajectory, &[states, n, d])?) } else { None },
        if wants_log_p { Some(moved.log_p.into_pyarray(py).reshape([n])?.into_any()) } else { None },
    ))
}

/// The methods: (name, line) each.
#[pyfunction]
pub fn methods() -> Vec<(&'static str, &'static str)> {
    sampler::METHODS.iter().map(|entry| (entry.name, entry.about)).collect()
}
