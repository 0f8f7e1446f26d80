//! Windows that follow from time, or that rows carry with them: one [`Groups`] for each pane.
//!
//! A window that spans several panes is put together when it fires. Its first pane serves as the
//! place for that wherever no later window needs the pane as it was: always for cumulating
//! windows, which then keep one pane however often they fire, and for the last window over it.

use super::cut::{Cut, PaneKey, Part, parts_by_bounds};
use super::{Results, WindowAggregateSpec, late};
use crate::batch::Batch;
use crate::groups::values::{self, Lead, ValueTables};
use crate::groups::{GroupLayout, Groups, Intake, batch};
use crate::operator::{EpochContext, OperatorError, Output};
use crate::snapshot::{self, CHUNK_ROWS, Snapshot, SnapshotScope, SnapshotTable, key_group_field};
use crate::time::{Epoch, Watermark};
use crate::window::{Slices, Zone, zone};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use std::collections::BTreeMap;
use std::sync::Arc;

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
        Ok(Panes {
            cut: Cut::of(spec)?,
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
        (rows, partials): (Vec<Batch>, Vec<Batch>),
        context: &EpochContext,
        results: &mut Results,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let before = zone::local_watermark(context.watermark_before, self.zone);
        self.fired = self.fired.max(before);
        let mut ordinal = 0;
        for batch in &rows {
            let read = Intake::Rows(self.layout.read(batch, &mut ordinal)?);
            let mut late_rows = Vec::new();
            for (pane, part) in self.cut.parts(batch, self.zone)? {
                if self.cut.next_end(pane, before).is_some() {
                    self.pane(pane)?.update(&part.of(&read)?, context.epoch)?;
                }
                if self.cut.misses(pane, before) {
                    late_rows.extend(part.rows(batch.len()));
                }
            }
            late_rows.sort_unstable();
            late(batch, late_rows, context.watermark_before, output)?;
        }
        for batch in &partials {
            self.absorb(batch, before, context.epoch)?;
        }
        self.fire(zone::local_watermark(context.watermark_after, self.zone), results)
    }

    /// Takes in what was combined of rows none of which is late.
    fn absorb(
        &mut self,
        batch: &Batch,
        before: Watermark,
        epoch: Epoch,
    ) -> Result<(), OperatorError> {
        let mut partials = self.layout.partials(batch)?;
        let bounds: Vec<ArrayRef> = partials.state.drain(..BOUNDS).collect();
        let bound = |bound: usize| bounds[bound].as_primitive::<Int64Type>().values();
        let partials = Intake::Partials(partials);
        for (pane, part) in parts_by_bounds(bound(0), bound(1)) {
            if self.cut.misses(pane, before) {
                return Err(OperatorError::Data("rows of a closed window were combined".into()));
            }
            if self.cut.next_end(pane, before).is_some() {
                self.pane(pane)?.update(&part.of(&partials)?, epoch)?;
            }
        }
        Ok(())
    }

    fn pane(&mut self, key: PaneKey) -> Result<&mut Groups, OperatorError> {
        use std::collections::btree_map::Entry;
        Ok(match self.panes.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Groups::new(&self.layout)?),
        })
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

/// Rows of a snapshot's table by the pane that they are of.
fn parts_of(table: &Option<RecordBatch>) -> Result<Vec<(PaneKey, RecordBatch)>, OperatorError> {
    let Some(table) = table else { return Ok(Vec::new()) };
    let starts = table.column(1).as_primitive::<Int64Type>().values();
    let ends = table.column(2).as_primitive::<Int64Type>().values();
    if starts.is_empty() {
        return Ok(Vec::new());
    }
    let part = |(key, part): (PaneKey, Part)| match part {
        Part::All => Ok((key, table.clone())),
        Part::Some(rows) => Ok((key, take_record_batch(table, &UInt32Array::from(rows))?)),
    };
    parts_by_bounds(starts, ends).into_iter().map(part).collect()
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

/// How many columns behind the keys say the pane of what was combined.
const BOUNDS: usize = 2;

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
