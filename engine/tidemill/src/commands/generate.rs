//! `tidemill generate`: the input of a shipped job, into files or topics.

use crate::failure::Failure;
use anyhow::Context;
use arrow::array::{ArrayRef, BinaryBuilder, RecordBatch, TimestampMillisecondBuilder};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use clap::Args;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tidemill_connectors::open_sink;
use tidemill_connectors::sink::{WriteSpec, Writer};
use tidemill_formats::Table;
use tidemill_formats::table::MetadataColumn;
use tidemill_jobs::{Job, Record, Settings};
use tidemill_operators::Batch;

/// Without `--events`, so many.
pub(crate) const EVENTS_DEFAULT: u64 = 100_000;
/// A writer is given so many records at once.
const RECORDS_PER_BATCH: usize = 1024;

/// The arguments of `tidemill generate`.
#[derive(Debug, Args)]
pub(crate) struct GenerateArguments {
    /// The shipped job.
    job: String,
    /// How many records.
    #[arg(long, value_name = "N", default_value_t = EVENTS_DEFAULT)]
    events: u64,
    /// How many records a second; as fast as it goes without.
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// The seed: the same gives the same records.
    #[arg(long, value_name = "S", default_value_t = Settings::default().seed)]
    seed: u64,
    /// Stands before the name of each topic.
    #[arg(long, value_name = "P", default_value = "")]
    topic_prefix: String,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct TargetArguments {
    /// Write TOPIC.jsonl files into this folder.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Write to topics of this Kafka.
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
}

pub(crate) fn execute(arguments: &GenerateArguments) -> Result<(), Failure> {
    let job = find(&arguments.job)?;
    let prefix = &arguments.topic_prefix;
    let mut target: Box<dyn Target> = match (&arguments.target.to, &arguments.target.brokers) {
        (Some(folder), _) => Box::new(Files::create(job, folder, prefix)?),
        (None, Some(brokers)) => Box::new(Topics::open(job, brokers, prefix)?),
        (None, None) => unreachable!("one of the group is required"),
    };
    let settings = Settings { seed: arguments.seed, ..Settings::default() };
    let records =
        (job.generator)(settings).take(usize::try_from(arguments.events).unwrap_or(usize::MAX));
    send(records, arguments.rate, target.as_mut(), &AtomicBool::new(false))
}

/// A rate as the command line has it: it must be one that gets somewhere.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && f64::is_finite(rate) => Ok(rate),
        _ => Err("write a number of records a second, greater than zero".to_owned()),
    }
}

/// The shipped job of this name.
pub(crate) fn find(name: &str) -> Result<&'static Job, Failure> {
    tidemill_jobs::find(name).ok_or_else(|| {
        let names: Vec<&str> = tidemill_jobs::all().iter().map(|job| job.name).collect();
        let names = names.join(", ");
        Failure::CommandLine(format!("no shipped job is called '{name}'; there are {names}"))
    })
}

/// A generated record on its way.
pub(crate) struct Due {
    record: Record,
    /// When it was to be sent, if there is a rate, in milliseconds since 1970.
    due_ms: Option<i64>,
}

/// Where generated records go.
pub(crate) trait Target {
    /// Takes records, in order.
    fn take(&mut self, records: &[Due]) -> Result<(), Failure>;

    /// Makes everything durable.
    fn finish(&mut self) -> Result<(), Failure>;
}

