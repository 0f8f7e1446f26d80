//! What awaits its `LEAD`: a row comes out in its turn, with the default for what lies ahead of it,
//! and is replaced when that has had its turn, too.
//!
//! ```text
//! LEAD(v) OVER (PARTITION BY k ORDER BY t)
//!
//! watermark 10:01             (k, 10:01, 3)   +(k, 10:01, 3, NULL)
//! in a later epoch, 10:02     (k, 10:02, 5)   -(k, 10:01, 3, NULL) +(k, 10:01, 3, 5)
//!                                             +(k, 10:02, 5, NULL)
//! ```
//!
//! The invariant: **after every epoch, the sum of all output is the query over all rows that have
//! had their turn**, and an epoch says each change once, in however many batches its rows had
//! their turns.
//!
//! With `n` the greatest offset, the last `n` rows of each key await something, and those before
//! them are final. What a row shows of what lies ahead follows from where the rows of its key
//! ended, then and now. So what is held is those rows, which are part of the key's history, with
//! the results that no later row changes, as they were when the row had its turn.

use super::frames::Turns;
use super::{DEFAULT, Neighbour, OverFunction, OverSpec, VALUE, neighbours};
use crate::batch::Batch;
use crate::operator::OperatorError;
use crate::row_codec::RowCodec;
use arrow::array::{ArrayRef, RecordBatch, UInt32Array, new_empty_array, new_null_array};
use arrow::compute::{interleave, take, take_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Where the value of a `LEAD` stands: as it was when the epoch began, or as it is now.
const THEN: usize = 0;
const NOW: usize = 1;

/// Where the other results of a row stand.
const DUE: usize = 0;
const HELD: usize = 1;

/// Rows that had their turn, and what of their results is known for good.
pub(super) struct Taken {
    /// How many rows were due.
    pub(super) due: usize,
    /// The due rows in their order, then what else of their keys is read.
    pub(super) rows: RecordBatch,
    /// By key: where its rows stand in `rows`.
    pub(super) places: Vec<Vec<u32>>,
    /// Of the due rows: the results that no later row changes.
    pub(super) results: Vec<ArrayRef>,
}

/// Which rows come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Those that await nothing any more: there is more to come in this epoch.
    Settled,
    /// All: the epoch has no more rows of these keys.
    All,
}

/// The rows of each key that await a `LEAD`. See the [module](self).
pub(super) struct Leads {
    leads: Vec<Neighbour>,
    /// By function: whether it is a `LEAD`.
    is_lead: Vec<bool>,
    /// How many rows of a key await something: the greatest offset.
    reach: usize,
    output: SchemaRef,
    /// Of the results that no later row changes.
    settled: Schema,
    settled_codec: RowCodec,
    lead_codec: RowCodec,
    /// By the rows' numbers: the settled results of those that await something.
    results: Vec<Box<[u8]>>,
    pub(super) result_bytes: usize,
    /// By key of which not all rows have come out yet that had their turn in this epoch: how many
    /// had it.
    unshown: BTreeMap<u32, usize>,
}

/// The rows of a key, by number: those before `shown` came out in earlier epochs, those before
/// `end` have had their turn.
#[derive(Clone, Copy)]
struct Span {
    shown: usize,
    end: usize,
}

/// A row of a key, by number, that comes out or may be replaced.
struct Chosen {
    key: usize,
    row: usize,
}

/// What is said of rows: which values their `LEAD`s show, and whether they come or go.
#[derive(Default)]
struct Told<'a> {
    rows: Vec<&'a Chosen>,
    values: Vec<(usize, usize)>,
    weights: Vec<i64>,
}

impl<'a> Told<'a> {
    fn push(&mut self, row: &'a Chosen, value: (usize, usize), weight: i64) {
        self.rows.push(row);
        self.values.push(value);
        self.weights.push(weight);
    }
}

