//! numpy's `.npy`: a magic string, a Python dictionary with type, order and shape, then the numbers.
//!
//! Format versions 1, 2 and 3 (numpy.lib.format). The numbers are read straight from the mapped file.

use crate::io::Fault;
use crate::io::array::{Layout, Number};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Lists within lists that a header may have: more are a garbled file.
const DEPTH: usize = 16;

/// What `decode` makes of the numbers of a whole `.npy` file.
pub(super) fn read<T>(bytes: &[u8], decode: impl FnOnce(&Layout, &[u8]) -> Result<T, Fault>) -> Result<T, Fault> {
    let damaged = || Fault::Damaged { why: "its header is cut short or garbled".into() };
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(damaged)?;
    let (length, rest) = match *rest {
        [1, 0, a, b, ref rest @ ..] => (u32::from(u16::from_le_bytes([a, b])), rest),
        [2 | 3, 0, a, b, c, d, ref rest @ ..] => (u32::from_le_bytes([a, b, c, d]), rest),
        [major, minor, ..] if major > 3 => {
            let what = format!("a .npy file of format {major}.{minor}");
            return Err(Fault::NotRead { what, remedy: "formats 1 to 3 are: write it with numpy.save" });
        }
        _ => return Err(damaged()),
    };
    let (header, data) = rest.split_at_checked(length as usize).ok_or_else(damaged)?;
    let header = std::str::from_utf8(header).map_err(|_| damaged())?;
    decode(&layout(header)?.ok_or_else(damaged)?, data)
}

/// What a header such as `{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2), }` says; nothing when it says too little.
fn layout(header: &str) -> Result<Option<Layout>, Fault> {
    let Some(Literal::Dictionary(entries)) = Literal::read(&mut header.trim_start(), DEPTH) else { return Ok(None) };
    let value = |key: &str| entries.iter().find(|(name, _)| *name == key).map(|(_, value)| value);
    let (Some(descr), Some(order), Some(shape)) = (value("descr"), value("fortran_order"), value("shape")) else {
        return Ok(None);
    };
    let (big_endian, number) = match descr {
        Literal::Text(descr) => number(descr).ok_or_else(|| Fault::Type { found: format!("numbers of type {descr}") })?,
        _ => return Err(Fault::Type { found: "a structured type".into() }),
    };
    let fortran = match order {
        Literal::Word("True" | "true") => true,
        Literal::Word("False" | "false") => false,
        _ => return Ok(None),
    };
    let Literal::List(extents) = shape else { return Ok(None) };
    let extent = |extent: &Literal| match extent {
        Literal::Word(word) => word.strip_suffix('L').unwrap_or(word).parse().ok(), // Python 2 writes longs as 40L
        _ => None,
    };
    let shape: Option<Vec<usize>> = extents.iter().map(extent).collect();
    Ok(shape.map(|shape| Layout { shape, number, big_endian, fortran }))
}

