//! [`Feed`]: a source whose records the process itself hands in.
//!
//! ```text
//! push(record), push(record), …, end()  ─►  queue  ─►  the first worker's reader: one lane
//! ```
//!
//! Records are decoded by the table's own format, as if a topic had brought them. They are
//! numbered from 0 in the order in which they are handed in, and the number is their position:
//! a process that hands in the same records after a restart goes on where it stood, for what
//! comes before the position is passed over.
//!
//! The invariant: **records are read in the order in which they were handed in**. So one worker
//! reads all of them; the others' shares end at once.

use crate::record_rows::{BadRecords, Origin, RecordRows};
use crate::source::{
    BadInputs, ConnectorError, Lane, LaneRows, LaneState, Poll, Positions, ReadSpec, Reader, Source,
};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidemill_operators::Epoch;

/// The one lane of a feed.
const LANE: Lane = 0;

/// A queue of records. Clones are hands on the same queue.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Vec<u8>>,
    /// The number of the first record that waits.
    first: i64,
    is_over: bool,
}

impl Feed {
    /// Hands in records.
    pub fn push(&self, records: impl IntoIterator<Item = Vec<u8>>) {
        self.lock().waiting.extend(records);
    }

    /// Says that no more records will come.
    pub fn end(&self) {
        self.lock().is_over = true;
    }

    /// Whether it was said that no more records will come.
    pub fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// How many records wait to be read.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// The feed as the source of a table.
    pub fn source(&self, spec: &ReadSpec) -> Box<dyn Source> {
        Box::new(FeedSource { feed: self.clone(), spec: spec.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic in another thread ends the job anyway; what it left is consistent.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next records, with the number of the first; `None` if there will be no more.
    fn take(&self, records_max: usize) -> Option<(i64, Vec<Vec<u8>>)> {
        let mut queue = self.lock();
        if queue.is_over && queue.waiting.is_empty() {
            return None;
        }
        let count = records_max.min(queue.waiting.len());
        let first = queue.first;
        queue.first += count as i64;
        Some((first, queue.waiting.drain(..count).collect()))
    }
}

struct FeedSource {
    feed: Feed,
    spec: ReadSpec,
}

impl Source for FeedSource {
    fn is_bounded(&self) -> bool {
        false
    }

    fn readers(&self, workers: usize) -> Result<Vec<Box<dyn Reader>>, ConnectorError> {
        let table = &self.spec.table;
        let positions = self.spec.positions.as_ref();
        let mut readers: Vec<Box<dyn Reader>> = vec![Box::new(FeedReader {
            feed: self.feed.clone(),
            place: table.name.clone(),
            rows: RecordRows::new(&self.spec, |_| Origin::Value)?,
            bad: BadRecords::new(table),
            next: positions.and_then(|p| p.get(&table.name).copied()).unwrap_or(0),
            news: Some(LaneState::Active),
        })];
        readers.resize_with(workers, || Box::new(NoShare));
        Ok(readers)
    }
}

struct FeedReader {
    feed: Feed,
    place: String,
    rows: RecordRows,
    bad: BadRecords,
    /// The number of the next record to decode; those before it are passed over.
    next: i64,
    /// What has not been said of the lane yet.
    news: Option<LaneState>,
}

impl Reader for FeedReader {
    fn poll(&mut self, _epoch: Epoch, max_rows: usize) -> Result<Poll, ConnectorError> {
        let Some((first, records)) = self.feed.take(max_rows.max(1)) else {
            self.news = Some(LaneState::Finished);
            return Ok(Poll::Finished);
        };
        for (number, record) in (first..).zip(&records) {
            if number < self.next {
                continue;
            }
            if let Err(bad) = self.rows.decode(record, None, number) {
                self.bad.push(|| self.place.clone(), number, bad, record);
            }
            self.next = number + 1;
        }
        let rows = self.rows.finish(&[])?;
        Ok(match rows.is_empty() {
            true => Poll::Pending,
            false => Poll::Rows(vec![LaneRows { lane: LANE, rows }]),
        })
    }

    fn lanes(&mut self) -> Vec<(Lane, LaneState)> {
        self.news.take().map(|state| (LANE, state)).into_iter().collect()
    }

    fn take_bad(&mut self) -> BadInputs {
        self.bad.take()
    }

    fn positions(&self) -> Positions {
        Positions::from([(self.place.clone(), self.next)])
    }

    fn lag(&self) -> Option<u64> {
        Some(self.feed.waiting() as u64)
    }
}

/// The reader of a worker that has nothing to read.
struct NoShare;

impl Reader for NoShare {
    fn poll(&mut self, _epoch: Epoch, _max_rows: usize) -> Result<Poll, ConnectorError> {
        Ok(Poll::Finished)
    }

    fn lanes(&mut self) -> Vec<(Lane, LaneState)> {
        Vec::new()
    }

    fn take_bad(&mut self) -> BadInputs {
        BadInputs::default()
    }

    fn positions(&self) -> Positions {
        Positions::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{drain, read_all, table};
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    fn record(id: i64) -> Vec<u8> {
        format!("{{\"id\":{id},\"name\":\"x\"}}").into_bytes()
    }

    fn spec() -> ReadSpec {
        read_all(table(&[("format", "json")]))
    }

    fn ids(rows: &[LaneRows]) -> Vec<i64> {
        let ids = |r: &LaneRows| r.rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        rows.iter().flat_map(ids).collect()
    }

    #[test]
    fn records_are_read_in_order_by_one_worker_until_the_feed_ends() {
        let feed = Feed::default();
        let mut readers = feed.source(&spec()).readers(3).unwrap();
        assert!(matches!(readers[0].poll(1, 10).unwrap(), Poll::Pending), "nothing yet");
        assert_eq!(readers[0].lanes(), [(LANE, LaneState::Active)]);
        feed.push((0..100).map(record));
        assert_eq!(readers[0].lag(), Some(100));
        feed.push((100..103).map(record));
        feed.end();
        assert_eq!(ids(&drain(&mut readers, 7)), (0..103).collect::<Vec<_>>());
        assert_eq!(readers[0].lanes(), [(LANE, LaneState::Finished)]);
        assert!(readers[1].lanes().is_empty());
    }

    #[test]
    fn a_bad_record_is_told_with_its_number() {
        let feed = Feed::default();
        feed.push([record(1), b"nonsense".to_vec(), record(3)]);
        feed.end();
        let mut readers = feed.source(&spec()).readers(1).unwrap();
        assert_eq!(ids(&drain(&mut readers, 10)), [1, 3]);
        let bad = readers[0].take_bad();
        assert_eq!((bad.count, bad.records[0].position), (1, 1));
        assert_eq!(bad.records[0].record, b"nonsense");
    }

    #[test]
    fn what_is_handed_in_again_is_read_from_the_position_on() {
        let feed = Feed::default();
        feed.push((0..10).map(record));
        let mut readers = feed.source(&spec()).readers(1).unwrap();
        let Poll::Rows(first) = readers[0].poll(1, 4).unwrap() else { panic!("rows") };
        assert_eq!(ids(&first), [0, 1, 2, 3]);
        let again = Feed::default();
        again.push((0..10).map(record));
        again.end();
        let spec = ReadSpec { positions: Some(readers[0].positions()), ..spec() };
        let mut readers = again.source(&spec).readers(1).unwrap();
        assert_eq!(ids(&drain(&mut readers, 3)), [4, 5, 6, 7, 8, 9]);
    }
}
