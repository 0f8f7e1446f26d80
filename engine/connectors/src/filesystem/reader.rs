//! Reading files: each worker takes a block of lines at a time and decodes it by itself.

use super::deal::{Dealer, Dealt, Share};
use super::partition;
use super::paths::{self, InputFile};
use crate::record_rows::{BadRecords, Origin, RecordRows};
use crate::source::{
    BadInputs, ConnectorError, Lane, LaneRows, LaneState, Poll, Positions, ReadSpec, Reader, Source,
};
use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use std::sync::Arc;
use tidemill_formats::OptionError;
use tidemill_formats::table::MetadataColumn;
use tidemill_operators::{Batch, Epoch};

/// The files of a table.
pub(crate) struct Files {
    spec: ReadSpec,
}

impl Files {
    pub(crate) fn new(spec: ReadSpec) -> Self {
        Files { spec }
    }
}

impl Source for Files {
    fn is_bounded(&self) -> bool {
        true
    }

    fn readers(&self, workers: usize) -> Result<Vec<Box<dyn Reader>>, ConnectorError> {
        let path = self.spec.table.option("path").unwrap_or_default();
        let files: Arc<[InputFile]> = paths::input_files(&paths::local(path)?)?.into();
        let start = |file: &InputFile| {
            let positions = self.spec.positions.as_ref();
            positions.and_then(|p| p.get(&name(file)).copied()).unwrap_or(1)
        };
        let dealer = Arc::new(Dealer::new(files.iter().map(|file| (file.clone(), start(file)))));
        (0..workers)
            .map(|_| {
                let reader = FileReader::new(&self.spec, files.clone(), dealer.clone())?;
                Ok(Box::new(reader) as Box<dyn Reader>)
            })
            .collect()
    }
}

fn name(file: &InputFile) -> String {
    file.path.to_string_lossy().into_owned()
}

struct FileReader {
    files: Arc<[InputFile]>,
    dealer: Arc<Dealer>,
    share: Share,
    rows: RecordRows,
    /// The columns asked for that are not in the file.
    around: Vec<Around>,
    bad: BadRecords,
    has_announced: bool,
    positions: Positions,
}

impl FileReader {
    fn new(
        spec: &ReadSpec,
        files: Arc<[InputFile]>,
        dealer: Arc<Dealer>,
    ) -> Result<Self, OptionError> {
        let is_in_path = |column: &usize| spec.table.partitioned_by.contains(column);
        let origin = |column| match is_in_path(&column) {
            true => Origin::Outside,
            false => Origin::Value,
        };
        Ok(FileReader {
            files,
            dealer,
            share: Share::default(),
            rows: RecordRows::new(spec, origin)?,
            around: around(spec),
            bad: BadRecords::new(&spec.table),
            has_announced: false,
            positions: Positions::new(),
        })
    }

    /// Decodes the block in hand.
    fn decode(&mut self, lane: Lane) -> Result<Batch, ConnectorError> {
        let file = &self.files[lane as usize];
        let block = &self.share.block;
        let (mut rest, mut line) = (block.bytes.as_slice(), block.first_line);
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1);
            let (record, after) = rest.split_at(end);
            let record = without_end(record);
            if let Err(bad) = self.rows.decode(record, None, line) {
                self.bad.push(|| name(file), line, bad, record);
            }
            rest = after;
            line += 1;
        }
        let rows = self.rows.rows();
        let columns: Result<Vec<_>, _> =
            self.around.iter().map(|around| around.column(file, rows)).collect();
        self.positions.insert(name(file), line);
        self.rows.finish(&columns?)
    }
}

/// A line without `\n` or `\r\n`.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A column that is the same in all rows of a file.
struct Around {
    from: From,
    data_type: DataType,
}

enum From {
    /// The value of this column in the path, and what stands there for NULL.
    Path(String, String),
    /// Metadata of this key.
    Metadata(String),
}

