//! [`Scout`]: which partitions there are, where each is read from and, if the input ends, up to
//! where.
//!
//! Ends are positions taken when the job first starts, not counts of records: transactions leave
//! records of their own in a partition that nobody ever sees. A partition found later is read from
//! its beginning, whatever the options say: it was empty when the job started.
//!
//! Starts and ends are decided once in a job's life. A checkpoint keeps both, from the first one
//! on, so that a restart neither loses what came in between nor ends elsewhere.

use super::client::{Consumer, consumer, failed};
use super::settings::{Place, Reset, Settings, TopicNames};
use crate::source::{ConnectorError, Lane, Positions};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::metadata::Metadata;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the brokers and topics are waited for when a job starts.
pub(crate) const STARTUP_TIMEOUT: Duration = Duration::from_secs(60);

/// How long one request may take.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait before asking again.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// Lanes of a topic: `topic << LANE_PARTITION_BITS | partition`.
const LANE_PARTITION_BITS: u32 = 20;

/// A partition to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub topic: Arc<str>,
    pub partition: i32,
    pub lane: Lane,
    /// The first offset to read; unknown: the first there is.
    pub start: Option<i64>,
    /// The offset at which reading ends.
    pub stop: Option<i64>,
    /// It never held a record.
    pub is_empty: bool,
}

impl Partition {
    /// Its name in positions and messages.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.topic, self.partition)
    }
}

/// The name in positions of a partition's end.
pub(crate) fn end_name(name: &str) -> String {
    format!("{name}/end")
}

/// A partition that was being read and is not there any more, by its name.
fn lost<'a>(positions: &'a Positions, found: &[Partition]) -> Option<&'a str> {
    let found: BTreeSet<String> = found.iter().map(Partition::name).collect();
    let is_partition = |name: &&String| !name.ends_with("/end");
    let mut names = positions.keys().filter(is_partition);
    names.find(|name| !found.contains(*name)).map(String::as_str)
}

/// A partition as the brokers know it: topic and number.
type Found = (Arc<str>, i32);

/// What the brokers say of a partition.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    low: i64,
    high: i64,
    committed: Option<i64>,
    /// The first offset at the asked time or later.
    at_start_time: Option<i64>,
    at_stop_time: Option<i64>,
}

/// Where to start in a partition; `None` is its beginning.
fn start(place: &Place, partition: i32, facts: Facts) -> Result<Option<i64>, String> {
    Ok(match place {
        Place::Earliest => None,
        Place::Latest => Some(facts.high),
        Place::Timestamp(_) => Some(facts.at_start_time.unwrap_or(facts.high)),
        Place::Offsets(offsets) => offsets.get(&partition).copied(),
        Place::Group(reset) => match (facts.committed, reset) {
            (Some(offset), _) => Some(offset),
            (None, Some(Reset::Earliest)) => None,
            (None, Some(Reset::Latest)) => Some(facts.high),
            (None, None) => {
                return Err(format!(
                    "the consumer group has committed no offset for partition {partition}; set \
                     'scan.startup.mode' to 'earliest-offset' or 'latest-offset', or \
                     'properties.auto.offset.reset' to 'earliest' or 'latest'"
                ));
            }
        },
    })
}

/// Where to stop in a partition.
fn stop(place: &Place, partition: i32, facts: Facts) -> i64 {
    match place {
        Place::Earliest => facts.low,
        Place::Latest => facts.high,
        Place::Timestamp(_) => facts.at_stop_time.unwrap_or(facts.high),
        Place::Offsets(offsets) => offsets.get(&partition).copied().unwrap_or(facts.high),
        Place::Group(_) => facts.committed.unwrap_or(facts.high),
    }
}

/// Looks for partitions, at the start and from time to time.
pub(crate) struct Scout {
    settings: Settings,
    consumer: Consumer,
    /// Topics in the order in which they were found: their places make the lanes' numbers.
    topics: Vec<Arc<str>>,
    known: BTreeSet<(usize, i32)>,
}

