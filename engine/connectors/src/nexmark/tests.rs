//! What a table of events holds, seen from outside.

use super::Nexmark;
use crate::registry::{Connector, open_source};
use crate::source::{LaneRows, Poll, ReadSpec};
use crate::testing::{Life, Step, drain, lives, read_all, read_in_lives, table};
use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{
    DataType, Field, Fields, Int32Type, Int64Type, Schema, TimeUnit, TimestampMillisecondType,
};
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::Arc;
use tidemill_formats::Table;

const PERSON: &str = "id:i name:s emailAddress:s creditCard:s city:s state:s dateTime:t extra:s";
const AUCTION: &str = "id:i itemName:s description:s initialBid:i reserve:i dateTime:t expires:t \
                       seller:i category:i extra:s";
const BID: &str = "auction:i bidder:i price:i channel:s url:s dateTime:t extra:s";

fn row(fields: &str) -> DataType {
    let field = |field: &str| {
        let (name, data_type) = field.split_once(':').unwrap();
        let data_type = match data_type {
            "i" => DataType::Int64,
            "s" => DataType::Utf8,
            _ => DataType::Timestamp(TimeUnit::Millisecond, None),
        };
        Field::new(name, data_type, true)
    };
    DataType::Struct(Fields::from_iter(fields.split_whitespace().map(field)))
}

fn with_columns(columns: &[(&str, DataType)], options: &[(&str, &str)]) -> Table {
    let field = |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), true);
    let mut all = vec![("connector", "nexmark")];
    all.extend_from_slice(options);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    Table { schema, ..table(&all) }
}

/// Nexmark's table.
fn nexmark(options: &[(&str, &str)]) -> Table {
    let columns = [
        ("event_type", DataType::Int32),
        ("person", row(PERSON)),
        ("auction", row(AUCTION)),
        ("bid", row(BID)),
    ];
    with_columns(&columns, options)
}

/// Rows in the order of their numbers.
fn in_order(mut rows: Vec<LaneRows>) -> RecordBatch {
    let arrival = |r: &LaneRows| {
        r.rows.column(r.rows.schema().fields().len() - 1).as_primitive::<Int64Type>().value(0)
    };
    rows.sort_by_key(arrival);
    let batches: Vec<RecordBatch> = rows.iter().map(|r| r.rows.columns().clone()).collect();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn spec(table: Table) -> ReadSpec {
    ReadSpec { arrival: true, ..read_all(table) }
}

fn events_of(workers: usize, rows_per_poll: usize, table: Table) -> RecordBatch {
    let mut readers = open_source(&spec(table)).unwrap().readers(workers).unwrap();
    in_order(drain(&mut readers, rows_per_poll))
}

fn events(options: &[(&str, &str)]) -> RecordBatch {
    events_of(1, 10_000, nexmark(options))
}

/// The events of one kind, without the rows of others.
fn of_kind(events: &RecordBatch, kind: &str) -> StructArray {
    let rows = events.column_by_name(kind).unwrap();
    let is_there = arrow::compute::is_not_null(rows).unwrap();
    arrow::compute::filter(rows, &is_there).unwrap().as_struct().clone()
}

fn integers(rows: &StructArray, field: &str) -> Vec<i64> {
    rows.column_by_name(field).unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn times(rows: &StructArray, field: &str) -> Vec<i64> {
    let times = rows.column_by_name(field).unwrap();
    times.as_primitive::<TimestampMillisecondType>().values().to_vec()
}

fn strings<'a>(rows: &'a StructArray, field: &str) -> impl Iterator<Item = &'a str> {
    rows.column_by_name(field).unwrap().as_string::<i32>().iter().map(Option::unwrap)
}

#[test]
fn the_same_options_give_the_same_rows_and_another_seed_others() {
    let all = events(&[("events.num", "3000")]);
    assert_eq!(all.num_rows(), 3000);
    for (workers, rows_per_poll) in [(1, 7), (2, 100), (4, 33)] {
        let table = nexmark(&[("events.num", "3000")]);
        assert_eq!(events_of(workers, rows_per_poll, table), all, "{workers} workers");
    }
    let other = events(&[("events.num", "3000"), ("seed", "1")]);
    assert_eq!(other.column(0), all.column(0));
    assert_ne!(other.column(3), all.column(3));
}

