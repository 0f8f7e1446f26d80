//! [`JsonDecoder`]: records into rows.

use super::{Fault, ObjectReader, OnError, Options, Padded, Reading, Scanner};
use crate::columns::Columns;
use crate::record::{BadRecord, Decoder};
use crate::registry::Layout;
use tidemill_operators::Batch;

/// Decodes `json`.
pub(crate) struct JsonDecoder {
    record: Padded,
    columns: Columns,
    reader: ObjectReader,
    reading: Reading,
}

impl JsonDecoder {
    pub(crate) fn new(layout: &Layout, options: Options) -> Self {
        JsonDecoder {
            record: Padded::default(),
            columns: Columns::new(layout.schema.clone()),
            reader: ObjectReader::new(&layout.fields, &layout.outputs, layout.positions),
            reading: Reading::from(&options),
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
        match scanner.next_token() {
            b'{' => self.read_object(&mut scanner)?,
            b'[' => self.read_objects(&mut scanner)?,
            // A message of nothing, or of `null`, is how topics forget a key: no row.
            b'n' => scanner.word("null")?,
            _ if scanner.is_at_end() => {}
            _ => return not_an_object(&mut scanner),
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
