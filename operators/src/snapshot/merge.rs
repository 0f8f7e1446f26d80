//! [`merge`]: one snapshot that says what a chain of them says.
//!
//! The chain is read from its end: the first word met about a key is the last one said, and all
//! older ones are passed over, and so are those about keys under a prefix that was deleted later.
//! So each row costs one probe into a table of keys, or two, whatever the chain's length, and only
//! rows that stay are copied.

use super::{CHUNK_ROWS, Snapshot, SnapshotTable, key_groups};
use crate::key::KEY_GROUPS;
use crate::operator::OperatorError;
use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::row::{RowConverter, Rows, SortField};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable, hash_table::Entry};
use std::hash::BuildHasher;

/// Where in a chain a merged snapshot will stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// At its beginning, with nothing older: what is gone need not be mentioned.
    Base,
    /// Behind older ones, in which keys may be that are gone since.
    Delta,
}

/// The snapshot that means what `chain`, oldest first, means when restored in order. All are of
/// one operator; those of several workers at one checkpoint may stand in any order, for no two
/// workers have a key in common.
///
/// Within each table of the result no key has two entries, rows are sorted by key group, and no
/// batch has more than 65,536 of them. A delta keeps the deletion of a key that was written again
/// later: restoring it takes the old entry away before the new one comes.
///
/// # Errors
/// If the snapshots' tables of one name differ in their columns.
pub fn merge(chain: &[Snapshot], into: Link) -> Result<Snapshot, OperatorError> {
    let mut names: Vec<&str> = Vec::new();
    for table in chain.iter().flat_map(|snapshot| &snapshot.tables) {
        if !names.contains(&table.name.as_str()) {
            names.push(&table.name);
        }
    }
    let mut merged = Snapshot::default();
    for name in names {
        let tables = chain.iter().flat_map(|snapshot| &snapshot.tables);
        let tables: Vec<&SnapshotTable> = tables.filter(|table| table.name == name).collect();
        merged.tables.extend(merge_tables(&tables, into)?);
    }
    Ok(merged)
}

fn merge_tables(
    tables: &[&SnapshotTable],
    into: Link,
) -> Result<Vec<SnapshotTable>, OperatorError> {
    let said = said(tables)?;
    let gone = gone(&said);
    let of = |words: &[Word]| -> Vec<&Said> {
        said.iter().filter(|said| words.contains(&said.word)).collect()
    };
    let mut deletes = Vec::new();
    if into == Link::Delta {
        for word in [Word::Delete, Word::DeleteUnder] {
            let some = of(&[word]);
            deletes.extend(gather(&some, newest(&some, &gone))?);
        }
    }
    let entries = of(&[Word::Delete, Word::Upsert]);
    let mut last = newest(&entries, &gone);
    last.retain(|place| entries[place.batch as usize].word == Word::Upsert);
    let upserts = gather(&entries, last)?;
    let SnapshotTable { name, key_width, .. } = tables[0];
    super::tables(name, *key_width, &deletes, &upserts)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Delete,
    /// Of all keys that begin with these columns.
    DeleteUnder,
    Upsert,
}

/// A batch of a chain, and its keys as bytes.
struct Said<'a> {
    /// Where it stands in the chain.
    at: usize,
    word: Word,
    rows: &'a RecordBatch,
    /// What it names: keys, or prefixes of them.
    keys: Rows,
    /// The prefixes of its keys, if the chain deletes any.
    prefixes: Option<Rows>,
}

impl Said<'_> {
    #[inline]
    fn key(&self, row: u32) -> &[u8] {
        self.keys.row(row as usize).data()
    }

    /// Whether a prefix of a row's key was deleted later.
    #[inline]
    fn is_void(&self, row: u32, gone: &Gone) -> bool {
        let Some(prefixes) = &self.prefixes else { return false };
        gone.get(prefixes.row(row as usize).data()).is_some_and(|&at| at > self.at)
    }
}

/// Where in the chain each prefix was deleted last.
type Gone<'a> = HashMap<&'a [u8], usize>;

fn gone<'a>(said: &'a [Said]) -> Gone<'a> {
    let mut gone = Gone::new();
    for said in said.iter().filter(|said| said.word == Word::DeleteUnder) {
        gone.extend(said.keys.iter().map(|row| (row.data(), said.at)));
    }
    gone
}

