//! The equi-join of two changing inputs.
//!
//! ```text
//! left  (1, a) (2, b)          right  (1, x)             ON left.0 = right.0
//! inner output                        +(1, a, 1, x)
//! left outer                          +(1, a, 1, x) +(2, b, NULL, NULL)
//! next epoch, right +(2, y)           -(2, b, NULL, NULL) +(2, b, 2, y)
//! ```
//!
//! Both inputs are held as bags of rows under their keys. An epoch is added to both bags first,
//! with the counts from before still readable; then a pair's change is
//!
//! ```text
//! left after x right after  -  left before x right before
//! ```
//!
//! for each pair of which a row changed, and each pair is looked at once. So one epoch never says
//! a row and takes it back, and **the sum of all output is the join of the sums of all input**.
//!
//! What shows a row that has no partner (outer joins, anti joins), or one that has (semi joins),
//! is decided by comparing the number of partners before and after.

mod keys;
mod side;
mod snapshot;
#[cfg(test)]
mod tests;

use crate::batch::Batch;
use crate::expression::Expression;
use crate::key::all_valid;
use crate::key_index::{KeyIndex, NO_SLOT};
use crate::operator::{EpochContext, Operator, OperatorError, Output};
use crate::snapshot::{Snapshot, SnapshotScope};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use keys::Keys;
use side::{NONE, Side};
use std::sync::Arc;

/// Which rows without a partner are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinKind {
    /// Only pairs.
    Inner,
    /// Every left row, padded with NULLs.
    Left,
    /// Every right row, padded with NULLs.
    Right,
    /// Both.
    Full,
    /// Left rows that have a partner, once each.
    LeftSemi,
    /// Left rows that have none.
    LeftAnti,
}

/// What to join. Output columns: the left input's, then the right's (semi and anti: the left's).
#[derive(Clone, Debug)]
pub struct JoinSpec {
    /// Which rows without a partner are kept.
    pub kind: JoinKind,
    /// Key columns of the left input. NULL never equals NULL.
    pub left_keys: Vec<usize>,
    /// Key columns of the right input, of the same types.
    pub right_keys: Vec<usize>,
    /// What else a pair must fulfil, over the left input's columns, then the right's. It takes
    /// part in matching: a left row whose partners all fail it has none.
    pub residual: Option<Arc<dyn Expression>>,
}

/// Rows in one output batch, at most.
const OUTPUT_ROWS_MAX: usize = 16_384;

/// The operator: port 0 is the left input, port 1 the right. See the [module](self).
#[derive(Debug)]
pub struct Join {
    spec: JoinSpec,
    output: SchemaRef,
    /// Left and right columns, as the residual sees them.
    pair: SchemaRef,
    index: KeyIndex,
    keys: Keys,
    sides: [Side; 2],
}

/// A row of the output or a candidate for it: rows of both sides, or [`NONE`].
#[derive(Clone, Copy, Debug)]
struct Pair {
    left: u32,
    right: u32,
    weight: i64,
}

/// Which rows of one side are shown by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alone {
    /// None.
    Never,
    /// Those that have no partner.
    Unmatched,
    /// Those that have one.
    Matched,
}

impl Alone {
    fn of(kind: JoinKind, port: usize) -> Alone {
        match (kind, port) {
            (JoinKind::LeftSemi, 0) => Alone::Matched,
            (JoinKind::LeftAnti | JoinKind::Left | JoinKind::Full, 0) => Alone::Unmatched,
            (JoinKind::Right | JoinKind::Full, 1) => Alone::Unmatched,
            _ => Alone::Never,
        }
    }

    /// How often a row is shown.
    fn shown(self, count: i64, is_matched: bool) -> i64 {
        match self {
            Alone::Unmatched if !is_matched => count,
            Alone::Matched if is_matched => count,
            _ => 0,
        }
    }
}

impl JoinKind {
    /// Whether the output has pairs of rows.
    pub(crate) fn has_pairs(self) -> bool {
        !matches!(self, JoinKind::LeftSemi | JoinKind::LeftAnti)
    }
}

