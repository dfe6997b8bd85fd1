//! A model exported to ONNX, as a field: any network of any framework, evaluated by the ONNX Runtime.
//!
//! The runtime is a library that is looked for when a model is opened, like a CUDA driver: `ORT_DYLIB_PATH`, the wheel `onnxruntime` of
//! the active virtual environment, then wherever the system looks. It computes on the processor in the precision of the file.

mod arena;

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{Outlet, Tensor, TensorElementType};
use thiserror::Error;

use crate::field::{Batch, ConditionError, Conditional, Conditions, FieldError, HostField, Signature};
use crate::names::nearest;
use crate::path::{Prediction, Schedule};
use crate::random::{Philox, Stream};

/// Coordinates, or numbers of conditions, in one call: more make a network no faster.
const COORDINATES: usize = 1 << 18;

/// Which inputs of the file are which, where shapes do not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Name of the input that takes points.
    pub points: Option<String>,
    /// Name of the input that takes the time.
    pub time: Option<String>,
    /// Name of the input that takes a condition for each point.
    pub condition: Option<String>,
}

/// A model in an ONNX file; clones share it.
#[derive(Clone)]
pub struct Onnx {
    session: Arc<Mutex<Session>>,
    signature: Signature,
    ports: Ports,
    output: String,
    /// Whether the file fixes the points of a call.
    is_fixed: bool,
    /// Points of a call: exactly, where the file fixes them, else at most.
    rows: usize,
    dim: usize,
    conditions: Option<Conditions>,
}

/// The inputs by what they take.
#[derive(Clone)]
struct Ports {
    points: Port,
    time: Option<Port>,
    condition: Option<Port>,
}

/// An input: its name, the type of its elements, its shape with −1 for what is not fixed.
#[derive(Clone)]
struct Port {
    name: String,
    element: TensorElementType,
    shape: Vec<i64>,
}

/// Why a file does not give a model.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum OnnxError {
    /// No ONNX Runtime is found.
    #[error(
        "no ONNX Runtime that can be used: {cause}; pip install onnxruntime into an active virtual environment, or set ORT_DYLIB_PATH to the library"
    )]
    Runtime {
        /// What was found or not found.
        cause: String,
    },
    /// The runtime cannot open the file.
    #[error(
        "{}: the ONNX Runtime cannot open it: {cause}; export it again, in the operators of ONNX alone, and keep external data in the folder of the file",
        path.display()
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the runtime says.
        cause: String,
    },
    /// Names that are not those of inputs.
    #[error("{}: it has no input \"{name}\"; did you mean \"{nearest}\"? it takes {found}", path.display())]
    NoInput {
        /// The file.
        path: PathBuf,
        /// The name given.
        name: String,
        /// The nearest input.
        nearest: String,
        /// All inputs.
        found: String,
    },
    /// Inputs that are not points, time and condition.
    #[error("{}: it takes {found}; {why}", path.display())]
    Inputs {
        /// The file.
        path: PathBuf,
        /// All inputs.
        found: String,
        /// What is wrong with them, and the remedy.
        why: String,
    },
    /// No output of the shape of the points.
    #[error("{}: it gives {found}, and nothing of the shape of its points {points:?}; export the prediction itself", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// All outputs.
        found: String,
        /// Shape of the points.
        points: Vec<i64>,
    },
}

