//! Record batches of version 2, as they are on the wire and on the disk.
//!
//! The broker keeps a batch as its producer sent it. It reads the header, checks the checksum, and
//! writes three fields of its own: the base offset and the leader epoch, which the checksum doesn't
//! cover, and for `LogAppendTime` the time, for which it computes the checksum anew. Records are
//! neither copied nor unpacked.
//!
//! ```text
//!  0 base offset    8 length       12 leader epoch   16 magic        17 CRC-32C of all that follows
//! 21 attributes    23 last offset delta    27 base timestamp    35 max timestamp
//! 43 producer id   51 producer epoch       53 base sequence     57 number of records    61 records
//! ```

use bytes::{Buf, BufMut, Bytes};
use thiserror::Error;

/// The bytes before the records.
pub(crate) const HEADER_BYTES: usize = 61;

/// The bytes before what the length field counts.
const LENGTH_ENDS_AT: usize = 12;

/// The bytes before what the checksum covers.
const CHECKED_FROM: usize = 21;

/// The one leader epoch there is: a single node never changes its mind.
pub(crate) const LEADER_EPOCH: i32 = 0;

const TIMESTAMP_TYPE_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
const COMPRESSION_MASK: i16 = 0b111;

/// Bytes that are no batch, or not one that a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum BatchError {
    #[error("a record batch ends after {0} bytes")]
    Truncated(usize),
    #[error("record batches of version {0}; there is only version 2 here")]
    Version(i8),
    #[error("a record batch says that it is {0} bytes long")]
    Length(i32),
    #[error("the checksum is not that of the batch")]
    Checksum,
    #[error("a batch of {records} records whose last offset is {last_offset_delta}")]
    Count { records: i32, last_offset_delta: i32 },
    #[error("compression of type {0}")]
    Compression(i16),
    #[error("a client sends a control batch")]
    Control,
    #[error("a batch of a producer without an epoch, or without a sequence number")]
    Producer,
}

/// Who wrote a batch: an id, the epoch that fences earlier holders of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ProducerEpoch {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Abort,
    Commit,
}

/// What a batch is to readers and to transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Records that are there once they are written.
    Plain,
    /// Records that are there once their transaction is committed.
    Transactional,
    /// The end of a transaction.
    Control,
}

/// The header of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) base_offset: i64,
    /// The whole batch, header and all.
    pub(crate) total_bytes: usize,
    crc: u32,
    attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp_ms: i64,
    pub(crate) max_timestamp_ms: i64,
    producer: ProducerEpoch,
    pub(crate) base_sequence: i32,
    pub(crate) record_count: i32,
}

impl Header {
    /// Reads the header that `bytes` begin with. What the lengths claim is not yet checked against
    /// what is there.
    pub(crate) fn read(bytes: &[u8]) -> Result<Header, BatchError> {
        // The version stands where it stood in all formats; older ones are shorter.
        let Some(&version) = bytes.get(16) else { return Err(BatchError::Truncated(bytes.len())) };
        if version != 2 {
            return Err(BatchError::Version(version as i8));
        }
        if bytes.len() < HEADER_BYTES {
            return Err(BatchError::Truncated(bytes.len()));
        }
        let mut fields = bytes;
        let base_offset = fields.get_i64();
        let length = fields.get_i32();
        let total_bytes = usize::try_from(length).unwrap_or(0) + LENGTH_ENDS_AT;
        if total_bytes < HEADER_BYTES {
            return Err(BatchError::Length(length));
        }
        fields.advance(5);
        Ok(Header {
            base_offset,
            total_bytes,
            crc: fields.get_u32(),
            attributes: fields.get_i16(),
            last_offset_delta: fields.get_i32(),
            base_timestamp_ms: fields.get_i64(),
            max_timestamp_ms: fields.get_i64(),
            producer: ProducerEpoch { id: fields.get_i64(), epoch: fields.get_i16() },
            base_sequence: fields.get_i32(),
            record_count: fields.get_i32(),
        })
    }

    /// The same batch at another place.
    pub(crate) fn at(&self, base_offset: i64) -> Header {
        Header { base_offset, ..self.clone() }
    }

