//! The kernels of brenier, compiled as C++ from the very same files and run on the host: one fiber a CUDA thread.
//!
//! A launch has the shape of `cuLaunchKernel`. Results are deterministic; a kernel that is right gives the same bits in every
//! [`Order`], and one that lacks a barrier does not. What it does not show: weak memory order, registers and occupancy, and the
//! last bits of `exp`, `log` and the matrix unit.

use std::ffi::c_void;

/// In which order threads and blocks run between two barriers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ascending.
    Forward,
    /// Descending.
    Reverse,
    /// Permuted.
    Shuffled,
}

impl Order {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Forward, Self::Reverse, Self::Shuffled];
}

/// Whether there was a C++ compiler when this crate was built.
pub const COMPILED: bool = cfg!(compiled);
/// Whether it has sanitizers built in, which end the process at a fault of theirs.
pub const SANITIZED: bool = cfg!(sanitized);

/// Runs `kernel` over all blocks of the grid; `params` are the addresses of its arguments, and pointers are the host's.
///
/// # Errors
/// A sentence, when there is no such kernel, when the launch is beyond the limits that every device has, or when a barrier is not
/// reached by all that it waits for.
///
/// # Safety
/// `params` must match the kernel's signature, and the pointers among them must be good for what it does with them.
pub unsafe fn launch(
    kernel: &str,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    params: &mut [*mut c_void],
    order: Order,
) -> Result<(), String> {
    #[cfg(compiled)]
    {
        use std::ffi::{CStr, CString, c_char};
        unsafe extern "C" {
            fn brenier_emulator_launch(
                name: *const c_char,
                grid: *const u32,
                block: *const u32,
                shared: u32,
                params: *mut *mut c_void,
                order: u32,
            ) -> *const c_char;
        }
        let name = CString::new(kernel).map_err(|error| error.to_string())?;
        // SAFETY: the caller answers for the arguments; the error is a string constant.
        unsafe {
            let failure =
                brenier_emulator_launch(name.as_ptr(), grid.as_ptr(), block.as_ptr(), shared, params.as_mut_ptr(), order as u32);
            if failure.is_null() { Ok(()) } else { Err(CStr::from_ptr(failure).to_string_lossy().into_owned()) }
        }
    }
    #[cfg(not(compiled))]
    {
        let _ = (kernel, grid, block, shared, params, order);
        Err("there was no C++ compiler".into())
    }
}

/// Bytes of each argument of `kernel`; none where there is no such kernel.
pub fn argument_sizes(kernel: &str) -> Option<&'static [u32]> {
    #[cfg(compiled)]
    {
        use std::ffi::{CString, c_char};
        unsafe extern "C" {
            fn brenier_emulator_arguments(name: *const c_char, count: *mut u32) -> *const u32;
        }
        let (name, mut count) = (CString::new(kernel).ok()?, 0);
        // SAFETY: the sizes are constants of the program, `count` of them.
        unsafe {
            let sizes = brenier_emulator_arguments(name.as_ptr(), &mut count);
            (!sizes.is_null()).then(|| std::slice::from_raw_parts(sizes, count as usize))
        }
    }
    #[cfg(not(compiled))]
    {
        let _ = kernel;
        None
    }
}
