//! [`Beside`]: the join of a batch with rows that stand still.

use super::LookupRows;
use crate::batch::Batch;
use crate::join::{JoinKind, JoinSpec, Test, output_schema};
use crate::operator::OperatorError;
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take;
use arrow::datatypes::SchemaRef;

/// Pairs that a residual is put to at once, unless one row has more.
const PAIRS_MAX: usize = 65_536;

/// An inner, left, semi or anti join of batches with [`LookupRows`], which are on its right side.
/// What comes of a row depends on nothing but the row, and has its weight.
#[derive(Debug)]
pub(crate) struct Beside {
    kind: JoinKind,
    left_keys: Vec<usize>,
    residual: Option<Test>,
    output: SchemaRef,
}

/// Rows of the left and of the right by number, in the order of the left ones.
type Pairs = (UInt32Array, UInt32Array);

impl Beside {
    /// A join of rows of the schema `left` with some of the schema `right`.
    ///
    /// # Errors
    /// If the join keeps right rows that have no partner: who of several workers should show them?
    pub(crate) fn new(
        spec: &JoinSpec,
        left: &SchemaRef,
        right: &SchemaRef,
    ) -> Result<Self, OperatorError> {
        if matches!(spec.kind, JoinKind::Right | JoinKind::Full) {
            let message = "rows that stand still are not shown by themselves";
            return Err(OperatorError::Data(message.to_owned()));
        }
        Ok(Beside {
            kind: spec.kind,
            left_keys: spec.left_keys.clone(),
            residual: Test::of(spec.residual.as_ref(), left, right)?,
            output: output_schema(spec.kind, left, right),
        })
    }

    /// Joins a batch.
    pub(crate) fn join(
        &self,
        left: &Batch,
        right: &LookupRows,
        now_ms: i64,
    ) -> Result<Batch, OperatorError> {
        let (lefts, rights) = self.pairs(left, right, now_ms)?;
        match self.kind {
            JoinKind::LeftSemi => Ok(left.filter(&met(&lefts, left.len()).into())?),
            JoinKind::LeftAnti => {
                let alone = !&met(&lefts, left.len());
                Ok(left.filter(&alone.into())?)
            }
            JoinKind::Left => self.assemble(left, right, &padded(&lefts, &rights, left.len())),
            _ => self.assemble(left, right, &(lefts, rights)),
        }
    }

    /// The pairs of equal keys that the residual lets pass.
    fn pairs(&self, left: &Batch, right: &LookupRows, now_ms: i64) -> Result<Pairs, OperatorError> {
        let keys: Vec<ArrayRef> = self.left_keys.iter().map(|&k| left.column(k).clone()).collect();
        let Some(residual) = &self.residual else { return right.pairs(&keys, left.len()) };
        let step = (PAIRS_MAX / right.partners_max().max(1)).max(1);
        let (mut lefts, mut rights) = (Vec::new(), Vec::new());
        for first in (0..left.len()).step_by(step) {
            let rows = step.min(left.len() - first);
            let keys: Vec<ArrayRef> = keys.iter().map(|key| key.slice(first, rows)).collect();
            let (l, r) = right.pairs(&keys, rows)?;
            let part = left.columns().slice(first, rows);
            let passes = residual.passes(
                taken(&part, &residual.reads[0], &l)?,
                taken(right.rows(), &residual.reads[1], &r)?,
                l.len(),
                now_ms,
            )?;
            for pair in passes.values().set_indices() {
                lefts.push(first as u32 + l.value(pair));
                rights.push(r.value(pair));
            }
        }
        Ok((lefts.into(), rights.into()))
    }

    fn assemble(
        &self,
        left: &Batch,
        right: &LookupRows,
        (lefts, rights): &Pairs,
    ) -> Result<Batch, OperatorError> {
        let all = |rows: &RecordBatch| (0..rows.num_columns()).collect::<Vec<_>>();
        let once_each = is_every_row_once(lefts, left.len());
        let mut columns = match once_each {
            true => left.columns().columns().to_vec(),
            false => taken(left.columns(), &all(left.columns()), lefts)?,
        };
        columns.extend(taken(right.rows(), &all(right.rows()), rights)?);
        let length = RecordBatchOptions::new().with_row_count(Some(lefts.len()));
        let rows = RecordBatch::try_new_with_options(self.output.clone(), columns, &length)?;
        if once_each {
            return Ok(left.with_columns(rows));
        }
        let of_left =
            |weights: &[i64]| lefts.values().iter().map(|&l| weights[l as usize]).collect();
        Ok(Batch::new(rows, left.weights().map(of_left)))
    }
}

fn taken(
    rows: &RecordBatch,
    columns: &[usize],
    numbers: &UInt32Array,
) -> Result<Vec<ArrayRef>, OperatorError> {
    columns.iter().map(|&column| Ok(take(rows.column(column), numbers, None)?)).collect()
}

/// Whether the pairs are all rows in their order: then their columns are those that came.
fn is_every_row_once(lefts: &UInt32Array, rows: usize) -> bool {
    lefts.len() == rows && lefts.values().iter().zip(0u32..).all(|(&left, row)| left == row)
}

/// Which of the rows have a partner.
fn met(lefts: &UInt32Array, rows: usize) -> BooleanBuffer {
    let mut met = vec![false; rows];
    lefts.values().iter().for_each(|&left| met[left as usize] = true);
    BooleanBuffer::from(met)
}

/// The pairs, which stand in the order of their left rows, and each left row that has none beside
/// NULL.
fn padded(lefts: &UInt32Array, rights: &UInt32Array, rows: usize) -> Pairs {
    let mut all = Vec::with_capacity(lefts.len().max(rows));
    let mut partners: Vec<Option<u32>> = Vec::with_capacity(all.capacity());
    let mut next = 0;
    for row in 0..rows as u32 {
        let first = next;
        while next < lefts.len() && lefts.value(next) == row {
            all.push(row);
            partners.push(Some(rights.value(next)));
            next += 1;
        }
        if next == first {
            all.push(row);
            partners.push(None);
        }
    }
    (UInt32Array::from(all), UInt32Array::from(partners))
}
