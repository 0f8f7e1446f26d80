//! [`JsonDecoder`]: records into rows.

use super::{Fault, ObjectReader, OnError, Options, Padded, Reading, Scanner};
use crate::columns::Columns;
use crate::record::{BadRecord, Decoder};
use crate::registry::Layout;
use tidemill_operators::Batch;

/// Decodes `json`.
pub(crate) struct JsonDecoder {
    record: Padded,
    rows: Rows,
}

/// The rows read so far, and how to read more.
struct Rows {
    columns: Columns,
    reader: ObjectReader,
    reading: Reading,
}

impl JsonDecoder {
    pub(crate) fn new(layout: &Layout, options: Options) -> Self {
        let rows = Rows {
            columns: Columns::new(layout.schema.clone()),
            reader: ObjectReader::new(&layout.fields, &layout.outputs, layout.positions),
            reading: Reading::from(&options),
        };
        JsonDecoder { record: Padded::default(), rows }
    }

    fn read(&mut self, record: &[u8]) -> Result<(), Fault> {
        self.record.hold(record)?;
        self.rows.read(&mut Scanner::new(&self.record))
    }
}

impl Rows {
    fn read(&mut self, scanner: &mut Scanner) -> Result<(), Fault> {
        match scanner.next_token() {
            b'{' => self.read_object(scanner)?,
            b'[' => self.read_objects(scanner)?,
            // A message of nothing, or of `null`, is how topics forget a key: no row.
            b'n' => scanner.word("null")?,
            _ if scanner.is_at_end() => {}
            _ => return not_an_object(scanner),
        }
        if !scanner.is_at_end() {
            return Err(scanner.unexpected("the end of the record"));
        }
        Ok(())
    }

    #[inline]
    fn read_object(&mut self, scanner: &mut Scanner) -> Result<(), Fault> {
        let row = self.columns.rows();
        self.reader.read(scanner, &mut self.columns.columns, row, self.reading)?;
        self.columns.push_full_row();
        Ok(())
    }

    /// An array of objects: a row for each.
    fn read_objects(&mut self, scanner: &mut Scanner) -> Result<(), Fault> {
        scanner.enter(b'[')?;
        if scanner.closes(b']') {
            return Ok(());
        }
        loop {
            match scanner.next_token() {
                b'{' => self.read_object(scanner)?,
                b'n' => scanner.word("null")?,
                _ => return not_an_object(scanner),
            }
            if !scanner.more(b']')? {
                return Ok(());
            }
        }
    }
}

#[cold]
fn not_an_object(scanner: &mut Scanner) -> Result<(), Fault> {
    let start = scanner.position();
    scanner.skip()?;
    Err(Fault::found("an object", scanner.since(start)))
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, record: &[u8]) -> Result<usize, BadRecord> {
        self.rows.columns.admit(record)?;
        let before = self.rows.columns.rows();
        match self.read(record) {
            Ok(()) => Ok(self.rows.columns.rows() - before),
            Err(fault) => {
                self.rows.columns.truncate(before);
                match self.rows.reading.on_error {
                    OnError::Ignore => Ok(0),
                    OnError::Refuse => Err(fault.into()),
                }
            }
        }
    }

    fn rows(&self) -> usize {
        self.rows.columns.rows()
    }

    fn finish(&mut self) -> Batch {
        self.rows.columns.finish()
    }
}
