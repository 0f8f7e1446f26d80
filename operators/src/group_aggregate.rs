//! `GROUP BY` without a window: one updating row for each key.
//!
//! ```text
//!   epoch 1   in: a 1, b 5, a 2        state: a 3, b 5     out: +(a, 3)  +(b, 5)
//!   epoch 2   in: a 4                  state: a 7, b 5     out: -(a, 3)  +(a, 7)
//!   epoch 3   in: -(b 5)               state: a 7          out: -(b, 5)
//! ```
//!
//! The invariant: what was emitted so far, added up, is the result of the query over the rows so
//! far. An epoch shows each key's change once, however many of its rows changed it: the old row
//! is read from the state before the epoch's rows are applied, the new one after, so neither is
//! kept.

use crate::aggregate::AggregateCall;
use crate::batch::Batch;
use crate::expiry::{self, Expiry};
use crate::groups::values::{self, Lead, ValueTables};
use crate::groups::{GroupLayout, Groups, Intake, batch};
use crate::operator::{EpochContext, Operator, OperatorError, Output};
use crate::snapshot::{self, CHUNK_ROWS, Snapshot, SnapshotScope, SnapshotTable, key_group_field};
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::interleave;
use arrow::compute::kernels::cmp::distinct;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use std::sync::Arc;

/// The port of rows; what was combined before the exchange comes in at the one behind it.
const ROWS: usize = 0;
/// The table of groups in a snapshot.
const GROUPS: &str = "groups";

/// What to group and to aggregate. Output columns: the keys, then the aggregates.
#[derive(Clone, Debug)]
pub struct GroupAggregateSpec {
    /// Key columns of the input; none for a global aggregate.
    pub keys: Vec<usize>,
    /// The aggregates; none for `SELECT DISTINCT`.
    pub aggregates: Vec<AggregateCall>,
    /// Whether rows may be retracted; an append-only input keeps less.
    pub updating: bool,
    /// Whether a reader needs the old rows back (`-old` beside `+new`); a blackhole or upsert
    /// sink right behind does not.
    pub emit_retractions: bool,
    /// Column of arrival order, if an aggregate needs one (`FIRST_VALUE`, `LISTAGG` …).
    pub arrival: Option<usize>,
    /// Keys idle for this long are forgotten; none keeps them for ever.
    pub ttl_ms: Option<i64>,
}

impl GroupAggregateSpec {
    pub(crate) fn layout(&self, input: &Schema) -> Result<GroupLayout, OperatorError> {
        let GroupAggregateSpec { keys, aggregates, updating, arrival, .. } = self;
        let layout = GroupLayout::new(keys, aggregates, *updating, *arrival, input)?;
        Ok(GroupLayout { counts_rows: true, ..layout })
    }
}

/// The operator of a [`GroupAggregateSpec`]. Rows come in at its first port; what a
/// [`Combiner`](crate::combine::Combiner) has made of other rows, at its second one. See the
/// [module](self).
pub struct GroupAggregate {
    spec: GroupAggregateSpec,
    layout: GroupLayout,
    schema: SchemaRef,
    /// The fields of a snapshot's key: the key group and the keys.
    lead: Vec<Field>,
    groups: Groups,
    expiry: Option<Expiry>,
    /// Keys that the last snapshot has and that are forgotten.
    removed: Vec<RecordBatch>,
    /// Values that it has and that are gone.
    values: ValueTables,
    is_touched: Vec<bool>,
}

impl GroupAggregate {
    /// An operator without state, for rows of `input`.
    ///
    /// # Errors
    /// If the specification asks for columns or functions that do not exist.
    pub fn new(spec: GroupAggregateSpec, input: SchemaRef) -> Result<Self, OperatorError> {
        let layout = spec.layout(&input)?;
        let lead = std::iter::once(key_group_field()).chain(layout.saved_key_fields());
        Ok(GroupAggregate {
            lead: lead.collect(),
            schema: Arc::new(Schema::new(layout.result_fields())),
            groups: Groups::new(&layout)?,
            expiry: spec.ttl_ms.map(Expiry::new),
            removed: Vec::new(),
            values: ValueTables::default(),
            is_touched: Vec::new(),
            layout,
            spec,
        })
    }

