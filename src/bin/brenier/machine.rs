//! What the machine says about itself.

use std::fs;

/// The value of `key` in a file of lines `key : value`, as /proc has them.
fn field(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
}

/// Bytes of `key` in /proc/meminfo; none on systems without it.
pub fn memory(key: &str) -> Option<u64> {
    kilobytes("/proc/meminfo", key)
}

/// Bytes of `key` in a file that counts them in kB.
fn kilobytes(file: &str, key: &str) -> Option<u64> {
    let kilobytes: u64 = field(file, key)?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Name of the processor.
pub fn processor() -> String {
    field("/proc/cpuinfo", "model name").unwrap_or_else(|| "cpu".into())
}

/// Bytes of memory.
pub fn total_memory() -> Option<u64> {
    memory("MemTotal")
}

/// A limit that is set on the process, as batch systems do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// All that is mapped.
    AddressSpace,
    /// What is allocated.
    Data,
}

/// Bytes that the process may still take under `limit`; `None` where it is unlimited.
#[cfg(unix)]
pub fn left(limit: Limit) -> Option<u64> {
    let (resource, key) = match limit {
        Limit::AddressSpace => (libc::RLIMIT_AS, "VmSize"),
        Limit::Data => (libc::RLIMIT_DATA, "VmData"),
    };
    let mut bounds = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call fills the structure that it is given, and does nothing else.
    let known = unsafe { libc::getrlimit(resource, &mut bounds) } == 0;
    let most = (known && bounds.rlim_cur != libc::RLIM_INFINITY).then_some(bounds.rlim_cur)?;
    Some(most.saturating_sub(kilobytes("/proc/self/status", key)?))
}

/// Has all threads allocate from one arena where the address space is limited: glibc reserves 64 MiB of it for each thread that
/// allocates, which leaves none for the stacks of threads made later.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn share_arena() {
    if left(Limit::AddressSpace).is_some() {
        // SAFETY: sets a number of the allocator, under its own lock.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

/// Other allocators reserve nothing for a thread.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn share_arena() {}

/// Bytes that the process may still take under `limit`: no other system has such limits.
#[cfg(not(unix))]
pub fn left(_: Limit) -> Option<u64> {
    None
}

/// Ends the process at once, without what is otherwise done at an exit and may need memory.
pub fn leave(code: i32) -> ! {
    // SAFETY: nothing is left to be done.
    #[cfg(unix)]
    unsafe {
        libc::_exit(code)
    }
    #[cfg(not(unix))]
    std::process::exit(code)
}
