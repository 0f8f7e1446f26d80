//! [`Manifest`]: what a checkpoint consists of, as one small value.
//!
//! Whoever has the manifest has the checkpoint: where every source goes on, which objects hold
//! the state, what sinks have staged, how long each file of dead letters is. It is written once,
//! as a line of JSON and a line with its checksum, and never changed.

use super::store::Name;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidemill_connectors::source::Positions;
use tidemill_operators::Epoch;

/// The layout of manifests and state objects. A binary reads its own and older ones; an operator
/// whose tables were others then refuses them.
///
/// 2: what aggregates hold by value is in tables of its own. 3: an object may be a bundle of others.
pub(crate) const FORMAT: u32 = 3;

/// A checkpoint: the state of a job before an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The layout that this and its objects are written in.
    pub format: u32,
    /// The identity of the job.
    pub job: String,
    /// Its number: rising, never used twice.
    pub number: u64,
    /// Which start of the job took it, counting from 1.
    pub generation: u64,
    /// The cut: everything before this epoch is in it, nothing of it or after it is.
    pub epoch: Epoch,
    /// By how many workers it was taken.
    pub workers: usize,
    /// When, in milliseconds since 1970 by the clock of the machine.
    pub created_ms: i64,
    /// Whether the job had come to its end: its inputs have ended and everything has fired.
    pub is_finished: bool,
    /// The names of the transactions that make its output visible.
    pub transactions: Vec<String>,
    /// Where sources stand.
    pub sources: Vec<SourceState>,
    /// Steps that keep state.
    pub steps: Vec<StepState>,
    /// What sinks have staged.
    pub sinks: Vec<SinkState>,
    /// The objects that hold the state of all steps, to be applied in this order.
    pub objects: Vec<ObjectRef>,
    /// The files of dead letters.
    pub dead_letters: BTreeMap<String, LetterFileState>,
}

/// Where a source stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    /// The operator's id in the plan.
    pub id: u64,
    /// Its name, for people.
    pub name: String,
    /// Where reading goes on.
    pub positions: Positions,
    /// The watermark of each lane that has one, in milliseconds, by the lane's name.
    pub watermarks_ms: BTreeMap<String, i64>,
    /// Rows it had given.
    pub rows: u64,
    /// Records that it could not decode.
    pub bad_records: u64,
}

/// A step that keeps state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepState {
    /// The operator's id in the plan.
    pub id: u64,
    /// Its name, for people.
    pub name: String,
    /// Its watermark, in milliseconds; `i64::MIN` before the first.
    pub watermark_ms: i64,
    /// Rows that it had dropped as late.
    pub late_rows: u64,
    /// Bytes of state that it held in memory.
    pub bytes: u64,
}

/// What a sink has staged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkState {
    /// The operator's id in the plan.
    pub id: u64,
    /// Its name, for people.
    pub name: String,
    /// What is to be done when the checkpoint stands, in words of the sink's own.
    pub staged: Vec<String>,
    /// Rows that it had been given.
    pub rows: u64,
}

/// An object of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its name.
    pub name: Name,
    /// Its length.
    pub bytes: u64,
    /// CRC-32 of its bytes.
    pub checksum: u32,
    /// The first checkpoint whose changes are in it; 0 if it is a base: everything from the
    /// beginning.
    pub first: u64,
    /// The last checkpoint whose changes are in it.
    pub last: u64,
}

/// How much of a file of dead letters belongs to the checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterFileState {
    /// Its length.
    pub bytes: u64,
    /// Letters in it.
    pub letters: u64,
}

/// A manifest can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It was cut off or changed.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It was written by a newer binary.
    #[error("it has layout {found}, and this binary knows layouts up to {FORMAT}: use a newer one")]
    TooNew {
        /// The layout it says it has.
        found: u32,
    },
}

impl Manifest {
    /// The text of the manifest and its checksum.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).expect("a manifest is plain data");
        let checksum = crc32fast::hash(&text);
        text.extend_from_slice(format!("\n{checksum:08x}\n").as_bytes());
        text
    }

    /// Reads what [`Manifest::encode`] wrote.
    ///
    /// # Errors
    /// If a single bit of it is not as it was written, or its layout is not known here.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let damaged = |problem: &str| ManifestError::Damaged(problem.to_owned());
        let text = bytes.strip_suffix(b"\n").ok_or_else(|| damaged("its end is missing"))?;
        let middle = text.iter().rposition(|&byte| byte == b'\n');
        let (json, checksum) = text.split_at(middle.ok_or_else(|| damaged("it has one line"))?);
        if format!("\n{:08x}", crc32fast::hash(json)).as_bytes() != checksum {
            return Err(damaged("its checksum is wrong"));
        }
        #[derive(Deserialize)]
        struct Layout {
            format: u32,
        }
        let wrong = |error: serde_json::Error| ManifestError::Damaged(error.to_string());
        let Layout { format } = serde_json::from_slice(json).map_err(wrong)?;
        if format > FORMAT {
            return Err(ManifestError::TooNew { found: format });
        }
        serde_json::from_slice(json).map_err(wrong)
    }
}

#[cfg(test)]
pub(super) fn example(number: u64) -> Manifest {
    Manifest {
        format: FORMAT,
        job: "job".to_owned(),
        number,
        generation: 1,
        epoch: number * 1000,
        workers: 2,
        created_ms: 0,
        is_finished: false,
        transactions: Vec::new(),
        sources: Vec::new(),
        steps: Vec::new(),
        sinks: Vec::new(),
        objects: Vec::new(),
        dead_letters: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let source = SourceState {
            id: u64::MAX,
            name: "source clicks".to_owned(),
            positions: BTreeMap::from([("clicks/0".to_owned(), 42)]),
            watermarks_ms: BTreeMap::from([("clicks/0".to_owned(), -1)]),
            rows: 42,
            bad_records: 1,
        };
        Manifest { sources: vec![source], ..example(7) }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        assert_eq!(Manifest::decode(&manifest().encode()), Ok(manifest()));
    }

    #[test]
    fn a_manifest_with_any_bit_flipped_or_any_end_cut_off_is_damaged() {
        let bytes = manifest().encode();
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut bent = bytes.clone();
                bent[place] ^= 1 << bit;
                assert!(Manifest::decode(&bent).is_err(), "bit {bit} of byte {place}");
            }
            assert!(Manifest::decode(&bytes[..place]).is_err(), "cut at {place}");
        }
    }

    #[test]
    fn a_manifest_of_a_later_layout_is_refused_as_such() {
        let newer = Manifest { format: FORMAT + 1, ..manifest() };
        let error = Manifest::decode(&newer.encode()).unwrap_err();
        assert_eq!(error, ManifestError::TooNew { found: FORMAT + 1 });
    }
}
