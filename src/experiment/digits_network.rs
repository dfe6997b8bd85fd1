//! The network that comes with the digits.

use std::path::PathBuf;

use crate::field::Network;
use crate::io::{ReadError, decode_network};

/// Its file, which says what made it (`data/README.md`).
static FILE: &[u8] = include_bytes!("../../data/digits.safetensors");

/// A network trained by flow matching on one half of the digits, the one that seed 0 gives.
///
/// # Errors
/// [`ReadError`] where the file that was built in is not whole.
pub fn digits_network() -> Result<Network, ReadError> {
    decode_network(FILE).map_err(|fault| ReadError::File { path: PathBuf::from("data/digits.safetensors"), fault })
}