impl Join {
    /// An operator without state.
    ///
    /// # Errors
    /// If the keys' types differ or can't be compared.
    pub fn new(spec: JoinSpec, left: SchemaRef, right: SchemaRef) -> Result<Self, OperatorError> {
        let key_types = key_types(&left, &spec.left_keys, &right, &spec.right_keys)?;
        Ok(Join {
            output: output_schema(spec.kind, &left, &right),
            pair: output_schema(JoinKind::Inner, &left, &right),
            index: KeyIndex::new(&key_types)?,
            keys: Keys::default(),
            sides: [Side::new(left, 0)?, Side::new(right, 1)?],
            spec,
        })
    }

    /// The left columns, then the right ones, nullable where padded; for semi and anti joins the
    /// left ones.
    pub fn output_schema(&self) -> SchemaRef {
        self.output.clone()
    }

    /// Adds an epoch's rows of one side. Rows with a NULL in their key meet no row ever: they are
    /// not held, and shown at once if they are to be shown at all.
    fn add(
        &mut self,
        port: usize,
        batches: &[Batch],
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let rows = Batch::concat(&self.sides[port].schema, batches)?;
        let columns = self.key_columns(port, rows.columns());
        let valid = all_valid(&columns);
        let slots = self.assign(&columns, rows.len(), valid.as_ref())?;
        self.sides[port].add(rows.columns(), |row| rows.weight(row), &slots, &mut self.keys)?;
        if let Some(valid) = valid
            && Alone::of(self.spec.kind, port) == Alone::Unmatched
        {
            let without_key = BooleanArray::new(!valid.inner(), None);
            self.show_padded(port, &rows.filter(&without_key)?, output)?;
        }
        Ok(())
    }

    fn key_columns(&self, port: usize, rows: &RecordBatch) -> Vec<ArrayRef> {
        let keys = [&self.spec.left_keys, &self.spec.right_keys][port];
        keys.iter().map(|&key| rows.column(key).clone()).collect()
    }

    fn assign(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        valid: Option<&NullBuffer>,
    ) -> Result<Vec<u32>, OperatorError> {
        let mut slots = Vec::new();
        let keys = &mut self.keys;
        self.index.assign(columns, rows, valid, &mut slots, |slot, _| keys.insert(slot))?;
        debug_assert!(valid.is_some() || !slots.contains(&NO_SLOT), "only NULL has no key");
        Ok(slots)
    }

    /// Shows rows of one side as they are, beside NULLs.
    fn show_padded(
        &self,
        port: usize,
        rows: &Batch,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let mut columns = rows.columns().columns().to_vec();
        if self.spec.kind.has_pairs() {
            let other = self.sides[1 - port].schema.fields();
            let nulls = other.iter().map(|f| new_null_array(f.data_type(), rows.len()));
            let at = if port == 0 { columns.len() } else { 0 };
            columns.splice(at..at, nulls);
        }
        output.rows.push(rows.with_columns(RecordBatch::try_new(self.output.clone(), columns)?));
        Ok(())
    }

    /// All pairs under equal keys whose weight the epoch changed. With `all`, also those whose
    /// weight is as it was but of which a row changed.
    fn pairs(&self, all: bool) -> Vec<Pair> {
        let [left_side, right_side] = &self.sides;
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        let mut push = |left: u32, right: u32, weight: i64| {
            if weight != 0 || all {
                // Retractions stand before insertions.
                let list = if weight < 0 { &mut gone } else { &mut come };
                list.push(Pair { left, right, weight });
            }
        };
        for &left in &left_side.touched {
            let l = &left_side.rows[left as usize];
            if l.delta == 0 {
                continue;
            }
            for &right in self.keys.rows(l.slot, 1) {
                let r = &right_side.rows[right as usize];
                push(left, right, l.count * r.count - l.count_before() * r.count_before());
            }
        }
        for &right in &right_side.touched {
            let r = &right_side.rows[right as usize];
            if r.delta == 0 {
                continue;
            }
            for &left in self.keys.rows(r.slot, 0) {
                let l = &left_side.rows[left as usize];
                // A left row that changed has met this one above.
                if l.delta == 0 {
                    push(left, right, l.count * r.delta);
                }
            }
        }
        gone.append(&mut come);
        gone
    }

