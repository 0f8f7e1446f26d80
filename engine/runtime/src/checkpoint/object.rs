//! State objects: the snapshots of many operators in one object, with an index.
//!
//! ```text
//!  magic ─ section ─ section ─ … ─ index (JSON) ─ length of the index (u32) ─ magic
//!          └ an Arrow IPC stream of one batch, compressed with zstd
//! ```
//!
//! The index says of each section which operator and table it belongs to, whether it deletes or
//! upserts, and how large it is. An object may be a [`bundle`] of others: what it says then comes in
//! parts, one after the other. That the bytes are the ones that were written is for the
//! manifest's checksum to say; here a damaged object is an error, never a panic.

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use tidemill_operators::snapshot::{Snapshot, SnapshotTable};
use zstd::bulk::Compressor;

const MAGIC: &[u8; 4] = b"TMS1";
/// The fastest level: state changes faster than it is read.
const ZSTD_LEVEL: i32 = 1;
/// Room is made at once for what a section says that it holds, if that is no more than so many
/// times its bytes: what is damaged may say anything.
const EXPANSION_MAX: u64 = 256;

/// What an object can't be.
#[derive(Debug, thiserror::Error)]
#[error("state object: {0}")]
pub struct ObjectError(String);

impl ObjectError {
    fn new(problem: impl std::fmt::Display) -> Self {
        ObjectError(problem.to_string())
    }
}

/// Snapshots by the id of their operator.
pub type Snapshots = BTreeMap<u64, Snapshot>;

/// What the index says of a section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// The operator's id in the plan.
    pub operator: u64,
    /// Which of the operator's tables, by its place in the snapshot.
    pub table: usize,
    /// What the operator calls the table.
    pub name: String,
    /// How many of its leading columns are the key.
    pub key_width: usize,
    /// What its rows do.
    pub role: Role,
    /// How many rows it has.
    pub rows: usize,
    /// Where it begins.
    pub offset: usize,
    /// How many bytes it takes in the object.
    pub bytes: usize,
    /// Which part of a bundle it is of.
    #[serde(default)]
    pub part: usize,
}

/// What the rows of a section do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// They name keys that are gone.
    Deletes,
    /// They are entries as they now are.
    Upserts,
}

/// Writes an object, one snapshot after the other.
pub struct ObjectWriter {
    object: Vec<u8>,
    index: Vec<Section>,
    compressor: Compressor<'static>,
}

impl ObjectWriter {
    /// An object without any section.
    ///
    /// # Errors
    /// If there is no memory for a compressor.
    pub fn new() -> Result<Self, ObjectError> {
        let compressor = compressor()?;
        Ok(ObjectWriter { object: MAGIC.to_vec(), index: Vec::new(), compressor })
    }

    /// Adds what an operator says of its state.
    ///
    /// # Errors
    /// If Arrow can't write a batch, which no operator gives reason for.
    pub fn add(&mut self, operator: u64, snapshot: &Snapshot) -> Result<(), ObjectError> {
        for (place, table) in snapshot.tables.iter().enumerate() {
            let roles = [(Role::Deletes, &table.deletes), (Role::Upserts, &table.upserts)];
            for (role, batch) in roles {
                let Some(batch) = batch else { continue };
                let offset = self.object.len();
                let stream = ipc_stream(batch)?;
                let section = self.compressor.compress(&stream).map_err(ObjectError::new)?;
                self.object.extend_from_slice(&section);
                self.index.push(Section {
                    operator,
                    table: place,
                    name: table.name.clone(),
                    key_width: table.key_width,
                    role,
                    rows: batch.num_rows(),
                    offset,
                    bytes: self.object.len() - offset,
                    part: 0,
                });
            }
        }
        Ok(())
    }

    /// The object.
    ///
    /// # Errors
    /// If the index can't be written.
    pub fn finish(self) -> Result<Vec<u8>, ObjectError> {
        finished(self.object, &self.index)
    }
}

