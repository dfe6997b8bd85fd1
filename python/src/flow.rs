//! The gradient flow, barycenters, and the ruler; their records as they are in JSON.

use std::sync::{Arc, Mutex, PoisonError};

use brenier::Error;
use brenier::experiment::{Descend, Evaluate, Features};
use brenier::field::{Field, Potential};
use brenier::gradient_flow::{self, Langevin, Options, descend};
use brenier::measure::{Cloud, Measure};
use brenier::path::Schedule;
use brenier::transport::{Barycenter, Coupling, Sinkhorn};
use brenier::watch::{Progress, Watch};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::array::{Array, given_back};
use crate::error::{exception, raised};
use crate::measure::{Law, measure};
use crate::work;

/// The keywords of `jko`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Asked<'py> {
    scheme: Option<String>,
    tau: Option<f64>,
    eps: Option<f64>,
    anneal: Option<f64>,
    schedule: Option<String>,
    steps: usize,
    n: Option<usize>,
    seed: u32,
    precision: Option<String>,
    device: String,
    progress: Option<Bound<'py, PyAny>>,
    checkpoint: work::Kept,
}

fn json(record: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(record).map_err(|why| raised(&why.to_string()))
}

/// Two ends in the same space: a plain `normal` has the dimension of the other; and the precision of the input.
fn ends(source: &Bound<'_, PyAny>, target: &Bound<'_, PyAny>) -> PyResult<([Measure; 2], &'static str)> {
    let ((source, of_source), (target, of_target)) = match source.extract::<String>() {
        Ok(name) if name == "normal" => {
            let target = measure(target, "target", None)?;
            (measure(source, "source", Some(target.0.dim()))?, target)
        }
        _ => {
            let source = measure(source, "source", None)?;
            let dim = source.0.dim();
            (source, measure(target, "target", Some(dim))?)
        }
    };
    Ok(([source, target], if of_source || of_target { "f64" } else { "f32" }))
}

/// Steps of the gradient flow from `source` to `target`: (record, particles, weights).
#[pyfunction]
pub fn jko<'py>(
    py: Python<'py>,
    source: &Bound<'py, PyAny>,
    target: &Bound<'py, PyAny>,
    asked: Asked<'py>,
) -> PyResult<(String, Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)> {
    let scheme = asked.scheme.as_deref().map(gradient_flow::named).transpose().map_err(exception)?;
    let schedule = asked.schedule.as_deref().map(Schedule::parse).transpose().map_err(exception)?;
    let options = Options { tau: asked.tau, eps: asked.eps, anneal: asked.anneal, schedule };
    let ([source, target], usual) = ends(source, target)?;
    let precision = asked.precision.as_deref().unwrap_or(usual);
    let (device, steps, n, seed) = (work::device(&asked.device, precision)?, asked.steps, asked.n, asked.seed);
    let (found, state) = work::run_kept(py, asked.progress.as_ref(), asked.checkpoint, move |told, checkpoint| {
        let tell = |now: Progress<'_>| told.tell_step(now, steps);
        let watch = Watch::telling(&tell).keeping(checkpoint.whole());
        Descend { scheme, options, steps, n, seed }.run(&source, &target, &device, watch)
    })?;
    let weights = state.weights().map(|weights| given_back(py, weights.to_vec(), &[weights.len()], false)).transpose()?;
    let particles = given_back(py, state.points().to_vec(), &[state.len(), state.dim()], precision == "f32")?;
    Ok((json(&found)?, particles, weights))
}

/// A function of Python's, x ↦ (V, ∇V), as a potential.
struct Function {
    function: Py<PyAny>,
    dim: usize,
    raised: Arc<Mutex<Option<PyErr>>>,
}

