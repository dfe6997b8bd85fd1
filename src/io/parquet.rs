//! `.parquet`: a table of named columns, read and written without Arrow.
//!
//! Every column is a coordinate, and one of lists of d numbers is d of them, except those named in [`BESIDE`], and an index of pandas.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnDescriptor, Type};

use crate::io::columns::place;
use crate::io::{Array, Fault, Float};
use crate::measure::Cloud;

/// Columns beside the coordinates: weights of the points, their classes, their conditions.
const BESIDE: [&str; 4] = [WEIGHTS, "labels", "label", "condition"];
const WEIGHTS: &str = "weights";
/// How the name of an index begins that pandas writes.
const INDEX: &str = "__index_level_";
/// Rows that are written at a time.
const ROWS: usize = 1 << 20;

/// A table that is open.
pub(super) struct Table {
    reader: SerializedFileReader<Bytes>,
    names: Vec<String>,
}

/// Numbers of one column, `width` in each row.
struct Column {
    values: Vec<f64>,
    width: usize,
    is_single: bool,
}

impl Table {
    /// The table of a whole file.
    pub fn open(bytes: &[u8]) -> Result<Self, Fault> {
        let reader = SerializedFileReader::new(Bytes::copy_from_slice(bytes)).map_err(damaged)?;
        let name = |column: &Arc<ColumnDescriptor>| match column.path().parts() {
            [name, ..] if column.max_rep_level() > 0 => name.clone(),
            parts => parts.join("."),
        };
        let names = reader.metadata().file_metadata().schema_descr().columns().iter().map(name).collect();
        Ok(Self { reader, names })
    }

    /// The points whose coordinates are `columns`, or all that there are, under the weights beside them.
    pub fn cloud(&self, columns: Option<&[String]>) -> Result<Cloud, Fault> {
        let chosen: Vec<usize> = match columns {
            Some(names) => names.iter().map(|name| place(name, &self.names)).collect::<Result<_, _>>()?,
            None => (0..self.names.len()).filter(|at| is_coordinate(&self.names[*at])).collect(),
        };
        let all: Vec<Column> = chosen.iter().map(|at| self.column(*at)).collect::<Result<_, _>>()?;
        let dim = all.iter().map(|column| column.width).sum();
        let rows = all.first().map_or(0, |column| column.values.len() / column.width.max(1));
        let row = |row: usize| all.iter().flat_map(move |column| &column.values[row * column.width..(row + 1) * column.width]);
        let points = (0..rows).flat_map(row).copied();
        let cloud = if all.iter().all(|column| column.is_single) {
            Cloud::of_f32(points.map(|x| x as f32).collect::<Vec<f32>>(), dim)?
        } else {
            Cloud::new(points.collect(), dim)?
        };
        match self.names.iter().position(|name| name == WEIGHTS).filter(|at| !chosen.contains(at)) {
            Some(at) => Ok(cloud.with_weights(self.column(at)?.values)?),
            None => Ok(cloud),
        }
    }

    /// The column called `name`, or the only one there is; labels are also called label.
    pub fn array(&self, name: &str) -> Result<Array, Fault> {
        let found = self.names.iter().position(|known| known == name || name == "labels" && known == "label");
        let at = match found {
            Some(at) => at,
            None if self.names.len() == 1 => 0,
            None => place(name, &self.names)?,
        };
        let Column { values, width, .. } = self.column(at)?;
        let rows = values.len() / width.max(1);
        Ok(Array { shape: if width == 1 { vec![rows] } else { vec![rows, width] }, values })
    }

    /// The numbers of the column `at`.
    fn column(&self, at: usize) -> Result<Column, Fault> {
        let metadata = self.reader.metadata();
        let descriptors = metadata.file_metadata().schema_descr().columns();
        let descriptor = &descriptors[at];
        if let Err(found) = numbers(descriptor) {
            let all = self.names.iter().zip(descriptors);
            let numeric =
                all.filter(|(name, other)| is_coordinate(name) && numbers(other).is_ok()).map(|(name, _)| name.clone()).collect();
            return Err(Fault::NotNumbers { column: self.names[at].clone(), found: found.into(), numeric });
        }
        let mut column = Gathered {
            name: &self.names[at],
            full: descriptor.max_def_level(),
            is_list: descriptor.max_rep_level() > 0,
            values: vec![],
            width: None,
            rows: 0,
        };
        let is_unsigned = matches!(
            descriptor.converted_type(),
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64
        );
        for group in 0..metadata.num_row_groups() {
            let compression = metadata.row_group(group).column(at).compression();
            if !matches!(compression, Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_)) {
                let codec = format!("{compression:?}").to_lowercase();
                let name = codec.split('(').next().unwrap_or_default();
                let what = format!("a Parquet file compressed with {name}");
                return Err(Fault::NotRead { what, remedy: "write it with compression=\"snappy\"" });
            }
            let reader = self.reader.get_row_group(group).and_then(|group| group.get_column_reader(at)).map_err(damaged)?;
            match reader {
                ColumnReader::FloatColumnReader(reader) => column.gather(reader, |x| f64::from(*x)),
                ColumnReader::DoubleColumnReader(reader) => column.gather(reader, |x| *x),
                ColumnReader::Int32ColumnReader(reader) if is_unsigned => column.gather(reader, |x| f64::from(*x as u32)),
                ColumnReader::Int32ColumnReader(reader) => column.gather(reader, |x| f64::from(*x)),
                ColumnReader::Int64ColumnReader(reader) if is_unsigned => column.gather(reader, |x| *x as u64 as f64),
                ColumnReader::Int64ColumnReader(reader) => column.gather(reader, |x| *x as f64),
                _ => Ok(()),
            }?;
        }
        let rows = usize::try_from(metadata.file_metadata().num_rows()).unwrap_or(usize::MAX);
        let width = column.width.unwrap_or(1);
        if column.rows != rows || column.values.len() != rows * width {
            let (name, found) = (column.name, column.values.len());
            return Err(Fault::Damaged { why: format!("column \"{name}\" has {found} numbers for {rows} rows") });
        }
        let is_single = descriptor.physical_type() == Physical::FLOAT;
        Ok(Column { values: column.values, width, is_single })
    }
}