/// An object of which the sections are there.
fn finished(mut object: Vec<u8>, index: &[Section]) -> Result<Vec<u8>, ObjectError> {
    let index = serde_json::to_vec(index).map_err(ObjectError::new)?;
    object.extend_from_slice(&index);
    object.extend_from_slice(&(index.len() as u32).to_le_bytes());
    object.extend_from_slice(MAGIC);
    Ok(object)
}

/// One object that says what several say, in order: their sections as they are, which takes no more
/// than to copy them.
///
/// # Errors
/// If one of them is no object.
pub fn bundle(objects: &[Vec<u8>]) -> Result<Vec<u8>, ObjectError> {
    let mut bundle = MAGIC.to_vec();
    let (mut sections, mut parts) = (Vec::new(), 0);
    for object in objects {
        let first = parts;
        for section in index(object)? {
            let bytes = bytes_of(object, &section)?;
            let (offset, part) = (bundle.len(), first + section.part);
            bundle.extend_from_slice(bytes);
            parts = parts.max(part + 1);
            sections.push(Section { offset, part, ..section });
        }
    }
    finished(bundle, &sections)
}

fn bytes_of<'a>(object: &'a [u8], section: &Section) -> Result<&'a [u8], ObjectError> {
    let range = section.offset..section.offset.saturating_add(section.bytes);
    object.get(range).ok_or_else(|| ObjectError::new("a section is missing"))
}

/// Writes snapshots as one object.
///
/// # Errors
/// As those of an [`ObjectWriter`].
pub fn encode(snapshots: &Snapshots) -> Result<Vec<u8>, ObjectError> {
    let mut object = ObjectWriter::new()?;
    for (&operator, snapshot) in snapshots {
        object.add(operator, snapshot)?;
    }
    object.finish()
}

/// What is in an object.
pub fn index(object: &[u8]) -> Result<Vec<Section>, ObjectError> {
    let damaged = || ObjectError::new("it is not one, or its end is missing");
    let body = object.strip_prefix(MAGIC).ok_or_else(damaged)?;
    let body = body.strip_suffix(MAGIC).ok_or_else(damaged)?;
    let (body, length) = body.split_last_chunk::<4>().ok_or_else(damaged)?;
    let start = body.len().checked_sub(u32::from_le_bytes(*length) as usize);
    let index = start.and_then(|start| body.get(start..)).ok_or_else(damaged)?;
    serde_json::from_slice(index).map_err(ObjectError::new)
}

/// Reads an object: its parts, in order.
///
/// # Errors
/// If it is not what an [`ObjectWriter`] writes, or [`bundle`].
pub fn decode(object: &[u8]) -> Result<Vec<Snapshots>, ObjectError> {
    let mut parts: BTreeMap<usize, Snapshots> = BTreeMap::new();
    for section in index(object)? {
        let batch = decompressed(bytes_of(object, &section)?)?;
        let snapshots = parts.entry(section.part).or_default();
        let tables = &mut snapshots.entry(section.operator).or_default().tables;
        while tables.len() <= section.table {
            let (name, key_width) = (section.name.clone(), section.key_width);
            tables.push(SnapshotTable { name, key_width, deletes: None, upserts: None });
        }
        let table = &mut tables[section.table];
        match section.role {
            Role::Deletes => table.deletes = Some(batch),
            Role::Upserts => table.upserts = Some(batch),
        }
    }
    Ok(parts.into_values().collect())
}

fn compressor() -> Result<Compressor<'static>, ObjectError> {
    let mut compressor = Compressor::new(ZSTD_LEVEL).map_err(ObjectError::new)?;
    // Arrow takes bytes at their word: what was damaged must not get that far.
    compressor.include_checksum(true).map_err(ObjectError::new)?;
    Ok(compressor)
}

