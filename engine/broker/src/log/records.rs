//! The records inside a batch, as far as the broker ever looks: their offsets and times.
//!
//! Only a search by time needs them. The batch is unpacked as a stream, so that what it unpacks to
//! needn't fit in memory, and reading stops at the record that was sought.

use super::batch::{HEADER_BYTES, Header};
use std::io::{self, BufReader, Read};

/// A batch that unpacks to more than this is not searched: its sender means no good.
const UNPACKED_BYTES_MAX: u64 = 1 << 30;

/// When a record is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timed {
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
}

/// The first record of a batch that satisfies a condition.
pub(crate) fn first(
    header: &Header,
    batch: &[u8],
    is_sought: impl Fn(&Timed) -> bool,
) -> io::Result<Option<Timed>> {
    let unpacked = unpack(header.compression(), &batch[HEADER_BYTES..])?;
    let mut records = BufReader::new(unpacked.take(UNPACKED_BYTES_MAX));
    for _ in 0..header.record_count {
        let timed = next(header, &mut records)?;
        if is_sought(&timed) {
            return Ok(Some(timed));
        }
    }
    Ok(None)
}

fn next(header: &Header, records: &mut impl Read) -> io::Result<Timed> {
    let bytes = u64::try_from(varint(records)?).map_err(io::Error::other)?;
    let mut record = records.by_ref().take(bytes);
    record.read_exact(&mut [0])?;
    let timestamp_delta = varint(&mut record)?;
    let offset_delta = varint(&mut record)?;
    io::copy(&mut record, &mut io::sink())?;
    if record.limit() > 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let timestamp_ms = match header.is_append_time() {
        true => header.max_timestamp_ms,
        false => header.base_timestamp_ms.saturating_add(timestamp_delta),
    };
    Ok(Timed { offset: header.base_offset.saturating_add(offset_delta), timestamp_ms })
}

/// A number in zigzag encoding.
fn varint(from: &mut impl Read) -> io::Result<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err(io::Error::other("a number of more than 64 bits"))
}

fn unpack(compression: i16, packed: &[u8]) -> io::Result<Box<dyn Read + '_>> {
    Ok(match compression {
        0 => Box::new(packed),
        1 => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        2 => Box::new(Snappy::new(packed)),
        3 => Box::new(lz4_flex::frame::FrameDecoder::new(packed)),
        4 => Box::new(zstd::stream::read::Decoder::new(packed)?),
        other => return Err(io::Error::other(format!("compression of type {other}"))),
    })
}

/// Snappy as Java clients frame it, in blocks with a length each, or one bare block.
struct Snappy<'a> {
    packed: &'a [u8],
    block: io::Cursor<Vec<u8>>,
    framing: Framing,
}

#[derive(Clone, Copy)]
enum Framing {
    Blocks,
    Bare,
}

const SNAPPY_JAVA_MAGIC: &[u8] = b"\x82SNAPPY\0";
const SNAPPY_JAVA_HEADER_BYTES: usize = 16;

impl<'a> Snappy<'a> {
    fn new(packed: &'a [u8]) -> Snappy<'a> {
        let block = io::Cursor::default();
        let is_framed = packed.starts_with(SNAPPY_JAVA_MAGIC);
        match packed.get(SNAPPY_JAVA_HEADER_BYTES..).filter(|_| is_framed) {
            Some(blocks) => Snappy { packed: blocks, block, framing: Framing::Blocks },
            None => Snappy { packed, block, framing: Framing::Bare },
        }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let block = match self.framing {
            Framing::Bare => std::mem::take(&mut self.packed),
            Framing::Blocks => {
                let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
                let (length, rest) = self.packed.split_first_chunk().ok_or_else(short)?;
                let length = u32::from_be_bytes(*length) as usize;
                let (block, rest) = rest.split_at_checked(length).ok_or_else(short)?;
                self.packed = rest;
                block
            }
        };
        if snap::raw::decompress_len(block)? as u64 > UNPACKED_BYTES_MAX {
            return Err(io::Error::other("a block of more than a gigabyte"));
        }
        self.block = io::Cursor::new(snap::raw::Decoder::new().decompress_vec(block)?);
        Ok(())
    }
}

impl Read for Snappy<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.block.read(buffer)?;
            if count > 0 || buffer.is_empty() || self.packed.is_empty() {
                return Ok(count);
            }
            self.next_block()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::Kind;
    use super::super::batch::tests::sent;
    use super::*;
    use std::io::Write;

    fn unpacked(compression: i16, packed: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        unpack(compression, packed).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn every_compression_is_unpacked() {
        let text = b"round and round the mill wheel goes ".repeat(500);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&text).unwrap();
        let bare = snap::raw::Encoder::new().compress_vec(&text).unwrap();
        let mut framed = SNAPPY_JAVA_MAGIC.to_vec();
        framed.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
        for part in text.chunks(1000) {
            let block = snap::raw::Encoder::new().compress_vec(part).unwrap();
            framed.extend_from_slice(&(block.len() as u32).to_be_bytes());
            framed.extend_from_slice(&block);
        }
        assert_eq!(unpacked(0, &text), text);
        assert_eq!(unpacked(1, &gzip.finish().unwrap()), text);
        assert_eq!(unpacked(2, &bare), text);
        assert_eq!(unpacked(2, &framed), text);
        assert_eq!(unpacked(3, &lz4.finish().unwrap()), text);
        assert_eq!(unpacked(4, &zstd::encode_all(text.as_slice(), 1).unwrap()), text);
    }

    #[test]
    fn the_records_of_a_batch_have_their_offsets_and_times() {
        let batch = sent(None, Kind::Plain, &[10, 11, 12]);
        let header = Header::read(&batch).unwrap().at(40);
        let found = first(&header, &batch, |timed| timed.offset > 40).unwrap();
        assert_eq!(found, Some(Timed { offset: 41, timestamp_ms: 1_000 }));
        assert_eq!(first(&header, &batch, |timed| timed.timestamp_ms > 1_000).unwrap(), None);
    }

    #[test]
    fn a_batch_that_lies_about_its_records_is_an_error_and_not_a_panic() {
        let batch = sent(None, Kind::Plain, &[10, 11, 12]);
        let header = Header::read(&batch).unwrap();
        for end in HEADER_BYTES..batch.len() {
            assert!(first(&header, &batch[..end], |_| false).is_err(), "cut at {end}");
        }
    }
}
