//! [`DebeziumEncoder`]: weighted rows into changes.

use super::Options;
use crate::json::ObjectWriter;
use crate::record::{BadRecord, Encoded, Encoder};
use crate::registry::RecordField;
use crate::rows::write_times;
use tidemill_operators::Batch;

/// Encodes `debezium-json`.
pub(crate) struct DebeziumEncoder {
    writer: ObjectWriter,
}

impl DebeziumEncoder {
    pub(crate) fn new(fields: Vec<RecordField>, options: Options) -> Self {
        DebeziumEncoder { writer: ObjectWriter::new(&fields, options.json) }
    }
}

impl Encoder for DebeziumEncoder {
    fn encode(&mut self, batch: &Batch, out: &mut Encoded) -> Result<(), BadRecord> {
        let cells = self.writer.cells(batch);
        for row in 0..batch.len() {
            let weight = batch.weight(row);
            let (head, tail): (&[u8], &[u8]) = if weight > 0 {
                (b"{\"before\":null,\"after\":", b",\"op\":\"c\"}")
            } else {
                (b"{\"before\":", b",\"after\":null,\"op\":\"d\"}")
            };
            write_times(out, weight.unsigned_abs(), |out| {
                out.extend_from_slice(head);
                self.writer.write(out, &cells, row)?;
                out.extend_from_slice(tail);
                Ok(())
            })?;
        }
        Ok(())
    }
}
