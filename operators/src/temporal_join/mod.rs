//! The join of a stream with the version of a keyed row that was valid at each row's own time:
//! `FOR SYSTEM_TIME AS OF left.rowtime`.
//!
//! ```text
//! right (versions)   (EUR, 10:00, 1.10)            (EUR, 10:30, 1.12)
//! left                            (EUR, 10:15)                      (EUR, 10:30)
//! pairs                           (EUR, 10:15, 1.10)                (EUR, 10:30, 1.12)
//! ```
//!
//! A left row waits until the watermark says that no version can come any more that it would have
//! to be joined with; so the output is append-only, and depends on the rows' times, not on the
//! order in which they come. A version is held until a later one is valid at the watermark.
//!
//! The right input is a changelog. Its rows tell from when they are valid, so an update's deletion
//! of the old row says nothing that the new one doesn't: only a deletion that no insertion of the
//! same key follows in its epoch ends a key. It takes effect at the time that it carries.

mod history;
mod snapshot;
#[cfg(test)]
mod tests;

use crate::batch::Batch;
use crate::gather::Gather;
use crate::join::{JoinKind, Residual, Test, output_schema};
use crate::key::{KeyGroup, all_valid, hash_keys};
use crate::key_index::{KeyIndex, NO_SLOT};
use crate::operator::{EpochContext, Operator, OperatorError, Output};
use crate::row_codec::RowCodec;
use crate::snapshot::numbered::Numbers;
use crate::snapshot::{Snapshot, SnapshotScope};
use crate::time::Watermark;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit};
use history::{History, Version};
use snapshot::Journal;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What to join. Output columns: as of [`crate::join::JoinSpec`].
#[derive(Clone, Debug)]
pub struct TemporalJoinSpec {
    /// Inner or Left: whether a row that meets no version is shown, padded.
    pub kind: JoinKind,
    /// Key columns of the left input. NULL never equals NULL.
    pub left_keys: Vec<usize>,
    /// Key columns of the versions, of the same types.
    pub right_keys: Vec<usize>,
    /// The left input's time column, `Timestamp(ms)`. A row without time meets nothing.
    pub left_time: usize,
    /// From when a version is valid, `Timestamp(ms)`.
    pub right_time: usize,
    /// What else a pair must fulfil. A row whose version fails it meets none.
    pub residual: Option<Residual>,
}

/// Rows in one output batch, at most.
const OUTPUT_ROWS_MAX: usize = 16_384;

/// The operator: port 0 is the left input, port 1 the versions. See the [module](self).
#[derive(Debug)]
pub struct TemporalJoin {
    spec: TemporalJoinSpec,
    output: SchemaRef,
    residual: Option<Test>,
    schemas: [SchemaRef; 2],
    codecs: [RowCodec; 2],
    index: KeyIndex,
    /// By slot.
    keys: Vec<Key>,
    waiting: BTreeMap<Place, Waiting>,
    /// Times at which a version of the slot's key becomes valid, later than the watermark.
    deadlines: BTreeSet<(i64, u32)>,
    journal: Journal,
    numbers: [Numbers; 2],
    row_bytes: usize,
    versions: usize,
}

/// What stands under a key.
#[derive(Debug, Default)]
struct Key {
    history: History,
    /// How many left rows wait.
    waiting: u32,
    is_live: bool,
}

/// Time, sequence number and key group of a left row that waits. Numbers are given once in a
/// group, but groups of several workers may come together in a restore.
type Place = (i64, i64, u8);

/// A left row that waits.
#[derive(Debug)]
struct Waiting {
    bytes: Box<[u8]>,
    slot: u32,
}

/// A version: a slot, and a place in its history.
type Partner = Option<(u32, usize)>;

