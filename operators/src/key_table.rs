//! [`KeyTable`]: key columns in, dense numbers out.
//!
//! State is kept in vectors indexed by a small *group number*; this table decides which number a
//! key has. It works batch-wise: the key columns are hashed once per batch, each row costs one
//! probe, and nothing is allocated per row.
//!
//! ```text
//!   key columns ──hash_columns──► hashes ──probe──► group numbers 0, 1, 2 …
//!        ▲                                               │
//!        └────────────────── keys(groups) ◄──────────────┘
//! ```
//!
//! The invariant: two rows have the same number if and only if SQL's `GROUP BY` puts them into
//! one group. NULL is a key like any other, -0.0 equals 0.0, all NaNs are one. A removed number
//! is handed out again, so numbers stay as dense as the live keys.

use crate::key::{self, KeyGroup};
use crate::operator::OperatorError;
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, Int64Array, PrimitiveArray,
    StringArray, UInt8Array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::row::{RowConverter, SortField};
use hashbrown::HashTable;
use std::sync::Arc;

/// The owner of every key of a table that is not shared by several owners.
const NO_OWNER: u32 = 0;

/// So many rows are looked up together: first the index is asked for all of them, then their keys
/// are compared. No lookup waits for the one before it, so the cache misses of a chunk overlap.
const CHUNK_ROWS: usize = 64;
/// Stands for no group.
const NO_GROUP: u32 = u32::MAX;

/// A map from key to dense group number. See the [module](self).
#[derive(Debug)]
pub struct KeyTable {
    types: Vec<DataType>,
    /// Tag (middle bits of the hash) and group number of each live key.
    index: HashTable<(u32, u32)>,
    /// Hash of each group's key.
    hashes: Vec<u64>,
    /// Who owns each group's key, if the table serves several owners.
    owners: Option<Vec<u32>>,
    store: Store,
    /// Numbers to hand out again.
    free: Vec<u32>,
    scratch: Vec<u64>,
}

