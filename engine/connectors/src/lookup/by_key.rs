//! [`ByKey`]: a table that is asked for the keys that an epoch needs, all of them at once.
//!
//! ```text
//! worker   keys of the epoch ─► known? ─► missing ──┐        ┌─► rows by key, of this epoch
//!                                  ▲                ▼        │
//! client's thread                cache ◄──────── one request, tried again if it fails
//! ```
//!
//! Keys and answers are JSON, in which every such table speaks: what a key is called in the
//! request is what its rows are known by in the answer.

use super::cache::{Cache, Key};
use super::options::Asking;
use super::{LookupSpec, LookupTable, Shape};
use crate::source::ConnectorError;
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tidemill_formats::{Decoder, Encoded, Encoder, FormatRole, Table, decoder, encoder};
use tidemill_operators::Batch;
use tidemill_operators::key::all_valid;
use tidemill_operators::lookup_join::{Lookup, LookupRows};
use tidemill_operators::operator::OperatorError;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot::{self, error::TryRecvError};

/// Before a request is made again; twice as long before the next.
const BACKOFF: Duration = Duration::from_millis(100);

/// What came of a request.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The rows that were found.
    pub records: Vec<Vec<u8>>,
    /// The keys that could not be asked for.
    pub failed: Vec<Key>,
    /// Why the last of them could not.
    pub problem: String,
}

/// Who asks the table.
pub(crate) trait Client: Send + Sync {
    /// The rows of these keys. A key is a JSON object of the key columns; a record of the answer
    /// is a JSON object, or an array of them, in which the key's columns are as well.
    fn ask<'a>(&'a self, keys: &'a [Key]) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;
}

/// A table that is asked by key.
pub(crate) struct ByKey {
    spec: LookupSpec,
    asking: Asking,
    client: Arc<dyn Client>,
    /// Carries the requests of all workers.
    runtime: Arc<Runtime>,
}

impl ByKey {
    /// A table that `client` asks.
    pub(crate) fn new(
        spec: LookupSpec,
        asking: Asking,
        client: Arc<dyn Client>,
    ) -> Result<Self, ConnectorError> {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("lookup").enable_all().build();
        let runtime = Arc::new(runtime.map_err(|e| spec.failed(e))?);
        let table = ByKey { spec, asking, client, runtime };
        // What can be wrong is told before the job begins.
        Hand::new(&table).map(|_| table)
    }
}

impl LookupTable for ByKey {
    fn open(&self) -> Box<dyn Lookup> {
        Box::new(Hand::new(self).expect("it was made before, of the same"))
    }
}

/// A worker's hand on the table.
struct Hand {
    name: String,
    shape: Shape,
    /// The rows as they are read.
    schema: SchemaRef,
    /// The key's columns among them, and as they are asked for.
    key_columns: Vec<usize>,
    key_schema: SchemaRef,
    encoder: Box<dyn Encoder>,
    decoder: Box<dyn Decoder>,
    cache: Option<Cache>,
    /// What the epoch at hand has got.
    answers: HashMap<Key, RecordBatch>,
    pending: Option<Pending>,
    retries: u32,
    client: Arc<dyn Client>,
    runtime: Arc<Runtime>,
}

/// A request under way.
struct Pending {
    keys: Vec<Key>,
    answer: oneshot::Receiver<Result<Vec<Vec<u8>>, String>>,
}

impl Hand {
    fn new(table: &ByKey) -> Result<Self, ConnectorError> {
        let ByKey { spec, asking, client, runtime } = table;
        let physical = spec.key_columns.clone().unwrap_or_default();
        let place = |key: &usize| spec.columns.iter().position(|column| column == key);
        let key_columns: Option<Vec<usize>> = physical.iter().map(place).collect();
        let no_key = || spec.failed("its key is not among the columns that are read");
        let key_columns = key_columns.filter(|keys| !keys.is_empty()).ok_or_else(no_key)?;
        let columns = |of: &[usize]| -> SchemaRef {
            let fields = of.iter().map(|&column| spec.table.schema.field(column).clone());
            Arc::new(Schema::new(fields.map(|f: Field| f.with_nullable(true)).collect::<Vec<_>>()))
        };
        let (schema, key_schema) = (columns(&spec.columns), columns(&physical));
        let keys = json(&spec.table, key_schema.clone());
        let rows = json(&spec.table, spec.table.schema.clone());
        Ok(Hand {
            name: spec.table.name.clone(),
            shape: Shape::new(spec).map_err(|e| spec.failed(e))?,
            encoder: encoder(&keys, FormatRole::Value)?,
            decoder: decoder(&rows, FormatRole::Value, &spec.columns)?,
            schema,
            key_columns,
            key_schema,
            cache: asking.cache.map(Cache::new),
            answers: HashMap::new(),
            pending: None,
            retries: asking.retries,
            client: client.clone(),
            runtime: runtime.clone(),
        })
    }

    fn failed(&self, problem: impl std::fmt::Display) -> OperatorError {
        OperatorError::Outside(format!("table '{}': {problem}", self.name))
    }

