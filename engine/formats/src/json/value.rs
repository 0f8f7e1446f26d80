//! From a JSON value into a column: [`ObjectReader`] for objects, [`ValueReader`] for the rest.
//!
//! Invariant: a failed read leaves a scalar column as it was and a nested one with at most an
//! unfinished row, which [`Column::truncate`] to its own length removes.

use super::fault::Reach;
use super::members::Members;
use super::string::Quoted;
use super::{Fault, OnError, OnMissing, Options, Scanner};
use crate::columns::{Column, Map};
use crate::registry::RecordField;
use crate::text::{self, TimestampStyle, number, time};
use arrow::datatypes::{DataType, FieldRef};

/// The options that matter while reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub on_error: OnError,
    pub on_missing: OnMissing,
    pub timestamps: TimestampStyle,
}

impl From<&Options> for Reading {
    fn from(options: &Options) -> Self {
        Reading {
            on_error: options.on_error,
            on_missing: options.on_missing,
            timestamps: options.timestamps,
        }
    }
}

/// A field that an object may have.
struct Slot {
    name: String,
    /// Its column, if it is wanted.
    output: Option<usize>,
    is_nullable: bool,
    reader: ValueReader,
    /// The object (by number) in which it was last seen.
    seen: u64,
}

/// Reads objects, one column for each wanted field.
pub(crate) struct ObjectReader {
    members: Members,
    slots: Vec<Slot>,
    /// The first so many may be demanded by `fail-on-missing-field`.
    demanded: usize,
    /// Counts the objects read.
    object: u64,
}

impl ObjectReader {
    /// Reads records with `fields`, of which those with an output are wanted.
    pub(crate) fn new(fields: &[RecordField], outputs: &[Option<usize>], demanded: usize) -> Self {
        let slots = fields.iter().zip(outputs).map(|(field, &output)| Slot {
            name: field.name.clone(),
            output,
            is_nullable: true,
            reader: ValueReader::new(field.field.data_type()),
            seen: 0,
        });
        Self::with(slots.collect(), demanded)
    }

    /// Reads a `ROW`.
    fn nested(fields: &[FieldRef]) -> Self {
        let slots = fields.iter().enumerate().map(|(i, field)| Slot {
            name: field.name().clone(),
            output: Some(i),
            is_nullable: field.is_nullable(),
            reader: ValueReader::new(field.data_type()),
            seen: 0,
        });
        let slots: Vec<_> = slots.collect();
        let demanded = slots.len();
        Self::with(slots, demanded)
    }

    fn with(slots: Vec<Slot>, demanded: usize) -> Self {
        let members = Members::new(slots.iter().map(|slot| slot.name.as_str()));
        ObjectReader { members, slots, demanded, object: 0 }
    }

    /// Reads the object that stands here into row `row` of `columns`.
    pub(crate) fn read(
        &mut self,
        scanner: &mut Scanner,
        columns: &mut [Column],
        row: usize,
        reading: Reading,
    ) -> Result<(), Fault> {
        self.object += 1;
        scanner.enter(b'{')?;
        let mut missing = self.slots.len();
        if !scanner.closes(b'}') {
            let mut last = self.members.start();
            loop {
                match self.members.next(scanner, &mut last)? {
                    None => scanner.skip()?,
                    Some(field) => {
                        let slot = &mut self.slots[field];
                        let is_repeated = slot.seen == self.object;
                        missing -= usize::from(!is_repeated);
                        slot.seen = self.object;
                        match slot.output {
                            None => scanner.skip()?,
                            Some(output) => {
                                let column = &mut columns[output];
                                if is_repeated {
                                    column.truncate(row);
                                }
                                slot.reader
                                    .read(scanner, column, slot.is_nullable, reading)
                                    .map_err(|fault| fault.within(&slot.name))?;
                            }
                        }
                    }
                }
                if !scanner.more(b'}')? {
                    break;
                }
            }
        }
        if missing > 0 { self.fill(columns, reading) } else { Ok(()) }
    }

    /// Appends NULL for the wanted fields that the object did not have.
    fn fill(&self, columns: &mut [Column], reading: Reading) -> Result<(), Fault> {
        for (i, slot) in self.slots.iter().enumerate() {
            if slot.seen == self.object {
                continue;
            }
            if reading.on_missing == OnMissing::Refuse && i < self.demanded {
                return Err(Fault::value("it is missing").within(&slot.name));
            }
            if let Some(output) = slot.output {
                if !slot.is_nullable {
                    return Err(not_null().within(&slot.name));
                }
                columns[output].push_null();
            }
        }
        Ok(())
    }
}

/// Reads values of one type; holds what nested types need.
enum ValueReader {
    Scalar(Vec<u8>),
    Row(ObjectReader),
    List(Box<ValueReader>),
    Map(Box<ValueReader>),
}

