//! [`write_rows`]: what weights mean to an append-only format.

use crate::record::{BadRecord, Encoded};
use crate::registry::FormatRole;
use tidemill_operators::Batch;

/// Appends a record for each row, as often as its weight says; `write` appends one.
///
/// # Errors
/// If a row is a deletion: an append-only value can't take something back. Keys have no sign.
pub(crate) fn write_rows(
    batch: &Batch,
    role: FormatRole,
    out: &mut Encoded,
    mut write: impl FnMut(&mut Vec<u8>, usize) -> Result<(), BadRecord>,
) -> Result<(), BadRecord> {
    for row in 0..batch.len() {
        let weight = match (batch.weight(row), role) {
            (weight, FormatRole::Key) => weight.unsigned_abs(),
            (weight, FormatRole::Value) => u64::try_from(weight).map_err(|_| BadRecord {
                reason: "a deletion reached a format that only knows insertions \
                         (write 'debezium-json', or use 'upsert-kafka')"
                    .to_owned(),
            })?,
        };
        write_times(out, weight, |out| write(out, row))?;
    }
    Ok(())
}

/// Appends the same record several times.
pub(crate) fn write_times(
    out: &mut Encoded,
    times: u64,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), BadRecord>,
) -> Result<(), BadRecord> {
    if times == 0 {
        return Ok(());
    }
    let start = out.bytes.len();
    write(&mut out.bytes)?;
    out.end_record();
    let end = out.bytes.len();
    for _ in 1..times {
        out.bytes.extend_from_within(start..end);
        out.end_record();
    }
    Ok(())
}