impl KeyTable {
    /// An empty table for keys of the given types. No type at all is the key of a global
    /// aggregate: one value, one group.
    pub fn new(types: &[DataType]) -> Result<Self, OperatorError> {
        Ok(KeyTable {
            types: types.to_vec(),
            index: HashTable::new(),
            hashes: Vec::new(),
            owners: None,
            store: Store::new(types)?,
            free: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// A table in which each owner has keys of its own: equal keys of two owners differ.
    pub fn with_owners(types: &[DataType]) -> Result<Self, OperatorError> {
        Ok(KeyTable { owners: Some(Vec::new()), ..KeyTable::new(types)? })
    }

    /// The number of each row's key, into `groups`; unknown keys get a number.
    pub fn insert(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        groups: &mut Vec<u32>,
    ) -> Result<(), OperatorError> {
        self.insert_owned(None, columns, rows, groups)
    }

    /// As [`KeyTable::insert`], for keys of the given owners (one for each row).
    pub fn insert_owned(
        &mut self,
        owners: Option<&[u32]>,
        columns: &[ArrayRef],
        rows: usize,
        groups: &mut Vec<u32>,
    ) -> Result<(), OperatorError> {
        groups.clear();
        groups.reserve(rows);
        let mut hashes = std::mem::take(&mut self.scratch);
        hash(owners, columns, rows, &mut hashes);
        let keys = self.store.encode(columns)?;
        match (&mut self.store, &keys) {
            (Store::Unit, _) => {
                self.insert_rows(owners, &hashes, groups, |_, _| true, |_, _| ());
            }
            (Store::Int(_), Keys::Int(column)) => {
                let values = column.values();
                let nulls = column.nulls();
                match nulls {
                    None => self.insert_rows(
                        owners,
                        &hashes,
                        groups,
                        |store, (group, row)| store.int().equals(group, values[row]),
                        |store, (group, row)| store.int_mut().set(group, Some(values[row])),
                    ),
                    Some(nulls) => self.insert_rows(
                        owners,
                        &hashes,
                        groups,
                        |store, (group, row)| {
                            store.int().matches(group, nulls.is_valid(row).then(|| values[row]))
                        },
                        |store, (group, row)| {
                            store.int_mut().set(group, nulls.is_valid(row).then(|| values[row]));
                        },
                    ),
                }
            }
            (Store::Bytes(_), keys) => self.insert_rows(
                owners,
                &hashes,
                groups,
                |store, (group, row)| store.bytes().matches(group, keys.bytes(row)),
                |store, (group, row)| store.bytes_mut().set(group, keys.bytes(row)),
            ),
            (Store::Int(_), _) => unreachable!("integer keys are encoded as integers"),
        }
        self.scratch = hashes;
        Ok(())
    }

    /// The number of the key of each of another table's `groups`, into `numbers`; unknown keys get
    /// a number. The other table knows the hashes already, and no column is built.
    pub(crate) fn insert_groups(
        &mut self,
        other: &KeyTable,
        groups: &[u32],
        numbers: &mut Vec<u32>,
    ) {
        debug_assert_eq!(self.types, other.types);
        debug_assert!(self.owners.is_none() && other.owners.is_none());
        numbers.clear();
        numbers.reserve(groups.len());
        if self.is_empty() {
            let known = &self.hashes;
            self.index.reserve(groups.len(), |&(_, g)| known[g as usize]);
        }
        let mut hashes = std::mem::take(&mut self.scratch);
        hashes.clear();
        hashes.extend(groups.iter().map(|&g| other.hashes[g as usize]));
        match &other.store {
            Store::Unit => self.insert_rows(None, &hashes, numbers, |_, _| true, |_, _| ()),
            Store::Int(theirs) => self.insert_rows(
                None,
                &hashes,
                numbers,
                |store, (group, row)| store.int().matches(group, theirs.get(groups[row])),
                |store, (group, row)| store.int_mut().set(group, theirs.get(groups[row])),
            ),
            Store::Bytes(theirs) => self.insert_rows(
                None,
                &hashes,
                numbers,
                |store, (group, row)| store.bytes().matches(group, theirs.get(groups[row])),
                |store, (group, row)| store.bytes_mut().set(group, theirs.get(groups[row])),
            ),
        }
        self.scratch = hashes;
    }

    #[inline]
    fn insert_rows(
        &mut self,
        owners: Option<&[u32]>,
        hashes: &[u64],
        groups: &mut Vec<u32>,
        equals: impl Fn(&Store, (u32, usize)) -> bool,
        set: impl Fn(&mut Store, (u32, usize)),
    ) {
        let KeyTable { index, hashes: known, owners: owned, store, free, .. } = self;
        let mut likely = [NO_GROUP; CHUNK_ROWS];
        for (chunk, hashes) in hashes.chunks(CHUNK_ROWS).enumerate() {
            look(index, hashes, &mut likely);
            for (place, (&hash, &likely)) in hashes.iter().zip(&likely).enumerate() {
                let row = chunk * CHUNK_ROWS + place;
                let owner = owners.map_or(NO_OWNER, |o| o[row]);
                let is_it = |group: u32, store: &Store| {
                    owned.as_ref().is_none_or(|o| o[group as usize] == owner)
                        && equals(store, (group, row))
                };
                if likely != NO_GROUP && is_it(likely, store) {
                    groups.push(likely);
                    continue;
                }
                // Unknown, or one that came with this chunk, or whose tag another key has too.
                let tag = tag(hash);
                let found = index.find(hash, |&(t, group)| t == tag && is_it(group, store));
                let group = found.map_or(NO_GROUP, |&(_, group)| group);
                if group != NO_GROUP {
                    groups.push(group);
                    continue;
                }
                let group = free.pop().unwrap_or_else(|| {
                    known.push(0);
                    u32::try_from(known.len() - 1).expect("fewer than 2^32 live keys")
                });
                known[group as usize] = hash;
                if let Some(owned) = owned {
                    owned.resize(known.len(), NO_OWNER);
                    owned[group as usize] = owner;
                }
                set(store, (group, row));
                index.insert_unique(hash, (tag, group), |&(_, g)| known[g as usize]);
                groups.push(group);
            }
        }
    }

    /// The number of each row's key, if it is known.
    pub fn find(
        &self,
        owners: Option<&[u32]>,
        columns: &[ArrayRef],
        rows: usize,
    ) -> Result<Vec<Option<u32>>, OperatorError> {
        let mut hashes = Vec::new();
        hash(owners, columns, rows, &mut hashes);
        let keys = self.store.encode(columns)?;
        let find = |(row, &hash): (usize, &u64)| {
            let owner = owners.map_or(NO_OWNER, |o| o[row]);
            let found = self.index.find(hash, |&(t, group)| {
                t == tag(hash)
                    && self.owners.as_ref().is_none_or(|o| o[group as usize] == owner)
                    && self.store.matches(group, &keys, row)
            });
            found.map(|&(_, group)| group)
        };
        Ok(hashes.iter().enumerate().map(find).collect())
    }

    /// The key columns of `groups`, in their own types.
    pub fn keys(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        self.store.keys(&self.types, groups)
    }

    /// The owner of a group's key.
    pub fn owner(&self, group: u32) -> u32 {
        self.owners.as_ref().map_or(NO_OWNER, |o| o[group as usize])
    }

    /// The key group of a group's key.
    #[inline]
    pub fn key_group(&self, group: u32) -> KeyGroup {
        KeyGroup::of(self.hashes[group as usize])
    }

    /// The key group of each group's key.
    pub fn key_groups(&self, groups: &[u32]) -> UInt8Array {
        groups.iter().map(|&g| KeyGroup::of(self.hashes[g as usize]).0).collect()
    }

    /// Forgets the keys of `groups`, each of which must be live and listed once.
    pub fn remove(&mut self, groups: &[u32]) {
        for &group in groups {
            let hash = self.hashes[group as usize];
            match self.index.find_entry(hash, |&(_, g)| g == group) {
                Ok(entry) => {
                    entry.remove();
                    self.store.forget(group);
                    self.free.push(group);
                }
                Err(_) => debug_assert!(false, "group {group} is not live"),
            }
        }
    }

    /// Forgets all keys; numbers begin with zero again. What was allocated stays.
    pub(crate) fn clear(&mut self) {
        self.index.clear();
        self.hashes.clear();
        self.free.clear();
        self.store.clear();
        if let Some(owners) = &mut self.owners {
            owners.clear();
        }
    }

    /// All live groups, ascending.
    pub fn groups(&self) -> Vec<u32> {
        if self.index.len() == self.slots() {
            return (0..self.slots() as u32).collect();
        }
        let mut groups: Vec<u32> = self.index.iter().map(|&(_, group)| group).collect();
        groups.sort_unstable();
        groups
    }

    /// Number of live keys.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no key is live.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// One more than the largest number ever handed out: the length of vectors indexed by it.
    pub fn slots(&self) -> usize {
        self.hashes.len()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.index.allocation_size()
            + self.hashes.capacity() * size_of::<u64>()
            + self.owners.as_ref().map_or(0, |o| o.capacity() * size_of::<u32>())
            + self.free.capacity() * size_of::<u32>()
            + self.store.memory()
    }
}

/// Asks for the group of each hash: the first with its tag, whose key is most likely the one, or
/// [`NO_GROUP`].
#[inline]
fn look(index: &HashTable<(u32, u32)>, hashes: &[u64], likely: &mut [u32; CHUNK_ROWS]) {
    for (likely, &hash) in likely.iter_mut().zip(hashes) {
        let found = index.find(hash, |&(t, _)| t == tag(hash));
        *likely = found.map_or(NO_GROUP, |&(_, group)| group);
    }
}

/// The middle bits: the top ones choose worker and control byte, the low ones the bucket.
#[inline]
fn tag(hash: u64) -> u32 {
    (hash >> 24) as u32
}

fn hash(owners: Option<&[u32]>, columns: &[ArrayRef], rows: usize, hashes: &mut Vec<u64>) {
    key::hash_columns(columns, rows, hashes);
    if let Some(owners) = owners {
        for (hash, &owner) in hashes.iter_mut().zip(owners) {
            *hash = key::hash_with(*hash, u64::from(owner));
        }
    }
}

/// Where the keys themselves stand, by group number.
#[derive(Debug)]
enum Store {
    /// There is one key only.
    Unit,
    /// A single column that is a 64-bit integer at heart.
    Int(IntStore),
    /// Anything else: the bytes of a string, or of the row format.
    Bytes(ByteStore),
}

/// The keys of a batch, made comparable to those of a [`Store`].
enum Keys {
    Unit,
    Int(Int64Array),
    String(StringArray),
    Binary(BinaryArray),
    Rows(arrow::row::Rows),
}

impl Keys {
    #[inline]
    fn bytes(&self, row: usize) -> Option<&[u8]> {
        match self {
            Keys::String(column) => column.is_valid(row).then(|| column.value(row).as_bytes()),
            Keys::Binary(column) => column.is_valid(row).then(|| column.value(row)),
            Keys::Rows(rows) => Some(rows.row(row).data()),
            Keys::Unit | Keys::Int(_) => unreachable!("these have no bytes"),
        }
    }
}

impl Store {
    fn new(types: &[DataType]) -> Result<Self, OperatorError> {
        Ok(match types {
            [] => Store::Unit,
            [one] if key::as_integer(one).is_some() => Store::Int(IntStore::default()),
            [DataType::Utf8 | DataType::Binary] => Store::Bytes(ByteStore::default()),
            several => {
                let fields = several.iter().cloned().map(SortField::new).collect();
                let converter = Some(RowConverter::new(fields)?);
                Store::Bytes(ByteStore { converter, ..ByteStore::default() })
            }
        })
    }

    fn encode(&self, columns: &[ArrayRef]) -> Result<Keys, OperatorError> {
        Ok(match self {
            Store::Unit => Keys::Unit,
            Store::Int(_) => Keys::Int(key::to_int64(&columns[0])),
            Store::Bytes(ByteStore { converter: Some(converter), .. }) => {
                let columns: Vec<ArrayRef> = columns.iter().map(canonical).collect();
                Keys::Rows(converter.convert_columns(&columns)?)
            }
            Store::Bytes(_) => match columns[0].as_string_opt::<i32>() {
                Some(strings) => Keys::String(strings.clone()),
                None => Keys::Binary(columns[0].as_binary::<i32>().clone()),
            },
        })
    }

    #[inline]
    fn matches(&self, group: u32, keys: &Keys, row: usize) -> bool {
        match (self, keys) {
            (Store::Unit, _) => true,
            (Store::Int(ints), Keys::Int(column)) => {
                ints.matches(group, column.is_valid(row).then(|| column.value(row)))
            }
            (Store::Bytes(bytes), keys) => bytes.matches(group, keys.bytes(row)),
            (Store::Int(_), _) => unreachable!("integer keys are encoded as integers"),
        }
    }

    #[inline]
    fn int(&self) -> &IntStore {
        match self {
            Store::Int(ints) => ints,
            _ => unreachable!("asked for integers"),
        }
    }

    #[inline]
    fn int_mut(&mut self) -> &mut IntStore {
        match self {
            Store::Int(ints) => ints,
            _ => unreachable!("asked for integers"),
        }
    }

    #[inline]
    fn bytes(&self) -> &ByteStore {
        match self {
            Store::Bytes(bytes) => bytes,
            _ => unreachable!("asked for bytes"),
        }
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut ByteStore {
        match self {
            Store::Bytes(bytes) => bytes,
            _ => unreachable!("asked for bytes"),
        }
    }

    fn forget(&mut self, group: u32) {
        if let Store::Bytes(bytes) = self {
            bytes.forget(group);
        }
    }

    fn clear(&mut self) {
        match self {
            Store::Unit => {}
            Store::Int(ints) => {
                ints.values.clear();
                ints.is_null.clear();
            }
            Store::Bytes(bytes) => {
                bytes.arena.clear();
                bytes.spans.clear();
                bytes.dead = 0;
            }
        }
    }

    fn keys(&self, types: &[DataType], groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        match self {
            Store::Unit => Ok(vec![]),
            Store::Int(ints) => Ok(vec![key::from_int64(&ints.column(groups), &types[0])?]),
            Store::Bytes(bytes) => bytes.columns(&types[0], groups),
        }
    }

    fn memory(&self) -> usize {
        match self {
            Store::Unit => 0,
            Store::Int(ints) => ints.values.capacity() * size_of::<i64>(),
            Store::Bytes(bytes) => {
                bytes.arena.capacity() + bytes.spans.capacity() * size_of::<Span>()
            }
        }
    }
}

/// Integer keys, and which groups have the key NULL.
#[derive(Debug, Default)]
struct IntStore {
    values: Vec<i64>,
    /// Whether a group's key is NULL; as long as the last such group requires.
    is_null: Vec<bool>,
}

impl IntStore {
    #[inline]
    fn is_null(&self, group: u32) -> bool {
        self.is_null.get(group as usize).is_some_and(|&null| null)
    }

    #[inline]
    fn get(&self, group: u32) -> Option<i64> {
        (!self.is_null(group)).then(|| self.values[group as usize])
    }

    #[inline]
    fn equals(&self, group: u32, value: i64) -> bool {
        self.values[group as usize] == value && !self.is_null(group)
    }

    #[inline]
    fn matches(&self, group: u32, value: Option<i64>) -> bool {
        match value {
            Some(value) => self.equals(group, value),
            None => self.is_null(group),
        }
    }

    #[inline]
    fn set(&mut self, group: u32, value: Option<i64>) {
        let group = group as usize;
        if self.values.len() <= group {
            self.values.resize(group + 1, 0);
        }
        self.values[group] = value.unwrap_or_default();
        if value.is_none() && self.is_null.len() <= group {
            self.is_null.resize(group + 1, false);
        }
        if let Some(null) = self.is_null.get_mut(group) {
            *null = value.is_none();
        }
    }

    fn column(&self, groups: &[u32]) -> Int64Array {
        let values: ScalarBuffer<i64> = groups.iter().map(|&g| self.values[g as usize]).collect();
        let nulls = groups.iter().any(|&g| self.is_null(g)).then(|| {
            NullBuffer::new(BooleanBuffer::collect_bool(groups.len(), |i| !self.is_null(groups[i])))
        });
        Int64Array::new(values, nulls)
    }
}

/// Keys of so many bytes stand in their span: looking at one costs one cache miss, not two.
const INLINE_BYTES: usize = 12;

/// A key of few bytes, or where the bytes of a longer one stand in the arena.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Number of bytes; of NULL the number that no key has.
    len: u32,
    /// The bytes themselves, or in the last eight of them a position.
    rest: [u8; INLINE_BYTES],
}

const NULL_SPAN: Span = Span { len: u32::MAX, rest: [0; INLINE_BYTES] };

impl Span {
    #[inline]
    fn is_null(self) -> bool {
        self.len == NULL_SPAN.len
    }

    /// Where the bytes stand in the arena, if they do.
    #[inline]
    fn place(&self) -> Option<std::ops::Range<usize>> {
        let len = self.len as usize;
        if len <= INLINE_BYTES || self.is_null() {
            return None;
        }
        let start = self.rest.last_chunk().map_or(0, |start| u64::from_le_bytes(*start)) as usize;
        Some(start..start + len)
    }

    fn set_start(&mut self, start: usize) {
        self.rest[INLINE_BYTES - 8..].copy_from_slice(&(start as u64).to_le_bytes());
    }
}

/// Byte keys: short ones in their spans, long ones one behind the other.
#[derive(Debug, Default)]
struct ByteStore {
    arena: Vec<u8>,
    spans: Vec<Span>,
    /// Bytes of the arena that belong to no live key.
    dead: usize,
    /// Makes bytes of columns; none if the column's own bytes are the key.
    converter: Option<RowConverter>,
}

impl ByteStore {
    #[inline]
    fn get(&self, group: u32) -> Option<&[u8]> {
        let span = &self.spans[group as usize];
        if span.len as usize <= INLINE_BYTES {
            return Some(&span.rest[..span.len as usize]);
        }
        span.place().map(|place| &self.arena[place])
    }

    #[inline]
    fn matches(&self, group: u32, key: Option<&[u8]>) -> bool {
        match (self.get(group), key) {
            (Some(known), Some(key)) => are_same(known, key),
            (known, key) => known.is_none() && key.is_none(),
        }
    }

    #[inline]
    fn set(&mut self, group: u32, key: Option<&[u8]>) {
        if self.spans.len() <= group as usize {
            self.spans.resize(group as usize + 1, NULL_SPAN);
        }
        self.spans[group as usize] = key.map_or(NULL_SPAN, |key| {
            let len = u32::try_from(key.len()).expect("Arrow strings are shorter");
            let mut span = Span { len, rest: [0; INLINE_BYTES] };
            if key.len() <= INLINE_BYTES {
                span.rest[..key.len()].copy_from_slice(key);
            } else {
                span.set_start(self.arena.len());
                self.arena.extend_from_slice(key);
            }
            span
        });
    }

    fn forget(&mut self, group: u32) {
        let span = std::mem::replace(&mut self.spans[group as usize], NULL_SPAN);
        self.dead += span.place().map_or(0, |place| place.len());
        if self.dead > 4096 && self.dead > self.arena.len() / 2 {
            self.compact();
        }
    }

    fn compact(&mut self) {
        let mut arena = Vec::with_capacity(self.arena.len() - self.dead);
        for span in &mut self.spans {
            if let Some(place) = span.place() {
                span.set_start(arena.len());
                arena.extend_from_slice(&self.arena[place]);
            }
        }
        (self.arena, self.dead) = (arena, 0);
    }

    fn columns(&self, kind: &DataType, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        if let Some(converter) = &self.converter {
            let parser = converter.parser();
            let rows = groups.iter().map(|&g| parser.parse(self.get(g).unwrap_or_default()));
            return Ok(converter.convert_rows(rows)?);
        }
        let keys = || groups.iter().map(|&g| self.get(g));
        let lengths = keys().map(|k| k.map_or(0, <[u8]>::len));
        let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
        let mut bytes = Vec::with_capacity(offsets[groups.len()] as usize);
        keys().flatten().for_each(|k| bytes.extend_from_slice(k));
        let nulls = keys()
            .any(|k| k.is_none())
            .then(|| groups.iter().map(|&g| self.get(g).is_some()).collect::<NullBuffer>());
        Ok(vec![match kind {
            DataType::Utf8 => Arc::new(StringArray::try_new(offsets, bytes.into(), nulls)?),
            _ => Arc::new(BinaryArray::try_new(offsets, bytes.into(), nulls)?),
        }])
    }
}

/// Whether two keys are the same. Those of 4 to 16 bytes take two overlapping words and no call.
#[inline]
fn are_same(a: &[u8], b: &[u8]) -> bool {
    let word = |key: &[u8], at| u64::from_le_bytes(key[at..at + 8].try_into().expect("8 bytes"));
    let half = |key: &[u8], at| u32::from_le_bytes(key[at..at + 4].try_into().expect("4 bytes"));
    match b.len() {
        n if a.len() != n => false,
        n @ 8..=16 => word(a, 0) == word(b, 0) && word(a, n - 8) == word(b, n - 8),
        n @ 4..=7 => half(a, 0) == half(b, 0) && half(a, n - 4) == half(b, n - 4),
        _ => a == b,
    }
}

/// Floats whose equal values have equal bits; other columns as they are.
pub(crate) fn canonical(column: &ArrayRef) -> ArrayRef {
    fn unary<T: ArrowPrimitiveType>(
        column: &ArrayRef,
        canonical: impl Fn(T::Native) -> T::Native,
    ) -> ArrayRef {
        let values: PrimitiveArray<T> = column.as_primitive::<T>().unary(canonical);
        Arc::new(values)
    }
    match column.data_type() {
        DataType::Float64 => unary::<Float64Type>(column, |v| match v {
            0.0 => 0.0, // or -0.0
            v if v.is_nan() => f64::NAN,
            v => v,
        }),
        DataType::Float32 => unary::<Float32Type>(column, |v| match v {
            0.0 => 0.0, // or -0.0
            v if v.is_nan() => f32::NAN,
            v => v,
        }),
        _ => column.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, RecordBatch, TimestampMillisecondArray};
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn groups(table: &mut KeyTable, columns: &[ArrayRef]) -> Vec<u32> {
        let mut groups = Vec::new();
        table.insert(columns, columns[0].len(), &mut groups).unwrap();
        groups
    }

    #[test]
    fn null_is_a_key_and_negative_zero_is_zero() {
        let mut table = KeyTable::new(&[DataType::Float64]).unwrap();
        let column: ArrayRef = Arc::new(Float64Array::from(vec![
            Some(0.0),
            Some(-0.0),
            None,
            Some(f64::NAN),
            Some(-f64::NAN),
            None,
        ]));
        assert_eq!(groups(&mut table, &[column]), [0, 0, 1, 2, 2, 1]);
    }

    #[test]
    fn keys_come_back_in_their_own_type() {
        let kind = DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, Some("UTC".into()));
        let mut table = KeyTable::new(std::slice::from_ref(&kind)).unwrap();
        let column: ArrayRef = Arc::new(
            TimestampMillisecondArray::from(vec![Some(7), None, Some(7)]).with_timezone("UTC"),
        );
        assert_eq!(groups(&mut table, &[column]), [0, 1, 0]);
        let keys = table.keys(&[1, 0]).unwrap();
        assert_eq!(keys[0].data_type(), &kind);
        assert!(keys[0].is_null(0) && !keys[0].is_null(1));
    }

    #[test]
    fn equal_keys_of_two_owners_are_two_keys() {
        let mut table = KeyTable::with_owners(&[DataType::Int64]).unwrap();
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), Some(5), None, None]));
        let mut groups = Vec::new();
        table.insert_owned(Some(&[0, 1, 0, 1]), &[column], 4, &mut groups).unwrap();
        assert_eq!(groups, [0, 1, 2, 3]);
        assert_eq!((table.owner(1), table.owner(2)), (1, 0));
    }

    #[test]
    fn a_global_key_is_one_group() {
        let mut table = KeyTable::new(&[]).unwrap();
        let mut groups = Vec::new();
        table.insert(&[], 3, &mut groups).unwrap();
        assert_eq!((groups, table.len()), (vec![0, 0, 0], 1));
    }

    fn column(kind: usize, keys: &[Option<u8>]) -> Vec<ArrayRef> {
        let ints: ArrayRef =
            Arc::new(keys.iter().map(|k| k.map(i64::from)).collect::<Int64Array>());
        let strings: ArrayRef = Arc::new(
            keys.iter().map(|k| k.map(|k| "x".repeat(k as usize))).collect::<StringArray>(),
        );
        match kind {
            0 => vec![ints],
            1 => vec![strings],
            _ => vec![ints, strings],
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn numbers_follow_keys_through_insertions_and_removals(
            kind in 0usize..3,
            steps in prop::collection::vec(
                (prop::collection::vec(prop::option::of(0u8..40), 0..60), prop::collection::vec(0u8..40, 0..10)),
                1..12,
            ),
        ) {
            let types: Vec<DataType> =
                column(kind, &[]).iter().map(|c| c.data_type().clone()).collect();
            let mut table = KeyTable::new(&types).unwrap();
            let mut oracle: HashMap<Option<u8>, u32> = HashMap::new();
            for (keys, removals) in steps {
                let columns = column(kind, &keys);
                let got = groups(&mut table, &columns);
                for (key, &group) in keys.iter().zip(&got) {
                    prop_assert_eq!(*oracle.entry(*key).or_insert(group), group);
                }
                if !keys.is_empty() {
                    let schema = arrow::datatypes::Schema::new(
                        types.iter().map(|t| arrow::datatypes::Field::new("k", t.clone(), true)).collect::<Vec<_>>(),
                    );
                    let back = RecordBatch::try_new(Arc::new(schema), table.keys(&got).unwrap()).unwrap();
                    prop_assert_eq!(back.columns(), &columns[..]);
                }
                for key in removals {
                    if let Some(group) = oracle.remove(&Some(key)) {
                        table.remove(&[group]);
                    }
                }
                let distinct: std::collections::HashSet<u32> = oracle.values().copied().collect();
                prop_assert_eq!(distinct.len(), oracle.len());
                prop_assert_eq!(table.len(), oracle.len());
                prop_assert_eq!(table.groups().len(), oracle.len());
                let (live, mut numbers) = (table.groups(), Vec::new());
                let mut other = KeyTable::new(&types).unwrap();
                other.insert(&columns, keys.len(), &mut numbers).unwrap();
                other.insert_groups(&table, &live, &mut numbers);
                prop_assert_eq!(other.keys(&numbers).unwrap(), table.keys(&live).unwrap());
                let known: Vec<Option<u8>> = oracle.keys().copied().collect();
                let found = table.find(None, &column(kind, &known), known.len()).unwrap();
                for (key, group) in known.iter().zip(found) {
                    prop_assert_eq!(Some(oracle[key]), group);
                }
            }
        }
    }
}
