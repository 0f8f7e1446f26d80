//! Windows that follow from time, or that rows carry with them: one [`Groups`] for each pane.
//!
//! A window that spans several panes is put together when it fires. Its first pane serves as the
//! place for that wherever no later window needs the pane as it was: always for cumulating
//! windows, which then keep one pane however often they fire, and for the last window over it.

use super::{Results, WindowAggregateSpec, late};
use crate::batch::Batch;
use crate::groups::values::{self, Lead, ValueTables};
use crate::groups::{GroupLayout, Groups, Read, batch};
use crate::operator::{EpochContext, OperatorError, Output};
use crate::snapshot::{self, CHUNK_ROWS, Snapshot, SnapshotScope, SnapshotTable, key_group_field};
use crate::time::Watermark;
use crate::window::{Slices, WindowKind, Zone, times, zone};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a pane stands: its end, then its start. In this order panes fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct PaneKey {
    end: i64,
    start: i64,
}

/// How rows find their panes, and panes their windows.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Slices { slices: Slices, time: usize },
    Attached { start: usize, end: usize },
}

impl Cut {
    /// The end of the earliest window over a pane that `watermark` has not closed.
    fn next_end(self, pane: PaneKey, watermark: Watermark) -> Option<i64> {
        match self {
            Cut::Slices { slices, .. } => slices.next_end(pane.start, watermark),
            Cut::Attached { .. } => (!watermark.closes(pane.end)).then_some(pane.end),
        }
    }

    /// Whether `watermark` has closed a window over a pane.
    fn misses(self, pane: PaneKey, watermark: Watermark) -> bool {
        match self {
            Cut::Slices { slices, .. } => slices.misses(pane.start, watermark),
            Cut::Attached { .. } => watermark.closes(pane.end),
        }
    }

    /// Whether the window that ends at `end` is the last one over a pane.
    fn is_last(self, pane: PaneKey, end: i64) -> bool {
        match self {
            Cut::Slices { slices, .. } => slices.last_end(pane.start) <= end,
            Cut::Attached { .. } => true,
        }
    }
}

/// Rows of a batch that fall into one pane, in order.
enum Part {
    All,
    Some(Vec<u32>),
}

impl Part {
    fn read(&self, all: &Read) -> Result<Read, OperatorError> {
        match self {
            Part::All => Ok(all.clone()),
            Part::Some(rows) => match (rows.first(), rows.last()) {
                (Some(&first), Some(&last)) if (last - first) as usize + 1 == rows.len() => {
                    Ok(all.slice(first as usize, rows.len()))
                }
                _ => all.take(rows),
            },
        }
    }

    fn rows(self, all: usize) -> Vec<u32> {
        match self {
            Part::All => (0..all as u32).collect(),
            Part::Some(rows) => rows,
        }
    }
}

pub(super) struct Panes {
    cut: Cut,
    zone: Zone,
    layout: GroupLayout,
    panes: BTreeMap<PaneKey, Groups>,
    /// What has fired, on the wall clock.
    fired: Watermark,
    /// How many tables of [values] the groups of a pane have.
    value_tables: usize,
    /// Entries that the last snapshot has and that are gone.
    removed: Vec<RecordBatch>,
}

impl Panes {
    pub(super) fn new(
        spec: &WindowAggregateSpec,
        layout: GroupLayout,
    ) -> Result<Self, OperatorError> {
        let cut = match (&spec.window, Slices::of(&spec.window)?) {
            (_, Some(slices)) => Cut::Slices { slices, time: spec.time },
            (&WindowKind::Attached { start, end }, None) => Cut::Attached { start, end },
            (window, None) => {
                return Err(OperatorError::Data(format!("windows {window:?} have no panes")));
            }
        };
        Ok(Panes {
            cut,
            zone: spec.zone,
            value_tables: Groups::new(&layout)?.value_tables(),
            layout,
            panes: BTreeMap::new(),
            fired: Watermark::MIN,
            removed: Vec::new(),
        })
    }

