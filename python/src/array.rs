//! Arrays of other libraries, by DLPack: borrowed where they lie as they are needed, else copied; and arrays for Python.
//!
//! NumPy, PyTorch, JAX and CuPy all speak it, so no library is named here. An array of another device is copied to this one's memory.

use std::ffi::c_void;
use std::slice;

use brenier::measure::Cloud;
use half::{bf16, f16};
use numpy::{IntoPyArray, PyArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyCapsuleMethods, PyDict};

use crate::error::raised;

/// `DLDevice`, `DLTensor` and the two forms in which one is handed over (dlpack.h, 1.0).
#[repr(C)]
struct DlDevice {
    kind: i32,
    id: i32,
}

#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device: DlDevice,
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *const i64,
    strides: *const i64,
    offset: u64,
}

#[repr(C)]
struct Managed {
    tensor: DlTensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Managed)>,
}

#[repr(C)]
struct Versioned {
    version: [u32; 2],
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Versioned)>,
    flags: u64,
    tensor: DlTensor,
}

/// `kDLCPU`.
const PROCESSOR: i32 = 1;
/// Kinds of numbers.
const INT: u8 = 0;
const UNSIGNED: u8 = 1;
const FLOAT: u8 = 2;
const BFLOAT: u8 = 4;
const BOOL: u8 = 6;

/// A tensor that another library keeps for us; given back when dropped.
enum Tensor {
    Managed(*mut Managed),
    Versioned(*mut Versioned),
}

// SAFETY: the memory stays until the deleter is called, and DLPack has its deleters be called from any thread.
unsafe impl Send for Tensor {}
unsafe impl Sync for Tensor {}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: the pointers came from a capsule that was marked as used, so they are ours to delete, once.
        unsafe {
            match *self {
                Self::Managed(managed) => (*managed).deleter.iter().for_each(|deleter| deleter(managed)),
                Self::Versioned(versioned) => (*versioned).deleter.iter().for_each(|deleter| deleter(versioned)),
            }
        }
    }
}

impl Tensor {
    fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = object.py();
        let wanted = PyDict::new(py);
        wanted.set_item("max_version", (1, 0))?;
        // Libraries from before 1.0 know no version.
        let capsule = match object.call_method("__dlpack__", (), Some(&wanted)) {
            Err(why) if why.is_instance_of::<PyTypeError>(py) => object.call_method0("__dlpack__")?,
            other => other?,
        };
        let capsule = capsule.cast_into::<PyCapsule>()?;
        let (pointer, used) = match capsule.pointer_checked(Some(c"dltensor_versioned")) {
            Ok(pointer) => (Self::Versioned(pointer.as_ptr().cast()), c"used_dltensor_versioned"),
            Err(_) => (Self::Managed(capsule.pointer_checked(Some(c"dltensor"))?.as_ptr().cast()), c"used_dltensor"),
        };
        // SAFETY: the capsule lives, and the name is static. From here on its own destructor leaves the tensor alone.
        unsafe { pyo3::ffi::PyCapsule_SetName(capsule.as_ptr(), used.as_ptr()) };
        Ok(pointer)
    }

    fn inner(&self) -> &DlTensor {
        // SAFETY: not yet deleted.
        unsafe {
            match *self {
                Self::Managed(managed) => &(*managed).tensor,
                Self::Versioned(versioned) => &(*versioned).tensor,
            }
        }
    }
}

/// Numbers in another library's memory, or in ours.
enum Owner<T> {
    Theirs { _tensor: Tensor, data: *const T, len: usize },
    Ours(Vec<T>),
}

// SAFETY: `Theirs` is read alone, and its memory stays as long as the tensor.
unsafe impl<T: Sync> Send for Owner<T> {}
unsafe impl<T: Sync> Sync for Owner<T> {}

impl<T> AsRef<[T]> for Owner<T> {
    fn as_ref(&self) -> &[T] {
        match self {
            // SAFETY: the tensor says that as many lie there, and they are aligned.
            Self::Theirs { data, len, .. } => unsafe { slice::from_raw_parts(*data, *len) },
            Self::Ours(numbers) => numbers,
        }
    }
}

enum Numbers {
    Single(Owner<f32>),
    Double(Owner<f64>),
}

/// An array of real numbers, row-major.
pub struct Array {
    /// What it is called in an error.
    name: &'static str,
    pub shape: Vec<usize>,
    numbers: Numbers,
}