impl Scout {
    pub(crate) fn new(settings: Settings) -> Result<Self, ConnectorError> {
        let topics = match &settings.topics {
            TopicNames::Listed(names) => names.iter().map(|name| name.as_str().into()).collect(),
            TopicNames::Pattern(_) => vec![],
        };
        let consumer = consumer(&settings, 16)?;
        Ok(Scout { settings, consumer, topics, known: BTreeSet::new() })
    }

    /// The partitions that there are when the job starts. Waits until every listed topic exists.
    pub(crate) fn first(
        &mut self,
        positions: Option<&Positions>,
    ) -> Result<Vec<Partition>, ConnectorError> {
        let deadline = Instant::now() + STARTUP_TIMEOUT;
        let found = retry(deadline, &self.settings, || self.look_for_all())?;
        let added = self.add(found);
        let mut partitions = self.partitions(&added);
        if let Some(lost) = positions.and_then(|positions| lost(positions, &partitions)) {
            return Err(self.cannot_start(format!(
                "partition '{lost}' was read before the job's last checkpoint, and is not there \
                 any more; bring it back, or start anew"
            )));
        }
        let facts = self.facts(&added, deadline)?;
        for (partition, facts) in partitions.iter_mut().zip(facts) {
            let resumed = positions.and_then(|p| p.get(&partition.name()).copied());
            partition.is_empty = facts.high == 0;
            partition.start = match (positions, resumed) {
                (_, Some(offset)) => Some(offset),
                // Found after the job first started, and nothing was read of it yet.
                (Some(_), None) => None,
                (None, None) => start(&self.settings.start, partition.partition, facts)
                    .map_err(|cause| self.cannot_start(cause))?,
            };
            let number = partition.partition;
            let end = positions.and_then(|p| p.get(&end_name(&partition.name())).copied());
            let stop = |place| end.unwrap_or_else(|| stop(place, number, facts));
            partition.stop = self.settings.stop.as_ref().map(stop);
            // Known now rather than when the broker next answers: librdkafka would ask for the
            // beginning half a second after it has found that it isn't connected yet.
            partition.start = partition.start.or(Some(facts.low));
        }
        Ok(partitions)
    }

    /// Partitions that were not there at the last look.
    pub(crate) fn look_again(&mut self) -> Result<Vec<Partition>, ConnectorError> {
        let found =
            self.look().map_err(|e| failed(&self.settings, "looking for partitions of", &e))?.0;
        let added = self.add(found);
        Ok(self.partitions(&added))
    }

    fn cannot_start(&self, cause: String) -> ConnectorError {
        let what = format!(
            "starting to read {} at {}",
            self.settings.topics.describe(),
            self.settings.brokers()
        );
        ConnectorError { what, cause }
    }

    /// All partitions, or why there are none of some topic.
    fn look_for_all(&self) -> Result<Vec<Found>, String> {
        match self.look() {
            Err(e) => Err(e.to_string()),
            Ok((_, Some(missing))) => Err(missing),
            Ok((found, None)) if found.is_empty() => Err("there is no such topic".to_owned()),
            Ok((found, None)) => Ok(found),
        }
    }

    /// All partitions, and what is missing, if anything is.
    fn look(&self) -> KafkaResult<(Vec<Found>, Option<String>)> {
        let (mut found, mut missing) = (vec![], None);
        match &self.settings.topics {
            TopicNames::Listed(names) => {
                for name in names {
                    let metadata = self.consumer.fetch_metadata(Some(name), REQUEST_TIMEOUT)?;
                    let before = found.len();
                    collect(&metadata, |topic| topic == name, &mut found);
                    if found.len() == before {
                        missing = Some(format!("there is no topic '{name}'"));
                    }
                }
            }
            TopicNames::Pattern(pattern) => {
                // Checked when the table was planned.
                let pattern = regex::Regex::new(&format!("^(?:{pattern})$")).ok();
                let matches = |topic: &str| pattern.as_ref().is_some_and(|p| p.is_match(topic));
                let metadata = self.consumer.fetch_metadata(None, REQUEST_TIMEOUT)?;
                collect(&metadata, matches, &mut found);
            }
        }
        found.sort();
        Ok((found, missing))
    }