    pub(super) fn apply(
        &mut self,
        batches: Vec<Batch>,
        context: &EpochContext,
        results: &mut Results,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let before = zone::local_watermark(context.watermark_before, self.zone);
        self.fired = self.fired.max(before);
        let mut ordinal = 0;
        for batch in &batches {
            let read = self.layout.read(batch, &mut ordinal)?;
            let mut late_rows = Vec::new();
            for (pane, part) in self.parts(batch)? {
                if self.cut.next_end(pane, before).is_some() {
                    self.pane(pane)?.update(&part.read(&read)?, context.epoch)?;
                }
                if self.cut.misses(pane, before) {
                    late_rows.extend(part.rows(batch.len()));
                }
            }
            late_rows.sort_unstable();
            late(batch, late_rows, context.watermark_before, output)?;
        }
        self.fire(zone::local_watermark(context.watermark_after, self.zone), results)
    }

    fn pane(&mut self, key: PaneKey) -> Result<&mut Groups, OperatorError> {
        use std::collections::btree_map::Entry;
        Ok(match self.panes.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Groups::new(&self.layout)?),
        })
    }

    /// The panes of a batch's rows, each with its rows.
    fn parts(&self, batch: &Batch) -> Result<Vec<(PaneKey, Part)>, OperatorError> {
        match self.cut {
            Cut::Slices { slices, time } => {
                let times = zone::to_local(&times(batch.columns(), time)?, self.zone);
                let key = |time: i64| {
                    let start = slices.pane(time);
                    PaneKey { end: start.saturating_add(slices.pane_ms), start }
                };
                let (least, greatest) = range(&times);
                if key(least) == key(greatest) {
                    return Ok(vec![(key(least), Part::All)]);
                }
                let mut current = key(times[0]);
                Ok(parts(times.iter().map(|&time| {
                    if time < current.start || time >= current.end {
                        current = key(time);
                    }
                    current
                })))
            }
            Cut::Attached { start, end } => {
                let starts = times(batch.columns(), start)?;
                let ends = times(batch.columns(), end)?;
                let keys = starts.iter().zip(ends.iter());
                let (first, is_one) = {
                    let first = (starts[0], ends[0]);
                    let is_first = |(&start, &end): (&i64, &i64)| (start, end) == first;
                    (first, keys.clone().all(is_first))
                };
                if is_one {
                    return Ok(vec![(PaneKey { start: first.0, end: first.1 }, Part::All)]);
                }
                Ok(parts(keys.map(|(&start, &end)| PaneKey { end, start })))
            }
        }
    }

    /// Fires every window that `watermark` closes and drops the panes that no window needs.
    fn fire(&mut self, watermark: Watermark, results: &mut Results) -> Result<(), OperatorError> {
        while let Some(&first) = self.panes.keys().next() {
            match self.cut.next_end(first, self.fired) {
                None => self.drop_pane(first)?,
                Some(end) if watermark.closes(end) => {
                    match self.cut {
                        Cut::Slices { slices, .. } => self.fire_window(slices, end, results)?,
                        Cut::Attached { .. } => self.fire_attached(end, results)?,
                    }
                    self.fired = self.fired.max(Watermark(end.saturating_sub(1)));
                }
                Some(_) => break,
            }
        }
        self.fired = self.fired.max(watermark);
        Ok(())
    }

    fn fire_attached(&mut self, end: i64, results: &mut Results) -> Result<(), OperatorError> {
        let same_end = PaneKey { end, start: i64::MIN }..=PaneKey { end, start: i64::MAX };
        for (key, groups) in self.panes.range(same_end) {
            show(groups, key.start, end, self.zone, results)?;
        }
        Ok(())
    }

    fn fire_window(
        &mut self,
        slices: Slices,
        end: i64,
        results: &mut Results,
    ) -> Result<(), OperatorError> {
        let start = slices.start(end);
        let within = PaneKey { end: start.saturating_add(1), start: i64::MIN }..=PaneKey {
            end,
            start: i64::MAX,
        };
        let keys: Vec<PaneKey> = self.panes.range(within).map(|(key, _)| *key).collect();
        let Some((&first, rest)) = keys.split_first() else { return Ok(()) };
        if rest.is_empty() {
            return show(&self.panes[&first], start, end, self.zone, results);
        }
        if slices.grows() || self.cut.is_last(first, end) {
            let mut whole = self.panes.remove(&first).expect("just found");
            for key in rest {
                whole.absorb(&self.panes[key])?;
                if slices.grows() {
                    self.drop_pane(*key)?;
                }
            }
            show(&whole, start, end, self.zone, results)?;
            self.panes.insert(first, whole);
        } else {
            let mut whole = Groups::new(&self.layout)?;
            for key in &keys {
                whole.absorb(&self.panes[key])?;
            }
            show(&whole, start, end, self.zone, results)?;
        }
        Ok(())
    }

    fn drop_pane(&mut self, key: PaneKey) -> Result<(), OperatorError> {
        let Some(groups) = self.panes.remove(&key) else { return Ok(()) };
        let schema = Arc::new(Schema::new(lead_fields(&self.layout)));
        for gone in groups.saved(groups.keys().groups()).chunks(CHUNK_ROWS) {
            let columns = lead(key, &groups, gone)?;
            self.removed.push(batch(&schema, columns, gone.len())?);
        }
        Ok(())
    }

    pub(super) fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        let removed = std::mem::take(&mut self.removed);
        let deletes = if scope == SnapshotScope::Changed { removed } else { Vec::new() };
        let (mut upserts, mut values) = (Vec::new(), ValueTables::default());
        let fields = lead_fields(&self.layout);
        for (key, groups) in &mut self.panes {
            let columns = |groups: &Groups, of: &[u32]| lead(*key, groups, of);
            values.add(groups, &Lead { fields: &fields, columns: &columns }, scope)?;
            let changed = groups.take_changed(scope);
            if changed.is_empty() {
                continue;
            }
            let schema = upsert_schema(groups, &self.layout);
            for changed in changed.chunks(CHUNK_ROWS) {
                let mut columns = places(*key, groups, changed);
                columns.extend(groups.entries(changed)?);
                upserts.push(batch(&schema, columns, changed.len())?);
            }
        }
        let key_width = LEAD + self.layout.keys.len();
        let mut tables = snapshot::tables("panes", key_width, &deletes, &upserts)?;
        tables.extend(values.finish(self.value_tables, &deletes, key_width, scope)?);
        Ok(Snapshot { tables })
    }

    pub(super) fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        let (of_values, of_panes): (Vec<_>, Vec<_>) =
            snapshot.tables.iter().partition(|table| values::number_of(table).is_some());
        of_panes.into_iter().try_for_each(|table| self.restore_panes(table))?;
        of_values.into_iter().try_for_each(|table| self.restore_values(table))
    }

    fn restore_panes(&mut self, table: &SnapshotTable) -> Result<(), OperatorError> {
        for (pane, rows) in parts_of(&table.deletes)? {
            self.pane(pane)?.forget(&rows.columns()[LEAD..], rows.num_rows())?;
            if self.panes[&pane].keys().is_empty() {
                self.panes.remove(&pane);
            }
        }
        for (pane, rows) in parts_of(&table.upserts)? {
            let layout = self.layout.clone();
            self.pane(pane)?.load(&layout, &rows.columns()[LEAD..], rows.num_rows())?;
        }
        Ok(())
    }

    fn restore_values(&mut self, table: &SnapshotTable) -> Result<(), OperatorError> {
        let Some(number) = values::number_of(table) else { return Ok(()) };
        for (pane, rows) in parts_of(&table.deletes)? {
            // A pane that is gone has taken its values along.
            let Some(groups) = self.panes.get_mut(&pane) else { continue };
            groups.forget_values(number, &rows.columns()[LEAD..], rows.num_rows())?;
        }
        for (pane, rows) in parts_of(&table.upserts)? {
            self.pane(pane)?.load_values(number, &rows.columns()[LEAD..], rows.num_rows())?;
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        self.panes.values().map(Groups::bytes).sum()
    }
}