    /// The distinct keys of some rows, but for those that hold a NULL.
    fn distinct(&mut self, keys: &[ArrayRef]) -> Result<HashSet<Key>, OperatorError> {
        let valid = all_valid(keys);
        let encoded = self.encoded(keys)?;
        let mut distinct = HashSet::new();
        for (row, key) in encoded.iter().enumerate() {
            if valid.as_ref().is_none_or(|valid| valid.is_valid(row)) && !distinct.contains(key) {
                distinct.insert(Key::from(key));
            }
        }
        Ok(distinct)
    }

    /// Looks for keys of this epoch in the cache; says which of them must be asked for.
    fn missing(&mut self, wanted: &HashSet<Key>, now_ms: i64) -> Vec<Key> {
        let mut missing = Vec::new();
        for key in wanted {
            if self.answers.contains_key(key) {
                continue;
            }
            match self.cache.as_mut().and_then(|cache| cache.get(key, now_ms)) {
                Some(rows) => drop(self.answers.insert(key.clone(), rows)),
                None => missing.push(key.clone()),
            }
        }
        missing
    }

    fn ask(&mut self, keys: Vec<Key>) {
        let (answer, pending) = oneshot::channel();
        let (client, retries) = (self.client.clone(), self.retries);
        self.pending = Some(Pending { keys: keys.clone(), answer: pending });
        self.runtime.spawn(async move {
            // Nobody waits for it any more if the job has ended.
            let _ = answer.send(asked(client.as_ref(), keys, retries).await);
        });
    }

    /// Whether nothing is under way any more; what came is noted.
    fn arrived(&mut self, now_ms: i64) -> Result<bool, OperatorError> {
        let Some(pending) = &mut self.pending else { return Ok(true) };
        let records = match pending.answer.try_recv() {
            Err(TryRecvError::Empty) => return Ok(false),
            Err(TryRecvError::Closed) => Err("the request was given up".to_owned()),
            Ok(answer) => answer,
        };
        let keys = self.pending.take().map(|pending| pending.keys).unwrap_or_default();
        let records = records.map_err(|problem| self.failed(problem))?;
        self.note(keys, &records, now_ms)?;
        Ok(true)
    }

    /// Notes what was answered to a request for `keys`.
    fn note(
        &mut self,
        keys: Vec<Key>,
        records: &[Vec<u8>],
        now_ms: i64,
    ) -> Result<(), OperatorError> {
        for record in records {
            self.decoder.decode(record).map_err(|e| self.failed(e))?;
        }
        let rows = self.decoder.finish().into_parts().0;
        let columns = self.key_columns.iter().map(|&column| rows.column(column).clone());
        let mut by_key: HashMap<Vec<u8>, Vec<u32>> = HashMap::new();
        for (row, key) in self.encoded(&columns.collect::<Vec<_>>())?.iter().enumerate() {
            by_key.entry(key.to_vec()).or_default().push(row as u32);
        }
        for key in keys {
            let places = by_key.remove(&*key).unwrap_or_default();
            let rows = take_record_batch(&rows, &UInt32Array::from(places))?;
            if let Some(cache) = &mut self.cache {
                cache.put(key.clone(), rows.clone(), now_ms);
            }
            self.answers.insert(key, rows);
        }
        Ok(())
    }

    fn encoded(&mut self, keys: &[ArrayRef]) -> Result<Encoded, OperatorError> {
        let rows = RecordBatch::try_new(self.key_schema.clone(), keys.to_vec())?;
        let mut encoded = Encoded::default();
        let encoding = self.encoder.encode(&Batch::append_only(rows), &mut encoded);
        encoding.map_err(|e| self.failed(e))?;
        Ok(encoded)
    }
}

/// The rows of `keys`; those that could not be asked for are asked for again so many times.
async fn asked(
    client: &dyn Client,
    mut keys: Vec<Key>,
    retries: u32,
) -> Result<Vec<Vec<u8>>, String> {
    let (mut records, mut patience) = (Vec::new(), BACKOFF);
    for attempts_left in (0..=retries).rev() {
        let answer = client.ask(&keys).await;
        records.extend(answer.records);
        keys = answer.failed;
        if keys.is_empty() {
            break;
        }
        if attempts_left == 0 {
            return Err(answer.problem);
        }
        tracing::warn!("a lookup failed and is tried again: {}", answer.problem);
        tokio::time::sleep(patience).await;
        patience *= 2;
    }
    Ok(records)
}

impl Lookup for Hand {
    fn rows(
        &mut self,
        keys: &[ArrayRef],
        now_ms: i64,
    ) -> Result<Option<Arc<LookupRows>>, OperatorError> {
        if !self.arrived(now_ms)? {
            return Ok(None);
        }
        let wanted = self.distinct(keys)?;
        let missing = self.missing(&wanted, now_ms);
        if !missing.is_empty() {
            self.ask(missing);
            return Ok(None);
        }
        let answers = std::mem::take(&mut self.answers);
        let rows = concat_batches(&self.schema, answers.values())?;
        self.shape.index(rows, now_ms).map(Some)
    }

