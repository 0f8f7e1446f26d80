//! What the tests of all formats need: small tables, and batches as text.

use crate::json::ObjectWriter;
use crate::registry::{FormatRole, RecordField, decoder, encoder};
use crate::table::Table;
use crate::{BadRecord, Encoded, OptionError};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use proptest::test_runner::{Config as ProptestConfig, RngSeed};
use std::sync::Arc;
use tidemill_operators::Batch;

/// Seeded, so that a failure in CI is a failure here; `TIDEMILL_TEST_SCALE` multiplies the cases and
/// then seeds differ from run to run.
pub(crate) fn budget(cases: u32) -> ProptestConfig {
    let scale = std::env::var("TIDEMILL_TEST_SCALE").ok().and_then(|text| text.parse::<u32>().ok());
    let rng_seed = if scale.is_some() { RngSeed::Random } else { RngSeed::Fixed(2_718_281_828) };
    let cases = cases * scale.unwrap_or(1);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

/// A table with these columns and options.
pub(crate) fn table(columns: &[(&str, DataType)], options: &[(&str, &str)]) -> Table {
    let fields = columns.iter().map(|(name, t)| Field::new(*name, t.clone(), true));
    let pairs = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Table {
        name: "t".to_owned(),
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        metadata: vec![],
        primary_key: vec![],
        partitioned_by: vec![],
        options: pairs.collect(),
    }
}

/// All columns of a table.
pub(crate) fn all(table: &Table) -> Vec<usize> {
    (0..table.schema.fields().len()).collect()
}

/// What becomes of one record: its rows, each as `+{…}` or `-{…}`, or what is wrong with it.
pub(crate) fn decode(table: &Table, record: impl AsRef<[u8]>) -> Result<Vec<String>, String> {
    let mut decoder = decoder(table, FormatRole::Value, &all(table)).unwrap();
    let rows = decoder.decode(record.as_ref()).map_err(|BadRecord { reason }| reason)?;
    assert_eq!(decoder.rows(), rows);
    let batch = decoder.finish();
    assert_eq!(batch.len(), rows);
    Ok(show(&batch))
}

/// The error that the options of a table give.
pub(crate) fn refused(table: &Table) -> OptionError {
    crate::check(table).expect_err("the options are wrong")
}

/// The records that a batch of all columns becomes.
pub(crate) fn encode(table: &Table, batch: &Batch) -> Result<Vec<String>, String> {
    let mut out = Encoded::default();
    let mut encoder = encoder(table, FormatRole::Value).unwrap();
    encoder.encode(batch, &mut out).map_err(|BadRecord { reason }| reason)?;
    Ok(out.iter().map(|record| String::from_utf8(record.to_vec()).unwrap()).collect())
}

/// Rows as JSON with the sign of their weight.
pub(crate) fn show(batch: &Batch) -> Vec<String> {
    let fields = batch.schema();
    let fields = fields.fields().iter().enumerate().map(|(index, field)| RecordField {
        name: field.name().clone(),
        index,
        field: field.clone(),
    });
    let json = table(&[], &[("format", "json")]);
    let options = crate::options::FormatOptions::new(&json, "value.", "json", &[]).unwrap();
    let options = crate::json::Options::new(&options).unwrap();
    let writer = ObjectWriter::new(&fields.collect::<Vec<_>>(), options);
    let cells = writer.cells(batch);
    let row = |row| {
        let mut out = if batch.weight(row) > 0 { b"+".to_vec() } else { b"-".to_vec() };
        writer.write(&mut out, &cells, row).unwrap();
        String::from_utf8(out).unwrap()
    };
    (0..batch.len()).map(row).collect()
}

/// `ROW<…>`
pub(crate) fn row(fields: &[(&str, DataType)]) -> DataType {
    DataType::Struct(fields.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect())
}

/// `ARRAY<…>`
pub(crate) fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

/// `MAP<STRING, …>`
pub(crate) fn map(value: DataType) -> DataType {
    let key = Field::new("key", DataType::Utf8, false);
    let fields: Fields = vec![key, Field::new("value", value, true)].into();
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(fields), false)), false)
}

/// `TIMESTAMP(3)`
pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

/// `TIMESTAMP_LTZ(3)`
pub(crate) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

/// `TIME`
pub(crate) fn time() -> DataType {
    DataType::Time32(TimeUnit::Millisecond)
}

/// `DECIMAL(p, s)`
pub(crate) fn decimal(precision: u8, scale: i8) -> DataType {
    DataType::Decimal128(precision, scale)
}
