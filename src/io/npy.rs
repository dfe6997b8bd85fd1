//! numpy's `.npy`: a magic string, a Python dictionary with type, order and shape, then the numbers.
//!
//! Format versions 1, 2 and 3 (numpy.lib.format). The numbers are read straight from the mapped file.

use crate::io::Problem;
use crate::io::array::{Array, Layout, Number};

const MAGIC: &[u8] = b"\x93NUMPY";

/// The array of a whole `.npy` file.
pub(super) fn read(bytes: &[u8]) -> Result<Array, Problem> {
    let damaged = || Problem::Damaged { why: "its header is cut short or garbled".into() };
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(damaged)?;
    let (length, rest) = match *rest {
        [1, 0, a, b, ref rest @ ..] => (u32::from(u16::from_le_bytes([a, b])), rest),
        [2 | 3, 0, a, b, c, d, ref rest @ ..] => (u32::from_le_bytes([a, b, c, d]), rest),
        _ => return Err(damaged()),
    };
    let (header, data) = rest.split_at_checked(length as usize).ok_or_else(damaged)?;
    let header = std::str::from_utf8(header).map_err(|_| damaged())?;
    layout(header)?.ok_or_else(damaged)?.decode(data)
}

/// What a header such as `{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2), }` says; nothing when it says too little.
fn layout(header: &str) -> Result<Option<Layout>, Problem> {
    let value = |key: &str| header.split_once(key).map(|(_, rest)| rest.trim_start());
    let (Some(descr), Some(order), Some(shape)) = (value("'descr':"), value("'fortran_order':"), value("'shape':")) else {
        return Ok(None);
    };
    let Some(descr) = descr.strip_prefix('\'').and_then(|rest| rest.split('\'').next()) else {
        return Err(Problem::Type { found: "a structured type".into() });
    };
    let (big_endian, number) = number(descr).ok_or_else(|| Problem::Type { found: format!("numbers of type {descr}") })?;
    let fortran = order.starts_with("True");
    let inside = shape.strip_prefix('(').and_then(|rest| rest.split(')').next());
    let extents = inside.map(|s| s.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::parse).collect());
    Ok(extents.and_then(Result::ok).map(|shape| Layout { shape, number, big_endian, fortran }))
}

/// The byte order and number that a type string such as `<f8` stands for.
fn number(descr: &str) -> Option<(bool, Number)> {
    let (order, name) = descr.split_at_checked(1)?;
    let number = match name {
        "f2" => Number::F16,
        "f4" => Number::F32,
        "f8" => Number::F64,
        "i1" => Number::I8,
        "i2" => Number::I16,
        "i4" => Number::I32,
        "i8" => Number::I64,
        "u1" => Number::U8,
        "u2" => Number::U16,
        "u4" => Number::U32,
        "u8" => Number::U64,
        _ => return None,
    };
    Some((order == ">", number))
}

/// Everything of a `.npy` file of `shape` that comes before the numbers; `descr` is numpy's name of their type.
pub(super) fn header(descr: &str, shape: &[usize]) -> Vec<u8> {
    let extents: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
    let dictionary = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents}), }}");
    // Padded so that the numbers begin at a multiple of 64 bytes, as numpy does.
    let width = (MAGIC.len() + 4 + dictionary.len() + 1).next_multiple_of(64) - MAGIC.len() - 5;
    let text = format!("{dictionary:width$}\n");
    [MAGIC, &[1, 0], &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let text = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        [MAGIC, &[1, 0], &(text.len() as u16).to_le_bytes(), text.as_bytes(), data].concat()
    }

    #[test]
    fn headers_of_numpy_are_read() {
        let array = read(&file("'|i1'", "True", "(2, 3)", &[0, 3, 1, 4, 2, 255])).unwrap();
        assert_eq!(array, Array { shape: vec![2, 3], values: vec![0.0, 1.0, 2.0, 3.0, 4.0, -1.0] });
        let array = read(&file("'>u2'", "False", "(2,)", &[1, 0, 0, 2])).unwrap();
        assert_eq!(array, Array { shape: vec![2], values: vec![256.0, 2.0] });
        assert_eq!(read(&file("'<f8'", "False", "()", &1.5f64.to_le_bytes())).unwrap().shape, [] as [usize; 0]);
        let text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }";
        let second = [MAGIC, &[2, 0], &(text.len() as u32).to_le_bytes(), text, &[7]].concat();
        assert_eq!(read(&second).unwrap().values, [7.0]);
    }

    /// `numpy.lib.format` writes exactly this for `numpy.zeros((3, 2), "<f4")`, up to a comma in the shape.
    #[test]
    fn the_header_written_is_aligned_and_read_back() {
        let header = header("<f4", &[3, 2]);
        assert_eq!(header.len(), 128);
        assert_eq!(header.last(), Some(&b'\n'));
        assert_eq!(read(&[header, vec![0; 24]].concat()).unwrap().shape, [3, 2]);
    }

    #[test]
    fn other_types_are_refused_by_name() {
        for (descr, named) in
            [("'|b1'", "type |b1"), ("'<c8'", "type <c8"), ("'<U3'", "type <U3"), ("[('x', '<f4')]", "structured")]
        {
            let error = read(&file(descr, "False", "(1,)", &[0; 8])).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    #[test]
    fn no_prefix_of_a_file_is_taken_for_the_whole() {
        let whole = file("'<f4'", "False", "(2, 2)", &[0; 16]);
        for length in 0..whole.len() {
            assert!(matches!(read(&whole[..length]), Err(Problem::Damaged { .. } | Problem::Truncated { .. })), "{length}");
        }
        assert!(read(&whole).is_ok());
    }
}