    fn cached_bytes(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::bytes)
    }
}

/// A table of JSON records with these fields.
fn json(table: &Table, schema: SchemaRef) -> Table {
    let own = table.options.iter().filter(|(key, _)| key.starts_with("json."));
    let own = own.map(|(key, value)| (key.clone(), value.clone()));
    let standard = ("json.timestamp-format.standard".to_owned(), "ISO-8601".to_owned());
    Table {
        name: table.name.clone(),
        schema,
        metadata: Vec::new(),
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        options: [standard, ("format".to_owned(), "json".to_owned())]
            .into_iter()
            .chain(own)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::table;
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Int64Type};
    use std::sync::Mutex;

    /// A table in which key `k` has `k % 3` rows. It fails so many times first.
    #[derive(Default)]
    struct Threes {
        asked: Mutex<Vec<usize>>,
        failures: Mutex<u32>,
    }

    impl Client for Threes {
        fn ask<'a>(&'a self, keys: &'a [Key]) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
            Box::pin(async {
                let mut failures = self.failures.lock().unwrap();
                if *failures > 0 {
                    *failures -= 1;
                    let problem = "nobody is there".to_owned();
                    return Answer { failed: keys.to_vec(), problem, ..Answer::default() };
                }
                self.asked.lock().unwrap().push(keys.len());
                let number = |key: &Key| -> i64 {
                    let key: serde_json::Value = serde_json::from_slice(key).unwrap();
                    key["k"].as_i64().unwrap()
                };
                let rows = |k: i64| (0..k % 3).map(move |v| format!("{{\"v\":{v},\"k\":{k}}}"));
                let records = keys.iter().map(number).flat_map(rows).map(String::into_bytes);
                Answer { records: records.collect(), ..Answer::default() }
            })
        }
    }

    fn by_key(client: &Arc<Threes>, options: &[(&str, &str)]) -> Box<dyn Lookup> {
        let mut table = table(options);
        let field = |name| Field::new(name, DataType::Int64, true);
        table.schema = Arc::new(Schema::new(vec![field("k"), field("v")]));
        let asking = Asking::new(&table).unwrap();
        let spec = LookupSpec {
            table,
            columns: vec![0, 1],
            steps: Vec::new(),
            keys: vec![0],
            key_columns: Some(vec![0]),
        };
        ByKey::new(spec, asking, client.clone()).unwrap().open()
    }

    /// How many rows were found for these keys.
    fn found(lookup: &mut dyn Lookup, keys: &[Option<i64>], now_ms: i64) -> Result<usize, String> {
        let column: ArrayRef = Arc::new(keys.iter().copied().collect::<Int64Array>());
        loop {
            match lookup.rows(std::slice::from_ref(&column), now_ms) {
                Ok(Some(rows)) => {
                    let values =
                        rows.rows().column(1).as_primitive::<Int64Type>().values().to_vec();
                    assert!(values.iter().all(|v| (0..2).contains(v)));
                    return Ok(rows.rows().num_rows());
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    #[test]
    fn the_keys_of_an_epoch_are_asked_for_once_and_together() {
        let client = Arc::new(Threes::default());
        let mut lookup = by_key(&client, &[]);
        assert_eq!(found(&mut *lookup, &[Some(1), Some(2), Some(2), None, Some(3)], 0), Ok(3));
        assert_eq!(found(&mut *lookup, &[Some(2)], 0), Ok(2));
        assert_eq!(*client.asked.lock().unwrap(), [3, 1], "without a cache each epoch asks");
    }

    #[test]
    fn what_is_cached_is_not_asked_for_again_until_it_is_old() {
        let client = Arc::new(Threes::default());
        let expire = ("lookup.partial-cache.expire-after-write", "50 ms");
        let mut lookup = by_key(&client, &[("lookup.cache", "PARTIAL"), expire]);
        let keys = [Some(2), Some(3)];
        assert_eq!(found(&mut *lookup, &keys, 0), Ok(2));
        assert_eq!(found(&mut *lookup, &[Some(2), Some(3), Some(4)], 10), Ok(3));
        assert!(lookup.cached_bytes() > 0);
        assert_eq!(found(&mut *lookup, &keys, 50), Ok(2));
        assert_eq!(*client.asked.lock().unwrap(), [2, 1, 2]);
    }

    #[test]
    fn a_request_that_fails_is_made_again_so_many_times() {
        let client = Arc::new(Threes { failures: Mutex::new(2), ..Threes::default() });
        let mut lookup = by_key(&client, &[("lookup.max-retries", "2")]);
        assert_eq!(found(&mut *lookup, &[Some(1)], 0), Ok(1));
        *client.failures.lock().unwrap() = 1;
        let mut lookup = by_key(&client, &[("lookup.max-retries", "0")]);
        let error = found(&mut *lookup, &[Some(1)], 0).unwrap_err();
        assert!(error.contains("nobody is there"), "{error}");
    }
}
