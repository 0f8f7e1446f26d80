//! The equi-join of two changing inputs.
//!
//! ```text
//! left  (1, a) (2, b)          right  (1, x)             ON left.0 = right.0
//! inner output                        +(1, a, 1, x)
//! left outer                          +(1, a, 1, x) +(2, b, NULL, NULL)
//! next epoch, right +(2, y)           -(2, b, NULL, NULL) +(2, b, 2, y)
//! ```
//!
//! Both inputs are held under their keys ([`Arrangement`]): one that only grows as the columns it came
//! in, any other as a bag of rows. An epoch is added to both first, with the counts from before still
//! readable; then a pair's change is
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
//! An arrangement is a step of its own ([`Arrange`]), which all joins read that need it. But where a
//! row counts its partners or is forgotten, what is held of it is this join's affair: then the join
//! holds its inputs itself.
//!
//! Rows of an input with a lifetime are forgotten when they have not come, nor changed what is shown
//! of them, for so long: later rows of the other input don't meet them. What was shown stands, and a
//! partner that was forgotten still counts as one, for it was told of. So where rows are forgotten
//! each of them counts its partners, and the sum above is that of the rows that meet in time.

mod arrange;
mod arrangement;
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
use crate::operator::{EpochContext, Operator, OperatorError, Output};
use crate::snapshot::{Snapshot, SnapshotScope};
use crate::time::Epoch;
use arrangement::{Arranged, Place};
use arrow::array::{BooleanArray, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use bag::{Bag, Forgetting};
use log::Log;
use pairs::{Alone, Pair, alone_by_key};
use rows::View;
use side::{Side, with_rows, with_view};
use std::sync::Arc;

pub use arrange::Arrange;
pub use arrangement::{ArrangeSpec, Arrangement, Arranging};
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

/// The tables of a snapshot of a join that holds its inputs itself.
const TABLES: [&str; 2] = ["left", "right"];

/// Rows in one output batch, at most.
const OUTPUT_ROWS_MAX: usize = 16_384;

/// The operator: port 0 is the left input, port 1 the right. See the [module](self).
#[derive(Debug)]
pub struct Join {
    spec: JoinSpec,
    output: SchemaRef,
    residual: Option<Test>,
    schemas: [SchemaRef; 2],
    arrangements: [Arrangement; 2],
    /// Whether nobody else fills the arrangements or reads them.
    is_alone: bool,
}

impl JoinKind {
    /// Whether the output has pairs of rows.
    pub(crate) fn has_pairs(self) -> bool {
        !matches!(self, JoinKind::LeftSemi | JoinKind::LeftAnti)
    }
}

impl JoinSpec {
    /// The key columns of an input.
    pub fn keys(&self, port: usize) -> &[usize] {
        if port == 0 { &self.left_keys } else { &self.right_keys }
    }

    /// Whether it reads [`Arrangement`]s. If not, it holds its inputs by itself, for what it knows
    /// of a row is its own affair.
    pub fn is_arranged(&self) -> bool {
        !self.forgets() && !self.counts_matches()
    }

    /// Whether it asks how many rows of an input there are under a key, to show rows of the other
    /// input by themselves.
    pub fn counts_rows(&self, port: usize) -> bool {
        !self.counts_matches() && Alone::of(self.kind, 1 - port) != Alone::Never
    }

    /// Whether each row counts its partners.
    fn counts_matches(&self) -> bool {
        self.kind != JoinKind::Inner && (self.residual.is_some() || self.forgets())
    }

    fn forgets(&self) -> bool {
        self.ttl_ms.iter().any(Option::is_some)
    }

    /// How an input is held by a join alone. Only of a bag rows can be forgotten, and can count
    /// their partners.
    fn side(&self, port: usize, schema: &SchemaRef) -> Result<Side, OperatorError> {
        let expiry = self.ttl_ms[port].map(Expiry::new);
        if self.only_grows[port] && !self.counts_matches() && expiry.is_none() {
            return Ok(Side::Log(Log::new(schema.clone(), port)));
        }
        let is_shown_alone = Alone::of(self.kind, port) != Alone::Never;
        let forgetting = self.forgets().then(|| Forgetting::new(expiry, is_shown_alone));
        Bag::new(schema.clone(), port, self.counts_matches(), forgetting).map(Side::Bag)
    }
}

impl Join {
    /// A join that holds its inputs itself, without any rows.
    ///
    /// # Errors
    /// If the keys' types differ or can't be compared.
    pub fn new(spec: JoinSpec, left: SchemaRef, right: SchemaRef) -> Result<Self, OperatorError> {
        let place = |port: usize, schema: &SchemaRef| {
            let keys = spec.keys(port).to_vec();
            Ok::<_, OperatorError>(Place::new(keys, spec.side(port, schema)?, schema.clone(), 1))
        };
        let places = vec![place(0, &left)?, place(1, &right)?];
        let counted = vec![spec.counts_rows(0), spec.counts_rows(1)];
        let arrangements = Arrangement::of(Arranged::new(places, counted)?);
        let [left, right] = arrangements.try_into().expect("there are two places");
        Ok(Join { is_alone: true, ..Join::of(spec, left, right)? })
    }

    /// A join that [reads](JoinSpec::is_arranged) what others hold. The arrangements stand side by
    /// side and have the join's keys.
    ///
    /// # Errors
    /// If the residual reads a column that is not there.
    pub fn of(
        spec: JoinSpec,
        left: Arrangement,
        right: Arrangement,
    ) -> Result<Self, OperatorError> {
        debug_assert!(left.is_beside(&right), "pairs are found by one index");
        let schemas = [left.schema(), right.schema()];
        Ok(Join {
            output: output_schema(spec.kind, &schemas[0], &schemas[1]),
            residual: Test::of(spec.residual.as_ref(), &schemas[0], &schemas[1])?,
            schemas,
            arrangements: [left, right],
            is_alone: false,
            spec,
        })
    }

    /// The left columns, then the right ones, nullable where padded; for semi and anti joins the
    /// left ones.
    pub fn output_schema(&self) -> SchemaRef {
        self.output.clone()
    }

    /// Shows rows with a NULL in their key, which meet no row ever, if they are to be shown at all.
    fn show_without_key(
        &self,
        (port, place): (usize, &Place),
        batches: &[Batch],
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        if Alone::of(self.spec.kind, port) != Alone::Unmatched {
            return Ok(());
        }
        for rows in batches {
            let Some(valid) = all_valid(&place.key_of(rows.columns())) else { continue };
            let without_key = BooleanArray::new(!valid.inner(), None);
            self.show_padded(port, &rows.filter(&without_key)?, output)?;
        }
        Ok(())
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

    /// Where the inputs stand among all that is arranged beside them.
    fn places(&self) -> [usize; 2] {
        self.arrangements.each_ref().map(|arrangement| arrangement.place)
    }

    /// The output's changes.
    fn changes(
        &self,
        arranged: &mut Arranged,
        context: &EpochContext,
    ) -> Result<Vec<Pair>, OperatorError> {
        if self.spec.counts_matches() {
            return self.changes_by_matches(arranged, context);
        }
        match &self.residual {
            None => Ok(self.changes_by_key(arranged, context.epoch)),
            Some(residual) => {
                let pairs = self.pairs(arranged, context.epoch, false);
                self.passing(arranged, &pairs, residual, context.now_ms)
            }
        }
    }

    /// As of [`pairs::pairs`].
    fn pairs(&self, arranged: &Arranged, epoch: Epoch, all: bool) -> Vec<Pair> {
        let [left, right] = self.places();
        with_view!(arranged, left, epoch, left => {
            with_view!(arranged, right, epoch, right => pairs::pairs(left, right, all))
        })
    }

    /// The changes of a join whose condition is equal keys and no more.
    fn changes_by_key(&self, arranged: &Arranged, epoch: Epoch) -> Vec<Pair> {
        let kind = self.spec.kind;
        let mut pairs =
            if kind.has_pairs() { self.pairs(arranged, epoch, false) } else { Vec::new() };
        let places = self.places();
        for port in [0, 1] {
            let alone = (Alone::of(kind, port), port);
            with_view!(arranged, places[port], epoch, rows => {
                with_view!(arranged, places[1 - port], epoch, others => {
                    alone_by_key(alone, rows, others, &mut pairs);
                });
            });
        }
        pairs
    }

    /// Those of `pairs` that the residual lets pass.
    fn passing(
        &self,
        arranged: &mut Arranged,
        pairs: &[Pair],
        residual: &Test,
        now_ms: i64,
    ) -> Result<Vec<Pair>, OperatorError> {
        let [left, right] = self.places();
        let mut passing = Vec::new();
        for chunk in pairs.chunks(OUTPUT_ROWS_MAX) {
            let [of_left, of_right] = &residual.reads;
            let l = arranged.gather(left, chunk.iter().map(|p| p.left), of_left)?;
            let r = arranged.gather(right, chunk.iter().map(|p| p.right), of_right)?;
            let passes = residual.passes(l, r, chunk.len(), now_ms)?;
            let both = chunk.iter().zip(passes.values());
            passing.extend(both.filter(|(_, passes)| *passes).map(|(pair, _)| *pair));
        }
        Ok(passing)
    }

    /// The output batches of `pairs`, retractions first.
    fn emit(
        &self,
        arranged: &mut Arranged,
        mut pairs: Vec<Pair>,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        pairs.sort_by_key(|pair| pair.weight >= 0);
        let all = |schema: &SchemaRef| (0..schema.fields().len()).collect::<Vec<_>>();
        let [of_left, of_right] = [all(&self.schemas[0]), all(&self.schemas[1])];
        let [left, right] = self.places();
        for chunk in pairs.chunks(OUTPUT_ROWS_MAX) {
            let mut columns = arranged.gather(left, chunk.iter().map(|p| p.left), &of_left)?;
            if self.spec.kind.has_pairs() {
                let pairs = chunk.iter().map(|p| p.right);
                columns.extend(arranged.gather(right, pairs, &of_right)?);
            }
            let rows = RecordBatch::try_new(self.output.clone(), columns)?;
            output.rows.push(weighted(rows, chunk)?);
        }
        Ok(())
    }
}

impl Operator for Join {
    fn apply(
        &mut self,
        mut inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let mut arranged = self.arrangements[0].arranged();
        let places = self.places();
        if self.is_alone {
            arranged.forget_idle(context.now_ms);
        }
        for (port, batches) in inputs.iter_mut().enumerate() {
            batches.retain(|batch| !batch.is_empty());
            self.show_without_key((port, &arranged.places[places[port]]), batches, output)?;
            if self.is_alone && !batches.is_empty() {
                arranged.add(places[port], context.epoch, batches)?;
            }
        }
        let changes = self.changes(&mut arranged, context)?;
        self.emit(&mut arranged, changes, output)?;
        for (place, batches) in places.into_iter().zip(inputs) {
            if self.is_alone {
                arranged.settle(place);
            } else if !batches.is_empty() {
                arranged.read(place, context.epoch);
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        let mut snapshot = Snapshot::default();
        if self.is_alone {
            let mut arranged = self.arrangements[0].arranged();
            for (port, name) in TABLES.into_iter().enumerate() {
                snapshot.tables.extend(arranged.tables(port, name, scope)?);
            }
        }
        Ok(snapshot)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        let mut arranged = self.arrangements[0].arranged();
        for table in &snapshot.tables {
            let Some(port) = TABLES.iter().position(|name| *name == table.name) else { continue };
            arranged.restore(port, table)?;
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        if !self.is_alone {
            return 0;
        }
        let arranged = self.arrangements[0].arranged();
        arranged.state_bytes(0) + arranged.state_bytes(1)
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