    /// Changes of rows that are shown by themselves, where any row under the key is a partner.
    fn alone_by_key(&self, port: usize, pairs: &mut Vec<Pair>) {
        let alone = Alone::of(self.spec.kind, port);
        if alone == Alone::Never {
            return;
        }
        let side = &self.sides[port];
        let mut push = |id: u32, before: bool, after: bool| {
            let row = &side.rows[id as usize];
            let weight = alone.shown(row.count, after) - alone.shown(row.count_before(), before);
            pairs.extend(Pair::alone(port, id, weight));
        };
        for &slot in &self.keys.touched {
            let (before, after) = self.keys.presence(slot, 1 - port);
            if before != after {
                self.keys.rows(slot, port).iter().for_each(|&id| push(id, before, after));
            }
        }
        for &id in &side.touched {
            let (before, after) = self.keys.presence(side.rows[id as usize].slot, 1 - port);
            if before == after {
                push(id, before, after);
            }
        }
    }

    /// Changes of rows that are shown by themselves, where partners were counted one by one.
    fn alone_by_matches(&self, port: usize, pairs: &mut Vec<Pair>) {
        let alone = Alone::of(self.spec.kind, port);
        if alone == Alone::Never {
            return;
        }
        for &id in &self.sides[port].touched {
            let row = &self.sides[port].rows[id as usize];
            let matches_before = row.matches - row.matches_delta;
            let weight = alone.shown(row.count, row.matches > 0)
                - alone.shown(row.count_before(), matches_before > 0);
            pairs.extend(Pair::alone(port, id, weight));
        }
    }

    /// Counts the partners that a pair gives to its rows, or takes from them.
    fn count_matches(&mut self, pair: Pair) {
        let [left_side, right_side] = &mut self.sides;
        let (l, r) = (&left_side.rows[pair.left as usize], &right_side.rows[pair.right as usize]);
        // A row that was there knows its partners from before; a new one meets all of them now.
        let for_left = if l.is_new() { r.count } else { r.delta };
        let for_right = if r.is_new() { l.count } else { l.delta };
        for (side, id, matches) in
            [(left_side, pair.left, for_left), (right_side, pair.right, for_right)]
        {
            if matches != 0 {
                let row = &mut side.rows[id as usize];
                row.matches += matches;
                row.matches_delta += matches;
                side.touch(id);
            }
        }
    }

    fn apply_residual(
        &mut self,
        residual: &dyn Expression,
        now_ms: i64,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        if self.spec.kind == JoinKind::Inner {
            let pairs = self.pairs(false);
            for chunk in pairs.chunks(OUTPUT_ROWS_MAX) {
                let (rows, passes) = self.test(chunk, residual, now_ms)?;
                let rows = filter_record_batch(&rows, &passes)?;
                let passing = chunk.iter().zip(passes.values()).filter(|(_, passes)| *passes);
                let passing: Vec<Pair> = passing.map(|(pair, _)| *pair).collect();
                if !passing.is_empty() {
                    output.rows.push(weighted(rows, &passing)?);
                }
            }
            return Ok(());
        }
        let mut passing = Vec::new();
        let pairs = self.pairs(true);
        for chunk in pairs.chunks(OUTPUT_ROWS_MAX) {
            let (_, passes) = self.test(chunk, residual, now_ms)?;
            passing.extend(chunk.iter().zip(passes.values()).filter(|(_, p)| *p).map(|(p, _)| *p));
        }
        for &pair in &passing {
            self.count_matches(pair);
        }
        passing.retain(|pair| pair.weight != 0 && self.spec.kind.has_pairs());
        self.alone_by_matches(0, &mut passing);
        self.alone_by_matches(1, &mut passing);
        self.emit(passing, output)
    }

    /// The pairs' columns, and which of them the residual lets pass.
    fn test(
        &mut self,
        pairs: &[Pair],
        residual: &dyn Expression,
        now_ms: i64,
    ) -> Result<(RecordBatch, BooleanArray), OperatorError> {
        let mut columns = self.sides[0].gather(pairs.iter().map(|p| p.left))?;
        columns.extend(self.sides[1].gather(pairs.iter().map(|p| p.right))?);
        let rows = RecordBatch::try_new(self.pair.clone(), columns)?;
        let passes = passes(residual, &rows, now_ms)?;
        Ok((rows, passes))
    }

    /// The output batches of `pairs`, retractions first.
    fn emit(&mut self, mut pairs: Vec<Pair>, output: &mut Output) -> Result<(), OperatorError> {
        pairs.sort_by_key(|pair| pair.weight >= 0);
        for chunk in pairs.chunks(OUTPUT_ROWS_MAX) {
            let mut columns = self.sides[0].gather(chunk.iter().map(|p| p.left))?;
            if self.spec.kind.has_pairs() {
                columns.extend(self.sides[1].gather(chunk.iter().map(|p| p.right))?);
            }
            let rows = RecordBatch::try_new(self.output.clone(), columns)?;
            output.rows.push(weighted(rows, chunk)?);
        }
        Ok(())
    }