impl Array {
    /// The array that `object` is, called `name`: of whichever library speaks DLPack, or what NumPy makes an array of.
    pub fn of(object: &Bound<'_, PyAny>, name: &'static str) -> PyResult<Self> {
        match Self::borrowed(object, name) {
            Err(why) if why.is_instance_of::<PyValueError>(object.py()) || why.is_instance_of::<PyTypeError>(object.py()) => {
                Err(why)
            }
            // A tensor that requires gradients, or lies on another device.
            Err(_) if object.hasattr("detach")? => Self::borrowed(&object.call_method0("detach")?.call_method0("cpu")?, name),
            Err(_) if object.hasattr("get")? => Self::borrowed(&object.call_method0("get")?, name),
            Err(_) => Self::borrowed(&through_numpy(object, name)?, name),
            done => done,
        }
    }

    fn borrowed(object: &Bound<'_, PyAny>, name: &'static str) -> PyResult<Self> {
        let tensor = Tensor::of(object)?;
        let DlTensor { data, ref device, ndim, code, bits, lanes, shape, strides, offset } = *tensor.inner();
        if device.kind != PROCESSOR {
            return Err(raised("it lies on another device"));
        }
        let ndim = ndim.max(0) as usize;
        // SAFETY: DLPack has as many extents and strides, and data at the offset.
        let (shape, data) = unsafe {
            let shape = if ndim == 0 { &[] } else { slice::from_raw_parts(shape, ndim) };
            (shape.iter().map(|extent| *extent as usize).collect::<Vec<usize>>(), data.cast::<u8>().add(offset as usize))
        };
        let dense: Vec<i64> = (0..ndim).map(|k| shape[k + 1..].iter().product::<usize>() as i64).collect();
        let strides = if strides.is_null() {
            dense.clone()
        } else {
            // SAFETY: as above.
            unsafe { slice::from_raw_parts(strides, ndim) }.to_vec()
        };
        let len = shape.iter().product();
        let is_dense = len <= 1 || (0..ndim).all(|k| shape[k] == 1 || strides[k] == dense[k]);
        if lanes != 1 {
            return Err(PyTypeError::new_err(format!("{name} is an array of vectors; give one of real numbers")));
        }
        let numbers = match (code, bits) {
            (FLOAT, 32) if is_dense && data.cast::<f32>().is_aligned() && len > 0 => {
                Numbers::Single(Owner::Theirs { _tensor: tensor, data: data.cast(), len })
            }
            (FLOAT, 64) if is_dense && data.cast::<f64>().is_aligned() && len > 0 => {
                Numbers::Double(Owner::Theirs { _tensor: tensor, data: data.cast(), len })
            }
            _ => {
                let strided = Strided { data, shape: &shape, strides: &strides };
                match (code, bits) {
                    (FLOAT, 32) => Numbers::Single(Owner::Ours(strided.read(|x: f32| x))),
                    (FLOAT, 64) => Numbers::Double(Owner::Ours(strided.read(|x: f64| x))),
                    (FLOAT, 16) => Numbers::Single(Owner::Ours(strided.read(|x: f16| x.to_f32()))),
                    (BFLOAT, 16) => Numbers::Single(Owner::Ours(strided.read(|x: bf16| x.to_f32()))),
                    (INT, 8) => Numbers::Double(Owner::Ours(strided.read(|x: i8| f64::from(x)))),
                    (INT, 16) => Numbers::Double(Owner::Ours(strided.read(|x: i16| f64::from(x)))),
                    (INT, 32) => Numbers::Double(Owner::Ours(strided.read(|x: i32| f64::from(x)))),
                    (INT, 64) => Numbers::Double(Owner::Ours(strided.read(|x: i64| x as f64))),
                    (UNSIGNED | BOOL, 8) => Numbers::Double(Owner::Ours(strided.read(|x: u8| f64::from(x)))),
                    (UNSIGNED, 16) => Numbers::Double(Owner::Ours(strided.read(|x: u16| f64::from(x)))),
                    (UNSIGNED, 32) => Numbers::Double(Owner::Ours(strided.read(|x: u32| f64::from(x)))),
                    (UNSIGNED, 64) => Numbers::Double(Owner::Ours(strided.read(|x: u64| x as f64))),
                    _ => return Err(PyTypeError::new_err(format!("{name} is not an array of real numbers"))),
                }
            }
        };
        Ok(Self { name, shape, numbers })
    }

    /// Whether its numbers are in single precision, or less.
    pub fn is_single(&self) -> bool {
        matches!(self.numbers, Numbers::Single(_))
    }

    /// Where its numbers lie.
    pub fn address(&self) -> usize {
        match &self.numbers {
            Numbers::Single(owner) => owner.as_ref().as_ptr() as usize,
            Numbers::Double(owner) => owner.as_ref().as_ptr() as usize,
        }
    }