impl Function {
    /// V and ∇V at each of `points`; NaN once the function has failed, which ends the work.
    fn called(&self, points: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let n = points.len() / self.dim;
        let called = Python::attach(|py| {
            let x = given_back(py, points.to_vec(), &[n, self.dim], false)?;
            let (values, gradients): (Bound<'_, PyAny>, Bound<'_, PyAny>) = self.function.call1(py, (x,))?.extract(py)?;
            let (values, gradients) = (Array::of(&values, "the values")?, Array::of(&gradients, "the gradients")?);
            match (values.shape.iter().product::<usize>(), &gradients.shape[..]) {
                (count, &[rows, d]) if count == n && rows == n && d == self.dim => Ok((values.to_vec(), gradients.to_vec())),
                _ => Err(PyValueError::new_err(format!(
                    "the potential answered with values of shape {:?} and gradients of shape {:?} for points of shape [{n}, {}]",
                    values.shape, gradients.shape, self.dim
                ))),
            }
        });
        called.unwrap_or_else(|why| {
            self.raised.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
            (vec![f64::NAN; n], vec![f64::NAN; points.len()])
        })
    }
}

impl Potential for Function {
    fn dim(&self) -> usize {
        self.dim
    }

    fn value(&self, x: &[f64]) -> f64 {
        self.called(x).0[0]
    }

    fn gradient(&self, x: &[f64], out: &mut [f64]) {
        out.copy_from_slice(&self.called(x).1);
    }

    fn gradients(&self, points: &[f64], out: &mut [f64]) {
        out.copy_from_slice(&self.called(points).1);
    }
}

/// Langevin steps of length `tau` down the potential that a function gives: (accounts, particles).
#[pyfunction]
pub fn descend_potential<'py>(
    py: Python<'py>,
    start: &Bound<'py, PyAny>,
    function: &Bound<'py, PyAny>,
    asked: Asked<'py>,
) -> PyResult<(String, Bound<'py, PyAny>)> {
    let Some(tau) = asked.tau else {
        return Err(PyValueError::new_err(
            "say how long a step is, with tau: a potential does not tell how narrow its wells are",
        ));
    };
    let start = Array::of(start, "source")?;
    let single = start.is_single();
    let start: Cloud = start.cloud(None)?;
    let precision = asked.precision.as_deref().unwrap_or(if single { "f32" } else { "f64" });
    let (device, steps, seed) = (work::device(&asked.device, precision)?, asked.steps, asked.seed);
    let caught = Arc::new(Mutex::new(None));
    let potential = Function { function: function.clone().unbind(), dim: start.dim(), raised: caught.clone() };
    let failed = caught.clone();
    let descended = work::run(py, asked.progress.as_ref(), move |told| {
        let has_failed = || failed.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let tell = |now: Progress<'_>| told.tell_step(now, steps) && !has_failed();
        let mut scheme = Langevin::new(start, Field::potential(potential), tau, seed, &device)?;
        Ok::<_, Error>(descend(&mut scheme, steps, Watch::telling(&tell))?)
    });
    if let Some(why) = caught.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(why);
    }
    let descended = descended?;
    let state = &descended.state;
    let particles = given_back(py, state.points().to_vec(), &[state.len(), state.dim()], precision == "f32")?;
    Ok((json(&descended.accounts)?, particles))
}

