//! Reading files: each worker takes a block of lines at a time and decodes it by itself.
//!
//! With `source.monitor-interval` the path is looked at again and again, and what is new there is
//! read, for ever. A file is known by its path: what is written to one after it was read to its
//! end is not seen. So files are to be moved there when they are complete.

use super::deal::{Dealer, Dealt, Growth, Share};
use super::partition;
use super::paths::{self, InputFile};
use super::place::{self, Place, Standing, name};
use crate::record_rows::{BadRecords, Origin, RecordRows};
use crate::source::{
    BadInputs, ConnectorError, Lane, LaneRows, LaneState, Poll, Positions, ReadSpec, Reader, Source,
};
use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tidemill_formats::OptionError;
use tidemill_formats::table::MetadataColumn;
use tidemill_operators::{Batch, Epoch};

/// What a watched directory will hold some day, as a lane: always idle, so that the source is too
/// if there is no file to read.
const NEW_FILES: Lane = Lane::MAX;

/// The files of a table.
pub(crate) struct Files {
    spec: ReadSpec,
    /// How often new files are looked for, if they are.
    monitor_interval: Option<Duration>,
}

impl Files {
    pub(crate) fn new(spec: ReadSpec, monitor_interval: Option<Duration>) -> Self {
        Files { spec, monitor_interval }
    }
}

impl Source for Files {
    fn is_bounded(&self) -> bool {
        self.monitor_interval.is_none()
    }

    fn readers(&self, workers: usize) -> Result<Vec<Box<dyn Reader>>, ConnectorError> {
        let path = paths::local(self.spec.table.option("path").unwrap_or_default())?;
        let files = paths::input_files(&path)?;
        let before = self.spec.positions.clone().unwrap_or_default();
        let known = files.iter().map(name).chain(before.keys().cloned()).collect();
        let growth = if self.is_bounded() { Growth::None } else { Growth::Watched };
        let dealer = Arc::new(Dealer::new(unread(files, &before)?, growth));
        let (stop, stopped) = channel();
        if let Some(interval) = self.monitor_interval {
            watch(path, known, dealer.clone(), interval, stopped)?;
        }
        let mut readers: Vec<Box<dyn Reader>> = vec![];
        // What earlier runs have read is said by one of them.
        let positions = std::iter::once(before).chain(std::iter::repeat(Positions::new()));
        for positions in positions.take(workers) {
            let dealer = dealer.clone();
            readers.push(Box::new(FileReader::new(&self.spec, dealer, positions, stop.clone())?));
        }
        Ok(readers)
    }
}

/// Looks for files that are not known from time to time, until all readers are gone.
fn watch(
    path: PathBuf,
    mut known: BTreeSet<String>,
    dealer: Arc<Dealer>,
    interval: Duration,
    stopped: Receiver<()>,
) -> Result<(), ConnectorError> {
    let look = move || {
        while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            match paths::input_files(&path) {
                Ok(files) => {
                    let new = files.into_iter().filter(|file| known.insert(name(file)));
                    new.for_each(|file| dealer.add(file));
                }
                Err(e) => tracing::warn!("{e}; trying again in {interval:?}"),
            }
        }
    };
    let thread = std::thread::Builder::new().name("new-files".to_owned()).spawn(look);
    thread.map(drop).map_err(|e| ConnectorError {
        what: "starting the search for new files".to_owned(),
        cause: e.to_string(),
    })
}

/// The files that are to be read, each from its place on.
fn unread(
    files: Vec<InputFile>,
    before: &Positions,
) -> Result<Vec<(InputFile, Place)>, ConnectorError> {
    let names: BTreeSet<String> = files.iter().map(name).collect();
    if let Some(lost) = place::begun(before).find(|name| !names.contains(*name)) {
        return Err(ConnectorError {
            what: format!("reading on in '{lost}'"),
            cause: "it was read in part before the job's last checkpoint, and is not there any \
                    more; put it back, or start anew"
                .to_owned(),
        });
    }
    let unread = |file: InputFile| match place::standing(before, &name(&file)) {
        Standing::New => Some((file, Place::START)),
        Standing::At(place) => Some((file, place)),
        Standing::Read => None,
    };
    Ok(files.into_iter().filter_map(unread).collect())
}

struct FileReader {
    dealer: Arc<Dealer>,
    share: Share,
    rows: RecordRows,
    /// The columns asked for that are not in the file.
    around: Vec<Around>,
    bad: BadRecords,
    /// [`NEW_FILES`], until that has been announced.
    new_files: Option<Lane>,
    /// How many other lanes it has announced.
    announced: usize,
    /// Of the files that it had a part in and, with one reader, of all that were read before: the
    /// next run wants to know.
    positions: Positions,
    /// Dropped with the last reader, which ends the search for files.
    _stop: Sender<()>,
}