    /// Schema of the output: the keys, then the aggregates.
    pub fn output_schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// What comes in at each port.
    fn intakes(&self, inputs: Vec<Vec<Batch>>) -> Result<Vec<Intake>, OperatorError> {
        let (mut intakes, mut ordinal) = (Vec::new(), 0);
        for (port, batches) in inputs.into_iter().enumerate() {
            for batch in batches.iter().filter(|batch| !batch.is_empty()) {
                intakes.push(match port {
                    ROWS => Intake::Rows(self.layout.read(batch, &mut ordinal)?),
                    _ => Intake::Partials(self.layout.partials(batch)?),
                });
            }
        }
        Ok(intakes)
    }

    /// The groups of each batch's rows, and all of them, once each, in order of appearance.
    fn number(&mut self, intakes: &[Intake]) -> Result<(Vec<Vec<u32>>, Vec<u32>), OperatorError> {
        let (mut numbered, mut touched) = (Vec::with_capacity(intakes.len()), Vec::new());
        for intake in intakes {
            let mut groups = Vec::new();
            self.groups.number(intake.keys(), intake.rows(), &mut groups)?;
            self.is_touched.resize(self.groups.keys().slots(), false);
            for &group in &groups {
                if !std::mem::replace(&mut self.is_touched[group as usize], true) {
                    touched.push(group);
                }
            }
            numbered.push(groups);
        }
        touched.iter().for_each(|&group| self.is_touched[group as usize] = false);
        Ok((numbered, touched))
    }

    /// The result rows of those of `groups` that have any.
    fn shown(&self, groups: &[u32]) -> Result<Shown, OperatorError> {
        let groups = self.groups.accumulators().occupied(groups.to_vec());
        let columns = self.groups.results(&groups)?;
        Ok(Shown { groups, columns })
    }

    fn forget(&mut self, groups: &[u32]) -> Result<(), OperatorError> {
        if groups.is_empty() {
            return Ok(());
        }
        let lead = Lead { fields: &self.lead, columns: &lead };
        self.values.add_removed(&mut self.groups, &lead)?;
        for saved in self.groups.saved(groups.to_vec()).chunks(CHUNK_ROWS) {
            self.removed.push(self.deleted(saved)?);
        }
        self.groups.remove(groups);
        Ok(())
    }

    fn forget_idle(&mut self, now_ms: i64) -> Result<(), OperatorError> {
        let Some(expiry) = &mut self.expiry else { return Ok(()) };
        let idle = expiry.idle(now_ms, || self.groups.keys().groups());
        self.forget(&idle)
    }

    /// The keys of groups, as a snapshot deletes them.
    fn deleted(&self, groups: &[u32]) -> Result<RecordBatch, OperatorError> {
        let columns = lead(&self.groups, groups)?;
        batch(&Arc::new(Schema::new(self.lead.clone())), columns, groups.len())
    }

    fn restore_groups(&mut self, table: &SnapshotTable) -> Result<(), OperatorError> {
        if let Some(deletes) = &table.deletes {
            self.groups.forget(&deletes.columns()[1..], deletes.num_rows())?;
        }
        let Some(upserts) = &table.upserts else { return Ok(()) };
        let has_times = upserts.column_by_name(expiry::USED).is_some();
        let last = upserts.num_columns() - usize::from(has_times);
        let (rows, columns) = (upserts.num_rows(), &upserts.columns()[1..last]);
        let groups = self.groups.load(&self.layout, columns, rows)?;
        if let Some(expiry) = &mut self.expiry {
            expiry.restore(upserts, &groups);
        }
        Ok(())
    }

