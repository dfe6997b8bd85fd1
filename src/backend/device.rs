//! The one run-time choice: which device, in which precision.

use thiserror::Error;

use crate::backend::Backend;
use crate::backend::cpu::Cpu;
#[cfg(feature = "cuda")]
use crate::backend::cuda::Cuda;

/// Precision of the arithmetic over particles; coefficients and results are always f64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Precision {
    /// Single.
    #[default]
    F32,
    /// Double: the reference, slower.
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
///
/// ```
/// use brenier::backend::{Device, Precision};
///
/// let device = Device::cpu(Precision::F64);
/// assert_eq!((device.name(), device.precision()), ("cpu", Precision::F64));
/// assert!(Device::named("abacus", Precision::F32).is_err());
/// ```
#[derive(Clone, Debug)]
pub enum Device {
    /// The processor, in single precision.
    Cpu32(Cpu<f32>),
    /// The processor, in double precision.
    Cpu64(Cpu<f64>),
    /// An NVIDIA GPU, in single precision.
    #[cfg(feature = "cuda")]
    Cuda(Cuda),
}

/// Why there is no such device.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum DeviceError {
    /// A name that no device has.
    #[error("there is no device \"{name}\"; the devices are auto and cpu, and cuda or cuda:1 for a GPU")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// CUDA was asked for by name.
    #[error("device \"{name}\" is not there: {why}; use --device cpu")]
    NoCuda {
        /// The name asked for.
        name: String,
        /// Why it cannot be used.
        why: CudaAbsence,
    },
    /// A GPU in double precision.
    #[error("device \"{name}\" computes in f32 alone; use --precision f32, or --device cpu")]
    Precision {
        /// The name asked for.
        name: String,
    },
}

/// Why CUDA, or one GPU, cannot be used.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum CudaAbsence {
    /// Left out by a feature.
    #[error("this build of brenier leaves CUDA out (feature `cuda`)")]
    NotBuilt,
    /// No kernels in the binary, and no compiler to make them.
    #[error(
        "this build of brenier carries no kernels, because NVRTC was not found when it was built; \
         `pip install nvidia-cuda-nvrtc-cu12==12.9.86` into an active virtual environment, or set NVRTC_DIR, and build again"
    )]
    NoKernels,
    /// No driver.
    #[error("there is no NVIDIA driver on this machine (libcuda.so.1)")]
    NoDriver,
    /// Fewer GPUs.
    #[error("there is no GPU number {ordinal}, the driver sees {count}")]
    NoSuch {
        /// The number asked for, from 0.
        ordinal: usize,
        /// GPUs that there are.
        count: usize,
    },
    /// No form of the kernels was taken.
    #[error(
        "its driver (CUDA {driver}) takes none of the kernels for sm_{arch} ({tried}); \
         update the driver, or put libnvrtc of its CUDA version on LD_LIBRARY_PATH"
    )]
    NotLoaded {
        /// The GPU's architecture.
        arch: u32,
        /// The driver's CUDA version.
        driver: String,
        /// What was tried, and what the driver said.
        tried: String,
    },
    /// A call to the driver failed.
    #[error("{call} failed: {reason}")]
    Failed {
        /// The call.
        call: String,
        /// What the driver says.
        reason: String,
    },
}

/// What a GPU is, as far as its speed goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chip {
    /// Compute capability: [9, 0] is sm_90.
    pub capability: [u32; 2],
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Their clock at most, in Hz.
    pub clock: f64,
    /// Bytes a second between memory and chip at most.
    pub bandwidth: f64,
}

