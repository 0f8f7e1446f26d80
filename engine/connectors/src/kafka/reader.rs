//! Reading topics: each worker has its partitions and decodes on its own thread, straight from
//! librdkafka's memory.
//!
//! The i-th partition found is worker `i % workers`'s for as long as the job runs; partitions found
//! later go on counting.

use super::client::{consumer, failed};
use super::group::GroupReport;
use super::lane::Progress;
use super::metadata::MetadataColumns;
use super::partitions::{Partition, Scout, assignment, end_name};
use super::queue::{ApartId, Event, Message, MessageQueue};
use super::settings::{Flavour, Settings};
use crate::record_rows::{BadRecords, Origin, RecordRows, wanted_metadata};
use crate::source::{
    Alignment, BadInputs, ConnectorError, Lane, LaneRows, LaneState, Poll, PositionReport,
    Positions, ReadSpec, Reader, Source,
};
use rdkafka::consumer::Consumer as _;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use tidemill_operators::Epoch;

/// How many messages are taken from librdkafka at a time.
const MESSAGES_MAX: usize = 4096;

/// How long an answer to how far behind a reader is stays good enough.
const LAG_INTERVAL: Duration = Duration::from_millis(200);

/// The topics of a table.
pub(crate) struct Topics {
    spec: ReadSpec,
    settings: Settings,
}

impl Topics {
    pub(crate) fn new(spec: ReadSpec, settings: Settings) -> Self {
        Topics { spec, settings }
    }
}

impl Source for Topics {
    fn is_bounded(&self) -> bool {
        is_bounded(&self.spec, &self.settings)
    }

    fn alignment(&self) -> Option<Alignment> {
        self.settings.alignment.clone()
    }

    fn report(&self) -> Result<Option<Box<dyn PositionReport>>, ConnectorError> {
        let report = GroupReport::of(&self.settings)?;
        Ok(report.map(|report| Box::new(report) as Box<dyn PositionReport>))
    }

    fn readers(&self, workers: usize) -> Result<Vec<Box<dyn Reader>>, ConnectorError> {
        let mut scout = Scout::new(self.settings.clone())?;
        let mut partitions = scout.first(self.spec.positions.as_ref())?;
        if let Some(until) = &self.spec.until {
            stop_at(until, &mut partitions);
        }
        let (stop, stopped) = channel();
        let (mut readers, mut inboxes) = (vec![], vec![]);
        for _ in 0..workers {
            let (inbox, found) = channel();
            readers.push(KafkaReader::new(
                &self.spec,
                &self.settings,
                workers,
                found,
                stop.clone(),
            ));
            inboxes.push(inbox);
        }
        drop(stop);
        for (i, partition) in partitions.iter().enumerate() {
            readers[i % workers].lanes.add(partition.clone())?;
        }
        readers.iter_mut().try_for_each(KafkaReader::assign)?;
        if let (Some(interval), false) = (self.settings.discovery_interval, self.is_bounded()) {
            discover(scout, partitions.len(), inboxes, interval, stopped)?;
        }
        Ok(readers.into_iter().map(|reader| Box::new(reader) as Box<dyn Reader>).collect())
    }
}

fn is_bounded(spec: &ReadSpec, settings: &Settings) -> bool {
    spec.until.is_some() || settings.stop.is_some()
}

/// Stops where a checkpoint stood; of a partition that it doesn't know nothing is read.
fn stop_at(until: &Positions, partitions: &mut [Partition]) {
    for partition in partitions {
        partition.stop = until.get(&partition.name()).copied().or(partition.start);
    }
}

/// Looks for new partitions from time to time, until all readers are gone.
fn discover(
    mut scout: Scout,
    mut count: usize,
    inboxes: Vec<Sender<Partition>>,
    interval: Duration,
    stopped: Receiver<()>,
) -> Result<(), ConnectorError> {
    let look = move || {
        while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            match scout.look_again() {
                Ok(found) => {
                    for partition in found {
                        tracing::info!("found partition {}", partition.name());
                        // A reader that is gone needs no partitions.
                        let _ = inboxes[count % inboxes.len()].send(partition);
                        count += 1;
                    }
                }
                Err(e) => tracing::warn!("{e}; trying again in {interval:?}"),
            }
        }
    };
    let thread = std::thread::Builder::new().name("kafka-partitions".to_owned()).spawn(look);
    thread.map(drop).map_err(|e| ConnectorError {
        what: "starting the search for new partitions".to_owned(),
        cause: e.to_string(),
    })
}

