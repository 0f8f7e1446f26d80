//! Writing a topic: rows become records with their keys; in `upsert-kafka` a deleted row becomes a
//! tombstone.

use super::outbox::{Outbox, Outgoing, partition_of};
use super::producer::{Producer, Record};
use super::settings::{DISCOVERY_INTERVAL, Flavour, Guarantee, Partitioner, Settings};
use super::transaction::TopicTransaction;
use crate::sink::{Sink, Transaction, WriteSpec, Writer};
use crate::source::ConnectorError;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMillisecondType};
use arrow::error::ArrowError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tidemill_formats::{BadRecord, Encoded, Encoder, FormatRole, Table, encoder};
use tidemill_operators::{Batch, Epoch};

/// A topic to write.
pub(crate) struct Topic {
    table: Table,
    settings: Settings,
    topic: String,
    partitions: Arc<Partitions>,
    producer: Arc<Producer>,
    transaction: Option<Arc<TopicTransaction>>,
}

/// How many partitions a topic has.
struct Partitions {
    count: AtomicI32,
    asked_at: Mutex<Instant>,
}

impl Partitions {
    fn new(count: i32) -> Self {
        Partitions { count: AtomicI32::new(count), asked_at: Mutex::new(Instant::now()) }
    }

    fn get(&self) -> i32 {
        self.count.load(Ordering::Relaxed)
    }

    /// Asks again if the last answer is old. Without an answer that one stands.
    fn refresh(&self, ask: impl FnOnce() -> Option<i32>) {
        let mut asked_at = self.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
        if asked_at.elapsed() < DISCOVERY_INTERVAL {
            return;
        }
        *asked_at = Instant::now();
        if let Some(count) = ask() {
            self.count.store(count, Ordering::Relaxed);
        }
    }
}

impl Topic {
    pub(crate) fn new(spec: &WriteSpec, settings: Settings) -> Result<Self, ConnectorError> {
        let table = spec.table.clone();
        let Some(topic) = settings.topics.single().map(str::to_owned) else {
            return Err(ConnectorError {
                what: format!("writing table '{}'", table.name),
                cause: "a table is written to one topic; it names several".to_owned(),
            });
        };
        let job = spec.job.as_deref();
        let transactional = job.and_then(|job| Some((job, settings.transactional_id(job)?)));
        let id = transactional.as_ref().map(|(_, id)| id.as_str());
        let producer = Producer::shared(&settings, id)?;
        let partitions = Arc::new(Partitions::new(producer.partitions(&topic, &settings)?));
        let transaction = transactional.map(|(job, id)| {
            let (producer, topic) = (producer.clone(), topic.clone());
            Arc::new(TopicTransaction::new(producer, &settings, topic, job, id))
        });
        Ok(Topic { table, settings, topic, partitions, producer, transaction })
    }
}

impl Sink for Topic {
    fn writer(&self, worker: usize, _workers: usize) -> Result<Box<dyn Writer>, ConnectorError> {
        let has_key = self.table.option("key.format").is_some();
        let key = has_key.then(|| encoder(&self.table, FormatRole::Key)).transpose()?;
        Ok(Box::new(TopicWriter {
            out: Out {
                outbox: Outbox::new(self.producer.writer(), &self.topic)?,
                partitioner: self.settings.partitioner,
                // Nobody asks for new partitions where nobody waits for a checkpoint.
                deals_keys: self.transaction.is_some(),
                partitions: self.partitions.clone(),
                next: worker as i32 % self.partitions.get(),
            },
            flavour: self.settings.flavour,
            physical: self.table.schema.fields().len(),
            surroundings: surroundings(&self.table),
            raw_key: raw_key(&self.table),
            key,
            value: encoder(&self.table, FormatRole::Value)?,
            keys: Encoded::default(),
            values: Encoded::default(),
        }))
    }

    fn transaction(&self) -> Option<Arc<dyn Transaction>> {
        let transaction = self.transaction.clone()?;
        Some(transaction)
    }

    fn settle(&self) -> Result<(), ConnectorError> {
        self.partitions.refresh(|| self.producer.partitions_now(&self.topic).ok());
        match (self.settings.guarantee, &self.transaction) {
            (Guarantee::None, _) | (_, Some(_)) => self.producer.check(),
            (Guarantee::AtLeastOnce | Guarantee::ExactlyOnce, None) => self.producer.finish(),
        }
    }
}

