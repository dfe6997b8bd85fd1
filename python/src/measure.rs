//! Laws and points: what is moved, where to, and what tells how.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use brenier::field::{Field, Signature};
use brenier::io::{is_network, read_measure, read_network};
use brenier::measure::{Covariance, Measure, Mixture, named};
use brenier::random::Stream;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::array::{Array, given_back};
use crate::error::exception;

/// The levels of the data themselves.
const DATA: brenier::path::Level = brenier::path::Level { t: 1.0, alpha: 1.0, sigma: 0.0, alpha_dot: 0.0, sigma_dot: 0.0 };

/// A law or a shape.
#[pyclass(frozen, module = "brenier._brenier")]
pub struct Law {
    measure: Measure,
}

#[pymethods]
impl Law {
    /// The law called `name`.
    #[new]
    #[pyo3(signature = (name, dim = None))]
    fn new(name: &str, dim: Option<usize>) -> PyResult<Self> {
        match named(name, dim).map_err(exception)? {
            Measure::Finite(_) => {
                Err(PyValueError::new_err(format!("{name} is a set of points, not a law; take brenier.points")))
            }
            measure => Ok(Self { measure }),
        }
    }

    /// Σ_k w_k N(m_k, C_k): weights of length K, means K × d, covariances K × d × d.
    #[staticmethod]
    fn mixture(weights: &Bound<'_, PyAny>, means: &Bound<'_, PyAny>, covariances: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (weights, means, covariances) =
            (Array::of(weights, "weights")?, Array::of(means, "means")?, Array::of(covariances, "covariances")?);
        let ([k], [rows, d]) = (&weights.shape[..], &means.shape[..]) else {
            return Err(PyValueError::new_err("a mixture has weights of length K and means K x d"));
        };
        if rows != k || covariances.shape != [*k, *d, *d] {
            let (means, covariances) = (&means.shape, &covariances.shape);
            let why = format!(
                "{k} weights, means {means:?} and covariances {covariances:?} do not fit; K, K x d and K x d x d are needed"
            );
            return Err(PyValueError::new_err(why));
        }
        let covariance = |(index, matrix): (usize, &[f64])| {
            Covariance::from_matrix(matrix, *d).map_err(|smallest| {
                let why = format!("covariance {index} is not symmetric positive definite (smallest eigenvalue {smallest:e})");
                PyValueError::new_err(why)
            })
        };
        let covariances = covariances.to_vec().chunks_exact(d * d).enumerate().map(covariance).collect::<PyResult<_>>()?;
        let means = means.to_vec().chunks_exact(*d).map(<[f64]>::to_vec).collect();
        let mixture = Mixture::new(weights.to_vec(), means, covariances).map_err(exception)?;
        Ok(Self { measure: Measure::Law(mixture) })
    }

    #[getter]
    fn dim(&self) -> usize {
        self.measure.dim()
    }

    /// `n` independent draws, n × d.
    pub fn sample<'py>(&self, py: Python<'py>, n: usize, seed: u32) -> PyResult<Bound<'py, PyAny>> {
        if n == 0 {
            return Err(PyValueError::new_err("n = 0; draw one point or more"));
        }
        let cloud = self.measure.sample(n, seed, Stream::Source, 0);
        given_back(py, cloud.points().to_vec(), &[n, self.measure.dim()], false)
    }

    /// log p and ∇log p at each of `points`.
    fn log_density<'py>(&self, py: Python<'py>, points: &Bound<'py, PyAny>) -> PyResult<[Bound<'py, PyAny>; 2]> {
        let Measure::Law(law) = &self.measure else {
            return Err(PyValueError::new_err("a shape has no density in closed form"));
        };
        let points = Array::of(points, "points")?.cloud(None)?;
        if points.dim() != law.dim() {
            let why = format!("points have dimension {} and the law {}", points.dim(), law.dim());
            return Err(PyValueError::new_err(why));
        }
        let values: Vec<f64> = points.rows().map(|x| law.log_density(DATA, x)).collect();
        let scores: Vec<f64> = points.rows().flat_map(|x| law.score(DATA, x)).collect();
        let n = points.len();
        Ok([given_back(py, values, &[n], false)?, given_back(py, scores, &[n, law.dim()], false)?])
    }
}

/// What `object` is as one end: a law, a name or a file, or points; `dim` is the dimension of a plain `normal`. And whether it is an
/// array in double precision.
pub fn measure(object: &Bound<'_, PyAny>, name: &'static str, dim: Option<usize>) -> PyResult<(Measure, bool)> {
    if let Ok(law) = object.cast::<Law>() {
        return Ok((law.get().measure.clone(), false));
    }
    if let Ok(spec) = object.extract::<Cow<'_, str>>() {
        return Ok((read_measure(&spec, None, dim).map_err(exception)?, false));
    }
    let array = Array::of(object, name)?;
    let double = !array.is_single();
    Ok((Measure::Finite(array.cloud(None)?), double))
}

/// The field that `object` stands for, other than a function: of a law, of points, or of a model in a file.
pub fn field(object: &Bound<'_, PyAny>, signature: impl FnOnce() -> PyResult<Signature>) -> PyResult<(Field, bool)> {
    if let Ok(spec) = object.extract::<Cow<'_, str>>() {
        let path = Path::new(&*spec);
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("onnx")) {
            let model = brenier::field::Onnx::open(path, signature()?, &brenier::field::Inputs::default()).map_err(exception)?;
            return Ok((Field::Given(Arc::new(model)), false));
        }
        if is_network(path).map_err(exception)? {
            return Ok((Field::from(read_network(path).map_err(exception)?), false));
        }
    }
    match measure(object, "field", None)? {
        (Measure::Law(law), double) => Ok((Field::Mixture(law), double)),
        (Measure::Finite(cloud), double) => Ok((Field::DataSet(cloud), double)),
        (Measure::Shape(_), _) => Err(PyValueError::new_err("a shape has no field in closed form; give points drawn from it")),
    }
}