struct KafkaReader {
    settings: Settings,
    workers: usize,
    /// None while it has no partition to read.
    queue: Option<MessageQueue>,
    lanes: Lanes,
    found: Receiver<Partition>,
    /// When the queue was last found empty, unless it has given something since.
    drained: Option<Instant>,
    /// The last answer to how far behind it is, for it is asked at each poll.
    lag: Cell<Option<(u64, Instant)>>,
    is_bounded: bool,
    /// Dropped with the last reader, which ends the search for partitions.
    _stop: Sender<()>,
}

impl KafkaReader {
    fn new(
        spec: &ReadSpec,
        settings: &Settings,
        workers: usize,
        found: Receiver<Partition>,
        stop: Sender<()>,
    ) -> Self {
        let lanes = Lanes {
            spec: spec.clone(),
            is_upsert: settings.flavour == Flavour::Upsert,
            lanes: vec![],
            by_message: HashMap::new(),
            last: None,
            bad: BadRecords::new(&spec.table),
        };
        KafkaReader {
            settings: settings.clone(),
            workers,
            queue: None,
            lanes,
            found,
            drained: None,
            lag: Cell::new(None),
            is_bounded: is_bounded(spec, settings),
            _stop: stop,
        }
    }

    /// Tells librdkafka which partitions to read, and where to go on.
    fn assign(&mut self) -> Result<(), ConnectorError> {
        let unfinished = self.lanes.lanes.iter().filter(|lane| !lane.progress.is_finished());
        let places = unfinished.map(|lane| (&lane.partition, lane.progress.next()));
        let list = assignment(places).map_err(|e| failed(&self.settings, "reading", &e))?;
        if list.count() == 0 {
            return Ok(());
        }
        if self.queue.is_none() {
            let consumer = consumer(&self.settings, self.workers)?;
            self.queue = MessageQueue::new(consumer, MESSAGES_MAX);
        }
        let Some(queue) = &mut self.queue else {
            return Err(ConnectorError {
                what: "opening a consumer's queue".to_owned(),
                cause: "librdkafka has none".to_owned(),
            });
        };
        if self.settings.alignment.is_some() {
            self.lanes.set_apart(queue);
        }
        queue.consumer().assign(&list).map_err(|e| failed(&self.settings, "reading", &e))
    }

    fn take_new_partitions(&mut self) -> Result<(), ConnectorError> {
        let before = self.lanes.lanes.len();
        while let Ok(partition) = self.found.try_recv() {
            self.lanes.add(partition)?;
        }
        if self.lanes.lanes.len() > before { self.assign() } else { Ok(()) }
    }

    /// Moves up to `max` messages into the lanes.
    fn read(&mut self, max: usize) -> Result<(), ConnectorError> {
        let Some(queue) = &mut self.queue else { return Ok(()) };
        let mut left = max;
        while left > 0 {
            let asked = left.min(MESSAGES_MAX);
            let messages = queue.poll(asked);
            for message in messages.iter() {
                self.lanes.take(message, &self.settings)?;
            }
            left -= messages.len().min(left);
            if messages.len() < asked {
                self.drained = Some(Instant::now());
                return Ok(());
            }
            self.drained = None;
        }
        Ok(())
    }
}

impl Reader for KafkaReader {
    fn poll(&mut self, _epoch: Epoch, max_rows: usize) -> Result<Poll, ConnectorError> {
        self.take_new_partitions()?;
        if self.is_bounded && self.lanes.are_finished() {
            self.queue = None;
            return Ok(Poll::Finished);
        }
        self.read(max_rows)?;
        let rows = self.lanes.finish()?;
        Ok(if rows.is_empty() { Poll::Pending } else { Poll::Rows(rows) })
    }