fn around(spec: &ReadSpec) -> Vec<Around> {
    let table = &spec.table;
    let physical = table.schema.fields().len();
    let around = |&column: &usize| {
        if let Some(i) = column.checked_sub(physical) {
            let MetadataColumn { key, data_type, .. } = &table.metadata[i];
            return Some(Around {
                from: From::Metadata(key.clone()),
                data_type: data_type.clone(),
            });
        }
        let field = table.schema.field(column);
        let from = From::Path(field.name().clone(), partition::null_name(table).to_owned());
        let data_type = field.data_type().clone();
        table.partitioned_by.contains(&column).then_some(Around { from, data_type })
    };
    spec.columns.iter().filter_map(around).collect()
}

impl Around {
    fn column(&self, file: &InputFile, rows: usize) -> Result<ArrayRef, ConnectorError> {
        let text =
            |text: Option<&str>| Arc::new(std::iter::repeat_n(text, rows).collect::<StringArray>());
        let column: ArrayRef = match &self.from {
            From::Path(column, null) => {
                let value = partition::value_in_path(&file.path, column);
                text(value.as_deref().filter(|value| value != null))
            }
            From::Metadata(key) => match key.as_str() {
                "file.path" => text(Some(&name(file))),
                "file.name" => {
                    let name = file.path.file_name().unwrap_or_default();
                    text(Some(&name.to_string_lossy()))
                }
                _ => Arc::new(Int64Array::from(vec![file.size as i64; rows])),
            },
        };
        cast(&column, &self.data_type).map_err(|e| ConnectorError {
            what: format!("reading a column from the path '{}'", file.path.display()),
            cause: e.to_string(),
        })
    }
}

impl Reader for FileReader {
    fn poll(&mut self, epoch: Epoch, max_rows: usize) -> Result<Poll, ConnectorError> {
        match self.dealer.deal(epoch, max_rows, &mut self.share)? {
            Dealt::Behind => Ok(Poll::Pending),
            Dealt::Finished => Ok(Poll::Finished),
            Dealt::Lines(lane) => {
                let rows = self.decode(lane)?;
                Ok(Poll::Rows(if rows.is_empty() { vec![] } else { vec![LaneRows { lane, rows }] }))
            }
        }
    }

    fn lanes(&mut self) -> Vec<(Lane, LaneState)> {
        let finished = std::mem::take(&mut self.share.newly_finished);
        if self.has_announced {
            return finished.into_iter().map(|lane| (lane, LaneState::Finished)).collect();
        }
        self.has_announced = true;
        let state = |lane| match finished.contains(&lane) {
            true => LaneState::Finished,
            false => LaneState::Active,
        };
        (0..self.files.len() as Lane).map(|lane| (lane, state(lane))).collect()
    }

    fn take_bad(&mut self) -> BadInputs {
        self.bad.take()
    }

