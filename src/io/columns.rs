//! Columns of a table by their names.

use crate::io::Fault;
use crate::names::nearest;

/// Where `name` is among `names`.
pub(super) fn place(name: &str, names: &[String]) -> Result<usize, Fault> {
    names.iter().position(|known| known == name).ok_or_else(|| Fault::NoColumn {
        name: name.into(),
        nearest: nearest(name, names.iter().map(String::as_str)).into(),
        present: names.to_vec(),
    })
}
