//! The compiled kernels that the binary carries, one module a file of `kernels/`.

/// One kernel file.
pub struct Module {
    /// Name of the file, without its extension.
    pub name: &'static str,
    /// Its source, includes in place.
    pub source: &'static str,
    /// PTX for the first architecture, where the build had NVRTC.
    pub ptx: Option<&'static str>,
    /// Machine code by architecture: (90, …) for sm_90.
    pub cubins: &'static [(u32, &'static Aligned<[u8]>)],
}

/// Bytes that begin a cache line: the driver reads a cubin, an ELF file, by words where it lies.
#[repr(C, align(64))]
pub struct Aligned<T: ?Sized>(pub T);

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