impl TemporalJoin {
    /// An operator without state.
    ///
    /// # Errors
    /// If the kind is neither Inner nor Left, if a time column is none, or if the keys' types
    /// differ or can't be compared.
    pub fn new(
        spec: TemporalJoinSpec,
        left: SchemaRef,
        right: SchemaRef,
    ) -> Result<Self, OperatorError> {
        if !matches!(spec.kind, JoinKind::Inner | JoinKind::Left) {
            let message = format!("a temporal join can be INNER or LEFT, not {:?}", spec.kind);
            return Err(OperatorError::Data(message));
        }
        require_time(&left, spec.left_time)?;
        require_time(&right, spec.right_time)?;
        let key_types = crate::join::key_types(&left, &spec.left_keys, &right, &spec.right_keys)?;
        Ok(TemporalJoin {
            output: output_schema(spec.kind, &left, &right),
            residual: Test::of(spec.residual.as_ref(), &left, &right)?,
            codecs: [RowCodec::of_schema(&left)?, RowCodec::of_schema(&right)?],
            schemas: [left, right],
            index: KeyIndex::new(&key_types)?,
            keys: Vec::new(),
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            journal: Journal::default(),
            numbers: Default::default(),
            row_bytes: 0,
            versions: 0,
            spec,
        })
    }

    /// The left columns, then the right ones, which are nullable if the join is a left one.
    pub fn output_schema(&self) -> SchemaRef {
        self.output.clone()
    }

    fn times(&self, port: usize, rows: &RecordBatch) -> Result<Int64Array, OperatorError> {
        let column = [self.spec.left_time, self.spec.right_time][port];
        let times = cast(rows.column(column), &DataType::Int64)?;
        Ok(times.as_primitive::<Int64Type>().clone())
    }

    /// The slots of the rows' keys; [`NO_SLOT`] for those without key or time.
    fn assign(
        &mut self,
        port: usize,
        rows: &RecordBatch,
        times: &Int64Array,
    ) -> Result<Vec<u32>, OperatorError> {
        let keys = [&self.spec.left_keys, &self.spec.right_keys][port];
        let columns: Vec<ArrayRef> = keys.iter().map(|&key| rows.column(key).clone()).collect();
        let valid = NullBuffer::union(times.nulls(), all_valid(&columns).as_ref());
        let (mut slots, keys) = (Vec::new(), &mut self.keys);
        self.index.assign(&columns, rows.num_rows(), valid.as_ref(), &mut slots, |slot, _| {
            if keys.len() <= slot as usize {
                keys.resize_with(slot as usize + 1, Key::default);
            }
            keys[slot as usize].is_live = true;
        })?;
        Ok(slots)
    }

    /// Takes an epoch's left rows into the waiting ones.
    fn add_left(&mut self, batches: &[Batch]) -> Result<(), OperatorError> {
        let batch = Batch::concat(&self.schemas[0], batches)?;
        if batch.weights().is_some_and(|weights| weights.iter().any(|&w| w < 0)) {
            return Err(OperatorError::Data(
                "a temporal join was sent a deletion, but its left input must only grow".into(),
            ));
        }
        let rows = batch.columns();
        let times = self.times(0, rows)?;
        let slots = self.assign(0, rows, &times)?;
        let encoded = self.codecs[0].encode(rows.columns())?;
        let groups = self.groups_of_keyless(rows, &slots);
        for (row, &slot) in slots.iter().enumerate() {
            let group = match slot {
                NO_SLOT if self.spec.kind == JoinKind::Inner => continue,
                NO_SLOT => groups[row],
                _ => self.index.group(slot).0,
            };
            // A row without time is not worth waiting for.
            let time = if times.is_null(row) { i64::MIN } else { times.value(row) };
            for _ in 0..batch.weight(row) {
                let place = (time, self.numbers[0].give(), group);
                self.hold(place, Waiting { bytes: encoded.get(row).into(), slot });
                if self.numbers[0].has_saved() {
                    self.journal.arrived.push(place);
                }
            }
        }
        Ok(())
    }

    fn hold(&mut self, place: Place, row: Waiting) {
        if row.slot != NO_SLOT {
            self.keys[row.slot as usize].waiting += 1;
        }
        self.row_bytes += row.bytes.len();
        self.waiting.insert(place, row);
    }

