//! The equi-join of two changing inputs.
//!
//! ```text
//! left  (1, a) (2, b)          right  (1, x)             ON left.0 = right.0
//! inner output                        +(1, a, 1, x)
//! left outer                          +(1, a, 1, x) +(2, b, NULL, NULL)
//! next epoch, right +(2, y)           -(2, b, NULL, NULL) +(2, b, 2, y)
//! ```
//!
//! Both inputs are held under their keys: one that only grows as the columns it came in, any other
//! as a bag of rows. An epoch is added to both first, with the counts from before still readable;
//! then a pair's change is
//!
//! ```text
//! left after x right after  -  left before x right before
//! ```
//!
//! for each pair of which a row changed, and each pair is looked at once. So **the sum of all output
//! is the join of the sums of all input**, and one epoch does not say a row and take it back (but
//! where equal rows of an input that only grows meet what is taken back, for those are two pairs).
//!
//! What shows a row that has no partner (outer joins, anti joins), or one that has (semi joins),
//! is decided by comparing the number of partners before and after.
//!
//! Rows of an input with a lifetime are forgotten when they have not come, nor changed what is shown
//! of them, for so long: later rows of the other input don't meet them. What was shown stands, and a
//! partner that was forgotten still counts as one, for it was told of. So where rows are forgotten
//! each of them counts its partners, and the sum above is that of the rows that meet in time.

mod bag;
mod keys;
mod log;
mod matches;
mod pairs;
mod residual;
mod rows;
mod side;
mod snapshot;
#[cfg(test)]
mod tests;

use crate::batch::Batch;
use crate::expiry::Expiry;
use crate::key::all_valid;
use crate::key_index::{KeyIndex, NO_SLOT};
use crate::operator::{EpochContext, Operator, OperatorError, Output};
use crate::snapshot::{Snapshot, SnapshotScope};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use bag::{Bag, Forgetting};
use keys::Keys;
use log::Log;
use pairs::{Alone, Pair, alone_by_key};
use side::{Side, with_rows};
use std::sync::Arc;

pub use residual::Residual;
pub(crate) use residual::Test;

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
    /// What else a pair must fulfil. It takes part in matching: a left row whose partners all fail
    /// it has none.
    pub residual: Option<Residual>,
    /// Which inputs only grow: no row of theirs is ever taken back.
    pub only_grows: [bool; 2],
    /// Rows of each input that are idle for this long are forgotten; none keeps them for ever.
    pub ttl_ms: [Option<i64>; 2],
}

/// Rows in one output batch, at most.
const OUTPUT_ROWS_MAX: usize = 16_384;

/// The operator: port 0 is the left input, port 1 the right. See the [module](self).
#[derive(Debug)]
pub struct Join {
    spec: JoinSpec,
    output: SchemaRef,
    residual: Option<Test>,
    /// Whether each row counts its partners.
    counts_matches: bool,
    index: KeyIndex,
    keys: Keys,
    schemas: [SchemaRef; 2],
    sides: [Side; 2],
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
        let residual = Test::of(spec.residual.as_ref(), &left, &right)?;
        let forgets = spec.ttl_ms.iter().any(Option::is_some);
        // Only a bag counts the partners of a row one by one.
        let counts_matches = (residual.is_some() || forgets) && spec.kind != JoinKind::Inner;
        let counts_rows = spec.kind != JoinKind::Inner && !counts_matches;
        // Rows can be forgotten one by one only of a bag, too.
        let side = |port: usize, schema: &SchemaRef| {
            let expiry = spec.ttl_ms[port].map(Expiry::new);
            match spec.only_grows[port] && !counts_matches && expiry.is_none() {
                true => Ok(Side::Log(Log::new(schema.clone(), port))),
                false => {
                    let forgetting = forgetting(&spec, port, expiry);
                    Bag::new(schema.clone(), port, counts_matches, forgetting).map(Side::Bag)
                }
            }
        };
        let sides = [side(0, &left)?, side(1, &right)?];
        Ok(Join {
            output: output_schema(spec.kind, &left, &right),
            residual,
            index: KeyIndex::new(&key_types)?,
            keys: Keys::new(counts_rows),
            counts_matches,
            sides,
            schemas: [left, right],
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
        let rows = Batch::concat(&self.schemas[port], batches)?;
        let columns = self.key_columns(port, rows.columns());
        let valid = all_valid(&columns);
        let slots = self.assign(&columns, rows.len(), valid.as_ref())?;
        self.sides[port].add(&rows, &slots, &mut self.keys)?;
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
            let other = self.schemas[1 - port].fields();
            let nulls = other.iter().map(|f| new_null_array(f.data_type(), rows.len()));
            let at = if port == 0 { columns.len() } else { 0 };
            columns.splice(at..at, nulls);
        }
        output.rows.push(rows.with_columns(RecordBatch::try_new(self.output.clone(), columns)?));
        Ok(())
    }