/// A literal of Python or JSON, as headers hold them.
enum Literal<'a> {
    Text(&'a str),
    /// A number, True, False or None.
    Word(&'a str),
    /// A tuple or a list.
    List(Vec<Literal<'a>>),
    Dictionary(Vec<(&'a str, Literal<'a>)>),
}

impl<'a> Literal<'a> {
    /// The literal at the start of `text`, which moves behind it and what is blank; no more than `depth` within one another.
    fn read(text: &mut &'a str, depth: usize) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        let quoted = |c: char| c == '\'' || c == '"';
        let first = text.chars().next()?;
        let literal = match first {
            '(' | '[' => {
                let close = if first == '(' { ')' } else { ']' };
                *text = text[1..].trim_start();
                let mut all = Vec::new();
                while !text.starts_with(close) {
                    all.push(Self::read(text, depth)?);
                    comma(text, close)?;
                }
                *text = &text[1..];
                Self::List(all)
            }
            '{' => {
                *text = text[1..].trim_start();
                let mut all = Vec::new();
                while !text.starts_with('}') {
                    let Self::Text(key) = Self::read(text, depth)? else { return None };
                    *text = text.strip_prefix(':')?.trim_start();
                    all.push((key, Self::read(text, depth)?));
                    comma(text, '}')?;
                }
                *text = &text[1..];
                Self::Dictionary(all)
            }
            quote if quoted(quote) => {
                let (inside, rest) = text[1..].split_once(quote)?;
                *text = rest;
                Self::Text(inside)
            }
            // The letter before a text of Python 2, as in u'<f8'.
            'u' | 'b' if text[1..].starts_with(quoted) => {
                *text = &text[1..];
                Self::read(text, depth)?
            }
            _ => {
                let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
                if end == 0 {
                    return None;
                }
                let (word, rest) = text.split_at(end);
                *text = rest;
                Self::Word(word)
            }
        };
        *text = text.trim_start();
        Some(literal)
    }
}

/// Moves `text` behind a comma, unless what comes is `close`.
fn comma(text: &mut &str, close: char) -> Option<()> {
    if !text.starts_with(close) {
        *text = text.strip_prefix(',')?.trim_start();
    }
    Some(())
}

/// Whether the bytes are in big-endian order, and the number, that a type string such as `<f8` or `float64` stands for; one that names
/// no order is little-endian, as nearly every machine is.
fn number(descr: &str) -> Option<(bool, Number)> {
    let name = descr.strip_prefix(['<', '>', '=', '|']).unwrap_or(descr);
    let number = match name {
        "f2" | "float16" => Number::F16,
        "f4" | "float32" => Number::F32,
        "f8" | "float64" => Number::F64,
        "i1" | "int8" => Number::I8,
        "i2" | "int16" => Number::I16,
        "i4" | "int32" => Number::I32,
        "i8" | "int64" => Number::I64,
        "u1" | "uint8" => Number::U8,
        "u2" | "uint16" => Number::U16,
        "u4" | "uint32" => Number::U32,
        "u8" | "uint64" => Number::U64,
        _ => return None,
    };
    Some((descr.starts_with('>'), number))
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
    use crate::io::Array;

    fn read(bytes: &[u8]) -> Result<Array, Fault> {
        super::read(bytes, Layout::decode)
    }

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

    /// Of JSON writers, of Python 2 on Windows, and without a byte order; numpy reads all of them.
    #[test]
    fn headers_of_other_writers_are_read() {
        for text in [
            r#"{"descr": "<f4", "fortran_order": false, "shape": [2, 1]}"#,
            r#"{"shape": (2, 1), "fortran_order": False, "descr": "<f4", }"#,
            "{'descr': u'<f4', 'fortran_order': False, 'shape': (2L, 1L), }",
            "{'descr':'f4','fortran_order':False,'shape':(2,1)}",
            " { 'descr' : '=f4' , 'fortran_order' : False , 'shape' : ( 2 , 1 , ) }\n",
            "{'descr': 'float32', 'fortran_order': False, 'shape': (2, 1), 'more': [{'a': None}]}",
        ] {
            let data = [1f32.to_le_bytes(), 2f32.to_le_bytes()].concat();
            let bytes = [MAGIC, &[1, 0], &(text.len() as u16).to_le_bytes(), text.as_bytes(), &data].concat();
            assert_eq!(read(&bytes).unwrap(), Array { shape: vec![2, 1], values: vec![1.0, 2.0] }, "{text}");
        }
    }

    #[test]
    fn a_header_of_nothing_but_brackets_is_garbled() {
        for text in
            ["(".repeat(60_000), "{'descr': ".repeat(6_000), "{'shape': (-1,), 'descr': '<f4', 'fortran_order': False}".into()]
        {
            let bytes = [MAGIC, &[1, 0], &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat();
            assert!(matches!(read(&bytes), Err(Fault::Damaged { .. })));
        }
        let error = read(&[MAGIC, &[4, 0, 1, 0, 0, 0]].concat()).unwrap_err().to_string();
        assert!(error.starts_with("it is a .npy file of format 4.0, which is not read"), "{error}");
    }

    #[test]
    fn no_prefix_of_a_file_is_taken_for_the_whole() {
        let whole = file("'<f4'", "False", "(2, 2)", &[0; 16]);
        for length in 0..whole.len() {
            assert!(matches!(read(&whole[..length]), Err(Fault::Damaged { .. } | Fault::Truncated { .. })), "{length}");
        }
        assert!(read(&whole).is_ok());
    }
}