fn ipc_stream(batch: &RecordBatch) -> Result<Vec<u8>, ObjectError> {
    let mut stream = Vec::with_capacity(batch.get_array_memory_size());
    let mut writer =
        StreamWriter::try_new(&mut stream, &batch.schema()).map_err(ObjectError::new)?;
    writer.write(batch).and_then(|()| writer.finish()).map_err(ObjectError::new)?;
    drop(writer);
    Ok(stream)
}

fn decompressed(bytes: &[u8]) -> Result<RecordBatch, ObjectError> {
    let size = zstd::zstd_safe::get_frame_content_size(bytes).ok().flatten().unwrap_or(0);
    let size = size.min(EXPANSION_MAX * bytes.len() as u64);
    let mut stream = Vec::with_capacity(size as usize);
    let mut reader = zstd::Decoder::with_buffer(bytes).map_err(ObjectError::new)?;
    reader.read_to_end(&mut stream).map_err(ObjectError::new)?;
    // The batch's columns are parts of the stream, not copies.
    let batch = StreamDecoder::new().decode(&mut Buffer::from_vec(stream));
    batch.map_err(ObjectError::new)?.ok_or_else(|| ObjectError::new("a section is empty"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, BinaryArray, Int64Array, UInt8Array};
    use std::sync::Arc;

    fn snapshots() -> Snapshots {
        let keys: ArrayRef = Arc::new(UInt8Array::from(vec![3, 9]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let states: ArrayRef = Arc::new(BinaryArray::from(vec![&b"one"[..], b""]));
        let gone = RecordBatch::try_from_iter([("key_group", keys.clone())]).unwrap();
        let kept = [("key_group", keys), ("n", numbers), ("state", states)];
        let kept = RecordBatch::try_from_iter_with_nullable(
            kept.map(|(name, column)| (name, column, name != "key_group")),
        );
        let table = |name: &str, deletes, upserts| SnapshotTable {
            name: name.to_owned(),
            key_width: 1,
            deletes,
            upserts,
        };
        let kept = kept.unwrap();
        let one = vec![
            table("panes", Some(gone.clone()), None),
            table("panes", None, Some(kept.clone())),
        ];
        let other = vec![table("rows", Some(gone), Some(kept))];
        BTreeMap::from([(1, Snapshot { tables: one }), (u64::MAX, Snapshot { tables: other })])
    }

    #[test]
    fn an_object_is_read_as_it_was_written() {
        let object = encode(&snapshots()).unwrap();
        let read = decode(&object).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", [snapshots()]));
        let rows: usize = index(&object).unwrap().iter().map(|section| section.rows).sum();
        assert_eq!(rows, 8);
        assert!(decode(&encode(&Snapshots::new()).unwrap()).unwrap().is_empty());
    }

    #[test]
    fn a_bundle_is_read_as_what_it_was_made_of_in_order() {
        let mut second = snapshots();
        second.remove(&1);
        let (one, two) = (encode(&snapshots()).unwrap(), encode(&second).unwrap());
        let nothing = encode(&Snapshots::new()).unwrap();
        let some = bundle(&[one.clone(), nothing, two]).unwrap();
        let expected = [snapshots(), second];
        assert_eq!(format!("{:?}", decode(&some).unwrap()), format!("{expected:?}"));
        let all = decode(&bundle(&[one, some]).unwrap()).unwrap();
        let [first, second] = expected;
        assert_eq!(format!("{all:?}"), format!("{:?}", [first.clone(), first, second]));
        assert!(bundle(&[b"none".to_vec()]).is_err());
    }

    #[test]
    fn a_damaged_object_is_an_error_and_never_a_panic() {
        let object = encode(&snapshots()).unwrap();
        for end in 0..object.len() {
            assert!(decode(&object[..end]).is_err(), "cut at {end}");
        }
        for place in 0..object.len() {
            let mut bent = object.clone();
            bent[place] ^= 0x5a;
            // What it then means is for the checksum to refuse.
            let _ = decode(&bent);
        }
    }
}
