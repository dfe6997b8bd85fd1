//! What the machine says about itself.

use std::fs;

use brenier::backend::BackendError;

use crate::Failure;

/// The value of `key` in a file of lines `key : value`, as /proc has them.
fn field(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
}

/// Bytes of `key` in /proc/meminfo; none on systems without it.
fn memory(key: &str) -> Option<u64> {
    let kilobytes: u64 = field("/proc/meminfo", key)?.strip_suffix("kB")?.trim().parse().ok()?;
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

/// Refuses `what`, of `numbers` numbers of 8 bytes, where it does not fit into the memory that is free.
pub fn require(what: &'static str, numbers: u64) -> Result<(), Failure> {
    let needed = numbers.saturating_mul(8);
    match memory("MemAvailable") {
        Some(free) if needed > free => Err(BackendError::OutOfMemory { what, needed, free }.into()),
        _ => Ok(()),
    }
}