/// The barycenter of clouds: (points, objective after each step, moved, converged).
#[pyfunction]
#[pyo3(signature = (clouds, weights, n, eps, max_iter, seed, device, progress))]
#[allow(clippy::too_many_arguments, clippy::type_complexity)] // keywords of Python
pub fn barycenter<'py>(
    py: Python<'py>,
    clouds: Vec<Bound<'py, PyAny>>,
    weights: Option<Vec<f64>>,
    n: usize,
    eps: Option<f64>,
    max_iter: usize,
    seed: u32,
    device: &str,
    progress: Option<Bound<'py, PyAny>>,
) -> PyResult<(Bound<'py, PyAny>, Vec<f64>, f64, bool)> {
    let arrays: Vec<Array> = clouds.iter().map(|cloud| Array::of(cloud, "clouds")).collect::<PyResult<_>>()?;
    let single = arrays.iter().all(Array::is_single);
    let device = work::device(device, if single { "f32" } else { "f64" })?;
    let clouds: Vec<Cloud> = arrays.into_iter().map(|array| array.cloud(None)).collect::<PyResult<_>>()?;
    let weights = weights.unwrap_or_else(|| vec![1.0; clouds.len()]);
    if clouds.is_empty() || weights.len() != clouds.len() {
        return Err(PyValueError::new_err(format!(
            "{} weights for {} clouds; give one weight a cloud",
            weights.len(),
            clouds.len()
        )));
    }
    let entropic = |eps| Coupling::Entropic { eps, debias: true, solver: Sinkhorn::default() };
    let solver = Barycenter { coupling: eps.map_or(Coupling::Exact, entropic), max_iter, seed, ..Barycenter::new(n) };
    let found = work::run(py, progress.as_ref(), move |told| {
        let tell = |now: Progress<'_>| told.tell_step(now, max_iter);
        Ok::<_, Error>(solver.solve_watched(&clouds, &weights, &device, Watch::telling(&tell))?)
    })?;
    let points = given_back(py, found.cloud.points().to_vec(), &[found.cloud.len(), found.cloud.dim()], single)?;
    Ok((points, found.objective, found.moved, found.converged))
}

/// How good A is as a sample of B: the record.
#[pyfunction]
#[allow(clippy::too_many_arguments)] // keywords of Python
pub fn evaluate<'py>(
    py: Python<'py>,
    a: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
    train: Option<Bound<'py, PyAny>>,
    features: Option<Vec<Bound<'py, PyAny>>>,
    sizes: (usize, Option<usize>, u32, u32),
    device: &str,
    progress: Option<Bound<'py, PyAny>>,
) -> PyResult<String> {
    let ([a, b], precision) = ends(a, b)?;
    let train = train.map(|train| Array::of(&train, "train")?.cloud(None)).transpose()?;
    let of_features = |feature: &Bound<'_, PyAny>| Array::of(feature, "features")?.cloud(None);
    let features: Vec<Cloud> = features.iter().flatten().map(of_features).collect::<PyResult<_>>()?;
    if !features.is_empty() && (features.len() < 2 || features.len() > 3 || (features.len() == 3 && train.is_none())) {
        return Err(PyValueError::new_err("features are those of a and of b, and with train a third array for it"));
    }
    let (n, k, permutations, seed) = sizes;
    let device = work::device(device, precision)?;
    let record = work::run(py, progress.as_ref(), move |told| {
        let tell = |now: Progress<'_>| told.tell(now);
        let features = match &features[..] {
            [a, b, rest @ ..] => Some(Features { a, b, train: rest.first() }),
            _ => None,
        };
        Evaluate { n, seed, train: train.as_ref(), k, permutations, features }.run(&a, &b, &device, Watch::telling(&tell))
    })?;
    json(&record)
}

/// Draws of a law or a shape, or the points of a set, by name: n × d.
#[pyfunction]
#[pyo3(signature = (name, n, dim, seed))]
pub fn draw<'py>(
    py: Python<'py>,
    name: &Bound<'py, PyAny>,
    n: usize,
    dim: Option<usize>,
    seed: u32,
) -> PyResult<Bound<'py, PyAny>> {
    if let Ok(law) = name.cast::<Law>() {
        return law.get().sample(py, n, seed);
    }
    let (measure, _) = measure(name, "name", dim)?;
    if n == 0 {
        return Err(PyValueError::new_err("n = 0; draw one point or more"));
    }
    let cloud = match measure {
        Measure::Finite(cloud) => cloud,
        law => law.sample(n, seed, brenier::random::Stream::Source, 0),
    };
    given_back(py, cloud.points().to_vec(), &[cloud.len(), cloud.dim()], false)
}