    fn positions(&self) -> Positions {
        self.positions.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::open_source;
    use crate::testing::{drain, read_all, table};
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use std::path::Path;

    fn spec(path: &Path) -> ReadSpec {
        let path = path.to_str().unwrap();
        read_all(table(&[("connector", "filesystem"), ("path", path), ("format", "json")]))
    }

    fn ids(rows: &[LaneRows]) -> Vec<i64> {
        let ids = |r: &LaneRows| r.rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        rows.iter().flat_map(ids).collect()
    }

    fn write_numbers(path: &Path, numbers: std::ops::Range<i64>) {
        let text: String = numbers.map(|n| format!("{{\"id\":{n},\"name\":\"x\"}}\n")).collect();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn workers_share_a_file_without_losing_repeating_or_reordering_rows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_numbers(&path, 0..10_000);
        let mut spec = spec(&path);
        spec.arrival = true;
        for workers in [1, 3] {
            let mut readers = open_source(&spec).unwrap().readers(workers).unwrap();
            let rows = drain(&mut readers, 700);
            assert_eq!(ids(&rows), (0..10_000).collect::<Vec<_>>());
            let arrivals = rows
                .iter()
                .flat_map(|r| r.rows.column(2).as_primitive::<Int64Type>().values().to_vec());
            assert!(arrivals.is_sorted_by(|a, b| a < b));
        }
    }

    #[test]
    fn all_files_are_announced_first_and_each_ends_once() {
        let dir = tempfile::tempdir().unwrap();
        write_numbers(&dir.path().join("a.json"), 0..3);
        write_numbers(&dir.path().join("b.json"), 3..6);
        let mut readers = open_source(&spec(dir.path())).unwrap().readers(1).unwrap();
        assert_eq!(readers[0].lanes(), [(0, LaneState::Active), (1, LaneState::Active)]);
        let rows = drain(&mut readers, 2);
        assert_eq!(rows.len(), 4);
        assert_eq!((rows[0].lane, rows[1].lane), (0, 1), "read interleaved");
        assert_eq!(readers[0].lanes(), [(0, LaneState::Finished), (1, LaneState::Finished)]);
    }

    #[test]
    fn a_bad_line_is_reported_with_file_and_line_and_its_neighbours_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        std::fs::write(&path, "{\"id\":1}\r\nnonsense\n{\"id\":3}").unwrap();
        let mut readers = open_source(&spec(&path)).unwrap().readers(1).unwrap();
        assert_eq!(ids(&drain(&mut readers, 100)), [1, 3]);
        let bad = readers[0].take_bad();
        assert_eq!((bad.count, bad.records.len()), (1, 1));
        assert_eq!(bad.records[0].place, path.to_str().unwrap());
        assert_eq!(bad.records[0].position, 2);
        assert_eq!(bad.records[0].record, b"nonsense");
    }

    #[test]
    fn reading_goes_on_at_a_position() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_numbers(&path, 0..10);
        let mut readers = open_source(&spec(&path)).unwrap().readers(1).unwrap();
        let Poll::Rows(first) = readers[0].poll(1, 4).unwrap() else { panic!("rows") };
        assert_eq!(ids(&first), [0, 1, 2, 3]);
        let resumed = ReadSpec { positions: Some(readers[0].positions()), ..spec(&path) };
        let mut readers = open_source(&resumed).unwrap().readers(2).unwrap();
        assert_eq!(ids(&drain(&mut readers, 4)), [4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn metadata_columns_say_where_a_row_comes_from() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        std::fs::write(&path, "{\"id\":1}\n").unwrap();
        let mut spec = spec(&path);
        for (key, data_type) in super::super::metadata() {
            let name = key.clone();
            spec.table.metadata.push(MetadataColumn { name, key, data_type, is_virtual: true });
        }
        spec.columns = vec![0, 3, 4];
        let mut readers = open_source(&spec).unwrap().readers(1).unwrap();
        let rows = drain(&mut readers, 10);
        assert_eq!(rows[0].rows.column(1).as_string::<i32>().value(0), "a.json");
        assert_eq!(rows[0].rows.column(2).as_primitive::<Int64Type>().value(0), 9);
    }

    #[test]
    fn columns_of_the_partition_are_read_from_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let partition = dir.path().join("name=12%3A30");
        std::fs::create_dir(&partition).unwrap();
        write_numbers(&partition.join("part-0-0"), 0..2);
        let mut spec = spec(dir.path());
        spec.table.partitioned_by = vec![1];
        let mut readers = open_source(&spec).unwrap().readers(1).unwrap();
        let rows = drain(&mut readers, 10);
        assert_eq!(rows[0].rows.column(1).as_string::<i32>().value(1), "12:30");
    }

    #[test]
    fn rows_can_be_counted_without_a_column() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_numbers(&path, 0..10);
        let mut spec = spec(&path);
        spec.columns.clear();
        let mut readers = open_source(&spec).unwrap().readers(1).unwrap();
        let rows = drain(&mut readers, 100);
        assert_eq!(rows.iter().map(|r| r.rows.len()).sum::<usize>(), 10);
    }
}