impl Onnx {
    /// The model in the file at `path`, which `signature` describes; `inputs` where the shapes do not tell which
    /// are which. One that takes conditions is asked under those of [`Conditional::under`].
    ///
    /// # Errors
    /// [`OnnxError`] when no runtime is found, the runtime cannot open the file, or its inputs and outputs are not those of a field.
    pub fn open(path: &Path, signature: Signature, inputs: &Inputs) -> Result<Self, OnnxError> {
        let refused = |cause: ort::Error| OnnxError::File { path: path.into(), cause: cause.to_string() };
        let environment = runtime()?;
        let threads = rayon::current_num_threads();
        let builder = Session::builder(environment).map_err(refused)?;
        let builder = builder.with_intra_threads(threads).map_err(|error| refused(error.into()))?;
        // What goes wrong is an error of ours, and need not be logged too.
        let mut builder = builder.with_log_level(LogLevel::Fatal).map_err(|error| refused(error.into()))?;
        let session = builder.commit_from_file(path).map_err(refused)?;
        let ports = ports(&session, inputs).map_err(|fault| fault.of(path, session.inputs()))?;
        let points = &ports.points;
        let (dim, width) = (points.numbers(), ports.condition.as_ref().map_or(0, Port::numbers));
        let batch = usize::try_from(points.shape[0]).ok();
        let rows = batch.unwrap_or((COORDINATES / dim.max(width)).max(1));
        let output = session.outputs().iter().find(|output| points.fits(output)).map(|output| output.name().to_owned());
        let output = output.ok_or_else(|| OnnxError::Output {
            path: path.into(),
            found: listed(session.outputs()),
            points: points.shape.clone(),
        })?;
        Ok(Self {
            session: Arc::new(Mutex::new(session)),
            signature,
            ports,
            output,
            is_fixed: batch.is_some(),
            rows,
            dim,
            conditions: None,
        })
    }

    /// The model in calls of as many points as take at most `bytes` of memory, and one at least, by what a call of one point takes.
    /// Where the file fixes the points of a call there is nothing to choose.
    ///
    /// # Errors
    /// [`FieldError::Given`] when the model fails.
    pub fn within(mut self, bytes: u64) -> Result<Self, FieldError> {
        if !self.is_fixed && self.rows > 1 {
            self.probe(1)?;
            let of_one = arena::of_calls(&self.session.lock().unwrap_or_else(PoisonError::into_inner));
            let fitting = of_one.map_or(self.rows, |of_one| (bytes / of_one.max(1)).max(1) as usize);
            self.rows = self.rows.min(fitting);
        }
        Ok(self)
    }

    /// Points of a call: exactly, where the file fixes them, else at most.
    pub fn points_of_a_call(&self) -> usize {
        self.rows
    }

    /// One sentence on what the model takes.
    pub fn describe(&self) -> String {
        let Ports { points, time, condition } = &self.ports;
        let time = time.as_ref().map_or("no time".into(), |time| format!("the time as \"{}\"", time.name));
        let condition = condition.as_ref().map_or(String::new(), |port| {
            let (count, kind) = (port.numbers(), if port.is_integer() { "integer" } else { "number" });
            format!(" a condition of {count} {kind}{} as \"{}\",", if count == 1 { "" } else { "s" }, port.name)
        });
        let (shape, points, output) = (self.shape(), &points.name, &self.output);
        format!("points of shape {shape:?} as \"{points}\", {time},{condition} \"{output}\" for the prediction")
    }

    /// RMS of the predictions for eight normal points in the middle of the schedule, all under a condition of zeros: another number is
    /// another model.
    ///
    /// # Errors
    /// [`FieldError::Given`] when the model fails.
    pub fn check(&self) -> Result<f64, FieldError> {
        let out = self.probe(8)?;
        Ok((out.iter().map(|x| x * x).sum::<f64>() / out.len() as f64).sqrt())
    }

    /// The predictions for `rows` normal points in the middle of the schedule, all under a condition of zeros.
    fn probe(&self, rows: usize) -> Result<Vec<f64>, FieldError> {
        let level = self.signature.schedule().level(0.5);
        let philox = Philox::new(0, Stream::Source);
        let mut normals = vec![0.0; rows * self.dim];
        normals.chunks_mut(self.dim).enumerate().for_each(|(i, point)| philox.normals(i as u32, 0, 0, point));
        let points: Vec<f64> = normals.into_iter().map(f64::from).collect();
        let mut out = vec![0.0; points.len()];
        let zeros = self.condition_width().and_then(|width| Conditions::new(vec![0.0; width], width).ok());
        Self { conditions: zeros, ..self.clone() }
            .predict(Batch { level, points: &points, first: 0 }, &mut out)
            .map_err(|cause| FieldError::Given(cause.to_string()))?;
        Ok(out)
    }