impl ValueReader {
    fn new(data_type: &DataType) -> Self {
        match data_type {
            DataType::Struct(fields) => ValueReader::Row(ObjectReader::nested(fields)),
            DataType::List(item) => ValueReader::List(Box::new(Self::new(item.data_type()))),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => {
                    ValueReader::Map(Box::new(Self::new(fields[1].data_type())))
                }
                _ => ValueReader::Scalar(vec![]),
            },
            _ => ValueReader::Scalar(vec![]),
        }
    }

    /// Appends the value that stands here.
    #[inline(always)]
    fn read(
        &mut self,
        scanner: &mut Scanner,
        column: &mut Column,
        is_nullable: bool,
        reading: Reading,
    ) -> Result<(), Fault> {
        if read_usual(scanner, column, is_nullable, reading) {
            return Ok(());
        }
        self.read_any(scanner, column, is_nullable, reading)
    }

    /// The same for values in any form.
    fn read_any(
        &mut self,
        scanner: &mut Scanner,
        column: &mut Column,
        is_nullable: bool,
        reading: Reading,
    ) -> Result<(), Fault> {
        let token = scanner.next_token();
        if token == b'n' {
            scanner.word("null")?;
            return push_null(column, is_nullable);
        }
        let (start, depth) = (scanner.position(), scanner.depth());
        match self.read_present(token, scanner, column, reading) {
            Ok(()) => Ok(()),
            Err(fault) => {
                column.truncate(column.len());
                if fault.reach() == Reach::Record || reading.on_error == OnError::Refuse {
                    return Err(fault);
                }
                scanner.rewind(start, depth);
                scanner.skip()?;
                push_null(column, is_nullable)
            }
        }
    }

    #[inline]
    fn read_present(
        &mut self,
        token: u8,
        scanner: &mut Scanner,
        column: &mut Column,
        reading: Reading,
    ) -> Result<(), Fault> {
        match (self, column) {
            (ValueReader::Scalar(scratch), column) => {
                read_scalar(token, scanner, column, scratch, reading)
            }
            (ValueReader::Row(reader), Column::Row(row)) if token == b'{' => {
                let at = row.len();
                reader.read(scanner, row.open(), at, reading)?;
                row.push();
                Ok(())
            }
            (ValueReader::List(reader), Column::List(list)) if token == b'[' => {
                scanner.enter(b'[')?;
                if !scanner.closes(b']') {
                    loop {
                        let is_nullable = list.field.is_nullable();
                        reader.read(scanner, &mut list.items, is_nullable, reading)?;
                        if !scanner.more(b']')? {
                            break;
                        }
                    }
                }
                list.push();
                Ok(())
            }
            (ValueReader::Map(reader), Column::Map(map)) if token == b'{' => {
                read_map(reader, scanner, map, reading)
            }
            (ValueReader::List(_), _) => mismatch("an array", scanner),
            _ => mismatch("an object", scanner),
        }
    }
}

fn read_map(
    reader: &mut ValueReader,
    scanner: &mut Scanner,
    map: &mut Map,
    reading: Reading,
) -> Result<(), Fault> {
    scanner.enter(b'{')?;
    if !scanner.closes(b'}') {
        let mut scratch = vec![];
        loop {
            scanner.next_token();
            let key = scanner.string()?;
            push_quoted(&mut map.keys, key, &mut scratch, reading.timestamps)
                .map_err(|fault| fault.within("(key)"))?;
            scanner.colon()?;
            let is_nullable = map.value_field.is_nullable();
            reader
                .read(scanner, &mut map.values, is_nullable, reading)
                .map_err(|fault| fault.within(&String::from_utf8_lossy(key.raw)))?;
            if !scanner.more(b'}')? {
                break;
            }
        }
    }
    map.push();
    Ok(())
}

/// Appends a value in the form in which nearly all of its type are; leaves any other where it is.
#[inline(always)]
fn read_usual(
    scanner: &mut Scanner,
    column: &mut Column,
    is_nullable: bool,
    reading: Reading,
) -> bool {
    match column {
        Column::Int64(values) => scanner.short_integer().map(|value| values.push(value)).is_some(),
        Column::Text(values) => scanner.plain_string().map(|text| values.push(text)).is_some(),
        Column::Int32(values) => {
            let start = scanner.position();
            let value = scanner.short_integer().and_then(|value| value.try_into().ok());
            scanner.keep(value, start).map(|value| values.push(value)).is_some()
        }
        Column::Float64(values) => {
            let number = scanner.short_decimal();
            let value = number.map(|(negative, digits, places)| {
                number::quotient(negative, digits.unsigned_abs(), places)
            });
            value.map(|value| values.push(value)).is_some()
        }
        Column::Timestamp { values, unit, zone } => {
            let start = scanner.position();
            let text = scanner.plain_string();
            let value = text.and_then(|text| match zone {
                None => time::timestamp(text, reading.timestamps, *unit),
                Some(_) => time::instant(text, reading.timestamps, *unit),
            });
            scanner.keep(value, start).map(|value| values.push(value)).is_some()
        }
        Column::Row(row) => {
            let is_null = is_nullable && scanner.is_null();
            if is_null {
                row.push_nulls(1);
            }
            is_null
        }
        _ => false,
    }
}