impl FileReader {
    fn new(
        spec: &ReadSpec,
        dealer: Arc<Dealer>,
        positions: Positions,
        stop: Sender<()>,
    ) -> Result<Self, OptionError> {
        let is_in_path = |column: &usize| spec.table.partitioned_by.contains(column);
        let origin = |column| match is_in_path(&column) {
            true => Origin::Outside,
            false => Origin::Value,
        };
        Ok(FileReader {
            share: dealer.share(),
            rows: RecordRows::new(spec, origin)?,
            around: around(spec),
            bad: BadRecords::new(&spec.table),
            new_files: (dealer.growth() == Growth::Watched).then_some(NEW_FILES),
            dealer,
            announced: 0,
            positions,
            _stop: stop,
        })
    }

    /// Decodes the block in hand.
    fn decode(&mut self, lane: Lane) -> Result<Batch, ConnectorError> {
        let file = &self.share.files[lane as usize];
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
        place::note(&mut self.positions, &name(file), block.after);
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
        let poll = match self.dealer.deal(epoch, max_rows, &mut self.share)? {
            Dealt::Nothing => Poll::Pending,
            Dealt::Finished => Poll::Finished,
            Dealt::Lines(lane) => {
                let rows = self.decode(lane)?;
                Poll::Rows(if rows.is_empty() { vec![] } else { vec![LaneRows { lane, rows }] })
            }
        };
        for &lane in &self.share.newly_finished {
            place::note_read(&mut self.positions, &name(&self.share.files[lane as usize]));
        }
        Ok(poll)
    }

    fn lanes(&mut self) -> Vec<(Lane, LaneState)> {
        let finished = std::mem::take(&mut self.share.newly_finished);
        let new = self.announced as Lane..self.share.files.len() as Lane;
        self.announced = self.share.files.len();
        let active = new.filter(|lane| !finished.contains(lane));
        let active = active.map(|lane| (lane, LaneState::Active));
        let finished = finished.iter().map(|&lane| (lane, LaneState::Finished));
        let idle = self.new_files.take().map(|lane| (lane, LaneState::Idle));
        active.chain(finished).chain(idle).collect()
    }

    fn take_bad(&mut self) -> BadInputs {
        self.bad.take()
    }

    fn positions(&self) -> Positions {
        self.positions.clone()
    }

