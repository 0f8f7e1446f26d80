//! Keys: how they are hashed, and which worker owns them.
//!
//! One specified hash decides everything that outlives a process: a key's [`KeyGroup`] is the top
//! eight bits of [`hash_columns`], and a worker owns a contiguous range of groups. Checkpoints
//! are cut by key group, so this hash is a persistent format: it is pinned by a golden test and
//! carries a version.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit};
use arrow::row::{RowConverter, SortField};

/// The version of the hash below, written into every checkpoint.
pub const HASH_VERSION: u32 = 1;

/// Number of key groups: the upper bound of useful workers.
pub const KEY_GROUPS: usize = 256;

/// One of 256 slices of the key space, the unit in which state moves between workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyGroup(pub u8);

impl KeyGroup {
    /// The group of a key's hash: its top eight bits.
    #[inline]
    pub fn of(hash: u64) -> KeyGroup {
        KeyGroup((hash >> 56) as u8)
    }

    /// The worker that owns the group among `workers`.
    ///
    /// ```
    /// # use tidemill_operators::KeyGroup;
    /// assert_eq!(KeyGroup(0).owner(2), 0);
    /// assert_eq!(KeyGroup(127).owner(2), 0);
    /// assert_eq!(KeyGroup(128).owner(2), 1);
    /// assert_eq!(KeyGroup(255).owner(3), 2);
    /// ```
    #[inline]
    pub fn owner(self, workers: usize) -> usize {
        (self.0 as usize * workers) >> 8
    }
}

const SEED: u64 = 0x7469_6465_6d69_6c6c; // "tidemill"
const NULL: u64 = 0x6e75_6c6c_6e75_6c6c; // "nullnull"
const MULTIPLY_A: u64 = 0x9e37_79b9_7f4a_7c15;
const MULTIPLY_B: u64 = 0xe703_7ed1_a0b4_28db;

/// Folds a 128-bit product: every bit of `a` and `b` reaches every bit of the result.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[inline]
fn mix(state: u64, value: u64) -> u64 {
    fold(state ^ value ^ MULTIPLY_A, MULTIPLY_B ^ value.rotate_left(32))
}

/// Hash of a byte string, little-endian words with the length mixed in last.
#[inline]
fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut state = SEED;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        state = mix(state, u64::from_le_bytes(word.try_into().expect("eight bytes")));
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let mut last = [0u8; 8];
        last[..rest.len()].copy_from_slice(rest);
        state = mix(state, u64::from_le_bytes(last));
    }
    mix(state, bytes.len() as u64)
}

/// Hashes the key columns of every row. Integers, dates and times hash by their 64-bit value
/// whatever their width, so that an `INT` and a `BIGINT` of equal value meet on one worker.
///
/// No key column at all (a global aggregate) gives every row the same hash.
pub fn hash_columns(columns: &[ArrayRef], rows: usize, hashes: &mut Vec<u64>) {
    hashes.clear();
    hashes.resize(rows, SEED);
    for column in columns {
        hash_column(column, hashes);
    }
}

/// Hashes the columns at `keys` of a batch. See [`hash_columns`].
pub fn hash_keys(batch: &RecordBatch, keys: &[usize], hashes: &mut Vec<u64>) {
    let columns: Vec<ArrayRef> = keys.iter().map(|&k| batch.column(k).clone()).collect();
    hash_columns(&columns, batch.num_rows(), hashes);
}

fn hash_column(column: &ArrayRef, hashes: &mut [u64]) {
    match column.data_type() {
        DataType::Utf8 => {
            let strings = column.as_string::<i32>();
            each(column, hashes, |row| hash_bytes(strings.value(row).as_bytes()));
        }
        DataType::Binary => {
            let bytes = column.as_binary::<i32>();
            each(column, hashes, |row| hash_bytes(bytes.value(row)));
        }
        DataType::Float32 | DataType::Float64 => {
            let wide = cast(column, &DataType::Float64).expect("floats widen");
            let values = wide.as_primitive::<Float64Type>().values();
            // -0.0 and 0.0 are one key, and so are all NaNs.
            each(column, hashes, |row| match values[row] {
                v if v == 0.0 => 0,
                v if v.is_nan() => f64::NAN.to_bits(),
                v => v.to_bits(),
            });
        }
        DataType::Decimal128(..) => {
            let values = column.as_primitive::<Decimal128Type>().values();
            each(column, hashes, |row| mix(values[row] as u64, (values[row] >> 64) as u64));
        }
        kind if as_integer(kind).is_some() => {
            let wide =
                as_integer(kind).expect("just asked").iter().fold(column.clone(), |c, to| {
                    cast(&c, to).expect("integers and times are 64-bit values at heart")
                });
            let values = wide.as_primitive::<Int64Type>().values();
            each(column, hashes, |row| values[row] as u64);
        }
        _ => {
            let sort = SortField::new(column.data_type().clone());
            let converter = RowConverter::new(vec![sort]).expect("a type that can be a key");
            let rows = converter.convert_columns(std::slice::from_ref(column)).expect("same type");
            each(column, hashes, |row| hash_bytes(rows.row(row).as_ref()));
        }
    }
}

/// The casts that make a 64-bit integer of a type that is one at heart.
fn as_integer(kind: &DataType) -> Option<&'static [DataType]> {
    const DIRECT: &[DataType] = &[DataType::Int64];
    const BY_INT32: &[DataType] = &[DataType::Int32, DataType::Int64];
    match kind {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Timestamp(..)
        | DataType::Time64(_)
        | DataType::Date64 => Some(DIRECT),
        DataType::Date32 | DataType::Time32(TimeUnit::Second | TimeUnit::Millisecond) => {
            Some(BY_INT32)
        }
        _ => None,
    }
}

#[inline]
fn each(column: &ArrayRef, hashes: &mut [u64], value: impl Fn(usize) -> u64) {
    match column.nulls() {
        None => {
            for (row, hash) in hashes.iter_mut().enumerate() {
                *hash = mix(*hash, value(row));
            }
        }
        Some(nulls) => {
            for (row, hash) in hashes.iter_mut().enumerate() {
                *hash = mix(*hash, if nulls.is_null(row) { NULL } else { value(row) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, Int64Array, StringArray};
    use std::sync::Arc;

    fn hashes(columns: &[ArrayRef]) -> Vec<u64> {
        let mut out = Vec::new();
        hash_columns(columns, columns[0].len(), &mut out);
        out
    }

    #[test]
    fn equal_integers_of_any_width_share_a_hash() {
        let narrow: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), None]));
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
        assert_eq!(hashes(&[narrow]), hashes(&[wide]));
    }

    #[test]
    fn groups_of_string_keys_spread_evenly() {
        let keys: ArrayRef =
            Arc::new(StringArray::from_iter_values((0..25_600).map(|i| format!("u-{i:06}"))));
        let mut counts = [0usize; KEY_GROUPS];
        for hash in hashes(&[keys]) {
            counts[KeyGroup::of(hash).0 as usize] += 1;
        }
        assert!(counts.iter().all(|&n| (50..200).contains(&n)), "{counts:?}");
    }
}
