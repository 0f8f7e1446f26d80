//! Merging against the definition: a map from key to entry, told every word in order.

use super::*;
use arrow::array::{ArrayRef, Int64Array, StringArray, UInt8Array};
use arrow::datatypes::{Int64Type, Schema};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Key group, and the rest of the key.
type Key = (u8, Option<i64>);

fn batch(keys: &[Key], values: Option<&[i64]>) -> RecordBatch {
    let mut fields = vec![key_group_field(), Field::new("key", DataType::Int64, true)];
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(UInt8Array::from_iter_values(keys.iter().map(|key| key.0))),
        Arc::new(keys.iter().map(|key| key.1).collect::<Int64Array>()),
    ];
    if let Some(values) = values {
        fields.push(Field::new("value", DataType::Int64, false));
        columns.push(Arc::new(Int64Array::from(values.to_vec())));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn table(name: &str, deletes: &[Key], upserts: &[(Key, i64)]) -> SnapshotTable {
    let (keys, values): (Vec<Key>, Vec<i64>) = upserts.iter().copied().unzip();
    SnapshotTable {
        name: name.into(),
        key_width: 2,
        deletes: (!deletes.is_empty()).then(|| batch(deletes, None)),
        upserts: (!upserts.is_empty()).then(|| batch(&keys, Some(&values))),
    }
}

/// A table that deletes all keys of some key groups.
fn table_under(name: &str, groups: &[u8]) -> SnapshotTable {
    let groups: Vec<Key> = groups.iter().map(|&group| (group, None)).collect();
    let deletes = batch(&groups, None).project(&[0]).unwrap();
    SnapshotTable { deletes: Some(deletes), ..table(name, &[], &[]) }
}

fn one(deletes: &[Key], upserts: &[(Key, i64)]) -> Snapshot {
    Snapshot { tables: vec![table("t", deletes, upserts)] }
}

fn keys(rows: &RecordBatch) -> Vec<Key> {
    let keys = rows.column(1).as_primitive::<Int64Type>();
    key_groups(rows).iter().copied().zip(keys).collect()
}

/// By table and key.
type State = BTreeMap<(String, Key), i64>;

fn restore(state: &mut State, snapshot: &Snapshot) {
    for table in &snapshot.tables {
        match &table.deletes {
            Some(rows) if rows.num_columns() < table.key_width => {
                let gone = key_groups(rows);
                state.retain(|(name, key), _| *name != table.name || !gone.contains(&key.0));
            }
            Some(rows) => {
                for key in keys(rows) {
                    state.remove(&(table.name.clone(), key));
                }
            }
            None => {}
        }
        if let Some(rows) = &table.upserts {
            let values = rows.column(2).as_primitive::<Int64Type>().values();
            for (key, value) in keys(rows).into_iter().zip(values) {
                state.insert((table.name.clone(), key), *value);
            }
        }
    }
}

fn state(chain: &[Snapshot]) -> State {
    let mut state = State::new();
    chain.iter().for_each(|snapshot| restore(&mut state, snapshot));
    state
}

fn any_chain() -> impl Strategy<Value = Vec<Snapshot>> {
    let key = || (0..4u8, prop::option::of(0..3i64));
    let name = || prop::sample::select(vec!["left", "right"]);
    let deletes = prop::collection::vec(key(), 0..4);
    let table = (name(), deletes, prop::collection::vec((key(), 0..100i64), 0..5))
        .prop_map(|(name, deletes, upserts)| table(name, &deletes, &upserts));
    let under = (name(), prop::collection::vec(0..4u8, 1..3))
        .prop_map(|(name, groups)| table_under(name, &groups));
    let table = prop_oneof![5 => table, 1 => under];
    let snapshot = prop::collection::vec(table, 0..4).prop_map(|tables| Snapshot { tables });
    prop::collection::vec(snapshot, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_merged_chain_means_what_the_chain_means(chain in any_chain(), cut in 0..8usize) {
        let base = merge(&chain, Link::Base).unwrap();
        prop_assert!(base.tables.iter().all(|table| table.deletes.is_none()));
        prop_assert_eq!(base.rows(), state(&chain).len(), "nothing is said twice");
        prop_assert_eq!(state(&[base]), state(&chain));
        let (older, newer) = chain.split_at(cut.min(chain.len()));
        let delta = merge(newer, Link::Delta).unwrap();
        let rest = [merge(older, Link::Base).unwrap(), delta.clone()];
        prop_assert_eq!(state(&rest), state(&chain));
        let again = merge(std::slice::from_ref(&delta), Link::Delta).unwrap();
        prop_assert_eq!(again.rows(), delta.rows(), "nothing is said twice");
    }

    #[test]
    fn the_parts_of_a_snapshot_are_the_snapshot(chain in any_chain(), border in 0..4u8) {
        let whole = merge(&chain, Link::Delta).unwrap();
        for chain in [&chain[..], std::slice::from_ref(&whole)] {
            let part = |groups: RangeInclusive<u8>| -> Vec<Snapshot> {
                let groups = KeyGroup(*groups.start())..=KeyGroup(*groups.end());
                let parts = chain.iter().map(|s| s.of_key_groups(&groups).unwrap());
                let parts: Vec<Snapshot> = parts.collect();
                for range in parts.iter().filter_map(Snapshot::key_group_range) {
                    assert!(groups.contains(range.start()) && groups.contains(range.end()));
                }
                parts
            };
            let (low, high) = (part(0..=border), part(border + 1..=255));
            let rows = |parts: &[Snapshot]| parts.iter().map(Snapshot::rows).sum::<usize>();
            prop_assert_eq!(rows(&low) + rows(&high), rows(chain));
            let mut both = state(&low);
            both.extend(state(&high));
            prop_assert_eq!(both, state(chain));
        }
    }
}

#[test]
fn the_last_word_about_a_key_wins_and_null_is_a_key() {
    let (a, b, null) = ((7, Some(1)), (7, Some(2)), (7, None));
    let chain = [one(&[], &[(a, 1), (b, 2), (null, 3)]), one(&[b], &[(a, 4), (null, 5)])];
    let base = merge(&chain, Link::Base).unwrap();
    assert_eq!(keys(base.tables[0].upserts.as_ref().unwrap()), [a, null]);
    assert_eq!(state(&[base]).into_values().collect::<Vec<_>>(), [5, 4]);
}

#[test]
fn a_base_forgets_what_is_gone_and_a_delta_says_it() {
    let key = (7, Some(1));
    let chain = [one(&[], &[(key, 1)]), one(&[key], &[])];
    assert!(merge(&chain, Link::Base).unwrap().tables.is_empty());
    let delta = merge(&chain, Link::Delta).unwrap();
    assert_eq!(keys(delta.tables[0].deletes.as_ref().unwrap()), [key]);
    assert_eq!(delta.rows(), 1);
}

/// An operator that knows rows by numbers takes the old row of a number away before it gets the
/// new one.
#[test]
fn a_key_that_was_deleted_and_written_again_is_both_in_a_delta() {
    let key = (7, Some(1));
    let delta = merge(&[one(&[key], &[]), one(&[], &[(key, 2)])], Link::Delta).unwrap();
    assert_eq!(delta.rows(), 2);
}

#[test]
fn a_deletion_of_a_prefix_deletes_what_came_before_it_and_nothing_else() {
    let (a, b, other) = ((7, Some(1)), (7, Some(2)), (8, Some(1)));
    let under = Snapshot { tables: vec![table_under("t", &[7])] };
    let chain = [one(&[], &[(a, 1), (b, 2), (other, 3)]), under, one(&[], &[(b, 4)])];
    let base = merge(&chain, Link::Base).unwrap();
    assert_eq!(keys(base.tables[0].upserts.as_ref().unwrap()), [b, other]);
    let delta = merge(&chain[1..], Link::Delta).unwrap();
    assert_eq!(delta.rows(), 2, "the prefix, and what came after it");
    assert_eq!(state(&[chain[0].clone(), delta]), state(&chain));
}

#[test]
fn within_one_table_deletions_come_first() {
    let key = (7, Some(1));
    let merged = merge(&[one(&[key], &[(key, 2)])], Link::Base).unwrap();
    assert_eq!(merged.rows(), 1);
}

#[test]
fn keys_that_differ_in_their_bits_are_different_keys() {
    let rows = |key: f64| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt8Array::from(vec![7])),
            Arc::new(arrow::array::Float64Array::from(vec![key])),
        ];
        let fields = vec![key_group_field(), Field::new("key", DataType::Float64, true)];
        let upserts = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let (name, upserts) = ("t".into(), Some(upserts));
        Snapshot { tables: vec![SnapshotTable { name, key_width: 2, deletes: None, upserts }] }
    };
    let merged = merge(&[rows(0.0), rows(-0.0), rows(0.0)], Link::Base).unwrap();
    assert_eq!(merged.rows(), 2);
}