    /// As of [`pairs::pairs`].
    fn pairs(&self, all: bool) -> Vec<Pair> {
        let [left, right] = &self.sides;
        with_rows!(left, left => with_rows!(right, right => {
            pairs::pairs(&self.keys, left, right, all)
        }))
    }

    /// The changes of a join whose condition is equal keys and no more.
    fn changes_by_key(&self) -> Vec<Pair> {
        let kind = self.spec.kind;
        let mut pairs = if kind.has_pairs() { self.pairs(false) } else { Vec::new() };
        for (port, side) in self.sides.iter().enumerate() {
            with_rows!(side, rows => alone_by_key((kind, port), &self.keys, rows, &mut pairs));
        }
        pairs
    }

    /// Those of `pairs` that the residual lets pass.
    fn passing(
        &mut self,
        pairs: &[Pair],
        residual: &Test,
        now_ms: i64,
    ) -> Result<Vec<Pair>, OperatorError> {
        let mut passing = Vec::new();
        for chunk in pairs.chunks(OUTPUT_ROWS_MAX) {
            let left = self.sides[0].gather(chunk.iter().map(|p| p.left), &residual.reads[0])?;
            let right = self.sides[1].gather(chunk.iter().map(|p| p.right), &residual.reads[1])?;
            let passes = residual.passes(left, right, chunk.len(), now_ms)?;
            let both = chunk.iter().zip(passes.values());
            passing.extend(both.filter(|(_, passes)| *passes).map(|(pair, _)| *pair));
        }
        Ok(passing)
    }

    /// The output batches of `pairs`, retractions first.
    fn emit(&mut self, mut pairs: Vec<Pair>, output: &mut Output) -> Result<(), OperatorError> {
        pairs.sort_by_key(|pair| pair.weight >= 0);
        let all = |schema: &SchemaRef| (0..schema.fields().len()).collect::<Vec<_>>();
        let [left, right] = [all(&self.schemas[0]), all(&self.schemas[1])];
        for chunk in pairs.chunks(OUTPUT_ROWS_MAX) {
            let mut columns = self.sides[0].gather(chunk.iter().map(|p| p.left), &left)?;
            if self.spec.kind.has_pairs() {
                columns.extend(self.sides[1].gather(chunk.iter().map(|p| p.right), &right)?);
            }
            let rows = RecordBatch::try_new(self.output.clone(), columns)?;
            output.rows.push(weighted(rows, chunk)?);
        }
        Ok(())
    }

    /// Forgets what was idle for too long: nothing is shown of that.
    fn forget_idle(&mut self, now_ms: i64) {
        for side in &mut self.sides {
            if let Side::Bag(bag) = side {
                bag.forget_idle(now_ms, &mut self.keys, &self.index);
            }
        }
        let index = &mut self.index;
        self.keys.settle(|slot| index.remove(slot));
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

impl Operator for Join {
    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        self.forget_idle(context.now_ms);
        for (port, mut batches) in inputs.into_iter().enumerate() {
            batches.retain(|batch| !batch.is_empty());
            if !batches.is_empty() {
                self.add(port, &batches, output)?;
            }
        }
        let changes = match self.residual.clone() {
            residual if self.counts_matches => {
                self.changes_by_matches(residual.as_ref(), context.now_ms)?
            }
            None => self.changes_by_key(),
            Some(residual) => {
                let pairs = self.pairs(false);
                self.passing(&pairs, &residual, context.now_ms)?
            }
        };
        self.emit(changes, output)?;
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

/// What a side has to know of forgetting, if any row of the join is ever forgotten.
fn forgetting(spec: &JoinSpec, port: usize, expiry: Option<Expiry>) -> Option<Forgetting> {
    let forgets = spec.ttl_ms.iter().any(Option::is_some);
    let is_shown_alone = Alone::of(spec.kind, port) != Alone::Never;
    forgets.then(|| Forgetting::new(expiry, is_shown_alone))
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
