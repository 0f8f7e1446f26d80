//! The Kafka connectors against a real broker.

mod broker;

use arrow::array::{Array, AsArray};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, TimeUnit};
use broker::{brokers, create_topic, grow_topic};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemill_connectors::{
    Console, LaneState, Poll, Positions, ReadSpec, Reader, WriteSpec, open_sink, open_source,
};
use tidemill_formats::Table;
use tidemill_formats::table::MetadataColumn;
use tidemill_operators::Batch;

const WAIT: Duration = Duration::from_secs(30);

fn table(topic: &str, brokers: &str, options: &[(&str, &str)]) -> Table {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]);
    let common =
        [("connector", "kafka"), ("topic", topic), ("properties.bootstrap.servers", brokers)];
    let mut options: Vec<_> = common.iter().chain(options).copied().collect();
    if options.iter().all(|(key, _)| *key != "value.format") {
        options.push(("format", "json"));
    }
    Table {
        name: "t".to_owned(),
        schema: Arc::new(schema),
        metadata: vec![],
        primary_key: vec![],
        partitioned_by: vec![],
        options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    }
}

fn spec(table: Table) -> ReadSpec {
    ReadSpec { columns: vec![0, 1], table, arrival: false, positions: None, until: None }
}

fn readers(spec: &ReadSpec, workers: usize) -> Vec<Box<dyn Reader>> {
    open_source(spec).expect("a source").readers(workers).expect("readers")
}

/// Polls until there were `count` rows, or all readers have finished.
fn read(readers: &mut [Box<dyn Reader>], count: usize) -> Vec<Batch> {
    read_by(readers, 1000, count)
}

/// The same, `max_rows` at a time.
fn read_by(readers: &mut [Box<dyn Reader>], max_rows: usize, count: usize) -> Vec<Batch> {
    let deadline = Instant::now() + WAIT;
    let (mut all, mut rows) = (vec![], 0);
    while rows < count {
        let mut finished = 0;
        for reader in readers.iter_mut() {
            match reader.poll(1, max_rows).expect("poll") {
                Poll::Rows(lanes) => {
                    rows += lanes.iter().map(|lane| lane.rows.len()).sum::<usize>();
                    all.extend(lanes.into_iter().map(|lane| lane.rows));
                }
                Poll::Pending => {}
                Poll::Finished => finished += 1,
            }
        }
        if finished == readers.len() {
            break;
        }
        assert!(Instant::now() < deadline, "only {rows} rows of {count}");
        std::thread::sleep(Duration::from_millis(1));
    }
    all
}

fn ids(batches: &[Batch]) -> Vec<i64> {
    let ids = |b: &Batch| b.column(0).as_primitive::<Int64Type>().values().to_vec();
    let mut ids: Vec<i64> = batches.iter().flat_map(ids).collect();
    ids.sort();
    ids
}

/// Reads a bounded table to its end.
fn ids_of(table: Table, workers: usize) -> Vec<i64> {
    ids(&read(&mut readers(&spec(table), workers), usize::MAX))
}

fn producer(brokers: &str, options: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config.extend(options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    config.create().expect("a producer")
}

/// Record `i` has id `i`, goes to partition `i % partitions` and is of time `1000 * (i + 1)` ms.
fn produce(brokers: &str, topic: &str, partitions: i32, ids: std::ops::Range<i64>) {
    let producer = producer(brokers, &[]);
    send(&producer, topic, partitions, ids);
    producer.flush(WAIT).expect("delivery");
}

fn send(producer: &BaseProducer, topic: &str, partitions: i32, ids: std::ops::Range<i64>) {
    for id in ids {
        let value = format!("{{\"id\":{id},\"name\":\"n{id}\"}}");
        let record = BaseRecord::<str, str>::to(topic)
            .payload(&value)
            .partition((id % i64::from(partitions)) as i32)
            .timestamp(1000 * (id + 1));
        producer.send(record).map_err(|(e, _)| e).expect("room in the queue");
    }
}

/// All records of a topic: partition, key, value.
type Records = Vec<(i32, Option<String>, Option<String>)>;

fn consume(brokers: &str, topic: &str, count: usize) -> Records {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "check");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), WAIT).expect("metadata");
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let text = |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8_lossy(b).into_owned());
    let mut records = vec![];
    while records.len() < count {
        let message = consumer.poll(WAIT).expect("a record in time").expect("a record");
        records.push((message.partition(), text(message.key()), text(message.payload())));
    }
    records
}

const BOUNDED: (&str, &str) = ("scan.bounded.mode", "latest-offset");
const EARLIEST: (&str, &str) = ("scan.startup.mode", "earliest-offset");