    /// The key groups of rows, if any has no slot that would tell its own.
    fn groups_of_keyless(&self, rows: &RecordBatch, slots: &[u32]) -> Vec<u8> {
        let mut hashes = Vec::new();
        if slots.contains(&NO_SLOT) {
            hash_keys(rows, &self.spec.left_keys, &mut hashes);
        }
        hashes.into_iter().map(|hash| KeyGroup::of(hash).0).collect()
    }

    /// Takes an epoch's versions into the histories of their keys.
    fn add_right(&mut self, batches: &[Batch]) -> Result<(), OperatorError> {
        let batch = Batch::concat(&self.schemas[1], batches)?;
        let rows = batch.columns();
        let times = self.times(1, rows)?;
        let slots = self.assign(1, rows, &times)?;
        let encoded = self.codecs[1].encode(rows.columns())?;
        let counts = keep_last_word(&batch, &slots);
        for (row, &slot) in slots.iter().enumerate().filter(|&(row, _)| counts[row]) {
            let version = Version {
                time: times.value(row),
                sequence: self.numbers[1].give(),
                bytes: encoded.get(row).into(),
                is_deletion: batch.weight(row) < 0,
            };
            self.put(slot, version);
            self.journal.keys.touch(slot);
        }
        Ok(())
    }

    fn put(&mut self, slot: u32, version: Version) {
        self.deadlines.insert((version.time, slot));
        self.row_bytes += version.bytes.len();
        self.versions += 1;
        if let Some(old) = self.keys[slot as usize].history.put(version) {
            self.row_bytes -= old.bytes.len();
            self.versions -= 1;
            self.numbers[1].removed(self.index.group(slot), old.sequence);
        }
    }

    /// Shows the rows that need not wait any longer.
    fn release(
        &mut self,
        watermark: Watermark,
        now_ms: i64,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let mut released = Vec::new();
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= watermark.0
        {
            let (place, row) = first.remove_entry();
            self.row_bytes -= row.bytes.len();
            self.numbers[0].removed(KeyGroup(place.2), place.1);
            released.push((place, row));
            if released.len() == OUTPUT_ROWS_MAX {
                self.join(&released, now_ms, output)?;
                self.leave(&mut released);
            }
        }
        self.join(&released, now_ms, output)?;
        self.leave(&mut released);
        Ok(())
    }

    fn leave(&mut self, released: &mut Vec<(Place, Waiting)>) {
        for (_, row) in released.drain(..).filter(|(_, row)| row.slot != NO_SLOT) {
            self.keys[row.slot as usize].waiting -= 1;
            self.forget_if_empty(row.slot);
        }
    }

    /// Shows left rows with their partners.
    fn join(
        &self,
        rows: &[(Place, Waiting)],
        now_ms: i64,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let partner = |place: &Place, row: &Waiting| {
            let key = self.keys.get(row.slot as usize)?;
            key.history.valid_at(place.0).map(|version| (row.slot, version))
        };
        let mut pairs: Vec<(&Waiting, Partner)> =
            rows.iter().map(|(place, row)| (row, partner(place, row))).collect();
        self.drop_failing(&mut pairs, now_ms)?;
        if self.spec.kind == JoinKind::Inner {
            pairs.retain(|(_, partner)| partner.is_some());
        }
        if !pairs.is_empty() {
            output
                .rows
                .push(RecordBatch::try_new(self.output.clone(), self.columns(&pairs)?)?.into());
        }
        Ok(())
    }

    /// Parts those pairs that fail the residual.
    fn drop_failing(
        &self,
        pairs: &mut [(&Waiting, Partner)],
        now_ms: i64,
    ) -> Result<(), OperatorError> {
        let Some(residual) = &self.residual else { return Ok(()) };
        let matched: Vec<_> = pairs.iter().filter(|pair| pair.1.is_some()).copied().collect();
        if matched.is_empty() {
            return Ok(());
        }
        let columns = self.columns(&matched)?;
        let passes = residual.passes_whole(&columns, matched.len(), now_ms)?;
        let judged = pairs.iter_mut().filter(|pair| pair.1.is_some());
        for (pair, _) in judged.zip(passes.values()).filter(|(_, passes)| !passes) {
            pair.1 = None;
        }
        Ok(())
    }