    fn restore_values(&mut self, table: &SnapshotTable) -> Result<(), OperatorError> {
        let Some(number) = values::number_of(table) else { return Ok(()) };
        if let Some(deletes) = &table.deletes {
            self.groups.forget_values(number, &deletes.columns()[1..], deletes.num_rows())?;
        }
        if let Some(upserts) = &table.upserts {
            self.groups.load_values(number, &upserts.columns()[1..], upserts.num_rows())?;
        }
        Ok(())
    }

    /// What groups hold, as a snapshot writes it, and then when each was last used.
    fn entries(&self, groups: &[u32]) -> Result<RecordBatch, OperatorError> {
        let mut fields = vec![key_group_field()];
        fields.extend(self.groups.entry_fields(&self.layout));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.groups.keys().key_groups(groups))];
        columns.extend(self.groups.entries(groups)?);
        if let Some(expiry) = &self.expiry {
            let (field, column) = expiry.column(groups);
            fields.push(field);
            columns.push(column);
        }
        batch(&Arc::new(Schema::new(fields)), columns, groups.len())
    }
}

/// The columns of a snapshot's key.
fn lead(groups: &Groups, of: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
    let mut columns: Vec<ArrayRef> = vec![Arc::new(groups.keys().key_groups(of))];
    columns.extend(groups.keys().keys(of)?);
    Ok(columns)
}

/// Result rows of groups, in the order of `groups`.
struct Shown {
    groups: Vec<u32>,
    columns: Vec<ArrayRef>,
}

impl Operator for GroupAggregate {
    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        self.forget_idle(context.now_ms)?;
        let intakes = self.intakes(inputs)?;
        if intakes.is_empty() {
            return Ok(());
        }
        let (numbered, touched) = self.number(&intakes)?;
        let old = self.shown(&touched)?;
        for (intake, groups) in intakes.iter().zip(&numbered) {
            self.groups.apply(groups, intake, context.epoch)?;
        }
        if let Some(expiry) = &mut self.expiry {
            touched.iter().for_each(|&group| expiry.used(context.now_ms, group));
        }
        let new = self.shown(&touched)?;
        let keys = self.layout.keys.len();
        let changes = changes(&touched, &old, &new, keys, self.spec.emit_retractions)?;
        output.rows.extend(emit(&self.schema, &old, &new, &changes)?);
        // Of what was forgotten for being idle more may be taken back than there is.
        let is_gone = |&g: &u32| self.groups.accumulators().rows(g) <= 0;
        let gone: Vec<u32> = touched.iter().copied().filter(is_gone).collect();
        self.forget(&gone)
    }

    fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        let removed = std::mem::take(&mut self.removed);
        let deletes = if scope == SnapshotScope::Changed { removed } else { Vec::new() };
        let changed = self.groups.take_changed(scope);
        let upserts = changed.chunks(CHUNK_ROWS).map(|groups| self.entries(groups));
        let upserts: Vec<RecordBatch> = upserts.collect::<Result<_, _>>()?;
        let mut tables = snapshot::tables(GROUPS, self.lead.len(), &deletes, &upserts)?;
        let mut values = std::mem::take(&mut self.values);
        let lead = Lead { fields: &self.lead, columns: &lead };
        values.add(&mut self.groups, &lead, scope)?;
        let number = self.groups.value_tables();
        tables.extend(values.finish(number, &deletes, self.lead.len(), scope)?);
        Ok(Snapshot { tables })
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        let (of_values, of_groups): (Vec<_>, Vec<_>) =
            snapshot.tables.iter().partition(|table| values::number_of(table).is_some());
        of_groups.into_iter().try_for_each(|table| self.restore_groups(table))?;
        of_values.into_iter().try_for_each(|table| self.restore_values(table))
    }

    fn state_bytes(&self) -> usize {
        self.groups.bytes()
            + self.is_touched.capacity()
            + self.expiry.as_ref().map_or(0, Expiry::bytes)
    }
}

/// One row of the output: which side it is of, and where it stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Gone(usize),
    Came(usize),
}