#[test]
fn workers_read_each_record_once_from_any_start_and_stop() {
    let Some(brokers) = brokers() else { return };
    let topic = "starts";
    create_topic(brokers, topic, 3);
    produce(brokers, topic, 3, 0..300);
    let ids = |options: &[(&str, &str)], workers| ids_of(table(topic, brokers, options), workers);
    let from = |first: i64| (first..300).collect::<Vec<_>>();
    for workers in [1, 2, 4] {
        assert_eq!(ids(&[EARLIEST, BOUNDED], workers), from(0));
    }
    let timestamp =
        [("scan.startup.mode", "timestamp"), ("scan.startup.timestamp-millis", "150001"), BOUNDED];
    assert_eq!(ids(&timestamp, 2), from(150));
    let stop =
        [EARLIEST, ("scan.bounded.mode", "timestamp"), ("scan.bounded.timestamp-millis", "150001")];
    assert_eq!(ids(&stop, 2), (0..150).collect::<Vec<_>>());
    let offsets = [
        ("scan.startup.mode", "specific-offsets"),
        (
            "scan.startup.specific-offsets",
            "partition:0,offset:90;partition:1,offset:90;partition:2,offset:90",
        ),
        ("scan.bounded.mode", "specific-offsets"),
        (
            "scan.bounded.specific-offsets",
            "partition:0,offset:95;partition:1,offset:95;partition:2,offset:95",
        ),
    ];
    assert_eq!(ids(&offsets, 2), (270..285).collect::<Vec<_>>());
    assert_eq!(ids(&[("scan.startup.mode", "latest-offset"), BOUNDED], 2), [0i64; 0]);
}

#[test]
fn group_offsets_start_where_the_group_stands_or_say_that_it_stands_nowhere() {
    let Some(brokers) = brokers() else { return };
    let topic = "groups";
    create_topic(brokers, topic, 2);
    produce(brokers, topic, 2, 0..20);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "some-group");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(5)).unwrap();
    list.add_partition_offset(topic, 1, Offset::Offset(5)).unwrap();
    consumer.commit(&list, CommitMode::Sync).unwrap();

    let group = ("properties.group.id", "some-group");
    assert_eq!(ids_of(table(topic, brokers, &[group, BOUNDED]), 2), (10..20).collect::<Vec<_>>());

    let nobody = ("properties.group.id", "nobody");
    let earliest = ("properties.auto.offset.reset", "earliest");
    assert_eq!(ids_of(table(topic, brokers, &[nobody, earliest, BOUNDED]), 2).len(), 20);
    let source = open_source(&spec(table(topic, brokers, &[nobody, BOUNDED]))).unwrap();
    let error = source.readers(1).err().expect("no offset, no reset").to_string();
    assert!(error.contains("scan.startup.mode") && error.contains(topic), "{error}");
}

#[test]
fn a_bounded_read_ends_behind_control_records_and_sees_nothing_aborted() {
    let Some(brokers) = brokers() else { return };
    let topic = "transactions";
    create_topic(brokers, topic, 2);
    let producer = producer(brokers, &[("transactional.id", "transactions-test")]);
    producer.init_transactions(WAIT).unwrap();
    for (ids, commits) in [(0..10, true), (10..20, false), (20..30, true), (30..34, false)] {
        producer.begin_transaction().unwrap();
        send(&producer, topic, 2, ids);
        producer.flush(WAIT).unwrap();
        match commits {
            true => producer.commit_transaction(WAIT).unwrap(),
            false => producer.abort_transaction(WAIT).unwrap(),
        }
    }
    let committed: Vec<i64> = (0..10).chain(20..30).collect();
    assert_eq!(ids_of(table(topic, brokers, &[EARLIEST, BOUNDED]), 2), committed);
}