#[test]
fn merged_rows_are_sorted_by_key_group_and_batches_are_bounded() {
    let rows = CHUNK_ROWS as i64 + 10;
    let snapshot = |value: i64| {
        let entry = |n: i64| (((n % 256) as u8, Some(n)), value);
        one(&[], &(0..rows).map(entry).collect::<Vec<_>>())
    };
    let merged = merge(&[snapshot(1), snapshot(2)], Link::Base).unwrap();
    let upserts = || merged.tables.iter().flat_map(|table| &table.upserts);
    assert_eq!(upserts().map(RecordBatch::num_rows).collect::<Vec<_>>(), [CHUNK_ROWS, 10]);
    assert!(upserts().flat_map(key_groups).is_sorted());
    assert_eq!(merged.key_group_range(), Some(KeyGroup(0)..=KeyGroup(255)));
    let last = merged.of_key_groups(&(KeyGroup(255)..=KeyGroup(255))).unwrap();
    assert_eq!(last.rows(), rows as usize / 256);
}

#[test]
fn snapshots_of_different_operators_are_not_merged() {
    let key = (7, Some(1));
    let mut narrow = one(&[key], &[]);
    narrow.tables[0].key_width = 1;
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let mut other = one(&[], &[(key, 1)]);
    let upserts = other.tables[0].upserts.as_mut().unwrap();
    let mut columns = upserts.columns().to_vec();
    columns[2] = text.clone();
    let mut fields = upserts.schema().fields().to_vec();
    fields[2] = Arc::new(Field::new("value", text.data_type().clone(), false));
    *upserts = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    for bad in [narrow, other] {
        let merged = merge(&[one(&[key], &[(key, 1)]), bad], Link::Base);
        assert!(matches!(merged, Err(OperatorError::Data(_))));
    }
}

#[test]
fn a_snapshot_of_nothing_has_no_key_groups() {
    assert!(merge(&[], Link::Base).unwrap().is_empty());
    assert_eq!(one(&[], &[]).key_group_range(), None);
}