    /// Remembers partitions; gives those that were not known.
    fn add(&mut self, found: Vec<Found>) -> Vec<(usize, i32)> {
        let mut added = vec![];
        for (topic, partition) in found {
            let place = self.topics.iter().position(|known| *known == topic).unwrap_or_else(|| {
                self.topics.push(topic);
                self.topics.len() - 1
            });
            if self.known.insert((place, partition)) {
                added.push((place, partition));
            }
        }
        added.sort();
        added
    }

    fn partitions(&self, added: &[(usize, i32)]) -> Vec<Partition> {
        let partition = |&(place, partition): &(usize, i32)| Partition {
            topic: self.topics[place].clone(),
            partition,
            lane: ((place as u32) << LANE_PARTITION_BITS) | partition as u32,
            start: None,
            stop: None,
            is_empty: false,
        };
        added.iter().map(partition).collect()
    }

    /// Asks the brokers about partitions.
    fn facts(
        &self,
        partitions: &[(usize, i32)],
        deadline: Instant,
    ) -> Result<Vec<Facts>, ConnectorError> {
        let ask = |question: &dyn Fn() -> KafkaResult<Vec<Option<i64>>>| {
            retry(deadline, &self.settings, || question().map_err(|e| e.to_string()))
        };
        let mut facts = Vec::with_capacity(partitions.len());
        for &(place, partition) in partitions {
            let topic = &self.topics[place];
            let ends = || self.consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT);
            let (low, high) =
                retry(deadline, &self.settings, || ends().map_err(|e| e.to_string()))?;
            facts.push(Facts { low, high, ..Facts::default() });
        }
        let (start, stop) = (&self.settings.start, self.settings.stop.as_ref());
        if matches!(start, Place::Group(_)) || matches!(stop, Some(Place::Group(_))) {
            let committed = ask(&|| self.committed(partitions))?;
            facts.iter_mut().zip(committed).for_each(|(f, offset)| f.committed = offset);
        }
        if let Place::Timestamp(millis) = start {
            let offsets = ask(&|| self.at_time(partitions, *millis))?;
            facts.iter_mut().zip(offsets).for_each(|(f, offset)| f.at_start_time = offset);
        }
        if let Some(Place::Timestamp(millis)) = stop {
            let offsets = ask(&|| self.at_time(partitions, *millis))?;
            facts.iter_mut().zip(offsets).for_each(|(f, offset)| f.at_stop_time = offset);
        }
        Ok(facts)
    }

    fn committed(&self, partitions: &[(usize, i32)]) -> KafkaResult<Vec<Option<i64>>> {
        let asked = self.list(partitions, Offset::Invalid)?;
        let answer = self.consumer.committed_offsets(asked, REQUEST_TIMEOUT)?;
        Ok(self.offsets(partitions, &answer))
    }

    fn at_time(&self, partitions: &[(usize, i32)], millis: i64) -> KafkaResult<Vec<Option<i64>>> {
        let asked = self.list(partitions, Offset::Offset(millis))?;
        let answer = self.consumer.offsets_for_times(asked, REQUEST_TIMEOUT)?;
        Ok(self.offsets(partitions, &answer))
    }

    fn list(&self, partitions: &[(usize, i32)], at: Offset) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for &(place, partition) in partitions {
            list.add_partition_offset(&self.topics[place], partition, at)?;
        }
        Ok(list)
    }

    fn offsets(
        &self,
        partitions: &[(usize, i32)],
        answer: &TopicPartitionList,
    ) -> Vec<Option<i64>> {
        let offset = |&(place, partition): &(usize, i32)| match answer
            .find_partition(&self.topics[place], partition)?
            .offset()
        {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        partitions.iter().map(offset).collect()
    }
}