/// A column as it is read, group by group.
struct Gathered<'a> {
    name: &'a str,
    /// The definition level of a number that is there.
    full: i16,
    is_list: bool,
    values: Vec<f64>,
    width: Option<usize>,
    rows: usize,
}

impl Gathered<'_> {
    /// Appends the numbers of a group.
    fn gather<T: DataType>(&mut self, mut reader: ColumnReaderImpl<T>, value: impl Fn(&T::T) -> f64) -> Result<(), Fault> {
        loop {
            let (mut definitions, mut repetitions, mut values) = (Vec::new(), Vec::new(), Vec::new());
            let read = reader.read_records(ROWS, Some(&mut definitions), Some(&mut repetitions), &mut values);
            let (rows, _, levels) = read.map_err(damaged)?;
            if rows == 0 {
                return Ok(());
            }
            // Where a row begins; a column without lists has one number a row.
            let starts: Vec<usize> = match self.is_list {
                true => (0..levels).filter(|level| repetitions[*level] == 0).collect(),
                false => (0..levels).collect(),
            };
            if let Some(at) = definitions.iter().position(|level| *level < self.full) {
                let row = self.rows + starts.partition_point(|start| *start <= at).saturating_sub(1);
                return Err(Fault::NoValue { row, column: self.name.into() });
            }
            for (row, start) in starts.iter().enumerate() {
                let found = starts.get(row + 1).unwrap_or(&levels) - start;
                let expected = *self.width.get_or_insert(found);
                if found != expected {
                    return Err(Fault::Lists { column: self.name.into(), row: self.rows + row, found, expected });
                }
            }
            self.rows += starts.len();
            self.values.extend(values.iter().map(&value));
        }
    }
}

/// Whether the column called `name` is a coordinate unless it is said which are.
fn is_coordinate(name: &str) -> bool {
    !BESIDE.contains(&name) && !name.starts_with(INDEX)
}

/// Whether a column holds numbers, or what else.
fn numbers(column: &ColumnDescriptor) -> Result<(), &'static str> {
    match (column.physical_type(), column.logical_type_ref()) {
        _ if column.max_rep_level() > 1 => Err("lists of lists"),
        (Physical::FLOAT | Physical::DOUBLE, _) => Ok(()),
        (Physical::INT32 | Physical::INT64, Some(LogicalType::Integer(_))) => Ok(()),
        (Physical::INT32 | Physical::INT64, None) if is_integer(column.converted_type()) => Ok(()),
        (Physical::INT32 | Physical::INT64 | Physical::INT96, _) => Err("dates, times or decimals"),
        (Physical::BOOLEAN, _) => Err("true and false"),
        (Physical::BYTE_ARRAY, _) => Err("text"),
        (Physical::FIXED_LEN_BYTE_ARRAY, _) => Err("bytes"),
    }
}

fn is_integer(converted: ConvertedType) -> bool {
    use ConvertedType::{INT_8, INT_16, INT_32, INT_64, NONE, UINT_8, UINT_16, UINT_32, UINT_64};
    matches!(converted, NONE | INT_8 | INT_16 | INT_32 | INT_64 | UINT_8 | UINT_16 | UINT_32 | UINT_64)
}

fn damaged(error: ParquetError) -> Fault {
    Fault::Damaged { why: error.to_string() }
}

