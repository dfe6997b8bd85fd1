//! `.csv`: one row a line, fields separated by commas, with or without a header.

use csv::{ByteRecord, ReaderBuilder, Trim};
use thiserror::Error;

use crate::io::columns::place;
use crate::io::{Array, Fault};

/// A table, and what whoever wrote it should know about how it was read.
#[derive(Debug)]
pub(super) struct Table {
    /// The n × d numbers.
    pub array: Array,
    pub remarks: Vec<Remark>,
}

/// Something that a table leaves open.
#[derive(Debug, Error, PartialEq)]
pub(super) enum Remark {
    #[error(
        "its first column has no name and numbers the rows, as pandas writes its index, so it is left out (index=False writes none)"
    )]
    Index,
    #[error(
        "its first column has no name and is read as a coordinate; where it is an index, write the file without it (index=False)"
    )]
    Unnamed,
    #[error(
        "its first row, the numbers from 0 to {last}, is read as a point; where it is a header, write the file without it (pandas: \
         header=False)"
    )]
    Numbered { last: usize },
}

/// The numbers of a whole `.csv` file, all or those of `columns`, which its first line then names.
///
/// The first line is a header when none of its fields is, or begins as, a number, and when it is a field without a name before the
/// numbers 0, 1, …, as pandas heads an array. First columns that a header leaves without a name are an index where they hold whole
/// numbers of which no two are equal, and are left out.
pub(super) fn read(bytes: &[u8], columns: Option<&[String]>) -> Result<Table, Fault> {
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(bytes);
    let mut record = ByteRecord::new();
    let mut values = Vec::new();
    let (mut width, mut first_line, mut rows) = (0, 0, 0);
    let (mut header, mut unnamed) = (false, 0);
    let (mut names, mut chosen): (Vec<String>, Vec<usize>) = (Vec::new(), Vec::new());
    while reader.read_byte_record(&mut record).map_err(|error| Fault::Damaged { why: error.to_string() })? {
        let line = record.position().map_or(0, |position| position.line());
        if first_line == 0 {
            (width, first_line) = (record.len(), line);
            names = record.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect();
            if let Some(columns) = columns {
                chosen = columns.iter().map(|name| place(name, &names)).collect::<Result<_, _>>()?;
                header = true;
                continue;
            }
            chosen = (0..width).collect();
            let nameless = record.iter().take_while(|field| has_no_name(field)).count();
            header = record.iter().all(is_word) || nameless > 0 && nameless < width && counts(record.iter().skip(nameless));
            if header {
                unnamed = if nameless < width { nameless } else { 0 };
                continue;
            }
        }
        if record.len() != width {
            return Err(Fault::Ragged { line, found: record.len(), first_line, expected: width });
        }
        for &column in &chosen {
            let field = &record[column];
            let Some(value) = number(field).filter(|value| value.is_finite()) else {
                let text = readable(field);
                // A column that begins with text is one of text; later a word may be a slip.
                if header && rows == 0 && is_word(field) && !field.is_empty() {
                    let is_numeric = |(name, field): &(&String, &[u8])| !has_no_name(name.as_bytes()) && number(field).is_some();
                    let numeric = names.iter().zip(record.iter()).filter(is_numeric).map(|(name, _)| name.clone()).collect();
                    let found = format!("\"{text}\" in line {line}");
                    return Err(Fault::NotNumbers { column: names[column].clone(), found, numeric });
                }
                return Err(Fault::Cell { line, column, text });
            };
            values.push(value);
        }
        rows += 1;
    }
    let columns = chosen.len();
    let mut table = Table { array: Array { shape: vec![rows, columns], values }, remarks: Vec::new() };
    for _ in 0..unnamed {
        if !table.begins_with_index() {
            table.remarks.push(Remark::Unnamed);
            break;
        }
        table.remove_first_column();
        table.remarks = vec![Remark::Index];
    }
    let first = table.array.values.chunks(columns.max(1)).next();
    if !header && columns > 1 && first.is_some_and(|row| row.iter().enumerate().all(|(k, x)| *x == k as f64)) {
        table.remarks.push(Remark::Numbered { last: columns - 1 });
    }
    Ok(table)
}

impl Table {
    /// Whether the first column holds whole numbers of which no two are equal.
    fn begins_with_index(&self) -> bool {
        let columns = self.array.shape[1];
        let mut column: Vec<f64> = self.array.values.iter().step_by(columns).copied().collect();
        column.sort_by(f64::total_cmp);
        column.iter().all(|x| x.fract() == 0.0) && column.windows(2).all(|pair| pair[0] < pair[1])
    }

    fn remove_first_column(&mut self) {
        let columns = self.array.shape[1];
        let mut at = 0;
        self.array.values.retain(|_| {
            at += 1;
            (at - 1) % columns != 0
        });
        self.array.shape[1] -= 1;
    }
}

