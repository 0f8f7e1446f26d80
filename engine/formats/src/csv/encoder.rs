//! [`CsvEncoder`]: rows into lines, without the line's end.

use super::Options;
use super::split::find;
use crate::record::{BadRecord, Encoded, Encoder};
use crate::registry::{FormatRole, RecordField};
use crate::rows::write_rows;
use crate::text::TimestampStyle;
use crate::text::cells::{Cells, Style, range};
use tidemill_operators::Batch;

/// Encodes `csv`.
pub(crate) struct CsvEncoder {
    fields: Vec<RecordField>,
    role: FormatRole,
    options: Options,
    style: Style,
    scratch: Vec<u8>,
    /// Bytes without which a text has no marks.
    suspicious: [bool; 256],
}

impl CsvEncoder {
    pub(crate) fn new(fields: Vec<RecordField>, role: FormatRole, options: Options) -> Self {
        let style = Style { timestamps: TimestampStyle::Sql, decimals: options.decimals };
        let suspicious = suspicious(&options);
        CsvEncoder { fields, role, options, style, scratch: vec![], suspicious }
    }
}

impl Encoder for CsvEncoder {
    fn encode(&mut self, batch: &Batch, out: &mut Encoded) -> Result<(), BadRecord> {
        let CsvEncoder { fields, role, options, style, scratch, suspicious } = self;
        let cells: Vec<_> = fields.iter().map(|f| Cells::new(batch.column(f.index))).collect();
        write_rows(batch, *role, out, |out, row| {
            let start = out.len();
            for (i, cells) in cells.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(&options.marks.delimiter);
                }
                if cells.is_null(row) {
                    out.extend_from_slice(options.null_literal.as_deref().unwrap_or_default());
                    continue;
                }
                let field = out.len();
                write_field(out, cells, row, options, *style);
                if !out[field..].iter().any(|&byte| suspicious[usize::from(byte)]) {
                    continue;
                }
                scratch.clear();
                scratch.extend_from_slice(&out[field..]);
                out.truncate(field);
                write_marked(out, scratch, options).ok_or_else(|| BadRecord {
                    reason: format!(
                        "field `{}`: its text needs quotes, which are disabled, and there is no \
                         'csv.escape-character'",
                        fields[i].name
                    ),
                })?;
            }
            // A line of nothing would be no row: one empty text is written in quotes.
            if out.len() == start
                && let ([only], Some(quote)) = (cells.as_slice(), &options.marks.quote)
                && !only.is_null(row)
            {
                out.extend_from_slice(quote);
                out.extend_from_slice(quote);
            }
            Ok(())
        })
    }
}

/// The bytes with which marks begin, and those that a line can't have as they are.
fn suspicious(options: &Options) -> [bool; 256] {
    let marks = &options.marks;
    let marks = [Some(&marks.delimiter), marks.quote.as_ref(), marks.escape.as_ref()];
    let mut suspicious = [false; 256];
    let first = marks.into_iter().flatten().filter_map(|mark| mark.first().copied());
    first.chain(*b"\r\n#").for_each(|byte| suspicious[usize::from(byte)] = true);
    suspicious
}

/// Appends a value's text as it is.
fn write_field(out: &mut Vec<u8>, cells: &Cells, row: usize, options: &Options, style: Style) {
    let null = options.null_literal.as_deref().unwrap_or_default();
    let mut write = |is_first: bool, cells: &Cells, row: usize| {
        if !is_first {
            out.extend_from_slice(&options.item_delimiter);
        }
        match cells.is_null(row) {
            true => out.extend_from_slice(null),
            false => cells.write(out, row, style),
        }
    };
    match cells {
        Cells::List { array, items } => {
            let items_range = range(array.value_offsets(), row);
            let first = items_range.start;
            items_range.for_each(|item| write(item == first, items, item));
        }
        Cells::Row { fields, .. } => {
            for (i, (_, cells)) in fields.iter().enumerate() {
                write(i == 0, cells, row);
            }
        }
        cells => write(true, cells, row),
    }
}

/// Appends text so that its marks mean nothing: in quotes, or each with an escape. `None` if there
/// is neither.
fn write_marked(out: &mut Vec<u8>, text: &[u8], options: &Options) -> Option<()> {
    let marks = &options.marks;
    let has = |mark: &[u8]| find(text, mark).is_some();
    let has_mark = |mark: &Option<Vec<u8>>| mark.as_deref().is_some_and(has);
    let is_plain = !has(&marks.delimiter)
        && !has_mark(&marks.quote)
        && !has_mark(&marks.escape)
        && !text.iter().any(|b| matches!(b, b'\r' | b'\n'))
        && !text.starts_with(b"#");
    if is_plain {
        out.extend_from_slice(text);
        return Some(());
    }
    let escape = marks.escape.as_deref();
    if marks.quote.is_none() && escape.is_none() {
        // A comment sign alone does no harm where quotes are disabled.
        let is_harmless =
            !has(&marks.delimiter) && !text.iter().any(|b| matches!(b, b'\r' | b'\n'));
        if is_harmless {
            out.extend_from_slice(text);
        }
        return is_harmless.then_some(());
    }
    let quote = marks.quote.as_deref();
    out.extend_from_slice(quote.unwrap_or_default());
    let mut rest = text;
    while let Some(&byte) = rest.first() {
        let starts = |mark: &[u8]| rest.starts_with(mark);
        let (prefix, length): (&[u8], usize) = match (quote, escape) {
            (_, Some(escape)) if starts(escape) => (escape, escape.len()),
            (Some(quote), _) if starts(quote) => (quote, quote.len()),
            (None, Some(escape)) if starts(&marks.delimiter) => (escape, marks.delimiter.len()),
            (None, Some(escape)) if matches!(byte, b'\r' | b'\n') => {
                out.extend_from_slice(escape);
                out.push(if byte == b'\n' { b'n' } else { b'r' });
                rest = &rest[1..];
                continue;
            }
            _ => (&[], 1),
        };
        out.extend_from_slice(prefix);
        out.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
    }
    out.extend_from_slice(quote.unwrap_or_default());
    Some(())
}
