//! What groups hold by value, as entries of a snapshot: the different values of a `COUNT(DISTINCT x)`,
//! what a `COLLECT` has collected, the candidates of a `MIN` whose rows may go.
//!
//! ```text
//!   table    key                              value
//!   groups   key group, [pane,] group's key   rows, sums …
//!   values_0 …                        , a     how often each aggregate of a family counts a
//! ```
//!
//! Each aggregate of the kind has a table of its own, whose key begins with the key of the groups'
//! table. So a checkpoint writes the values that changed, however many their group holds, and a
//! group that goes takes its values along by one deletion.
//!
//! The invariant: an entry of a value is there only while there is one of its group.

use super::{Groups, batch, foreign};
use crate::aggregate::{ByValue, Entries, Values};
use crate::operator::OperatorError;
use crate::snapshot::{self, SnapshotScope, SnapshotTable};
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;

/// What the names of the tables begin with; a number follows.
const NAME: &str = "values_";

/// Which table of values this is, if it is one.
pub(crate) fn number_of(table: &SnapshotTable) -> Option<usize> {
    table.name.strip_prefix(NAME)?.parse().ok()
}

/// Gives the columns of the keys of some groups.
pub(crate) type KeyColumns<'a> =
    dyn Fn(&Groups, &[u32]) -> Result<Vec<ArrayRef>, OperatorError> + 'a;

/// How an operator writes its groups' keys: all columns of the key in its table of groups.
pub(crate) struct Lead<'a> {
    pub(crate) fields: &'a [Field],
    pub(crate) columns: &'a KeyColumns<'a>,
}

/// The tables of values of an operator in the making, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct ValueTables(Vec<ValueTable>);

#[derive(Debug, Default)]
struct ValueTable {
    deletes: Vec<RecordBatch>,
    upserts: Vec<RecordBatch>,
}

impl ValueTables {
    /// Adds what changed in some groups.
    pub(crate) fn add(
        &mut self,
        groups: &mut Groups,
        lead: &Lead<'_>,
        scope: SnapshotScope,
    ) -> Result<(), OperatorError> {
        self.add_removed(groups, lead)?;
        for number in 0..groups.value_tables() {
            let schema = schema(groups.by_value(number)?, lead.fields, Extent::Entry);
            for Entries { of, counts } in groups.by_value_mut(number)?.take_changed(scope)? {
                let mut columns = (lead.columns)(groups, &of.groups)?;
                columns.push(of.values);
                columns.extend(counts);
                self.table(number).upserts.push(batch(&schema, columns, of.groups.len())?);
            }
        }
        Ok(())
    }

    /// Adds the deletions of values that are gone, which has to be done before their groups are
    /// forgotten.
    pub(crate) fn add_removed(
        &mut self,
        groups: &mut Groups,
        lead: &Lead<'_>,
    ) -> Result<(), OperatorError> {
        for number in 0..groups.value_tables() {
            let schema = schema(groups.by_value(number)?, lead.fields, Extent::Key);
            for Values { groups: of, values } in groups.by_value_mut(number)?.take_removed()? {
                let mut columns = (lead.columns)(groups, &of)?;
                columns.push(values);
                self.table(number).deletes.push(batch(&schema, columns, of.len())?);
            }
        }
        Ok(())
    }

    /// The tables, in a snapshot in which these groups are deleted.
    pub(crate) fn finish(
        mut self,
        tables: usize,
        removed: &[RecordBatch],
        lead_width: usize,
        scope: SnapshotScope,
    ) -> Result<Vec<SnapshotTable>, OperatorError> {
        let mut finished = Vec::new();
        for number in 0..tables {
            let ValueTable { mut deletes, upserts } = std::mem::take(self.table(number));
            deletes.extend_from_slice(removed);
            if scope == SnapshotScope::Full {
                deletes.clear();
            }
            let name = format!("{NAME}{number}");
            finished.extend(snapshot::tables(&name, lead_width + 1, &deletes, &upserts)?);
        }
        Ok(finished)
    }

    fn table(&mut self, number: usize) -> &mut ValueTable {
        if self.0.len() <= number {
            self.0.resize_with(number + 1, ValueTable::default);
        }
        &mut self.0[number]
    }
}

/// How much of an entry is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Key,
    Entry,
}

fn schema(of: &dyn ByValue, lead: &[Field], extent: Extent) -> Arc<Schema> {
    let mut fields = lead.to_vec();
    fields.push(Field::new("value", of.value_type().clone(), true));
    if extent == Extent::Entry {
        let count = |i: usize| Field::new(format!("count_{i}"), DataType::Int64, false);
        fields.extend((0..of.width()).map(count));
    }
    Arc::new(Schema::new(fields))
}

impl Groups {
    /// How many aggregates hold values that are entries of their own.
    pub(crate) fn value_tables(&self) -> usize {
        self.accumulators.members.iter().filter(|member| member.is_by_value()).count()
    }

    fn by_value(&self, number: usize) -> Result<&dyn ByValue, OperatorError> {
        let members = self.accumulators.members.iter();
        members.filter_map(|member| member.aggregate().by_value()).nth(number).ok_or_else(foreign)
    }

    fn by_value_mut(&mut self, number: usize) -> Result<&mut dyn ByValue, OperatorError> {
        let members = self.accumulators.members.iter_mut();
        let mut by_value = members.filter_map(|member| member.aggregate_mut().by_value_mut());
        by_value.nth(number).ok_or_else(foreign)
    }

    /// Forgets values, of groups with these keys, that a table's deletions name behind the keys. If
    /// they name only keys, their groups are gone already, with all values.
    pub(crate) fn forget_values(
        &mut self,
        number: usize,
        columns: &[ArrayRef],
        rows: usize,
    ) -> Result<(), OperatorError> {
        let (groups, mut rest) = self.known(columns, rows)?;
        let Some(values) = rest.pop() else { return Ok(()) };
        self.by_value_mut(number)?.forget(&Values { groups, values })
    }

    /// Takes over values as a table's entries have them.
    pub(crate) fn load_values(
        &mut self,
        number: usize,
        columns: &[ArrayRef],
        rows: usize,
    ) -> Result<(), OperatorError> {
        let (groups, rest) = self.known(columns, rows)?;
        if groups.len() < rows {
            return Err(OperatorError::Data(
                "a snapshot has values of groups that it hasn't".into(),
            ));
        }
        let mut rest = rest.into_iter();
        let values = rest.next().ok_or_else(foreign)?;
        let entries = Entries { of: Values { groups, values }, counts: rest.collect() };
        let by_value = self.by_value_mut(number)?;
        if entries.counts.len() != by_value.width() {
            return Err(foreign());
        }
        by_value.load(&entries)
    }

    /// The groups of those rows whose groups are known, and their columns behind the keys.
    fn known(
        &self,
        columns: &[ArrayRef],
        rows: usize,
    ) -> Result<(Vec<u32>, Vec<ArrayRef>), OperatorError> {
        let (keys, rest) = super::split(columns, self.key_columns)?;
        let found = self.keys.find(None, keys, rows)?;
        let is_known = found.iter().enumerate().filter(|(_, group)| group.is_some());
        let places = UInt32Array::from_iter_values(is_known.map(|(row, _)| row as u32));
        let groups: Vec<u32> = found.into_iter().flatten().collect();
        if groups.len() == rows {
            return Ok((groups, rest.to_vec()));
        }
        let rest = rest.iter().map(|column| take(column, &places, None));
        Ok((groups, rest.collect::<Result<_, _>>()?))
    }
}
