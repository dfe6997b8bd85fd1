//! A model exported to ONNX, as a field: any network of any framework, evaluated by the ONNX Runtime.
//!
//! The runtime is a library that is looked for when a model is opened, like a CUDA driver: `ORT_DYLIB_PATH`, the wheel `onnxruntime` of
//! the active virtual environment, then wherever the system looks. It computes on the processor in the precision of the file.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::{Outlet, Tensor, TensorElementType};
use thiserror::Error;

use crate::field::{Batch, FieldError, HostField, Signature};
use crate::names::nearest;
use crate::path::{Prediction, Schedule};
use crate::random::{Philox, Stream};

/// Coordinates in one call: large enough for a perceptron's products, small enough for the activations of a picture's network.
const COORDINATES: usize = 1 << 18;

/// Which inputs of the file are which, where shapes do not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Name of the input that takes points.
    pub points: Option<String>,
    /// Name of the input that takes the time.
    pub time: Option<String>,
}

/// A model in an ONNX file.
pub struct Onnx {
    session: Mutex<Session>,
    signature: Signature,
    points: Port,
    time: Option<Port>,
    output: String,
    /// Points of a call, where the file fixes them.
    batch: Option<usize>,
    dim: usize,
}

/// An input: its name, the type of its elements, its shape with −1 for what is not fixed.
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
    #[error("{}: the ONNX Runtime cannot open it: {cause}", path.display())]
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
    /// Inputs that are not points and time.
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
    /// The model in the file at `path`, which `signature` describes; `inputs` where the shapes do not tell points from time.
    ///
    /// # Errors
    /// [`OnnxError`] when no runtime is found, the runtime cannot open the file, or its inputs and outputs are not those of a field.
    pub fn open(path: &Path, signature: Signature, inputs: &Inputs) -> Result<Self, OnnxError> {
        let refused = |cause: ort::Error| OnnxError::File { path: path.into(), cause: cause.to_string() };
        let environment = runtime()?;
        let threads = rayon::current_num_threads();
        let builder = Session::builder(environment).map_err(refused)?;
        let mut builder = builder.with_intra_threads(threads).map_err(|error| refused(error.into()))?;
        let session = builder.commit_from_file(path).map_err(refused)?;
        let (points, time) = ports(session.inputs(), inputs).map_err(|fault| fault.of(path, session.inputs()))?;
        let batch = usize::try_from(points.shape[0]).ok();
        let dim = points.numbers();
        let fits = |output: &&Outlet| {
            let shape = output.dtype().tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default();
            let same = |(found, wanted): (&i64, &i64)| *found < 0 || *wanted < 0 || found == wanted;
            is_float(output) && shape.len() == points.shape.len() && shape.iter().zip(&points.shape).all(same)
        };
        let output = session.outputs().iter().find(fits).map(|output| output.name().to_owned());
        let output = output.ok_or_else(|| OnnxError::Output {
            path: path.into(),
            found: listed(session.outputs()),
            points: points.shape.clone(),
        })?;
        Ok(Self { session: Mutex::new(session), signature, points, time, output, batch, dim })
    }

    /// The shape of one point, as the file has it: channels × height × width of a picture.
    pub fn shape(&self) -> Vec<usize> {
        self.points.shape[1..].iter().map(|extent| *extent as usize).collect()
    }

    /// One sentence on what the model takes.
    pub fn describe(&self) -> String {
        let time = self.time.as_ref().map_or("no time".into(), |time| format!("the time as \"{}\"", time.name));
        format!("points of shape {:?} as \"{}\", {time}, \"{}\" for the prediction", self.shape(), self.points.name, self.output)
    }

    /// RMS of the predictions for eight normal points in the middle of the schedule: another number is another model.
    ///
    /// # Errors
    /// [`FieldError::Given`] when the model fails.
    pub fn check(&self) -> Result<f64, FieldError> {
        let level = self.signature.schedule().level(0.5);
        let philox = Philox::new(0, Stream::Source);
        let mut normals = vec![0.0; 8 * self.dim];
        normals.chunks_mut(self.dim).enumerate().for_each(|(i, point)| philox.normals(i as u32, 0, 0, point));
        let points: Vec<f64> = normals.into_iter().map(f64::from).collect();
        let mut out = vec![0.0; points.len()];
        self.predict(Batch { level, points: &points, first: 0 }, &mut out)
            .map_err(|cause| FieldError::Given(cause.to_string()))?;
        Ok((out.iter().map(|x| x * x).sum::<f64>() / out.len() as f64).sqrt())
    }

    /// The output for `points`, at most as many as a call takes.
    fn call(&self, points: &[f64], time: f64, out: &mut [f64]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let found = points.len() / self.dim;
        let rows = self.batch.unwrap_or(found);
        let mut padded = points.to_vec();
        padded.resize(rows * self.dim, 0.0);
        let mut shape = self.points.shape.clone();
        shape[0] = rows as i64;
        let mut values = vec![(self.points.name.as_str(), self.points.tensor(shape, &padded)?)];
        if let Some(port) = &self.time {
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

impl HostField for Onnx {
    fn dim(&self) -> usize {
        self.dim
    }

    fn prediction(&self) -> Prediction {
        self.signature.prediction()
    }

    fn schedule(&self) -> Option<&Schedule> {
        Some(self.signature.schedule())
    }

    fn predict(&self, batch: Batch<'_>, out: &mut [f64]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let time = if self.time.is_some() { self.signature.time(batch.level)? } else { 0.0 };
        let rows = self.batch.unwrap_or((COORDINATES / self.dim).max(1));
        let calls = batch.points.chunks(rows * self.dim).zip(out.chunks_mut(rows * self.dim));
        calls.into_iter().try_for_each(|(points, out)| self.call(points, time, out))
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

/// The input of points and that of time.
fn ports(inputs: &[Outlet], given: &Inputs) -> Result<(Port, Option<Port>), InputFault> {
    let why = |words: &str| InputFault::Why(words.into());
    let named = |name: &String| {
        let found = inputs.iter().find(|input| input.name() == name).ok_or_else(|| InputFault::Unknown(name.clone()))?;
        Port::new(found).ok_or_else(|| InputFault::Why(format!("\"{name}\" is not a tensor")))
    };
    let (mut points, mut time) = (given.points.as_ref().map(named).transpose()?, given.time.as_ref().map(named).transpose()?);
    for input in inputs {
        let taken = |port: &Option<Port>| port.as_ref().is_some_and(|port| port.name == input.name());
        if taken(&points) || taken(&time) {
            continue;
        }
        let port = Port::new(input).ok_or_else(|| InputFault::Why(format!("\"{}\" is not a tensor", input.name())))?;
        let of_time = matches!(port.shape[..], [] | [_] | [_, 1]);
        match (of_time, &points, &time) {
            (false, None, _) if is_float(input) => points = Some(port),
            (true, _, None) => time = Some(port),
            _ => {
                return Err(InputFault::Why(format!(
                    "\"{}\" is neither its points nor its time: say which are, as --inputs x=NAME,time=NAME, and export it with everything else fixed",
                    port.name
                )));
            }
        }
    }
    let points = points.ok_or_else(|| why("none of them takes points n x d; say which does, as --inputs x=NAME,time=NAME"))?;
    if !matches!(points.element, TensorElementType::Float32 | TensorElementType::Float64) {
        return Err(why("its points are neither 32- nor 64-bit floats; export it in float32"));
    }
    if points.shape.len() < 2 || points.shape[0] == 0 || points.numbers() == 0 {
        return Err(why("the shape of a point is not fixed; export it with every axis fixed but the first"));
    }
    match time.as_ref().map(|time| time.element) {
        None
        | Some(TensorElementType::Float32 | TensorElementType::Float64 | TensorElementType::Int64 | TensorElementType::Int32) => {
            Ok((points, time))
        }
        Some(_) => Err(why("its time is neither a 32- or 64-bit float nor such an integer; export it so")),
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