/// Appends a value to a column that is not nested. `scratch` is for strings with escapes.
#[inline]
fn read_scalar(
    token: u8,
    scanner: &mut Scanner,
    column: &mut Column,
    scratch: &mut Vec<u8>,
    reading: Reading,
) -> Result<(), Fault> {
    match token {
        b'"' => {
            let quoted = scanner.string()?;
            push_quoted(column, quoted, scratch, reading.timestamps)
        }
        b'-' | b'0'..=b'9' => read_number(scanner, column),
        b't' | b'f' => {
            let word = if token == b't' { "true" } else { "false" };
            scanner.word(word)?;
            match column {
                Column::Boolean(values) => values.push(token == b't'),
                Column::Text(values) => values.push(word.as_bytes()),
                other => return Err(Fault::found(expectation(other), word.as_bytes())),
            }
            Ok(())
        }
        _ => {
            let start = scanner.position();
            scanner.skip()?;
            let found = scanner.since(start);
            let Column::Text(values) = column else {
                return Err(Fault::found(expectation(column), found));
            };
            compact(found, values.open());
            values.complete();
            Ok(())
        }
    }
}

#[inline]
fn push_quoted(
    column: &mut Column,
    quoted: Quoted,
    scratch: &mut Vec<u8>,
    timestamps: TimestampStyle,
) -> Result<(), Fault> {
    let text = if quoted.is_escaped {
        scratch.clear();
        quoted.unescape(scratch)?;
        scratch
    } else {
        quoted.raw
    };
    text::push(column, text, timestamps).map_err(|expected| Fault::found_text(expected, text))
}

#[inline]
fn read_number(scanner: &mut Scanner, column: &mut Column) -> Result<(), Fault> {
    let text = scanner.number()?;
    let found = |expected| Fault::found(expected, text);
    match column {
        Column::Int8(_) | Column::Int16(_) | Column::Int32(_) | Column::Int64(_) => {
            let value = number::integer(text).map_err(found)?;
            text::push_integer(column, value).map_err(found)?;
        }
        Column::Float32(values) => values.push(number::float32(text).map_err(found)?),
        Column::Float64(values) => values.push(number::float64(text).map_err(found)?),
        Column::Decimal { values, precision, scale } => {
            values.push(number::decimal(text, *precision, *scale).map_err(found)?);
        }
        Column::Text(values) => values.push(text),
        other => return Err(found(expectation(other))),
    }
    Ok(())
}

#[cold]
fn mismatch(expected: &str, scanner: &mut Scanner) -> Result<(), Fault> {
    let start = scanner.position();
    scanner.skip()?;
    Err(Fault::found(expected, scanner.since(start)))
}

/// What a value of a column looks like.
fn expectation(column: &Column) -> &'static str {
    match column {
        Column::Boolean(_) => "true or false",
        Column::Int8(_) | Column::Int16(_) | Column::Int32(_) | Column::Int64(_) => "an integer",
        Column::Float32(_) | Column::Float64(_) | Column::Decimal { .. } => "a number",
        Column::Text(_) => "a string",
        Column::Binary(_) => "a string of base64",
        Column::Date(_) => "a date like \"2020-12-30\"",
        Column::Time(_) => "a time like \"12:13:14\"",
        Column::Timestamp { .. } => "a timestamp in a string",
        Column::List(_) => "an array",
        Column::Row(_) | Column::Map(_) => "an object",
    }
}

fn push_null(column: &mut Column, is_nullable: bool) -> Result<(), Fault> {
    if !is_nullable {
        return Err(not_null());
    }
    column.push_null();
    Ok(())
}

#[cold]
fn not_null() -> Fault {
    Fault::value("it is NULL or missing, and its type says NOT NULL")
}

/// Appends JSON without the white space around its tokens: how an object or array looks in a
/// `STRING` column.
fn compact(json: &[u8], out: &mut Vec<u8>) {
    let mut is_string = false;
    let mut bytes = json.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' if !is_string => continue,
            b'"' => is_string = !is_string,
            b'\\' => {
                out.push(byte);
                out.extend(bytes.next());
                continue;
            }
            _ => {}
        }
        out.push(byte);
    }
}
