//! Keys: how they are hashed, and which worker owns them.
//!
//! One specified hash decides everything that outlives a process: a key's [`KeyGroup`] is the top
//! eight bits of [`hash_columns`], and a worker owns a contiguous range of groups. Checkpoints
//! are cut by key group, so this hash is a persistent format: it is pinned by a golden test and
//! carries a version.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use std::ops::RangeInclusive;
use std::sync::Arc;

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

    /// The groups that a worker owns among `workers`; none if there are more workers than groups
    /// and it is one too many.
    ///
    /// ```
    /// # use tidemill_operators::KeyGroup;
    /// assert_eq!(KeyGroup::of_worker(0, 1), KeyGroup(0)..=KeyGroup(255));
    /// assert_eq!(KeyGroup::of_worker(1, 3), KeyGroup(86)..=KeyGroup(170));
    /// assert!(KeyGroup::of_worker(511, 512).is_empty());
    /// ```
    pub fn of_worker(worker: usize, workers: usize) -> RangeInclusive<KeyGroup> {
        let first = |worker: usize| (worker * KEY_GROUPS).div_ceil(workers);
        match (first(worker), first(worker + 1)) {
            (first, end) if first < end => KeyGroup(first as u8)..=KeyGroup((end - 1) as u8),
            _ => KeyGroup(1)..=KeyGroup(0),
        }
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

/// Which rows have no NULL among these columns; `None` if all have none. NULL equals nothing, so the
/// other rows have no key.
pub fn all_valid(columns: &[ArrayRef]) -> Option<NullBuffer> {
    columns
        .iter()
        .fold(None, |all, c| NullBuffer::union(all.as_ref(), c.logical_nulls().as_ref()))
        .filter(|nulls| nulls.null_count() > 0)
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
                0.0 => 0,
                v if v.is_nan() => f64::NAN.to_bits(),
                v => v.to_bits(),
            });
        }
        DataType::Decimal128(..) => {
            let values = column.as_primitive::<Decimal128Type>().values();
            each(column, hashes, |row| mix(values[row] as u64, (values[row] >> 64) as u64));
        }
        kind if as_integer(kind).is_some() => {
            let wide = to_int64(column);
            let values = wide.values();
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

/// A column of a type that is a 64-bit integer at heart (see [`as_integer`]), as one.
pub(crate) fn to_int64(column: &ArrayRef) -> Int64Array {
    let casts = as_integer(column.data_type()).unwrap_or_default();
    let wide = casts.iter().fold(column.clone(), |column, to| {
        cast(&column, to).expect("integers and times are 64-bit values at heart")
    });
    wide.as_primitive::<Int64Type>().clone()
}

/// The way back from [`to_int64`].
pub(crate) fn from_int64(column: &Int64Array, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    let mut column: ArrayRef = Arc::new(column.clone());
    for to in as_integer(kind).unwrap_or_default().iter().rev() {
        column = cast(&column, to)?;
    }
    cast(&column, kind)
}

/// A hash with one more value mixed in.
#[inline]
pub(crate) fn hash_with(hash: u64, value: u64) -> u64 {
    mix(hash, value)
}

/// The casts that make a 64-bit integer of a type that is one at heart.
pub(crate) fn as_integer(kind: &DataType) -> Option<&'static [DataType]> {
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
    use arrow::array::{Int32Array, StringArray};

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
    fn the_hash_is_pinned_because_checkpoints_are_cut_by_it() {
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), Some(-1), None]));
        let strings: ArrayRef =
            Arc::new(StringArray::from(vec![Some(""), Some("tidemill"), Some("tidemill rises")]));
        let floats: ArrayRef =
            Arc::new(arrow::array::Float64Array::from(vec![0.0, -0.0, f64::NAN]));
        let decimals: ArrayRef =
            Arc::new(arrow::array::Decimal128Array::from(vec![Some(1), Some(-1), None]));
        let golden = [
            [0xfd19_b9f3_193f_b19f_u64, 0xfdd5_b5fa_91be_2c1f, 0x4865_a537_aa2e_e906],
            [0xe690_1f69_dcbd_731b, 0xb33e_c6e8_8a23_a90c, 0x1467_fbad_eb0f_1f91],
            [0xfd19_b9f3_193f_b19f, 0xfd19_b9f3_193f_b19f, 0x7b04_2ca2_16b7_3a90],
            [0x9828_a475_8f07_5f37, 0xf8f6_d9e4_c48f_16df, 0x4865_a537_aa2e_e906],
            [0x2508_6c01_52e3_7527, 0x982a_5fb3_2cd2_1794, 0x5302_e103_4a51_9a72],
            [0x3959_dc29_9de5_1446, 0x7448_9877_cf28_81bb, 0x9a07_728e_36d3_a195],
        ];
        let found = [
            hashes(std::slice::from_ref(&ints)),
            hashes(std::slice::from_ref(&strings)),
            hashes(&[floats]),
            hashes(&[decimals]),
            hashes(&[ints.clone(), strings.clone()]),
            hashes(&[strings, ints]),
        ];
        assert_eq!(found, golden, "a new hash needs a new HASH_VERSION: {found:#x?}");
    }

    #[test]
    fn a_worker_owns_a_range_of_groups_and_each_group_has_one_owner() {
        for workers in [1, 2, 3, 7, 255, 256, 257, 1000] {
            for group in (0..=255).map(KeyGroup) {
                let owns = |&worker: &usize| KeyGroup::of_worker(worker, workers).contains(&group);
                let owners: Vec<usize> = (0..workers).filter(owns).collect();
                assert_eq!(owners, [group.owner(workers)]);
            }
        }
    }

    fn spread(keys: ArrayRef) -> [usize; KEY_GROUPS] {
        let mut counts = [0usize; KEY_GROUPS];
        for hash in hashes(&[keys]) {
            counts[KeyGroup::of(hash).0 as usize] += 1;
        }
        counts
    }

    #[test]
    fn groups_of_string_keys_spread_evenly() {
        let keys = (0..25_600).map(|i| format!("u-{i:06}"));
        let counts = spread(Arc::new(StringArray::from_iter_values(keys)));
        assert!(counts.iter().all(|&n| (50..200).contains(&n)), "{counts:?}");
    }

    #[test]
    fn groups_and_buckets_of_integer_keys_spread_evenly() {
        for stride in [1, 10, 256, 1000, 65_536, 3_600_000, 1 << 40] {
            let keys = (0..25_600).map(|i| i * stride);
            let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(keys));
            let counts = spread(keys.clone());
            assert!(counts.iter().all(|&n| (50..200).contains(&n)), "{stride}: {counts:?}");
            let mut buckets = vec![0u32; 1 << 15];
            hashes(&[keys]).iter().for_each(|h| buckets[(h & 0x7fff) as usize] += 1);
            let most = buckets.iter().max().copied();
            assert!(most < Some(12), "{stride}: {most:?} keys in one bucket");
        }
    }
}