/// Whether a header's field names nothing: it is empty, or what pandas calls an empty one when it reads and writes it again.
fn has_no_name(field: &[u8]) -> bool {
    field.is_empty() || field.starts_with(b"Unnamed: ")
}

/// Whether the fields are the numbers 0, 1, ….
fn counts<'a>(fields: impl Iterator<Item = &'a [u8]>) -> bool {
    fields.enumerate().all(|(k, field)| number(field) == Some(k as f64))
}

/// The beginning of a field.
fn readable(field: &[u8]) -> String {
    String::from_utf8_lossy(field).chars().take(40).collect()
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

    fn read(bytes: &[u8]) -> Result<Table, Fault> {
        super::read(bytes, None)
    }

    #[test]
    fn columns_are_chosen_by_name_and_one_of_text_is_named() {
        let iris = b"length,width,species\n5.1,3.5,setosa\n7.0,3.2,versicolor\n";
        let choose = |names: &[&str]| super::read(iris, Some(&names.iter().map(|name| (*name).into()).collect::<Vec<_>>()));
        assert_eq!(choose(&["width", "length"]).unwrap().array, Array { shape: vec![2, 2], values: vec![3.5, 5.1, 3.2, 7.0] });
        assert_eq!(choose(&["length"]).unwrap().array, Array { shape: vec![2, 1], values: vec![5.1, 7.0] });
        assert_eq!(
            choose(&["lenght"]).unwrap_err().to_string(),
            "the table has no column \"lenght\"; did you mean \"length\"? Its columns are length, width, species"
        );
        let says = "column \"species\" holds \"setosa\" in line 2, where numbers are needed; --columns length,width says which columns are \
                    the coordinates of points";
        assert_eq!(read(iris).unwrap_err().to_string(), says);
        assert_eq!(choose(&["species"]).unwrap_err().to_string(), says);
    }

    #[test]
    fn a_header_is_seen_by_its_words() {
        let expected = Array { shape: vec![2, 2], values: vec![1.0, -2.5, 3e-4, 4.0] };
        for text in ["1,-2.5\n3e-4,4\n", "x,y\n1,-2.5\n3e-4,4", "\u{feff}# x,y\r\n 1, -2.5\r\n\r\n\"3e-4\",4\r\n"] {
            let table = read(text.as_bytes()).unwrap();
            assert_eq!((table.array, table.remarks), (expected.clone(), vec![]), "{text:?}");
        }
    }

    #[test]
    fn bad_cells_are_named_by_line_and_column() {
        let message = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            message("x,y\n1,2\n3,four\n"),
            "line 3, column 1 holds \"four\", which is not a finite number: repair or remove that line (commas separate fields)"
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
        let table = read(b"x,y\n").unwrap();
        assert_eq!((table.array, table.remarks), (Array { shape: vec![0, 2], values: vec![] }, vec![]));
    }

    /// As pandas and R write it by default, and as pandas writes what it read.
    #[test]
    fn a_column_without_a_name_that_numbers_the_rows_is_left_out() {
        for text in [
            ",x,y\n0,1,2\n1,3,4\n",
            ",0,1\n0,1,2\n1,3,4\n",
            "\"\",\"x\",\"y\"\n\"1\",1,2\n\"2\",3,4\n",
            ",x,y\n917,1,2\n-3,3,4\n",
            "Unnamed: 0,x,y\n0,1,2\n1,3,4\n",
            ",Unnamed: 0,x,y\n0,5,1,2\n1,7,3,4\n",
        ] {
            let table = read(text.as_bytes()).unwrap();
            assert_eq!(table.array, Array { shape: vec![2, 2], values: vec![1.0, 2.0, 3.0, 4.0] }, "{text:?}");
            assert_eq!(table.remarks, [Remark::Index], "{text:?}");
        }
    }

    #[test]
    fn a_column_without_a_name_that_does_not_is_a_coordinate_and_said_to_be() {
        for text in [",x\n0.5,1\n1,3\n", ",x\n2,1\n2,3\n"] {
            let table = read(text.as_bytes()).unwrap();
            assert_eq!((table.array.shape, table.remarks), (vec![2, 2], vec![Remark::Unnamed]), "{text:?}");
        }
        // Where no column has a name, none is the index of others.
        for (text, columns) in [("\"\"\n1\n2\n", 1), (",\n1,5\n2,5\n", 2)] {
            let table = read(text.as_bytes()).unwrap();
            assert_eq!((table.array.shape, table.remarks), (vec![2, columns], vec![]), "{text:?}");
        }
    }

    #[test]
    fn a_first_row_that_counts_is_a_point_and_said_to_be_unless_a_header_stands_above_it() {
        assert_eq!(read(b"0,1\n5,6\n").unwrap().remarks, [Remark::Numbered { last: 1 }]);
        for text in ["x,y\n0,1\n", "0\n1\n", "0,2\n", "x,y\n"] {
            assert_eq!(read(text.as_bytes()).unwrap().remarks, [], "{text:?}");
        }
    }
}
