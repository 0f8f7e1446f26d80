//! The `raw` format: the whole record is the one column's value.
//!
//! Text is the bytes themselves, numbers are of fixed width in the given byte order, as Flink's
//! format of the same name has it.

use crate::columns::{Column, Columns};
use crate::json::Fault;
use crate::options::FormatOptions;
use crate::record::{BadRecord, Decoder, Encoded, Encoder};
use crate::registry::{FormatRole, Layout, RecordField};
use crate::rows::write_rows;
use crate::table::OptionError;
use crate::text::cells::Cells;
use arrow::datatypes::DataType;
use tidemill_operators::Batch;

/// Names of the options.
pub(crate) const OPTIONS: [&str; 2] = ["charset", "endianness"];

/// How text stands in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charset {
    Utf8,
    /// Bytes are the first 256 characters of Unicode.
    Latin1,
    Ascii,
}

/// Which byte of a number comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endianness {
    Big,
    Little,
}

/// The options of the format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    charset: Charset,
    endianness: Endianness,
}

impl Options {
    pub(crate) fn new(
        options: &FormatOptions,
        fields: &[RecordField],
        key: &str,
    ) -> Result<Self, OptionError> {
        let refuse = |problem: String| {
            let hint =
                "'raw' is for one column of type STRING, BYTES, BOOLEAN or a number without \
                        decimals; write 'json' for others"
                    .to_owned();
            Err(OptionError { option: key.to_owned(), problem, hint })
        };
        match fields {
            [one] if is_raw(one.field.data_type()) => {}
            [one] => return refuse(format!("'raw' has no form for column '{}'", one.name)),
            fields => return refuse(format!("'raw' can't hold {} columns", fields.len())),
        }
        let charsets = [
            ("UTF-8", Charset::Utf8),
            ("UTF8", Charset::Utf8),
            ("ISO-8859-1", Charset::Latin1),
            ("US-ASCII", Charset::Ascii),
        ];
        let orders = [("big-endian", Endianness::Big), ("little-endian", Endianness::Little)];
        Ok(Options {
            charset: options.choice("charset", &charsets)?,
            endianness: options.choice("endianness", &orders)?,
        })
    }
}

fn is_raw(data_type: &DataType) -> bool {
    use DataType::{Binary, Boolean, Float32, Float64, Int8, Int16, Int32, Int64, Utf8};
    matches!(data_type, Utf8 | Binary | Boolean | Int8 | Int16 | Int32 | Int64 | Float32 | Float64)
}

/// Decodes `raw`.
pub(crate) struct RawDecoder {
    columns: Columns,
    options: Options,
}

impl RawDecoder {
    pub(crate) fn new(layout: &Layout, options: Options) -> Self {
        RawDecoder { columns: Columns::new(layout.schema.clone()), options }
    }
}

impl Decoder for RawDecoder {
    fn decode(&mut self, record: &[u8]) -> Result<usize, BadRecord> {
        self.columns.admit(record)?;
        // With no column wanted there is still a row.
        if let Some(column) = self.columns.columns.first_mut() {
            push(column, record, self.options)
                .map_err(|expected| Fault::found(expected, record))?;
        }
        self.columns.push_row(1);
        Ok(1)
    }

    fn rows(&self) -> usize {
        self.columns.rows()
    }

    fn finish(&mut self) -> Batch {
        self.columns.finish()
    }
}

/// Appends the value of a record.
fn push(column: &mut Column, record: &[u8], options: Options) -> Result<(), &'static str> {
    macro_rules! number {
        ($values:expr, $type:ty, $expected:literal) => {{
            let bytes = record.try_into().map_err(|_| $expected)?;
            $values.push(match options.endianness {
                Endianness::Big => <$type>::from_be_bytes(bytes),
                Endianness::Little => <$type>::from_le_bytes(bytes),
            });
        }};
    }
    match column {
        Column::Text(values) => match options.charset {
            Charset::Utf8 => {
                let text = simdutf8::basic::from_utf8(record).map_err(|_| "text in UTF-8")?;
                values.push(text.as_bytes());
            }
            Charset::Ascii if !record.is_ascii() => return Err("text in ASCII"),
            Charset::Ascii => values.push(record),
            Charset::Latin1 => {
                let out = values.open();
                for &byte in record {
                    let mut buffer = [0; 4];
                    out.extend_from_slice(char::from(byte).encode_utf8(&mut buffer).as_bytes());
                }
                values.complete();
            }
        },
        Column::Binary(values) => values.push(record),
        Column::Boolean(values) => {
            let [byte] = record else { return Err("one byte") };
            values.push(*byte != 0);
        }
        Column::Int8(values) => number!(values, i8, "one byte"),
        Column::Int16(values) => number!(values, i16, "2 bytes"),
        Column::Int32(values) => number!(values, i32, "4 bytes"),
        Column::Int64(values) => number!(values, i64, "8 bytes"),
        Column::Float32(values) => number!(values, f32, "4 bytes"),
        Column::Float64(values) => number!(values, f64, "8 bytes"),
        _ => return Err("another type"),
    }
    Ok(())
}

