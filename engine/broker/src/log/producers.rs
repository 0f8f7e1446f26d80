//! [`Producers`]: what a partition knows of those who write to it with an id.
//!
//! It answers whether a batch is the next one, one that is there already, or one that must not
//! come; and up to which offset all transactions are decided. It is a function of the log alone,
//! but for the enrolments: replayed from the log it is the same again.
//!
//! A transactional batch is taken only from a producer that the coordinator has **enrolled** for
//! its current transaction here, and the marker that ends the transaction takes the enrolment away
//! in the same step. So no batch can slip in after its transaction has ended, and hang there
//! undecided.

use super::batch::{Header, Kind, Outcome, ProducerEpoch, sequence_after};
use std::collections::{BTreeMap, HashMap, VecDeque};
use thiserror::Error;

/// As many of its last batches does a producer repeat at most: it has that many under way.
const BATCHES_REMEMBERED: usize = 5;

/// An aborted transaction: readers of committed records skip the producer's batches in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aborted {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
    /// The marker's.
    pub(crate) last_offset: i64,
}

/// A batch that a producer wrote, to be known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) first_sequence: i32,
    pub(crate) last_sequence: i32,
    pub(crate) base_offset: i64,
    pub(crate) timestamp_ms: i64,
}

/// A producer, as one partition knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) epoch: i16,
    /// Of this epoch, the last one at the end.
    pub(crate) written: VecDeque<Written>,
    /// When something of it came here, by this machine's clock.
    pub(crate) last_seen_ms: i64,
    /// The first offset of the transaction that is open here.
    pub(crate) open_since: Option<i64>,
    pub(crate) enrolled: bool,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Append,
    /// It is here already: answer as the first time.
    Duplicate(Written),
}

/// Why a batch must not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum SequenceError {
    #[error("the producer has been fenced by a later one")]
    Fenced,
    #[error("not the producer's next batch")]
    OutOfOrder,
    #[error("the partition is not part of an open transaction of the producer")]
    NotEnrolled,
}

/// The producers of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Producers {
    by_id: HashMap<i64, Producer>,
    /// Open transactions by their first offset.
    open: BTreeMap<i64, i64>,
}

impl Producer {
    fn new(epoch: i16) -> Producer {
        Producer {
            epoch,
            written: VecDeque::new(),
            last_seen_ms: 0,
            open_since: None,
            enrolled: false,
        }
    }

    fn next_sequence(&self) -> Option<i32> {
        self.written.back().map(|last| sequence_after(last.last_sequence, 1))
    }
}

impl Producers {
    /// Judges a batch that a client sent. Changes nothing.
    pub(crate) fn judge(&self, header: &Header) -> Result<Verdict, SequenceError> {
        let Some(producer) = header.producer() else { return Ok(Verdict::Append) };
        let known = self.by_id.get(&producer.id);
        if known.is_some_and(|known| producer.epoch < known.epoch) {
            return Err(SequenceError::Fenced);
        }
        let same_epoch = known.filter(|known| known.epoch == producer.epoch);
        if let Some(written) = same_epoch.and_then(|known| known.find(header)) {
            return Ok(Verdict::Duplicate(written));
        }
        let transactional = header.kind() == Kind::Transactional;
        if transactional != same_epoch.is_some_and(|known| known.enrolled) {
            return Err(SequenceError::NotEnrolled);
        }
        let expected = match (known, same_epoch) {
            // Its earlier batches may have been deleted with their segments: any start will do.
            (None, _) => return Ok(Verdict::Append),
            (Some(_), Some(same)) => same.next_sequence(),
            (Some(_), None) => None,
        };
        match header.base_sequence == expected.unwrap_or(0) {
            true => Ok(Verdict::Append),
            false => Err(SequenceError::OutOfOrder),
        }
    }

    /// Notes a batch of data that is in the log at `base_offset`.
    pub(crate) fn note(
        &mut self,
        header: &Header,
        base_offset: i64,
        timestamp_ms: i64,
        now_ms: i64,
    ) {
        let Some(ProducerEpoch { id, epoch }) = header.producer() else { return };
        let producer = self.by_id.entry(id).or_insert_with(|| Producer::new(epoch));
        producer.move_to(epoch);
        if producer.written.len() == BATCHES_REMEMBERED {
            producer.written.pop_front();
        }
        producer.last_seen_ms = now_ms;
        producer.written.push_back(Written {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset,
            timestamp_ms,
        });
        if header.kind() == Kind::Transactional && producer.open_since.is_none() {
            producer.open_since = Some(base_offset);
            self.open.insert(base_offset, id);
        }
    }

    /// Notes a marker that is in the log at `offset`: the transaction is over.
    pub(crate) fn end(
        &mut self,
        marked: ProducerEpoch,
        outcome: Outcome,
        offset: i64,
        now_ms: i64,
    ) -> Option<Aborted> {
        let producer = self.by_id.entry(marked.id).or_insert_with(|| Producer::new(marked.epoch));
        producer.move_to(marked.epoch);
        producer.enrolled = false;
        producer.last_seen_ms = now_ms;
        let first_offset = producer.open_since.take()?;
        self.open.remove(&first_offset);
        let aborted = Aborted { producer_id: marked.id, first_offset, last_offset: offset };
        (outcome == Outcome::Abort).then_some(aborted)
    }

    /// Lets transactional batches of a producer in, until the marker. An older epoch than the one
    /// that is known here changes nothing.
    pub(crate) fn enrol(&mut self, enrolled: ProducerEpoch, now_ms: i64) {
        let fresh = || Producer::new(enrolled.epoch);
        let producer = self.by_id.entry(enrolled.id).or_insert_with(fresh);
        if producer.epoch <= enrolled.epoch {
            producer.move_to(enrolled.epoch);
            producer.enrolled = true;
            producer.last_seen_ms = now_ms;
        }
    }