    /// The offset after the batch's last record.
    pub(crate) fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta) + 1
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.attributes {
            bits if bits & CONTROL_BIT != 0 => Kind::Control,
            bits if bits & TRANSACTIONAL_BIT != 0 => Kind::Transactional,
            _ => Kind::Plain,
        }
    }

    /// The number of the compression: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub(crate) fn compression(&self) -> i16 {
        self.attributes & COMPRESSION_MASK
    }

    /// Whether all records bear the time at which they were appended.
    pub(crate) fn is_append_time(&self) -> bool {
        self.attributes & TIMESTAMP_TYPE_BIT != 0
    }

    /// The producer, if it has an id.
    pub(crate) fn producer(&self) -> Option<ProducerEpoch> {
        (self.producer.id >= 0).then_some(self.producer)
    }

    pub(crate) fn last_sequence(&self) -> i32 {
        sequence_after(self.base_sequence, self.last_offset_delta)
    }

    /// Whether `batch`, all of it, is what its producer wrote.
    pub(crate) fn has_checksum_of(&self, batch: &[u8]) -> bool {
        crc32c::crc32c(&batch[CHECKED_FROM..]) == self.crc
    }

    /// What a client may send, apart from its sequence.
    fn check_sent(&self) -> Result<(), BatchError> {
        let (records, last_offset_delta) = (self.record_count, self.last_offset_delta);
        if records <= 0 || last_offset_delta != records - 1 {
            return Err(BatchError::Count { records, last_offset_delta });
        }
        if self.compression() > 4 {
            return Err(BatchError::Compression(self.compression()));
        }
        match (self.kind(), self.producer()) {
            (Kind::Control, _) => Err(BatchError::Control),
            (Kind::Transactional, None) => Err(BatchError::Producer),
            (_, Some(producer)) if producer.epoch < 0 || self.base_sequence < 0 => {
                Err(BatchError::Producer)
            }
            _ => Ok(()),
        }
    }

    /// The header as it is written to the log: with an offset and, where topics keep the time of
    /// the append, with that. `records` is what follows the header.
    pub(crate) fn assigned(
        &self,
        sent: &[u8],
        base_offset: i64,
        append_time_ms: Option<i64>,
    ) -> [u8; HEADER_BYTES] {
        let (mut header, records) = ([0; HEADER_BYTES], &sent[HEADER_BYTES..]);
        header.copy_from_slice(&sent[..HEADER_BYTES]);
        header[..8].copy_from_slice(&base_offset.to_be_bytes());
        header[12..16].copy_from_slice(&LEADER_EPOCH.to_be_bytes());
        if let Some(time_ms) = append_time_ms {
            let attributes = self.attributes | TIMESTAMP_TYPE_BIT;
            header[21..23].copy_from_slice(&attributes.to_be_bytes());
            header[35..43].copy_from_slice(&time_ms.to_be_bytes());
            let crc = crc32c::crc32c_append(crc32c::crc32c(&header[CHECKED_FROM..]), records);
            header[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        header
    }
}

/// The sequence number `steps` after another: they wrap to 0.
pub(crate) fn sequence_after(sequence: i32, steps: i32) -> i32 {
    ((i64::from(sequence) + i64::from(steps)) % (i64::from(i32::MAX) + 1)) as i32
}

/// Cuts what a client sent for a partition into batches, each checked but for its sequence.
pub(crate) fn split_sent(mut records: Bytes) -> Result<Vec<(Header, Bytes)>, BatchError> {
    let mut batches = Vec::with_capacity(1);
    while !records.is_empty() {
        let header = Header::read(&records)?;
        if header.total_bytes > records.len() {
            return Err(BatchError::Truncated(records.len()));
        }
        let batch = records.split_to(header.total_bytes);
        if !header.has_checksum_of(&batch) {
            return Err(BatchError::Checksum);
        }
        header.check_sent()?;
        batches.push((header, batch));
    }
    if batches.is_empty() { Err(BatchError::Truncated(0)) } else { Ok(batches) }
}

/// The control batch that ends a transaction in a partition. Its offset is assigned like any
/// other's.
pub(crate) fn marker(producer: ProducerEpoch, outcome: Outcome, now_ms: i64) -> Bytes {
    // One record: its key is (version, type), its value (version, coordinator epoch).
    let record_type = match outcome {
        Outcome::Abort => 0,
        Outcome::Commit => 1,
    };
    let record = [
        32,
        0,
        0,
        0, // length, attributes, timestamp and offset delta
        8,
        0,
        0,
        0,
        record_type, // key
        12,
        0,
        0,
        0,
        0,
        0,
        0, // value
        0, // headers
    ];
    let mut batch = Vec::with_capacity(HEADER_BYTES + record.len());
    batch.put_i64(0);
    batch.put_i32((HEADER_BYTES + record.len() - LENGTH_ENDS_AT) as i32);
    batch.put_i32(LEADER_EPOCH);
    batch.put_i8(2);
    batch.put_u32(0);
    batch.put_i16(TRANSACTIONAL_BIT | CONTROL_BIT);
    batch.put_i32(0);
    batch.put_i64(now_ms);
    batch.put_i64(now_ms);
    batch.put_i64(producer.id);
    batch.put_i16(producer.epoch);
    batch.put_i32(-1);
    batch.put_i32(1);
    batch.extend_from_slice(&record);
    let crc = crc32c::crc32c(&batch[CHECKED_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(batch)
}

/// How the transaction ended, if `batch` is a [`marker`]. Other control records are not ours to
/// write, and say nothing.
pub(crate) fn marked_outcome(batch: &[u8]) -> Option<Outcome> {
    match batch.get(HEADER_BYTES + 7..HEADER_BYTES + 9)? {
        [0, 0] => Some(Outcome::Abort),
        [0, 1] => Some(Outcome::Commit),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A batch of `count` records with the values `first`, `first + 1`, …, as a client sends it.
    pub(crate) fn sent(
        producer: Option<(ProducerEpoch, i32)>,
        kind: Kind,
        values: &[u64],
    ) -> Bytes {
        let mut records = Vec::new();
        for (delta, value) in values.iter().enumerate() {
            // length, attributes, timestamp delta, offset delta, no key, a value of 8 bytes
            assert!(delta < 64, "deltas of one byte");
            let head = [28, 0, 0, 2 * delta as u8, 1, 16];
            records.extend_from_slice(&head);
            records.extend_from_slice(&value.to_be_bytes());
            records.push(0);
        }
        let (producer, sequence) = producer.unwrap_or((ProducerEpoch { id: -1, epoch: -1 }, -1));
        let mut batch = Vec::new();
        batch.put_i64(0);
        batch.put_i32((HEADER_BYTES + records.len() - LENGTH_ENDS_AT) as i32);
        batch.put_i32(-1);
        batch.put_i8(2);
        batch.put_u32(0);
        batch.put_i16(match kind {
            Kind::Plain => 0,
            Kind::Transactional => TRANSACTIONAL_BIT,
            Kind::Control => CONTROL_BIT,
        });
        batch.put_i32(values.len() as i32 - 1);
        batch.put_i64(1_000);
        batch.put_i64(1_000);
        batch.put_i64(producer.id);
        batch.put_i16(producer.epoch);
        batch.put_i32(sequence);
        batch.put_i32(values.len() as i32);
        batch.extend_from_slice(&records);
        let crc = crc32c::crc32c(&batch[CHECKED_FROM..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        Bytes::from(batch)
    }

    /// The values of an uncompressed batch of [`sent`].
    pub(crate) fn values(batch: &[u8]) -> Vec<u64> {
        let records = &batch[HEADER_BYTES..];
        records.chunks(15).map(|r| u64::from_be_bytes(r[6..14].try_into().unwrap())).collect()
    }

    #[test]
    fn an_assigned_header_keeps_the_checksum_of_the_batch() {
        let batch = sent(None, Kind::Plain, &[1, 2, 3]);
        let header = Header::read(&batch).unwrap();
        for append_time_ms in [None, Some(77)] {
            let mut written = header.assigned(&batch, 42, append_time_ms).to_vec();
            written.extend_from_slice(&batch[HEADER_BYTES..]);
            let read = Header::read(&written).unwrap();
            assert!(read.has_checksum_of(&written));
            assert_eq!((read.base_offset, read.next_offset()), (42, 45));
            assert_eq!(read.is_append_time(), append_time_ms.is_some());
            assert_eq!(read.max_timestamp_ms, append_time_ms.unwrap_or(1_000));
        }
    }

    #[test]
    fn a_marker_says_how_its_transaction_ended() {
        for outcome in [Outcome::Abort, Outcome::Commit] {
            let producer = ProducerEpoch { id: 7, epoch: 3 };
            let batch = marker(producer, outcome, 5);
            let header = Header::read(&batch).unwrap();
            assert_eq!(header.total_bytes, batch.len());
            assert!(header.has_checksum_of(&batch));
            assert_eq!((header.kind(), header.producer()), (Kind::Control, Some(producer)));
            assert_eq!(marked_outcome(&batch), Some(outcome));
        }
    }

    #[test]
    fn no_cut_or_changed_byte_of_a_batch_passes() {
        let batch = sent(None, Kind::Plain, &[1, 2]);
        assert_eq!(split_sent(batch.clone()).unwrap().len(), 1);
        for end in 0..batch.len() {
            assert!(split_sent(batch.slice(..end)).is_err(), "cut at {end}");
        }
        // The offset and the leader epoch are the broker's to write.
        for at in (8..12).chain(16..batch.len()) {
            let mut changed = batch.to_vec();
            changed[at] ^= 0x40;
            assert!(split_sent(Bytes::from(changed)).is_err(), "byte {at}");
        }
    }

    #[test]
    fn clients_write_no_markers_and_no_transactions_without_a_producer() {
        assert_eq!(split_sent(sent(None, Kind::Control, &[1])), Err(BatchError::Control));
        assert_eq!(split_sent(sent(None, Kind::Transactional, &[1])), Err(BatchError::Producer));
        assert!(split_sent(sent(None, Kind::Plain, &[])).is_err());
    }

    #[test]
    fn sequence_numbers_wrap_to_zero() {
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
        assert_eq!(sequence_after(5, 0), 5);
    }
}