    /// Its numbers in double precision.
    pub fn to_vec(&self) -> Vec<f64> {
        match &self.numbers {
            Numbers::Single(owner) => owner.as_ref().iter().map(|x| f64::from(*x)).collect(),
            Numbers::Double(owner) => owner.as_ref().to_vec(),
        }
    }

    /// Its whole numbers from 0 on, one for each of `n` points.
    pub fn labels(&self, n: usize) -> PyResult<Vec<u32>> {
        let name = self.name;
        if self.shape != [n] {
            return Err(PyValueError::new_err(format!(
                "{name} has shape {:?}; give one label for each of the {n} points",
                self.shape
            )));
        }
        let label = |(row, x): (usize, f64)| match x {
            x if x.fract() == 0.0 && (0.0..f64::from(u32::MAX)).contains(&x) => Ok(x as u32),
            x => Err(PyValueError::new_err(format!("{name}: label {row} is {x}; labels are whole numbers from 0 on"))),
        };
        self.to_vec().into_iter().enumerate().map(label).collect()
    }

    /// Its points, n × d: those of one dimension are n numbers, those of more are flattened.
    pub fn cloud(self, weights: Option<&Self>) -> PyResult<Cloud> {
        let name = self.name;
        let named = |why: &dyn std::fmt::Display| PyValueError::new_err(format!("{name}: {why}"));
        let dim = match self.shape[..] {
            [] => return Err(named(&"a number is not a cloud; give points, n x d")),
            [_, ref point @ ..] => point.iter().product(),
        };
        let cloud = match self.numbers {
            Numbers::Single(owner) => Cloud::of_f32(owner, dim),
            Numbers::Double(owner) => Cloud::of_f64(owner, dim),
        };
        let cloud = cloud.map_err(|why| named(&why))?;
        match weights {
            None => Ok(cloud),
            Some(weights) => {
                cloud.with_weights(weights.to_vec()).map_err(|why| PyValueError::new_err(format!("{}: {why}", weights.name)))
            }
        }
    }

    /// An n × m array of costs.
    pub fn matrix(&self) -> PyResult<[usize; 2]> {
        match self.shape[..] {
            [n, m] if n * m > 0 => Ok([n, m]),
            _ => Err(PyValueError::new_err(format!("{} has shape {:?}; costs are n x m", self.name, self.shape))),
        }
    }
}

/// Numbers that do not lie one after the other.
struct Strided<'a> {
    data: *const u8,
    shape: &'a [usize],
    strides: &'a [i64],
}

impl Strided<'_> {
    /// All of them in row-major order, each as `convert` makes it.
    fn read<T: Copy, U>(&self, convert: impl Fn(T) -> U) -> Vec<U> {
        let len = self.shape.iter().product();
        let mut numbers = Vec::with_capacity(len);
        let mut index = vec![0; self.shape.len()];
        for _ in 0..len {
            let at: i64 = index.iter().zip(self.strides).map(|(i, stride): (&usize, &i64)| *i as i64 * stride).sum();
            // SAFETY: the strides of a tensor lead to its own numbers, which need not be aligned.
            numbers.push(convert(unsafe { self.data.cast::<T>().offset(at as isize).read_unaligned() }));
            for k in (0..index.len()).rev() {
                index[k] += 1;
                if index[k] < self.shape[k] {
                    break;
                }
                index[k] = 0;
            }
        }
        numbers
    }
}

/// What NumPy makes of it: a list, a table.
fn through_numpy<'py>(object: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let array = object.py().import("numpy")?.call_method1("asarray", (object,))?;
    let kind: String = array.getattr("dtype")?.getattr("kind")?.extract()?;
    match kind.as_str() {
        // Read-only arrays are not handed over by old versions of NumPy.
        "f" | "i" | "u" | "b" => array.call_method0("copy"),
        _ => {
            let dtype = array.getattr("dtype")?;
            Err(PyTypeError::new_err(format!("{name} is an array of {dtype}; give one of real numbers")))
        }
    }
}

/// `values` as an array of `shape`, in single precision where asked.
pub fn given_back<'py>(py: Python<'py>, values: Vec<f64>, shape: &[usize], single: bool) -> PyResult<Bound<'py, PyAny>> {
    Ok(if single {
        values.iter().map(|x| *x as f32).collect::<Vec<f32>>().into_pyarray(py).reshape(shape)?.into_any()
    } else {
        values.into_pyarray(py).reshape(shape)?.into_any()
    })
}

/// Indices as an array of `shape`.
pub fn indices<'py>(py: Python<'py>, values: Vec<u32>, shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    Ok(values.into_iter().map(i64::from).collect::<Vec<i64>>().into_pyarray(py).reshape(shape)?.into_any())
}