/// Shows all occupied groups of a window.
fn show(
    groups: &Groups,
    start: i64,
    end: i64,
    zone: Zone,
    results: &mut Results,
) -> Result<(), OperatorError> {
    let shown = groups.accumulators().occupied(groups.keys().groups());
    for shown in shown.chunks(CHUNK_ROWS) {
        let (starts, ends) = (vec![start; shown.len()], vec![end; shown.len()]);
        results.add(groups.results(shown)?, starts, ends, zone)?;
    }
    Ok(())
}

/// The least and the greatest of some values.
fn range(values: &[i64]) -> (i64, i64) {
    let all = values.iter();
    all.fold((i64::MAX, i64::MIN), |(least, greatest), &v| (least.min(v), greatest.max(v)))
}

/// Sorts rows by their panes. Neighbours are mostly of one pane.
fn parts(keys: impl Iterator<Item = PaneKey>) -> Vec<(PaneKey, Part)> {
    let mut parts: Vec<(PaneKey, Vec<u32>)> = Vec::new();
    let mut index: HashMap<PaneKey, usize> = HashMap::new();
    let mut current = usize::MAX;
    for (row, key) in keys.enumerate() {
        if parts.get(current).is_none_or(|(of, _)| *of != key) {
            current = *index.entry(key).or_insert_with(|| {
                parts.push((key, Vec::new()));
                parts.len() - 1
            });
        }
        parts[current].1.push(row as u32);
    }
    parts.into_iter().map(|(key, rows)| (key, Part::Some(rows))).collect()
}