/// The writable metadata columns: their keys, in the order behind the physical columns.
fn surroundings(table: &Table) -> Vec<String> {
    let writable = table.metadata.iter().filter(|column| !column.is_virtual);
    writable.map(|column| column.key.clone()).collect()
}

/// The column that is the key as it stands, where it is: without a value there is no key. Other
/// formats have a form for NULL.
fn raw_key(table: &Table) -> Option<usize> {
    let is_raw = table.option("key.format") == Some("raw");
    let name = table.option("key.fields").filter(|_| is_raw)?;
    table.schema.index_of(name).ok()
}

struct TopicWriter {
    out: Out,
    flavour: Flavour,
    physical: usize,
    surroundings: Vec<String>,
    raw_key: Option<usize>,
    key: Option<Box<dyn Encoder>>,
    value: Box<dyn Encoder>,
    keys: Encoded,
    values: Encoded,
}

/// The way out.
struct Out {
    outbox: Outbox,
    partitioner: Partitioner,
    /// Whether keys are dealt to partitions here, by the same function as librdkafka's.
    deals_keys: bool,
    partitions: Arc<Partitions>,
    next: i32,
}

impl Out {
    /// Sends records: of each the key, the value and the row that they are of.
    fn send<'a>(
        &mut self,
        records: impl Iterator<Item = (Option<&'a [u8]>, Option<&'a [u8]>, usize)>,
        around: &Surroundings,
    ) -> Result<(), ConnectorError> {
        let Out { outbox, partitioner, deals_keys, partitions, next } = self;
        let partitions = partitions.get();
        let mut partition = |key: Option<&[u8]>| match partitioner {
            Partitioner::Default => {
                key.filter(|_| *deals_keys).map(|key| partition_of(key, partitions))
            }
            Partitioner::Fixed => Some(*next),
            Partitioner::RoundRobin => {
                *next = (*next + 1) % partitions;
                Some(*next)
            }
        };
        if around.is_empty() {
            return outbox.send(records.map(|(key, value, _)| {
                let partition = partition(key);
                Outgoing { key, value, partition }
            }));
        }
        for (key, value, row) in records {
            let mut record: Record<'_> = BaseRecord::to(outbox.topic());
            record.key = key;
            record.payload = value;
            record.partition = partition(key);
            record.timestamp = around.timestamp(row);
            record.headers = around.headers(row);
            outbox.producer().send(record)?;
        }
        Ok(())
    }

    fn wrong(&self, bad: BadRecord) -> ConnectorError {
        ConnectorError {
            what: format!("writing topic '{}'", self.outbox.topic()),
            cause: bad.reason,
        }
    }
}

/// The metadata columns of a batch on its way out.
#[derive(Default)]
struct Surroundings {
    timestamps: Option<ArrayRef>,
    headers: Option<ArrayRef>,
}

impl Surroundings {
    fn new(batch: &Batch, physical: usize, keys: &[String]) -> Result<Self, ConnectorError> {
        let column = |key: &str, to: &DataType| {
            let Some(place) = keys.iter().position(|k| k == key) else { return Ok(None) };
            let Some(column) = batch.columns().columns().get(physical + place) else {
                return Ok(None);
            };
            cast(column, to).map(Some).map_err(|e| ConnectorError {
                what: format!("writing metadata '{key}'"),
                cause: e.to_string(),
            })
        };
        Ok(Surroundings {
            timestamps: column("timestamp", &DataType::Timestamp(TimeUnit::Millisecond, None))?,
            headers: column("headers", &super::metadata::headers_type())?,
        })
    }

    fn is_empty(&self) -> bool {
        self.timestamps.is_none() && self.headers.is_none()
    }

    fn timestamp(&self, row: usize) -> Option<i64> {
        let column = self.timestamps.as_ref()?.as_primitive::<TimestampMillisecondType>();
        column.is_valid(row).then(|| column.value(row))
    }

    fn headers(&self, row: usize) -> Option<OwnedHeaders> {
        let column = self.headers.as_ref()?.as_map();
        if column.is_null(row) {
            return None;
        }
        let entries = column.value(row);
        let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1));
        let values = values.as_binary::<i32>();
        let mut headers = OwnedHeaders::new_with_capacity(entries.len());
        for i in 0..entries.len() {
            let value = values.is_valid(i).then(|| values.value(i));
            headers = headers.insert(Header { key: keys.value(i), value });
        }
        Some(headers)
    }
}