    /// Producers whose transactions are open, with the epochs of their batches.
    pub(crate) fn open(&self) -> Vec<ProducerEpoch> {
        let epoch = |&id: &i64| ProducerEpoch { id, epoch: self.by_id[&id].epoch };
        self.open.values().map(epoch).collect()
    }

    /// Whether a producer's transaction is open, in records or by enrolment alone.
    pub(crate) fn is_in_transaction(&self, id: i64) -> bool {
        self.by_id.get(&id).is_some_and(|p| p.enrolled || p.open_since.is_some())
    }

    /// The first offset that is not decided yet.
    pub(crate) fn first_open_offset(&self) -> Option<i64> {
        self.open.keys().next().copied()
    }

    /// Forgets producers that have written nothing since a time and have nothing open.
    pub(crate) fn expire(&mut self, before_ms: i64) {
        self.by_id
            .retain(|_, p| p.last_seen_ms >= before_ms || p.enrolled || p.open_since.is_some());
    }

    /// All of them, for a summary. Enrolments are the coordinator's to repeat.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (i64, &Producer)> {
        self.by_id.iter().map(|(&id, producer)| (id, producer))
    }

    /// Puts back what [`Producers::iter`] gave.
    pub(crate) fn insert(&mut self, id: i64, producer: Producer) {
        if let Some(first_offset) = producer.open_since {
            self.open.insert(first_offset, id);
        }
        self.by_id.insert(id, producer);
    }
}

impl Producer {
    fn find(&self, header: &Header) -> Option<Written> {
        let (first, last) = (header.base_sequence, header.last_sequence());
        let same = |w: &&Written| w.first_sequence == first && w.last_sequence == last;
        self.written.iter().find(same).copied()
    }

    /// Numbers begin anew with each epoch.
    fn move_to(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.written.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::tests::sent;
    use super::*;

    const WRITER: ProducerEpoch = ProducerEpoch { id: 9, epoch: 0 };
    const SUCCESSOR: ProducerEpoch = ProducerEpoch { id: 9, epoch: 1 };

    fn header(producer: ProducerEpoch, sequence: i32, kind: Kind) -> Header {
        Header::read(&sent(Some((producer, sequence)), kind, &[1, 2])).unwrap()
    }

    fn plain(producer: ProducerEpoch, sequence: i32) -> Header {
        header(producer, sequence, Kind::Plain)
    }

    #[test]
    fn a_repeated_batch_is_answered_as_the_first_time_and_a_gap_is_refused() {
        let mut producers = Producers::default();
        for (index, base_offset) in [(0, 10), (1, 20), (2, 30)] {
            let batch = plain(WRITER, 2 * index);
            assert_eq!(producers.judge(&batch), Ok(Verdict::Append));
            producers.note(&batch, base_offset, 0, 0);
        }
        let Ok(Verdict::Duplicate(first)) = producers.judge(&plain(WRITER, 2)) else { panic!() };
        assert_eq!(first.base_offset, 20);
        assert_eq!(producers.judge(&plain(WRITER, 8)), Err(SequenceError::OutOfOrder));
        assert_eq!(producers.judge(&plain(WRITER, 3)), Err(SequenceError::OutOfOrder));
    }

    #[test]
    fn a_later_epoch_fences_and_begins_at_zero() {
        let mut producers = Producers::default();
        producers.note(&plain(WRITER, 0), 0, 0, 0);
        assert_eq!(producers.judge(&plain(SUCCESSOR, 2)), Err(SequenceError::OutOfOrder));
        assert_eq!(producers.judge(&plain(SUCCESSOR, 0)), Ok(Verdict::Append));
        producers.note(&plain(SUCCESSOR, 0), 2, 0, 0);
        assert_eq!(producers.judge(&plain(WRITER, 2)), Err(SequenceError::Fenced));
    }

    #[test]
    fn a_transactional_batch_needs_an_enrolment_which_the_marker_takes_away() {
        let mut producers = Producers::default();
        let batch = |sequence| header(WRITER, sequence, Kind::Transactional);
        assert_eq!(producers.judge(&batch(0)), Err(SequenceError::NotEnrolled));
        producers.enrol(WRITER, 0);
        assert_eq!(producers.judge(&batch(0)), Ok(Verdict::Append));
        producers.note(&batch(0), 5, 0, 0);
        assert_eq!(producers.first_open_offset(), Some(5));
        let aborted = producers.end(WRITER, Outcome::Abort, 7, 0);
        assert_eq!(aborted, Some(Aborted { producer_id: 9, first_offset: 5, last_offset: 7 }));
        assert_eq!(producers.first_open_offset(), None);
        assert_eq!(producers.judge(&batch(2)), Err(SequenceError::NotEnrolled));
        // A repetition of what was written is still answered.
        assert!(matches!(producers.judge(&batch(0)), Ok(Verdict::Duplicate(_))));
    }

    #[test]
    fn a_marker_of_a_later_epoch_fences_the_zombie() {
        let mut producers = Producers::default();
        producers.enrol(WRITER, 0);
        producers.note(&header(WRITER, 0, Kind::Transactional), 0, 0, 0);
        producers.end(SUCCESSOR, Outcome::Abort, 2, 0);
        let zombie = header(WRITER, 2, Kind::Transactional);
        assert_eq!(producers.judge(&zombie), Err(SequenceError::Fenced));
        producers.enrol(WRITER, 0);
        assert_eq!(producers.judge(&zombie), Err(SequenceError::Fenced));
    }
}
