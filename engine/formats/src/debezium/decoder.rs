//! [`DebeziumDecoder`]: changes into weighted rows.
//!
//! A change is passed over once to find its parts, for `op` stands behind the rows that it gives a
//! meaning to; then the rows that count are read. So the rows in one that don't count may be of any
//! shape, as with Flink.

use super::{Envelope, Options};
use crate::columns::Columns;
use crate::json::{Fault, ObjectReader, OnError, Padded, Reading, Scanner};
use crate::record::{BadRecord, Decoder};
use crate::registry::Layout;
use tidemill_operators::Batch;

/// Decodes `debezium-json`.
pub(crate) struct DebeziumDecoder {
    record: Padded,
    columns: Columns,
    reader: ObjectReader,
    reading: Reading,
    envelope: Envelope,
}

/// A part of a change that is not null.
struct Part<'a> {
    text: &'a [u8],
    /// Standing where the text begins.
    scanner: Scanner<'a>,
}

/// The parts of a change, as they stand in the record.
#[derive(Default)]
struct Change<'a> {
    before: Option<Part<'a>>,
    after: Option<Part<'a>>,
    op: Option<Part<'a>>,
    payload: Option<Part<'a>>,
}

impl<'a> Change<'a> {
    /// Finds the parts of the object that stands here; of several with one name the last counts.
    fn new(scanner: &mut Scanner<'a>) -> Result<Self, Fault> {
        let mut change = Change::default();
        if scanner.next_token() != b'{' {
            let start = scanner.position();
            scanner.skip()?;
            return Err(Fault::found("an object with before, after and op", scanner.since(start)));
        }
        scanner.enter(b'{')?;
        if scanner.closes(b'}') {
            return Ok(change);
        }
        loop {
            scanner.next_token();
            let name = scanner.string()?;
            scanner.colon()?;
            scanner.next_token();
            let before = scanner.clone();
            scanner.skip()?;
            let text = scanner.since(before.position());
            let value = Some(Part { text, scanner: before }).filter(|part| part.text != b"null");
            match name.raw {
                b"before" => change.before = value,
                b"after" => change.after = value,
                b"op" => change.op = value,
                b"payload" => change.payload = value,
                _ => {}
            }
            if !scanner.more(b'}')? {
                return Ok(change);
            }
        }
    }
}

impl DebeziumDecoder {
    pub(crate) fn new(layout: &Layout, options: Options) -> Self {
        DebeziumDecoder {
            record: Padded::default(),
            columns: Columns::new(layout.schema.clone()).with_weights(),
            reader: ObjectReader::new(&layout.fields, &layout.outputs, layout.positions),
            reading: Reading::from(&options.json),
            envelope: options.envelope,
        }
    }

    fn read(&mut self, record: &[u8]) -> Result<(), Fault> {
        let mut padded = std::mem::take(&mut self.record);
        let done = padded.hold(record).and_then(|()| self.read_record(&padded));
        self.record = padded;
        done
    }

    fn read_record(&mut self, record: &Padded) -> Result<(), Fault> {
        let mut scanner = Scanner::new(record);
        if scanner.is_at_end() {
            return Ok(());
        }
        let mut change = Change::new(&mut scanner)?;
        if !scanner.is_at_end() {
            return Err(scanner.unexpected("the end of the record"));
        }
        match (self.envelope, change.payload.take()) {
            (Envelope::Payload, Some(mut payload)) => {
                change = Change::new(&mut payload.scanner)?;
            }
            (Envelope::Payload, None) => {
                return Err(Fault::value(
                    "there is no `payload`, which 'debezium-json.schema-include' announces",
                ));
            }
            (Envelope::Plain, Some(_)) if change.op.is_none() => {
                return Err(Fault::value(
                    "there is no `op`, but a `payload`: \
                     set 'debezium-json.schema-include' = 'true'",
                ));
            }
            (Envelope::Plain, _) => {}
        }
        match change.op.as_ref().map(|op| op.text) {
            Some(b"\"c\"" | b"\"r\"") => self.read_row("after", change.after, 1),
            Some(b"\"u\"") => {
                self.read_row("before", change.before, -1)?;
                self.read_row("after", change.after, 1)
            }
            Some(b"\"d\"") => self.read_row("before", change.before, -1),
            Some(other) => Err(Fault::found("c, r, u or d", other).within("op")),
            None => Err(Fault::value("it is missing").within("op")),
        }
    }

    fn read_row(&mut self, side: &str, row: Option<Part>, weight: i64) -> Result<(), Fault> {
        let Some(mut row) = row else {
            let hint = match side {
                "before" => " (a Postgres table needs REPLICA IDENTITY FULL)",
                _ => "",
            };
            return Err(Fault::value(format!("it is null{hint}")).within(side));
        };
        if row.text.first() != Some(&b'{') {
            return Err(Fault::found("an object", row.text).within(side));
        }
        let at = self.columns.rows();
        self.reader
            .read(&mut row.scanner, &mut self.columns.columns, at, self.reading)
            .map_err(|fault| fault.within(side))?;
        self.columns.push_row(weight);
        Ok(())
    }
}

impl Decoder for DebeziumDecoder {
    fn decode(&mut self, record: &[u8]) -> Result<usize, BadRecord> {
        self.columns.admit(record)?;
        let before = self.columns.rows();
        match self.read(record) {
            Ok(()) => Ok(self.columns.rows() - before),
            Err(fault) => {
                self.columns.truncate(before);
                match self.reading.on_error {
                    OnError::Ignore => Ok(0),
                    OnError::Refuse => Err(fault.into()),
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
