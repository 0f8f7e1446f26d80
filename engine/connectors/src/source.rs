//! What every source offers to the runtime.

use std::collections::BTreeMap;
use std::time::Duration;
use tidemill_formats::Table;
use tidemill_operators::{Batch, Epoch};

/// A partition of a source, the unit of order and of watermarks: a Kafka partition, a file.
/// Numbered by the source, the same number on every worker. After a restart it may be another:
/// what stays is its name, [`Reader::lane_name`].
pub type Lane = u32;

/// Where reading goes on in each partition, by a name that outlives the process
/// (`orders/3`, `/data/a.jsonl`), e.g. the next offset to read. The number of a name never falls,
/// so that the greatest is right of what several workers say.
pub type Positions = BTreeMap<String, i64>;

/// What a reader is asked to read.
#[derive(Clone, Debug)]
pub struct ReadSpec {
    /// The table.
    pub table: Table,
    /// Wanted columns: indices into the table's physical columns followed by its metadata
    /// columns, ascending. Readers give exactly these, in this order.
    pub columns: Vec<usize>,
    /// Whether to append an `Int64` column `__arrival`, strictly rising in each lane, that
    /// orders rows of one epoch (line number, offset).
    pub arrival: bool,
    /// Where to start, from a checkpoint; partitions not named start as the options say.
    pub positions: Option<Positions>,
    /// Where to stop, from a checkpoint, whatever the options say. For connectors whose input may
    /// have no end; the others read to theirs.
    pub until: Option<Positions>,
}

/// Rows of one lane.
#[derive(Debug)]
pub struct LaneRows {
    /// Where they come from.
    pub lane: Lane,
    /// The rows, in the lane's order.
    pub rows: Batch,
}

/// The answer to [`Reader::poll`].
#[derive(Debug)]
pub enum Poll {
    /// Rows were read.
    Rows(Vec<LaneRows>),
    /// Nothing at the moment.
    Pending,
    /// This worker's share has ended and will never give another row.
    Finished,
}

/// What a lane has to say about the watermark besides its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneState {
    /// Has rows to read, or may get some soon: holds the watermark at its own.
    Active,
    /// Read to its end some time ago (or never held a record): does not hold the watermark.
    Idle,
    /// Will never give another row.
    Finished,
}

/// Records that could not be decoded, as the source met them.
#[derive(Clone, Debug)]
pub struct BadInput {
    /// Topic and partition, or file.
    pub place: String,
    /// Offset or line.
    pub position: i64,
    /// Why.
    pub reason: String,
    /// The record, cut to a sensible length.
    pub record: Vec<u8>,
}

/// One worker's hand on a source. Several workers each have their own, made together by
/// [`Source::readers`].
pub trait Reader: Send {
    /// Reads up to about `max_rows` rows without blocking. They belong to `epoch`.
    ///
    /// A lane may be shared by workers (a file is dealt out block by block). Its order survives
    /// only if later blocks never get an earlier epoch, so a shared source refuses, with
    /// [`Poll::Pending`], a worker whose idea of the epoch is behind one it has already served.
    fn poll(&mut self, epoch: Epoch, max_rows: usize) -> Result<Poll, ConnectorError>;

    /// Lanes whose state changed since the last call; at the first call all that this reader
    /// may give rows of. To be asked of every reader once before any of them is polled, so that
    /// no watermark overtakes a lane not yet known, and after each poll.
    /// [`LaneState::Finished`] is final, whoever else said something else of the same lane.
    fn lanes(&mut self) -> Vec<(Lane, LaneState)>;

    /// Leaves these lanes alone, and no others, until told otherwise: they are ahead of the rest,
    /// and their rows wait outside. Lanes of other readers may be among them. Only sources that
    /// ask for an [`Alignment`] are told.
    fn hold(&mut self, _lanes: &[Lane]) {}

    /// Takes the bad records met since the last call; `count` of them in all, some of them shown.
    fn take_bad(&mut self) -> BadInputs;

    /// Where this worker's lanes stand: behind everything that `poll` gave. All workers' together,
    /// each asked before it polls in some epoch, are the place between that epoch and the ones
    /// before it: a source that is opened there by any number of workers gives exactly the rest.
    fn positions(&self) -> Positions;

    /// The name of a lane that this reader has announced, the same after a restart, whatever its
    /// number is then.
    fn lane_name(&self, lane: Lane) -> String {
        lane.to_string()
    }

    /// Records not yet read, where the source knows.
    fn lag(&self) -> Option<u64> {
        None
    }
}

/// Bad records since the last look.
#[derive(Debug, Default)]
pub struct BadInputs {
    /// How many there were.
    pub count: u64,
    /// Each of them, unless the table says to skip them.
    pub records: Vec<BadInput>,
}

/// How close lanes keep together in event time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alignment {
    /// How far a lane may be ahead of the slowest one and still be read.
    pub max_drift: Duration,
    /// Lanes of all sources that name the same group keep together; without, each source's own.
    pub group: Option<String>,
}

/// Somebody outside who is told where a source stands at each checkpoint. The job itself never
/// asks there.
pub trait PositionReport: Send {
    /// Tells it, without waiting for an answer.
    fn report(&mut self, positions: &Positions);
}

/// A source that has been checked and is ready to be opened.
pub trait Source: Send {
    /// Whether the input ends.
    fn is_bounded(&self) -> bool;

    /// How close its lanes keep together, if they do and its readers can [`Reader::hold`] them.
    fn alignment(&self) -> Option<Alignment> {
        None
    }

    /// Whom to tell how far checkpoints have come, if somebody outside wants to know.
    ///
    /// # Errors
    /// If nobody could ever be told.
    fn report(&self) -> Result<Option<Box<dyn PositionReport>>, ConnectorError> {
        Ok(None)
    }

    /// Opens the source for `workers` workers.
    fn readers(&self, workers: usize) -> Result<Vec<Box<dyn Reader>>, ConnectorError>;
}

/// Reads a source to its end, by one reader after the other; `judge` is told of bad records and
/// decides whether to go on.
///
/// # Errors
/// If it can't be read, or `judge` says so.
pub fn read_all(
    source: &dyn Source,
    mut judge: impl FnMut(&BadInputs) -> Result<(), ConnectorError>,
) -> Result<Vec<Batch>, ConnectorError> {
    const ROWS_PER_POLL: usize = 65_536;
    let mut batches = Vec::new();
    for mut reader in source.readers(1)? {
        for epoch in 0.. {
            match reader.poll(epoch, ROWS_PER_POLL)? {
                Poll::Rows(lanes) => batches.extend(lanes.into_iter().map(|lane| lane.rows)),
                Poll::Pending => std::thread::sleep(Duration::from_millis(1)),
                Poll::Finished => break,
            }
            // Nobody asks for the watermark; untaken, they would only pile up.
            drop(reader.lanes());
            judge(&reader.take_bad())?;
        }
    }
    Ok(batches)
}

/// Something outside went wrong: a broker, a disk. The job fails or is retried with it.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct ConnectorError {
    /// What was being done, with what: `reading topic "clicks" at 127.0.0.1:9092`.
    pub what: String,
    /// The reason, and what helps.
    pub cause: String,
}