#[test]
fn each_kind_has_its_share_and_no_other_kind_s_columns() {
    let all = events(&[("events.num", "5000")]);
    let counts = ["person", "auction", "bid"].map(|kind| of_kind(&all, kind).len());
    assert_eq!(counts, [100, 300, 4600]);
    let types = all.column(0).as_primitive::<Int32Type>();
    for row in 0..all.num_rows() {
        let is_there = [1, 2, 3].map(|column| all.column(column).is_valid(row));
        let expected = [0, 1, 2].map(|kind| types.value(row) == kind);
        assert_eq!(is_there, expected, "row {row}");
    }
    // What a row hides is NULL, too.
    let prices = all.column(3).as_struct().column_by_name("price").unwrap();
    assert_eq!(prices.null_count(), 400);
    let shares = [("person.proportion", "2"), ("auction.proportion", "0"), ("bid.proportion", "3")];
    let others = events(&[&[("events.num", "500")], shares.as_slice()].concat());
    let counts = ["person", "auction", "bid"].map(|kind| of_kind(&others, kind).len());
    assert_eq!(counts, [200, 0, 300]);
}

#[test]
fn event_time_goes_on_by_the_rate_and_never_back() {
    let all = events(&[("events.num", "5000"), ("next-event.rate", "300"), ("base-time", "5")]);
    let kinds = ["person", "auction", "bid"].map(|kind| all.column_by_name(kind).unwrap());
    let time = |row: usize| {
        let there = kinds.iter().find(|kind| kind.is_valid(row)).unwrap().as_struct();
        times(there, "dateTime")[row]
    };
    for row in 0..5000 {
        assert_eq!(time(row), 5 + row as i64 * 1000 / 300, "row {row}");
    }
}

#[test]
fn references_lead_to_persons_and_auctions_that_are_there_or_soon_will_be() {
    // So many at an event, and a few that are still to come.
    const LEAD: i64 = 10;
    let all = events(&[("events.num", "20000")]);
    let (persons, auctions, bids) =
        (of_kind(&all, "person"), of_kind(&all, "auction"), of_kind(&all, "bid"));
    assert_eq!(integers(&persons, "id"), (1000..1400).collect::<Vec<_>>());
    assert_eq!(integers(&auctions, "id"), (1000..2200).collect::<Vec<_>>());
    for (i, seller) in (0i64..).zip(integers(&auctions, "seller")) {
        assert!((1000..=1000 + i / 3 + LEAD).contains(&seller), "auction {i} of {seller}");
    }
    let (mut hot_auctions, mut hot_bidders) = (0, 0);
    let references = integers(&bids, "auction").into_iter().zip(integers(&bids, "bidder"));
    for (i, (auction, bidder)) in (0i64..).zip(references) {
        let newest = (1000 + i / 46, 1000 + i / 46 * 3 + 2);
        assert!((1000..=newest.0 + LEAD).contains(&bidder), "bid {i} by {bidder}");
        assert!((newest.1 - 100..=newest.1 + LEAD).contains(&auction), "bid {i} for {auction}");
        hot_auctions += i64::from(auction == newest.1 / 100 * 100);
        hot_bidders += i64::from(bidder == newest.0 / 100 * 100 + 1);
    }
    let share = |count| count as f64 / bids.len() as f64;
    assert!((0.48..0.53).contains(&share(hot_auctions)), "{}", share(hot_auctions));
    assert!((0.73..0.77).contains(&share(hot_bidders)), "{}", share(hot_bidders));
}

