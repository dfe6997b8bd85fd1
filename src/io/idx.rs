//! IDX, the format of MNIST's files: two zero bytes, type, number of axes, their extents, then the numbers, all big-endian.

use crate::io::Fault;
use crate::io::array::{Layout, Number};

const TYPES: [(u8, Number); 6] =
    [(0x08, Number::U8), (0x09, Number::I8), (0x0b, Number::I16), (0x0c, Number::I32), (0x0d, Number::F32), (0x0e, Number::F64)];

/// Whether a file may begin with `bytes`.
pub(super) fn is_idx(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, kind, axes, ..] if *axes > 0 && TYPES.iter().any(|(known, _)| known == kind))
}

/// What `decode` makes of the numbers of a whole IDX file.
pub(super) fn read<T>(bytes: &[u8], decode: impl FnOnce(&Layout, &[u8]) -> Result<T, Fault>) -> Result<T, Fault> {
    let damaged = || Fault::Damaged { why: "its header is cut short or garbled".into() };
    let [0, 0, kind, axes, rest @ ..] = bytes else { return Err(damaged()) };
    let number = TYPES.iter().find(|(known, _)| known == kind).map(|(_, number)| *number).ok_or_else(damaged)?;
    let (extents, numbers) = rest.split_at_checked(4 * usize::from(*axes)).ok_or_else(damaged)?;
    let shape = extents.as_chunks().0.iter().map(|extent| u32::from_be_bytes(*extent) as usize).collect();
    decode(&Layout { shape, number, big_endian: true, fortran: false }, numbers)
}