    fn columns(&self, pairs: &[(&Waiting, Partner)]) -> Result<Vec<ArrayRef>, OperatorError> {
        let mut columns = self.codecs[0].decode(pairs.iter().map(|pair| &*pair.0.bytes))?;
        let mut gather = Gather::with_capacity(pairs.len());
        // Many rows meet the same version: it is decoded once.
        let mut gathered = HashMap::new();
        for (_, partner) in pairs {
            match partner {
                None => gather.null(),
                Some(version) => match gathered.get(version) {
                    Some(&number) => gather.again(number),
                    None => {
                        let (slot, place) = *version;
                        let bytes = &self.keys[slot as usize].history.get(place).bytes;
                        gathered.insert(*version, gather.held(bytes));
                    }
                },
            }
        }
        columns.extend(gather.columns(&self.codecs[1], &self.schemas[1], None)?);
        Ok(columns)
    }

    /// Forgets versions that can no longer be looked up.
    fn trim(&mut self, watermark: Watermark) {
        if watermark == Watermark::MIN {
            return;
        }
        let mut slots = BTreeSet::new();
        while let Some(&(time, slot)) = self.deadlines.first()
            && time <= watermark.0
        {
            self.deadlines.pop_first();
            slots.insert(slot);
        }
        for slot in slots {
            let key = &mut self.keys[slot as usize];
            if !key.is_live {
                continue;
            }
            let group = self.index.group(slot);
            key.history.trim(watermark.0, |old| {
                self.row_bytes -= old.bytes.len();
                self.versions -= 1;
                self.numbers[1].removed(group, old.sequence);
            });
            self.forget_if_empty(slot);
        }
    }

    fn forget_if_empty(&mut self, slot: u32) {
        let key = &mut self.keys[slot as usize];
        if key.is_live && key.waiting == 0 && key.history.is_empty() {
            key.is_live = false;
            self.index.remove(slot);
            self.journal.keys.remove(slot);
        }
    }
}

fn require_time(schema: &SchemaRef, column: usize) -> Result<(), OperatorError> {
    match schema.field(column).data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => Ok(()),
        other => Err(OperatorError::Data(format!(
            "a temporal join goes by a TIMESTAMP(3), but {} is {other}",
            schema.field(column).name()
        ))),
    }
}

/// Which rows say something: all but deletions that an insertion of their key follows.
fn keep_last_word(batch: &Batch, slots: &[u32]) -> Vec<bool> {
    let Some(weights) = batch.weights() else {
        return slots.iter().map(|&slot| slot != NO_SLOT).collect();
    };
    let mut last_insertions: HashMap<u32, usize> = HashMap::new();
    for (row, &slot) in slots.iter().enumerate().filter(|&(row, _)| weights[row] > 0) {
        last_insertions.insert(slot, row);
    }
    let is_replaced =
        |row: usize, slot: &u32| last_insertions.get(slot).is_some_and(|&last| last > row);
    let counts = |(row, slot): (usize, &u32)| match weights[row] {
        _ if *slot == NO_SLOT => false,
        weight if weight < 0 => !is_replaced(row, slot),
        weight => weight > 0,
    };
    slots.iter().enumerate().map(counts).collect()
}

impl Operator for TemporalJoin {
    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        for (port, mut batches) in inputs.into_iter().enumerate() {
            batches.retain(|batch| !batch.is_empty());
            match port {
                _ if batches.is_empty() => {}
                0 => self.add_left(&batches)?,
                _ => self.add_right(&batches)?,
            }
        }
        self.release(context.watermark_after, context.now_ms, output)?;
        self.trim(context.watermark_after);
        Ok(())
    }

    fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        self.take_snapshot(scope)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        self.restore_snapshot(snapshot)
    }

    fn state_bytes(&self) -> usize {
        self.index.bytes()
            + self.keys.len() * size_of::<Key>()
            + self.waiting.len() * size_of::<(Place, Waiting)>()
            + self.versions * size_of::<Version>()
            + self.deadlines.len() * size_of::<(i64, u32)>()
            + self.row_bytes
    }
}