/// Rows of a snapshot's table by the pane that they are of.
fn parts_of(table: &Option<RecordBatch>) -> Result<Vec<(PaneKey, RecordBatch)>, OperatorError> {
    let Some(table) = table else { return Ok(Vec::new()) };
    let starts = table.column(1).as_primitive::<Int64Type>().values();
    let ends = table.column(2).as_primitive::<Int64Type>().values();
    let keys = starts.iter().zip(ends).map(|(&start, &end)| PaneKey { end, start });
    let part = |(key, part): (PaneKey, Part)| {
        let rows = UInt32Array::from(part.rows(table.num_rows()));
        Ok((key, take_record_batch(table, &rows)?))
    };
    parts(keys).into_iter().map(part).collect()
}

/// The columns of a snapshot's key.
fn lead(key: PaneKey, groups: &Groups, of: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
    let mut columns = places(key, groups, of);
    columns.extend(groups.keys().keys(of)?);
    Ok(columns)
}

/// The leading columns of a snapshot: key group, start and end of the pane.
fn places(key: PaneKey, groups: &Groups, of: &[u32]) -> Vec<ArrayRef> {
    let repeat = |value: i64| -> ArrayRef {
        Arc::new(Int64Array::new(ScalarBuffer::from(vec![value; of.len()]), None))
    };
    vec![Arc::new(groups.keys().key_groups(of)), repeat(key.start), repeat(key.end)]
}

/// How many columns [`places`] gives; the keys stand behind them.
const LEAD: usize = 3;

fn place_fields() -> Vec<Field> {
    vec![
        key_group_field(),
        Field::new("pane_start", DataType::Int64, false),
        Field::new("pane_end", DataType::Int64, false),
    ]
}

fn upsert_schema(groups: &Groups, layout: &GroupLayout) -> SchemaRef {
    let mut fields = place_fields();
    fields.extend(groups.entry_fields(layout));
    Arc::new(Schema::new(fields))
}

/// The fields of a snapshot's key.
fn lead_fields(layout: &GroupLayout) -> Vec<Field> {
    let mut fields = place_fields();
    fields.extend(layout.saved_key_fields());
    fields
}