impl Leads {
    /// None if there is no `LEAD`; `output` is the operator's.
    pub(super) fn new(spec: &OverSpec, output: &SchemaRef) -> Result<Option<Self>, OperatorError> {
        let is_lead: Vec<bool> =
            spec.functions.iter().map(|f| matches!(f, OverFunction::Lead(_))).collect();
        if !is_lead.contains(&true) {
            return Ok(None);
        }
        let leads: Vec<Neighbour> = (spec.functions.iter())
            .filter_map(|function| match function {
                OverFunction::Lead(lead) => Some(lead.clone()),
                OverFunction::Aggregate(_) | OverFunction::Lag(_) => None,
            })
            .collect();
        let fields = &output.fields()[output.fields().len() - spec.functions.len()..];
        let of = |lead: bool| -> Schema {
            let some = fields.iter().zip(&is_lead).filter(|(_, is_lead)| **is_lead == lead);
            Schema::new(some.map(|(field, _)| field.clone()).collect::<Vec<_>>())
        };
        let settled = of(false);
        Ok(Some(Leads {
            reach: leads.iter().map(|lead| lead.offset as usize).max().unwrap_or(0),
            leads,
            settled_codec: RowCodec::of_schema(&settled)?,
            lead_codec: RowCodec::of_schema(&of(true))?,
            is_lead,
            output: output.clone(),
            settled,
            results: Vec::new(),
            result_bytes: 0,
            unshown: BTreeMap::new(),
        }))
    }

    /// What comes out of a batch of turns.
    pub(super) fn show(
        &mut self,
        turns: &[Turns],
        taken: &Taken,
        extent: Extent,
    ) -> Result<Batch, OperatorError> {
        let spans: Vec<Span> = turns.iter().map(|turns| self.span(turns, extent)).collect();
        let chosen = self.choose(turns, &spans, extent);
        let changes = self.changes(turns, &spans, &chosen, taken)?;
        self.keep(turns, taken)?;
        Ok(changes)
    }

    /// The keys of which not all rows of the epoch have come out yet.
    pub(super) fn unshown(&self) -> Vec<u32> {
        self.unshown.keys().copied().collect()
    }

    /// What is known of rows that are read again: none of them is due.
    pub(super) fn read_again(&self, rows: RecordBatch, places: Vec<Vec<u32>>) -> Taken {
        let results = self.settled.fields().iter().map(|field| new_empty_array(field.data_type()));
        Taken { due: 0, rows, places, results: results.collect() }
    }

    /// Where a key's rows ended and end, and notes how many had their turn in this epoch.
    fn span(&mut self, turns: &Turns, extent: Extent) -> Span {
        let due = turns.due();
        let earlier = match extent {
            Extent::All => self.unshown.remove(&turns.slot).unwrap_or(0),
            Extent::Settled => {
                let number = self.unshown.entry(turns.slot).or_default();
                *number += due.len();
                *number - due.len()
            }
        };
        Span { shown: due.start.saturating_sub(earlier), end: due.end }
    }

    /// The rows that come out or may be replaced: first those that had their turn before, then the
    /// due ones in their order.
    fn choose(&self, turns: &[Turns], spans: &[Span], extent: Extent) -> Vec<Chosen> {
        let (mut chosen, mut due) = (Vec::new(), Vec::new());
        for (key, (turns, span)) in turns.iter().zip(spans).enumerate() {
            let past = turns.due().start;
            let end = match extent {
                Extent::Settled => self.awaiting_from(span.end),
                Extent::All => span.end,
            };
            for row in self.awaiting_from(past)..end {
                if row >= past {
                    due.push((turns.number(row), Chosen { key, row }));
                } else if row >= span.shown || self.has_news(row, *span) {
                    chosen.push(Chosen { key, row });
                }
            }
        }
        due.sort_unstable_by_key(|&(number, _)| number);
        chosen.extend(due.into_iter().map(|(_, row)| row));
        chosen
    }

    /// The first of a key's rows that awaits something, by the end of those that had their turn.
    fn awaiting_from(&self, end: usize) -> usize {
        end.saturating_sub(self.reach)
    }

    /// Whether a row that came out in an earlier epoch awaited one that had its turn since.
    fn has_news(&self, row: usize, span: Span) -> bool {
        let news = span.shown..span.end;
        self.leads.iter().any(|lead| news.contains(&ahead(row, lead)))
    }

