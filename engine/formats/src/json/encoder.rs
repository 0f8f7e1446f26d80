//! [`JsonEncoder`]: rows into records, and [`ObjectWriter`], which `debezium-json` shares.

use super::{NullFields, NullKey, Options};
use crate::record::{BadRecord, Encoded, Encoder};
use crate::registry::{FormatRole, RecordField};
use crate::rows::write_rows;
use crate::text::cells::{Cells, Style, range};
use tidemill_operators::Batch;

/// Encodes `json`.
pub(crate) struct JsonEncoder {
    writer: ObjectWriter,
    role: FormatRole,
}

impl JsonEncoder {
    pub(crate) fn new(fields: Vec<RecordField>, role: FormatRole, options: Options) -> Self {
        JsonEncoder { writer: ObjectWriter::new(&fields, options), role }
    }
}

impl Encoder for JsonEncoder {
    fn encode(&mut self, batch: &Batch, out: &mut Encoded) -> Result<(), BadRecord> {
        let cells = self.writer.cells(batch);
        write_rows(batch, self.role, out, |out, row| self.writer.write(out, &cells, row))
    }
}

/// Writes rows as objects.
pub(crate) struct ObjectWriter {
    /// For each field: its index in the batch, and its name as `"name":`.
    fields: Vec<(usize, Vec<u8>)>,
    options: Options,
    style: Style,
}

impl ObjectWriter {
    pub(crate) fn new(fields: &[RecordField], options: Options) -> Self {
        let fields = fields.iter().map(|field| {
            let mut name = vec![];
            write_string(&mut name, &field.name);
            name.push(b':');
            (field.index, name)
        });
        let style = Style { timestamps: options.timestamps, decimals: options.decimals };
        ObjectWriter { fields: fields.collect(), style, options }
    }

    /// The columns of a batch that it writes.
    pub(crate) fn cells<'a>(&self, batch: &'a Batch) -> Vec<Cells<'a>> {
        self.fields.iter().map(|(index, _)| Cells::new(batch.column(*index))).collect()
    }

    /// Appends a row.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        cells: &[Cells],
        row: usize,
    ) -> Result<(), BadRecord> {
        out.push(b'{');
        let empty = out.len();
        for ((_, name), cells) in self.fields.iter().zip(cells) {
            if self.leaves_out(cells, row) {
                continue;
            }
            if out.len() > empty {
                out.push(b',');
            }
            out.extend_from_slice(name);
            self.write_value(out, cells, row)?;
        }
        out.push(b'}');
        Ok(())
    }

    fn leaves_out(&self, cells: &Cells, row: usize) -> bool {
        self.options.null_fields == NullFields::LeftOut && cells.is_null(row)
    }

    fn write_value(&self, out: &mut Vec<u8>, cells: &Cells, row: usize) -> Result<(), BadRecord> {
        if cells.is_null(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match cells {
            Cells::Text(array) => write_string(out, array.value(row)),
            Cells::Binary(_) | Cells::Date(_) | Cells::Time(_) | Cells::Timestamp { .. } => {
                out.push(b'"');
                cells.write(out, row, self.style);
                out.push(b'"');
            }
            Cells::Float32(_) | Cells::Float64(_) if cells.is_not_finite(row) => {
                out.push(b'"');
                cells.write(out, row, self.style);
                out.push(b'"');
            }
            Cells::Row { fields, .. } => {
                out.push(b'{');
                let empty = out.len();
                for (field, cells) in fields {
                    if self.leaves_out(cells, row) {
                        continue;
                    }
                    if out.len() > empty {
                        out.push(b',');
                    }
                    write_string(out, field.name());
                    out.push(b':');
                    self.write_value(out, cells, row)?;
                }
                out.push(b'}');
            }
            Cells::List { array, items } => {
                out.push(b'[');
                let empty = out.len();
                for item in range(array.value_offsets(), row) {
                    if out.len() > empty {
                        out.push(b',');
                    }
                    self.write_value(out, items, item)?;
                }
                out.push(b']');
            }
            Cells::Map { array, keys, values } => {
                let entries = range(array.value_offsets(), row);
                return self.write_map(out, keys, values, entries);
            }
            _ => cells.write(out, row, self.style),
        }
        Ok(())
    }

    fn write_map(
        &self,
        out: &mut Vec<u8>,
        keys: &Cells,
        values: &Cells,
        entries: std::ops::Range<usize>,
    ) -> Result<(), BadRecord> {
        out.push(b'{');
        let empty = out.len();
        for entry in entries {
            let key = match (keys.is_null(entry), &self.options.null_key) {
                (false, _) => None,
                (true, NullKey::Literal(text)) => Some(text),
                (true, NullKey::Drop) => continue,
                (true, NullKey::Fail) => {
                    let reason = "a map has a NULL key, which JSON can't hold \
                                  (see 'map-null-key.mode')";
                    return Err(BadRecord { reason: reason.to_owned() });
                }
            };
            if out.len() > empty {
                out.push(b',');
            }
            match (key, keys) {
                (Some(text), _) => write_string(out, text),
                (None, Cells::Text(array)) => write_string(out, array.value(entry)),
                (None, keys) => {
                    out.push(b'"');
                    keys.write(out, entry, self.style);
                    out.push(b'"');
                }
            }
            out.push(b':');
            self.write_value(out, values, entry)?;
        }
        out.push(b'}');
        Ok(())
    }
}

/// Appends a string with its quotes.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|b| *b < b' ' || matches!(b, b'"' | b'\\')) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            byte => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
