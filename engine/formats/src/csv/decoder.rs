//! [`CsvDecoder`]: lines into rows.

use super::split::{Line, find};
use super::{Comments, Options};
use crate::columns::{Column, Columns};
use crate::json::{Fault, OnError};
use crate::record::{BadRecord, Decoder};
use crate::registry::Layout;
use crate::text::{self, TimestampStyle};
use tidemill_operators::Batch;

/// Decodes `csv`.
pub(crate) struct CsvDecoder {
    columns: Columns,
    names: Vec<String>,
    outputs: Vec<Option<usize>>,
    options: Options,
    line: Line,
}

impl CsvDecoder {
    pub(crate) fn new(layout: &Layout, options: Options) -> Self {
        let fields = &layout.fields[..layout.positions];
        CsvDecoder {
            columns: Columns::new(layout.schema.clone()),
            names: fields.iter().map(|field| field.name.clone()).collect(),
            outputs: layout.outputs[..layout.positions].to_vec(),
            options,
            line: Line::default(),
        }
    }

    fn read(&mut self, record: &[u8]) -> Result<(), BadRecord> {
        if simdutf8::basic::from_utf8(record).is_err() {
            return Err(BadRecord { reason: "it is not UTF-8".to_owned() });
        }
        self.line.split(record, &self.options.marks)?;
        let (found, expected) = (self.line.len(), self.outputs.len());
        let ignores = self.options.on_error == OnError::Ignore;
        if found > expected || (found < expected && !ignores) {
            let reason = format!("expected {expected} fields, found {found}");
            return Err(BadRecord { reason });
        }
        for index in 0..found {
            let Some(output) = self.outputs[index] else {
                continue;
            };
            let text = self.line.field(record, index);
            let column = &mut self.columns.columns[output];
            if self.options.null_literal.as_deref() == Some(text) {
                column.push_null();
                continue;
            }
            if let Err(expected) = push(column, text, &self.options.item_delimiter) {
                column.truncate(column.len());
                if !ignores {
                    return Err(mismatch(expected, text).within(&self.names[index]).into());
                }
                column.push_null();
            }
        }
        self.columns.push_row(1);
        Ok(())
    }
}

fn mismatch(expected: &str, text: &[u8]) -> Fault {
    match text {
        [] => Fault::value(format!("expected {expected}, found nothing (see 'csv.null-literal')")),
        text => Fault::found(expected, text),
    }
}

/// Appends what a field stands for.
fn push(column: &mut Column, text: &[u8], delimiter: &[u8]) -> Result<(), text::Expected> {
    match column {
        Column::List(list) => {
            for item in items(text, delimiter) {
                text::push(&mut list.items, item, TimestampStyle::Sql)?;
            }
            list.push();
        }
        Column::Row(row) => {
            let mut parts = items(text, delimiter);
            for column in row.open() {
                let part = parts.next().ok_or("a part for each field of the row")?;
                text::push(column, part, TimestampStyle::Sql)?;
            }
            if parts.next().is_some() {
                return Err("one part for each field of the row");
            }
            row.push();
        }
        column => text::push(column, text, TimestampStyle::Sql)?,
    }
    Ok(())
}

/// The parts of a nested field; none of an empty one.
fn items<'a>(text: &'a [u8], delimiter: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = (!text.is_empty()).then_some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        match find(text, delimiter) {
            Some(at) => {
                rest = Some(&text[at + delimiter.len()..]);
                Some(&text[..at])
            }
            None => rest.take(),
        }
    })
}

impl Decoder for CsvDecoder {
    fn decode(&mut self, record: &[u8]) -> Result<usize, BadRecord> {
        self.columns.admit(record)?;
        // The line's end may have come with it.
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        let record = record.strip_suffix(b"\r").unwrap_or(record);
        let is_comment =
            self.options.comments == Comments::Skipped && record.first() == Some(&b'#');
        if record.is_empty() || is_comment {
            return Ok(0);
        }
        let before = self.columns.rows();
        match self.read(record) {
            Ok(()) => Ok(1),
            Err(bad) => {
                self.columns.truncate(before);
                match self.options.on_error {
                    OnError::Ignore => Ok(0),
                    OnError::Refuse => Err(bad),
                }
            }
        }
    }

    fn rows(&self) -> usize {
        self.columns.rows()
    }

    fn finish(&mut self) -> Batch {
        self.columns.finish()
    }
}