    /// The output for the points of `batch`, at most as many as a call takes.
    fn call(&self, batch: Batch<'_>, time: f64, out: &mut [f64]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Batch { points, first, .. } = batch;
        let found = points.len() / self.dim;
        let rows = if self.is_fixed { self.rows } else { found };
        let mut padded = points.to_vec();
        padded.resize(rows * self.dim, 0.0);
        let mut values = vec![(self.ports.points.name.as_str(), self.ports.points.rows(rows, &padded)?)];
        if let Some(port) = &self.ports.condition {
            let conditions =
                self.conditions.as_ref().ok_or_else(|| format!("it takes a condition as \"{}\"; give one", port.name))?;
            let mut own: Vec<f64> = (first..first + found).flat_map(|particle| conditions.of(particle)).copied().collect();
            own.resize(rows * conditions.width(), 0.0);
            values.push((port.name.as_str(), port.rows(rows, &own)?));
        }
        if let Some(port) = &self.ports.time {
            let shape: Vec<i64> = port.shape.iter().map(|&extent| if extent < 0 { rows as i64 } else { extent }).collect();
            let times = vec![time; shape.iter().product::<i64>() as usize];
            values.push((port.name.as_str(), port.tensor(shape, &times)?));
        }
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = session.run(values)?;
        let answer = &answers[self.output.as_str()];
        let values: Vec<f64> = match answer.try_extract_tensor::<f32>() {
            Ok((_, values)) => values.iter().map(|value| f64::from(*value)).collect(),
            Err(_) => answer.try_extract_tensor::<f64>()?.1.to_vec(),
        };
        if values.len() != padded.len() {
            return Err(format!("it gave {} numbers for {rows} points of dimension {}", values.len(), self.dim).into());
        }
        out.iter_mut().zip(values).for_each(|(out, value)| *out = self.signature.sign() * value);
        Ok(())
    }
}

impl Conditional for Onnx {
    fn condition_width(&self) -> Option<usize> {
        self.ports.condition.as_ref().map(Port::numbers)
    }

    fn under(&self, conditions: Conditions) -> Result<Self, ConditionError> {
        let port = self.ports.condition.as_ref().ok_or(ConditionError::NotTaken)?;
        if conditions.width() != port.numbers() {
            return Err(ConditionError::Width { found: conditions.width(), needed: port.numbers() });
        }
        if port.is_integer() {
            conditions.check_integers()?;
        }
        Ok(Self { conditions: Some(conditions), ..self.clone() })
    }
}

impl HostField for Onnx {
    fn dim(&self) -> usize {
        self.dim
    }

    fn shape(&self) -> Vec<usize> {
        self.ports.points.shape[1..].iter().map(|extent| *extent as usize).collect()
    }

    fn prediction(&self) -> Prediction {
        self.signature.prediction()
    }

    fn schedule(&self) -> Option<&Schedule> {
        Some(self.signature.schedule())
    }

    fn predict(&self, batch: Batch<'_>, out: &mut [f64]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let time = if self.ports.time.is_some() { self.signature.time(batch.level)? } else { 0.0 };
        let rows = self.rows;
        let calls = batch.points.chunks(rows * self.dim).zip(out.chunks_mut(rows * self.dim));
        calls.enumerate().try_for_each(|(call, (points, out))| {
            self.call(Batch { points, first: batch.first + call * rows, ..batch }, time, out)
        })
    }

    fn rounding(&self) -> f64 {
        f32::EPSILON.into()
    }

    fn is_regular_at_data(&self) -> bool {
        self.signature.is_regular_at_data()
    }
}

impl Port {
    fn new(outlet: &Outlet) -> Option<Self> {
        let (element, shape) = (outlet.dtype().tensor_type()?, outlet.dtype().tensor_shape()?.to_vec());
        Some(Self { name: outlet.name().into(), element, shape })
    }

    /// Numbers of one point: the product of all extents but the first, 0 where one is not fixed or they are more than can be.
    fn numbers(&self) -> usize {
        let mut extents = self.shape.iter().skip(1).map(|&extent| usize::try_from(extent).ok());
        extents.try_fold(1usize, |all, extent| all.checked_mul(extent?)).unwrap_or(0)
    }

