//! `.csv`: one row a line, fields separated by commas, with or without a header.

use csv::{ByteRecord, ReaderBuilder, Trim};

use crate::io::{Array, Problem};

/// The n × d numbers of a whole `.csv` file. The first line is a header when none of its fields is, or begins as, a number.
pub(super) fn read(bytes: &[u8]) -> Result<Array, Problem> {
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(bytes);
    let mut record = ByteRecord::new();
    let mut values = Vec::new();
    let (mut columns, mut first_line, mut rows) = (0, 0, 0);
    while reader.read_byte_record(&mut record).map_err(|error| Problem::Damaged { why: error.to_string() })? {
        let line = record.position().map_or(0, |position| position.line());
        if first_line == 0 {
            (columns, first_line) = (record.len(), line);
            if record.iter().all(is_word) {
                continue;
            }
        }
        if record.len() != columns {
            return Err(Problem::Ragged { line, found: record.len(), first_line, expected: columns });
        }
        for (column, field) in record.iter().enumerate() {
            let Some(value) = number(field).filter(|value| value.is_finite()) else {
                let text = String::from_utf8_lossy(field).chars().take(40).collect();
                return Err(Problem::Cell { line, column, text });
            };
            values.push(value);
        }
        rows += 1;
    }
    Ok(Array { shape: vec![rows, columns], values })
}

fn number(field: &[u8]) -> Option<f64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Whether the field can stand in a header: a mistyped number must not be taken for one.
fn is_word(field: &[u8]) -> bool {
    number(field).is_none() && !matches!(field.first(), Some(b'0'..=b'9' | b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_seen_by_its_words() {
        let expected = Array { shape: vec![2, 2], values: vec![1.0, -2.5, 3e-4, 4.0] };
        for text in ["1,-2.5\n3e-4,4\n", "x,y\n1,-2.5\n3e-4,4", "\u{feff}# x,y\r\n 1, -2.5\r\n\r\n\"3e-4\",4\r\n"] {
            assert_eq!(read(text.as_bytes()).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn bad_cells_are_named_by_line_and_column() {
        let message = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            message("x,y\n1,2\n3,four\n"),
            "line 3, column 1 holds \"four\", which is no finite number: repair or remove that line (commas separate fields)"
        );
        assert!(message("1,nan\n").starts_with("line 1, column 1 holds \"nan\""));
        assert!(message("x\n1\n-inf\n").starts_with("line 3, column 0 holds \"-inf\""));
        assert!(message("1.2.3\n4\n").starts_with("line 1, column 0 holds \"1.2.3\""));
        assert!(message("1 2\n3 4\n").starts_with("line 1, column 0 holds \"1 2\""));
        assert!(message("1,2\n1,\n").starts_with("line 2, column 1 holds \"\""));
        assert!(message("1,2\n1;2\n").starts_with("line 2 has 1 fields where line 1 has 2"));
    }

    #[test]
    fn a_header_alone_is_no_point() {
        assert_eq!(read(b"x,y\n").unwrap(), Array { shape: vec![0, 2], values: vec![] });
    }
}