#[test]
fn an_unbounded_read_goes_on_from_its_positions_and_finds_new_partitions() {
    let Some(brokers) = brokers() else { return };
    let topic = "growing";
    create_topic(brokers, topic, 2);
    produce(brokers, topic, 2, 0..10);
    let options = [
        EARLIEST,
        ("scan.topic-partition-discovery.interval", "200 ms"),
        ("scan.watermark.idle-timeout", "300 ms"),
    ];
    let mut spec = spec(table(topic, brokers, &options));
    let mut first = readers(&spec, 2);
    assert_eq!(ids(&read(&mut first, 10)), (0..10).collect::<Vec<_>>());
    let positions = positions_of(&first);
    assert_eq!(positions, [("growing/0".to_owned(), 5), ("growing/1".to_owned(), 5)].into());
    drop(first);

    spec.positions = Some(positions);
    produce(brokers, topic, 2, 10..14);
    let mut second = readers(&spec, 2);
    assert_eq!(ids(&read(&mut second, 4)), (10..14).collect::<Vec<_>>());
    grow_topic(brokers, topic, 3);
    produce(brokers, topic, 3, 100..106);
    assert_eq!(ids(&read(&mut second, 6)), (100..106).collect::<Vec<_>>());

    let mut states = std::collections::BTreeMap::new();
    let deadline = Instant::now() + WAIT;
    while states.len() < 3 || states.values().any(|state| *state != LaneState::Idle) {
        assert!(Instant::now() < deadline, "{states:?}");
        for reader in &mut second {
            assert!(matches!(reader.poll(1, 10).unwrap(), Poll::Pending));
            states.extend(reader.lanes());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(second.iter().filter_map(|reader| reader.lag()).sum::<u64>(), 0);
}

fn positions_of(readers: &[Box<dyn Reader>]) -> Positions {
    let mut all = Positions::new();
    for (name, position) in readers.iter().flat_map(|reader| reader.positions()) {
        let known = all.entry(name).or_insert(position);
        *known = position.max(*known);
    }
    all
}

#[test]
fn a_start_and_an_end_are_decided_once_also_if_nothing_was_read_before_a_restart() {
    let Some(brokers) = brokers() else { return };
    let topic = "decided";
    create_topic(brokers, topic, 2);
    produce(brokers, topic, 2, 0..10);
    let latest = ("scan.startup.mode", "latest-offset");
    let mut from_latest = spec(table(topic, brokers, &[latest]));
    from_latest.positions = Some(positions_of(&readers(&from_latest, 2)));
    let mut up_to_latest = spec(table(topic, brokers, &[EARLIEST, BOUNDED]));
    up_to_latest.positions = Some(positions_of(&readers(&up_to_latest, 1)));

    produce(brokers, topic, 2, 10..16);
    assert_eq!(ids(&read(&mut readers(&from_latest, 3), 6)), (10..16).collect::<Vec<_>>());
    let mut bounded = readers(&up_to_latest, 2);
    assert_eq!(ids(&read(&mut bounded, usize::MAX)), (0..10).collect::<Vec<_>>());
    assert_eq!(bounded[1].lane_name(1), "decided/1");
}

#[test]
fn a_bounded_read_goes_on_on_any_number_of_workers() {
    let Some(brokers) = brokers() else { return };
    let topic = "resumed";
    create_topic(brokers, topic, 3);
    produce(brokers, topic, 3, 0..3000);
    let mut spec = spec(table(topic, brokers, &[EARLIEST, BOUNDED]));
    let mut all = vec![];
    for workers in [2, 1, 4] {
        let mut readers = readers(&spec, workers);
        all.extend(read(&mut readers, 700));
        spec.positions = Some(positions_of(&readers));
    }
    all.extend(read(&mut readers(&spec, 2), usize::MAX));
    assert_eq!(ids(&all), (0..3000).collect::<Vec<_>>());
}

#[test]
fn a_partition_that_is_held_is_left_alone_and_read_on_without_a_gap_when_released() {
    let Some(brokers) = brokers() else { return };
    let topic = "held";
    create_topic(brokers, topic, 2);
    produce(brokers, topic, 2, 0..2000);
    let drift = ("scan.watermark.alignment.max-drift", "1 s");
    let mut readers = readers(&spec(table(topic, brokers, &[EARLIEST, BOUNDED, drift])), 1);
    let lanes: Vec<u32> = readers[0].lanes().into_iter().map(|(lane, _)| lane).collect();
    let odd = lanes.iter().find(|lane| readers[0].lane_name(**lane) == "held/1");
    let next_odd = |readers: &[Box<dyn Reader>]| positions_of(readers).get("held/1").copied();

    readers[0].hold(&[*odd.expect("a lane"), 999]);
    let mut all = read(&mut readers, 1000);
    assert!(ids(&all).iter().all(|id| id % 2 == 0), "the other one is read to its end");
    assert_eq!((readers[0].lag(), next_odd(&readers)), (Some(1000), Some(0)));

    readers[0].hold(&[]);
    all.extend(read_by(&mut readers, 100, 300));
    readers[0].hold(&[*odd.expect("a lane")]);
    let held_at = next_odd(&readers);
    for _ in 0..20 {
        assert!(matches!(readers[0].poll(1, 1000).unwrap(), Poll::Pending));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(next_odd(&readers), held_at);

    readers[0].hold(&[]);
    all.extend(read(&mut readers, usize::MAX));
    assert_eq!(ids(&all), (0..2000).collect::<Vec<_>>());
}

#[test]
fn a_partition_that_never_held_a_record_is_idle_from_the_start() {
    let Some(brokers) = brokers() else { return };
    create_topic(brokers, "half-empty", 2);
    produce(brokers, "half-empty", 1, 0..3);
    let mut reader = readers(&spec(table("half-empty", brokers, &[EARLIEST])), 1);
    assert_eq!(reader[0].lanes(), [(0, LaneState::Active), (1, LaneState::Idle)]);
}

#[test]
fn a_lost_offset_is_an_error_that_names_it() {
    let Some(brokers) = brokers() else { return };
    create_topic(brokers, "lost", 1);
    produce(brokers, "lost", 1, 0..3);
    let mut spec = spec(table("lost", brokers, &[EARLIEST]));
    spec.positions = Some([("lost/0".to_owned(), 1_000)].into());
    let mut reader = readers(&spec, 1);
    let deadline = Instant::now() + WAIT;
    let error = loop {
        match reader[0].poll(1, 10) {
            Err(error) => break error.to_string(),
            Ok(_) => assert!(Instant::now() < deadline, "no error"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(error.contains("'lost' partition 0"), "{error}");
}

#[test]
fn keys_and_metadata_become_columns() {
    let Some(brokers) = brokers() else { return };
    let topic = "keyed";
    create_topic(brokers, topic, 1);
    let producer = producer(brokers, &[]);
    for (key, value) in [("{\"id\":7}", Some("{\"name\":\"a\"}")), ("{\"id\":8}", None)] {
        let mut record = BaseRecord::<str, str>::to(topic).key(key).timestamp(5_000);
        record.payload = value;
        producer.send(record).map_err(|(e, _)| e).unwrap();
    }
    producer.flush(WAIT).unwrap();
    let options = [
        EARLIEST,
        BOUNDED,
        ("key.format", "json"),
        ("key.fields", "id"),
        ("value.format", "json"),
        ("value.fields-include", "EXCEPT_KEY"),
    ];
    let mut table = table(topic, brokers, &options);
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    for (key, data_type) in [
        ("topic", DataType::Utf8),
        ("partition", DataType::Int32),
        ("offset", DataType::Int64),
        ("timestamp", time),
    ] {
        let (name, key) = (key.to_owned(), key.to_owned());
        table.metadata.push(MetadataColumn { name, key, data_type, is_virtual: true });
    }
    let spec =
        ReadSpec { table, columns: (0..6).collect(), arrival: true, positions: None, until: None };
    let rows = read(&mut readers(&spec, 1), usize::MAX);
    let [row] = &rows[..] else { panic!("one batch: {rows:?}") };
    assert_eq!(row.len(), 1, "a tombstone is no row");
    assert_eq!(row.column(0).as_primitive::<Int64Type>().value(0), 7);
    assert_eq!(row.column(1).as_string::<i32>().value(0), "a");
    assert_eq!(row.column(2).as_string::<i32>().value(0), topic);
    assert_eq!(row.column(3).as_primitive::<Int32Type>().value(0), 0);
    assert_eq!(row.column(4).as_primitive::<Int64Type>().value(0), 0);
    let millis = row.column(5).as_primitive::<arrow::datatypes::TimestampMillisecondType>();
    assert_eq!(millis.value(0), 5_000);
    assert_eq!(row.schema().field(6).name(), "__arrival");
}

#[derive(Debug)]
struct Nowhere;

impl Console for Nowhere {
    fn write(&self, _lines: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

fn rows(rows: &[(i64, &str, i64)]) -> Batch {
    let schema = table("", "", &[]).schema;
    let ids = Int64Array::from_iter_values(rows.iter().map(|row| row.0));
    let names = StringArray::from_iter_values(rows.iter().map(|row| row.1));
    let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(names)];
    let weights: Vec<i64> = rows.iter().map(|row| row.2).collect();
    Batch::new(RecordBatch::try_new(schema, columns).unwrap(), Some(weights.into()))
}

#[test]
fn written_rows_arrive_with_their_keys() {
    let Some(brokers) = brokers() else { return };
    create_topic(brokers, "written", 2);
    let options = [
        ("key.format", "raw"),
        ("key.fields", "name"),
        ("value.format", "json"),
        ("sink.partitioner", "round-robin"),
    ];
    let spec = WriteSpec {
        table: table("written", brokers, &options),
        console: Arc::new(Nowhere),
        job: None,
    };
    let mut writer = open_sink(&spec).unwrap().writer(0, 1).unwrap();
    writer.write(1, &[rows(&[(1, "a", 1), (2, "b", 2)])]).unwrap();
    writer.finish().unwrap();
    assert_eq!(writer.pending_bytes(), 0);
    let mut records = consume(brokers, "written", 3);
    records.sort_by(|a, b| a.1.cmp(&b.1));
    let values: Vec<_> = records.iter().map(|r| (r.1.as_deref(), r.2.as_deref())).collect();
    let a = (Some("a"), Some("{\"id\":1,\"name\":\"a\"}"));
    let b = (Some("b"), Some("{\"id\":2,\"name\":\"b\"}"));
    assert_eq!(values, [a, b, b]);
    let partitions: std::collections::BTreeSet<i32> = records.iter().map(|r| r.0).collect();
    assert_eq!(partitions.len(), 2, "each partition in turn");
}

fn upsert(topic: &str, brokers: &str, options: &[(&str, &str)]) -> Table {
    let mut all = vec![("key.format", "json"), ("value.format", "json")];
    all.extend_from_slice(options);
    let mut table = table(topic, brokers, &all);
    table.options.insert("connector".to_owned(), "upsert-kafka".to_owned());
    table.primary_key = vec![0];
    table
}

#[test]
fn upserts_are_one_record_for_each_key_of_an_epoch_and_come_back_as_rows_and_deletions() {
    let Some(brokers) = brokers() else { return };
    let topic = "upserts";
    create_topic(brokers, topic, 1);
    let spec =
        WriteSpec { table: upsert(topic, brokers, &[]), console: Arc::new(Nowhere), job: None };
    let mut writer = open_sink(&spec).unwrap().writer(0, 1).unwrap();
    writer.write(1, &[rows(&[(1, "a", 1), (2, "b", 1)])]).unwrap();
    writer.write(2, &[rows(&[(1, "c", 1), (2, "b", -1)])]).unwrap();
    writer.write(3, &[rows(&[(1, "d", 1)])]).unwrap();
    writer.finish().unwrap();
    let records = consume(brokers, topic, 5);
    let value = |id: i64, name: &str| Some(format!("{{\"id\":{id},\"name\":\"{name}\"}}"));
    let values: Vec<_> = records.iter().map(|r| r.2.clone()).collect();
    assert_eq!(values, [value(1, "a"), value(2, "b"), value(1, "c"), None, value(1, "d")]);
    assert_eq!(records[3].1.as_deref(), Some("{\"id\":2}"));

    let read_back = ReadSpec {
        table: upsert(topic, brokers, &[BOUNDED]),
        columns: vec![0, 1],
        arrival: false,
        positions: None,
        until: None,
    };
    let rows = read(&mut readers(&read_back, 1), usize::MAX);
    let weights: Vec<i64> = rows
        .iter()
        .flat_map(|b| (0..b.len()).map(|row| b.weight(row)).collect::<Vec<_>>())
        .collect();
    assert_eq!(weights, [1, 1, 1, -1, 1]);
    let deleted = rows.iter().find_map(|b| (0..b.len()).find(|&r| b.weight(r) < 0).map(|r| (b, r)));
    let (batch, row) = deleted.expect("a deletion");
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(row), 2);
    assert!(batch.column(1).is_null(row));
}

#[test]
fn a_record_that_the_broker_refuses_fails_the_writer() {
    let Some(brokers) = brokers() else { return };
    create_topic(brokers, "refused", 1);
    let options = [("properties.message.max.bytes", "10000000"), ("properties.linger.ms", "0")];
    let spec = WriteSpec {
        table: table("refused", brokers, &options),
        console: Arc::new(Nowhere),
        job: None,
    };
    let mut writer = open_sink(&spec).unwrap().writer(0, 1).unwrap();
    let long = "x".repeat(3_000_000);
    writer.write(1, &[rows(&[(1, &long, 1)])]).unwrap();
    let error = writer.finish().unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
    assert!(writer.flush().is_err(), "and it is not forgotten");
}

#[test]
fn a_topic_to_be_written_is_made_by_the_broker_if_it_may() {
    let Some(brokers) = brokers() else { return };
    let spec =
        WriteSpec { table: table("made", brokers, &[]), console: Arc::new(Nowhere), job: None };
    let mut writer = open_sink(&spec).unwrap().writer(0, 1).unwrap();
    writer.write(1, &[rows(&[(1, "a", 1)])]).unwrap();
    writer.finish().unwrap();
    assert_eq!(consume(brokers, "made", 1).len(), 1);
}