    /// Whether it takes integers.
    fn is_integer(&self) -> bool {
        matches!(self.element, TensorElementType::Int64 | TensorElementType::Int32)
    }

    /// Whether it takes floats of a type that is passed.
    fn is_float(&self) -> bool {
        matches!(self.element, TensorElementType::Float32 | TensorElementType::Float64)
    }

    /// Whether its elements are of a type that is passed.
    fn is_passed(&self) -> bool {
        self.is_integer() || self.is_float()
    }

    /// Whether `output` has its shape.
    fn fits(&self, output: &Outlet) -> bool {
        let shape = output.dtype().tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default();
        let same = |(found, wanted): (&i64, &i64)| *found < 0 || *wanted < 0 || found == wanted;
        is_float(output) && shape.len() == self.shape.len() && shape.iter().zip(&self.shape).all(same)
    }

    /// `values` of `rows` points in this input's type.
    fn rows(&self, rows: usize, values: &[f64]) -> ort::Result<SessionInputValue<'static>> {
        self.tensor(std::iter::once(rows as i64).chain(self.shape.iter().skip(1).copied()).collect(), values)
    }

    /// `values` in this input's type; times between two integers are rounded.
    fn tensor(&self, shape: Vec<i64>, values: &[f64]) -> ort::Result<SessionInputValue<'static>> {
        Ok(match self.element {
            TensorElementType::Float64 => Tensor::from_array((shape, values.to_vec()))?.into(),
            TensorElementType::Int64 => {
                Tensor::from_array((shape, values.iter().map(|x| x.round() as i64).collect::<Vec<i64>>()))?.into()
            }
            TensorElementType::Int32 => {
                Tensor::from_array((shape, values.iter().map(|x| x.round() as i32).collect::<Vec<i32>>()))?.into()
            }
            _ => Tensor::from_array((shape, values.iter().map(|x| *x as f32).collect::<Vec<f32>>()))?.into(),
        })
    }
}

/// What is wrong with the inputs of a file.
enum InputFault {
    Unknown(String),
    Why(String),
}

impl InputFault {
    fn of(self, path: &Path, inputs: &[Outlet]) -> OnnxError {
        let (path, found) = (path.to_owned(), listed(inputs));
        match self {
            Self::Unknown(name) => {
                let nearest = nearest(&name, inputs.iter().map(Outlet::name)).to_owned();
                OnnxError::NoInput { path, name, nearest, found }
            }
            Self::Why(why) => OnnxError::Inputs { path, found, why },
        }
    }
}