impl TopicWriter {
    /// The columns that belong in key and value.
    fn physical(&self, batch: &Batch) -> Result<Batch, ConnectorError> {
        if batch.columns().num_columns() == self.physical {
            return Ok(batch.clone());
        }
        let columns: Vec<usize> = (0..self.physical).collect();
        batch.project(&columns).map_err(|e| self.out.wrong(BadRecord { reason: e.to_string() }))
    }

    /// Records as the format makes them: a row of weight `n` is `n` records.
    fn append(&mut self, batch: &Batch) -> Result<(), ConnectorError> {
        let around = Surroundings::new(batch, self.physical, &self.surroundings)?;
        let physical = self.physical(batch)?;
        self.values.clear();
        self.keys.clear();
        self.value.encode(&physical, &mut self.values).map_err(|e| self.out.wrong(e))?;
        if let Some(key) = &mut self.key {
            key.encode(&physical, &mut self.keys).map_err(|e| self.out.wrong(e))?;
        }
        let copies = |row| (0..batch.weight(row).unsigned_abs()).map(move |_| row);
        let mut keys = self.keys.iter();
        let records = self.values.iter().zip((0..batch.len()).flat_map(copies));
        let records = records.map(|(value, row)| {
            let has_key = self.raw_key.is_none_or(|key| physical.column(key).is_valid(row));
            (keys.next().filter(|_| has_key), Some(value), row)
        });
        self.out.send(records, &around)
    }

    /// One record for each key of an epoch: its new row, or a tombstone if there is none. Rows come
    /// consolidated, so each key stands in one row.
    fn upsert(&mut self, batch: &Batch) -> Result<(), ConnectorError> {
        let around = Surroundings::new(batch, self.physical, &self.surroundings)?;
        let rows = Batch::append_only(self.physical(batch)?.columns().clone());
        self.keys.clear();
        self.values.clear();
        if let Some(key) = &mut self.key {
            key.encode(&rows, &mut self.keys).map_err(|e| self.out.wrong(e))?;
        }
        let new_rows = match batch.weights() {
            None => rows,
            Some(weights) => {
                let is_new: BooleanArray = weights.iter().map(|&w| Some(w > 0)).collect();
                let wrong = |e: ArrowError| self.out.wrong(BadRecord { reason: e.to_string() });
                rows.filter(&is_new).map_err(wrong)?
            }
        };
        self.value.encode(&new_rows, &mut self.values).map_err(|e| self.out.wrong(e))?;
        let mut values = self.values.iter();
        let records = self.keys.iter().enumerate().map(|(row, key)| {
            let value = if batch.weight(row) > 0 { values.next() } else { None };
            (Some(key), value, row)
        });
        self.out.send(records, &around)
    }
}

impl Writer for TopicWriter {
    fn write(&mut self, _epoch: Epoch, rows: &[Batch]) -> Result<(), ConnectorError> {
        match self.flavour {
            Flavour::Upsert => rows.iter().try_for_each(|batch| self.upsert(batch)),
            Flavour::Append => rows.iter().try_for_each(|batch| self.append(batch)),
        }
    }

    fn flush(&mut self) -> Result<(), ConnectorError> {
        self.out.outbox.producer().check()
    }

    fn pending_bytes(&self) -> usize {
        self.out.outbox.producer().pending_bytes()
    }

    fn finish(&mut self) -> Result<(), ConnectorError> {
        self.out.outbox.producer().finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_asked_for_again_when_the_answer_is_old() {
        let partitions = Partitions::new(2);
        partitions.refresh(|| panic!("it was asked for just now"));
        let Some(long_ago) = Instant::now().checked_sub(DISCOVERY_INTERVAL) else { return };
        *partitions.asked_at.lock().unwrap() = long_ago;
        partitions.refresh(|| None);
        assert_eq!(partitions.get(), 2, "nobody answered");
        *partitions.asked_at.lock().unwrap() = long_ago;
        partitions.refresh(|| Some(3));
        assert_eq!(partitions.get(), 3);
        partitions.refresh(|| panic!("and now again"));
    }
}