/// Sends records at a rate, until there are none left or `stop` is set.
pub(crate) fn send(
    mut records: impl Iterator<Item = Record>,
    rate: Option<f64>,
    target: &mut dyn Target,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let started = Instant::now();
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let due_ms = |number: usize| {
        let seconds = since_1970.as_secs_f64() + number as f64 / rate?;
        Some((seconds * 1000.0) as i64)
    };
    let mut sent = 0usize;
    while !stop.load(Ordering::Acquire) {
        let due = match rate {
            None => RECORDS_PER_BATCH,
            Some(rate) => {
                let due = (started.elapsed().as_secs_f64() * rate) as usize;
                due.saturating_sub(sent).min(RECORDS_PER_BATCH)
            }
        };
        if due == 0 {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let batch = records.by_ref().take(due).zip(sent..);
        let batch = batch.map(|(record, number)| Due { record, due_ms: due_ms(number) });
        let batch: Vec<Due> = batch.collect();
        if batch.is_empty() {
            break;
        }
        target.take(&batch)?;
        sent += batch.len();
    }
    target.finish()
}

/// One file of lines for each topic.
pub(crate) struct Files(BTreeMap<&'static str, BufWriter<File>>);

impl Files {
    /// Creates the files of a job's inputs.
    pub(crate) fn create(job: &Job, folder: &Path, prefix: &str) -> Result<Self, Failure> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let mut files = BTreeMap::new();
        for topic in job.inputs {
            let path = folder.join(format!("{prefix}{}.jsonl", topic.name));
            let file = File::create(&path);
            let file = file.with_context(|| format!("writing {}", path.display()))?;
            files.insert(topic.name, BufWriter::with_capacity(1 << 16, file));
        }
        Ok(Files(files))
    }
}

impl Target for Files {
    fn take(&mut self, records: &[Due]) -> Result<(), Failure> {
        for Due { record, .. } in records {
            let file = self.0.get_mut(record.topic).expect("generators keep to their topics");
            file.write_all(&record.value)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.0.values_mut().try_for_each(|file| Ok(file.flush()?))
    }
}

/// Topics, written through the engine's own Kafka connector: key and value as raw bytes.
pub(crate) struct Topics(BTreeMap<&'static str, Box<dyn Writer>>);

impl Topics {
    /// Opens the topics of a job's inputs.
    pub(crate) fn open(job: &Job, brokers: &str, prefix: &str) -> Result<Self, Failure> {
        let mut topics = BTreeMap::new();
        for topic in job.inputs {
            let table = raw_table(brokers, &format!("{prefix}{}", topic.name));
            let console = Arc::new(crate::console::StandardOutput);
            let sink =
                open_sink(&WriteSpec { table, console, job: None }).map_err(anyhow::Error::from)?;
            topics.insert(topic.name, sink.writer(0, 1).map_err(anyhow::Error::from)?);
        }
        Ok(Topics(topics))
    }
}

impl Target for Topics {
    fn take(&mut self, records: &[Due]) -> Result<(), Failure> {
        for (&topic, writer) in &mut self.0 {
            let of_topic = records.iter().filter(|due| due.record.topic == topic);
            let of_topic = of_topic.map(|Due { record, due_ms }| RawRecord {
                key: Some(&record.key),
                value: &record.value,
                timestamp_ms: *due_ms,
            });
            let Some(rows) = raw_rows(of_topic) else { continue };
            let written = writer.write(0, &[rows]).and_then(|()| writer.flush());
            written.map_err(anyhow::Error::from)?;
            while writer.pending_bytes() > 16 << 20 {
                std::thread::sleep(Duration::from_millis(1));
                writer.flush().map_err(anyhow::Error::from)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        for writer in self.0.values_mut() {
            writer.finish().map_err(anyhow::Error::from)?;
        }
        Ok(())
    }
}

/// A record of such a table.
pub(crate) struct RawRecord<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: &'a [u8],
    /// What it says of the time; without, when it is sent.
    pub(crate) timestamp_ms: Option<i64>,
}

const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

fn raw_schema() -> Schema {
    let field = |name| Field::new(name, DataType::Binary, true);
    Schema::new(vec![field("key"), field("value")])
}

/// A topic as a table of raw keys and values, and of times.
pub(crate) fn raw_table(brokers: &str, topic: &str) -> Table {
    let options = [
        ("connector", "kafka"),
        ("properties.bootstrap.servers", brokers),
        ("topic", topic),
        ("key.format", "raw"),
        ("key.fields", "key"),
        ("value.format", "raw"),
        ("value.fields-include", "EXCEPT_KEY"),
    ];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Table {
        name: topic.to_owned(),
        schema: Arc::new(raw_schema()),
        metadata: vec![MetadataColumn {
            name: "timestamp".to_owned(),
            key: "timestamp".to_owned(),
            data_type: TIMESTAMP,
            is_virtual: false,
        }],
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        options: BTreeMap::from(options),
    }
}

/// Records as rows of such a table; none without records.
pub(crate) fn raw_rows<'a>(records: impl Iterator<Item = RawRecord<'a>>) -> Option<Batch> {
    let (mut keys, mut values) = (BinaryBuilder::new(), BinaryBuilder::new());
    let mut timestamps = TimestampMillisecondBuilder::new();
    for RawRecord { key, value, timestamp_ms } in records {
        keys.append_option(key);
        values.append_value(value);
        timestamps.append_option(timestamp_ms);
    }
    let mut fields = raw_schema().fields().to_vec();
    fields.push(Arc::new(Field::new("timestamp", TIMESTAMP, true)));
    let columns: Vec<ArrayRef> =
        vec![Arc::new(keys.finish()), Arc::new(values.finish()), Arc::new(timestamps.finish())];
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
    let rows = rows.expect("three equally long columns");
    (rows.num_rows() > 0).then(|| rows.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_hold_exactly_the_events_asked_for_one_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let job = find("inventory").unwrap();
        let mut files = Files::create(job, folder.path(), "p-").unwrap();
        let records = (job.generator)(Settings::default()).take(2500);
        send(records, None, &mut files, &AtomicBool::new(false)).unwrap();
        let lines: usize = job
            .inputs
            .iter()
            .map(|topic| folder.path().join(format!("p-{}.jsonl", topic.name)))
            .map(|path| fs::read(path).unwrap().iter().filter(|&&byte| byte == b'\n').count())
            .sum();
        assert_eq!(lines, 2500);
    }

    #[test]
    fn a_rate_gets_somewhere() {
        assert_eq!(rate("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "inf", "NaN", "fast"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_job_is_refused_with_the_known_ones() {
        let failure = find("leaderbord").unwrap_err();
        assert!(failure.to_string().contains("leaderboard"), "{failure}");
    }
}
