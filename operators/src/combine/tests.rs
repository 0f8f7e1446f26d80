use super::*;
use crate::oracle::{self, Fact, KEY, TIME, calls, shown};

fn fact(key: u8, time: i64) -> (Fact, i64) {
    (Fact { key: Some(key), time, value: None, text: None, keep: None }, 1)
}

fn counts_by_key() -> GroupAggregateSpec {
    GroupAggregateSpec {
        keys: vec![KEY],
        aggregates: calls().into_iter().take(1).collect(),
        updating: true,
        emit_retractions: true,
        arrival: None,
        ttl_ms: None,
    }
}

fn counts_in(window: WindowKind) -> WindowAggregateSpec {
    WindowAggregateSpec {
        window,
        zone: None,
        time: TIME,
        keys: vec![KEY],
        aggregates: calls().into_iter().take(1).collect(),
        updating: false,
        arrival: None,
    }
}

fn lines(batches: &[Batch]) -> Vec<String> {
    shown(batches).into_iter().map(|(row, _)| row.join(" ")).collect()
}

#[test]
fn a_key_is_sent_once_with_the_number_of_its_rows_and_what_its_aggregates_hold() {
    let spec = counts_by_key();
    let mut combiner = Combiner::of_groups(&spec, &oracle::schema(), When::Always).unwrap();
    let rows = [fact(1, 0), fact(2, 0), fact(1, 0), (fact(1, 0).0, -1), fact(1, 0)];
    let combined = combiner.combine(&oracle::batches(&rows, 2), Watermark::MIN, 1).unwrap();
    assert_eq!(lines(&combined.partials), ["1 2 2", "2 1 1"]);
    assert!(combined.rows.is_empty());
}

#[test]
fn nothing_is_held_between_two_epochs() {
    let spec = counts_by_key();
    let mut combiner = Combiner::of_groups(&spec, &oracle::schema(), When::Always).unwrap();
    let mut combine = |keys: &[u8]| {
        let rows: Vec<_> = keys.iter().map(|&key| fact(key, 0)).collect();
        let combined = combiner.combine(&oracle::batches(&rows, 9), Watermark::MIN, 1).unwrap();
        lines(&combined.partials)
    };
    assert_eq!(combine(&[1, 2, 2]), ["1 1 1", "2 2 2"]);
    assert_eq!(combine(&[3, 2]), ["3 1 1", "2 1 1"]);
    assert_eq!(combine(&[]), [] as [&str; 0]);
}

#[test]
fn what_came_and_went_may_leave_something_behind() {
    // A row goes of which the insertion is with another worker: the number of rows says nothing.
    let mut spec = counts_by_key();
    spec.aggregates = calls().into_iter().filter(|call| call.name == "Sum").take(1).collect();
    let mut combiner = Combiner::of_groups(&spec, &oracle::schema(), When::Always).unwrap();
    let fact = |value| Fact { value: Some(value), ..fact(1, 0).0 };
    let rows = oracle::batches(&[(fact(5), 1), (fact(3), -1)], 9);
    let combined = combiner.combine(&rows, Watermark::MIN, 1).unwrap();
    assert_eq!(lines(&combined.partials), ["1 0 2 0"], "key, rows, sum, values");
}

#[test]
fn a_key_is_sent_once_for_each_pane_and_late_rows_as_they_came() {
    let spec = counts_in(WindowKind::Hop { slide_ms: 10, size_ms: 20, offset_ms: 0 });
    let mut combiner = Combiner::of_windows(&spec, &oracle::schema(), When::Always).unwrap();
    let rows = [fact(1, 3), fact(1, 12), fact(1, 25), fact(2, 25), fact(1, 14)];
    let rows = oracle::batches(&rows, 9);
    // [-10, 10) is closed, so the first row is missing in it, and counts in [0, 20).
    let combined = combiner.combine(&rows, Watermark(9), 1).unwrap();
    assert_eq!(combined.rows.iter().map(Batch::len).collect::<Vec<_>>(), [1]);
    assert_eq!(lines(&combined.rows)[0][..2], *"1 ");
    assert_eq!(lines(&combined.partials), ["1 10 20 2", "1 20 30 1", "2 20 30 1"]);
}

#[test]
fn what_needs_the_rows_themselves_is_an_obstacle() {
    let group = |name: &str, updating: bool| {
        let aggregates: Vec<_> = calls().into_iter().filter(|call| call.name == name).collect();
        let last = aggregates.into_iter().next_back();
        let mut spec = GroupAggregateSpec { updating, ..counts_by_key() };
        spec.aggregates.extend(last);
        spec.obstacle()
    };
    for name in ["CountRows", "Avg", "VarPop"] {
        assert_eq!(group(name, true), None, "{name}");
    }
    assert_eq!((group("Min", false), group("Min", true)), (None, Some(Obstacle::Call(1))));
    for name in ["First", "Last", "ArrayAgg", "Collect"] {
        assert_eq!(group(name, false), Some(Obstacle::Call(1)), "{name}");
    }
    let sessions = counts_in(WindowKind::Session { gap_ms: 10 });
    assert_eq!(sessions.obstacle(), Some(Obstacle::Sessions));
    let whole = calls().into_iter().find(|call| call.distinct).unwrap();
    assert!(!whole.is_of_parts(Retraction::Never));
}