    /// The rows that are new, and those that are replaced, old and new side by side.
    fn changes(
        &self,
        turns: &[Turns],
        spans: &[Span],
        chosen: &[Chosen],
        taken: &Taken,
    ) -> Result<Batch, OperatorError> {
        let now = chosen.iter().map(|row| (row, spans[row.key].end));
        let then = chosen.iter().map(|row| (row, spans[row.key].shown));
        let then = then.filter(|(row, shown)| row.row < *shown);
        let (now, then) = (self.values(now, taken)?, self.values(then, taken)?);
        let told = self.tell(spans, chosen, [&then, &now])?;
        let mut settled = self.settled(turns, &told.rows, taken)?.into_iter();
        let mut leads = then.iter().zip(&now);
        let places = told.rows.iter().map(|row| taken.places[row.key][row.row]);
        let places = UInt32Array::from_iter_values(places);
        let mut columns = take_record_batch(&taken.rows, &places)?.columns().to_vec();
        for &is_lead in &self.is_lead {
            columns.extend(match is_lead {
                false => settled.next(),
                true => (leads.next())
                    .map(|(then, now)| interleave(&[then.as_ref(), now.as_ref()], &told.values))
                    .transpose()?,
            });
        }
        let columns = RecordBatch::try_new(self.output.clone(), columns)?;
        Ok(Batch::of_changes(columns, told.weights)?)
    }

    /// What each `LEAD` shows of rows, by the end of the rows of their keys.
    fn values<'a>(
        &self,
        rows: impl Iterator<Item = (&'a Chosen, usize)>,
        taken: &Taken,
    ) -> Result<Vec<ArrayRef>, OperatorError> {
        let mut found = vec![Vec::new(); self.leads.len()];
        for (&Chosen { key, row }, end) in rows {
            let places = &taken.places[key];
            for (lead, found) in self.leads.iter().zip(&mut found) {
                let ahead = ahead(row, lead);
                found.push(match ahead < end {
                    true => (VALUE, places[ahead] as usize),
                    false => (DEFAULT, places[row] as usize),
                });
            }
        }
        let of = |(lead, found): (&Neighbour, &Vec<_>)| neighbours(&taken.rows, lead, found);
        self.leads.iter().zip(&found).map(of).collect()
    }