/// Writes rows of `dim` numbers as the columns x0, x1, …, and their weights beside them, in double precision.
pub(super) fn write(
    out: &mut (impl Write + Send),
    (values, dim): (&[f64], usize),
    weights: Option<&[f64]>,
    float: Float,
) -> io::Result<()> {
    let mut columns: Vec<(String, Float)> = (0..dim).map(|k| (format!("x{k}"), float)).collect();
    columns.extend(weights.map(|_| (WEIGHTS.into(), Float::F64)));
    let field = |(name, float): &(String, Float)| {
        let physical = if *float == Float::F32 { Physical::FLOAT } else { Physical::DOUBLE };
        Ok(Arc::new(Type::primitive_type_builder(name, physical).with_repetition(Repetition::REQUIRED).build()?))
    };
    let write = || -> Result<(), ParquetError> {
        let fields = columns.iter().map(field).collect::<Result<_, ParquetError>>()?;
        let schema = Type::group_type_builder("points").with_fields(fields).build()?;
        // Coordinates hardly ever repeat.
        let properties = WriterProperties::builder().set_dictionary_enabled(false).build();
        let mut file = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
        let rows = values.len() / dim.max(1);
        for first in (0..rows).step_by(ROWS) {
            let rows = first..rows.min(first + ROWS);
            let mut group = file.next_row_group()?;
            for k in 0..columns.len() {
                let Some(mut column) = group.next_column()? else { break };
                let number =
                    |row: usize| if k < dim { values[row * dim + k] } else { weights.map_or(0.0, |weights| weights[row]) };
                match column.untyped() {
                    ColumnWriter::FloatColumnWriter(writer) => {
                        let numbers: Vec<f32> = rows.clone().map(|row| number(row) as f32).collect();
                        writer.write_batch(&numbers, None, None)?;
                    }
                    ColumnWriter::DoubleColumnWriter(writer) => {
                        let numbers: Vec<f64> = rows.clone().map(number).collect();
                        writer.write_batch(&numbers, None, None)?;
                    }
                    _ => {}
                }
                column.close()?;
            }
            group.close()?;
        }
        file.close()?;
        Ok(())
    };
    write().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Given;

    fn table(name: &str) -> Table {
        Table::open(&std::fs::read(format!("tests/data/{name}.parquet")).unwrap()).unwrap()
    }

    fn chosen(table: &Table, names: &[&str]) -> Result<Cloud, Fault> {
        table.cloud(Some(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>()))
    }

    /// Two groups of rows, in single precision, integers and double precision; the index of pandas is not a coordinate.
    #[test]
    fn a_table_of_pandas_is_a_weighted_cloud() {
        let table = table("pandas");
        let cloud = table.cloud(None).unwrap();
        let rows: Vec<f64> = (0..6).flat_map(|n| [f64::from(n) / 4.0, f64::from(n), 1.0 / f64::from(n + 1)]).collect();
        assert_eq!((cloud.dim(), cloud.points()), (3, &rows[..]));
        let weights = cloud.weights().unwrap().iter().zip(1..);
        assert!(weights.into_iter().all(|(weight, n)| (weight - f64::from(n) / 21.0).abs() < 1e-15));
        let labels = table.array("labels").unwrap();
        assert_eq!((labels.shape, labels.values), (vec![6], vec![0.0, 1.0, 0.0, 1.0, 0.0, 1.0]));
        let two = chosen(&table, &["y", "x"]).unwrap();
        assert_eq!((two.dim(), two.row(5)), (2, &[5.0, 1.25][..]));
        assert!(matches!(chosen(&table, &["x"]).unwrap().given(), Given::F32(_)), "single precision is kept");
        assert_eq!(
            chosen(&table, &["wheight"]).unwrap_err().to_string(),
            "the table has no column \"wheight\"; did you mean \"weights\"? Its columns are x, y, z, weights, label, __index_level_0__"
        );
    }

    #[test]
    fn a_column_of_lists_is_a_coordinate_for_each_place() {
        let table = table("lists");
        let cloud = chosen(&table, &["embedding"]).unwrap();
        assert_eq!((cloud.len(), cloud.dim(), cloud.row(2)), (6, 3, &[2.0, 2.5, -2.0][..]));
        let array = table.array("embedding").unwrap();
        assert_eq!((array.shape, &array.values[..]), (vec![6, 3], cloud.points()));
        assert_eq!(
            table.cloud(None).unwrap_err().to_string(),
            "column \"text\" holds text, where numbers are needed; --columns embedding says which columns are the coordinates of points"
        );
    }

    #[test]
    fn what_is_no_number_or_not_read_is_a_sentence() {
        let missing = table("missing");
        let words = |result: Result<Cloud, Fault>| result.unwrap_err().to_string();
        assert!(words(chosen(&missing, &["x"])).starts_with("row 2 has no value in column \"x\""));
        assert!(words(chosen(&missing, &["when"])).starts_with("column \"when\" holds dates, times or decimals"));
        assert_eq!(
            words(table("zstd").cloud(None)),
            "it is a Parquet file compressed with zstd, which is not read; write it with compression=\"snappy\""
        );
    }

    #[test]
    fn rows_beyond_one_group_are_written_and_read() {
        let rows = ROWS + 3;
        let values: Vec<f64> = (0..rows).map(|row| row as f64).collect();
        let mut file = Vec::new();
        write(&mut file, (&values, 1), None, Float::F32).unwrap();
        let cloud = Table::open(&file).unwrap().cloud(None).unwrap();
        assert_eq!((cloud.len(), cloud.points()[rows - 1]), (rows, (rows - 1) as f64));
    }
}