#[test]
fn values_are_of_nexmarks_kind() {
    let all = events(&[("events.num", "50000")]);
    let (persons, auctions, bids) =
        (of_kind(&all, "person"), of_kind(&all, "auction"), of_kind(&all, "bid"));
    let prices = integers(&bids, "price");
    assert!(prices.iter().all(|price| (100..=100_000_000).contains(price)));
    let below = |most: i64| prices.iter().filter(|&&p| p < most).count() as f64 / 46_000.0;
    // As many of each magnitude.
    assert!((0.32..0.35).contains(&below(10_000)) && (0.65..0.68).contains(&below(1_000_000)));
    let (first, reserve) = (integers(&auctions, "initialBid"), integers(&auctions, "reserve"));
    assert!(first.iter().zip(&reserve).all(|(first, reserve)| first + 100 <= *reserve));
    let categories: HashSet<i64> = integers(&auctions, "category").into_iter().collect();
    assert_eq!(categories, HashSet::from([10, 11, 12, 13, 14]));
    let (starts, ends) = (times(&auctions, "dateTime"), times(&auctions, "expires"));
    assert!(starts.iter().zip(&ends).all(|(start, end)| start < end));
    let states: HashSet<&str> = strings(&persons, "state").collect();
    assert_eq!(states, HashSet::from(["AZ", "CA", "ID", "OR", "WA", "WY"]));
    assert!(strings(&persons, "creditCard").all(|card| card.len() == 19));
    for (kind, mean) in [(persons, 139.0), (auctions, 390.0), (bids, 68.0)] {
        let bytes: usize = strings(&kind, "extra").map(str::len).sum();
        let actual = bytes as f64 / kind.len() as f64;
        assert!((actual - mean).abs() < 0.05 * mean, "{actual} and not {mean}");
    }
}

#[test]
fn a_table_may_declare_less_and_gets_the_same() {
    let all = events(&[("events.num", "200")]);
    let some = [("bid", row("price:i bidder:i"))];
    let some = events_of(1, 64, with_columns(&some, &[("events.num", "200")]));
    for field in ["price", "bidder"] {
        let column = |events: &RecordBatch| integers(&of_kind(events, "bid"), field);
        assert_eq!(column(&some), column(&all));
    }
}

#[test]
fn what_nexmark_does_not_know_is_refused() {
    let refused =
        |columns: &[(&str, DataType)]| Nexmark.describe(&with_columns(columns, &[])).unwrap_err();
    assert_eq!(refused(&[("bids", row(BID))]).hint, "did you mean 'bid'?");
    assert_eq!(refused(&[("bid", row("prize:i"))]).hint, "did you mean 'price'?");
    assert_eq!(refused(&[("bid", row("price:s"))]).hint, "declare it as BIGINT");
    assert!(refused(&[("person", DataType::Int64)]).problem.contains("'person'"));
}

#[test]
fn an_input_that_is_kept_alive_gives_all_events_and_no_end() {
    let table = nexmark(&[("events.num", "5"), ("keep-alive", "true")]);
    let source = open_source(&spec(table)).unwrap();
    assert!(!source.is_bounded());
    let mut readers = source.readers(1).unwrap();
    assert!(matches!(readers[0].poll(1, 10).unwrap(), Poll::Rows(_)));
    assert!(matches!(readers[0].poll(2, 10).unwrap(), Poll::Pending));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn events_go_on_where_they_stood_on_any_number_of_workers(
        lives in lives(), persons in 0u8..4, auctions in 0u8..4, seed: u64,
    ) {
        let (persons, auctions, seed) =
            (persons.to_string(), auctions.to_string(), seed.to_string());
        let table = nexmark(&[
            ("events.num", "200"),
            ("seed", &seed),
            ("person.proportion", &persons),
            ("auction.proportion", &auctions),
        ]);
        let rows = read_in_lives(&spec(table.clone()), &lives, 5);
        prop_assert_eq!(in_order(rows), events_of(1, 1000, table));
    }
}

#[test]
fn events_are_the_same_after_a_restart() {
    let table = nexmark(&[("events.num", "50")]);
    let life: Life = (2, vec![Step::Poll(0), Step::Poll(1), Step::Advance(1), Step::Poll(0)]);
    let rows = read_in_lives(&spec(table.clone()), &[life], 5);
    assert_eq!(in_order(rows), events_of(3, 9, table));
}