/// What to emit so that `old` becomes `new`, both in the order of `touched`.
fn changes(
    touched: &[u32],
    old: &Shown,
    new: &Shown,
    keys: usize,
    emit_retractions: bool,
) -> Result<Vec<Change>, OperatorError> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let (mut i, mut j) = (0, 0);
    let mut pairs = Vec::with_capacity(touched.len());
    for group in touched {
        let was = (old.groups.get(i) == Some(group)).then_some(i);
        let is = (new.groups.get(j) == Some(group)).then_some(j);
        if let (Some(was), Some(is)) = (was, is) {
            before.push((0, was));
            after.push((0, is));
        }
        i += usize::from(was.is_some());
        j += usize::from(is.is_some());
        pairs.push((was, is));
    }
    let differs = rows_differ(&old.columns[keys..], &before, &new.columns[keys..], &after)?;
    let mut differs = differs.into_iter();
    let mut changes = Vec::with_capacity(2 * touched.len());
    for pair in pairs {
        match pair {
            (Some(was), Some(is)) => {
                if differs.next().unwrap_or(false) {
                    changes.extend(emit_retractions.then_some(Change::Gone(was)));
                    changes.push(Change::Came(is));
                }
            }
            (was, is) => {
                changes.extend(was.map(Change::Gone));
                changes.extend(is.map(Change::Came));
            }
        }
    }
    Ok(changes)
}

/// Which of the rows at `before` and `after` differ in any column.
fn rows_differ(
    old: &[ArrayRef],
    before: &[(usize, usize)],
    new: &[ArrayRef],
    after: &[(usize, usize)],
) -> Result<Vec<bool>, OperatorError> {
    let mut differs = vec![false; before.len()];
    if before.is_empty() {
        return Ok(differs);
    }
    for (old, new) in old.iter().zip(new) {
        let (old, new) = (pick(old, before)?, pick(new, after)?);
        for (row, different) in columns_differ(&old, &new)?.iter().enumerate() {
            differs[row] |= different.unwrap_or(false);
        }
    }
    Ok(differs)
}

/// The rows at `places`; the column itself if that is all of it.
fn pick(column: &ArrayRef, places: &[(usize, usize)]) -> Result<ArrayRef, OperatorError> {
    if places.len() == column.len() {
        return Ok(column.clone()); // ascending places, so these are all rows in order
    }
    Ok(interleave(&[column.as_ref()], places)?)
}

fn columns_differ(old: &ArrayRef, new: &ArrayRef) -> Result<BooleanArray, OperatorError> {
    if !old.data_type().is_nested() {
        return Ok(distinct(old, new)?);
    }
    let converter = RowConverter::new(vec![SortField::new(old.data_type().clone())])?;
    let old = converter.convert_columns(std::slice::from_ref(old))?;
    let new = converter.convert_columns(std::slice::from_ref(new))?;
    Ok(old.iter().zip(new.iter()).map(|(old, new)| Some(old != new)).collect())
}

/// The changes as a batch, if there are any.
fn emit(
    schema: &SchemaRef,
    old: &Shown,
    new: &Shown,
    changes: &[Change],
) -> Result<Option<Batch>, OperatorError> {
    if changes.is_empty() {
        return Ok(None);
    }
    let is_growth = changes.iter().all(|c| matches!(c, Change::Came(_)));
    if is_growth && changes.len() == new.groups.len() {
        let columns = batch(schema, new.columns.clone(), changes.len())?;
        return Ok(Some(Batch::append_only(columns)));
    }
    let places: Vec<(usize, usize)> = changes
        .iter()
        .map(|change| match *change {
            Change::Gone(row) => (0, row),
            Change::Came(row) => (1, row),
        })
        .collect();
    let columns = old.columns.iter().zip(&new.columns);
    let columns = columns.map(|(old, new)| interleave(&[old.as_ref(), new.as_ref()], &places));
    let columns = batch(schema, columns.collect::<Result<_, _>>()?, changes.len())?;
    let weight = |change: &Change| if matches!(change, Change::Gone(_)) { -1 } else { 1 };
    let weights = (!is_growth).then(|| changes.iter().map(weight).collect());
    Ok(Some(Batch::new(columns, weights)))
}

#[cfg(test)]
mod tests;