    /// Ends the epoch.
    fn settle(&mut self) {
        for side in &mut self.sides {
            side.settle(&mut self.keys, &self.index);
        }
        let index = &mut self.index;
        self.keys.settle(|slot| index.remove(slot));
    }
}

impl Pair {
    /// A row of one side by itself; none if nothing changed of it.
    fn alone(port: usize, id: u32, weight: i64) -> Option<Pair> {
        let (left, right) = if port == 0 { (id, NONE) } else { (NONE, id) };
        (weight != 0).then_some(Pair { left, right, weight })
    }
}

impl Operator for Join {
    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        for (port, mut batches) in inputs.into_iter().enumerate() {
            batches.retain(|batch| !batch.is_empty());
            if !batches.is_empty() {
                self.add(port, &batches, output)?;
            }
        }
        match self.spec.residual.clone() {
            Some(residual) => self.apply_residual(&*residual, context.now_ms, output)?,
            None => {
                let has_pairs = self.spec.kind.has_pairs();
                let mut pairs = if has_pairs { self.pairs(false) } else { Vec::new() };
                self.alone_by_key(0, &mut pairs);
                self.alone_by_key(1, &mut pairs);
                self.emit(pairs, output)?;
            }
        }
        self.settle();
        Ok(())
    }

    fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        self.take_snapshot(scope)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        self.restore_snapshot(snapshot)
    }

    fn state_bytes(&self) -> usize {
        let sides: usize = self.sides.iter().map(Side::state_bytes).sum();
        self.index.bytes() + self.keys.state_bytes() + sides
    }
}

/// Rows with the pairs' weights.
fn weighted(rows: RecordBatch, pairs: &[Pair]) -> Result<Batch, OperatorError> {
    Ok(Batch::of_changes(rows, pairs.iter().map(|pair| pair.weight).collect())?)
}

/// The types of a join's keys.
pub(crate) fn key_types(
    left: &SchemaRef,
    left_keys: &[usize],
    right: &SchemaRef,
    right_keys: &[usize],
) -> Result<Vec<DataType>, OperatorError> {
    let types = |schema: &SchemaRef, keys: &[usize]| -> Vec<_> {
        keys.iter().map(|&key| schema.field(key).data_type().clone()).collect()
    };
    let (left, right) = (types(left, left_keys), types(right, right_keys));
    if left != right {
        return Err(OperatorError::Data(format!(
            "a join's keys must have the same types on both sides, not {left:?} and {right:?}"
        )));
    }
    Ok(left)
}

/// Which pairs a join condition lets pass; NULL is no match, as in SQL.
pub(crate) fn passes(
    residual: &dyn Expression,
    pairs: &RecordBatch,
    now_ms: i64,
) -> Result<BooleanArray, OperatorError> {
    let passes = residual.evaluate(pairs, now_ms)?;
    let Some(passes) = passes.as_boolean_opt() else {
        return Err(OperatorError::Data(format!(
            "the join condition {} is not a boolean",
            residual.describe()
        )));
    };
    Ok(match passes.nulls() {
        None => passes.clone(),
        Some(nulls) => BooleanArray::new(passes.values() & nulls.inner(), None),
    })
}

/// The columns of a join's output.
pub(crate) fn output_schema(kind: JoinKind, left: &SchemaRef, right: &SchemaRef) -> SchemaRef {
    let fields = |schema: &SchemaRef, is_padded: bool| -> Vec<FieldRef> {
        let nullable = |f: &FieldRef| Arc::new(Field::clone(f).with_nullable(true));
        let fields = schema.fields().iter();
        fields.map(|f| if is_padded { nullable(f) } else { f.clone() }).collect()
    };
    match kind {
        JoinKind::LeftSemi | JoinKind::LeftAnti => left.clone(),
        _ => {
            let mut all = fields(left, matches!(kind, JoinKind::Right | JoinKind::Full));
            all.extend(fields(right, matches!(kind, JoinKind::Left | JoinKind::Full)));
            Arc::new(Schema::new(all))
        }
    }
}
