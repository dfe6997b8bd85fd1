//! The one run-time choice: which device, in which precision.

use thiserror::Error;

use crate::backend::Backend;
use crate::backend::cpu::Cpu;

/// Precision of the arithmetic over particles; coefficients and results are always f64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Double precision: the reference.
    F64,
}

impl Precision {
    /// `f32` or `f64`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}

/// A device that work can be sent to.
#[derive(Clone, Debug)]
pub enum Device {
    /// The processor, in single precision.
    Cpu32(Cpu<f32>),
    /// The processor, in double precision.
    Cpu64(Cpu<f64>),
}

/// Why there is no such device.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum DeviceError {
    /// A name that is no device's.
    #[error("there is no device \"{name}\"; the devices are auto and cpu")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// CUDA was asked for by name.
    #[error("device \"{name}\" is not there: this build of brenier has no CUDA backend; use --device cpu")]
    NoCuda {
        /// The name asked for.
        name: String,
    },
}

/// A piece of work that is generic over the backend.
pub trait Task {
    /// What the work gives.
    type Output;
    /// Does the work on `backend`.
    fn run<B: Backend>(self, backend: &B) -> Self::Output;
}

impl Device {
    /// The processor in `precision`.
    pub fn cpu(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::Cpu32(Cpu::new()),
            Precision::F64 => Self::Cpu64(Cpu::new()),
        }
    }

    /// The device called `auto`, `cpu` or `cuda[:i]`.
    ///
    /// # Errors
    /// [`DeviceError`] when there is no such device; a device asked for by name is never replaced by another.
    pub fn named(name: &str, precision: Precision) -> Result<Self, DeviceError> {
        match name {
            "auto" | "cpu" => Ok(Self::cpu(precision)),
            _ if name == "cuda" || name.starts_with("cuda:") => Err(DeviceError::NoCuda { name: name.into() }),
            _ => Err(DeviceError::Unknown { name: name.into() }),
        }
    }

    /// Name of the device as the JSON prints it.
    pub fn name(&self) -> &'static str {
        "cpu"
    }

    /// Precision of the device's arithmetic.
    pub fn precision(&self) -> Precision {
        match self {
            Self::Cpu32(_) => Precision::F32,
            Self::Cpu64(_) => Precision::F64,
        }
    }

    /// Runs `task` on this device.
    pub fn run<T: Task>(&self, task: T) -> T::Output {
        match self {
            Self::Cpu32(backend) => task.run(backend),
            Self::Cpu64(backend) => task.run(backend),
        }
    }
}