/// Encodes `raw`.
pub(crate) struct RawEncoder {
    index: usize,
    role: FormatRole,
    options: Options,
}

impl RawEncoder {
    pub(crate) fn new(fields: Vec<RecordField>, role: FormatRole, options: Options) -> Self {
        let index = fields.first().map_or(0, |field| field.index);
        RawEncoder { index, role, options }
    }
}

impl Encoder for RawEncoder {
    fn encode(&mut self, batch: &Batch, out: &mut Encoded) -> Result<(), BadRecord> {
        let cells = Cells::new(batch.column(self.index));
        write_rows(batch, self.role, out, |out, row| write(out, &cells, row, self.options))
    }
}

/// Appends a value; NULL is nothing.
fn write(out: &mut Vec<u8>, cells: &Cells, row: usize, options: Options) -> Result<(), BadRecord> {
    macro_rules! number {
        ($array:expr) => {
            match options.endianness {
                Endianness::Big => out.extend_from_slice(&$array.value(row).to_be_bytes()),
                Endianness::Little => out.extend_from_slice(&$array.value(row).to_le_bytes()),
            }
        };
    }
    if cells.is_null(row) {
        return Ok(());
    }
    match cells {
        Cells::Text(array) => return write_text(out, array.value(row), options.charset),
        Cells::Binary(array) => out.extend_from_slice(array.value(row)),
        Cells::Boolean(array) => out.push(u8::from(array.value(row))),
        Cells::Int8(array) => number!(array),
        Cells::Int16(array) => number!(array),
        Cells::Int32(array) => number!(array),
        Cells::Int64(array) => number!(array),
        Cells::Float32(array) => number!(array),
        Cells::Float64(array) => number!(array),
        _ => {}
    }
    Ok(())
}

fn write_text(out: &mut Vec<u8>, text: &str, charset: Charset) -> Result<(), BadRecord> {
    let limit = match charset {
        Charset::Utf8 => {
            out.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        Charset::Latin1 => 0xff,
        Charset::Ascii => 0x7f,
    };
    for character in text.chars() {
        let byte = u8::try_from(u32::from(character)).ok().filter(|byte| *byte <= limit);
        out.push(
            byte.ok_or_else(|| BadRecord {
                reason: format!("'raw.charset' has no {character:?}"),
            })?,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{decode, encode, refused, table};

    fn raw(data_type: DataType, extra: &[(&str, &str)]) -> crate::Table {
        table(&[("v", data_type)], &[&[("format", "raw")], extra].concat())
    }

    #[test]
    fn values_are_the_bytes_of_the_record() {
        let little = [("raw.endianness", "little-endian")];
        let latin = [("raw.charset", "ISO-8859-1")];
        for (table, bytes, value) in [
            (raw(DataType::Utf8, &[]), &b"a\xc3\xa9"[..], "\"aé\""),
            (raw(DataType::Utf8, &latin), b"a\xe9", "\"aé\""),
            (raw(DataType::Utf8, &[]), b"", "\"\""),
            (raw(DataType::Binary, &[]), b"\xff\x00", "\"/wA=\""),
            (raw(DataType::Int32, &[]), b"\0\0\x01\0", "256"),
            (raw(DataType::Int32, &little), b"\0\x01\0\0", "256"),
            (raw(DataType::Boolean, &[]), b"\x01", "true"),
            (raw(DataType::Float64, &[]), b"\x3f\xf8\0\0\0\0\0\0", "1.5"),
        ] {
            assert_eq!(decode(&table, bytes), Ok(vec![format!("+{{\"v\":{value}}}")]));
            let mut decoder = crate::decoder(&table, FormatRole::Value, &[0]).unwrap();
            decoder.decode(bytes).unwrap();
            let mut out = Encoded::default();
            let mut encoder = crate::encoder(&table, FormatRole::Value).unwrap();
            encoder.encode(&decoder.finish(), &mut out).unwrap();
            assert_eq!(out.bytes, bytes);
        }
    }

    #[test]
    fn wrong_lengths_and_characters_are_refused() {
        assert!(decode(&raw(DataType::Int64, &[]), "1234").unwrap_err().contains("8 bytes"));
        assert!(decode(&raw(DataType::Utf8, &[]), b"\xff").is_err());
        let ascii = raw(DataType::Utf8, &[("raw.charset", "US-ASCII")]);
        let mut decoder =
            crate::decoder(&raw(DataType::Utf8, &[]), FormatRole::Value, &[0]).unwrap();
        decoder.decode("é".as_bytes()).unwrap();
        assert!(encode(&ascii, &decoder.finish()).is_err());
    }

    #[test]
    fn only_one_plain_column_fits() {
        let two = [("a", DataType::Utf8), ("b", DataType::Utf8)];
        let error = refused(&table(&two, &[("format", "raw")]));
        assert_eq!(error.problem, "'raw' can't hold 2 columns");
        assert!(refused(&raw(DataType::Date32, &[])).problem.contains("column 'v'"));
    }
}