    /// Tells each row that is new, and each that shows something else than it did; what the
    /// `LEAD`s show of rows that came out in earlier epochs is given as it was `then`.
    fn tell<'a>(
        &self,
        spans: &[Span],
        chosen: &'a [Chosen],
        [then, now]: [&[ArrayRef]; 2],
    ) -> Result<Told<'a>, OperatorError> {
        let then = self.lead_codec.encode(then)?;
        let now = self.lead_codec.encode(now)?;
        let (mut told, mut olds) = (Told::default(), 0);
        for (number, row) in chosen.iter().enumerate() {
            if row.row < spans[row.key].shown {
                let old = olds;
                olds += 1;
                if then.get(old) == now.get(number) {
                    continue;
                }
                told.push(row, (THEN, old), -1);
            }
            told.push(row, (NOW, number), 1);
        }
        Ok(told)
    }

    /// The results of rows that no later row changes.
    fn settled(
        &self,
        turns: &[Turns],
        rows: &[&Chosen],
        taken: &Taken,
    ) -> Result<Vec<ArrayRef>, OperatorError> {
        if taken.results.is_empty() {
            return Ok(Vec::new());
        }
        let (mut found, mut held) = (Vec::with_capacity(rows.len()), Vec::new());
        for &&Chosen { key, row } in rows {
            let turns = &turns[key];
            if row >= turns.due().start {
                found.push((DUE, turns.number(row) as usize));
            } else {
                found.push((HELD, held.len()));
                held.push(&*self.results[turns.id(row) as usize]);
            }
        }
        let held = self.settled_codec.decode(held)?;
        let both = taken.results.iter().zip(&held);
        let of = |(due, held): (&ArrayRef, &ArrayRef)| {
            Ok(interleave(&[due.as_ref(), held.as_ref()], &found)?)
        };
        both.map(of).collect()
    }

    /// Holds the results of the due rows that await something, and none of those that don't.
    fn keep(&mut self, turns: &[Turns], taken: &Taken) -> Result<(), OperatorError> {
        let (mut ids, mut numbers) = (Vec::new(), Vec::new());
        for turns in turns {
            let due = turns.due();
            let from = self.awaiting_from(due.end);
            for row in self.awaiting_from(due.start)..from.min(due.start) {
                self.forget(turns.id(row));
            }
            for row in from.max(due.start)..due.end {
                ids.push(turns.id(row));
                numbers.push(turns.number(row));
            }
        }
        self.hold(&ids, &at(&taken.results, numbers)?)
    }

    /// Holds settled results of rows, if there are any.
    fn hold(&mut self, ids: &[u32], results: &[ArrayRef]) -> Result<(), OperatorError> {
        if results.is_empty() {
            return Ok(());
        }
        let encoded = self.settled_codec.encode(results)?;
        for (row, &id) in ids.iter().enumerate() {
            self.forget(id);
            if self.results.len() <= id as usize {
                self.results.resize_with(id as usize + 1, Box::default);
            }
            let bytes = encoded.get(row);
            self.result_bytes += bytes.len();
            self.results[id as usize] = bytes.into();
        }
        Ok(())
    }

    /// Holds no results of a row any more.
    pub(super) fn forget(&mut self, id: u32) {
        if let Some(bytes) = self.results.get_mut(id as usize) {
            self.result_bytes -= std::mem::take(bytes).len();
        }
    }

    /// For a snapshot: the fields of settled results.
    pub(super) fn saved_fields(&self) -> impl Iterator<Item = Field> {
        let of = |(number, field): (usize, &Arc<Field>)| {
            Field::new(format!("result_{number}"), field.data_type().clone(), true)
        };
        self.settled.fields().iter().enumerate().map(of)
    }

    /// For a snapshot: the settled results of rows; NULL of those that await nothing.
    pub(super) fn saved(&self, ids: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        let (mut held, mut places) = (Vec::new(), Vec::with_capacity(ids.len()));
        for &id in ids {
            let bytes = self.results.get(id as usize).filter(|bytes| !bytes.is_empty());
            places.push(bytes.map(|_| held.len() as u32));
            held.extend(bytes.map(|bytes| &**bytes));
        }
        if held.is_empty() {
            let null = |field: &Arc<Field>| new_null_array(field.data_type(), ids.len());
            return Ok(self.settled.fields().iter().map(null).collect());
        }
        at(&self.settled_codec.decode(held)?, places)
    }

    /// From a snapshot: the settled results of rows that had their turn; some may await nothing.
    pub(super) fn restore(
        &mut self,
        ids: impl Iterator<Item = Option<u32>>,
        saved: &[ArrayRef],
    ) -> Result<(), OperatorError> {
        let restored = (0..).zip(ids).filter_map(|(row, id)| Some((row, id?)));
        let (rows, ids): (Vec<u32>, Vec<u32>) = restored.unzip();
        self.hold(&ids, &at(saved, rows)?)
    }

    /// After a restore: holds the results only of those rows of a key that await something.
    pub(super) fn trim(&mut self, history: &VecDeque<(i64, u32)>) {
        for &(_, id) in history.range(..self.awaiting_from(history.len())) {
            self.forget(id);
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.results.capacity() * size_of::<Box<[u8]>>() + self.result_bytes
    }
}

/// The number of the row that a `LEAD` of another one shows, which may not be there yet.
fn ahead(row: usize, lead: &Neighbour) -> usize {
    row.saturating_add(lead.offset as usize)
}

/// The values of some rows.
fn at(columns: &[ArrayRef], rows: impl Into<UInt32Array>) -> Result<Vec<ArrayRef>, OperatorError> {
    let rows = rows.into();
    Ok(columns.iter().map(|column| take(column, &rows, None)).collect::<Result<_, _>>()?)
}