/// A GPU that the driver sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// Its number, as in `cuda:0`.
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// Its memory in bytes.
    pub memory: u64,
    /// CUDA version of the driver, as 12.9.
    pub driver: String,
    /// What it is.
    pub chip: Chip,
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

    /// The device called `auto`, `cpu` or `cuda[:i]`. `auto` is the first GPU where one can be used, and tells in the log which it
    /// took and why.
    ///
    /// # Errors
    /// [`DeviceError`] when there is no such device; a device asked for by name is never replaced by another.
    pub fn named(name: &str, precision: Precision) -> Result<Self, DeviceError> {
        match name {
            "auto" => Ok(Self::auto(precision)),
            "cpu" => Ok(Self::cpu(precision)),
            _ => {
                let unknown = || DeviceError::Unknown { name: name.into() };
                let rest = name.strip_prefix("cuda").ok_or_else(unknown)?;
                let ordinal = if rest.is_empty() { Some(0) } else { rest.strip_prefix(':').and_then(|i| i.parse().ok()) };
                let ordinal = ordinal.ok_or_else(unknown)?;
                if precision == Precision::F64 {
                    return Err(DeviceError::Precision { name: name.into() });
                }
                Self::cuda(ordinal).map_err(|why| DeviceError::NoCuda { name: name.into(), why })
            }
        }
    }

    fn auto(precision: Precision) -> Self {
        if precision == Precision::F64 {
            tracing::info!("device cpu: a GPU computes in f32 alone");
            return Self::cpu(precision);
        }
        match Self::cuda(0) {
            Ok(device) => {
                tracing::info!("device {}: the first GPU", device.name());
                device
            }
            Err(why) => {
                tracing::info!("device cpu: {why}");
                Self::cpu(precision)
            }
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda(ordinal: usize) -> Result<Self, CudaAbsence> {
        Cuda::open(ordinal).map(Self::Cuda)
    }

    #[cfg(not(feature = "cuda"))]
    fn cuda(_: usize) -> Result<Self, CudaAbsence> {
        Err(CudaAbsence::NotBuilt)
    }

    /// Name of the device as the JSON prints it.
    pub fn name(&self) -> &str {
        match self {
            Self::Cpu32(_) | Self::Cpu64(_) => "cpu",
            #[cfg(feature = "cuda")]
            Self::Cuda(backend) => backend.name(),
        }
    }

    /// What the GPU is; none for the processor.
    pub fn chip(&self) -> Option<Chip> {
        match self {
            Self::Cpu32(_) | Self::Cpu64(_) => None,
            #[cfg(feature = "cuda")]
            Self::Cuda(backend) => Some(backend.launcher().chip()),
        }
    }

    /// The GPUs that there are.
    ///
    /// # Errors
    /// [`CudaAbsence`] when CUDA cannot be used at all.
    #[cfg(feature = "cuda")]
    pub fn gpus() -> Result<Vec<Gpu>, CudaAbsence> {
        crate::backend::cuda::gpus()
    }

    /// The GPUs that there are.
    ///
    /// # Errors
    /// [`CudaAbsence::NotBuilt`].
    #[cfg(not(feature = "cuda"))]
    pub fn gpus() -> Result<Vec<Gpu>, CudaAbsence> {
        Err(CudaAbsence::NotBuilt)
    }

    /// Architectures that this build carries kernels for: `sm_80`, …, `compute_80`.
    pub fn kernels() -> Vec<String> {
        #[cfg(feature = "cuda")]
        return crate::backend::cuda::architectures();
        #[cfg(not(feature = "cuda"))]
        Vec::new()
    }

    /// Precision of the device's arithmetic.
    pub fn precision(&self) -> Precision {
        match self {
            Self::Cpu32(_) => Precision::F32,
            Self::Cpu64(_) => Precision::F64,
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => Precision::F32,
        }
    }

    /// Runs `task` on this device.
    pub fn run<T: Task>(&self, task: T) -> T::Output {
        match self {
            Self::Cpu32(backend) => task.run(backend),
            Self::Cpu64(backend) => task.run(backend),
            #[cfg(feature = "cuda")]
            Self::Cuda(backend) => task.run(backend),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_kernels_says_how_to_get_them() {
        let refusal = DeviceError::NoCuda { name: "cuda".into(), why: CudaAbsence::NoKernels }.to_string();
        assert!(refusal.contains("\"cuda\" is not there") && refusal.contains("pip install nvidia-cuda-nvrtc-cu12"), "{refusal}");
    }
}