/// All that the tables say, in order.
fn said<'a>(tables: &[&'a SnapshotTable]) -> Result<Vec<Said<'a>>, OperatorError> {
    let batches = || tables.iter().flat_map(|table| table.batches());
    let Some(widest) = batches().max_by_key(|rows| rows.num_columns()) else {
        return Ok(Vec::new());
    };
    let key_width = tables[0].key_width;
    let prefix_width = batches().map(RecordBatch::num_columns).find(|&width| width < key_width);
    let converter = converter(widest, key_width)?;
    let of_prefixes = prefix_width.map(|width| self::converter(widest, width)).transpose()?;
    let mut said = Vec::new();
    let mut upserts: Option<&RecordBatch> = None;
    for table in tables {
        for (word, rows) in [(Word::Delete, &table.deletes), (Word::Upsert, &table.upserts)] {
            let Some(rows) = rows else { continue };
            let (word, like, width) = match word {
                Word::Upsert => (word, Some(*upserts.get_or_insert(rows)), key_width),
                _ if Some(rows.num_columns()) == prefix_width => {
                    (Word::DeleteUnder, None, rows.num_columns())
                }
                _ => (word, None, key_width),
            };
            if table.key_width != key_width
                || !has_types_of(rows, widest, width)
                || like.is_some_and(|like| !has_types_of(rows, like, usize::MAX))
            {
                return Err(OperatorError::Data(format!(
                    "snapshots of the table {} differ in their columns, so they are not of one \
                     operator or not of one version of it",
                    table.name
                )));
            }
            let convert =
                |of: &RowConverter, width: usize| of.convert_columns(&rows.columns()[..width]);
            let (keys, prefixes) = match (word, &of_prefixes) {
                (Word::DeleteUnder, Some(of_prefixes)) => (convert(of_prefixes, width)?, None),
                (_, of_prefixes) => {
                    let width = prefix_width.unwrap_or(0);
                    let prefixes = of_prefixes.as_ref().map(|of| convert(of, width)).transpose()?;
                    (convert(&converter, key_width)?, prefixes)
                }
            };
            said.push(Said { at: said.len(), word, rows, keys, prefixes });
        }
    }
    Ok(said)
}

/// Turns the first columns of a batch, as far as it has so many, into bytes.
fn converter(rows: &RecordBatch, width: usize) -> Result<RowConverter, OperatorError> {
    let columns = rows.columns().iter().take(width);
    let fields = columns.map(|column| SortField::new(column.data_type().clone()));
    Ok(RowConverter::new(fields.collect())?)
}

/// Whether the first `width` columns have the types of another batch's.
fn has_types_of(rows: &RecordBatch, like: &RecordBatch, width: usize) -> bool {
    let (rows, like) = (rows.columns().iter(), like.columns().iter());
    let types = rows.map(|column| column.data_type()).take(width);
    types.eq(like.map(|column| column.data_type()).take(width))
}

/// A row of a batch.
#[derive(Clone, Copy, Debug)]
struct Place {
    batch: u32,
    row: u32,
}

/// Where the last word about each key stands that no later deletion of a prefix covers; the last of
/// all first.
fn newest(said: &[&Said], gone: &Gone) -> Vec<Place> {
    let hasher = DefaultHashBuilder::default();
    let key = |place: &Place| said[place.batch as usize].key(place.row);
    let rows = said.iter().map(|said| said.rows.num_rows()).sum();
    let mut heard: HashTable<Place> = HashTable::with_capacity(rows);
    let mut newest = Vec::new();
    for (batch, said) in said.iter().enumerate().rev() {
        for row in (0..said.rows.num_rows() as u32).rev() {
            if said.is_void(row, gone) {
                continue;
            }
            let place = Place { batch: batch as u32, row };
            let bytes = said.key(row);
            let same = |other: &Place| key(other) == bytes;
            let rehash = |other: &Place| hasher.hash_one(key(other));
            if let Entry::Vacant(vacant) = heard.entry(hasher.hash_one(bytes), same, rehash) {
                vacant.insert(place);
                newest.push(place);
            }
        }
    }
    newest
}

/// The rows at `places`, which are of batches with the same columns, sorted by key group and otherwise the oldest first.
fn gather(said: &[&Said], places: Vec<Place>) -> Result<Vec<RecordBatch>, OperatorError> {
    let places = by_key_group(said, &places);
    let batches: Vec<&RecordBatch> = said.iter().map(|said| said.rows).collect();
    let mut gathered = Vec::new();
    for places in places.chunks(CHUNK_ROWS) {
        let mut number_of = vec![usize::MAX; batches.len()];
        let mut named = Vec::new();
        let mut indices = Vec::with_capacity(places.len());
        for &Place { batch, row } in places {
            let number = &mut number_of[batch as usize];
            if *number == usize::MAX {
                *number = named.len();
                named.push(batches[batch as usize]);
            }
            indices.push((*number, row as usize));
        }
        gathered.push(interleave_record_batch(&named, &indices)?);
    }
    Ok(gathered)
}

/// Sorts places, newest first, by key group and then oldest first.
fn by_key_group(said: &[&Said], places: &[Place]) -> Vec<Place> {
    let groups: Vec<&[u8]> = said.iter().map(|said| key_groups(said.rows)).collect();
    let group = |place: &Place| groups[place.batch as usize][place.row as usize] as usize;
    let mut ends = [0; KEY_GROUPS];
    for place in places {
        ends[group(place)] += 1;
    }
    let mut end = 0;
    for count in &mut ends {
        end += *count;
        *count = end;
    }
    let mut sorted = vec![Place { batch: 0, row: 0 }; places.len()];
    for place in places {
        let end = &mut ends[group(place)];
        *end -= 1;
        sorted[*end] = *place;
    }
    sorted
}