/// Which inputs of `session` are which, those that `given` does not name by their shapes.
fn ports(session: &Session, given: &Inputs) -> Result<Ports, InputFault> {
    let why = |words: &str| InputFault::Why(words.into());
    let port = |input: &Outlet| Port::new(input).ok_or_else(|| InputFault::Why(format!("\"{}\" is not a tensor", input.name())));
    let inputs = session.inputs();
    let named = |name: &Option<String>| {
        let Some(name) = name else { return Ok(None) };
        let found = inputs.iter().find(|input| input.name() == name).ok_or_else(|| InputFault::Unknown(name.clone()))?;
        port(found).map(Some)
    };
    let (points, mut time, mut condition) = (named(&given.points)?, named(&given.time)?, named(&given.condition)?);
    let taken = [&points, &time, &condition].map(|port| port.as_ref().map(|port| port.name.clone()));
    let rest = inputs.iter().filter(|input| !taken.iter().flatten().any(|name| name == input.name()));
    let (scalars, mut others): (Vec<Port>, Vec<Port>) =
        rest.map(port).collect::<Result<Vec<_>, _>>()?.into_iter().partition(|port| matches!(port.shape[..], [] | [_] | [_, 1]));
    let floats: Vec<usize> = (0..others.len()).filter(|at| others[*at].is_float()).collect();
    let fitting = |at: &&usize| session.outputs().iter().any(|output| others[**at].fits(output));
    let fitting: Vec<usize> = floats.iter().filter(fitting).copied().collect();
    let points = match (points, &floats[..], &fitting[..]) {
        (Some(points), ..) => points,
        (None, &[at], _) | (None, _, &[at]) => others.remove(at),
        (None, [], _) => return Err(why("none of them takes points n x d; say which does, as --inputs x=NAME,time=NAME")),
        _ => {
            return Err(why(
                "its points are not told from the rest; say which they are, as --inputs x=NAME,time=NAME,condition=NAME",
            ));
        }
    };
    let rest: Vec<Port> = match (&scalars[..], &time, &condition) {
        ([a, b], None, None) => {
            return Err(InputFault::Why(format!(
                "\"{}\" and \"{}\" both take one number a point: say which is the time and which the condition, as --inputs time=NAME,condition=NAME",
                a.name, b.name
            )));
        }
        (_, None, _) => {
            let mut scalars = scalars.into_iter();
            time = scalars.next();
            scalars.chain(others).collect()
        }
        _ => scalars.into_iter().chain(others).collect(),
    };
    let mut rest = rest.into_iter();
    condition = condition.or_else(|| rest.next());
    if let Some(port) = rest.next() {
        return Err(InputFault::Why(format!(
            "\"{}\" is none of its points, its time and its condition: say which are, as --inputs x=NAME,time=NAME,condition=NAME, and export it with everything else fixed",
            port.name
        )));
    }
    if !points.is_float() {
        return Err(why("its points are neither 32- nor 64-bit floats; export it in float32"));
    }
    if points.shape.len() < 2 || points.shape[0] == 0 || points.numbers() == 0 {
        return Err(why("the shape of a point is not fixed; export it with every axis fixed but the first"));
    }
    if time.as_ref().is_some_and(|time| !time.is_passed()) {
        return Err(why("its time is neither a 32- or 64-bit float nor such an integer; export it so"));
    }
    match &condition {
        Some(port) if !port.is_passed() => {
            Err(why("its condition is neither of 32- or 64-bit floats nor of such integers; export it so"))
        }
        Some(port) if port.numbers() == 0 || port.shape.first().is_none_or(|&rows| rows >= 0 && rows != points.shape[0]) => {
            Err(why(
                "its condition is not one of a fixed size for each point; export it with the first axis of the points and every other fixed",
            ))
        }
        _ => Ok(Ports { points, time, condition }),
    }
}

fn is_float(outlet: &Outlet) -> bool {
    matches!(outlet.dtype().tensor_type(), Some(TensorElementType::Float32 | TensorElementType::Float64))
}

/// Inputs or outputs in words.
fn listed(outlets: &[Outlet]) -> String {
    outlets.iter().map(|outlet| format!("\"{}\" ({})", outlet.name(), outlet.dtype())).collect::<Vec<_>>().join(", ")
}

/// The runtime, which a process loads once.
fn runtime() -> Result<&'static Environment, OnnxError> {
    static RUNTIME: OnceLock<Result<Environment, OnnxError>> = OnceLock::new();
    let load = || {
        let unusable = |cause: String| OnnxError::Runtime { cause };
        let builder = ort::init_from(library()).map_err(|cause| unusable(cause.to_string()))?;
        builder.with_name("brenier").with_telemetry(false).build().map_err(|cause| unusable(cause.to_string()))
    };
    RUNTIME.get_or_init(load).as_ref().map_err(Clone::clone)
}

/// Where the library is, or its name for the system to find.
fn library() -> PathBuf {
    let (before, after) = (env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    let stem = format!("{before}onnxruntime");
    let in_folder = |folder: PathBuf| {
        let files = folder.read_dir().ok()?.flatten().map(|entry| entry.path());
        let is_library = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name.strip_prefix(&stem).is_some_and(|rest| rest.starts_with('.') && name.contains(after))
        };
        files.into_iter().find(is_library)
    };
    let in_environment = || {
        let lib = PathBuf::from(env::var_os("VIRTUAL_ENV")?).join("lib");
        let pythons = lib.read_dir().ok()?.flatten();
        pythons.into_iter().find_map(|python| in_folder(python.path().join("site-packages/onnxruntime/capi")))
    };
    let given = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    given.or_else(in_environment).unwrap_or_else(|| format!("{stem}{after}").into())
}