    fn lanes(&mut self) -> Vec<(Lane, LaneState)> {
        self.lanes.changes(self.drained, self.settings.idle_timeout)
    }

    fn hold(&mut self, lanes: &[Lane]) {
        self.lanes.hold(lanes, Instant::now());
        if let Some(queue) = &mut self.queue {
            queue.hold(self.lanes.held());
        }
    }

    fn take_bad(&mut self) -> BadInputs {
        self.lanes.bad.take()
    }

    fn positions(&self) -> Positions {
        let mut positions = Positions::new();
        for KafkaLane { name, progress, partition, .. } in &self.lanes.lanes {
            positions.extend(progress.next().map(|next| (name.clone(), next)));
            positions.extend(partition.stop.map(|stop| (end_name(name), stop)));
        }
        positions
    }

    fn lane_name(&self, lane: Lane) -> String {
        let lane = self.lanes.lanes.iter().find(|known| known.partition.lane == lane);
        lane.map_or_else(String::new, |lane| lane.name.clone())
    }

    fn lag(&self) -> Option<u64> {
        match self.lag.get() {
            Some((lag, at)) if at.elapsed() < LAG_INTERVAL => Some(lag),
            _ => {
                let lag = self.lag_now()?;
                self.lag.set(Some((lag, Instant::now())));
                Some(lag)
            }
        }
    }
}

impl KafkaReader {
    fn lag_now(&self) -> Option<u64> {
        let queue = self.queue.as_ref()?;
        let lag = |lane: &KafkaLane| {
            let end = queue.known_end(&lane.partition.topic, lane.partition.partition)?;
            let end = lane.partition.stop.map_or(end, |stop| stop.min(end));
            Some(end.saturating_sub(lane.progress.next().unwrap_or(0)).max(0) as u64)
        };
        Some(self.lanes.lanes.iter().filter_map(lag).sum())
    }
}

/// One partition being read.
struct KafkaLane {
    partition: Partition,
    name: String,
    progress: Progress,
    rows: RecordRows,
    metadata: MetadataColumns,
    announced: Option<LaneState>,
    /// Its own queue, if it may have to be held.
    apart: Option<ApartId>,
}

/// The partitions of a reader.
struct Lanes {
    spec: ReadSpec,
    is_upsert: bool,
    lanes: Vec<KafkaLane>,
    /// Finds a message's lane by its topic's handle and its partition.
    by_message: HashMap<(usize, i32), usize>,
    /// The last message's, for they come in runs.
    last: Option<((usize, i32), usize)>,
    bad: BadRecords,
}

impl Lanes {
    fn add(&mut self, partition: Partition) -> Result<(), ConnectorError> {
        let table = &self.spec.table;
        let keys = key_columns(&self.spec, self.is_upsert);
        let wanted = wanted_metadata(&self.spec);
        let metadata = wanted.iter().map(|&i| &table.metadata[i]);
        self.lanes.push(KafkaLane {
            name: partition.name(),
            progress: Progress::new(partition.start, partition.stop, partition.is_empty),
            rows: RecordRows::new(&self.spec, |column| match keys.contains(&column) {
                true => Origin::Key,
                false => Origin::Value,
            })?,
            metadata: MetadataColumns::new(partition.topic.clone(), metadata)?,
            announced: None,
            apart: None,
            partition,
        });
        Ok(())
    }