fn collect(metadata: &Metadata, wanted: impl Fn(&str) -> bool, found: &mut Vec<Found>) {
    for topic in metadata.topics() {
        if topic.error().is_none() && wanted(topic.name()) {
            let name: Arc<str> = topic.name().into();
            found.extend(topic.partitions().iter().map(|p| (name.clone(), p.id())));
        }
    }
}

/// Asks until there is an answer or the deadline has passed, and says now and then what it waits
/// for.
pub(crate) fn retry<T>(
    deadline: Instant,
    settings: &Settings,
    mut ask: impl FnMut() -> Result<T, String>,
) -> Result<T, ConnectorError> {
    let mut said_at: Option<Instant> = None;
    loop {
        let cause = match ask() {
            Ok(answer) => return Ok(answer),
            Err(cause) => cause,
        };
        let what =
            || format!("asking for {} at {}", settings.topics.describe(), settings.brokers());
        if Instant::now() >= deadline {
            let seconds = STARTUP_TIMEOUT.as_secs();
            return Err(ConnectorError {
                what: what(),
                cause: format!("{cause} (waited {seconds} s; are the brokers reachable there?)"),
            });
        }
        if said_at.is_none_or(|at| at.elapsed() >= Duration::from_secs(5)) {
            tracing::warn!("{}: {cause}; trying again", what());
            said_at = Some(Instant::now());
        }
        std::thread::sleep(RETRY_INTERVAL);
    }
}

/// Lists partitions with offsets, for librdkafka.
pub(crate) fn assignment<'a>(
    partitions: impl Iterator<Item = (&'a Partition, Option<i64>)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (partition, next) in partitions {
        let offset = next.map_or(Offset::Beginning, Offset::Offset);
        list.add_partition_offset(&partition.topic, partition.partition, offset)?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts = Facts {
        low: 5,
        high: 90,
        committed: Some(40),
        at_start_time: Some(50),
        at_stop_time: None,
    };

    #[test]
    fn each_mode_starts_where_it_says() {
        let fresh = Facts { committed: None, ..FACTS };
        let offsets = Place::Offsets([(3, 77)].into());
        for (place, facts, expected) in [
            (Place::Earliest, FACTS, None),
            (Place::Latest, FACTS, Some(90)),
            (Place::Timestamp(1), FACTS, Some(50)),
            (Place::Timestamp(1), Facts { at_start_time: None, ..FACTS }, Some(90)),
            (offsets.clone(), FACTS, Some(77)),
            (Place::Group(None), FACTS, Some(40)),
            (Place::Group(Some(Reset::Earliest)), fresh, None),
            (Place::Group(Some(Reset::Latest)), fresh, Some(90)),
        ] {
            assert_eq!(start(&place, 3, facts), Ok(expected), "{place:?}");
        }
        assert_eq!(start(&offsets, 4, FACTS), Ok(None), "a partition not named: its beginning");
        let error = start(&Place::Group(None), 3, fresh).unwrap_err();
        assert!(error.contains("scan.startup.mode"), "{error}");
    }

    #[test]
    fn each_mode_stops_where_it_says() {
        for (place, expected) in [
            (Place::Latest, 90),
            (Place::Timestamp(1), 90),
            (Place::Offsets([(3, 77)].into()), 77),
            (Place::Group(None), 40),
        ] {
            assert_eq!(stop(&place, 3, FACTS), expected, "{place:?}");
        }
    }

    #[test]
    fn a_partition_with_a_position_that_is_not_found_is_lost() {
        let partition = |topic: &str, partition| Partition {
            topic: topic.into(),
            partition,
            lane: 0,
            start: None,
            stop: None,
            is_empty: false,
        };
        let positions: Positions =
            ["a/0", "a/0/end", "a/1"].map(|name| (name.to_owned(), 5)).into();
        assert_eq!(lost(&positions, &[partition("a", 0), partition("a", 1)]), None);
        assert_eq!(lost(&positions, &[partition("a", 0), partition("b", 1)]), Some("a/1"));
    }
}