    fn lane_name(&self, lane: Lane) -> String {
        self.share.files.get(lane as usize).map_or_else(|| "new files".to_owned(), |f| name(f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::open_source;
    use crate::testing::{drain, lives, merge, read_all, read_in_lives, table};
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;
    use std::path::Path;
    use std::time::Instant;

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

    /// Some files, one of them compressed, of the numbers from 0 on.
    fn write_files(dir: &Path, rows: &[i64]) -> i64 {
        let mut next = 0;
        for (i, &rows) in rows.iter().enumerate() {
            let path = dir.join(format!("{i}.json"));
            write_numbers(&path, next..next + rows);
            if i == 1 {
                let packed = zstd::encode_all(&std::fs::read(&path).unwrap()[..], 1).unwrap();
                std::fs::write(path.with_extension("zst"), packed).unwrap();
                std::fs::remove_file(path).unwrap();
            }
            next += rows;
        }
        next
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn files_are_read_on_where_they_stood_by_any_number_of_workers(
            lives in lives(), rows in prop::collection::vec(0i64..40, 1..5),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let all = write_files(dir.path(), &rows);
            let mut read = ids(&read_in_lives(&spec(dir.path()), &lives, 3));
            read.sort();
            prop_assert_eq!(read, (0..all).collect::<Vec<_>>());
        }
    }

    #[test]
    fn files_that_are_new_at_a_restart_are_read_and_those_read_before_are_not() {
        let dir = tempfile::tempdir().unwrap();
        write_numbers(&dir.path().join("b.json"), 0..3);
        write_numbers(&dir.path().join("c.json"), 3..5);
        let mut spec = spec(dir.path());
        let mut readers = open_source(&spec).unwrap().readers(1).unwrap();
        assert_eq!(ids(&drain(&mut readers, 9)), [0, 1, 2, 3, 4]);
        spec.positions = Some(readers[0].positions());
        // Read to its end: nobody needs it, and what it has become since is of no interest.
        std::fs::remove_file(dir.path().join("b.json")).unwrap();
        write_numbers(&dir.path().join("c.json"), 3..9);
        write_numbers(&dir.path().join("a.json"), 10..12);
        let mut readers = open_source(&spec).unwrap().readers(2).unwrap();
        assert_eq!(readers[0].lanes(), [(0, LaneState::Active)]);
        assert!(readers[0].lane_name(0).ends_with("a.json"), "its number is another file's");
        assert_eq!(ids(&drain(&mut readers, 9)), [10, 11]);
        let mut positions = readers[0].positions();
        merge(&mut positions, readers[1].positions());
        assert_eq!(place::standing(&positions, &readers[0].lane_name(0)), Standing::Read);
        assert_eq!(positions.len(), 3, "what was read in the first run is not forgotten");
    }

    #[test]
    fn a_file_read_in_part_that_is_gone_or_cut_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_numbers(&path, 0..9);
        let mut spec = spec(dir.path());
        let mut readers = open_source(&spec).unwrap().readers(1).unwrap();
        readers[0].poll(1, 4).unwrap();
        spec.positions = Some(readers[0].positions());
        let source = open_source(&spec).unwrap();
        write_numbers(&path, 0..2);
        let error = source.readers(1).unwrap()[0].poll(1, 4).unwrap_err().to_string();
        assert!(error.contains("a.json") && error.contains("cut or replaced"), "{error}");
        std::fs::remove_file(&path).unwrap();
        let error = source.readers(1).err().expect("a lost file").to_string();
        assert!(error.contains("a.json") && error.contains("not there any more"), "{error}");
    }

    fn watched(dir: &Path) -> ReadSpec {
        let mut spec = spec(dir);
        spec.table.options.insert("source.monitor-interval".to_owned(), "5 ms".to_owned());
        spec
    }

    fn move_in(dir: &Path, name: &str, numbers: std::ops::Range<i64>) {
        let aside = dir.join(format!(".{name}"));
        write_numbers(&aside, numbers);
        std::fs::rename(aside, dir.join(name)).unwrap();
    }

    /// Polls until there were so many rows.
    fn read(readers: &mut [Box<dyn Reader>], count: usize) -> Vec<i64> {
        let (mut read, deadline) = (vec![], Instant::now() + Duration::from_secs(20));
        while read.len() < count && Instant::now() < deadline {
            for reader in readers.iter_mut() {
                match reader.poll(1, 2).unwrap() {
                    Poll::Rows(rows) => read.extend(ids(&rows)),
                    Poll::Pending => {}
                    Poll::Finished => panic!("there may always be another file"),
                }
            }
        }
        read.sort();
        read
    }

    #[test]
    fn a_watched_directory_gives_each_file_once_as_it_appears() {
        let dir = tempfile::tempdir().unwrap();
        let source = open_source(&watched(dir.path())).unwrap();
        assert!(!source.is_bounded());
        let mut readers = source.readers(2).unwrap();
        assert_eq!(readers[0].lanes(), [(NEW_FILES, LaneState::Idle)]);
        write_numbers(&dir.path().join(".unfinished"), 90..99);
        move_in(dir.path(), "a.json", 0..3);
        assert_eq!(read(&mut readers, 3), [0, 1, 2]);
        // Appended to: not seen, for the file is known.
        write_numbers(&dir.path().join("a.json"), 0..7);
        move_in(dir.path(), "b.json", 10..15);
        assert_eq!(read(&mut readers, 5), [10, 11, 12, 13, 14]);
        let lanes: Vec<_> = readers.iter_mut().map(|reader| reader.lanes()).collect();
        assert!(lanes.iter().any(|lanes| lanes.contains(&(1, LaneState::Finished))), "{lanes:?}");
    }

    #[test]
    fn a_watched_directory_goes_on_with_what_is_new_since_the_last_run() {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = watched(dir.path());
        write_numbers(&dir.path().join("a.json"), 0..3);
        write_numbers(&dir.path().join("b.json"), 3..6);
        let mut readers = open_source(&spec).unwrap().readers(1).unwrap();
        let mut all = read(&mut readers, 4);
        spec.positions = Some(readers[0].positions());
        drop(readers);
        write_numbers(&dir.path().join("c.json"), 6..9);
        let rest = 9 - all.len();
        all.extend(read(&mut open_source(&spec).unwrap().readers(2).unwrap(), rest));
        all.sort();
        assert_eq!(all, (0..9).collect::<Vec<_>>());
    }
}