    /// Gives each partition that has none a queue of its own.
    fn set_apart(&mut self, queue: &mut MessageQueue) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.apart.is_none()) {
            lane.apart = queue.set_apart(&lane.partition.topic, lane.partition.partition);
        }
    }

    fn hold(&mut self, lanes: &[Lane], now: Instant) {
        for lane in &mut self.lanes {
            match lane.apart.is_some() && lanes.contains(&lane.partition.lane) {
                true => lane.progress.hold(),
                false => lane.progress.release(now),
            }
        }
    }

    fn held(&self) -> impl Iterator<Item = ApartId> {
        self.lanes.iter().filter(|lane| lane.progress.is_held()).filter_map(|lane| lane.apart)
    }

    fn are_finished(&self) -> bool {
        self.lanes.iter().all(|lane| lane.progress.is_finished())
    }

    fn lane(&mut self, message: Message<'_>) -> Option<usize> {
        let id = (message.topic_id(), message.partition());
        if let Some((last, lane)) = self.last
            && last == id
        {
            return Some(lane);
        }
        let lane = match self.by_message.get(&id) {
            Some(&lane) => lane,
            None => {
                let topic = message.topic();
                let is_its = |lane: &KafkaLane| {
                    lane.partition.partition == id.1 && *lane.partition.topic == *topic
                };
                let lane = self.lanes.iter().position(is_its)?;
                self.by_message.insert(id, lane);
                lane
            }
        };
        self.last = Some((id, lane));
        Some(lane)
    }

    fn take(&mut self, message: Message<'_>, settings: &Settings) -> Result<(), ConnectorError> {
        match message.event() {
            Event::Record => {
                if let Some(lane) = self.lane(message) {
                    self.lanes[lane].record(message, self.is_upsert, &mut self.bad);
                }
                Ok(())
            }
            Event::End => {
                if let Some(lane) = self.lane(message) {
                    self.lanes[lane].progress.end(message.offset(), Instant::now());
                }
                Ok(())
            }
            Event::Passing => {
                tracing::warn!("{}: {}", settings.topics.describe(), message.error_text());
                Ok(())
            }
            Event::Fatal => Err(ConnectorError {
                what: format!(
                    "reading topic '{}' partition {} offset {} at {}",
                    message.topic(),
                    message.partition(),
                    message.offset(),
                    settings.brokers()
                ),
                cause: message.error_text(),
            }),
        }
    }

    /// The rows read, by lane.
    fn finish(&mut self) -> Result<Vec<LaneRows>, ConnectorError> {
        let mut all = vec![];
        for lane in self.lanes.iter_mut().filter(|lane| lane.rows.rows() > 0) {
            let metadata = lane.metadata.finish()?;
            let rows = lane.rows.finish(&metadata)?;
            all.push(LaneRows { lane: lane.partition.lane, rows });
        }
        Ok(all)
    }

    fn changes(&mut self, drained: Option<Instant>, idle: Duration) -> Vec<(Lane, LaneState)> {
        let mut changes = vec![];
        for lane in &mut self.lanes {
            let state = lane.progress.state(drained, idle);
            if lane.announced != Some(state) {
                lane.announced = Some(state);
                changes.push((lane.partition.lane, state));
            }
        }
        changes
    }
}

impl KafkaLane {
    fn record(&mut self, message: Message<'_>, is_upsert: bool, bad: &mut BadRecords) {
        let offset = message.offset();
        if !self.progress.record(offset) {
            return;
        }
        let key = if self.rows.reads_keys() { message.key() } else { None };
        let rows = match message.value() {
            Some(value) => self.rows.decode(value, key, offset),
            None if is_upsert => self.rows.decode_tombstone(key, offset),
            // Nothing is said about anything.
            None => Ok(0),
        };
        match rows {
            Ok(rows) => self.metadata.push(message, rows),
            Err(e) => {
                let record = message.value().or(message.key()).unwrap_or_default();
                bad.push(|| self.name.clone(), offset, e, record);
            }
        }
    }
}

/// Columns to be decoded from the key. A deletion has nothing but its key, so `upsert-kafka` takes
/// the primary key from there; `kafka` only what values lack.
fn key_columns(spec: &ReadSpec, is_upsert: bool) -> Vec<usize> {
    let table = &spec.table;
    if is_upsert {
        return table.primary_key.clone();
    }
    let except_key = table
        .option("value.fields-include")
        .is_some_and(|include| include.eq_ignore_ascii_case("EXCEPT_KEY"));
    let Some(names) = table.option("key.fields").filter(|_| except_key) else { return vec![] };
    crate::options::list(names).into_iter().filter_map(|n| table.schema.index_of(n).ok()).collect()
}
