//! One kernel file through NVRTC. Shared with `build.rs`, so that a file compiled at run time is what the build would have made.

use std::ffi::{CStr, CString};

use cudarc::nvrtc::{result, sys};

/// Options of every compilation. Contraction is off, so that `+` and `*` are IEEE operations, the same as on the host; where a
/// fused multiply-add is wanted, `fmaf` says so.
pub const OPTIONS: [&str; 3] = ["--std=c++17", "--fmad=false", "--device-as-default-execution-space"];

/// What a compilation gives.
pub struct Compiled {
    /// PTX, as text.
    #[allow(dead_code)] // read by build.rs
    pub ptx: Vec<u8>,
    /// Machine code; empty for a virtual architecture.
    pub cubin: Vec<u8>,
    /// What the compiler had to say.
    #[allow(dead_code)] // read by build.rs
    pub log: String,
}

/// Compiles `source`, called `name` in messages, for `arch` (`sm_90`, `compute_80`) with [`OPTIONS`] and `more`.
///
/// # Errors
/// The compiler's log. There must be a library: [`sys::is_culib_present`] tells.
pub fn compile(name: &str, source: &str, arch: &str, more: &[String]) -> Result<Compiled, String> {
    let failed = |error: result::NvrtcError| format!("{name}: {error}");
    let (source, file) = (CString::new(source), CString::new(name));
    let (Ok(source), Ok(file)) = (source, file) else { return Err(format!("{name}: a zero byte in the source")) };
    let program = result::create_program(&source, Some(&file)).map_err(failed)?;
    let options: Vec<String> =
        [format!("--gpu-architecture={arch}")].into_iter().chain(OPTIONS.map(String::from)).chain(more.iter().cloned()).collect();
    // SAFETY: the program is alive until it is destroyed at the end; the log and the results are copied before.
    unsafe {
        let compiled = result::compile_program(program, &options);
        let log = result::get_program_log(program).map_err(failed)?;
        let log = CStr::from_ptr(log.as_ptr()).to_string_lossy().into_owned();
        let made = compiled.map_err(|error| format!("{name}: {error}\n{log}")).and_then(|()| {
            let ptx = result::get_ptx(program).map_err(failed)?;
            let ptx = ptx.into_iter().map(|byte| byte as u8).take_while(|&byte| byte != 0).collect();
            let mut size = 0;
            sys::nvrtcGetCUBINSize(program, &mut size).result().map_err(failed)?;
            let mut cubin = vec![0u8; size];
            if size > 0 {
                sys::nvrtcGetCUBIN(program, cubin.as_mut_ptr().cast()).result().map_err(failed)?;
            }
            Ok(Compiled { ptx, cubin, log })
        });
        result::destroy_program(program).map_err(failed)?;
        made
    }
}
